//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Processes are edge and agent as users run them, for strace to look at.
type processes struct {
	addr        string
	edge, agent *exec.Cmd
	file        string // what strace writes
}

func startProcesses(local, dir string) (_ *processes, err error) {
	if _, err := exec.LookPath("strace"); err != nil {
		return nil, errors.New("strace is needed: apt-get install strace")
	}
	bin := filepath.Join(dir, "bin", "lrok")
	if out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bin, "./cmd/lrok").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	data := filepath.Join(dir, "data")
	env := append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_RUNTIME_DIR="+dir, "LROK_API_KEY_FILE="+filepath.Join(data, "admin.key"))

	p := &processes{
		file: filepath.Join(dir, "strace.txt"),
		edge: exec.Command(bin, "serve", "--domain", "tun.test", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0", "--internal", "", "--data-dir", data),
	}
	p.edge.Env = env
	said, err := p.edge.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.edge.Start(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
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
		return nil, errors.New("the edge does not say where it listens")
	}
	p.addr = addrs["public HTTP"]

	agent := exec.Command(bin, "http", local, "--hint", "cost", "--edge", addrs["agents"], "--edge-ca", filepath.Join(data, "ca.pem"), "--quiet")
	agent.Env = env
	var complaint bytes.Buffer
	agent.Stderr = &complaint
	out, err := agent.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := agent.Start(); err != nil {
		return nil, err
	}
	p.agent = agent
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("the tunnel does not come up: %w: %s", err, complaint.String())
	}
	return p, nil
}

func (p *processes) stop() {
	if p.agent != nil {
		stop(p.agent)
	}
	stop(p.edge)
}

func stop(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGTERM)
	t := time.AfterFunc(5*time.Second, func() { _ = c.Process.Kill() })
	_ = c.Wait()
	t.Stop()
}

// calls returns how many system calls edge and agent make while f runs. It runs
// f for each of them: to look at both at once would make them take turns.
func (p *processes) calls(f func() error) (int, error) {
	sum := 0
	for _, c := range []*exec.Cmd{p.edge, p.agent} {
		n, err := p.callsOf(c.Process.Pid, f)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (p *processes) callsOf(pid int, f func() error) (int, error) {
	trace := exec.Command("strace", "-f", "-c", "-q", "-o", p.file, "-p", strconv.Itoa(pid))
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
		time.Sleep(5 * time.Millisecond)
	}
	err := f()
	_ = trace.Process.Signal(syscall.SIGINT)
	<-ended
	if err != nil {
		return 0, err
	}
	return total(p.file)
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

// total adds up the calls column of strace's summary. How often Go's scheduler
// sleeps depends on how long it all takes, so that is left out.
func total(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	sum := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] == "%" || f[len(f)-1] == "total" || f[len(f)-1] == "nanosleep" {
			continue
		}
		if n, err := strconv.Atoi(f[3]); err == nil {
			sum += n
		}
	}
	if sum == 0 {
		return 0, errors.New("strace counted nothing")
	}
	return sum, nil
}
