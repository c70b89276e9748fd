package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	r := start(t, local)
	nc, br := r.dial(t)
	_, _ = io.WriteString(nc, "GET /ws HTTP/1.1\r\nHost: a.tun.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	within(t, "the service has the request", begun)
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Fatal(err)
	}
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
