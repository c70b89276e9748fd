package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRun takes the whole way once: local service, a Go proxy, load, table, JSON.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bench")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	saved := filepath.Join(dir, "results.json")
	cmd := exec.Command(bin, "-systems", "direct,gorp,nobody", "-extra", filepath.Join(dir, "extra.json"),
		"-only", "c=16", "-phases", "steady", "-rounds", "2", "-dur", "1s", "-base", strconv.Itoa(26_000+rand.IntN(1000)), "-out", saved)
	extra := `[{"Name": "nobody", "Kind": "tunnel", "Bins": ["bench-no-such-binary"]}]`
	if err := os.WriteFile(filepath.Join(dir, "extra.json"), []byte(extra), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	table, err := cmd.Output()
	if err != nil {
		t.Fatalf("run: %v\n%s", err, stderr.String())
	}
	if want := "| a. GET keep-alive c=16 | req/s |"; !strings.Contains(string(table), want) {
		t.Errorf("table has no %q:\n%s", want, table)
	}
	if want := "no bench-no-such-binary"; !strings.Contains(string(table), want) {
		t.Errorf("table does not say %q:\n%s", want, table)
	}
	var f file
	b, err := os.ReadFile(saved)
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, sys := range []string{"direct", "gorp"} {
		m := f.Results["a. GET keep-alive c=16"][sys]
		if len(m["req/s"]) != 2 || minOf(m["req/s"]) <= 0 {
			t.Errorf("%s: req/s = %v, want two rounds above zero", sys, m["req/s"])
		}
		if len(m["errors"]) > 0 {
			t.Errorf("%s: errors = %v, want none", sys, m["errors"])
		}
	}
	if cpu := f.Results["a. GET keep-alive c=16"]["gorp"]["edge cpu µs/req"]; len(cpu) != 2 || cpu[0] <= 0 {
		t.Errorf("gorp: edge cpu = %v, want two values above zero", cpu)
	}
	resumed, err := exec.Command(bin, append(cmd.Args[1:], "-resume", "-rounds", "3")...).Output()
	if err != nil || !strings.Contains(string(resumed), "c=16") {
		t.Errorf("resumed: %v\n%s", err, resumed)
	}
	var more file
	if b, err = os.ReadFile(saved); err == nil {
		err = json.Unmarshal(b, &more)
	}
	if got := more.Results["a. GET keep-alive c=16"]["direct"]["req/s"]; err != nil || len(got) != 3 || got[0] != f.Results["a. GET keep-alive c=16"]["direct"]["req/s"][0] {
		t.Errorf("after a third round: req/s = %v, %v, want one value more than before", got, err)
	}
	table = resumed
	again, err := exec.Command(bin, "table", saved).Output()
	if err != nil || !bytes.Equal(again, table) {
		t.Errorf("table of the saved results differs (%v)\n--- want\n%s--- got\n%s", err, table, again)
	}
}

func TestRatio(t *testing.T) {
	f := file{Results: results{}}
	f.Results.add("a", "direct", map[string]float64{"req/s": 100, "p50 µs": 10})
	f.Results.add("a", "x", map[string]float64{"req/s": 50, "p50 µs": 40})
	for metric, want := range map[string]string{"req/s": "0.50", "p50 µs": "0.25"} {
		if got := f.ratio("a", metric, "x", "direct"); got != want {
			t.Errorf("ratio of %s = %s, want %s: above 1 is the better one", metric, got, want)
		}
	}
}

// TestGoals judges lrok by one run alone where two runs hold both systems of a
// ratio only in one of them.
func TestGoals(t *testing.T) {
	quiet, busy := file{Results: results{}}, file{Results: results{}}
	for _, v := range []float64{100, 110, 120} {
		quiet.Results.add("x", "lrok", map[string]float64{"req/s": v, "edge cpu µs/req": 30, "agent cpu µs/req": 20})
		quiet.Results.add("x", "peer", map[string]float64{"req/s": 100})
	}
	busy.Results.add("x", "lrok", map[string]float64{"req/s": 1})
	rs := runs{quiet, busy}
	rate := fig("x", "req/s")
	for _, tt := range []struct {
		b       bound
		got     string
		verdict string
	}{
		{atLeast(1.1, "", rate, "peer"), "110 [100-120] = 1.10 of peer's 100 [100-100]", met},
		{atLeast(1.2, "", rate, "peer"), "110 [100-120] = 1.10 of peer's 100 [100-100]", missed},
		{atMost(50, "", cpu("x", "req")), "50.0 [50.0-50.0]", met},
		{atMost(49, "", cpu("x", "req")), "50.0 [50.0-50.0]", missed},
		{atMost(1, "", rate, "nobody"), "", notMeasured},
		{atMost(2, "", cpu("x", "req").times(cpu("x", "req"))), "1.00 [1.00-1.00]", met},
	} {
		got, _, verdict := tt.b.judge(rs)
		if got != tt.got || verdict != tt.verdict {
			t.Errorf("%+v: %q, %s; want %q, %s", tt.b, got, verdict, tt.got, tt.verdict)
		}
	}
}

// TestNames holds that every figure of the goals and of the docs is one that is
// measured: a scenario that was renamed would be "not measured" for ever.
func TestNames(t *testing.T) {
	names := map[string]bool{}
	for _, sc := range scenarios() {
		names[sc.name] = true
	}
	o := opts{agents: []int{1}, rtts: []time.Duration{50 * time.Millisecond, 100 * time.Millisecond}}
	for _, p := range new(env).phases(o, 1, 10_000, 512) {
		names[p.name] = true
	}
	for _, n := range []int{100, 200, 500, 1000} {
		names[idleScenario(n)] = true
	}
	for _, g := range goals() {
		for _, b := range g.bounds {
			if !names[b.fig.sc] || b.fig.over != nil && !names[b.fig.over.sc] {
				t.Errorf("goal %q: nothing measures %q", g.row, b.fig.sc)
			}
		}
	}
	for _, table := range tables() {
		for _, r := range table.rows {
			if !names[r.fig.sc] {
				t.Errorf("table %q: nothing measures %q", table.title, r.fig.sc)
			}
		}
	}
}

func TestStraceTotal(t *testing.T) {
	p := filepath.Join(t.TempDir(), "strace.txt")
	out := `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.00    0.020000           2     10000           write
 38.00    0.010000           1      5000       120 read
  1.00    0.000100           1       100           futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.030100           1     15100       120 total
`
	if err := os.WriteFile(p, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := straceTotal(p)
	if err != nil || got != 15100 {
		t.Errorf("straceTotal = %v, %v, want 15100", got, err)
	}
}

// TestTemplates expands every built-in system, so that a slip in one does not
// wait for the machine that has its binary.
func TestTemplates(t *testing.T) {
	e := &env{bindir: t.TempDir(), up: 1, upTCP: 2}
	for _, s := range builtin() {
		for _, b := range s.Bins {
			if err := os.WriteFile(filepath.Join(e.bindir, b), nil, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		v := vars{e: e, Dir: "/d", Pub: 3, PubI: 4, Ctl: 5, Link: 60606, TCP: 7, Aux: 8, AuxI: 9, Up: 1, UpTCP: 2, Cert: "c", Key: "k", Self: "self"}
		for _, argv := range [][]string{s.Edge, s.Agent, s.Setup, s.AfterEdge, s.AgentEnv, s.EdgeEnv, {s.HTTP}, {s.Host}} {
			for _, a := range v.argv(argv) {
				if strings.Contains(a, "{{") || strings.Contains(a, "<no value>") {
					t.Errorf("%s: %q is not expanded", s.Name, a)
				}
			}
		}
		for _, files := range []map[string]string{s.Files, s.AgentFiles} {
			for name, text := range files {
				v.expand(name)
				v.expand(text)
			}
		}
		if s.Kind == "tunnel" && !s.NoRTT {
			if agent := strings.Join(v.argv(s.Agent), " ") + v.expand(strings.Join(valuesOf(s.AgentFiles), " ")); !strings.Contains(agent, "60606") {
				t.Errorf("%s: the agent does not dial .Link: %s", s.Name, agent)
			}
		}
	}
}

func valuesOf(m map[string]string) (out []string) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// TestDelay holds the stand-in for a long link to what it promises.
func TestDelay(t *testing.T) {
	const rtt = 60 * time.Millisecond
	up, tcp := freePort(), freePort()
	go upstreamMain(addr(up), addr(tcp))
	if err := waitPort(up, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	link := freePort()
	l, err := delayProxy(addr(link), addr(up), rtt, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := target{addr: addr(link), host: "t0.tun.test"}
	x := closedLoop(to, to.req("GET", "/small", 0, false), 1, 3*rtt, 30*rtt, false)
	// The quickest of them, as a busy machine has slow ones.
	if got := time.Duration(x.q(0)) * time.Microsecond; x.errs > 0 || got < rtt || got > 4*rtt {
		t.Errorf("the quickest over a %v link took %v, with %d errors", rtt, got, x.errs)
	}
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
