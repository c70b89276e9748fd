package forward

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// rawService runs a service of bytes.
func rawService(t *testing.T, f func(c net.Conn, br *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				f(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func readHead(br *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		s, err := br.ReadString('\n')
		b.WriteString(s)
		if err != nil || s == "\r\n" {
			return b.String(), err
		}
	}
}

// A stream that authenticated a client to one tunnel is not for its requests to
// another.
func TestPinnedStreamStaysWithItsTunnel(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", "NTLM")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, "A saw %s", r.Header.Get("Cookie"))
	}))
	other := &direct{addr: service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "B") })}
	if _, err := r.f.cfg.Registry.Claim(t.Context(), other, "other", "i2", "m2", []tunnel.Claim{{Kind: tunnel.HTTP, Name: "b", Local: "http://b"}}); err != nil {
		t.Fatal(err)
	}
	defer r.f.cfg.Registry.CloseTunnel("other", "b")
	c, br := r.dial(t)
	ask(t, c, br, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	if _, got := ask(t, c, br, "GET / HTTP/1.1\r\nHost: b.tun.test\r\nCookie: secret\r\n\r\n"); got != "B" {
		t.Errorf("a request for b was answered %q", got)
	}
}

func TestSwitchingProtocolsUnasked(t *testing.T) {
	switches := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
	for _, c := range []struct{ name, request string }{
		{"without Upgrade", "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\nGET /next HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"},
		{"while the body arrives", "POST / HTTP/1.1\r\nHost: a.tun.test\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 100000\r\n\r\nabc"},
	} {
		r := start(t, rawService(t, func(nc net.Conn, br *bufio.Reader) {
			_, _ = readHead(br)
			_, _ = io.WriteString(nc, switches)
			if b, _ := io.ReadAll(br); bytes.Contains(b, []byte("/next")) {
				t.Errorf("%s: the service saw the client's next request", c.name)
			}
		}))
		nc, br := r.dial(t)
		res, _ := ask(t, nc, br, c.request)
		if res.StatusCode != 502 {
			t.Errorf("%s: answer %d, want 502", c.name, res.StatusCode)
		}
		_ = nc.Close()
	}
}

// A service that never reads bodies takes one for a request. The answer to that
// must not reach another client: not the next one, not after further requests of
// the attacker, and not one that comes over the same connection of a proxy.
func TestBodyTakenForARequest(t *testing.T) {
	inner := "GET /poison HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, method := range []string{"POST", "GET"} {
		for _, proxied := range []bool{false, true} {
			r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
				for {
					head, err := readHead(br)
					if err != nil {
						return
					}
					path := strings.Fields(head)[1]
					_, _ = fmt.Fprintf(c, "HTTP/1.1 404 x\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
				}
			}), func(c *Config) {
				if proxied {
					c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
			})
			attack := fmt.Sprintf("%s /attack HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: %d\r\n\r\n%s", method, len(inner), inner)
			c, br := r.dial(t)
			ask(t, c, br, attack)
			if !proxied {
				ask(t, c, br, "GET /again HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
			}
			for range 5 {
				victim, vbr := c, br
				if !proxied {
					victim, vbr = r.dial(t)
				}
				if _, got := ask(t, victim, vbr, "GET /victim HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"); got != "/victim" {
					t.Errorf("%s, proxied %v: another client got the answer to %s", method, proxied, got)
				}
			}
		}
	}
}

// What authenticated a connection keeps to its client for good.
func TestAuthenticatedStreamStaysWithItsClient(t *testing.T) {
	var mu sync.Mutex
	users := map[string]string{} // by local connection
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(r.Header.Get("Authorization"), "NTLM ") {
			users[r.RemoteAddr] = r.Header.Get("X-User")
		}
		_, _ = io.WriteString(w, "you are "+users[r.RemoteAddr])
	}))
	alice, abr := r.dial(t)
	ask(t, alice, abr, "GET / HTTP/1.1\r\nHost: a.tun.test\r\nAuthorization: NTLM x\r\nX-User: alice\r\n\r\n")
	for range 3 {
		if _, got := ask(t, alice, abr, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"); got != "you are alice" {
			t.Errorf("alice: %q", got)
		}
		bob, bbr := r.dial(t)
		if _, got := ask(t, bob, bbr, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"); got != "you are " {
			t.Errorf("bob: %q", got)
		}
	}
}

func TestCutAnswerDoesNotLookWhole(t *testing.T) {
	for name, answer := range map[string]string{
		"chunked to HTTP/1.0": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"fixed to HTTP/1.0":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
	} {
		r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
			_, _ = readHead(br)
			_, _ = io.WriteString(c, answer)
		}))
		c, br := r.dial(t)
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nHost: a.tun.test\r\n\r\n")
		b, err := io.ReadAll(br)
		if err == nil && !strings.Contains(string(b), "Content-Length: 10") {
			t.Errorf("%s: the client takes %q for the whole answer", name, b)
		}
		r.last(t)
	}
}

func TestInterimFlood(t *testing.T) {
	r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = readHead(br)
		for range 2000 {
			if _, err := io.WriteString(c, strings.Repeat("HTTP/1.1 103 E\r\n\r\n", 100)); err != nil {
				return
			}
		}
	}))
	c, _ := r.dial(t)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	if x := r.last(t); len(x.Interim) > maxInterim || x.Error != tunnel.CodeUpstreamInvalid {
		t.Errorf("%d interim answers were passed, error %q", len(x.Interim), x.Error)
	}
}

func TestAnswerHeadLargerThanTheBuffer(t *testing.T) {
	big := strings.Repeat("x", 50<<10)
	r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = readHead(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Big: "+big+"\r\nContent-Length: 2\r\n\r\nok")
	}))
	c, br := r.dial(t)
	if res, body := ask(t, c, br, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"); res.Header.Get("X-Big") != big || body != "ok" {
		t.Errorf("answer %d with %d bytes of X-Big and %q", res.StatusCode, len(res.Header.Get("X-Big")), body)
	}
}

// The client hears that nothing listens although it is still sending.
func TestRefusedWhileUploading(t *testing.T) {
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	local := l.Addr().String()
	_ = l.Close()
	r := start(t, local)
	c, br := r.dial(t)
	res, _ := ask(t, c, br, "POST / HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: 100000\r\n\r\nbeginning")
	if res.StatusCode != 502 {
		t.Errorf("answer %d, want 502", res.StatusCode)
	}
	_ = c.Close()
}

func TestAbortedUploadIsNotReplayed(t *testing.T) {
	r := start(t, service(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	c, _ := r.dial(t)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: 1000\r\n\r\nsome")
	waitFor(t, func() bool { return len(r.tunnel.Ring.List(1, 0)) == 1 })
	_ = c.Close()
	x := r.last(t)
	if x.Request.Body.Missing != "aborted" {
		t.Errorf("body Missing = %q, want aborted", x.Request.Body.Missing)
	}
	if _, err := r.f.Replay(t.Context(), r.tunnel, x, inspector.Changes{}); err == nil {
		t.Error("half a request was replayed")
	}
}

// h2 sends one request with the given fields over plain HTTP/2 and reads until
// its end.
func (r *rig) h2(t *testing.T, fields ...[2]string) {
	t.Helper()
	c, _ := r.dial(t)
	_, _ = io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	_ = fr.WriteSettings()
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range fields {
		_ = e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true})
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return
		case *http2.DataFrame:
			if f.StreamEnded() {
				return
			}
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				return
			}
		}
	}
}

// HTTP/2 lets a client put into method and path what would be more than one
// line, or another line, over HTTP/1.
func TestRequestLineFromHTTP2(t *testing.T) {
	saw := make(chan string, 100)
	r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
		head, err := readHead(br)
		if err != nil {
			return
		}
		saw <- head
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	}), func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	for _, f := range []struct{ method, path, want string }{
		{"GET", "/fine?x=%zz", "GET /fine?x=%zz HTTP/1.1"},
		{"GET", "/a HTTP/1.0", ""},
		{"GET /admin HTTP/1.1", "/x", ""},
		{"G\tET", "/", ""},
		{"get(", "/", ""},
	} {
		r.h2(t, [2]string{":method", f.method}, [2]string{":scheme", "http"}, [2]string{":authority", "a.tun.test"}, [2]string{":path", f.path}, [2]string{"content_length", "5"})
		got := ""
		select {
		case head := <-saw:
			got, _, _ = strings.Cut(head, "\r\n")
			if strings.Contains(strings.ToLower(head), "content_length") {
				t.Errorf("%q: the twin of Content-Length passed", f.path)
			}
		default: // the answer is there, so the service would have been called by now
		}
		if got != f.want {
			t.Errorf("%q %q: the service saw %q, want %q", f.method, f.path, got, f.want)
		}
	}
}

// A stream kept for one client is let go when its time is over, although the
// client stays.
func TestPinnedStreamExpires(t *testing.T) {
	closed := make(chan struct{}, 1)
	r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = readHead(br)
		_, _ = io.ReadFull(br, make([]byte, 3))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=2\r\n\r\n")
		_, _ = br.ReadByte()
		closed <- struct{}{}
	}))
	c, br := r.dial(t)
	ask(t, c, br, "POST / HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: 3\r\n\r\nabc")
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("the idle stream is kept as long as the client is there")
	}
}
