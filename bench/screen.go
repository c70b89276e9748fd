package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The screen as a person has it: a terminal with lrok in it, keys that are typed
// and what is drawn for them, while requests come in.
const (
	screenScenario = "s. the screen"
	awayScenario   = "s. requests while the screen is away"

	screenHeads = 10_000 // requests in the list before anything is measured
	screenRate  = 1000   // requests a second while keys are typed
)

// bigBody is a JSON of n bytes that begins with the word first; on one line, or
// indented. A formatted view of the one line has a space after "second".
func bigBody(n int, first string, oneLine bool) []byte {
	b := bytes.NewBuffer(make([]byte, 0, n+256))
	sep, in := "", ""
	if !oneLine {
		sep, in = "\n", "  "
	}
	fmt.Fprintf(b, "{%s%s\"first\":\"%s\",%s%s\"SECONDKEY\":1,%s%s\"rows\":[", sep, in, first, sep, in, sep, in)
	for i := 0; b.Len() < n-128; i++ {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(b, "%s%s{\"id\":%d,\"name\":\"Ada Lovelace\",\"tags\":[\"a\",\"b\"],\"score\":0.5}", sep, in, i)
	}
	fmt.Fprintf(b, "%s]%s}", sep, sep)
	return b.Bytes()
}

// key types s and returns how long it takes until ok holds of what is drawn
// after it.
func (t *terminal) key(s string, limit time.Duration, ok func(drawn []byte) bool) (time.Duration, error) {
	t.forget()
	return t.press(s, limit, ok)
}

// press is key for those who still want to see what was drawn before.
func (t *terminal) press(s string, limit time.Duration, ok func(drawn []byte) bool) (time.Duration, error) {
	from := t.drawnSince()
	t0 := time.Now()
	if _, err := t.far.WriteString(s); err != nil {
		return 0, err
	}
	d, err := t.await(t0, limit, func(b []byte) bool { return ok(b[from:]) })
	if err != nil {
		return 0, fmt.Errorf("key %q: %w", s, err)
	}
	return d, nil
}

// pause types s and leaves the screen d to draw it.
func (t *terminal) pause(s string, d time.Duration) {
	t.far.WriteString(s)
	time.Sleep(d)
}

// mouse is a key that is seen on the wire whatever stands on the screen: it gives
// the mouse back to the terminal and takes it again.
func (t *terminal) mouse() (time.Duration, error) {
	return t.press("M", 5*time.Second, func(b []byte) bool {
		return bytes.Contains(b, []byte("\x1b[?1002l")) || bytes.Contains(b, []byte("\x1b[?1002h"))
	})
}

var csi = regexp.MustCompile("\x1b\\[[0-9;:?<>=]*[A-Za-z]")

// allLines is in the line above a body of 5 MiB that is formatted as a whole: hundreds
// of thousands. What the first rows are laid out of has a few thousand.
var allLines = regexp.MustCompile(`[0-9]{3},[0-9]{3}`)

// text is what was drawn without colours and movements.
func text(b []byte) string { return string(csi.ReplaceAll(b, nil)) }

// paced sends rate requests a second until stop is closed, over eight connections.
func paced(tg target, rate int, stop <-chan struct{}) (sent func() int) {
	const conns = 8
	var n atomic.Int64
	var wg sync.WaitGroup
	for i := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			req := tg.req("GET", fmt.Sprintf("/small?conn=%d", i), 0, false)
			c, err := tg.dial()
			if err != nil {
				return
			}
			defer c.Close()
			br := newReader(c)
			every := time.Second * conns / time.Duration(rate)
			for next := time.Now(); ; next = next.Add(every) {
				select {
				case <-stop:
					return
				case <-time.After(time.Until(next)):
				}
				if _, err := c.Write(req); err != nil {
					return
				}
				if _, _, err := readResp(br); err != nil {
					return
				}
				n.Add(1)
			}
		}()
	}
	return func() int { wg.Wait(); return int(n.Load()) }
}

// cpuOf is the processor time that p takes in d, in percent of a core.
func cpuOf(p *proc, d time.Duration) float64 {
	before, _ := groupUsage(p)
	time.Sleep(d)
	after, _ := groupUsage(p)
	return (after[0] - before[0]) / d.Seconds() * 100
}

// underLoad is what p takes while requests come in at the rate, as a share of
// what was asked for so that a busy machine does not count as a quick one.
func underLoad(t target, p *proc, d time.Duration) (cpu, rate float64) {
	stop := make(chan struct{})
	sent := paced(t, screenRate, stop)
	time.Sleep(500 * time.Millisecond)
	cpu = cpuOf(p, d)
	close(stop)
	return cpu, float64(sent()) / (d + 500*time.Millisecond).Seconds()
}

func percentile(x []float64, p float64) float64 {
	sort.Float64s(x)
	return x[min(int(float64(len(x))*p), len(x)-1)]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// screenOf measures the screen of one agent.
func (e *env) screenOf(s system, slot int, add report) error {
	r, err := e.boot(s, slot, booting{noAgent: true, bodies: true})
	if err != nil {
		return err
	}
	defer r.stop()
	m := map[string]float64{}
	defer func() { add(screenScenario, m) }()

	t0 := time.Now()
	p, err := r.addAgent(0)
	if err != nil {
		return err
	}
	t := p.term
	first, err := t.await(t0, 10*time.Second, func(b []byte) bool { return strings.Contains(text(b), "quit") })
	if err != nil {
		return err
	}
	m["first frame ms"] = ms(first)
	if _, err := waitReady(r.t, 20*time.Second); err != nil {
		return err
	}
	time.Sleep(time.Second)
	m["idle cpu %"] = cpuOf(p, 9*time.Second)

	small := r.t.req("GET", "/small", 0, false)
	for had := 0; had < screenHeads; {
		had += closedLoop(r.t, small, 8, 0, 500*time.Millisecond, false).n
	}
	time.Sleep(time.Second)

	// Keys while requests come in.
	stop := make(chan struct{})
	sent := paced(r.t, screenRate, stop)
	time.Sleep(500 * time.Millisecond)
	var keys []float64
	for i := range 120 {
		d, err := t.mouse()
		if err != nil {
			close(stop)
			return err
		}
		keys = append(keys, ms(d))
		time.Sleep(time.Duration(5+i*7%23) * time.Millisecond)
	}
	close(stop)
	sent()
	m["key p50 ms"], m["key p95 ms"], m["key max ms"] = percentile(keys, .5), percentile(keys, .95), percentile(keys, 1)
	withScreen, rate := underLoad(r.t, p, 3*time.Second)
	m["cpu % with it"], m["req/s with it"] = withScreen, rate

	// Large bodies: one that stands below the newest, opened with j.
	for _, big := range []struct {
		name string
		body []byte
	}{{"5 MiB of lines", bigBody(5<<20, "ZQXJVZQXJV", false)}, {"5 MiB on a line", bigBody(5<<20, "WKYBHWKYBH", true)}} {
		t.pause("jj", 200*time.Millisecond) // off the newest: what comes is not loaded by itself
		for _, b := range [][]byte{big.body, nil} {
			if err := post(r.t, "/small", b); err != nil {
				return err
			}
		}
		time.Sleep(500 * time.Millisecond)
		t.pause("g", 300*time.Millisecond) // the newest, and time to draw it
		word := text(big.body[:64])
		word = word[strings.Index(word, `first":"`)+8:][:10]
		// Formatting goes on behind the first rows; keys are pressed all the while.
		t0 := time.Now()
		painted, err := t.key("j", 5*time.Second, func(b []byte) bool { return strings.Contains(text(b), word) })
		if err != nil {
			return fmt.Errorf("%s: %w", big.name, err)
		}
		m[big.name+": first paint ms"] = ms(painted)
		formatted := make(chan time.Duration, 1)
		go func() {
			d, _ := t.await(t0, 5*time.Second, allLines.Match)
			formatted <- d
		}()
		worst := time.Duration(0)
		for end := time.Now().Add(600 * time.Millisecond); time.Now().Before(end); {
			d, err := t.mouse()
			if err != nil {
				return err
			}
			worst = max(worst, d)
		}
		m[big.name+": longest key ms"] = ms(worst)
		if d := <-formatted; d > 0 {
			m[big.name+": formatted ms"] = ms(d)
		} else {
			return fmt.Errorf("%s: not formatted", big.name)
		}
	}

	// Ten bodies of 1 MiB, each opened.
	for i := range 10 {
		if err := post(r.t, fmt.Sprintf("/small?body=%d", i), bigBody(1<<20, "x", true)); err != nil {
			return err
		}
	}
	time.Sleep(300 * time.Millisecond)
	t.pause("g", 200*time.Millisecond)
	for range 10 {
		t.pause("j", 150*time.Millisecond)
	}
	_, rss := groupUsage(p)
	m["memory MiB"] = rss[0] / 1024

	// The same requests without a screen: what is left of the difference is the screen's.
	p.stop()
	r.agents = nil
	quiet := append(r.v.argv(s.Agent), "--quiet")
	q, err := startProc(quiet, r.v.Dir, r.v.Dir+"/quiet.log", r.v.argv(s.AgentEnv), nil)
	if err != nil {
		return err
	}
	r.agents = append(r.agents, q)
	if _, err := waitReady(r.t, 20*time.Second); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	without, _ := underLoad(r.t, q, 3*time.Second)
	m["cpu % of the screen"] = withScreen - without
	return nil
}

// post sends body and takes the answer.
func post(t target, path string, body []byte) error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, t.host, len(body))
	if _, err := c.Write(append([]byte(head), body...)); err != nil {
		return err
	}
	h, _, err := readResp(newReader(c))
	if err == nil && h.status != 200 {
		err = fmt.Errorf("status %d", h.status)
	}
	return err
}

// away measures requests while a person looks, while nothing reads the terminal,
// and while an editor has it, in turns.
func (e *env) away(s system, slot int, o opts) (map[string]float64, error) {
	r, err := e.boot(s, slot, booting{noAgent: true, bodies: true})
	if err != nil {
		return nil, err
	}
	defer r.stop()
	script := fmt.Sprintf("echo THEEDITORISOPEN; exec sleep %.1f\n", (o.warm + o.dur + time.Second).Seconds())
	if err := os.WriteFile(r.v.Dir+"/editor", []byte(script), 0o600); err != nil {
		return nil, err
	}
	p, err := r.addAgent(0)
	if err != nil {
		return nil, err
	}
	if _, err := waitReady(r.t, 20*time.Second); err != nil {
		return nil, err
	}
	small := r.t.req("GET", "/small", 0, false)
	run := func() float64 { return closedLoop(r.t, small, 16, o.warm, o.dur, false).rps }
	run()
	var open, still, editing []float64
	for range 4 {
		open = append(open, run())
		p.term.freeze(true)
		still = append(still, run())
		p.term.freeze(false)
		time.Sleep(300 * time.Millisecond)
		if _, err := p.term.key("e", 10*time.Second, func(b []byte) bool { return bytes.Contains(b, []byte("THEEDITORISOPEN")) }); err != nil {
			return nil, err
		}
		editing = append(editing, run())
		if _, err := p.term.await(time.Now(), 10*time.Second, func(b []byte) bool { return strings.Contains(text(b), "nothing was sent") }); err != nil {
			return nil, err
		}
	}
	return map[string]float64{
		"req/s with a screen": median(open), "req/s, terminal stopped": median(still), "req/s, editor open": median(editing),
		"stopped/with": median(still) / median(open), "editing/with": median(editing) / median(open),
	}, nil
}
