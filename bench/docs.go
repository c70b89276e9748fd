package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// A table of docs/benchmarks.md: rows of figures, a column for each system that
// was measured.
type table struct {
	title string
	rows  []row
}

type row struct {
	name string
	fig  figure
}

// columns are the systems of the tables, in order.
var columns = []string{"lrok", "chisel", "frp", "frp-nomux", "sish", "portr", "nginx", "direct"}

func tables() []table {
	get := func(c int) string { return fmt.Sprintf("a. GET keep-alive c=%d", c) }
	conns := func(c int) string {
		if c == 1 {
			return "1 connection"
		}
		return fmt.Sprintf("%d connections", c)
	}
	small := []row{}
	for _, c := range []int{1, 16, 64, 256} {
		small = append(small, row{conns(c), fig(get(c))})
	}
	small = append(small,
		row{"POST of 1 KiB, 64 connections", fig("a. POST 1 KiB keep-alive c=64")},
		row{"a new connection each, 16 at a time", fig("b. GET new connection each c=16")},
	)
	bulk := []row{
		{"download, 1 stream", fig("c. download 1 stream")},
		{"download, 8 streams", fig("c. download 8 streams")},
		{"upload, 1 stream", fig("c. upload 1 stream")},
		{"upload, 8 streams", fig("c. upload 8 streams")},
	}
	bulkTCP := []row{{"TCP tunnel, download", fig("d. TCP tunnel download")}, {"TCP tunnel, upload", fig("d. TCP tunnel upload")}}
	bodies := []row{}
	for _, sc := range bodyScenarios() {
		bodies = append(bodies, row{strings.TrimSuffix(strings.TrimPrefix(sc.name, "o. "), " keep-alive c=16"), fig(sc.name)})
	}
	var public []row
	for _, sc := range httpsScenarios() {
		public = append(public, row{sc.name[len("m. "):], fig(sc.name)})
	}
	with := func(rows []row, keys ...string) (out []row) {
		for _, r := range rows {
			r.fig.keys = keys
			out = append(out, r)
		}
		return out
	}
	var idle []row
	for _, n := range []int{100, 200, 500, 1000} {
		for _, k := range []string{"edge KiB/agent", "edge goroutines/agent", "agent MiB", "edge idle cpu ms/s"} {
			idle = append(idle, row{fmt.Sprintf("%d agents: %s", n, k), fig(idleScenario(n), k)})
		}
	}
	idle = append(idle, row{"edge, empty, MiB", fig(idleScenario(200), "edge empty MiB")})
	list := func(sc string, keys ...string) (out []row) {
		for _, k := range keys {
			out = append(out, row{k, fig(sc, k)})
		}
		return out
	}
	var far []row
	for _, rtt := range []string{"50ms", "100ms"} {
		for _, k := range []string{"download MB/s", "upload MB/s", "keep-alive p50 in RTTs", "new conn p50 in RTTs", "c=64 req/s"} {
			far = append(far, row{rtt + ": " + k, fig("j. agent link with "+rtt+" RTT", k)})
		}
	}
	calls := func(c int) row {
		return row{conns(c), fig("k. system calls (strace)", fmt.Sprintf("edge calls/req c=%d", c), fmt.Sprintf("agent calls/req c=%d", c))}
	}
	return []table{
		{"CPU µs a request, edge + agent", with(append(small, bodies...), "edge cpu µs/req", "agent cpu µs/req")},
		{"CPU µs a request over HTTPS and HTTP/2, edge + agent", with(public, "edge cpu µs/req", "agent cpu µs/req")},
		{"CPU µs a MiB, edge + agent", with(append(bulk, bulkTCP...), "edge cpu µs/MiB", "agent cpu µs/MiB")},
		{"system calls a request, edge + agent", []row{calls(1), calls(16)}},
		{"requests a second", with(small, "req/s")},
		{"p50, µs", with(small[:4], "p50 µs")},
		{"p99, µs", with(small[:4], "p99 µs")},
		{"MB/s", with(append(bulk, bulkTCP...), "MB/s")},
		{"delays, p50, µs", []row{
			{"event stream", fig("f. SSE, 50 events 10 ms apart", "event delay p50 µs")},
			{"WebSocket echo", fig("e. WebSocket echo 64 B", "p50 µs")},
			{"TCP tunnel echo", fig("d. TCP tunnel ping-pong 64 B", "p50 µs")},
		}},
		{"small GET, 8 connections, p50 µs", []row{
			{"alone", fig("i. small GET c=8, alone", "p50 µs")},
			{"beside a stalled download", fig("i. small GET c=8, 1 stalled download", "p50 µs")},
			{"beside 8 stalled downloads", fig("i. small GET c=8, 8 stalled downloads", "p50 µs")},
			{"beside a stalled upload", fig("i. small GET c=8, stalled upload", "p50 µs")},
			{"beside a bulk download", fig("i. small GET c=8, bulk download running", "p50 µs")},
		}},
		{"20 Mbit/s, 40 ms link: small GET, ms", list(narrowScenario, "alone p50 ms", "under download p50 ms", "under download max ms", "under upload p50 ms", "under upload max ms")},
		{"one stream over a long link", far},
		{"agent start to the first public answer, ms", list(startScenario, "ms")},
		{"idle agents", idle},
		{"10,000 held requests through one tunnel", list(heldScenario(10_000), "wrong answers", "not held", "edge MiB", "edge peak MiB", "edge KiB/request", "agent KiB/request", "all held s", "all answered s")},
		{"512 stalled downloads through one tunnel", list(stalledScenario(512), "edge grows MiB", "agent grows MiB", "alone p50 µs", "beside p50 µs", "beside/alone")},
	}
}

// span is the range of the one-minute figures in load averages.
func span(loads []string) string {
	var x []float64
	for _, l := range loads {
		var one float64
		if _, err := fmt.Sscan(l, &one); err == nil {
			x = append(x, one)
		}
	}
	if len(x) == 0 {
		return "not known"
	}
	return fmt.Sprintf("%.2f to %.2f", minOf(x), maxOf(x))
}

// printDocs writes the tables of docs/benchmarks.md: cells are medians and, of
// several rounds, the range.
func (rs runs) printDocs(w io.Writer) {
	fmt.Fprintln(w, "## Machine and versions")
	fmt.Fprintln(w)
	all := rs.merged()
	fmt.Fprintf(w, "Started %s; load of one minute %s.\n", all.Started, span(all.Load))
	if m := all.Machine.String(); all.Machine.CPU != "" {
		fmt.Fprintf(w, "%s.\n", m)
	}
	fmt.Fprintln(w)
	for _, s := range all.Systems {
		fmt.Fprintf(w, "- %s: %s", s, all.Notes[s])
		if v := all.Versions[s]; v != "" {
			fmt.Fprintf(w, "; %s", v)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "\n## Goals\n\n")
	rs.printGoals(w)
	fmt.Fprint(w, "\n## All figures\n")
	cols := slices.Clone(columns)
	for _, s := range all.Systems { // further ones behind, where they were measured
		if !slices.Contains(cols, s) {
			cols = append(cols, s)
		}
	}
	for _, t := range tables() {
		rs.print(w, t, cols)
	}
	if len(all.Failed) > 0 {
		fmt.Fprint(w, "\nNot measured:\n\n")
		for _, s := range all.Failed {
			first, _, _ := strings.Cut(s, "\n")
			fmt.Fprintf(w, "- %s\n", first)
		}
	}
}

func (rs runs) print(w io.Writer, t table, cols []string) {
	cols = slices.DeleteFunc(slices.Clone(cols), func(s string) bool {
		return !slices.ContainsFunc(t.rows, func(r row) bool { return len(rs.values(r.fig, s)) > 0 })
	})
	if len(cols) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| %s | %s |\n|---|%s\n", t.title, strings.Join(cols, " | "), strings.Repeat("--:|", len(cols)))
	for _, r := range t.rows {
		cells, some := []string{}, false
		for _, s := range cols {
			c := cell(rs.values(r.fig, s))
			cells, some = append(cells, c), some || c != ""
		}
		if some {
			fmt.Fprintf(w, "| %s | %s |\n", r.name, strings.Join(cells, " | "))
		}
	}
}
