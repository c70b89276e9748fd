package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// A rawRig is a forwarder with a TCP tunnel "db" on a port of loopback.
type rawRig struct {
	f        *Forwarder
	reg      *registry.Registry
	tunnel   *registry.Tunnel
	sess     *direct
	addr     string
	listener io.Closer
	stop     func(patience time.Duration) error
}

func startRaw(t testing.TB, local string, claim tunnel.Claim, configure ...func(*Config)) *rawRig {
	t.Helper()
	r := &rawRig{sess: &direct{addr: local}}
	r.reg = registry.New(registry.Config{
		Domain: "tun.test", Ports: [2]int{30000, 30009},
		Listen: func(t *registry.Tunnel, _ int) (io.Closer, error) {
			l, err := r.f.ListenTCP(t, "127.0.0.1:0")
			if err == nil {
				r.listener, r.addr = l, l.(net.Listener).Addr().String()
			}
			return l, err
		},
	})
	cfg := Config{Registry: r.reg, Domain: "tun.test"}
	for _, c := range configure {
		c(&cfg)
	}
	r.f = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.f.Run(ctx) })
	claim.Name, claim.Local = "db", local
	if claim.Kind == "" {
		claim.Kind = tunnel.TCP
	}
	if _, err := r.reg.Claim(t.Context(), r.sess, "u", "i", "m", []tunnel.Claim{claim}); err != nil {
		t.Fatal(err)
	}
	r.tunnel, _ = r.reg.Tunnel("db")
	r.stop = func(patience time.Duration) error {
		ctx, done := context.WithTimeout(context.Background(), patience)
		defer done()
		return r.f.Shutdown(ctx)
	}
	t.Cleanup(func() {
		r.reg.CloseTunnel("u", "db")
		_ = r.stop(5 * time.Second)
		cancel()
		wg.Wait()
	})
	return r
}

func (r *rawRig) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// last waits until the newest connection in the ring has ended.
func (r *rawRig) last(t testing.TB) inspector.Exchange {
	t.Helper()
	var x inspector.Exchange
	until(t, "the newest connection ends", func() bool {
		xs := r.tunnel.Ring.List(1, 0)
		if len(xs) == 0 || xs[0].State != inspector.Done {
			return false
		}
		x = xs[0]
		return true
	})
	return x
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("it does not happen that %s", what)
		}
	}
}

// tcpService runs f for each connection, which is closed when f returns.
func tcpService(t testing.TB, f func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = c.SetDeadline(time.Now().Add(patience))
				f(c.(*net.TCPConn))
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

func wantReset(t testing.TB, c net.Conn, after string) {
	t.Helper()
	b, err := io.ReadAll(c)
	if !errors.Is(err, syscall.ECONNRESET) || string(b) != after {
		t.Errorf("read %q, %v, want %q and a reset", b, err, after)
	}
}

// wantRefused connects and fails unless that is answered with a reset, which may
// come before Dial returns.
func (r *rawRig) wantRefused(t testing.TB) {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err == nil {
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connecting ends with %v, want a reset", err)
	}
}

func TestRawServerSpeaksFirst(t *testing.T) {
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "220 hello\r\n")
		b, _ := io.ReadAll(c)
		_, _ = fmt.Fprintf(c, "got %d", len(b))
	}), tunnel.Claim{})
	c := r.dial(t)
	b := make([]byte, 11)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "220 hello\r\n" {
		t.Fatalf("read %q, %v before the client spoke, want the greeting", b, err)
	}
	xs := r.tunnel.Ring.List(0, 0)
	if len(xs) != 1 || xs[0].State != inspector.Open || xs[0].Kind != inspector.TCP {
		t.Fatalf("exchanges = %+v, want one open TCP connection", xs)
	}
	until(t, "the open connection shows its bytes to a watcher", func() bool {
		got, _ := r.tunnel.Ring.Since(xs[0].Version)
		return len(got) == 1 && got[0].Response.Body.Size == 11
	})
	_, _ = c.Write(bytes.Repeat([]byte("x"), 100_000))
	_ = c.CloseWrite() // the service answers after the end of what it reads
	if b, err := io.ReadAll(c); err != nil || string(b) != "got 100000" {
		t.Errorf("read %q, %v after the half-close, want %q", b, err, "got 100000")
	}
	x := r.last(t)
	if x.Failed() || x.Detail != "ended by the client (FIN)" {
		t.Errorf("ended by %q, %q, %q, want a clean end by the client", x.EndedBy, x.Error, x.Detail)
	}
	if x.Remote != c.LocalAddr().String() || x.Host != "tcp.tun.test:"+fmt.Sprint(r.tunnel.Port) || x.Scheme != "tcp" {
		t.Errorf("exchange is %s from %s to %s, want tcp from %s to tcp.tun.test:%d", x.Scheme, x.Remote, x.Host, c.LocalAddr(), r.tunnel.Port)
	}
	if x.Request.Body.Size != 100_000 || x.Response.Body.Size != 21 || x.Request.Body.Captured != 256 || x.Response.Body.Captured != 21 {
		t.Errorf("sizes = %+v and %+v, want 100000 and 21, the first 256 bytes kept", x.Request.Body, x.Response.Body)
	}
	n := r.tunnel.Counters
	if in, out, conns := n.BytesIn.Load(), n.BytesOut.Load(), n.Connections.Load(); in != 100_000 || out != 21 || conns != 1 {
		t.Errorf("counters = %d in, %d out, %d connections, want 100000, 21, 1", in, out, conns)
	}
	until(t, "no connection is counted as open", func() bool { return n.Open.Load() == 0 })
}

// TestRawReplay: a connection is no request, whatever is changed about it.
func TestRawReplay(t *testing.T) {
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello") }), tunnel.Claim{})
	c := r.dial(t)
	_ = c.CloseWrite()
	_, _ = io.ReadAll(c)
	before := r.sess.opened()
	_, err := r.f.Replay(t.Context(), r.tunnel, r.last(t), inspector.Changes{Method: "GET", Path: "/"})
	var te *tunnel.Error
	if !errors.As(err, &te) || te.Code != "replay_refused" {
		t.Errorf("Replay = %v, want replay_refused", err)
	}
	if n := r.sess.opened(); n != before {
		t.Errorf("%d streams were opened for it, want none", n-before)
	}
}

func TestRawServiceEndsFirst(t *testing.T) {
	got := make(chan string, 1)
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
	}), tunnel.Claim{})
	c := r.dial(t)
	if b, err := io.ReadAll(c); err != nil || string(b) != "bye" {
		t.Fatalf("read %q, %v, want %q and the end", b, err, "bye")
	}
	_, _ = io.WriteString(c, "still here")
	_ = c.CloseWrite()
	if s := <-got; s != "still here" {
		t.Errorf("after its end the service read %q, want %q", s, "still here")
	}
	if x := r.last(t); x.Failed() || x.Detail != "ended by the service (FIN)" {
		t.Errorf("ended by %q, %q, want a clean end by the service", x.EndedBy, x.Detail)
	}
}

func TestRawResets(t *testing.T) {
	t.Run("by the client", func(t *testing.T) {
		failed := make(chan error, 1)
		r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
			_, err := io.ReadAll(c)
			failed <- err
		}), tunnel.Claim{})
		c := r.dial(t)
		_, _ = io.WriteString(c, "x")
		until(t, "the byte arrives", func() bool { return r.tunnel.Counters.BytesIn.Load() == 1 })
		_ = c.SetLinger(0)
		_ = c.Close()
		if x := r.last(t); x.EndedBy != "client" || x.Error != tunnel.CodeClientAborted {
			t.Errorf("ended by %q, %q, want the client", x.EndedBy, x.Error)
		}
		<-failed // end or reset: the stream that stands in for a session closes plainly
	})
	t.Run("by the service", func(t *testing.T) {
		r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "half")
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
		}), tunnel.Claim{})
		c := r.dial(t)
		_, _ = io.ReadFull(c, make([]byte, 4))
		_, _ = io.WriteString(c, "x")
		wantReset(t, c, "")
		if x := r.last(t); x.EndedBy == "client" || x.EndedBy == "" || x.Response.Body.Size != 4 {
			t.Errorf("ended by %q after %d bytes, want a failure that is not the client's after 4", x.EndedBy, x.Response.Body.Size)
		}
	})
}

func TestRawRefused(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	_ = free.Close()
	sink := tcpService(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	for _, test := range []struct {
		name    string
		local   string
		claim   tunnel.Claim
		prepare func(*rawRig)
		code    string
		by      string
		detail  string
	}{
		{"service down", nobody, tunnel.Claim{}, nil, tunnel.CodeUpstreamRefused, "upstream", "connection refused"},
		{"denied", sink, tunnel.Claim{Deny: []string{"127.0.0.0/8"}}, nil, tunnel.CodeAccessDenied, "edge", "127.0.0.1"},
		{"not allowed", sink, tunnel.Claim{Allow: []string{"203.0.113.0/24"}}, nil, tunnel.CodeAccessDenied, "edge", "127.0.0.1"},
		{"tunnel full", sink, tunnel.Claim{}, func(r *rawRig) { r.tunnel.Counters.Open.Store(defaultTCPTunnel) }, tunnel.CodeLimit, "edge", "1024"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := startRaw(t, test.local, test.claim)
			if test.prepare != nil {
				test.prepare(r)
			}
			r.wantRefused(t)
			x := r.last(t)
			if x.Error != test.code || x.EndedBy != test.by || !strings.Contains(x.Detail, test.detail) {
				t.Errorf("exchange ended by %q with %q, %q, want %q with %q, ...%s...", x.EndedBy, x.Error, x.Detail, test.by, test.code, test.detail)
			}
			wantConns := int64(0)
			if test.code == tunnel.CodeUpstreamRefused {
				wantConns = 1
			}
			if n := r.tunnel.Counters.Connections.Load(); n != wantConns {
				t.Errorf("Connections = %d, want %d", n, wantConns)
			}
			if n := r.sess.opened(); n != 0 {
				t.Errorf("%d streams were opened, want none", n)
			}
		})
	}
}

func TestRawPerAddress(t *testing.T) {
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hi")
		_, _ = io.Copy(io.Discard, c)
	}), tunnel.Claim{}, func(c *Config) { c.TCPPerAddr = 3 })
	var open []*net.TCPConn
	for range 3 {
		c := r.dial(t)
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Fatalf("connection %d: %v", len(open)+1, err)
		}
		open = append(open, c)
	}
	r.wantRefused(t)
	if x := r.last(t); x.Error != tunnel.CodeLimit || !strings.Contains(x.Detail, "127.0.0.1") {
		t.Errorf("the fourth ended with %q, %q, want %q and whose connections are too many", x.Error, x.Detail, tunnel.CodeLimit)
	}
	_ = open[0].Close()
	until(t, "there is room again", func() bool {
		c := r.dial(t)
		_, err := io.ReadFull(c, make([]byte, 2))
		_ = c.Close()
		return err == nil
	})
}

func TestRawProxyHeader(t *testing.T) {
	for version, want := range map[string]string{
		"v1": "PROXY TCP4 127.0.0.1 127.0.0.1 ",
		"v2": proxySignature + "\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01",
	} {
		got := make(chan string, 1)
		r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
			b, _ := io.ReadAll(c)
			got <- string(b)
		}), tunnel.Claim{ProxyProtocol: version})
		c := r.dial(t)
		_, _ = io.WriteString(c, "hello")
		_ = c.CloseWrite()
		if s := <-got; !strings.HasPrefix(s, want) || !strings.HasSuffix(s, "hello") {
			t.Errorf("%s: the service read %q, want %q...hello", version, s, want)
		}
		if x := r.last(t); x.Request.Body.Size != 5 {
			t.Errorf("%s: size = %d, want 5: the header is not the client's", version, x.Request.Body.Size)
		}
	}
}

// TestRawProxyHeaderComesFirst: a service that speaks first gets the header
// before the client has said anything.
func TestRawProxyHeaderComesFirst(t *testing.T) {
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
		b := make([]byte, 6)
		_, _ = io.ReadFull(c, b)
		_, _ = c.Write(b)
		_, _ = io.Copy(io.Discard, c)
	}), tunnel.Claim{ProxyProtocol: "v1"})
	c := r.dial(t)
	b := make([]byte, 6)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "PROXY " {
		t.Errorf("the service has %q, %v, want the header", b, err)
	}
}

func TestRawUninspected(t *testing.T) {
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) }), tunnel.Claim{NoInspect: true})
	c := r.dial(t)
	_, _ = io.WriteString(c, "x")
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c); string(b) != "x" {
		t.Errorf("read %q, %v, want the echo", b, err)
	}
	if xs := r.tunnel.Ring.List(0, 0); len(xs) != 0 {
		t.Errorf("%d exchanges are recorded, want none", len(xs))
	}
	if n := r.tunnel.Counters.BytesOut.Load(); n != 1 {
		t.Errorf("BytesOut = %d, want 1: counters are not captures", n)
	}
}

// TestRawStall: while a service does not read, a client cannot send more than a
// few buffers' worth, and the other direction goes on.
func TestRawStall(t *testing.T) {
	release := make(chan struct{})
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello")
		<-release
		_, _ = io.Copy(io.Discard, c)
		_, _ = io.WriteString(c, "done")
	}), tunnel.Claim{})
	c := r.dial(t)
	_ = c.SetWriteBuffer(64 << 10)
	_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	const total = 256 << 20
	sent, err := io.CopyN(c, zeros{}, total)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes went out to a service that reads nothing, %v", sent, err)
	}
	in := r.tunnel.Counters.BytesIn.Load()
	if in > 64<<20 { // what the kernel buffers for the service, which tunes itself
		t.Errorf("%d MiB were taken for a service that reads nothing", in>>20)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("the other direction yields %q, %v, want %q", b, err, "hello")
	}
	close(release)
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "done" {
		t.Errorf("read %q, %v after the service read on, want %q", b, err, "done")
	}
	if x := r.last(t); x.Request.Body.Size != sent {
		t.Errorf("size = %d, want the %d bytes that were sent", x.Request.Body.Size, sent)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestRawShutdown(t *testing.T) {
	echo := func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hi")
		_, _ = io.Copy(c, c)
	}
	t.Run("waits", func(t *testing.T) {
		r := startRaw(t, tcpService(t, echo), tunnel.Claim{})
		c := r.dial(t)
		_, _ = io.ReadFull(c, make([]byte, 2))
		done := make(chan error, 1)
		go func() { done <- r.stop(patience) }()
		until(t, "nothing is accepted any more", func() bool {
			c, err := net.Dial("tcp", r.addr)
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
		_, _ = io.WriteString(c, "x")
		_ = c.CloseWrite()
		if b, err := io.ReadAll(c); string(b) != "x" {
			t.Errorf("read %q, %v during the drain, want the echo", b, err)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown = %v, want nil: the connection has ended by itself", err)
		}
	})
	t.Run("gives up", func(t *testing.T) {
		r := startRaw(t, tcpService(t, echo), tunnel.Claim{})
		c := r.dial(t)
		_, _ = io.ReadFull(c, make([]byte, 2))
		if err := r.stop(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v, want a deadline", err)
		}
		wantReset(t, c, "")
		if x := r.last(t); x.EndedBy != "edge" || x.Error != tunnel.CodeDraining {
			t.Errorf("ended by %q, %q, want the edge that drains", x.EndedBy, x.Error)
		}
	})
}

// TestRawTunnelGone: who closes a tunnel closes the connections through it.
func TestRawTunnelGone(t *testing.T) {
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hi")
		_, _ = io.Copy(c, c)
	}), tunnel.Claim{})
	c := r.dial(t)
	_, _ = io.ReadFull(c, make([]byte, 2))
	r.reg.CloseTunnel("u", "db")
	wantReset(t, c, "")
	if c, err := net.Dial("tcp", r.addr); err == nil {
		_ = c.Close()
		t.Error("the port is still open")
	}
}

func TestListenTCPAfterShutdown(t *testing.T) {
	r := startRaw(t, "127.0.0.1:1", tunnel.Claim{})
	if err := r.stop(time.Second); err != nil {
		t.Fatal(err)
	}
	if l, err := r.f.ListenTCP(r.tunnel, "127.0.0.1:0"); err == nil {
		_ = l.Close()
		t.Error("a port was opened after Shutdown")
	}
}

// TestRawManyInRing: a ring smaller than what is open forgets, the counters do
// not.
func TestRawManyInRing(t *testing.T) {
	r := startRaw(t, tcpService(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) }), tunnel.Claim{}, func(c *Config) { c.TCPPerAddr = 200 })
	const n = inspector.RingSize + 1
	var conns []*net.TCPConn
	for range n {
		c := r.dial(t)
		_, _ = io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	counters := r.tunnel.Counters
	if open, ever := counters.Open.Load(), counters.Connections.Load(); open != n || ever != n {
		t.Errorf("%d open of %d, want %d of %d", open, ever, n, n)
	}
	if xs := r.tunnel.Ring.List(0, 0); len(xs) != inspector.RingSize {
		t.Errorf("%d exchanges in the ring, want %d", len(xs), inspector.RingSize)
	}
	for _, c := range conns {
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
	}
	until(t, "all have ended", func() bool { return counters.Open.Load() == 0 })
	if in, out := counters.BytesIn.Load(), counters.BytesOut.Load(); in != n || out != n {
		t.Errorf("%d bytes in, %d out, want %d each", in, out, n)
	}
}

// BenchmarkRelay moves 1 MiB at a time through a raw connection, without a
// session between edge and service.
func BenchmarkRelay(b *testing.B) {
	const size = 1 << 20
	r := startRaw(b, tcpService(b, func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, c)
	}), tunnel.Claim{})
	c := r.dial(b)
	_ = c.SetDeadline(time.Time{})
	data := make([]byte, size)
	b.SetBytes(size)
	for b.Loop() {
		if _, err := c.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	_ = c.CloseWrite()
	_, _ = io.ReadAll(c)
}

// TestRawBehindProxy: a trusted balancer in front of the ports says who the
// client is; that one is let in or not, recorded, told to the service and
// counted.
func TestRawBehindProxy(t *testing.T) {
	behind := func(prefix string) func(*Config) {
		return func(c *Config) {
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(prefix)}
			c.TCPPerAddr = 2
		}
	}
	hello := "PROXY TCP4 192.0.2.7 198.51.100.1 4321 5432\r\n"
	local := tcpService(t, func(c *net.TCPConn) {
		b := make([]byte, 1024)
		n, _ := c.Read(b)
		_, _ = c.Write(b[:n])
		_, _ = io.Copy(c, c)
	})
	claim := tunnel.Claim{Allow: []string{"192.0.2.0/24"}, ProxyProtocol: "v1"}
	read := func(t *testing.T, c net.Conn, want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
			t.Fatalf("read %q, %v, want %q", b, err, want)
		}
	}

	t.Run("trusted", func(t *testing.T) {
		r := startRaw(t, local, claim, behind("127.0.0.0/8"))
		for range 2 {
			c := r.dial(t)
			_, _ = io.WriteString(c, hello)
			read(t, c, hello)
			_, _ = io.WriteString(c, "ping")
			read(t, c, "ping")
		}
		if x := r.tunnel.Ring.List(0, 0)[0]; x.Remote != "192.0.2.7:4321" {
			t.Errorf("Remote = %s, want 192.0.2.7:4321", x.Remote)
		}
		third := r.dial(t)
		_, _ = io.WriteString(third, hello)
		wantReset(t, third, "")
		if x := r.last(t); x.Error != tunnel.CodeLimit || !strings.Contains(x.Detail, "192.0.2.7") {
			t.Errorf("the third of one client ended with %q, %q, want %q and whose connections are too many", x.Error, x.Detail, tunnel.CodeLimit)
		}
		other := r.dial(t)
		line := strings.Replace(hello, "192.0.2.7", "192.0.2.8", 1)
		_, _ = io.WriteString(other, line)
		read(t, other, line)
		denied := r.dial(t)
		_, _ = io.WriteString(denied, strings.Replace(hello, "192.0.2.7", "203.0.113.1", 1))
		wantReset(t, denied, "")
		if x := r.last(t); x.Error != tunnel.CodeAccessDenied {
			t.Errorf("a client that is not allowed ended with %q, want %q", x.Error, tunnel.CodeAccessDenied)
		}
	})
	t.Run("trusted, names nobody", func(t *testing.T) { // its own address is not one client's
		r := startRaw(t, local, tunnel.Claim{}, behind("127.0.0.0/8"))
		for range 4 {
			c := r.dial(t)
			_, _ = io.WriteString(c, "ping")
			read(t, c, "ping")
		}
	})
	t.Run("not trusted", func(t *testing.T) {
		r := startRaw(t, local, claim, behind("10.0.0.0/8"))
		r.wantRefused(t) // whatever it says
		if x := r.last(t); x.Error != tunnel.CodeAccessDenied || !strings.HasPrefix(x.Remote, "127.0.0.1:") {
			t.Errorf("a stranger ended with %q from %s, want %q from its own address", x.Error, x.Remote, tunnel.CodeAccessDenied)
		}
	})
}
