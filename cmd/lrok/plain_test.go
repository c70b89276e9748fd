package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// Every state of a tunnel is a sentence for who listens, an event for a program,
// and for everybody else there is what they would not notice otherwise.
func TestNotices(t *testing.T) {
	const local = "http://localhost:3000"
	grant := tunnel.Grant{Name: "shop", URL: "https://shop.tun.test"}
	next := time.Now().Add(time.Second)
	online := agent.Status{State: agent.Online, Upstreams: []agent.Upstream{{Tunnel: "shop", Local: local}}}
	down := agent.Status{State: agent.Online, Upstreams: []agent.Upstream{{Tunnel: "shop", Local: local, Down: true, Err: "connection refused\x1b[2J"}}}
	life := []agent.Status{
		{State: agent.Connecting, Attempt: 1},
		{State: agent.Connecting, Attempt: 1, Err: errors.New("i/o timeout"), Next: next},
		online, down, down, online,
		{State: agent.Reconnecting},
		{State: agent.Reconnecting, Attempt: 1, Next: next, Err: &tunnel.Error{Code: tunnel.CodeDraining, Message: "the edge sends its agents away: it is updated"}},
		{State: agent.Reconnecting, Attempt: 2, Next: next, Err: errors.New("connection refused"), OfflineSince: time.Now()},
		online,
	}
	for _, tt := range []struct {
		name       string
		o          options
		out, extra string
	}{
		{"listening", options{plain: true}, "", `connecting to the edge at edge:7000
attempt 1 failed: i/o timeout; trying again
the tunnel is live
http://localhost:3000 does not answer: connection refused␛[2J
http://localhost:3000 answers again
the edge sends its agents away: it is updated; reconnecting
reconnecting, attempt 2: connection refused
online again after 3s; requests in that time were not captured
shop is closed
`},
		{"a pipe", options{}, "", `http://localhost:3000 does not answer: connection refused␛[2J
http://localhost:3000 answers again
the edge sends its agents away: it is updated; reconnecting
reconnecting, attempt 2: connection refused
online again after 3s; requests in that time were not captured
`},
		{"a program", options{json: true, plain: true}, `{"error":"connection refused\u001b[2J","local":"http://localhost:3000","type":"upstream_down","v":1}
{"local":"http://localhost:3000","type":"upstream_up","v":1}
{"attempt":1,"code":"draining","error":"the edge sends its agents away: it is updated","type":"reconnecting","v":1}
{"attempt":2,"error":"connection refused","type":"reconnecting","v":1}
{"seconds":3,"type":"reconnected","v":1}
{"name":"shop","type":"closed","url":"https://shop.tun.test","v":1}
`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			o := &tt.o
			o.stdout, o.stderr = &stdout, &stderr
			n := &notices{o: o, out: o.lines(&stdout), edge: "edge:7000", live: []tunnel.Grant{grant}, down: map[string]bool{}, dropped: map[string]bool{}}
			for _, s := range life {
				if s.State == agent.Online && n.state == agent.Reconnecting {
					n.gone = time.Now().Add(-3 * time.Second)
				}
				if err := errors.Join(n.connecting(s), n.tell(s)); err != nil {
					t.Fatal(err)
				}
			}
			if err := n.closed(agent.Status{State: agent.Online}); err != nil {
				t.Fatal(err)
			}
			if stdout.String() != tt.out || stderr.String() != tt.extra {
				t.Errorf("standard output:\n%s\nwant\n%s\nstandard error:\n%s\nwant\n%s", &stdout, tt.out, &stderr, tt.extra)
			}
		})
	}
}

// A tunnel that was closed by the edge is not closed once more at the end.
func TestClosedOnce(t *testing.T) {
	var stdout bytes.Buffer
	o := &options{json: true, stdout: &stdout}
	grants := []tunnel.Grant{{Name: "shop", URL: "https://shop.tun.test"}, {Name: "db", URL: "tcp://tun.test:30007"}}
	n := &notices{o: o, out: o.lines(&stdout), live: grants, state: agent.Online, down: map[string]bool{}, dropped: map[string]bool{}}
	taken := &tunnel.Error{Code: tunnel.CodeName, Message: "another lrok took it over"}
	s := agent.Status{State: agent.Online, Upstreams: []agent.Upstream{{Tunnel: "shop", Dropped: taken}, {Tunnel: "db"}}}
	for range 2 {
		if err := n.tell(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.closed(agent.Status{State: agent.Closed, Err: taken}); err != nil {
		t.Fatal(err)
	}
	want := `{"code":"` + tunnel.CodeName + `","error":"another lrok took it over","name":"shop","type":"closed","url":"https://shop.tun.test","v":1}
{"code":"` + tunnel.CodeName + `","error":"another lrok took it over","name":"db","type":"closed","url":"tcp://tun.test:30007","v":1}
`
	if stdout.String() != want {
		t.Errorf("events:\n%s\nwant\n%s", &stdout, want)
	}
}

// TestLineOfCall: the line of a gRPC call says how that ended, whatever its status.
func TestLineOfCall(t *testing.T) {
	for _, tt := range []struct {
		code, message, want string
		failed              bool
	}{
		{"0", "", "200 1.0s 0 /shop.Orders/Get  grpc ok", false},
		{"5", "no such%20order\x1b", "200 1.0s 0 /shop.Orders/Get  failed, grpc not found: no such order\u241b", true},
		{"", "", "200 1.0s 0 /shop.Orders/Get", false},
	} {
		x := inspector.Exchange{Kind: inspector.GRPC, State: inspector.Done, Number: 7, Method: "POST", Path: "/shop.Orders/Get", Status: 200}
		x.Timing.Done = time.Second
		if tt.code != "" {
			x.Response.Trailer = []inspector.Field{{Name: "grpc-status", Value: tt.code}, {Name: "grpc-message", Value: tt.message}}
		}
		l := lines{}
		got := l.text(&x)
		if _, rest, _ := strings.Cut(got, "#7"); strings.Join(strings.Fields(rest), " ") != "POST "+strings.Join(strings.Fields(tt.want), " ") {
			t.Errorf("line = %q, want %q", got, tt.want)
		}
		l.color = true
		if red := strings.HasPrefix(l.text(&x), "\x1b[31m"); red != tt.failed {
			t.Errorf("code %q is red: %v, want %v", tt.code, red, tt.failed)
		}
	}
}
