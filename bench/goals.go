package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// runs are the results of one or several runs, which may hold parts of the
// table, or rounds of the same part.
type runs []file

// A figure is one metric of a scenario, or a sum of several: of edge and agent.
type figure struct {
	sc   string
	keys []string
	over *figure // what each value is divided by
}

func fig(sc string, keys ...string) figure { return figure{sc: sc, keys: keys} }

func cpu(sc, unit string) figure {
	return fig(sc, "edge cpu µs/"+unit, "agent cpu µs/"+unit)
}

func (g figure) times(base figure) figure { g.over = &base; return g }

// of returns the values of g for a system, one a round.
func (g figure) of(f *file, sys string) []float64 {
	m := f.Results[g.sc][sys]
	var sum []float64
	for _, k := range g.keys {
		for i, v := range m[k] {
			if i == len(sum) {
				sum = append(sum, 0)
			}
			sum[i] += v
		}
	}
	if g.over == nil {
		return sum
	}
	base := g.over.of(f, sys)
	n := min(len(sum), len(base))
	sum = slices.Clone(sum[:n])
	for i := range sum {
		sum[i] /= base[i]
	}
	return sum
}

// values are those of all runs, or of those alone that measured all of systems.
func (rs runs) values(g figure, sys string, with ...string) (all []float64) {
	for i := range rs {
		if !slices.ContainsFunc(with, func(s string) bool { return len(g.of(&rs[i], s)) == 0 }) {
			all = append(all, g.of(&rs[i], sys)...)
		}
	}
	return all
}

// A bound is what a figure of a system is held to.
type bound struct {
	what  string // the figure in words, with its unit
	fig   figure
	sys   string // "lrok" when empty
	least bool   // at least, not at most
	limit float64
	of    []string // times the best of these systems; none: limit is absolute
}

type goal struct {
	row    string
	bounds []bound
}

func atMost(limit float64, what string, g figure, of ...string) bound {
	return bound{what: what, fig: g, limit: limit, of: of}
}

func atLeast(limit float64, what string, g figure, of ...string) bound {
	return bound{what: what, fig: g, least: true, limit: limit, of: of}
}

func (b bound) by(sys string) bound { b.sys = sys; return b }

const (
	met         = "met"
	missed      = "**not met**"
	notMeasured = "not measured"
)

// judge returns what was measured, what was wanted, and how that compares.
func (b bound) judge(rs runs) (got, want, verdict string) {
	sys := b.sys
	if sys == "" {
		sys = "lrok"
	}
	word := "at most "
	if b.least {
		word = "at least "
	}
	if len(b.of) == 0 {
		want = word + fmt.Sprintf("%.4g", b.limit)
		x := rs.values(b.fig, sys)
		if len(x) == 0 {
			return "", want, notMeasured
		}
		return cell(x), want, b.verdict(median(x), b.limit)
	}
	want = word + fmt.Sprintf("%.4g", b.limit) + " of " + strings.Join(b.of, " and ")
	note := ""
	all := append([]string{sys}, b.of...)
	x := rs.values(b.fig, sys, all...)
	peer := func(s string) []float64 { return rs.values(b.fig, s, all...) }
	if len(x) == 0 { // never in one run: better than nothing, and said
		x, note = rs.values(b.fig, sys), ", not in one run"
		peer = func(s string) []float64 { return rs.values(b.fig, s) }
	}
	var best []float64
	var who string
	for _, s := range b.of {
		y := peer(s)
		if len(x) == 0 || len(y) == 0 {
			return "", want, notMeasured
		}
		if best == nil || (median(y) > median(best)) == b.least {
			best, who = y, s
		}
	}
	ratio := median(x) / median(best)
	return fmt.Sprintf("%s = %s of %s's %s%s", cell(x), num(ratio), who, cell(best), note), want, b.verdict(ratio, b.limit)
}

func (b bound) verdict(v, limit float64) string {
	if b.least && v >= limit || !b.least && v <= limit {
		return met
	}
	return missed
}

// cell is a median and, of several rounds, the range.
func cell(x []float64) string {
	if len(x) == 0 {
		return ""
	}
	if len(x) == 1 {
		return num(x[0])
	}
	return fmt.Sprintf("%s [%s-%s]", num(median(x)), num(minOf(x)), num(maxOf(x)))
}

// goals is what lrok is to reach, with TLS on the link and captures on.
func goals() []goal {
	get := func(c int) string { return fmt.Sprintf("a. GET keep-alive c=%d", c) }
	rate := func(sc string) figure { return fig(sc, "req/s") }
	gs := []goal{
		{"GET, 64 connections", []bound{
			atLeast(.65, "requests/s", rate(get(64)), "nginx"),
			atLeast(1, "requests/s", rate(get(64)), "chisel"),
			atLeast(4, "requests/s", rate(get(64)), "frp"),
			atMost(100, "CPU µs/request", cpu(get(64), "req")),
		}},
		{"GET, 1 connection", []bound{atLeast(1, "requests/s", rate(get(1)), "chisel")}},
		{"GET, 256 connections", []bound{
			atLeast(1, "requests/s", rate(get(256)), "chisel"),
			atLeast(.7, "requests/s", rate(get(256)), "nginx"),
		}},
		{"p99, 64 connections", []bound{
			atMost(1, "µs", fig(get(64), "p99 µs"), "chisel"),
			atMost(1./3, "µs", fig(get(64), "p99 µs"), "frp"),
		}},
		{"system calls, 16 connections", []bound{
			atMost(12, "calls/request", fig("k. system calls (strace)", "edge calls/req c=16", "agent calls/req c=16")),
		}},
		{"a new client connection per request", []bound{
			atLeast(1.4, "requests/s", rate("b. GET new connection each c=16"), "frp"),
			atMost(500, "CPU µs/request", cpu("b. GET new connection each c=16", "req")),
		}},
		{"GET over HTTPS and HTTP/2, of HTTP/1.1", []bound{
			atMost(1.5, "CPU, HTTPS, 64 connections", cpu("m. HTTPS GET keep-alive c=64", "req").times(cpu(get(64), "req"))),
			atMost(1.5, "CPU, HTTP/2, 4 connections of 16", cpu("n. HTTP/2 GET 4 connections of 16", "req").times(cpu(get(64), "req"))),
			atMost(1.5, "CPU, HTTP/2, 64 connections of 1", cpu("n. HTTP/2 GET 64 connections of 1", "req").times(cpu(get(64), "req"))),
		}},
	}
	for _, dir := range []string{"download", "upload"} {
		one, eight := "c. "+dir+" 1 stream", "c. "+dir+" 8 streams"
		gs = append(gs, goal{dir + ", one stream", []bound{
			atLeast(1.25, "MB/s", fig(one, "MB/s"), "frp-nomux"),
			atLeast(2, "MB/s", fig(one, "MB/s"), "frp"),
			atMost(3200, "CPU µs/MiB", cpu(one, "MiB")),
		}}, goal{dir + ", eight streams", []bound{
			atLeast(1.1, "MB/s", fig(eight, "MB/s"), "frp", "frp-nomux"),
			atMost(3200, "CPU µs/MiB", cpu(eight, "MiB")),
		}})
	}
	for _, sc := range bodyScenarios() { // two runs of the same differ by 5 %
		gs = append(gs, goal{strings.TrimPrefix(sc.name, "o. "), []bound{
			atMost(1.05, "CPU µs/request", cpu(sc.name, "req"), "lrok-onelink").by("lrok-relayed"),
		}})
	}
	for _, rtt := range []string{"50ms", "100ms"} {
		sc := "j. agent link with " + rtt + " RTT"
		gs = append(gs, goal{"one stream at " + rtt + " RTT", []bound{
			atLeast(1, "MB/s down", fig(sc, "download MB/s"), "frp-nomux"),
			atLeast(.9, "MB/s up", fig(sc, "upload MB/s"), "frp-nomux"),
		}})
	}
	return append(gs,
		goal{"small requests on a 20 Mbit/s, 40 ms link", []bound{
			atMost(1.05, "p50 ms beside a download", fig(narrowScenario, "under download p50 ms"), "frp-nomux"),
			atMost(1.05, "p50 ms beside an upload", fig(narrowScenario, "under upload p50 ms"), "frp-nomux"),
		}},
		goal{"small requests beside others, loopback", []bound{
			atMost(1.1, "p50, 1 stalled download, of alone", beside("1 stalled download")),
			atMost(1.1, "p50, 8 stalled downloads, of alone", beside("8 stalled downloads")),
			atMost(1.1, "p50, stalled upload, of alone", beside("stalled upload")),
			atMost(1, "p50, bulk download, of alone", beside("bulk download running"), "nginx"),
		}},
		goal{"event stream and WebSocket", []bound{
			atMost(450, "event delay p50 µs", fig("f. SSE, 50 events 10 ms apart", "event delay p50 µs")),
			atMost(300, "WebSocket echo p50 µs", fig("e. WebSocket echo 64 B", "p50 µs")),
		}},
		goal{"the screen, 120x40, 10,000 requests listed", []bound{
			atMost(25, "key to screen at 1,000 requests/s, p95 ms", fig(screenScenario, "key p95 ms")).by("lrok-screen"),
			atMost(12, "CPU of the screen at 1,000 requests/s, % of a core", fig(screenScenario, "cpu % of the screen")).by("lrok-screen"),
			atMost(1.5, "CPU of agent and screen, idle, % of a core", fig(screenScenario, "idle cpu %")).by("lrok-screen"),
			atMost(16, "a key waits for the loop, ms at most", fig(loopScenario, "wait max ms")).by("lrok-timing"),
			atMost(16, "a key waits for the loop, p99.9 ms", fig(loopScenario, "wait p99.9 ms")).by("lrok-timing"),
			atMost(2, "processor time of Update, p99.9 ms", fig(loopScenario, "update cpu p99.9 ms")).by("lrok-timing"),
			atMost(1.5, "processor time of View, p99.9 ms", fig(loopScenario, "view cpu p99.9 ms")).by("lrok-timing"),
			atMost(50, "first rows of 5 MiB of JSON, ms", fig(screenScenario, "5 MiB of lines: first paint ms")).by("lrok-screen"),
			atMost(50, "first rows of 5 MiB of JSON on one line, ms", fig(screenScenario, "5 MiB on a line: first paint ms")).by("lrok-screen"),
			atMost(300, "5 MiB of JSON formatted, ms", fig(screenScenario, "5 MiB of lines: formatted ms")).by("lrok-screen"),
			atMost(300, "5 MiB of JSON on one line formatted, ms", fig(screenScenario, "5 MiB on a line: formatted ms")).by("lrok-screen"),
			// A frame takes up to 16.7 ms to come round; a key may be held up 16 ms more.
			atMost(33, "longest key while 5 MiB are laid out, ms", fig(screenScenario, "5 MiB of lines: longest key ms")).by("lrok-screen"),
			atMost(33, "longest key while 5 MiB on one line are, ms", fig(screenScenario, "5 MiB on a line: longest key ms")).by("lrok-screen"),
			atMost(150, "memory with ten bodies opened, MiB", fig(screenScenario, "memory MiB")).by("lrok-screen"),
			atMost(100, "start to the first frame, ms", fig(screenScenario, "first frame ms")).by("lrok-screen"),
			atLeast(.95, "requests/s, terminal stopped, of those with a screen", fig(awayScenario, "stopped/with")).by("lrok-screen"),
			atLeast(.95, "requests/s, editor open, of those with a screen", fig(awayScenario, "editing/with")).by("lrok-screen"),
		}},
		goal{"agent start to the first answer", []bound{
			atMost(15, "ms", fig(startScenario, "ms")),
			atMost(1.1, "ms with a screen", fig(startScenario, "ms")).by("lrok-screen").against("lrok"),
		}},
		goal{"memory, 200 idle agents", []bound{
			atMost(75, "edge KiB/agent", fig(idleScenario(200), "edge KiB/agent")),
			atMost(15, "edge, empty, MiB", fig(idleScenario(200), "edge empty MiB")),
			atMost(12, "agent MiB", fig(idleScenario(200), "agent MiB")),
			atMost(20, "agent with a screen MiB", fig(idleScenario(200), "agent MiB")).by("lrok-screen"),
		}},
		goal{"memory, 1,000 idle agents", []bound{
			atMost(1.05, "edge KiB/agent, of that at 100", fig(idleScenario(1000), "edge KiB/agent").times(fig(idleScenario(100), "edge KiB/agent"))),
		}},
		goal{"10,000 held requests through one tunnel", []bound{
			atMost(0, "wrong answers", fig(heldScenario(10_000), "wrong answers")),
			atMost(0, "requests not held", fig(heldScenario(10_000), "not held")),
			atMost(600, "edge MiB at most", fig(heldScenario(10_000), "edge peak MiB")),
		}},
		goal{"512 stalled downloads through one tunnel", []bound{
			atMost(600, "edge grows MiB", fig(stalledScenario(512), "edge grows MiB")),
			atMost(1.1, "p50 of small requests, of alone", fig(stalledScenario(512), "beside/alone")),
		}},
	)
}

// against makes an absolute limit one of another system's figure.
func (b bound) against(sys string) bound { b.of = []string{sys}; return b }

// beside is what a neighbour makes of small requests, as a multiple of alone.
func beside(neighbour string) figure {
	return fig("i. small GET c=8, "+neighbour, "p50 µs").times(fig("i. small GET c=8, alone", "p50 µs"))
}

// printGoals writes the goals as a Markdown table and returns how many are missed.
func (rs runs) printGoals(w io.Writer) (not int) {
	fmt.Fprintln(w, "| goal | figure | wanted | lrok | |\n|---|---|--:|--:|---|")
	count := map[string]int{}
	for _, g := range goals() {
		row := g.row
		for _, b := range g.bounds {
			got, want, verdict := b.judge(rs)
			count[verdict]++
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", row, b.what, want, got, verdict)
			row = ""
		}
	}
	fmt.Fprintf(w, "\n%d met, %d not met, %d not measured.\n", count[met], count[missed], count[notMeasured])
	return count[missed]
}
