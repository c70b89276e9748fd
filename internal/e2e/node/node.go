// Package node drives the npm scripts beside it: webhook senders and receivers,
// WebSocket and server-sent event clients and servers that other people wrote,
// so that a test can put lrok between the two.
//
// Every script speaks JSON lines on standard output; the comment at the head of
// each .mjs file says which. Their packages come with `npm ci` in this folder,
// which `make test` does; without them a test fails and says so.
package node

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// patience is how long a script may stay silent before its test fails.
const patience = 60 * time.Second

// Secrets are the webhook secrets that senders and receiver share; they are
// handed to every script.
var Secrets = []string{
	"GITHUB_SECRET=It's a Secret to Everybody",
	"STRIPE_SECRET=whsec_lrok_end_to_end",
	"SLACK_SECRET=8f742231b10e8888abcd99e2e",
	"SHOPIFY_SECRET=shpss_lrok_end_to_end",
	"STANDARD_SECRET=whsec_bHJvayBlbmQgdG8gZW5kIHNlY3JldA==",
}

// A Script is one running script.
type Script struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer
	lines  chan []byte
	stderr bytes.Buffer
	done   chan struct{} // closed once the process has ended and err is set
	err    error
}

// Start runs a script of this folder, such as "receiver.mjs". The test's end
// ends it.
func Start(t testing.TB, name string, args ...string) *Script {
	t.Helper()
	_, self, _, _ := runtime.Caller(0)
	dir := filepath.Dir(self)
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatalf("%v\nhint: make deps, or npm ci in %s", err, dir)
	}
	s := &Script{t: t, name: name, lines: make(chan []byte, 1<<16), done: make(chan struct{})}
	s.cmd = exec.Command("node", append([]string{name}, args...)...)
	s.cmd.Dir = dir
	s.cmd.Env = append(os.Environ(), Secrets...)
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go s.read(out)
	t.Cleanup(s.Stop)
	return s
}

// Next decodes the script's next line into v and reports whether there was one:
// false means that the script has ended. A script that says nothing for a minute
// fails the test.
func (s *Script) Next(v any) bool {
	s.t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok {
			return false
		}
		if err := json.Unmarshal(line, v); err != nil {
			s.t.Fatalf("%s said %q: %v", s.name, line, err)
		}
		return true
	case <-time.After(patience):
		s.t.Fatalf("%s said nothing for %v", s.name, patience)
	}
	panic("unreachable")
}

// Port is the port of a script that serves on 127.0.0.1: its first line.
func (s *Script) Port() int {
	s.t.Helper()
	var first struct{ Port int }
	if !s.Next(&first) || first.Port == 0 {
		s.t.Fatalf("%s did not say its port: %v\n%s", s.name, s.Wait(), &s.stderr)
	}
	return first.Port
}

// Wait blocks until the script has ended and returns an error unless it exited 0.
func (s *Script) Wait() error {
	<-s.done
	if s.err != nil {
		return fmt.Errorf("%s: %w\n%s", s.name, s.err, &s.stderr)
	}
	return nil
}

// Stop ends a script that serves. It may be called twice.
func (s *Script) Stop() {
	s.stdin.Close() // its way of being told
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

func (s *Script) read(out io.Reader) {
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		s.lines <- bytes.Clone(sc.Bytes())
	}
	close(s.lines)
	s.err = s.cmd.Wait()
	close(s.done)
}

// A Delivery is a line of send.mjs or of receiver.mjs.
type Delivery struct {
	Kind    string   // github, stripe, slack, shopify, standard or unknown
	Event   string   // as "issues" or "invoice.paid"
	ID      string   // of the delivery
	Status  int      // send.mjs: the answer's
	Answer  string   // send.mjs: the answer's body
	OK      bool     // receiver.mjs: the signature verifies
	SHA256  string   // of the raw body
	Size    int      // of the raw body
	Path    string   // receiver.mjs: the request target
	Headers []string // receiver.mjs: names and values in turns, as they came
	Error   string
}

// Send runs send.mjs to its end and returns what it sent. Arguments as there.
func Send(t testing.TB, url, host string, args ...string) []Delivery {
	t.Helper()
	s := Start(t, "send.mjs", append([]string{"--url", url, "--host", host}, args...)...)
	var ds []Delivery
	for {
		var line struct {
			Delivery
			Done bool
			Sent int
		}
		if !s.Next(&line) {
			t.Fatalf("send.mjs ended early: %v", s.Wait())
		}
		if line.Done {
			if line.Sent != len(ds) {
				t.Fatalf("send.mjs: %d lines, sent = %d", len(ds), line.Sent)
			}
			break
		}
		ds = append(ds, line.Delivery)
	}
	if err := s.Wait(); err != nil {
		t.Fatal(err)
	}
	return ds
}

// WebSocket runs every check of ws-client.mjs against a ws-echo.mjs at url and
// fails the test for each that does not hold.
func WebSocket(t testing.TB, url, host string, args ...string) {
	t.Helper()
	s := Start(t, "ws-client.mjs", append([]string{"--url", url, "--host", host}, args...)...)
	var line struct {
		Check  string
		OK     bool
		Error  string
		Done   bool
		Checks int
	}
	for n := 0; s.Next(&line); n++ {
		switch {
		case line.Done && line.Checks != n:
			t.Errorf("ws-client.mjs: %d checks said, %d made", n, line.Checks)
		case !line.Done && !line.OK:
			t.Errorf("websocket: %s: %s", line.Check, line.Error)
		}
	}
	if !line.Done {
		t.Errorf("ws-client.mjs did not get through: %v", s.Wait())
	}
}

// A Tick is an event of sse-server.mjs as sse-client.mjs saw it.
type Tick struct {
	ID    string
	N     int
	Text  string
	Delay int // milliseconds since the server wrote it
}

// Events runs sse-client.mjs on an sse-server.mjs at url until n events are there.
// It returns them and how many connections that took.
func Events(t testing.TB, url, host string, n int) (ticks []Tick, opened int) {
	t.Helper()
	s := Start(t, "sse-client.mjs", "--url", url, "--host", host, "--events", fmt.Sprint(n))
	for {
		var line struct {
			Tick
			Opened int
			Done   bool
			Error  string
		}
		if !s.Next(&line) {
			t.Fatalf("sse-client.mjs ended early: %v", s.Wait())
		}
		switch {
		case line.Error != "":
			t.Fatalf("sse-client.mjs after %d events: %s", len(ticks), line.Error)
		case line.Done:
			return ticks, line.Opened
		case line.N > 0:
			ticks = append(ticks, line.Tick)
		}
	}
}
