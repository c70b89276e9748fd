package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// kept is how many goroutines more than at the start there may be when all is over:
// those at both ends of the connections for bulk, which stay, and of the API's client.
const kept = 2*tunnel.DefaultBulk + 8

const crowd = 1000

// A gate is a service that answers nobody before n requests are there at once;
// then each gets back its path and body.
type gate struct {
	n      int32
	inside atomic.Int32
	open   chan struct{}
}

func newGate(n int) *gate { return &gate{n: int32(n), open: make(chan struct{})} }

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if g.inside.Add(1) == g.n {
		close(g.open)
	}
	select {
	case <-g.open:
	case <-time.After(2 * patience):
		http.Error(w, "not all came", http.StatusGatewayTimeout)
		return
	}
	_, _ = fmt.Fprintf(w, "%s %s", r.URL.Path, body)
}

// rush sends n requests at once to host at addr, each on a connection of its
// own, and fails the test unless each gets its own answer.
func rush(t *testing.T, addr, host string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	var wrong atomic.Int32
	for i := range n {
		wg.Go(func() {
			body := strings.Repeat(strconv.Itoa(i)+",", 200)
			want := fmt.Sprintf("/n/%d %s", i, body)
			got, err := post(addr, host, fmt.Sprintf("/n/%d", i), body)
			if (err != nil || got != want) && wrong.Add(1) <= 3 {
				t.Errorf("request %d: answer %.80q, %v; want %.80q", i, got, err, want)
			}
		})
	}
	wg.Wait()
	if w := wrong.Load(); w > 0 {
		t.Errorf("%d of %d answers were wrong", w, n)
	}
}

func post(addr, host, path, body string) (string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", path, host, len(body), body); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func TestThousandRequestsAtOnce(t *testing.T) {
	r := start(t, service(t, newGate(crowd).ServeHTTP))
	heap := liveHeap()
	goroutines := runtime.NumGoroutine()
	rush(t, r.edge.HTTPAddr(), r.host, crowd)

	xs, err := r.api.Requests(t.Context(), r.grant.Name, client.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if len(xs) != inspector.RingSize || xs[0].Number != crowd {
		t.Errorf("%d captures, the newest #%d; want %d and #%d", len(xs), xs[0].Number, inspector.RingSize, crowd)
	}
	eventually(t, "every capture is done", func() bool {
		xs, err = r.api.Requests(t.Context(), r.grant.Name, client.Query{Filter: "is:inflight"})
		return err == nil && len(xs) == 0
	})
	for _, x := range must(r.api.Requests(t.Context(), r.grant.Name, client.Query{}))(t) {
		x = must(r.api.Exchange(t.Context(), x.ID))(t)
		if want := x.Path + " " + string(x.Request.Body.Data); string(x.Response.Body.Data) != want || x.Status != http.StatusOK {
			t.Errorf("captured %d %.80q as the answer to %.80q", x.Status, x.Response.Body.Data, want)
		}
	}
	// Streams and local connections are kept for 2 s; then nothing is left of
	// the crowd but the captures.
	eventually(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines+kept })
	const most = 16 << 20
	if grown := liveHeap() - heap; grown > most {
		t.Errorf("%d MiB are in use after the crowd than before, want at most %d", grown>>20, most>>20)
	} else {
		t.Logf("%.1f MiB more in use than before", float64(grown)/(1<<20))
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A held request may take the edge 60 KiB and the agent as much (10,000 are to
// fit into 600 MiB), on top of the 20 MiB that a process has anyway; the garbage
// collector lets the heap grow to twice what is in use.
const crowdMemory = 2*crowd*60<<10 + 20<<20

func TestThousandRequestsMemory(t *testing.T) {
	e := serve(t, nil)
	a := e.tunnel(t, "", service(t, newGate(crowd).ServeHTTP))
	rush(t, e.http, "shop.tun.test", crowd)
	for what, p := range map[string]*process{"edge": e.process, "agent": a} {
		if peak := p.peakMemory(t); peak > crowdMemory {
			t.Errorf("the %s took %d MiB, want at most %d", what, peak>>20, crowdMemory>>20)
		} else {
			t.Logf("the %s took %d MiB at most", what, peak>>20)
		}
	}
}

// watch opens the event stream of a tunnel and reads none of it.
func watch(t testing.TB, addr, key, name string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := nc.(*net.TCPConn)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	if _, err := fmt.Fprintf(c, "GET /api/v1/me/tunnels/%s/requests/stream HTTP/1.1\r\nHost: api.tun.test\r\nAuthorization: Bearer %s\r\n\r\n", name, key); err != nil {
		t.Fatal(err)
	}
	status := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(c, status); err != nil || string(status) != "HTTP/1.1 200" {
		t.Fatalf("event stream: %q, %v", status, err)
	}
	return c
}

// clog sends requests with heads so large that the events that tell of them fill
// every buffer on the way to those who do not read.
func clog(t testing.TB, addr, host string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	br := bufio.NewReader(c)
	request := fmt.Appendf(nil, "POST /clog HTTP/1.1\r\nHost: %s\r\nX-Clog: %s\r\nContent-Length: 0\r\n\r\n", host, strings.Repeat("clog", 12<<10))
	for range 4 * inspector.RingSize {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("answer %d, %v", res.StatusCode, err)
		}
	}
}

// wasStalled fails the test unless the edge could not tell c everything: then
// there is an event "gap" once c is read from, or the edge has given it up.
func wasStalled(t testing.TB, c *net.TCPConn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	sc := bufio.NewScanner(c)
	sc.Buffer(nil, 4<<20)
	n := 0
	for sc.Scan() {
		switch sc.Text() {
		case "event: request":
			n++
		case "event: gap":
			return
		}
	}
	if errors.Is(sc.Err(), os.ErrDeadlineExceeded) {
		t.Errorf("%d events and no gap: this watcher was not stalled", n)
	}
}

// load sends n small requests over each of conns connections that are kept
// alive, and returns how long the slowest took.
func load(t testing.TB, addr, host string, conns, n int) (slowest time.Duration) {
	t.Helper()
	request := []byte("POST /load HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\n\r\nhello")
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(3 * patience))
			br := bufio.NewReader(c)
			for range n {
				began := time.Now()
				if _, err := c.Write(request); err != nil {
					t.Error(err)
					return
				}
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(res.Body); err != nil || string(b) != "hello" || res.StatusCode != http.StatusOK {
					t.Errorf("answer %d %q, %v; want 200 and what was sent", res.StatusCode, b, err)
					return
				}
				took := time.Since(began)
				mu.Lock()
				slowest = max(slowest, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return slowest
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b)
}

const watchers = 8

// TestStalledWatchersDelayNobody holds that publishing never waits for a
// watcher, whatever the machine is busy with: with every watcher stalled,
// thousands of requests are answered, and none takes as long as the edge waits
// for a watcher.
func TestStalledWatchersDelayNobody(t *testing.T) {
	r := start(t, service(t, echo))
	key, _ := r.edge.AdminKey()
	var conns []*net.TCPConn
	for range watchers {
		conns = append(conns, watch(t, r.edge.HTTPAddr(), key, r.grant.Name))
	}
	clog(t, r.edge.HTTPAddr(), r.host)
	for range 5 {
		if slowest := load(t, r.edge.HTTPAddr(), r.host, 16, 60); slowest > patience { // a watcher has 30 s
			t.Errorf("a request took %v beside stalled watchers", slowest)
		}
	}
	for _, c := range conns {
		wasStalled(t, c)
	}
	if x := r.last(t); x.Number != 4*inspector.RingSize+5*16*60 {
		t.Errorf("the newest capture is #%d, want #%d", x.Number, 4*inspector.RingSize+5*16*60)
	}
}

// TestStalledWatchersCostNothing compares the processor time that the edge
// takes for a request to a tunnel with stalled watchers and to one without, in
// the same process and in turns. The promise is 5% in throughput; processor time
// stands for it because it is what throughput is limited by and hardly moves
// with other load on the machine. Beside much other work it does move, so only
// more than a quarter is held against the edge: a watcher that costs anything does
// so eight times. Only Linux tells it precisely enough; elsewhere, and where the
// machine is too slow for a comparison while the watchers are there, the answers
// are checked.
func TestStalledWatchersCostNothing(t *testing.T) {
	e := serve(t, nil)
	local := service(t, echo)
	e.tunnel(t, "", local, "--quiet")
	lrok(t, e.reach(""), "http", local, "--plain", "--quiet", "--hint", "watched").stdout.await(t, "https://watched.tun.test")
	key := must(store.ReadKeyFile(e.keyFile()))(t)
	const parallel, each, rounds = 8, 150, 16
	round := func(host string) float64 {
		before := e.processorTime(t)
		load(t, e.http, host, parallel, each)
		return float64(e.processorTime(t)-before) / (parallel * each)
	}
	var ratio float64
	for try := range 5 { // the middle of 16 ratios still moves beside other work
		// The edge gives a watcher up that takes nothing for 30 s.
		began := time.Now()
		var conns []*net.TCPConn
		for range watchers {
			conns = append(conns, watch(t, e.http, key, "watched"))
		}
		clog(t, e.http, "watched.tun.test")
		clog(t, e.http, "shop.tun.test")
		round("watched.tun.test")
		round("shop.tun.test")
		var ratios []float64
		for len(ratios) < rounds && time.Since(began) < 20*time.Second {
			with := round("watched.tun.test")
			without := round("shop.tun.test")
			ratios = append(ratios, with/without)
		}
		slow := time.Since(began) > 25*time.Second
		for _, c := range conns {
			if !slow {
				wasStalled(t, c)
			}
			_ = c.Close()
		}
		if slow || len(ratios) < 4 || runtime.GOOS != "linux" {
			t.Logf("%d rounds in %v: no comparison", len(ratios), time.Since(began).Round(time.Second))
			return
		}
		slices.Sort(ratios)
		middle := ratios[len(ratios)/4 : len(ratios)-len(ratios)/4]
		ratio = 0
		for _, r := range middle {
			ratio += r / float64(len(middle))
		}
		t.Logf("try %d: %.3f of the processor time without watchers (from %.3f to %.3f)", try+1, ratio, ratios[0], ratios[len(ratios)-1])
		if ratio < 1.25 {
			return
		}
	}
	t.Errorf("a request costs %.3f times as much beside %d stalled watchers, want 1.05 and less than 1.25", ratio, watchers)
}

// processorTime is what p has used so far, in nanoseconds.
func (p *process) processorTime(t testing.TB) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	dir := fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, task := range tasks {
		b, err := os.ReadFile(dir + "/" + task.Name() + "/schedstat")
		if errors.Is(err, os.ErrNotExist) {
			continue // has just ended, which threads of Go hardly ever do
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// BenchmarkStalledWatchers is the same comparison to look at by hand, for
// edge, agent, client and service together.
func BenchmarkStalledWatchers(b *testing.B) {
	for _, n := range []int{0, watchers} {
		b.Run(fmt.Sprintf("watchers=%d", n), func(b *testing.B) {
			r := start(b, service(b, echo))
			key, _ := r.edge.AdminKey()
			for range n {
				watch(b, r.edge.HTTPAddr(), key, r.grant.Name)
			}
			clog(b, r.edge.HTTPAddr(), r.host)
			b.ResetTimer()
			load(b, r.edge.HTTPAddr(), r.host, 8, b.N/8+1)
		})
	}
}

// TestClientsThatLeave has clients go at every stage of an exchange, many at
// once and with an RST. The service hears of each, the captures say who ended
// it, and nothing is left behind.
func TestClientsThatLeave(t *testing.T) {
	const each = 40
	var left, arrived atomic.Int32
	r := start(t, service(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/waiting": // for an answer that does not come
			arrived.Add(1)
			<-req.Context().Done()
			left.Add(1)
		case "/uploading":
			arrived.Add(1)
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				left.Add(1)
			}
		case "/downloading":
			rc := http.NewResponseController(w)
			arrived.Add(1)
			for {
				if _, err := w.Write(make([]byte, 4<<10)); err != nil || rc.Flush() != nil || req.Context().Err() != nil {
					left.Add(1)
					return
				}
			}
		default:
			_, _ = io.WriteString(w, "fine")
		}
	}))
	goroutines := runtime.NumGoroutine()
	stages := map[string]string{
		"/waiting":     "GET /waiting HTTP/1.1\r\nHost: HOST\r\n\r\n",
		"/uploading":   "POST /uploading HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000000\r\n\r\nonly this",
		"/downloading": "GET /downloading HTTP/1.1\r\nHost: HOST\r\n\r\n",
	}
	for path, request := range stages {
		arrived.Store(0)
		left.Store(0)
		var conns []*net.TCPConn
		for range each {
			c, br := r.dial(t)
			r.send(t, c, request)
			if path == "/downloading" {
				if _, err := io.ReadFull(br, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
			}
			conns = append(conns, c)
		}
		eventually(t, path+": all have come through", func() bool { return arrived.Load() == each })
		for i, c := range conns {
			if i%2 == 0 {
				_ = c.SetLinger(0)
			}
			_ = c.Close()
		}
		eventually(t, path+": the service hears that all have left", func() bool { return left.Load() == each })
		eventually(t, path+": all captures have ended", func() bool {
			xs, err := r.api.Requests(t.Context(), r.grant.Name, client.Query{Filter: "is:inflight"})
			return err == nil && len(xs) == 0
		})
		xs := must(r.api.Requests(t.Context(), r.grant.Name, client.Query{Limit: each}))(t)
		for _, x := range xs {
			if x.Path != path || x.EndedBy != "client" || x.Error != tunnel.CodeClientAborted {
				t.Errorf("%s is captured as %s ended by %q (%s %s), want client (%s)", path, x.Path, x.EndedBy, x.Error, x.Detail, tunnel.CodeClientAborted)
			}
		}
	}
	if answer := r.exchange(t, "GET /after HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"); bodyOf(answer) != "fine" {
		t.Errorf("afterwards the tunnel answers %q", answer)
	}
	eventually(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines+kept })
}

// TestEarlyAnswers has a service that answers while the body still arrives, as
// those do that refuse an upload, and callers that send on. Captures are read
// all the while: with the race detector this is the test that a capture may be
// looked at while it grows.
func TestEarlyAnswers(t *testing.T) {
	const many, body, first = 48, 512 << 10, 16 << 10
	r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
		if _, err := io.ReadFull(br, make([]byte, first)); err != nil {
			return
		}
		_, path, _ := strings.Cut(head, " ")
		path, _, _ = strings.Cut(path, " ")
		_, _ = fmt.Fprintf(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
		_, _ = io.Copy(io.Discard, br)
	}))
	goroutines := runtime.NumGoroutine()

	ctx, stop := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			xs, err := r.api.Requests(ctx, r.grant.Name, client.Query{})
			for i := 0; i < len(xs) && err == nil; i += 7 {
				var x inspector.Exchange
				if x, err = r.api.Exchange(ctx, xs[i].ID); err == nil && int64(len(x.Request.Body.Data)) != x.Request.Body.Captured {
					t.Errorf("a capture holds %d bytes and says %d", len(x.Request.Body.Data), x.Request.Body.Captured)
				}
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("look at captures: %v", err)
				return
			}
		}
	})
	var wg sync.WaitGroup
	for i := range many {
		c, br := r.dial(t)
		path := fmt.Sprintf("/early/%d", i)
		answered := make(chan struct{})
		wg.Go(func() {
			r.send(t, c, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: HOST\r\nContent-Length: %d\r\n\r\n", path, body))
			piece := bytes.Repeat([]byte("x"), first)
			for sent := 0; sent < body; sent += first {
				if _, err := c.Write(piece); err != nil {
					return // the edge need not take the rest
				}
				if sent == body/2 {
					<-answered // the first half is under way when the answer comes
				}
			}
		})
		wg.Go(func() {
			defer close(answered)
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != path || res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("%s: answer %d %q, %v; want 413 and the path", path, res.StatusCode, b, err)
			}
			if !res.Close {
				t.Errorf("%s: the answer does not say that the connection ends", path)
			}
		})
	}
	wg.Wait()
	stop()
	looking.Wait()
	eventually(t, "all captures have ended", func() bool {
		xs, err := r.api.Requests(t.Context(), r.grant.Name, client.Query{Filter: "is:inflight"})
		return err == nil && len(xs) == 0
	})
	xs := must(r.api.Requests(t.Context(), r.grant.Name, client.Query{}))(t)
	if len(xs) != many {
		t.Errorf("%d captures, want %d", len(xs), many)
	}
	for _, x := range xs {
		if x.Status != http.StatusRequestEntityTooLarge || x.Request.Body.Size < first || x.Response.Body.Size != int64(len(x.Path)) {
			t.Errorf("captured %s: %d after %d bytes, %d bytes of answer; want 413 after at least %d, and all of the answer", x.Path, x.Status, x.Request.Body.Size, x.Response.Body.Size, first)
		}
	}
	eventually(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines+kept })
}
