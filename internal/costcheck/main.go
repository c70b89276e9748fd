//go:build linux

// Costcheck counts what one small request costs edge and agent together, in
// system calls and in allocations, and fails when it is more than a ceiling.
// Unlike times, these counts hardly depend on the machine or on what else it
// does.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// The ceilings. Raise one only with the reason in the commit's message.
const (
	maxCalls  = 14 // system calls a request, 16 connections
	maxAllocs = 24 // allocations a request, the captured exchange included
)

const connections = 16

func main() {
	failed := false
	report := func(what string, got float64, limit int, err error) {
		switch {
		case err != nil:
			fmt.Printf("%-28s %v\n", what, err)
			failed = true
		case got > float64(limit):
			fmt.Printf("%-28s %.1f a request, more than the ceiling of %d\n", what, got, limit)
			failed = true
		default:
			fmt.Printf("%-28s %.1f a request (ceiling %d)\n", what, got, limit)
		}
	}
	allocs, err := countAllocations()
	report("allocations, edge and agent", allocs, maxAllocs, err)
	calls, err := countCalls()
	report("system calls, edge and agent", calls, maxCalls, err)
	if failed {
		os.Exit(1)
	}
}

const (
	request = "POST /webhooks/x HTTP/1.1\r\nHost: cost.tun.test\r\nUser-Agent: costcheck\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"ok\":\"yes\"}\n"
	answer  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"done\":1}\n"
)

// service answers every request with the same bytes and allocates nothing.
func service() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 16<<10)
				out := []byte(answer)
				n := 0
				for {
					k, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					n += k
					if bytes.HasSuffix(buf[:n], []byte("{\"ok\":\"yes\"}\n")) {
						n = 0
						if _, err := c.Write(out); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return l, nil
}

// load sends requests over the connections until enough have been answered.
func load(addr string, total int) (int, error) {
	var left, done atomic.Int64
	left.Store(int64(total))
	var wg sync.WaitGroup
	var failure atomic.Value
	for range connections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return 0, err
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(60 * time.Second))
			out, buf := []byte(request), make([]byte, 4<<10)
			for left.Add(-1) >= 0 {
				if _, err := c.Write(out); err != nil {
					failure.Store(err)
					return
				}
				for n := 0; !bytes.HasSuffix(buf[:n], []byte("{\"done\":1}\n")); {
					k, err := c.Read(buf[n:])
					if err != nil {
						failure.Store(fmt.Errorf("%w after %q", err, buf[:n]))
						return
					}
					n += k
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err, ok := failure.Load().(error); ok {
		return 0, err
	}
	return int(done.Load()), nil
}

// countAllocations runs edge and agent in this process.
func countAllocations() (float64, error) {
	l, err := service()
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	dir, err := os.MkdirTemp("", "lrok-cost-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	e, err := edge.New(edge.Config{Domain: "tun.test", HTTP: "127.0.0.1:0", Control: "127.0.0.1:0", DataDir: dir})
	if err != nil {
		return 0, err
	}
	if err := e.Listen(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = e.Run(ctx, nil) })
	target, err := agent.ParseTarget(l.Addr().String())
	if err != nil {
		return 0, err
	}
	key, _ := e.AdminKey()
	a, err := agent.New(agent.Config{
		Edge: e.ControlAddr(), TLS: e.ClientTLS(), Key: key,
		Claims:  []tunnel.Claim{{Kind: tunnel.HTTP, Name: "cost", Local: target.String()}},
		Targets: []agent.Target{target},
	})
	if err != nil {
		return 0, err
	}
	wg.Go(func() { _ = a.Run(ctx) })
	for end := time.Now().Add(20 * time.Second); a.Status().State != agent.Online; {
		if time.Now().After(end) {
			return 0, errors.New("the tunnel does not come up")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if _, err := load(e.HTTPAddr(), 5_000); err != nil { // fill pools and ring
		return 0, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := load(e.HTTPAddr(), 20_000)
	runtime.ReadMemStats(&after)
	if err != nil {
		return 0, err
	}
	return float64(after.Mallocs-before.Mallocs) / float64(n), nil
}

// countCalls runs edge and agent as processes under strace.
func countCalls() (float64, error) {
	if _, err := exec.LookPath("strace"); err != nil {
		return 0, errors.New("strace is needed: apt-get install strace")
	}
	l, err := service()
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	dir, err := os.MkdirTemp("", "lrok-cost-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin := filepath.Join(dir, "bin", "lrok")
	if out, err := exec.Command("go", "build", "-o", bin, "./cmd/lrok").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build: %w\n%s", err, out)
	}
	env := append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_RUNTIME_DIR="+dir, "LROK_API_KEY_FILE="+filepath.Join(dir, "data", "admin.key"))

	edgeProc := exec.Command(bin, "serve", "--domain", "tun.test", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0", "--internal", "", "--data-dir", filepath.Join(dir, "data"))
	edgeProc.Env = env
	said, err := edgeProc.StderrPipe()
	if err != nil {
		return 0, err
	}
	if err := edgeProc.Start(); err != nil {
		return 0, err
	}
	defer stop(edgeProc)
	addrs := map[string]string{}
	sc := bufio.NewScanner(said)
	for len(addrs) < 2 && sc.Scan() {
		for _, what := range []string{"public HTTP", "agents"} {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(sc.Text()), what); ok {
				addrs[what] = strings.TrimSpace(rest)
			}
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	if len(addrs) < 2 {
		return 0, errors.New("the edge does not say where it listens")
	}

	agentProc := exec.Command(bin, "http", l.Addr().String(), "--hint", "cost", "--edge", addrs["agents"], "--edge-ca", filepath.Join(dir, "data", "ca.pem"), "--quiet")
	agentProc.Env = env
	var complaint bytes.Buffer
	agentProc.Stderr = &complaint
	out, err := agentProc.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := agentProc.Start(); err != nil {
		return 0, err
	}
	defer stop(agentProc)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, fmt.Errorf("the tunnel does not come up: %w: %s", err, complaint.String())
	}
	if _, err := load(addrs["public HTTP"], 2_000); err != nil {
		return 0, err
	}
	sum := 0.0
	for _, p := range []*exec.Cmd{edgeProc, agentProc} {
		n, err := calls(p.Process.Pid, addrs["public HTTP"], filepath.Join(dir, "strace.txt"))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func stop(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGTERM)
	t := time.AfterFunc(5*time.Second, func() { _ = c.Process.Kill() })
	_ = c.Wait()
	t.Stop()
}

// calls counts the system calls of pid under load, for each request.
func calls(pid int, addr, file string) (float64, error) {
	trace := exec.Command("strace", "-f", "-c", "-q", "-o", file, "-p", strconv.Itoa(pid))
	var said bytes.Buffer
	trace.Stderr = &said
	if err := trace.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- trace.Wait() }()
	// Attached is when the kernel names a tracer.
	for end := time.Now().Add(10 * time.Second); !traced(pid); {
		select {
		case err := <-ended:
			return 0, fmt.Errorf("strace: %w: %s", err, said.String())
		default:
		}
		if time.Now().After(end) {
			return 0, errors.New("strace does not attach")
		}
		time.Sleep(10 * time.Millisecond)
	}
	n, err := load(addr, 3_000)
	_ = trace.Process.Signal(syscall.SIGINT)
	<-ended
	if err != nil {
		return 0, err
	}
	total, err := total(file)
	return total / float64(n), err
}

// traced reports whether all threads of pid have a tracer.
func traced(pid int) bool {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, t := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, t.Name()))
		if err != nil || bytes.Contains(b, []byte("TracerPid:\t0\n")) {
			return false
		}
	}
	return true
}

// total adds up the calls column of strace's summary.
func total(file string) (float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] == "%" || f[len(f)-1] == "total" {
			continue
		}
		if n, err := strconv.ParseFloat(f[3], 64); err == nil {
			sum += n
		}
	}
	if sum == 0 {
		return 0, errors.New("strace counted nothing")
	}
	return sum, nil
}
