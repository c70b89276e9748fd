//go:build unix

package tui

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"
	"golang.org/x/sys/unix"

	"github.com/lrok-dev/lrok/internal/crash"
)

// Stops catch the signal by which another program of the same job has lrok stop.
// Once Go has caught that signal it has no way back to what it does by itself,
// which is to stop the process; SIGSTOP does.
type stops struct {
	signals chan os.Signal
	away    atomic.Bool // something else has the terminal
}

func newStops() *stops {
	s := &stops{signals: make(chan os.Signal, 1)}
	signal.Notify(s.signals, syscall.SIGTSTP)
	return s
}

func (s *stops) end() { signal.Stop(s.signals) }

// awaitStop is the one command that waits for a stop. While an editor has the
// terminal, lrok stops when that does, as a shell expects of a job.
func (m *model) awaitStop() tea.Cmd {
	return func() tea.Msg {
		for {
			select {
			case <-m.stops.signals:
			case <-m.ctx.Done():
				return nil
			}
			if !m.stops.away.Load() {
				return suspendMsg{}
			}
			if hasShell() {
				_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			}
		}
	}
}

// hasShell reports whether somebody could continue this job. The job that a
// session began with has nobody.
func hasShell() bool {
	session, err := unix.Getsid(0)
	return err == nil && session != syscall.Getpgrp()
}

// A suspension is the time in which the shell has the terminal.
type suspension struct {
	ctx      context.Context
	stops    *stops
	terminal io.Reader
}

func (s *suspension) SetStdin(r io.Reader) { s.terminal = r }
func (*suspension) SetStdout(io.Writer)    {}
func (*suspension) SetStderr(io.Writer)    {}

// Run returns when lrok has the terminal again, or is to end.
func (s *suspension) Run() error {
	time.Sleep(settling)
	if !hasShell() {
		return errNoShell
	}
	crash.Drawing(false)
	defer crash.Drawing(true)
	s.stops.away.Store(true)
	defer s.stops.away.Store(false)
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	if err := syscall.Kill(0, syscall.SIGSTOP); err != nil {
		return err
	}
	<-continued
	for !s.foreground() {
		select {
		case <-s.ctx.Done():
			// What is left to be done to the terminal leaves it as it is.
			signal.Ignore(syscall.SIGTTOU)
			return nil
		case <-continued:
		case <-time.After(200 * time.Millisecond): // fg says nothing to what runs
		}
	}
	return nil
}

// foreground reports whether the terminal is this job's.
func (s *suspension) foreground() bool {
	f, ok := s.terminal.(term.File)
	if !ok {
		return true
	}
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err != nil || group == syscall.Getpgrp()
}
