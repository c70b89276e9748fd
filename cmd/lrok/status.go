package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

// A state is all that lrok status tells.
type state struct {
	Edge      string          `json:"edge"`
	From      string          `json:"from"` // where the edge was named
	Reachable bool            `json:"reachable"`
	Error     *tunnel.Error   `json:"error,omitempty"`
	LatencyMS float64         `json:"latencyMs,omitempty"` // of one call there and back
	Me        *client.Me      `json:"me,omitempty"`
	Plan      *client.Plan    `json:"plan,omitempty"`
	Tunnels   []client.Tunnel `json:"tunnels"`
	Domains   []client.Domain `json:"domains"`
}

func newStatus(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the edge, whether it can be reached, the key, limits, tunnels and domains",
		Example: `  lrok status
  lrok status --json | jq .plan.tunnels`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := o.findReach()
			if err != nil {
				return err
			}
			s, err := o.state(cmd.Context(), r)
			if o.json {
				if perr := printJSON(o.stdout, s); perr != nil {
					return perr
				}
			} else if perr := o.showState(s); perr != nil {
				return perr
			}
			return err
		},
	}
}

// state asks the edge. What could be found out is there with an error as well.
func (o *options) state(ctx context.Context, r *reach) (s state, err error) {
	s = state{Edge: r.Edge, From: r.from, Tunnels: []client.Tunnel{}, Domains: []client.Domain{}}
	defer func() {
		if err != nil && !errors.As(err, &s.Error) {
			s.Error = &tunnel.Error{Code: tunnel.CodeInternal, Message: err.Error()}
		}
	}()
	api, done, err := o.apiOf(ctx, r)
	if err != nil {
		s.Reachable = !isCode(err, codeUnreachable) // who refuses has answered
		return s, err
	}
	defer done()
	s.Reachable = true
	me, err := api.Me(ctx)
	if err != nil {
		return s, err
	}
	s.Me = &me
	began := time.Now() // the first call opened the stream
	plan, err := api.Plan(ctx)
	if err != nil {
		return s, err
	}
	s.LatencyMS = float64(time.Since(began).Microseconds()) / 1000
	s.Plan = &plan
	if s.Tunnels, err = api.Tunnels(ctx); err != nil {
		return s, err
	}
	s.Domains, err = api.Domains(ctx)
	return s, err
}

func (o *options) showState(s state) error {
	var b strings.Builder
	say := func(what, text string) { _, _ = fmt.Fprintf(&b, "%-13s %s\n", what, format.Sanitize(text)) }
	say("edge", s.Edge+from(s.From))
	switch {
	case !s.Reachable:
		say("reachable", "no")
	case s.LatencyMS > 0:
		say("reachable", "yes, there and back in "+format.Duration(time.Duration(s.LatencyMS*float64(time.Millisecond))))
	default:
		say("reachable", "yes")
	}
	if s.Me != nil {
		say("software", s.Me.Edge.Software)
		say("user", s.Me.Name+" ("+s.Me.ID+")"+map[bool]string{true: ", administrator"}[s.Me.Admin])
		say("key", describeKey(s.Me.Key)+", "+keyState(s.Me.Key))
	}
	if s.Plan != nil {
		say("tunnels", used(s.Plan.Tunnels.Active, s.Plan.Tunnels.Limit))
		say("reservations", used(s.Plan.Reservations.Used, s.Plan.Reservations.Limit))
	}
	if _, err := fmt.Fprint(o.stdout, b.String()); err != nil {
		return err
	}
	if len(s.Tunnels) > 0 {
		_, _ = fmt.Fprintln(o.stdout)
		if err := o.showTunnels(s.Tunnels, nil, nil); err != nil {
			return err
		}
	}
	var wrong []client.Domain
	for _, d := range s.Domains {
		if d.State == stateFailing || d.State == stateLapsed {
			wrong = append(wrong, d)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(o.stdout)
	t := o.table("DOMAIN", "STATE", "PROBLEM")
	for _, d := range wrong {
		t.row(d.Domain, domainState(d), dash(d.Problem))
	}
	return t.write(o.stdout)
}

func from(where string) string {
	if where == "" {
		return ""
	}
	return " (from " + where + ")"
}

func used(n int, limit *int) string {
	if limit == nil {
		return strconv.Itoa(n) + ", no limit"
	}
	return fmt.Sprintf("%d of %d", n, *limit)
}

// showTunnels prints tunnels as a table; owners, if not nil, are the users'
// names by id, and of the owner of each tunnel.
func (o *options) showTunnels(ts []client.Tunnel, owners []string, users map[string]string) error {
	head := []string{"TUNNEL", "URL", "?LOCAL", "STATE", "?SINCE", "?>REQUESTS", "?>IN", "?>OUT", "?FROM"}
	if users != nil {
		head = append([]string{"USER"}, head...)
	}
	t := o.table(head...)
	for i, c := range ts {
		state := "online"
		if !c.Online {
			state = "away"
		}
		n := c.Requests
		if c.Kind != tunnel.HTTP {
			n = c.Connections
		}
		row := []string{c.Subdomain, c.PublicURL, c.Local, state, when(&c.Since), format.Count(n), format.Size(c.BytesIn), format.Size(c.BytesOut), strings.TrimSpace(c.Machine + " " + c.RemoteAddr)}
		if users != nil {
			row = append([]string{userName(users, owners[i])}, row...)
		}
		t.row(row...)
	}
	return t.write(o.stdout)
}

func userName(users map[string]string, id string) string {
	if name := users[id]; name != "" {
		return name
	}
	return dash(id)
}
