package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// held sends n requests at once through one tunnel, each on a connection of its
// own, to a service that answers none before all are there. What is counted is
// answers that are wrong or missing, and the memory of edge and agent meanwhile.
func (e *env) held(s system, slot, n int) (map[string]float64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err == nil && l.Cur < uint64(n)+1000 {
		return nil, fmt.Errorf("%d open files are too few (ulimit -n)", l.Cur)
	}
	r, err := e.boot(s, slot, booting{big: true})
	if err != nil {
		return nil, err
	}
	defer r.stop()
	if _, err := e.ask("/hold/open"); err != nil { // what an earlier run may have left
		return nil, err
	}
	both := append([]*proc{r.edge}, r.agents...)
	_, before := groupUsage(both...)

	const patience = 60 * time.Second
	var wrong, answered atomic.Int64
	var wg sync.WaitGroup
	places := make(chan struct{}, 64) // who are on their way
	begin := time.Now()
	for i := range n {
		places <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := net.DialTimeout("tcp", r.t.addr, 10*time.Second)
			if err == nil {
				defer c.Close()
				c.SetDeadline(time.Now().Add(2 * patience))
				_, err = c.Write(r.t.req("GET", "/hold?id="+strconv.Itoa(i), 0, true))
			}
			<-places
			if err != nil || !holdAnswer(c, i) {
				wrong.Add(1)
			}
			answered.Add(1)
		}()
	}
	m := map[string]float64{}
	inside := 0
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if inside, err = e.ask("/hold/inside"); err != nil || inside+int(answered.Load()) >= n {
			break
		}
	}
	m["all held s"] = time.Since(begin).Seconds()
	time.Sleep(time.Second)
	_, rss := groupUsage(both...)
	if r.edge != nil {
		m["edge MiB"], m["edge KiB/request"] = rss[0]/1024, (rss[0]-before[0])/float64(n)
	}
	if len(r.agents) > 0 {
		m["agent MiB"], m["agent KiB/request"] = rss[1]/1024, (rss[1]-before[1])/float64(n)
	}
	if g, ok := r.goroutines(); ok {
		m["edge goroutines/request"] = g / float64(n)
	}
	m["not held"] = float64(n - inside)
	begin = time.Now()
	if _, err := e.ask("/hold/open"); err != nil {
		return m, err
	}
	wg.Wait()
	m["all answered s"] = time.Since(begin).Seconds()
	m["wrong answers"] = float64(wrong.Load())
	if r.edge != nil {
		m["edge peak MiB"] = peakMiB(r.edge)
	}
	if len(r.agents) > 0 {
		m["agent peak MiB"] = peakMiB(r.agents[0])
	}
	return m, nil
}

func holdAnswer(c net.Conn, i int) bool {
	br := newReader(c)
	h, err := readHead(br)
	if err != nil || h.status != 200 || h.length != int64(len(holdBody(i))) {
		return false
	}
	b := make([]byte, h.length)
	_, err = io.ReadFull(br, b)
	return err == nil && bytes.Equal(b, holdBody(i))
}

// holdBody is what nobody but request i is to be answered.
func holdBody(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d,", i), 40) }

// ask asks the local service itself.
func (e *env) ask(path string) (int, error) {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", e.up))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	t := target{host: "upstream"}
	c.Write(t.req("GET", path, 0, true))
	br := newReader(c)
	h, err := readHead(br)
	if err != nil {
		return 0, err
	}
	b := make([]byte, max(h.length, 0))
	if _, err := io.ReadFull(br, b); err != nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}

// A hold is the local service's part.
type hold struct {
	inside atomic.Int64
	mu     sync.Mutex
	open   chan struct{} // closed when those inside may go
}

func (h *hold) serve(mux *http.ServeMux) {
	h.open = make(chan struct{})
	mux.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		i, _ := strconv.Atoi(r.URL.Query().Get("id"))
		h.mu.Lock()
		open := h.open
		h.mu.Unlock()
		h.inside.Add(1)
		defer h.inside.Add(-1)
		select {
		case <-open:
			w.Write(holdBody(i))
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/hold/inside", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, h.inside.Load()) })
	mux.HandleFunc("/hold/open", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		close(h.open)
		h.open = make(chan struct{})
		h.mu.Unlock()
		fmt.Fprint(w, h.inside.Load())
	})
}

// stalled opens n downloads through one tunnel whose readers stop after the
// first kilobyte, and measures small requests without and beside them.
func (e *env) stalled(s system, slot, n int, o opts) (map[string]float64, error) {
	r, err := e.boot(s, slot, booting{})
	if err != nil {
		return nil, err
	}
	defer r.stop()
	get := r.t.req("GET", "/small", 0, false)
	small := func() loadResult { return closedLoop(r.t, get, 8, o.warm, o.dur, false) }
	both := append([]*proc{r.edge}, r.agents...)
	alone := small()
	_, before := groupUsage(both...)

	stop, ready, done := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() { holdStalledDownload(n)(r, stop, ready); close(done) }()
	if err := <-ready; err != nil {
		close(stop)
		<-done
		return nil, err
	}
	time.Sleep(2 * time.Second) // let every buffer and window on the way fill
	beside := small()
	_, rss := groupUsage(both...)
	close(stop)
	<-done
	if _, err := waitReady(r.t, 10*time.Second); err != nil {
		return nil, fmt.Errorf("did not recover: %w", err)
	}
	time.Sleep(time.Second)
	again := small()
	m := map[string]float64{
		"alone p50 µs": (alone.q(.5) + again.q(.5)) / 2, "beside p50 µs": beside.q(.5), "beside p99 µs": beside.q(.99),
	}
	if r.edge != nil {
		m["edge grows MiB"], m["edge peak MiB"] = (rss[0]-before[0])/1024, peakMiB(r.edge)
	}
	m["beside/alone"] = m["beside p50 µs"] / m["alone p50 µs"]
	if len(r.agents) > 0 {
		m["agent grows MiB"] = (rss[1] - before[1]) / 1024
	}
	if beside.errs > 0 {
		m["errors"] = float64(beside.errs)
	}
	return m, nil
}

// peakMiB is the most memory that p has had.
func peakMiB(p *proc) float64 {
	var sum float64
	for _, pid := range groupPids(p) {
		kib, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"), " ")
		v, _ := strconv.ParseFloat(kib, 64)
		sum += v / 1024
	}
	return sum
}

// goroutines asks the edge's metrics, where it has some.
func (r *running) goroutines() (float64, bool) {
	if r.sys.Metrics == "" {
		return 0, false
	}
	res, err := http.Get(r.v.expand(r.sys.Metrics))
	if err != nil {
		return 0, false
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, false
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, "go_goroutines "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return n, err == nil
		}
	}
	return 0, false
}

// enoughMemory reports whether n processes of about each MiB fit.
func enoughMemory(n, each int) error {
	if free := memInfo("MemAvailable") >> 10; free < n*each {
		return fmt.Errorf("%d MiB are free, %d agents may take %d", free, n, n*each)
	}
	return nil
}
