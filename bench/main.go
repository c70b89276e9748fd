// Bench measures reverse tunnels side by side, each a real edge and a real agent
// on loopback, under the same load from the same client. README.md says how to
// run it and what each figure means; systems.go is where a system is added.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type results map[string]map[string]map[string][]float64 // scenario -> system -> metric -> one value a round

func (r results) add(sc, sys string, m map[string]float64) {
	if r[sc] == nil {
		r[sc] = map[string]map[string][]float64{}
	}
	if r[sc][sys] == nil {
		r[sc][sys] = map[string][]float64{}
	}
	for k, v := range m {
		r[sc][sys][k] = append(r[sc][sys][k], v)
	}
}

func main() {
	log.SetFlags(log.Ltime)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "upstream":
			upstreamMain(os.Args[2], os.Args[3])
			return
		case "goproxy":
			log.Fatal(goproxyMain(os.Args[2], os.Args[3]))
		case "table", "goals", "docs":
			long := os.Args[len(os.Args)-1] == "long"
			paths := os.Args[2:]
			if long {
				paths = paths[:len(paths)-1]
			}
			rs, err := load(paths)
			if err != nil {
				log.Fatal(err)
			}
			switch os.Args[1] {
			case "table":
				rs.merged().print(os.Stdout, long)
			case "docs":
				rs.printDocs(os.Stdout)
			case "goals":
				if rs.printGoals(os.Stdout) > 0 {
					os.Exit(1)
				}
			}
			return
		}
	}
	bindir := flag.String("bin", os.Getenv("PEER_BIN"), "folder of ready-built binaries")
	names := flag.String("systems", "direct,nginx,caddy,gorp,lrok,frp,frp-pool,frp-nomux,chisel,sish,portr,localtunnel", "systems, in order")
	extra := flag.String("extra", "", "JSON file with further systems")
	rounds := flag.Int("rounds", 3, "rounds")
	dur := flag.Duration("dur", 2*time.Second, "length of one load scenario")
	bulkMiB := flag.Int64("bulk", 1024, "MiB moved by one bulk scenario")
	only := flag.String("only", "", "run only scenarios whose name holds one of these, separated by commas (or connect, memory, rtt, ...)")
	phases := flag.String("phases", "steady,connect,syscalls,rtt,narrow,memory,stalled,screen,held", "phases")
	agents := flag.String("agents", "100", "agents in the memory phase; several numbers, rising, are taken on the way to the last")
	heldN := flag.Int("held", 10_000, "requests in the held phase")
	stalledN := flag.Int("stalled", 512, "downloads in the stalled phase")
	rttList := flag.String("rtt", "50ms,100ms", "round-trip times of the rtt phase")
	rttMiB := flag.Int64("rttbulk", 64, "MiB moved by one bulk run of the rtt phase")
	out := flag.String("out", "", "also write the results as JSON here")
	resume := flag.Bool("resume", false, "take up what -out holds and measure the rest")
	budget := flag.Duration("budget", 0, "begin nothing more after this time; what is left takes -resume, and the exit code is 3")
	base := flag.Int("base", 10000, "first port; each system takes 1300 from there")
	long := flag.Bool("long", false, "print a row per system")
	keep := flag.Bool("keep", false, "keep the work folder (logs)")
	flag.Parse()
	raiseFiles()
	keepToOneself()

	self, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	work, err := os.MkdirTemp("", "bench-")
	if err != nil {
		log.Fatal(err)
	}
	e := &env{bindir: *bindir, work: work, self: self, keep: *keep, base: *base &^ 1, up: freePort(), upTCP: freePort()}
	if err := e.makeCert(); err != nil {
		log.Fatal(err)
	}
	all := builtin()
	if *extra != "" {
		b, err := os.ReadFile(*extra)
		if err != nil {
			log.Fatal(err)
		}
		var more []system
		if err := json.Unmarshal(b, &more); err != nil {
			log.Fatal(*extra, ": ", err)
		}
		all = append(all, more...)
	}
	o := opts{dur: *dur, warm: 200 * time.Millisecond, bulk: *bulkMiB << 20, rttBytes: *rttMiB << 20}
	for _, s := range strings.Split(*rttList, ",") {
		d, err := time.ParseDuration(s)
		if err != nil {
			log.Fatal(err)
		}
		o.rtts = append(o.rtts, d)
	}
	for _, s := range strings.Split(*agents, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			log.Fatal(err)
		}
		o.agents = append(o.agents, n)
	}

	f := &file{Started: time.Now().UTC().Format(time.RFC3339), Results: results{}}
	if *resume {
		if b, err := os.ReadFile(*out); err == nil {
			if err := json.Unmarshal(b, f); err != nil {
				log.Fatal(*out, ": ", err)
			}
		} else if !os.IsNotExist(err) {
			log.Fatal(err)
		}
	}
	f.Machine = thisMachine()
	f.Load = append(f.Load, loadavg())
	var picked []system
	for _, n := range strings.Split(*names, ",") {
		i := slices.IndexFunc(all, func(s system) bool { return s.Name == n })
		if i < 0 {
			log.Fatalf("no system %q", n)
		}
		var is []string
		var missing error
		for _, b := range all[i].Bins {
			if p, err := e.bin(b); err != nil {
				missing = err
			} else if v := version(p); v != "" {
				is = append(is, b+" "+v)
			}
		}
		if missing != nil {
			f.skip(n, "all", missing)
			continue
		}
		if was, now := f.Versions[n], strings.Join(is, ", "); was != "" && was != now {
			log.Fatalf("%s was measured with %s, and this is %s: give another -out", n, was, now)
		}
		f.version(n, strings.Join(is, ", "))
		picked = append(picked, all[i])
	}

	cleanup := func() {
		stopAll()
		if !*keep {
			os.RemoveAll(work)
		}
	}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	go func() { <-sig; cleanup(); os.Exit(1) }()

	_, err = startProc([]string{self, "upstream", fmt.Sprintf("127.0.0.1:%d", e.up), fmt.Sprintf("127.0.0.1:%d", e.upTCP)}, work, filepath.Join(work, "upstream.log"), nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := waitPort(e.up, 10*time.Second); err != nil {
		cleanup()
		log.Fatal(err)
	}

	t0 := time.Now()
	took := f.Took
	wanted := func(names ...string) bool {
		for _, s := range strings.Split(*only, ",") {
			for _, n := range names {
				if strings.Contains(n, s) {
					return true
				}
			}
		}
		return false
	}
	unfinished := false
	// due reports whether round k of a measurement is still to be done.
	due := func(s system, phase, name string, k int) bool {
		if f.Done[name+"|"+s.Name] > k || !s.takes(name) || !wanted(phase, name) {
			return false
		}
		if *budget > 0 && time.Since(t0) > *budget {
			unfinished = true
			return false
		}
		return true
	}
	ended := func(s system, name string) {
		if f.Done == nil {
			f.Done = map[string]int{}
		}
		f.Done[name+"|"+s.Name]++
		f.Took = took + time.Since(t0).Round(time.Second)
		f.save(*out)
	}

	if strings.Contains(*phases, "steady") {
		all := scenarios()
		last := *rounds - 1
		var run []*running
		for i, s := range picked {
			if !slices.ContainsFunc(all, func(sc scenario) bool { return due(s, "steady", sc.name, last) }) {
				continue
			}
			r, err := e.boot(s, i, booting{tcp: true})
			if err != nil {
				f.skip(s.Name, "start", err)
				continue
			}
			run = append(run, r)
			f.order(s)
		}
		for _, r := range run { // warm up
			closedLoop(r.t, r.t.req("GET", "/small", 0, false), 16, 0, 300*time.Millisecond, false)
		}
		for k := range *rounds {
			for _, sc := range all {
				for j := range run {
					r := run[(j+k)%len(run)] // another first one each round
					if sc.skip != nil && sc.skip(r) || !due(r.sys, "steady", sc.name, k) {
						continue
					}
					f.scen(sc.name)
					m, err := sc.run(r, o)
					if err != nil {
						f.skip(r.sys.Name, sc.name, err)
						time.Sleep(300 * time.Millisecond)
					}
					f.Results.add(sc.name, r.sys.Name, m)
					ended(r.sys, sc.name)
					time.Sleep(30 * time.Millisecond)
				}
			}
			log.Printf("steady round %d of %d done after %v, load %s", k+1, *rounds, time.Since(t0).Round(time.Second), loadavg())
		}
		for _, r := range run {
			r.stop()
		}
	}
	for k := range *rounds {
		for _, m := range e.phases(o, *rounds, *heldN, *stalledN) {
			if !strings.Contains(*phases, m.phase) || k >= m.rounds {
				continue
			}
			any := false
			for j := range picked {
				slot := (j + k) % len(picked)
				s := picked[slot]
				if m.take != nil && !m.take(s) || !due(s, m.phase, m.name, k) {
					continue
				}
				any = true
				f.order(s)
				err := m.run(s, slot, func(sc string, x map[string]float64) {
					f.scen(sc)
					f.Results.add(sc, s.Name, x)
				})
				if err != nil {
					f.skip(s.Name, m.name, err)
				}
				ended(s, m.name)
			}
			if any {
				log.Printf("%s, round %d, done after %v, load %s", m.name, k+1, time.Since(t0).Round(time.Second), loadavg())
			}
		}
	}

	f.Load = append(f.Load, loadavg())
	f.Took = took + time.Since(t0).Round(time.Second)
	f.save(*out)
	cleanup()
	if unfinished {
		log.Print("not finished: the same again with -resume measures the rest")
		os.Exit(3)
	}
	f.print(os.Stdout, *long)
}

// freePort is below the ports that a system gives to whoever asks for any, so that
// nobody gets it in the meantime.
func freePort() int {
	for range 1000 {
		port := 30_000 + rand.IntN(2700)
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	log.Fatal("no port is free")
	return 0
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	y := slices.Clone(x)
	sort.Float64s(y)
	if n := len(y); n%2 == 0 {
		return (y[n/2-1] + y[n/2]) / 2
	}
	return y[len(y)/2]
}

func maxOf(x []float64) float64 { return slices.Max(x) }
func minOf(x []float64) float64 { return slices.Min(x) }
