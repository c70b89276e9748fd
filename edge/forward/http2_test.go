package forward

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lrok-dev/lrok/tunnel"
)

// post2 sends a body of known length over HTTP/2 and returns what is answered.
func post2(t *testing.T, c *http.Client, addr, method, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+addr+"/attack", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "a.tun.test"
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A service that never reads bodies takes one for a request. Whoever sent it
// gets the answer to that, and nobody else ever does.
func TestBodyTakenForARequestOverHTTP2(t *testing.T) {
	inner := "GET /poison HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, method := range []string{"POST", "GET"} {
		r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
			for {
				head, err := readHead(br)
				if err != nil {
					return
				}
				path := strings.Fields(head)[1]
				_, _ = fmt.Fprintf(c, "HTTP/1.1 404 x\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
			}
		}))
		addr := r.secure(t)
		attacker := over2(t, addr, "a.tun.test", true)
		for range 3 {
			post2(t, attacker, addr, method, inner)
			if _, got := get(t, over2(t, addr, "a.tun.test", true), addr, "a.tun.test"); got != "/x" {
				t.Errorf("%s: another client over HTTP/2 got the answer to %s", method, got)
			}
			c, br := r.dial(t)
			if _, got := ask(t, c, br, "GET /victim HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"); got != "/victim" {
				t.Errorf("%s: another client over HTTP/1.1 got the answer to %s", method, got)
			}
		}
	}
}

// A stream that carried a body is for the next request of the same connection,
// and ends with it.
func TestStreamsWithBodiesOverHTTP2(t *testing.T) {
	var mu sync.Mutex
	users := map[string]map[string]bool{} // of a stream, by what they sent
	var open atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if users[r.RemoteAddr] == nil {
			users[r.RemoteAddr] = map[string]bool{}
		}
		users[r.RemoteAddr][string(b)] = true
		_, _ = w.Write(b)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	r := start(t, s.Listener.Addr().String())
	addr := r.secure(t)
	clients := map[string]*http.Client{"one": over2(t, addr, "a.tun.test", true), "other": over2(t, addr, "a.tun.test", true)}
	send := func(name string) {
		if got := post2(t, clients[name], addr, "POST", name); got != name {
			t.Fatalf("answer %q, want %q", got, name)
		}
	}
	for name := range clients {
		r.sess.shares(t, func() { send(name) })
	}
	for range 5 { // in turns
		send("one")
		send("other")
	}
	mu.Lock()
	for stream, names := range users {
		if len(names) != 1 {
			t.Errorf("%s carried requests of %v, want those of one client only", stream, names)
		}
	}
	mu.Unlock()
	r.f.mu.Lock()
	gathers := slices.Collect(maps.Keys(r.f.gathers))
	r.f.mu.Unlock()
	clients["one"].CloseIdleConnections()
	waitFor(t, func() bool { // not because nobody used them for long
		n := 0
		for _, g := range gathers {
			g.own.mu.Lock()
			if g.own.closed {
				n++
			}
			g.own.mu.Unlock()
		}
		return n == 1
	})
	waitFor(t, func() bool { return open.Load() <= 1 })
}

// The head of a request goes on before anything of its body is there, with and
// without a length.
func TestHeadDoesNotWaitForBodyOverHTTP2(t *testing.T) {
	begun := make(chan struct{}, 1)
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%d %s %s", r.ContentLength, b, r.Trailer.Get("X-Sum"))
	}))
	addr := r.secure(t)
	c := over2(t, addr, "a.tun.test", true)
	for _, test := range []struct {
		length int64
		want   string
	}{{10, "10 helloworld "}, {-1, "-1 helloworld 42"}} {
		body, w := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+addr+"/", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Host, req.ContentLength = "a.tun.test", test.length
		if test.length < 0 {
			req.Trailer = http.Header{"X-Sum": {"42"}}
		}
		go func() {
			select {
			case <-begun:
			case <-t.Context().Done():
			}
			_, _ = io.WriteString(w, "hello")
			_, _ = io.WriteString(w, "world")
			_ = w.Close()
		}()
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(b) != test.want {
			t.Errorf("the service got %q, want %q", b, test.want)
		}
	}
}

// A service that says nothing is given up, once: the request is not sent again,
// although its stream was a kept one.
func TestSilentServiceOverHTTP2(t *testing.T) {
	var served atomic.Int64
	r := start(t, service(t, func(_ http.ResponseWriter, r *http.Request) {
		if served.Add(1) > 1 {
			<-r.Context().Done()
		}
	}), func(c *Config) { c.BodyTimeout = 300 * time.Millisecond })
	addr := r.secure(t)
	c := over2(t, addr, "a.tun.test", true)
	if res, _ := get(t, c, addr, "a.tun.test"); res.StatusCode != 200 {
		t.Fatalf("first answer %d, want 200", res.StatusCode)
	}
	res, _ := get(t, c, addr, "a.tun.test")
	if got := res.Header.Get("Lrok-Error-Code"); res.StatusCode != 504 || got != tunnel.CodeUpstreamTimeout {
		t.Errorf("answer %d %s, want 504 %s", res.StatusCode, got, tunnel.CodeUpstreamTimeout)
	}
	if n := served.Load(); n != 2 {
		t.Errorf("the service saw %d requests, want 2", n)
	}
}

// Names and values arrive as the service sent them, repeats included, whatever
// the case of the names.
func TestHeaderOverHTTP2(t *testing.T) {
	r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := readHead(br); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-One: 1\r\ncontent-length: 0\r\nx-oNe: 2\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nX-Empty:\r\nConnection: X-Gone\r\nX-Gone: x\r\n\r\n")
		}
	}))
	addr := r.secure(t)
	res, _ := get(t, over2(t, addr, "a.tun.test", true), addr, "a.tun.test")
	res.Header.Del("Date")
	want := http.Header{"X-One": {"1", "2"}, "Content-Length": {"0"}, "Set-Cookie": {"a=b", "c=d"}, "X-Empty": {""}}
	if got := fmt.Sprint(res.Header); got != fmt.Sprint(want) {
		t.Errorf("header %s, want %s", got, fmt.Sprint(want))
	}
}

func TestNames(t *testing.T) {
	for _, name := range append([]string{"X-Never-Heard-Of", "x_under"}, usualNames...) {
		lower := strings.ToLower(name)
		if got := lowerName(name); got != lower {
			t.Errorf("lowerName(%q) = %q, want %q", name, got, lower)
		}
		for _, n := range []string{name, lower, strings.ToUpper(name)} {
			if got, want := canonicalName([]byte(n)), http.CanonicalHeaderKey(n); got != want {
				t.Errorf("canonicalName(%q) = %q, want %q", n, got, want)
			}
		}
	}
}

// Acknowledgements that nobody reads are not gathered without end.
func TestPingFloodOverTLS(t *testing.T) {
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) {}))
	cert, pool := certificate(t, "a.tun.test")
	l := NewListener()
	var serving sync.WaitGroup
	serving.Go(func() { _ = r.f.Serve(l, &tls.Config{Certificates: []tls.Certificate{*cert}}) }) //nolint:gosec // the default is TLS 1.2 at least
	defer func() {
		_ = l.Close()
		serving.Wait()
	}()
	near, far := newPipe(addr("127.0.0.1:4711"))
	defer func() { _ = near.Close() }()
	_ = near.SetDeadline(time.Now().Add(patience))
	go func() { _ = l.hand(far) }()
	c := tls.Client(near, &tls.Config{RootCAs: pool, ServerName: "a.tun.test", NextProtos: []string{"h2"}})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, nil)
	_ = fr.WriteSettings()
	for n := 0; fr.WritePing(false, [8]byte{}) == nil; n++ {
		if n > 100_000 {
			t.Fatalf("%d answers to pings are kept", n)
		}
	}
	if _, err := near.Write(nil); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the edge neither reads on nor ends the connection")
	}
	r.still(t)
}

// A connection that was agreed to carry HTTP/2 carries nothing else: HTTP/1.1
// comes in by the loop alone.
func TestHTTP1WhereHTTP2WasAgreed(t *testing.T) {
	var served atomic.Int64
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) { served.Add(1) }))
	address := r.secure(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: "a.tun.test", NextProtos: []string{"h2"}, MaxVersion: version}) //nolint:gosec // the certificate is not what is tested
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.tun.test\r\nConnection: close\r\n\r\n")
		if b, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) || bytes.HasPrefix(b, []byte("HTTP/")) {
			t.Errorf("%s: answer %q, %v, want the connection's end", tls.VersionName(version), b, err)
		}
		_ = c.Close()
	}
	if n := served.Load(); n != 0 {
		t.Errorf("the service saw %d requests, want none", n)
	}
}

// dial2 returns a connection on which HTTP/2 has begun.
func dial2(t testing.TB, addr string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "a.tun.test", NextProtos: []string{"h2"}}) //nolint:gosec // the certificate is not what is tested
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	fr := http2.NewFramer(c, nil)
	_, err = io.WriteString(c, http2.ClientPreface)
	if err == nil {
		err = fr.WriteSettings()
	}
	if err == nil {
		err = fr.WriteWindowUpdate(0, 1<<30)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A gathered connection's Close gives out what was written before, and gives up
// when nobody takes it.
func TestGathered(t *testing.T) {
	cert, pool := certificate(t, "a.tun.test")
	pair := func() (*gathered, *tls.Conn) {
		a, b := net.Pipe()
		h := &helloConn{Conn: a, known: true}
		server := tls.Server(h, &tls.Config{Certificates: []tls.Certificate{*cert}}) //nolint:gosec // the default is TLS 1.2 at least
		client := tls.Client(b, &tls.Config{RootCAs: pool, ServerName: "a.tun.test"})
		done := make(chan error, 1)
		go func() { done <- client.Handshake() }()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		return newGathered(server, h, &tls.ConnectionState{}), client
	}

	g, client := pair()
	var want bytes.Buffer
	received := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(client)
		received <- b
	}()
	for i := range 3000 {
		p := bytes.Repeat([]byte{byte(i)}, 1+i%100)
		want.Write(p)
		if n, err := g.Write(p); n != len(p) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	_ = g.Close()
	if got := <-received; !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes arrived, want the %d that were written before Close", len(got), want.Len())
	}
	if _, err := g.Write([]byte("x")); err == nil {
		t.Error("a Write after Close succeeded")
	}

	g, _ = pair() // whose other end does not read
	failed := make(chan error)
	go func() {
		for {
			if _, err := g.Write(make([]byte, 16<<10)); err != nil {
				failed <- err
				return
			}
		}
	}()
	waitFor(t, func() bool { // until Write waits
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.queue)+16<<10 > maxGathered
	})
	_ = g.Close()
	g.mu.Lock()
	writing := g.writing
	g.mu.Unlock()
	if err := <-failed; !writing || !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing %v after Close, the Write that waited = %v; want no wait for the other side", writing, err)
	}
	waitFor(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return !g.writing
	})
}

// BenchmarkHTTP2 is an exchange over HTTP/2 that a client with next to no
// allocations of its own asks for.
func BenchmarkHTTP2(b *testing.B) {
	for _, size := range []int{0, 1 << 10} {
		b.Run(fmt.Sprintf("body %d", size), func(b *testing.B) {
			body := bytes.Repeat([]byte{'x'}, size)
			end := "\r\n\r\n" + string(body)
			f, _, _ := benchEdge(b, benchService(b, end, []byte(benchAnswer)), tunnel.Claim{})
			c := dial2(b, (&rig{f: f}).secure(b))
			fr := http2.NewFramer(c, bufio.NewReader(c))
			fr.SetReuseFrames()
			method := "GET"
			if size > 0 {
				method = "POST"
			}
			var block bytes.Buffer
			enc := hpack.NewEncoder(&block)
			enc.SetMaxDynamicTableSize(0) // every block is the same
			for _, h := range [][2]string{
				{":method", method},
				{":scheme", "https"},
				{":authority", "a.tun.test"},
				{":path", "/"},
				{"user-agent", "bench"},
				{"accept", "*/*"},
				{"content-length", strconv.Itoa(size)},
			} {
				_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
			}
			id := uint32(1)
			b.ReportAllocs()
			for b.Loop() {
				err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: size == 0})
				if err == nil && size > 0 {
					err = fr.WriteData(id, true, body)
				}
				for done := false; !done && err == nil; {
					var got http2.Frame
					if got, err = fr.ReadFrame(); err == nil {
						done = got.Header().StreamID == id && got.Header().Flags.Has(http2.FlagDataEndStream)
					}
				}
				if err != nil {
					b.Fatal(err)
				}
				id += 2
			}
		})
	}
}

// A connection keeps nothing of tunnels whose agents have gone, or came back and
// got another one.
func TestOwnStreamsForgetTunnels(t *testing.T) {
	local := service(t, func(http.ResponseWriter, *http.Request) {})
	r := start(t, local)
	other := r.claim(t, "u", local, tunnel.Claim{Name: "other"})
	var o ownStreams
	defer o.close()
	for _, rig := range []*rig{r, other} {
		up, err := rig.tunnel.Open(tunnel.Peer{})
		if err != nil {
			t.Fatal(err)
		}
		if !o.put(rig.tunnel, up, 0) {
			t.Fatal("the stream is not kept")
		}
		r.f.cfg.Registry.Release(r.sess)
	}
	if _, ok := o.pools[r.tunnel]; ok || len(o.pools) != 1 {
		t.Errorf("streams to %d tunnels are kept, want only those to the one with an agent", len(o.pools))
	}
}
