// A real program runs against an in-memory terminal, and tests type at it and read
// what stands there.
//
// Traps that this file avoids: without a terminal for input Bubble Tea writes a
// bare LF for the next line; the emulator answers queries on its own Read side,
// which has to be drained; its SafeEmulator does not guard String.
package tui

import (
	"bytes"
	"context"
	"flag"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"
	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/vt"
)

var updateScreens = flag.Bool("update-screens", false, "rewrite testdata/*.screen")

type screen struct {
	mu  sync.Mutex
	em  *vt.Emulator
	in  io.Writer
	tty bool // a terminal is in between, which turns LF into CR LF where that is wanted

	raw  bytes.Buffer // everything that was written
	done chan struct{}
	sum  Summary
	err  error
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(p)
	s.raw.Write(p)
	if !s.tty {
		p = bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))
	}
	_, _ = s.em.Write(p)
	return n, nil
}

// start runs the screen on a w x h terminal; it is stopped when the test ends.
func start(t *testing.T, c Config, w, h int) *screen {
	t.Helper()
	s := &screen{em: vt.NewEmulator(w, h), done: make(chan struct{})}
	r, in := io.Pipe()
	s.in = in
	go func() { _, _ = io.Copy(in, s.em) }()
	c.Input, c.Output, c.Width, c.Height = r, s, w, h
	if c.Profile == 0 {
		c.Profile = colorprofile.ANSI
	}
	if c.Environ == nil {
		c.Environ = []string{"TERM=xterm-256color", "LANG=C.UTF-8"}
	}
	if c.Theme == "" {
		c.Theme = "dark"
	}
	if c.Now == nil {
		c.Now = func() time.Time { return frozen }
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(s.done)
		s.sum, s.err = Run(ctx, c)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-s.done:
		case <-time.After(10 * time.Second):
			t.Error("the screen did not end with its context")
		}
		_ = s.em.InputPipe().(io.Closer).Close()
		_ = r.Close()
	})
	return s
}

var frozen = time.Date(2026, 11, 22, 14, 2, 31, 0, time.UTC)

// keys types raw bytes: "j", "\r", "\x1b[A" (up), "\x1b[<0;4;5M" (click at column 4, row 5).
func (s *screen) keys(raw string) { _, _ = s.in.Write([]byte(raw)) }

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(strings.ReplaceAll(s.em.String(), nbsp, " "), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// ground reports whether the cell has a background of its own.
func (s *screen) ground(x, y int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.em.CellAt(x, y)
	return c != nil && (c.Style.Bg != nil || c.Style.Attrs&uv.AttrReverse != 0)
}

// patience is how long what must come is waited for, on a machine that is busy
// with other things.
const patience = 30 * time.Second

func (s *screen) wait(t *testing.T, ok func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s\n%s", what, s.text())
}

// waitText waits for one of the texts in sub, which are separated by "|".
func (s *screen) waitText(t *testing.T, sub string) {
	t.Helper()
	s.wait(t, func() bool {
		text := s.text()
		for one := range strings.SplitSeq(sub, "|") {
			if strings.Contains(text, one) {
				return true
			}
		}
		return false
	}, "text "+sub)
}

// still waits until the screen has not changed for a while: what is loaded in
// the background has arrived by then.
func (s *screen) still(t *testing.T) {
	t.Helper()
	last, since := s.text(), time.Now()
	s.wait(t, func() bool {
		if now := s.text(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 150*time.Millisecond
	}, "a still screen")
}

func (s *screen) waitRaw(t *testing.T, sub string) {
	t.Helper()
	s.wait(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return bytes.Contains(s.raw.Bytes(), []byte(sub))
	}, "bytes "+sub)
}

func (s *screen) waitDone(t *testing.T) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatalf("the screen did not end\n%s", s.text())
	}
}

// restored checks that the terminal was left as it was found.
func (s *screen) restored(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, want := range []string{"\x1b[?1049l", "\x1b[?25h", "\x1b[?1002l"} {
		if !bytes.Contains(s.raw.Bytes(), []byte(want)) {
			t.Errorf("the terminal was left without %q", want)
		}
	}
}

// rowOf is the first row that holds sub, -1 if none does.
func (s *screen) rowOf(sub string) int {
	for i, l := range strings.Split(s.text(), "\n") {
		if strings.Contains(l, sub) {
			return i
		}
	}
	return -1
}

func (s *screen) line(i int) string {
	lines := strings.Split(s.text(), "\n")
	if i < 0 || i >= len(lines) {
		return ""
	}
	return lines[i]
}
