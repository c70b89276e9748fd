package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// plain prints the tunnel's life as lines: the URL and the requests on standard
// output, what happens to the connection on standard error. With --json all of
// it is NDJSON on standard output.
func (u *up) plain(ctx context.Context, a *agent.Agent, api *client.Client, r *reach) error {
	o := u.o
	var mu sync.Mutex // two goroutines print
	out := o.lines(o.stdout)
	out.mu = &mu
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
	following := false
	unfollow := map[string]context.CancelFunc{}
	out.many = len(u.wishes) > 1
	last := &notices{o: o, out: out, down: map[string]bool{}, dropped: map[string]bool{}}
	for {
		s := a.Status()
		if s.State == agent.Online && !following && len(s.Welcome.Grants) > 0 {
			following = true
			for i, g := range s.Welcome.Grants {
				if err := out.ready(g, u.wishes[i].claim.Local); err != nil {
					return err
				}
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
	state   agent.State
	try     int
	gone    time.Time       // when the connection was lost
	down    map[string]bool // local services that do not answer
	dropped map[string]bool // tunnels that the edge closed
}

func (n *notices) tell(s agent.Status) error {
	if s.State == agent.Reconnecting && (n.state != s.State || n.try != s.Attempt) {
		why := "the connection ended"
		if s.Err != nil {
			why = s.Err.Error()
		}
		if err := n.say("reconnecting", fmt.Sprintf("reconnecting, attempt %d: %s", s.Attempt, why), map[string]any{"attempt": s.Attempt, "error": why}); err != nil {
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
	for _, up := range s.Upstreams {
		if why := up.Dropped; why != nil && !n.dropped[up.Tunnel] {
			n.dropped[up.Tunnel] = true
			fields := map[string]any{"tunnel": up.Tunnel, "code": why.Code, "error": why.Message}
			if err := n.say("dropped", fmt.Sprintf("%s is closed: %s", up.Tunnel, why.Message), fields); err != nil {
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

func (n *notices) say(kind, text string, fields map[string]any) error {
	if n.o.json {
		fields["v"], fields["type"] = 1, kind
		return n.out.encode(fields)
	}
	_, err := fmt.Fprintln(n.o.stderr, format.Sanitize(text))
	return err
}
