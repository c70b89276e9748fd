package e2e

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// A link is the network between an agent and its edge, which can be cut.
type link struct {
	t    testing.TB
	to   string
	l    net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	cut  bool // no new connections
	live map[*wireTap]bool
}

// A wireTap is one connection through a link.
type wireTap struct {
	a, b   *net.TCPConn
	silent bool // whatever comes is lost
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{t: t, to: to, l: l, live: map[*wireTap]bool{}}
	k.wg.Go(k.accept)
	t.Cleanup(func() {
		_ = l.Close()
		k.reset()
		k.wg.Wait()
	})
	return k
}

func (k *link) addr() string { return k.l.Addr().String() }

func (k *link) accept() {
	for {
		a, err := k.l.Accept()
		if err != nil {
			return
		}
		k.mu.Lock()
		cut := k.cut
		k.mu.Unlock()
		b, err := net.Dial("tcp", k.to)
		if err != nil || cut {
			_ = a.Close()
			if err == nil {
				_ = b.Close()
			}
			continue
		}
		w := &wireTap{a: a.(*net.TCPConn), b: b.(*net.TCPConn)}
		k.mu.Lock()
		k.live[w] = true
		k.mu.Unlock()
		k.wg.Go(func() { k.copy(w, w.a, w.b) })
		k.wg.Go(func() { k.copy(w, w.b, w.a) })
	}
}

func (k *link) copy(w *wireTap, to, from *net.TCPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		k.mu.Lock()
		silent := w.silent
		k.mu.Unlock()
		if silent {
			if err != nil {
				return // the other end does not hear of it either
			}
			continue
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// reset ends all connections at once, in both directions, with an RST.
func (k *link) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for w := range k.live {
		for _, c := range []*net.TCPConn{w.a, w.b} {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
	clear(k.live)
}

// down resets all connections and takes no new ones until up.
func (k *link) down() {
	k.mu.Lock()
	k.cut = true
	k.mu.Unlock()
	k.reset()
}

func (k *link) up() {
	k.mu.Lock()
	k.cut = false
	k.mu.Unlock()
}

// silence loses every further byte of the connections there are; neither end
// hears of it. New connections work.
func (k *link) silence() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for w := range k.live {
		w.silent = true
	}
}

// named is a service that answers with its name and the path.
func named(t testing.TB, name string) string {
	return service(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%s %s", name, r.URL.Path)
	})
}

// offline fails the test unless the tunnel answers as one whose agent is away.
func (e *edgeProcess) offline(t testing.TB) {
	t.Helper()
	eventually(t, "the edge knows that the agent is away", func() bool {
		status, _, _ := e.get(t, "/gap")
		return status == http.StatusServiceUnavailable
	})
	_, header, body := e.get(t, "/gap")
	if code, after := header.Get("Lrok-Error-Code"), header.Get("Retry-After"); code != tunnel.CodeAgentOffline || after == "" {
		t.Errorf("Lrok-Error-Code = %q, Retry-After = %q, want %s and some seconds\n%s", code, after, tunnel.CodeAgentOffline, body)
	}
}

// captured returns the newest capture of a path, whole.
func captured(t testing.TB, api *client.Client, path string) inspector.Exchange {
	t.Helper()
	xs, err := api.Requests(t.Context(), "shop", client.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range xs {
		if x.Path == path {
			if x, err = api.Exchange(t.Context(), x.ID); err != nil {
				t.Fatal(err)
			}
			return x
		}
	}
	t.Fatalf("no capture of %s among %d", path, len(xs))
	return inspector.Exchange{}
}

func TestKilledEdgeComesBack(t *testing.T) {
	t.Parallel()
	e := serve(t, nil)
	local := named(t, "shop")
	a := e.tunnel(t, "", local)
	chosen := lrok(t, e.reach(""), "http", local, "--plain") // a name of the edge's choice
	host := strings.TrimPrefix(strings.Fields(chosen.stdout.await(t, ".tun.test"))[0], "https://")
	e.answers(t, "/before", "shop /before")

	e.kill()
	if status, _, _, err := tryGet(e.http, "/"); err == nil {
		t.Fatalf("an edge that was killed answers %d", status)
	}
	a.stderr.await(t, "reconnecting")
	e = serve(t, e)
	e.answers(t, "/after", "shop /after")
	eventually(t, "the chosen name is the same", func() bool {
		status, _, body, err := tryGetHost(e.http, host, "/chosen")
		return err == nil && status == http.StatusOK && body == "shop /chosen"
	})
	a.stderr.await(t, "online again after")
	for _, p := range []*process{a, chosen} {
		if !p.running() {
			t.Errorf("lrok %s has ended", strings.Join(p.args, " "))
		}
	}
	if n := strings.Count(a.stdout.String(), "https://"); n != 1 {
		t.Errorf("the URL was printed %d times, want 1:\n%s", n, a.stdout)
	}
	// The event stream has gone on with the edge's new life.
	a.stdout.await(t, "/after")
}

func TestResetLinkComesBack(t *testing.T) {
	t.Parallel()
	e := serve(t, nil)
	k := newLink(t, e.control)
	a := e.tunnel(t, k.addr(), named(t, "shop"))
	e.answers(t, "/before", "shop /before")
	api := e.api(t)
	before := captured(t, api, "/before")

	k.down()
	e.offline(t)
	if status, _, _ := e.get(t, "/gap"); status != http.StatusServiceUnavailable {
		t.Errorf("Status = %d in the gap, want 503", status)
	}
	k.up()
	e.answers(t, "/after", "shop /after")
	after := captured(t, api, "/before")
	if after.ID != before.ID || string(after.Response.Body.Data) != "shop /before" {
		t.Errorf("the capture from before the reconnect is %s %q, want %s %q", after.ID, after.Response.Body.Data, before.ID, "shop /before")
	}
	if gap := captured(t, api, "/gap"); gap.Error != tunnel.CodeAgentOffline || gap.Status != http.StatusServiceUnavailable {
		t.Errorf("the request in the gap is captured as %d %q, want 503 %s", gap.Status, gap.Error, tunnel.CodeAgentOffline)
	}

	// Cuts that come again and again, each in the middle of requests.
	for i := range 5 {
		k.reset()
		path := fmt.Sprintf("/again/%d", i)
		e.answers(t, path, "shop "+path)
	}
	if !a.running() {
		t.Error("the agent has ended")
	}
}

// TestSilentLinkIsNoticed takes 20 s: that is what is promised with the
// settings as they are.
func TestSilentLinkIsNoticed(t *testing.T) {
	t.Parallel()
	e := serve(t, nil)
	k := newLink(t, e.control)
	a := e.tunnel(t, k.addr(), named(t, "shop"))
	e.answers(t, "/before", "shop /before")

	k.silence()
	began := time.Now()
	type answer struct {
		status int
		err    error
	}
	dark := make(chan answer, 1)
	go func() {
		c, err := net.Dial("tcp", e.http)
		if err != nil {
			dark <- answer{0, err}
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(c, "POST /dark HTTP/1.1\r\nHost: shop.tun.test\r\nContent-Length: 2\r\n\r\nhi")
		b := make([]byte, 12)
		_, err = io.ReadFull(c, b)
		var status int
		_, _ = fmt.Sscanf(string(b), "HTTP/1.1 %d", &status)
		dark <- answer{status, err}
	}()
	a.stderr.awaitIn(t, "reconnecting", time.Minute)
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
	e.answers(t, "/after", "shop /after")
	// What was under way gets an answer as well, and soon: it cannot have
	// reached the service, and nobody but its sender may send it again.
	if d := <-dark; d.err != nil || d.status < 500 {
		t.Errorf("the request that was sent into the dark: %d, %v; want an error of the edge", d.status, d.err)
	}
}

// TestDrainedEdge ends an edge in order, as an update does: the request under
// way finishes, the agent comes back to the edge that follows.
func TestDrainedEdge(t *testing.T) {
	t.Parallel()
	inside, finish := make(chan struct{}), make(chan struct{})
	e := serve(t, nil)
	a := e.tunnel(t, "", service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(inside)
			<-finish
		}
		_, _ = fmt.Fprintf(w, "shop %s", r.URL.Path)
	}))
	slow := make(chan string, 1)
	go func() {
		status, _, body, err := tryGet(e.http, "/slow")
		slow <- fmt.Sprint(status, body, err)
	}()
	<-inside
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the edge takes no more connections", func() bool {
		_, _, _, err := tryGet(e.http, "/")
		return err != nil
	})
	if !e.running() {
		t.Error("the edge has ended before the request under way")
	}
	close(finish)
	if got, want := <-slow, "200shop /slow<nil>"; got != want {
		t.Errorf("the request under way: %s, want %s", got, want)
	}
	if code := e.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	a.stderr.await(t, "reconnecting")
	e = serve(t, e)
	e.answers(t, "/after", "shop /after")
	if code := a.term(); code != 0 {
		t.Errorf("the agent ends with exit code %d, want 0", code)
	}
	if status, header, _ := e.get(t, "/"); status != http.StatusNotFound || header.Get("Lrok-Error-Code") != tunnel.CodeTunnelNotFound {
		t.Errorf("after the agent's end: %d %s, want 404 %s", status, header.Get("Lrok-Error-Code"), tunnel.CodeTunnelNotFound)
	}
}

// TestSecondSignalEndsTheWait has an edge that would wait 30 s for a request.
func TestSecondSignalEndsTheWait(t *testing.T) {
	t.Parallel()
	inside, finish := make(chan struct{}), make(chan struct{})
	e := serve(t, nil)
	e.tunnel(t, "", service(t, func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-finish
	}))
	t.Cleanup(func() { close(finish) })
	go func() { _, _, _, _ = tryGet(e.http, "/slow") }()
	<-inside
	began := time.Now()
	for e.running() && time.Since(began) < patience {
		_ = e.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-e.done:
		case <-time.After(100 * time.Millisecond): // signals may come together
		}
	}
	e.wait()
}

func TestKilledAgentComesBack(t *testing.T) {
	t.Parallel()
	e := serve(t, nil)
	a := e.tunnel(t, "", named(t, "one"))
	e.answers(t, "/before", "one /before")
	api := e.api(t)
	before := captured(t, api, "/before")
	a.kill()
	e.offline(t)
	if x := captured(t, api, "/before"); x.ID != before.ID {
		t.Errorf("the capture is %s while the agent is away, want %s", x.ID, before.ID)
	}
	e.tunnel(t, "", named(t, "two"))
	e.answers(t, "/after", "two /after")
	if x, y := captured(t, api, "/before"), captured(t, api, "/after"); x.ID != before.ID || y.Number <= x.Number {
		t.Errorf("captures %s #%d and %s #%d, want the first to be %s and the second to count on", x.ID, x.Number, y.ID, y.Number, before.ID)
	}
}

func TestSecondAgentIsRefusedAndTakesOver(t *testing.T) {
	t.Parallel()
	e := serve(t, nil)
	first := e.tunnel(t, "", named(t, "first"))
	e.answers(t, "/", "first /")
	second := named(t, "second")

	p := lrok(t, e.reach(""), "http", second, "--plain", "--hint", "shop")
	if code := p.wait(); code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
	host, _ := os.Hostname()
	for _, want := range []string{"in use by your lrok on " + host, "since 20", "--takeover"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("there is no %q in\n%s", want, p.stderr)
		}
	}
	e.answers(t, "/", "first /")

	e.tunnel(t, "", second, "--takeover")
	if code := first.wait(); code != 1 {
		t.Errorf("the first agent ends with exit code %d, want 1", code)
	}
	if want := "your lrok on " + host + " took over the name \"shop\""; !strings.Contains(first.stderr.String(), want) {
		t.Errorf("there is no %q in\n%s", want, first.stderr)
	}
	e.answers(t, "/", "second /")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	e := serve(t, nil)
	local := named(t, "shop")
	keys := t.TempDir()
	unknown := filepath.Join(keys, "unknown")
	if err := os.WriteFile(unknown, []byte(store.NewKey()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	elsewhere, _ := newEdgeCA(t)
	newer, newerCA := fakeEdge(t, func(h tunnel.Hello) tunnel.Welcome {
		return tunnel.Welcome{Version: tunnel.Version + 7, Error: &tunnel.Error{
			Code:    tunnel.CodeVersion,
			Message: fmt.Sprintf("the agent speaks protocol version %d, this edge 8 to 8", h.Version),
			Hint:    "update lrok on this machine",
		}}
	})
	older, olderCA := fakeEdge(t, func(h tunnel.Hello) tunnel.Welcome { return tunnel.Welcome{Version: tunnel.MinVersion - 1} })

	for _, c := range []struct {
		name string
		env  []string
		exit int
		says []string
	}{
		{"key of another edge", []string{"LROK_EDGE=" + e.control, "LROK_EDGE_CA=" + e.ca(), "LROK_API_KEY_FILE=" + unknown}, 3, []string{"this edge does not know the key lrok_", "hint: "}},
		{"mistyped key", append(e.reach("")[:2:2], "LROK_API_KEY=lrok_000000000000000000000000000000abcdef"), 3, []string{"mistyped", "hint: copy it again"}},
		{"no key", e.reach("")[:2], 3, []string{"there is no API key for " + e.control, "LROK_API_KEY"}},
		{"edge that is too new", []string{"LROK_EDGE=" + newer, "LROK_EDGE_CA=" + newerCA, "LROK_API_KEY_FILE=" + unknown}, 6, []string{"protocol version 1", "hint: update lrok on this machine"}},
		{"edge that is too old", []string{"LROK_EDGE=" + older, "LROK_EDGE_CA=" + olderCA, "LROK_API_KEY_FILE=" + unknown}, 6, []string{"protocol version 0", "hint: ask whoever runs the edge"}},
		{"nobody there", e.reach(closed.Addr().String()), 7, []string{"cannot reach the edge at " + closed.Addr().String(), "connection refused", "hint: is it running"}},
		{"no TLS there", e.reach(local), 7, []string{"cannot reach the edge at " + local, "hint: "}},
		{"certificate of somebody else", []string{"LROK_EDGE=" + e.control, "LROK_EDGE_CA=" + elsewhere, "LROK_API_KEY_FILE=" + e.keyFile()}, 7, []string{"certificate", "hint: if the edge uses its development CA, give it with --edge-ca"}},
	} {
		for _, command := range [][]string{{"http", local, "--plain", "--hint", "refused"}, {"logs"}} {
			t.Run(command[0]+" "+c.name, func(t *testing.T) {
				t.Parallel()
				p := lrok(t, c.env, command...)
				if code := p.wait(); code != c.exit {
					t.Errorf("exit code %d, want %d", code, c.exit)
				}
				for _, want := range c.says {
					if !strings.Contains(p.stderr.String(), want) {
						t.Errorf("there is no %q in\n%s", want, p.stderr)
					}
				}
				if out := p.stdout.String(); out != "" {
					t.Errorf("standard output %q, want nothing", out)
				}
			})
		}
	}
}

// TestOldAgentIsTold speaks as an agent from before the first version.
func TestOldAgentIsTold(t *testing.T) {
	e, _ := newEdge(t, rigConfig{}.edge)
	config := e.ClientTLS()
	config.NextProtos = []string{tunnel.ALPN}
	c, err := tls.Dial("tcp", e.ControlAddr(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	body := []byte(`{"version":0,"key":"whatever"}`)
	if _, err := c.Write(append([]byte{1, 0, 0, 0, byte(len(body))}, body...)); err != nil {
		t.Fatal(err)
	}
	var w tunnel.Welcome
	if err := readFrame(c, &w); err != nil {
		t.Fatal(err)
	}
	if w.Error == nil || w.Error.Code != tunnel.CodeVersion || !strings.Contains(w.Error.Hint, "update lrok") {
		t.Errorf("answer %+v (%v), want %s with a hint to update", w, w.Error, tunnel.CodeVersion)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the refusal: %v, want the end", err)
	}
}

func readFrame(r io.Reader, v any) error {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint32(n[:])&0xffff)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// newEdgeCA makes a development CA, and returns its file and a configuration to
// serve with.
func newEdgeCA(t testing.TB) (file string, serve *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	dev, err := certs.OpenDev(dir, "tun.test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, dev.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, certs.Config(dev)
}

// fakeEdge listens as an edge does and gives every agent the same answer.
func fakeEdge(t testing.TB, answer func(tunnel.Hello) tunnel.Welcome) (addr, ca string) {
	t.Helper()
	ca, config := newEdgeCA(t)
	config.NextProtos = []string{tunnel.ALPN}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
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
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(patience))
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					return
				}
				var h tunnel.Hello
				if err := readFrame(c, &h); err != nil {
					t.Errorf("hello: %v", err)
					return
				}
				body, err := json.Marshal(answer(h))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
				_, _ = io.Copy(io.Discard, c) // the agent closes
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String(), ca
}

// TestDrainWaitsForNoEndlessStream ends an edge whose only traffic is an event
// stream: the next edge must not have to wait for the drain timeout.
func TestDrainWaitsForNoEndlessStream(t *testing.T) {
	t.Parallel()
	e := serve(t, nil) // drains for 30 s at most
	e.tunnel(t, "", service(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: hello\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	pem, err := os.ReadFile(e.ca())
	if err != nil {
		t.Fatal(err)
	}
	for _, http2 := range []bool{false, true} {
		tr := &http.Transport{
			TLSClientConfig: trust(t, pem), ForceAttemptHTTP2: http2,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", e.https)
			},
		}
		tr.TLSClientConfig.ServerName = "shop.tun.test"
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get("https://shop.tun.test/events")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if want := map[bool]int{false: 1, true: 2}[http2]; res.ProtoMajor != want {
			t.Fatalf("the stream came over %s, want HTTP/%d", res.Proto, want)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, len("data: hello\n\n"))); err != nil {
			t.Fatal(err)
		}
	}
	if code := e.term(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
