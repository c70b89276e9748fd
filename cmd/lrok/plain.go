package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// plain prints the tunnel's life as lines: the URL and the requests on standard
// output, what happens to the connection on standard error. With --json all of
// it is NDJSON on standard output. With --plain it is for somebody who listens:
// then every state is a sentence.
func (u *up) plain(ctx context.Context, a *agent.Agent, api *client.Client, r *reach) error {
	out := u.o.lines(u.o.stdout)
	out.mu = new(sync.Mutex) // two goroutines print
	out.many = len(u.wishes) > 1
	last := &notices{o: u.o, out: out, edge: r.Edge, down: map[string]bool{}, dropped: map[string]bool{}}
	err := u.follow(ctx, a, api, r, out, last)
	if errors.Is(err, syscall.EPIPE) {
		return err // nobody reads on
	}
	// All that was seen has been printed by now.
	return errors.Join(err, last.closed(a.Status()))
}

// follow prints until ctx ends, and returns once nobody prints any more.
func (u *up) follow(ctx context.Context, a *agent.Agent, api *client.Client, r *reach, out *lines, last *notices) error {
	o := u.o
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
		cancel()
	}
	wg.Go(func() {
		if unread(ctx, out.w) {
			fail(syscall.EPIPE)
		}
	})
	following := false
	unfollow := map[string]context.CancelFunc{}
	for {
		s := a.Status()
		if err := last.connecting(s); err != nil {
			return err
		}
		if s.State == agent.Online && !following && len(s.Welcome.Grants) > 0 {
			following = true
			for i, g := range s.Welcome.Grants {
				if err := out.ready(g, u.wishes[i].claim.Local); err != nil {
					return err
				}
				last.live = append(last.live, g)
				if r.Local && !o.json {
					_, _ = fmt.Fprintf(o.stderr, "local only: this URL works on this machine%s\nfor a public URL run lrok serve on a server, then lrok http <port> --edge HOST\n", also(g.Direct))
				}
				if u.wishes[i].quiet {
					continue
				}
				followed, end := context.WithCancel(ctx)
				unfollow[g.Name] = end
				wg.Go(func() {
					defer end()
					err := api.Stream(followed, g.Name, client.StreamOptions{}, out.since(came(followed, api, g.Name)))
					var e *tunnel.Error
					if out.many && errors.As(err, &e) && e.Code == tunnel.CodeNotFound {
						return // one of several was closed, which is told below
					}
					if err != nil && followed.Err() == nil {
						fail(err)
					}
				})
			}
		}
		for _, up := range s.Upstreams {
			if end := unfollow[up.Tunnel]; up.Dropped != nil && end != nil {
				end() // what comes through it from now on is another agent's
			}
		}
		if err := last.tell(s); err != nil {
			fail(err)
		}
		select {
		case <-a.Changed():
		case <-ctx.Done():
			select {
			case err := <-failed:
				return err
			default:
				return ctx.Err()
			}
		}
	}
}

// came is when this process got the tunnel called name, by the edge's clock, or
// zero when that cannot be found out.
func came(ctx context.Context, api *client.Client, name string) time.Time {
	ts, _ := api.Tunnels(ctx) // the stream that follows tells what is wrong
	for _, t := range ts {
		if t.Subdomain == name && t.Online {
			return t.Since
		}
	}
	return time.Time{}
}

func also(direct string) string {
	if direct == "" {
		return ""
	}
	return ", also as " + direct
}

// notices tells what happens to the connection, once each.
type notices struct {
	o       *options
	out     *lines
	edge    string
	live    []tunnel.Grant // the tunnels that were announced
	state   agent.State
	said    bool // that the first connection is being made
	failed  int  // the last of its attempts that was told of
	try     int
	gone    time.Time       // when the connection was lost
	down    map[string]bool // local services that do not answer
	dropped map[string]bool // tunnels that the edge closed
}

// connecting tells somebody who listens how the first connection comes along.
func (n *notices) connecting(s agent.Status) error {
	if !n.o.words() {
		return nil
	}
	switch {
	case s.State == agent.Connecting && !n.said:
		n.said = true
		return n.say("", "connecting to the edge at "+n.edge, nil)
	case s.State == agent.Connecting && s.Err != nil && s.Attempt != n.failed:
		n.failed = s.Attempt
		return n.say("", fmt.Sprintf("attempt %d failed: %s; trying again", s.Attempt, s.Err), nil)
	}
	return nil
}

func (n *notices) tell(s agent.Status) error {
	if s.State == agent.Online && n.state == agent.Connecting && n.o.words() {
		what := "the tunnel is live"
		if len(n.live) > 1 {
			what = fmt.Sprintf("%d tunnels are live", len(n.live))
		}
		if err := n.say("", what, nil); err != nil {
			return err
		}
	}
	if s.State == agent.Reconnecting && (n.state != s.State || n.try != s.Attempt) {
		if s.Err == nil && s.Next.IsZero() {
			return nil // a session has just ended, and the agent says in a moment why
		}
		if err := n.reconnecting(s); err != nil {
			return err
		}
	}
	if s.State == agent.Online && n.state == agent.Reconnecting {
		gone := time.Since(n.gone).Round(time.Second)
		if err := n.say("reconnected", fmt.Sprintf("online again after %s; requests in that time were not captured", gone), map[string]any{"seconds": gone.Seconds()}); err != nil {
			return err
		}
	}
	if s.State == agent.Reconnecting && n.state != s.State {
		n.gone = s.OfflineSince
	}
	n.state, n.try = s.State, s.Attempt
	if len(n.live) == 0 {
		return nil // the URL comes first
	}
	for _, up := range s.Upstreams {
		if why := up.Dropped; why != nil && !n.dropped[up.Tunnel] {
			n.dropped[up.Tunnel] = true
			if err := n.end(up.Tunnel, why); err != nil {
				return err
			}
		}
		if up.Down == n.down[up.Local] {
			continue
		}
		n.down[up.Local] = up.Down
		kind, text, fields := "upstream_up", up.Local+" answers again", map[string]any{"local": up.Local}
		if up.Down {
			kind, text = "upstream_down", fmt.Sprintf("%s does not answer: %s", up.Local, up.Err)
			fields["error"] = up.Err
		}
		if err := n.say(kind, text, fields); err != nil {
			return err
		}
	}
	return nil
}

func (n *notices) reconnecting(s agent.Status) error {
	why := "the connection ended"
	if s.Err != nil {
		why = s.Err.Error()
	}
	fields := map[string]any{"attempt": s.Attempt, "error": why}
	text := fmt.Sprintf("reconnecting, attempt %d: %s", s.Attempt, why)
	if e := (*tunnel.Error)(nil); errors.As(s.Err, &e) {
		fields["code"] = e.Code
		if e.Code == tunnel.CodeDraining {
			text = e.Message + "; reconnecting"
		}
	}
	return n.say("reconnecting", text, fields)
}

// closed tells of the end of every tunnel that was announced and is not known to
// have ended.
func (n *notices) closed(s agent.Status) error {
	var why *tunnel.Error
	if s.State != agent.Closed || !errors.As(s.Err, &why) {
		why = nil // lrok was ended, by whoever started it
	}
	if !n.o.json {
		why = nil // it is the error that lrok ends with
	}
	for _, g := range n.live {
		if n.dropped[g.Name] {
			continue
		}
		if err := n.end(g.Name, why); err != nil {
			return err
		}
	}
	return nil
}

// end tells of the end of one tunnel. Without a reason it is what was asked for,
// and only they are told who would not notice.
func (n *notices) end(name string, why *tunnel.Error) error {
	fields := map[string]any{"name": name}
	for _, g := range n.live {
		if g.Name == name {
			fields["url"] = g.URL
		}
	}
	text := name + " is closed"
	switch {
	case why != nil:
		fields["code"], fields["error"] = why.Code, why.Message
		text += ": " + why.Message
	case !n.o.words() && !n.o.json:
		return nil
	}
	return n.say("closed", text, fields)
}

// say prints an event of type kind, or its text. Without a kind it is for those
// who listen alone.
func (n *notices) say(kind, text string, fields map[string]any) error {
	if n.o.json {
		fields["v"], fields["type"] = 1, kind
		return n.out.encode(fields)
	}
	_, err := fmt.Fprintln(n.o.stderr, format.Sanitize(text))
	return err
}
