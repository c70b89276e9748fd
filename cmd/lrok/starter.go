package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
)

// A starter runs the tunnels that are started from the list of tunnels, each
// with an agent of its own, until that screen ends.
type starter struct {
	o *options
	r *reach

	mu    sync.Mutex
	ends  []func()
	names []string
	ended bool
}

// start starts a tunnel and returns once it is live.
func (s *starter) start(ctx context.Context, kind tunnel.Kind, service string) (tui.Tunnel, error) {
	w := wish{claim: tunnel.Claim{Kind: kind}}
	if err := w.resolve(ctx, s.o, service); err != nil {
		return tui.Tunnel{}, err
	}
	// A line of the log on the terminal would ruin the screen.
	a, err := newAgent(s.r, []wish{w}, slog.New(slog.DiscardHandler), 3)
	if err != nil {
		return tui.Tunnel{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	ran := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ran <- a.Run(life)
		cancel()
	}()
	end := func() { release(life, a); stop(); <-done }
	st, ok := live(ctx, a)
	if !ok {
		stop()
		<-done
		if err := <-ran; err != nil {
			return tui.Tunnel{}, unreachable(s.r, err)
		}
		return tui.Tunnel{}, context.Canceled
	}
	g := st.Welcome.Grants[0]
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.ends, s.names = append(s.ends, end), append(s.names, g.Name)
	}
	s.mu.Unlock()
	if ended {
		end()
		return tui.Tunnel{}, context.Canceled
	}
	return tui.Tunnel{Kind: g.Kind, Name: g.Name, URL: g.URL, Direct: g.Direct, Local: w.claim.Local}, nil
}

// has reports whether all of ts were started here, so that they end as well.
func (s *starter) has(ts []tui.Tunnel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range ts {
		if !slices.Contains(s.names, t.Name) {
			return false
		}
	}
	return len(ts) > 0
}

// end ends the tunnels and waits for them.
func (s *starter) end() {
	s.mu.Lock()
	ends := s.ends
	s.ended = true
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, end := range ends {
		wg.Go(end)
	}
	wg.Wait()
}
