package forward

import (
	"bufio"
	"bytes"
	"context"
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

// endless is a service whose exchanges do not end by themselves. It reports each
// on begun.
func endless(t *testing.T, h2c bool) (local string, begun <-chan struct{}) {
	t.Helper()
	c := make(chan struct{}, 16)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ws":
			nc, buf, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = nc.Close() }()
			_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			c <- struct{}{}
			_, _ = io.Copy(nc, buf)
			return
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
		case "/call":
			w.Header().Set("Content-Type", "application/grpc")
			_ = http.NewResponseController(w).Flush()
		case "/download":
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "some")
			_ = http.NewResponseController(w).Flush()
		case "/flood": // more than the client takes
			_, _ = w.Write(make([]byte, 1))
			_ = http.NewResponseController(w).Flush()
			c <- struct{}{}
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 64<<10))
			}
			return
		}
		c <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body) // else net/http does not see the client leave
		<-r.Context().Done()
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(!h2c)
	s.Config.Protocols.SetUnencryptedHTTP2(h2c)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), c
}

func TestClosedTunnelEndsItsExchanges(t *testing.T) {
	for _, test := range []struct {
		name  string
		head  string // of the request
		claim tunnel.Claim
		read  string // from the client until the tunnel is closed; an answer's head is left out
		want  string // the answer's code after that, or "" for an answer that breaks off
	}{
		{"waiting", "GET /wait HTTP/1.1\r\n", tunnel.Claim{}, "", tunnel.CodeTunnelNotFound},
		{"waiting, uninspected", "GET /wait HTTP/1.1\r\n", tunnel.Claim{NoInspect: true}, "", tunnel.CodeTunnelNotFound},
		{"uploading", "POST /wait HTTP/1.1\r\nContent-Length: 10\r\n", tunnel.Claim{}, "", tunnel.CodeTunnelNotFound},
		{"downloading", "GET /download HTTP/1.1\r\n", tunnel.Claim{}, "some", ""},
		{"not reading", "GET /flood HTTP/1.1\r\n", tunnel.Claim{}, "", ""},
		{"event stream", "GET /events HTTP/1.1\r\n", tunnel.Claim{}, "data: x\n\n", ""},
		{"event stream, uninspected", "GET /events HTTP/1.1\r\n", tunnel.Claim{NoInspect: true}, "data: x\n\n", ""},
		{"WebSocket", "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", tunnel.Claim{}, "", ""},
		{"WebSocket, uninspected", "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", tunnel.Claim{NoInspect: true}, "", ""},
		{"waiting for HTTP/2", "GET /wait HTTP/1.1\r\n", tunnel.Claim{UpstreamProto: "h2c"}, "", tunnel.CodeTunnelNotFound},
		{"event stream from HTTP/2", "GET /events HTTP/1.1\r\n", tunnel.Claim{UpstreamProto: "h2c"}, "data: x\n\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			local, begun := endless(t, test.claim.UpstreamProto == "h2c")
			test.claim.Name = "locked"
			r := start(t, local).claim(t, "u", local, test.claim)
			nc, br := r.dial(t)
			_, _ = io.WriteString(nc, test.head+"Host: locked.tun.test\r\n\r\n")
			within(t, "the service has the request", begun)
			var body io.Reader = br
			if test.want == "" {
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != http.StatusSwitchingProtocols {
					body = res.Body
				} else if _, err := io.WriteString(nc, "ping"); err != nil {
					t.Fatal(err)
				} else {
					test.read = "ping"
				}
				b := make([]byte, len(test.read))
				if _, err := io.ReadFull(body, b); err != nil || string(b) != test.read {
					t.Fatalf("read %q, %v, want %q", b, err, test.read)
				}
			}
			if !r.f.cfg.Registry.CloseTunnel("u", "locked") {
				t.Fatal("there is no tunnel to close")
			}
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			if test.want != "" {
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatalf("no answer within %v of the close: %v", patience, err)
				}
				if got := res.Header.Get("Lrok-Error-Code"); res.StatusCode != 404 || got != test.want {
					t.Errorf("answer %d %s, want 404 %s", res.StatusCode, got, test.want)
				}
				return
			}
			n, err := io.Copy(io.Discard, body)
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				t.Errorf("the exchange goes on %v after its tunnel was closed", patience)
			} else if err == nil && body != io.Reader(br) {
				t.Errorf("%d bytes and an orderly end, want an answer that breaks off", n)
			}
		})
	}
}

func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("not in time: %s", what)
	}
}

func TestClosedTunnelEndsItsExchangesOverHTTP2(t *testing.T) {
	for _, test := range []struct {
		path, kind string
		claim      tunnel.Claim
		want       string
	}{
		{"/wait", "", tunnel.Claim{}, tunnel.CodeTunnelNotFound},
		{"/events", "", tunnel.Claim{}, ""},
		{"/events", "", tunnel.Claim{NoInspect: true}, ""},
		{"/flood", "", tunnel.Claim{}, ""},
		{"/wait", "", tunnel.Claim{UpstreamProto: "h2c"}, tunnel.CodeTunnelNotFound},
		{"/events", "", tunnel.Claim{UpstreamProto: "h2c"}, ""},
		{"/call", "application/grpc", tunnel.Claim{UpstreamProto: "h2c"}, ""},
	} {
		t.Run(strings.Trim(fmt.Sprint(test.path, " ", test.claim.UpstreamProto), " "), func(t *testing.T) {
			local, begun := endless(t, test.claim.UpstreamProto == "h2c")
			test.claim.Name = "locked"
			r := start(t, local).claim(t, "u", local, test.claim)
			addr := r.secure(t)
			c := over2(t, addr, "locked.tun.test", true)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "GET", "https://"+addr+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "locked.tun.test"
			if test.kind != "" {
				req.Header.Set("Content-Type", test.kind)
			}
			type outcome struct {
				res *http.Response
				err error
			}
			answered := make(chan outcome, 1)
			go func() {
				res, err := c.Do(req)
				answered <- outcome{res, err}
			}()
			within(t, "the service has the request", begun)
			var o outcome
			if test.want == "" {
				if o = <-answered; o.err != nil {
					t.Fatal(o.err)
				}
			}
			r.f.cfg.Registry.CloseTunnel("u", "locked")
			if test.want != "" {
				if o = <-answered; o.err != nil {
					t.Fatal(o.err)
				}
				if got := o.res.Header.Get("Lrok-Error-Code"); o.res.StatusCode != 404 || got != test.want {
					t.Errorf("answer %d %s, want 404 %s", o.res.StatusCode, got, test.want)
				}
			} else if _, err := io.Copy(io.Discard, o.res.Body); err == nil {
				t.Error("an orderly end, want an answer that breaks off")
			}
			_ = o.res.Body.Close()
			waitFor(t, func() bool {
				r.f.mu.Lock()
				defer r.f.mu.Unlock()
				return len(r.f.requests) == 0
			})
		})
	}
}

// startSocket starts an edge with a WebSocket through it to an endless service.
func startSocket(t *testing.T, local string, begun <-chan struct{}) (r *rig, nc net.Conn, br *bufio.Reader) {
	t.Helper()
	r = start(t, local)
	nc, br = r.dial(t)
	_, _ = io.WriteString(nc, "GET /ws HTTP/1.1\r\nHost: a.tun.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	within(t, "the service has the request", begun)
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Fatal(err)
	}
	return r, nc, br
}

// TestReturningAgentKeepsItsExchanges: an agent that goes, and one of the same
// user that comes, end nothing that their links still carry.
func TestReturningAgentKeepsItsExchanges(t *testing.T) {
	local, begun := endless(t, false)
	r, nc, br := startSocket(t, local, begun)
	reg := r.f.cfg.Registry
	for what, change := range map[string]func(){
		"the agent went": func() { reg.Release(r.sess) },
		"another took over": func() {
			claim := tunnel.Claim{Kind: tunnel.HTTP, Name: "a", Local: "http://" + local, Takeover: true}
			if _, err := reg.Claim(t.Context(), &direct{addr: local}, "u", "i2", "m2", []tunnel.Claim{claim}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		change()
		if now, ok := reg.Tunnel("a"); !ok || closed(now) || closed(r.tunnel) {
			t.Fatalf("%s, and the tunnel counts as closed", what)
		}
		sweeps(t, r)
		_, _ = io.WriteString(nc, what)
		b := make([]byte, len(what))
		if _, err := io.ReadFull(br, b); err != nil || string(b) != what {
			t.Errorf("%s: the WebSocket echoes %q, %v", what, b, err)
		}
	}
}

// sweeps looks at all connections twice, as Run does.
func sweeps(t *testing.T, r *rig) {
	t.Helper()
	for range 2 {
		r.f.sweep(time.Now())
	}
}

// TestBridgeKeepsToItsTunnel: a request that has been let in to a tunnel goes to
// no other one that has its name by then.
func TestBridgeKeepsToItsTunnel(t *testing.T) {
	l := NewListener()
	defer func() { _ = l.Close() }()
	far := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		far <- c
	}()
	want := &registry.Tunnel{Name: "a"}
	near, err := l.open("192.0.2.1:1", want)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = near.Close() }()
	if c := (<-far).(*pipe); c.tunnel != want || c.RemoteAddr().String() != "192.0.2.1:1" {
		t.Errorf("the server got %v from %v, want the very tunnel, from 192.0.2.1:1", c.tunnel, c.RemoteAddr())
	}
}

// TestCounters sends one exchange over each path and looks at what is counted.
func TestCounters(t *testing.T) {
	const size = 100_000
	body := strings.Repeat("x", size)
	post := "POST /echo HTTP/1.1\r\nHost: locked.tun.test\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n" + body
	http1 := func(raw string) func(*testing.T, *rig) {
		return func(t *testing.T, r *rig) {
			c, br := r.dial(t)
			ask(t, c, br, raw)
		}
	}
	http2 := func(kind string) func(*testing.T, *rig) {
		return func(t *testing.T, r *rig) {
			addr := r.secure(t)
			req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+addr+"/echo", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "locked.tun.test"
			req.Header.Set("Content-Type", kind)
			res, err := over2(t, addr, req.Host, true).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}
	h2c := tunnel.Claim{UpstreamProto: "h2c"}
	for _, test := range []struct {
		name     string
		claim    tunnel.Claim
		send     func(*testing.T, *rig)
		requests int64
		bytes    int64 // each way, heads left out
	}{
		{"HTTP/1", tunnel.Claim{}, http1(post), 1, size},
		{"HTTP/1 to h2c", h2c, http1(post), 1, size},
		{"HTTP/2", tunnel.Claim{}, http2("text/plain"), 1, size},
		{"HTTP/2 to h2c", h2c, http2("text/plain"), 1, size},
		{"gRPC", h2c, http2("application/grpc"), 1, size},
		{"WebSocket", tunnel.Claim{}, func(t *testing.T, r *rig) {
			c, br := r.dial(t)
			_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: locked.tun.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			if _, err := http.ReadResponse(br, nil); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(c, body) }()
			if _, err := io.ReadFull(br, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}, 1, size},
		{"refused", tunnel.Claim{Deny: []string{"127.0.0.1"}}, http1(post), 1, 0},
		{"replayed", tunnel.Claim{}, func(t *testing.T, r *rig) {
			http1(post)(t, r)
			if _, err := r.f.Replay(t.Context(), r.tunnel, r.last(t), inspector.Changes{}); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return r.tunnel.Counters.BytesOut.Load() >= 2*size })
		}, 2, 2 * size},
	} {
		t.Run(test.name, func(t *testing.T) {
			local := echoes(t, test.claim.UpstreamProto == "h2c")
			test.claim.Name = "locked"
			r := start(t, local).claim(t, "u", local, test.claim)
			test.send(t, r)
			r.last(t) // has ended
			n := r.tunnel.Counters
			if got := n.Requests.Load(); got != test.requests {
				t.Errorf("Requests = %d, want %d", got, test.requests)
			}
			const heads = 2000
			if in := n.BytesIn.Load(); in < test.bytes || in > test.bytes+heads {
				t.Errorf("BytesIn = %d, want %d and the head", in, test.bytes)
			}
			if out := n.BytesOut.Load(); out < test.bytes || out > test.bytes+heads {
				t.Errorf("BytesOut = %d, want %d and the head", out, test.bytes)
			}
		})
	}
}

// echoes is a service that answers with what it gets, upgraded on /ws.
func echoes(t *testing.T, h2c bool) string {
	t.Helper()
	if !h2c {
		return rawService(t, func(c net.Conn, br *bufio.Reader) {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.URL.Path == "/ws" {
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				_, _ = io.Copy(c, br)
				return
			}
			b, _ := io.ReadAll(req.Body)
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
		})
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = io.Copy(w, bytes.NewReader(b))
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
