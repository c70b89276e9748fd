package tui

import (
	"errors"

	tea "charm.land/bubbletea/v2"
)

// suspendMsg is somebody's wish, by key or by signal, to have the terminal back for
// a while.
type suspendMsg struct{}

func (suspendMsg) arrive(m *model) tea.Cmd {
	return tea.Batch(m.suspend(), m.awaitStop())
}

// errNoShell means that there is nobody to give the terminal back to.
var errNoShell = errors.New("lrok was not started from a shell that could resume it")

// suspend gives the terminal back to the shell until that says to go on. Bubble
// Tea's own way (2.1.1) waits for good where no shell stops the process, and after
// bg it takes the terminal from the shell, which stops the process again: this one
// lets the tunnel work in the background.
func (m *model) suspend() tea.Cmd {
	return tea.Exec(&suspension{ctx: m.ctx, stops: m.stops}, func(err error) tea.Msg {
		if err != nil {
			return failMsg{err: err}
		}
		return nil
	})
}
