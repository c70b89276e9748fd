package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
)

// A starter runs the tunnels that are started from the list of tunnels, each
// with an agent of its own, until that screen ends.
type starter struct {
	o    *options
	r    *reach // nil for an edge of this process's own
	near *neighbours

	mu    sync.Mutex
	own   *reach // the edge of this process, once a tunnel needed it
	stop  func() // that edge
	ends  []func()
	ended bool
}

// start starts a tunnel. It does not wait until that is live: the screen shows
// how it comes along.
func (s *starter) start(ctx context.Context, w tui.Wish) (tui.Started, error) {
	wished := wish{claim: tunnel.Claim{Kind: w.Kind, Name: w.Name, Takeover: w.Takeover}}
	if err := wished.resolve(ctx, s.o, w.Service); err != nil {
		return tui.Started{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return tui.Started{}, context.Canceled
	}
	r, e, err := s.edge(ctx, wished)
	if err != nil {
		return tui.Started{}, err
	}
	// A line of the log on the terminal would ruin the screen.
	a, err := newAgent(r, []wish{wished}, slog.New(slog.DiscardHandler), true)
	if err != nil {
		return tui.Started{}, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	crash.Go(&running, func() { _ = a.Run(life) }) // its status says why it ended
	end := sync.OnceFunc(func() {
		_ = release(life, a)
		stop()
		running.Wait()
	})
	s.ends = append(s.ends, end)
	return tui.Started{
		Tunnel: tui.Tunnel{Kind: w.Kind, Name: w.Name, Local: wished.claim.Local},
		Edge:   e, Agent: a, Stop: end,
	}, nil
}

// edge is the one that new tunnels are on. Like lrok http, a tunnel does not go to
// an edge inside another lrok, which would end with that.
func (s *starter) edge(ctx context.Context, w wish) (*reach, *tui.Edge, error) {
	if s.r != nil {
		return s.r, nil, nil
	}
	if err := (&up{wishes: []wish{w}}).needsEdge(); err != nil {
		return nil, nil, err
	}
	if s.own == nil {
		_, r, stop, err := s.o.ownEdge(ctx, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, nil, err
		}
		s.own, s.stop = r, stop
	}
	e, err := s.near.edge(ctx, s.own)
	return s.own, e, err
}

// end ends the tunnels and waits for them.
func (s *starter) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	var wg sync.WaitGroup
	for _, end := range s.ends {
		wg.Go(end)
	}
	wg.Wait()
	s.near.close() // or the edge would wait for who still listens
	if s.stop != nil {
		s.stop()
	}
}
