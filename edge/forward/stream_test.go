package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// TestUpgradeIsAConversation: who said what on a WebSocket, in which order, can be
// read from the capture.
func TestUpgradeIsAConversation(t *testing.T) {
	local, begun := endless(t, false)
	r, nc, br := startSocket(t, local, begun)
	const turns = 20
	sent := 0
	for i := range turns {
		// A frame that the service sends back as it is.
		f := append([]byte{0x81, 0x80 | byte(i), 0, 0, 0, 0}, strings.Repeat("x", i)...)
		sent += len(f)
		if _, err := nc.Write(f); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(br, make([]byte, len(f))); err != nil {
			t.Fatal(err)
		}
	}
	x, _ := r.tunnel.Ring.Find(r.tunnel.Ring.List(1, 0)[0].ID)
	if up, down := x.Request.Body, x.Response.Body; up.Items != turns || down.Items != turns || up.Size != int64(sent) || down.Last < up.Last {
		t.Errorf("up %d frames of %d bytes, down %d, want %d of %d both ways and the last one down", up.Items, up.Size, down.Items, turns, sent)
	}
	if len(x.Marks) != 2*turns {
		t.Fatalf("%d marks, want one for each of %d turns", len(x.Marks), 2*turns)
	}
	at, passed := time.Duration(0), [2]int64{}
	for i, m := range x.Marks {
		turn := i / 2
		if m.Response != (i%2 == 1) || m.At < at || m.Offset != passed[i%2] {
			t.Fatalf("mark %d = %+v, want turn %d at %d, not before %v", i, m, turn, passed[i%2], at)
		}
		at = m.At
		passed[i%2] += int64(6 + turn)
	}
}

// TestLongConversation: of a WebSocket that says many times what is kept of it, the
// beginning and the end of both sides are there.
func TestLongConversation(t *testing.T) {
	local, begun := endless(t, false)
	r, nc, br := startSocket(t, local, begun)
	const frames, size = 3000, 6 + 994
	sent := make([]byte, 0, frames*(size+2))
	for i := range frames {
		sent = append(sent, 0x81, 0x80|126, 994>>8, 994&0xff, 0, 0, 0, 0)
		sent = append(sent, fmt.Appendf(nil, "%0994d", i)...)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := nc.Write(sent)
		wrote <- err
	}()
	echo := make([]byte, len(sent))
	if _, err := io.ReadFull(br, echo); err != nil || !bytes.Equal(echo, sent) {
		t.Fatalf("the service says something else, %v", err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	x, _ := r.tunnel.Ring.Find(r.tunnel.Ring.List(1, 0)[0].ID)
	for side, b := range []inspector.Body{x.Request.Body, x.Response.Body} {
		tail := b.Tail
		if tail == nil || b.Size != int64(len(sent)) || b.Items != frames || b.Missing != "limit" {
			t.Fatalf("side %d: %d frames in %d bytes, missing %q, a tail: %v", side, b.Items, b.Size, b.Missing, tail != nil)
		}
		if b.Captured+tail.Size > 1<<20 || b.Captured < 1<<19 || tail.Size < 1<<18 {
			t.Errorf("side %d: %d and %d bytes are kept, want most of 1 MiB and no more", side, b.Captured, tail.Size)
		}
		if !bytes.HasPrefix(sent, b.Data) || !bytes.Equal(tail.Data, sent[tail.Offset:]) || tail.Offset%(size+2) != 0 {
			t.Errorf("side %d: the tail at %d is not what was said there, or no frame begins with it", side, tail.Offset)
		}
		kept := (b.Captured + size + 1) / (size + 2)
		if want := tail.Offset/(size+2) - kept; tail.Skipped != want {
			t.Errorf("side %d: %d frames are skipped, want %d", side, tail.Skipped, want)
		}
	}
}

// TestLongEventStream looks at an event stream while it goes on, long past what is
// kept of it.
func TestLongEventStream(t *testing.T) {
	const events = 40_000
	event := func(i int) string { return fmt.Sprintf("id: %d\ndata: {\"tick\":%d,\"of\":\"many\"}\n\n", i, i) }
	halfway, goOn := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range events {
			if i == events-1 {
				_ = http.NewResponseController(w).Flush()
				close(halfway)
				<-goOn
			}
			_, _ = io.WriteString(w, event(i))
		}
	}))
	t.Cleanup(s.Close)
	r := start(t, s.Listener.Addr().String())
	nc, br := r.dial(t)
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		data, err := io.ReadAll(res.Body)
		if err == nil && strings.Count(string(data), "\n\n") != events {
			err = fmt.Errorf("%d bytes have come", len(data))
		}
		got <- err
	}()
	within(t, "most events are sent", halfway)
	last := func() string {
		x, _ := r.tunnel.Ring.Find(r.tunnel.Ring.List(1, 0)[0].ID)
		b := x.Response.Body
		if b.Tail == nil {
			return ""
		}
		return string(b.Tail.Data)
	}
	until(t, "the newest event is seen", func() bool { return strings.HasSuffix(last(), event(events-2)) })
	if first, _, _ := strings.Cut(last(), "\n\n"); !strings.HasPrefix(first, "id: ") {
		t.Errorf("the last part begins with %q, want an event", first)
	}
	close(goOn)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	x := r.last(t)
	if b := x.Response.Body; b.Items != events || !strings.HasSuffix(string(b.Tail.Data), event(events-1)) {
		t.Errorf("%d events, want %d and the last one of them", b.Items, events)
	}
}

func TestRawFirstBytes(t *testing.T) {
	for name, claim := range map[string]tunnel.Claim{"captured": {}, "not captured": {NoInspect: true}} {
		t.Run(name, func(t *testing.T) {
			r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
				_, _ = io.WriteString(c, "220 hello\r\n")
				_, _ = io.Copy(io.Discard, c)
			}), claim)
			c := r.dial(t)
			said := bytes.Repeat([]byte("0123456789"), 100)
			_, _ = c.Write(said)
			_ = c.CloseWrite()
			if _, err := io.ReadAll(c); err != nil {
				t.Fatal(err)
			}
			if claim.NoInspect {
				if xs := r.tunnel.Ring.List(0, 0); len(xs) != 0 {
					t.Errorf("the ring has %+v, want nothing", xs)
				}
				return
			}
			x, _ := r.tunnel.Ring.Find(r.last(t).ID)
			if b := x.Request.Body; b.Size != 1000 || !bytes.Equal(b.Data, said[:256]) || b.Missing != "limit" {
				t.Errorf("the client said %q (%d, %q), want the first 256 bytes of 1000", b.Data, b.Size, b.Missing)
			}
			if b := x.Response.Body; string(b.Data) != "220 hello\r\n" || b.Missing != "" {
				t.Errorf("the service said %q (%q), want all of it", b.Data, b.Missing)
			}
		})
	}
}

// TestCloseConnections: the owner's call resets the connection at both ends.
func TestCloseConnections(t *testing.T) {
	for name, claim := range map[string]tunnel.Claim{"captured": {}, "not captured": {NoInspect: true}} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 8)
			r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
				_, _ = io.WriteString(c, "hi")
				_, err := io.ReadAll(c)
				ended <- err
			}), claim)
			open := func() *net.TCPConn {
				c := r.dial(t)
				if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
					t.Fatal(err)
				}
				return c
			}
			one, two, three := open(), open(), open()
			if n := r.f.CloseConnections(r.tunnel, "req_absent"); n != 0 {
				t.Errorf("%d connections of an unknown id were closed, want none", n)
			}
			if !claim.NoInspect {
				var id string
				for _, x := range r.tunnel.Ring.List(0, 0) {
					if x.Remote == two.LocalAddr().String() {
						id = x.ID
					}
				}
				if n := r.f.CloseConnections(r.tunnel, id); n != 1 {
					t.Errorf("%d connections of one id were closed, want it", n)
				}
				wantReset(t, two, "")
				<-ended
				if n := r.f.CloseConnections(r.tunnel, id); n != 0 {
					t.Errorf("%d connections were closed once more, want none", n)
				}
				x, _ := r.tunnel.Ring.Find(id)
				if x.State != inspector.Done || x.EndedBy != "edge" || x.Error != tunnel.CodeClosed {
					t.Errorf("exchange = %s, %q, %q, want it closed by the edge", x.State, x.EndedBy, x.Error)
				}
				_, _ = io.WriteString(one, "still here") // the others go on
			} else {
				_ = two.Close()
				<-ended
				until(t, "one is gone", func() bool { return r.tunnel.Counters.Open.Load() == 2 })
			}
			other := &registry.Tunnel{Name: "db", Ring: inspector.NewRing("db", 0, inspector.Limits{}, nil)}
			if n := r.f.CloseConnections(other, ""); n != 0 {
				t.Errorf("%d connections of another tunnel were closed, want none", n)
			}
			if n := r.f.CloseConnections(r.tunnel, ""); n != 2 {
				t.Errorf("%d connections were closed, want the other two", n)
			}
			for i, c := range []net.Conn{one, three} {
				if _, err := io.ReadAll(c); err == nil || errors.Is(err, io.EOF) {
					t.Errorf("connection %d ends with %v, want a reset", i, err)
				}
				<-ended
			}
			until(t, "none is open", func() bool { return r.tunnel.Counters.Open.Load() == 0 })
			if s := fmt.Sprint(len(r.tunnel.Ring.List(0, 0))); claim.NoInspect && s != "0" {
				t.Errorf("%s connections are in the ring, want none", s)
			}
		})
	}
}
