package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// How long the screen's loop is held, which is how long a key may wait before
// anything is done about it. lrok-timing is lrok built with the tag timing: it
// writes down what Update and View take, and how long somebody waits who wants to
// hand the loop a message each millisecond.
const loopScenario = "s. the loop of the screen"

// A timing is a line of what lrok-timing writes: how long it took until end.
type timing struct {
	end  int64 // µs since 1970
	what string
	took float64 // ms
	cpu  float64 // ms of it that it had a processor, negative where that is not known
}

func readTimings(path string) ([]timing, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []timing
	for s := bufio.NewScanner(f); s.Scan(); {
		var t timing
		if n, _ := fmt.Sscan(s.Text(), &t.end, &t.what, &t.took, &t.cpu); n == 4 {
			t.took, t.cpu = t.took/1e3, t.cpu/1e3
			list = append(list, t)
		}
	}
	return list, nil
}

// resize gives the terminal another size.
func (t *terminal) resize(w, h uint16) error {
	size := [4]uint16{h, w}
	if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, t.far.Fd(), syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&size))); no != 0 {
		return no
	}
	return nil
}

// loop drives the screen through all that asks much of it, while requests come in
// at the rate and 10,000 are listed.
func (e *env) loop(s system, slot int) (map[string]float64, error) {
	r, err := e.boot(s, slot, booting{noAgent: true, bodies: true})
	if err != nil {
		return nil, err
	}
	defer r.stop()
	p, err := r.addAgent(0)
	if err != nil {
		return nil, err
	}
	if _, err := waitReady(r.t, 20*time.Second); err != nil {
		return nil, err
	}
	t := p.term
	small := r.t.req("GET", "/small", 0, false)
	for had := 0; had < screenHeads; {
		had += closedLoop(r.t, small, 8, 0, 500*time.Millisecond, false).n
	}
	// Large bodies go to the second tunnel, where nothing pushes them out.
	docs := r.t
	docs.host = "docs.tun.test"
	for i, one := range []bool{false, true, false, true} {
		body := bigBody(5<<20, "ZQXJVZQXJV", one)
		if i > 1 { // something for a comparison to find
			body = bytes.ReplaceAll(body, []byte(`"id":7`), []byte(`"id":8`))
		}
		if err := post(docs, "/small", body); err != nil {
			return nil, err
		}
	}
	time.Sleep(time.Second)

	stop := make(chan struct{})
	sent := paced(r.t, screenRate, stop)
	defer func() { close(stop); sent() }()
	time.Sleep(time.Second)

	random := rand.New(rand.NewPCG(1, 2))
	wildly := func(d, apart time.Duration, keys ...string) {
		for end := time.Now().Add(d); time.Now().Before(end); {
			t.pause(keys[random.IntN(len(keys))], apart)
		}
	}
	type1 := func(s string, apart time.Duration) {
		for _, c := range s {
			t.pause(string(c), apart)
		}
	}
	const (
		esc   = "\x1b"
		enter = "\r"
		down  = "\x1b[6~"
		up    = "\x1b[5~"
	)
	pages := []string{"j", "k", down, up, "g", "G", "\x04", "\x15"}
	home := func() { t.pause(esc, 100*time.Millisecond); t.pause(esc, 100*time.Millisecond) }
	steps := []struct {
		name string
		run  func()
	}{
		{"nobody touches it", func() { time.Sleep(3 * time.Second) }},
		{"paging 10,000 requests", func() { wildly(4*time.Second, 7*time.Millisecond, pages...) }},
		{"filtering 10,000 requests", func() {
			for _, q := range []string{"status:200 path:/small", "status:>=500 or method:GET", "small -conn", "body:name", "header:host:tun"} {
				type1("/"+q+enter, 15*time.Millisecond)
				t.pause("", 200*time.Millisecond)
				t.pause("/\x15"+enter, 100*time.Millisecond)
			}
		}},
		{"completing", func() {
			for _, q := range []string{"me\tG\t", "st\t2\t", "pa\t/s\t"} {
				type1("/"+q, 20*time.Millisecond)
				wildly(300*time.Millisecond, 15*time.Millisecond, "\x0e", "\t")
				t.pause("\x15"+enter, 50*time.Millisecond)
				type1("\x10"+"repl", 20*time.Millisecond)
				t.pause(esc, 100*time.Millisecond)
			}
		}},
		{"switching tunnels", func() {
			for range 6 {
				t.pause("2", 450*time.Millisecond)
				t.pause("1", 450*time.Millisecond)
			}
		}},
		{"resizing", func() {
			for range 60 {
				_ = t.resize(uint16(40+random.IntN(200)), uint16(12+random.IntN(48)))
				time.Sleep(25 * time.Millisecond)
			}
			_ = t.resize(120, 40)
			time.Sleep(200 * time.Millisecond)
		}},
		// The rest in the second tunnel, whose capture in front is on one line.
		{"opening 5 MiB on a line", func() {
			t.pause("2", 50*time.Millisecond)
			t.pause("", 700*time.Millisecond)
		}},
		{"opening 5 MiB of lines", func() { t.pause("j", 50*time.Millisecond); wildly(time.Second, 10*time.Millisecond, "M") }},
		{"paging 5 MiB", func() {
			t.pause(enter, 300*time.Millisecond)
			wildly(2*time.Second, 7*time.Millisecond, pages...)
			t.pause("x", 50*time.Millisecond)
			wildly(time.Second, 7*time.Millisecond, pages...)
			t.pause("x", 50*time.Millisecond)
		}},
		{"folding 5 MiB", func() {
			for range 3 {
				t.pause("zM", 150*time.Millisecond)
				wildly(300*time.Millisecond, 15*time.Millisecond, "j", "o", "k")
				t.pause("zR", 150*time.Millisecond)
			}
		}},
		{"searching 5 MiB", func() {
			t.pause("g", 50*time.Millisecond)
			type1("/Lovelace"+enter, 40*time.Millisecond)
			wildly(time.Second, 10*time.Millisecond, "n", "N", "n")
			t.pause(esc, 100*time.Millisecond)
			type1("/\"id\":9999"+enter, 40*time.Millisecond)
			wildly(time.Second, 10*time.Millisecond, "n", "N", "n")
			t.pause(esc, 100*time.Millisecond)
		}},
		{"other tabs of 5 MiB", func() {
			for range 12 { // twice round
				t.pause("]", 80*time.Millisecond)
				wildly(100*time.Millisecond, 10*time.Millisecond, pages...)
			}
		}},
		{"jq of 5 MiB", func() {
			type1("=.rows | length"+enter, 30*time.Millisecond)
			t.pause("", time.Second)
			type1("=.rows"+enter, 30*time.Millisecond)
			t.pause("", 2*time.Second)
			t.pause(esc, 100*time.Millisecond)
		}},
		{"resizing 5 MiB", func() {
			for range 60 {
				_ = t.resize(uint16(60+random.IntN(180)), uint16(12+random.IntN(48)))
				time.Sleep(25 * time.Millisecond)
			}
			_ = t.resize(120, 40)
			time.Sleep(200 * time.Millisecond)
		}},
		{"comparing 5 MiB", func() {
			home()
			t.pause("g", 50*time.Millisecond)
			t.pause("m", 50*time.Millisecond)
			t.pause("jj", 300*time.Millisecond)
			t.pause("d", 1500*time.Millisecond)
			wildly(time.Second, 10*time.Millisecond, "n", "N", "n", "\t", down, up, "=")
			t.pause("t", 1500*time.Millisecond)
			wildly(time.Second, 10*time.Millisecond, "n", "N", "n", down, up)
			home()
		}},
	}
	from := make([]int64, 0, len(steps)+1)
	for _, step := range steps {
		from = append(from, time.Now().UnixMicro())
		step.run()
	}
	from = append(from, time.Now().UnixMicro())
	time.Sleep(300 * time.Millisecond) // it writes ten times a second

	list, err := readTimings(r.v.Dir + "/times")
	if err != nil {
		return nil, err
	}
	m := map[string]float64{}
	took, cpu := map[string][]float64{}, map[string][]float64{}
	for i, step := range steps {
		var waits []float64
		for _, t := range list {
			if t.end < from[i] || t.end >= from[i+1] {
				continue
			}
			took[t.what] = append(took[t.what], t.took)
			if t.cpu >= 0 {
				cpu[t.what] = append(cpu[t.what], t.cpu)
			}
			if t.what == "wait" {
				waits = append(waits, t.took)
			}
		}
		if len(waits) == 0 {
			return nil, fmt.Errorf("%s: the screen is gone", step.name)
		}
		m[step.name+": wait p99 ms"], m[step.name+": wait max ms"] = percentile(waits, .99), percentile(waits, 1)
	}
	for what, x := range took {
		m[what+" p50 ms"], m[what+" p99 ms"], m[what+" max ms"] = percentile(x, .5), percentile(x, .99), percentile(x, 1)
		m[what+" p99.9 ms"] = percentile(x, .999)
	}
	for what, x := range cpu {
		m[what+" cpu p99.9 ms"], m[what+" cpu max ms"] = percentile(x, .999), percentile(x, 1)
	}
	return m, nil
}
