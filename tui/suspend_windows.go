package tui

import (
	"context"
	"io"
	"sync/atomic"

	tea "charm.land/bubbletea/v2"
)

// There is no job control here.

type stops struct{ away atomic.Bool }

func newStops() *stops { return &stops{} }

func (*stops) end() {}

func (m *model) awaitStop() tea.Cmd { return nil }

type suspension struct {
	ctx   context.Context
	stops *stops
}

func (*suspension) SetStdin(io.Reader)  {}
func (*suspension) SetStdout(io.Writer) {}
func (*suspension) SetStderr(io.Writer) {}
func (*suspension) Run() error          { return errNoShell }
