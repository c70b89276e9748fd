//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// The public names of the tunnels: captured is as tunnels are, bare has its
// capture off.
const (
	captured = "cost.tun.test"
	bare     = "bare.tun.test"
)

// inside runs edge and agent in this process, which does nothing else, until
// its input ends. It says where the edge's public side is, and then, for each
// line that it is given, how much has been allocated.
func inside(local string) error {
	dir, err := os.MkdirTemp("", "lrok-cost-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	e, err := edge.New(edge.Config{Domain: "tun.test", HTTP: "127.0.0.1:0", Control: "127.0.0.1:0", DataDir: dir})
	if err != nil {
		return err
	}
	if err := e.Listen(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = e.Run(ctx, nil) })
	target, err := agent.ParseTarget(local)
	if err != nil {
		return err
	}
	key, _ := e.AdminKey()
	a, err := agent.New(agent.Config{
		Edge: e.ControlAddr(), TLS: e.ClientTLS(), Key: key,
		Claims: []tunnel.Claim{
			{Kind: tunnel.HTTP, Name: "cost", Local: target.String()},
			{Kind: tunnel.HTTP, Name: "bare", Local: target.String(), NoInspect: true},
		},
		Targets: []agent.Target{target, target},
	})
	if err != nil {
		return err
	}
	wg.Go(func() { _ = a.Run(ctx) })
	for end := time.Now().Add(20 * time.Second); a.Status().State != agent.Online; {
		if time.Now().After(end) {
			return errors.New("the tunnels do not come up")
		}
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Println(e.HTTPAddr())
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := in.ReadSlice('\n'); err != nil {
			return nil
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println(m.Mallocs)
	}
}

// A child is a process that runs inside.
type child struct {
	addr    string
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func startChild(local string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{process: exec.Command(self, "inside", local)}
	c.process.Stderr = os.Stderr
	if c.in, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.process.Start(); err != nil {
		return nil, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("edge and agent in one process: %w", err)
	}
	c.addr = strings.TrimSpace(line)
	return c, nil
}

func (c *child) stop() {
	_ = c.in.Close()
	stop(c.process)
}

// allocations returns how many f makes.
func (c *child) allocations(f func() error) (int, error) {
	before, err := c.sum()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := c.sum()
	return after - before, err
}

func (c *child) sum() (int, error) {
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		return 0, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}
