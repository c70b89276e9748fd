// Bench measures reverse tunnels side by side, each a real edge and a real agent
// on loopback, under the same load from the same client. README.md says how to
// run it and what each figure means; systems.go is where a system is added.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
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
		case "table":
			b, err := os.ReadFile(os.Args[2])
			if err != nil {
				log.Fatal(err)
			}
			var f file
			if err := json.Unmarshal(b, &f); err != nil {
				log.Fatal(err)
			}
			f.print(os.Stdout, len(os.Args) > 3 && os.Args[3] == "long")
			return
		}
	}
	bindir := flag.String("bin", os.Getenv("PEER_BIN"), "folder of ready-built binaries")
	names := flag.String("systems", "direct,nginx,caddy,gorp,lrok,frp,frp-pool,frp-nomux,chisel,sish,portr,localtunnel", "systems, in order")
	extra := flag.String("extra", "", "JSON file with further systems")
	rounds := flag.Int("rounds", 3, "rounds")
	dur := flag.Duration("dur", 2*time.Second, "length of one load scenario")
	bulkMiB := flag.Int64("bulk", 1024, "MiB moved by one bulk scenario")
	only := flag.String("only", "", "run only scenarios whose name holds this (steady ones, or connect, memory, rtt)")
	phases := flag.String("phases", "steady,connect,syscalls,rtt,narrow,memory", "phases")
	agents := flag.Int("agents", 100, "agents in the memory phase")
	rttList := flag.String("rtt", "50ms,100ms", "round-trip times of the rtt phase")
	rttMiB := flag.Int64("rttbulk", 64, "MiB moved by one bulk run of the rtt phase")
	out := flag.String("out", "", "also write the results as JSON here")
	base := flag.Int("base", 10000, "first port; each system takes 1300 from there")
	long := flag.Bool("long", false, "print a row per system")
	keep := flag.Bool("keep", false, "keep the work folder (logs)")
	flag.Parse()

	self, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	work, err := os.MkdirTemp("", "bench-")
	if err != nil {
		log.Fatal(err)
	}
	e := &env{bindir: *bindir, work: work, self: self, keep: *keep, base: *base, up: freePort(), upTCP: freePort()}
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
	o := opts{dur: *dur, warm: 200 * time.Millisecond, bulk: *bulkMiB << 20, agents: *agents, rttBytes: *rttMiB << 20}
	for _, s := range strings.Split(*rttList, ",") {
		d, err := time.ParseDuration(s)
		if err != nil {
			log.Fatal(err)
		}
		o.rtts = append(o.rtts, d)
	}

	var children []func()
	cleanup := func() {
		for _, f := range slices.Backward(children) {
			f()
		}
		children = nil
		if !*keep {
			os.RemoveAll(work)
		}
	}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	go func() { <-sig; cleanup(); os.Exit(1) }()

	up, err := startProc([]string{self, "upstream", fmt.Sprintf("127.0.0.1:%d", e.up), fmt.Sprintf("127.0.0.1:%d", e.upTCP)}, work, filepath.Join(work, "upstream.log"), nil)
	if err != nil {
		log.Fatal(err)
	}
	children = append(children, up.stop)
	if err := waitPort(e.up, 10*time.Second); err != nil {
		cleanup()
		log.Fatal(err)
	}

	f := file{Started: time.Now().UTC().Format(time.RFC3339), CPUs: runtime.NumCPU(), Go: runtime.Version(), Load: []string{loadavg()}, Results: results{}}
	var picked []system
	for _, n := range strings.Split(*names, ",") {
		i := slices.IndexFunc(all, func(s system) bool { return s.Name == n })
		if i < 0 {
			cleanup()
			log.Fatalf("no system %q", n)
		}
		ok := true
		for _, b := range all[i].Bins {
			if _, err := e.bin(b); err != nil {
				f.skip(n, "all", err)
				ok = false
			}
		}
		if ok {
			picked = append(picked, all[i])
		}
	}
	t0 := time.Now()
	if strings.Contains(*phases, "steady") {
		var run []*running
		for i, s := range picked {
			r, err := e.boot(s, i, 0, 0, false)
			if err != nil {
				f.skip(s.Name, "start", err)
				continue
			}
			run = append(run, r)
			children = append(children, r.stop)
			f.order(s)
		}
		for _, r := range run { // warm up
			closedLoop(r.t, r.t.req("GET", "/small", 0, false), 16, 0, 300*time.Millisecond, false)
		}
		for k := 0; k < *rounds; k++ {
			for _, sc := range scenarios() {
				if !strings.Contains(sc.name, *only) {
					continue
				}
				f.scen(sc.name)
				for j := range run {
					r := run[(j+k)%len(run)] // another first one each round
					if sc.skip != nil && sc.skip(r) {
						continue
					}
					m, err := sc.run(r, o)
					if err != nil {
						f.skip(r.sys.Name, sc.name, err)
						time.Sleep(300 * time.Millisecond)
					}
					f.Results.add(sc.name, r.sys.Name, m)
					time.Sleep(30 * time.Millisecond)
				}
			}
			f.Load = append(f.Load, loadavg())
			log.Printf("steady round %d of %d done after %v, load %s", k+1, *rounds, time.Since(t0).Round(time.Second), loadavg())
			f.save(*out)
		}
		for _, r := range run {
			r.stop()
		}
	}
	each := func(phase, name string, n int, take func(s system) bool, f2 func(s system, slot int) (map[string]float64, error)) {
		if !strings.Contains(*phases, phase) || !strings.Contains(name, *only) && !strings.Contains(phase, *only) {
			return
		}
		f.scen(name)
		for k := 0; k < n; k++ {
			for j := range picked {
				s := picked[(j+k)%len(picked)]
				if len(s.Agent) == 0 || !take(s) {
					continue
				}
				f.order(s)
				m, err := f2(s, (j+k)%len(picked))
				if err != nil {
					f.skip(s.Name, name, err)
				}
				f.Results.add(name, s.Name, m)
			}
		}
		f.save(*out)
		log.Printf("%s done after %v, load %s", name, time.Since(t0).Round(time.Second), loadavg())
	}
	each("connect", "g. agent start to first public answer", 1, func(system) bool { return true }, func(s system, slot int) (map[string]float64, error) { return e.connectTime(s, slot, 5) })
	each("syscalls", "k. system calls (strace)", 1, func(system) bool { return true }, func(s system, slot int) (map[string]float64, error) { return e.syscalls(s, slot) })
	for _, d := range o.rtts {
		each("rtt", fmt.Sprintf("j. agent link with %v RTT", d), max(1, *rounds-1), func(s system) bool { return !s.NoRTT }, func(s system, slot int) (map[string]float64, error) { return e.rtt(s, slot, d, o) })
	}
	each("narrow", "l. 20 Mbit/s, 40 ms link, one bulk download", 1, func(s system) bool { return !s.NoRTT }, func(s system, slot int) (map[string]float64, error) { return e.narrow(s, slot, o) })
	each("memory", fmt.Sprintf("h. %d idle agents", *agents), 1, func(s system) bool { return !s.NoMany }, func(s system, slot int) (map[string]float64, error) { return e.memory(s, slot, *agents) })

	each("memory", "h. 1000 idle public connections", 1, func(s system) bool { return s.HTTPS != "" }, func(s system, slot int) (map[string]float64, error) { return e.idleTLS(s, slot, 1000) })

	f.Load = append(f.Load, loadavg())
	f.Took = time.Since(t0).Round(time.Second).String()
	f.save(*out)
	cleanup()
	f.print(os.Stdout, *long)
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
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
