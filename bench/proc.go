package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// proc is a child in its own process group; CPU and memory are summed over the group.
type proc struct {
	cmd  *exec.Cmd
	done chan struct{}
	term *terminal // nil: it has none
}

func startProc(argv []string, dir, logFile string, env []string, t *terminal) (*proc, error) {
	f, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = dir
	c.Stdout, c.Stderr = f, f
	c.Env = append(os.Environ(), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if t != nil {
		c.Stdin, c.Stdout, c.Stderr = t.near, t.near, t.near
		c.Env = append(c.Env, "TERM=xterm-256color")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		defer t.near.Close()
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &proc{cmd: c, done: make(chan struct{}), term: t}
	started.Store(p, nil)
	go func() {
		c.Wait()
		if t != nil {
			t.far.Close()
		}
		started.Delete(p)
		close(p.done)
	}()
	return p, nil
}

// started are the children that have not ended.
var started sync.Map

// stopAll ends every child, for when this process has to end itself.
func stopAll() {
	started.Range(func(p, _ any) bool { p.(*proc).ask(); return true })
	started.Range(func(p, _ any) bool { p.(*proc).stop(); return true })
}

// keepToOneself lets no child inherit a file that whoever started this process
// has left open: a lock, say, that would then be held for as long as the child lives.
func keepToOneself() {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if n, err := strconv.Atoi(fd.Name()); err == nil && n > 2 {
			syscall.CloseOnExec(n)
		}
	}
}

// ask asks p to end; stop waits for it, and kills it after 2 seconds.
func (p *proc) ask() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) }

func (p *proc) stop() {
	if p == nil {
		return
	}
	p.ask()
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// groupUsage sums CPU seconds and RSS KiB over each wanted process group.
func groupUsage(ps ...*proc) (cpu []float64, rss []float64) {
	cpu, rss = make([]float64, len(ps)), make([]float64, len(ps))
	idx := map[int]int{}
	for i, p := range ps {
		if p != nil {
			idx[p.cmd.Process.Pid] = i
		}
	}
	es, _ := os.ReadDir("/proc")
	for _, e := range es {
		if e.Name()[0] < '0' || e.Name()[0] > '9' {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		k := bytes.LastIndexByte(b, ')')
		if k < 0 {
			continue
		}
		f := strings.Fields(string(b[k+1:]))
		pg, _ := strconv.Atoi(f[2])
		i, ok := idx[pg]
		if !ok {
			continue
		}
		u, _ := strconv.ParseFloat(f[11], 64)
		s, _ := strconv.ParseFloat(f[12], 64)
		pages, _ := strconv.ParseFloat(f[21], 64)
		cpu[i] += (u + s) / 100
		rss[i] += pages * float64(os.Getpagesize()) / 1024
	}
	return
}

func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return strings.TrimSpace(string(b))
}

func loadavg() string {
	b, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(b))
	if len(f) < 3 {
		return "?"
	}
	return fmt.Sprint(f[0], " ", f[1], " ", f[2])
}
