//go:build timing && linux

package tui

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"
)

// A program built with the tag timing writes down how long its screen's loop is
// held, for the benchmarks: into the file that LROK_TIMES names, a line for each
// time that Update, View, or somebody who wanted to hand the loop a message took,
//
//	<µs since 1970 at its end> <update|view|wait> <µs> <µs of processor time> <message>
//
// Who waits does so as a key would: the loop takes no message while it is in
// Update or View, nor while it hands a frame to a renderer that is writing the one
// before. Such a message ends there and draws nothing. Processor time is -1 where
// it is not known; beside the time on the clock it tells work from having waited
// for a processor.
func init() {
	path := os.Getenv("LROK_TIMES")
	if path == "" {
		return
	}
	newProgram = func(m tea.Model, options ...tea.ProgramOption) *tea.Program {
		f, err := os.Create(path)
		if err != nil {
			panic(err)
		}
		t := &times{out: bufio.NewWriter(f)}
		p := tea.NewProgram(timed{m, t, new(string)}, append(options, tea.WithFilter(t.arrived))...)
		go func() {
			for range time.Tick(time.Millisecond) {
				p.Send(knock(time.Now()))
			}
		}()
		go func() {
			for range time.Tick(100 * time.Millisecond) {
				t.mu.Lock()
				_ = t.out.Flush()
				t.mu.Unlock()
			}
		}()
		return p
	}
}

type times struct {
	mu  sync.Mutex
	out *bufio.Writer
}

func (t *times) took(what string, since time.Time, cpu int64, msg string) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.out, now.UnixMicro(), what, now.Sub(since).Microseconds(), cpu, msg)
}

// watch runs f and writes down what it took.
func (t *times) watch(what, msg string, f func()) {
	began, thread, before := time.Now(), unix.Gettid(), processor()
	f()
	cpu := processor() - before
	if unix.Gettid() != thread {
		cpu = -1 // it goes on elsewhere
	}
	t.took(what, began, cpu, msg)
}

// processor is the time that this thread has had of a processor, in µs.
func processor() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano() / 1e3
}

// A knock asks when the loop has time.
type knock time.Time

func (t *times) arrived(_ tea.Model, msg tea.Msg) tea.Msg {
	if k, ok := msg.(knock); ok {
		t.took("wait", time.Time(k), -1, "-")
		return nil
	}
	return msg
}

// A timed model is one with a watch on it.
type timed struct {
	tea.Model
	t    *times
	last *string
}

func (m timed) Update(msg tea.Msg) (_ tea.Model, cmd tea.Cmd) {
	*m.last = fmt.Sprintf("%T", msg)
	if k, ok := msg.(tea.KeyPressMsg); ok {
		*m.last += ":" + k.String()
	}
	*m.last = strings.ReplaceAll(*m.last, " ", "")
	m.t.watch("update", *m.last, func() { _, cmd = m.Model.Update(msg) })
	return m, cmd
}

func (m timed) View() (v tea.View) {
	m.t.watch("view", *m.last, func() { v = m.Model.View() })
	return v
}
