package forward

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// patience is how long a test waits for what must come: a busy machine is slow, and
// what does not come at all fails a little later.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	lastWrite = patience // which a busy machine may take to run who wrote
	goleak.VerifyTestMain(m)
}

// A direct session dials the local service itself; it stands for an agent where
// only the exchange path is tested.
type direct struct {
	addr  string
	mu    sync.Mutex
	conns []*directConn
}

type directConn struct{ *net.TCPConn }

func (c *directConn) Quiet() bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	n, err := c.Read(make([]byte, 1))
	var ne net.Error
	return n == 0 && errors.As(err, &ne) && ne.Timeout()
}

func (d *direct) Open(tunnel.Peer) (tunnel.Conn, error) {
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		return nil, &tunnel.Error{Code: tunnel.CodeUpstreamRefused, Message: err.Error()}
	}
	dc := &directConn{c.(*net.TCPConn)}
	d.mu.Lock()
	d.conns = append(d.conns, dc)
	d.mu.Unlock()
	return dc, nil
}

func (d *direct) opened() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}

func (d *direct) Ping(context.Context) (time.Duration, error) { return 0, nil }
func (d *direct) Dropped(string, *tunnel.Error) error         { return nil }
func (d *direct) Supersede(*tunnel.Error) error               { return nil }
func (d *direct) Close() error                                { return nil }
func (d *direct) RemoteAddr() net.Addr                        { return addr("agent") }

type rig struct {
	f      *Forwarder
	tunnel *registry.Tunnel
	sess   *direct
	addr   string
}

// start serves a tunnel "a.tun.test" to the service at local.
func start(t *testing.T, local string, configure ...func(*Config)) *rig {
	t.Helper()
	reg := registry.New(registry.Config{Domain: "tun.test"})
	sess := &direct{addr: local}
	if _, err := reg.Claim(t.Context(), sess, "u", "i", "m", []tunnel.Claim{{Kind: tunnel.HTTP, Name: "a", Local: "http://" + local}}); err != nil {
		t.Fatal(err)
	}
	tn, _ := reg.Tunnel("a")
	cfg := Config{Registry: reg, Domain: "tun.test", API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "api %s %s", r.RemoteAddr, r.URL.Path)
	})}
	for _, c := range configure {
		c(&cfg)
	}
	f := New(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.Run(ctx) })
	wg.Go(func() { _ = f.Serve(l, nil) })
	t.Cleanup(func() {
		stop, done := context.WithTimeout(context.Background(), 2*time.Second)
		defer done()
		_ = f.Shutdown(stop)
		reg.CloseTunnel("u", "a")
		cancel()
		wg.Wait()
	})
	return &rig{f: f, tunnel: tn, sess: sess, addr: l.Addr().String()}
}

func service(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// dial returns a raw connection to the public side.
func (r *rig) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

func ask(t *testing.T, c net.Conn, br *bufio.Reader, raw string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read answer to %q: %v", raw, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return res, string(body)
}

// last waits for the newest exchange to end.
func (r *rig) last(t *testing.T) inspector.Exchange {
	t.Helper()
	w := r.tunnel.Ring.Watch()
	defer w.Close()
	for end := time.After(patience); ; {
		if xs := r.tunnel.Ring.List(1, 0); len(xs) == 1 && xs[0].State == inspector.Done {
			x, _ := r.tunnel.Ring.Find(xs[0].ID)
			return x
		}
		select {
		case <-w.C():
		case <-end:
			t.Fatal("the exchange does not end")
		}
	}
}

// shares fails unless one of many requests in a row goes over the stream of the one
// before it, which is kept for a moment that a busy machine may let pass.
func (d *direct) shares(t *testing.T, send func()) {
	t.Helper()
	waitFor(t, func() bool {
		before := d.opened()
		send()
		return d.opened() == before
	})
}

func TestRequestsShareAStream(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, b)
	}))
	c, br := r.dial(t)
	i := 0
	r.sess.shares(t, func() {
		i++
		want := fmt.Sprintf("POST /x?%d hello", i)
		_, got := ask(t, c, br, fmt.Sprintf("POST /x?%d HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: 5\r\n\r\nhello", i))
		if got != want {
			t.Fatalf("answer = %q, want %q", got, want)
		}
	})
	x := r.last(t)
	if x.Status != 200 || x.Request.Body.Size != 5 || string(x.Response.Body.Data) != fmt.Sprintf("POST /x?%d hello", i) || !x.Timing.Reused {
		t.Errorf("captured %+v", x)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s%s", r.URL.Path, b)
	}))
	c, br := r.dial(t)
	go func() {
		for i := range 50 {
			_, _ = fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: a.tun.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", i)
		}
	}()
	for i := range 50 {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		if want := fmt.Sprintf("/%dabc", i); string(b) != want {
			t.Fatalf("answer %d = %q, want %q", i, b, want)
		}
	}
}

func TestLargeBodiesBothWays(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body) // answers while the request arrives
	}))
	c, br := r.dial(t)
	const size = 32 << 20
	sent, got := sha256.New(), sha256.New()
	go func() {
		_, _ = fmt.Fprintf(c, "PUT /big HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: %d\r\n\r\n", size)
		b := bytes.Repeat([]byte("lrok!"), 20_000)
		for n := 0; n < size; {
			p := b[:min(len(b), size-n)]
			sent.Write(p)
			if _, err := c.Write(p); err != nil {
				return
			}
			n += len(p)
		}
	}()
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(got, res.Body)
	if err != nil || n != size {
		t.Fatalf("read %d bytes, %v; want %d", n, err, size)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("the bytes that came back are not those that were sent")
	}
	x := r.last(t)
	if x.Request.Body.Size != size || x.Request.Body.Captured != 1<<20 || x.Request.Body.Missing != "limit" {
		t.Errorf("captured %d of %d (%s), want 1 MiB of %d (limit)", x.Request.Body.Captured, x.Request.Body.Size, x.Request.Body.Missing, size)
	}
}

// The service answers and forgets about a body that is still arriving: the
// capture is written from two sides.
func TestEarlyAnswer(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "too large")
	}))
	for range 20 {
		c, br := r.dial(t)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: 100000000\r\n\r\n")
			b := make([]byte, 64<<10)
			for range 1600 {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}()
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("the early answer was lost: %v", err)
		}
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode != 413 || string(b) != "too large" || !res.Close {
			t.Fatalf("answer %d %q close %v, want 413, too large, close", res.StatusCode, b, res.Close)
		}
		_ = c.Close()
		<-stop
		x := r.last(t)
		if x.Status != 413 || x.Request.Body.Size >= 100000000 {
			t.Fatalf("captured status %d and %d bytes", x.Status, x.Request.Body.Size)
		}
	}
}

// A late session hands out streams whose writes return a moment after what they
// wrote has been answered, as they do where the writer is not run at once.
type lateSession struct{ *direct }

type lateConn struct {
	tunnel.Conn
	answered chan struct{}
	once     sync.Once
}

func (s lateSession) Open(p tunnel.Peer) (tunnel.Conn, error) {
	c, err := s.direct.Open(p)
	return &lateConn{Conn: c, answered: make(chan struct{})}, err
}

func (c *lateConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if bytes.HasSuffix(p, []byte("end")) {
		<-c.answered
		time.Sleep(2 * time.Millisecond)
	}
	return n, err
}

func (c *lateConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.HasPrefix(p[:n], []byte("HTTP/1.1 200")) {
		c.once.Do(func() { close(c.answered) })
	}
	return n, err
}

// TestAnswerToAWholeUpload: the connection goes on after an answer that came
// when all of the request was there, however late the edge notices that.
func TestAnswerToAWholeUpload(t *testing.T) {
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%d", len(b))
	})
	r := start(t, local)
	claim := tunnel.Claim{Kind: tunnel.HTTP, Name: "a", Local: "http://" + local, Takeover: true}
	if _, err := r.f.cfg.Registry.Claim(t.Context(), lateSession{&direct{addr: local}}, "u", "i2", "m", []tunnel.Claim{claim}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c, br := r.dial(t)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.tun.test\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n")
		if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("read %q, %v, want to be asked for the body", line, err)
		}
		_, _ = br.ReadString('\n')
		_, _ = io.WriteString(c, "body end")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		if string(b) != "8" || res.Close {
			t.Fatalf("answer %q, close %v, want 8 and a connection that goes on", b, res.Close)
		}
	}
}

func TestClientThatLeavesIsNoticed(t *testing.T) {
	left := make(chan struct{})
	arrived := make(chan struct{})
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(left)
	}))
	c, _ := r.dial(t)
	_, _ = io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	<-arrived
	_ = c.Close()
	select {
	case <-left:
	case <-time.After(patience):
		t.Fatal("the service does not learn that the client left")
	}
	if x := r.last(t); x.EndedBy != "client" || x.Error != tunnel.CodeClientAborted {
		t.Errorf("ended by %q (%s), want client", x.EndedBy, x.Error)
	}
}

// While a client is watched for leaving it may send its next request.
func TestRequestSentWhileWatched(t *testing.T) {
	release := make(chan struct{})
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	c, br := r.dial(t)
	_, _ = io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	waitFor(t, func() bool {
		r.f.mu.Lock()
		defer r.f.mu.Unlock()
		for c := range r.f.conns {
			c.mu.Lock()
			w := c.watching
			c.mu.Unlock()
			if w {
				return true
			}
		}
		return false
	})
	_, _ = io.WriteString(c, "GET /next HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	close(release)
	for _, want := range []string{"/slow", "/next"} {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != want {
			t.Fatalf("answer %q, want %q", b, want)
		}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestServiceThatIsDown(t *testing.T) {
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	local := l.Addr().String()
	_ = l.Close()
	r := start(t, local)
	for _, c := range []struct{ accept, kind string }{{"text/html", "text/html; charset=utf-8"}, {"*/*", "application/problem+json"}} {
		nc, br := r.dial(t)
		res, body := ask(t, nc, br, "GET / HTTP/1.1\r\nHost: a.tun.test\r\nAccept: "+c.accept+"\r\n\r\n")
		if res.StatusCode != 502 || res.Header.Get("Lrok-Error-Code") != "upstream_refused" || res.Header.Get("Content-Type") != c.kind || !strings.Contains(body, local) {
			t.Errorf("answer %d %v %q, want a 502 that names %s", res.StatusCode, res.Header, body, local)
		}
		if x := r.last(t); x.Status != 502 || x.Error != "upstream_refused" || !strings.Contains(x.Detail, local) {
			t.Errorf("captured %d %q %q", x.Status, x.Error, x.Detail)
		}
	}
}

func TestHostsAndTheAPI(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "tunnel") }), func(c *Config) { c.Lone = true })
	for _, c := range []struct{ host, path, want string }{
		{"a.tun.test", "/", "tunnel"},
		{"A.Tun.Test.:80", "/__lrok/x", "tunnel"},
		{"api.tun.test", "/x", "api"},
		{"tun.test", "/", "api"},
		{"127.0.0.1:8080", "/", "tunnel"},
		{"127.0.0.1:8080", "/__lrok/api", "api"},
		{"b.tun.test", "/", "tunnel_not_found"},
		{"b.tun.test", "/__lrok/api", "api"},
	} {
		nc, br := r.dial(t)
		_, body := ask(t, nc, br, "GET "+c.path+" HTTP/1.1\r\nHost: "+c.host+"\r\nConnection: close\r\n\r\n")
		if !strings.Contains(body, c.want) {
			t.Errorf("%s%s: %q, want %q", c.host, c.path, body, c.want)
		}
	}
}

func TestReplay(t *testing.T) {
	var mu sync.Mutex
	var got []string
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, fmt.Sprint(r.Method, r.URL, r.Header["X-Sig"], string(b), r.Header.Get("X-Forwarded-For")))
		mu.Unlock()
		_, _ = fmt.Fprintf(w, "%d", len(b))
	}))
	for _, framing := range []string{"Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"} {
		got = nil
		c, br := r.dial(t)
		ask(t, c, br, "POST /hook HTTP/1.1\r\nHost: a.tun.test\r\nX-Sig: 1\r\n"+framing)
		x := r.last(t)
		id, err := r.f.Replay(t.Context(), r.tunnel, x, inspector.Changes{})
		if err != nil {
			t.Fatal(err)
		}
		y := r.last(t)
		if y.ID != id || y.ReplayOf != x.ID || y.Status != 200 || string(y.Response.Body.Data) != "5" {
			t.Errorf("replay %+v", y)
		}
		if len(got) != 2 || got[0] != got[1] {
			t.Errorf("the service saw %q, want the same twice", got)
		}
	}
	x := r.last(t)
	body := []byte("changed!")
	if _, err := r.f.Replay(t.Context(), r.tunnel, x, inspector.Changes{Method: "PUT", Body: &body, Set: []inspector.Field{{Name: "x-sig", Value: "2"}}}); err != nil {
		t.Fatal(err)
	}
	r.last(t)
	mu.Lock()
	defer mu.Unlock()
	if want := "PUT/hook [2]changed!127.0.0.1"; got[len(got)-1] != want {
		t.Errorf("the service saw %q, want %q", got[len(got)-1], want)
	}
}

// An edit changes what somebody touched: every other line goes out byte for byte,
// also one that JSON has no place for.
func TestReplayEdited(t *testing.T) {
	heads := make(chan []string, 1)
	r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
		for {
			var head []string
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
				head = append(head, line)
			}
			heads <- head
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}))
	c, br := r.dial(t)
	ask(t, c, br, "GET /caf\xe9?q=1 HTTP/1.1\r\nHost: a.tun.test\r\nX-Name:J\xfcrgen \xff\r\nX-Odd:  two  blanks \r\nX-Say: \xe9 old\r\nX-Utf8: \xc3\xbc\r\n\r\n")
	was := <-heads
	x := r.last(t)
	sent := func(path string, header []inspector.Field) []string {
		t.Helper()
		data, err := json.Marshal(inspector.Changes{Path: path, Header: header}.ForJSON())
		if err != nil {
			t.Fatal(err)
		}
		var changes inspector.Changes
		if err := json.Unmarshal(data, &changes); err != nil {
			t.Fatal(err)
		}
		if changes, err = changes.FromJSON(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.f.Replay(t.Context(), r.tunnel, x, changes); err != nil {
			t.Fatal(err)
		}
		head := <-heads
		r.last(t)
		return head
	}
	edit := func(header []inspector.Field, say string) []inspector.Field {
		header = slices.Clone(header)
		for i := range header {
			if header[i].Name == "X-Say" {
				header[i].Value = say
			}
		}
		return header
	}
	want := slices.Clone(was)
	want[slices.Index(want, "X-Say: \xe9 old\r\n")] = "X-Say: \xe9 new\r\n"
	if got := sent("", edit(x.Request.Header, "\xe9 new")); !slices.Equal(got, want) {
		t.Errorf("with a line edited the service saw %q, want %q", got, want)
	}
	want[0] = strings.Replace(want[0], "q=1", "q=2", 1)
	if got := sent("/caf\xe9?q=2", edit(x.Request.Header, "\xe9 new")); !slices.Equal(got, want) {
		t.Errorf("with the target edited as well the service saw %q, want %q", got, want)
	}
	// What others edit came to them as JSON.
	var seen inspector.Exchange
	data, _ := json.Marshal(x)
	if err := json.Unmarshal(data, &seen); err != nil {
		t.Fatal(err)
	}
	want = slices.Clone(was)
	want[slices.Index(want, "X-Say: \xe9 old\r\n")] = "X-Say: new\r\n"
	if got := sent(seen.Path, edit(seen.Request.Header, "new")); !slices.Equal(got, want) {
		t.Errorf("with a line edited in JSON the service saw %q, want %q", got, want)
	}
}

func TestThousandAtOnce(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(60 * time.Second))
			body := strings.Repeat(fmt.Sprint(i, " "), 500)
			_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if b, _ := io.ReadAll(res.Body); string(b) != body {
				t.Errorf("request %d got somebody else's answer", i)
			}
		})
	}
	wg.Wait()
	if n := len(r.tunnel.Ring.List(0, 0)); n != 100 {
		t.Errorf("ring holds %d, want 100", n)
	}
}
