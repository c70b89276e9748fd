//go:build linux

// Costcheck counts what traffic costs edge and agent together, in system calls
// and in allocations, and fails when that is more than a ceiling. Unlike times,
// these counts hardly depend on the machine or on what else it does.
package main

import (
	"fmt"
	"os"
)

// A cost is what one unit of some traffic may cost.
type cost struct {
	unit string
	run  traffic
	host string
	// allocs and calls are how many units are passed to count allocations, and
	// system calls, 0 to count none. Allocations are counted over more units:
	// that costs next to nothing.
	allocs, calls int
	// The ceilings, about a quarter above what was counted. Lower one when the
	// count has become less; raise one only with the reason in the commit's
	// message.
	maxAllocs, maxCalls float64
}

// What a captured exchange needs is the difference between the first two lines:
// the record and the id, both heads, the path, both bodies.
var costs = []cost{
	{"request, 16 connections", requests, captured, 5_000, 2_000, 12, 10},
	{"the same, not captured", requests, bare, 5_000, 0, 4, 0},
	{"request, new connection", newConnections, captured, 1_000, 300, 40, 33},
	{"MiB downloaded", download, captured, 64, 24, 60, 90},
	{"MiB uploaded", upload, captured, 64, 24, 60, 90},
	{"WebSocket message", messages, captured, 2_000, 500, 3, 18},
	{"server-sent event", events, captured, 2_000, 500, 3, 18},
}

// tries is how often a count is taken that is more than its ceiling. What
// disturbs a count can only add to it.
const tries = 3

func main() {
	if len(os.Args) == 3 && os.Args[1] == "inside" {
		if err := inside(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "costcheck:", err)
			os.Exit(1)
		}
		return
	}
	ok, err := check()
	if err != nil {
		fmt.Fprintln(os.Stderr, "costcheck:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// check reports whether all counts are within their ceilings.
func check() (ok bool, err error) {
	dir, err := os.MkdirTemp("", "lrok-cost-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	local, err := serve()
	if err != nil {
		return false, err
	}
	ok = true
	fmt.Printf("%-26s %-26s %s\n", "edge and agent together", "allocations", "system calls")
	in, err := startChild(local)
	if err != nil {
		return false, err
	}
	defer in.stop()
	out, err := startProcesses(local, dir)
	if err != nil {
		return false, err
	}
	defer out.stop()
	for _, c := range costs {
		allocs, err := c.count(in.addr, c.allocs, c.maxAllocs, in.allocations)
		if err != nil {
			return false, fmt.Errorf("%s: %w", c.unit, err)
		}
		calls, err := c.count(out.addr, c.calls, c.maxCalls, out.calls)
		if err != nil {
			return false, fmt.Errorf("%s: %w", c.unit, err)
		}
		fmt.Printf("%-26s %-26s %s\n", c.unit, c.verdict(c.allocs, allocs, c.maxAllocs), c.verdict(c.calls, calls, c.maxCalls))
		ok = ok && (c.allocs == 0 || allocs <= c.maxAllocs) && (c.calls == 0 || calls <= c.maxCalls)
	}
	return ok, nil
}

// count passes n units and returns what measure counted for each, the least of
// a few tries when that is more than the ceiling.
func (c *cost) count(addr string, n int, ceiling float64, measure func(func() error) (int, error)) (float64, error) {
	if n == 0 {
		return 0, nil
	}
	if err := c.run(addr, c.host, n/4); err != nil { // fill pools and ring
		return 0, err
	}
	least := 0.0
	for try := range tries {
		counted, err := measure(func() error { return c.run(addr, c.host, n) })
		if err != nil {
			return 0, err
		}
		if each := float64(counted) / float64(n); try == 0 || each < least {
			least = each
		}
		if least <= ceiling {
			break
		}
	}
	return least, nil
}

func (c *cost) verdict(n int, got, ceiling float64) string {
	switch {
	case n == 0:
		return "-"
	case got > ceiling:
		return fmt.Sprintf("%.1f MORE THAN %g", got, ceiling)
	}
	return fmt.Sprintf("%.1f (ceiling %g)", got, ceiling)
}
