package tui

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// keptLines is how many lines of a history are kept from run to run.
const keptLines = 200

// stateFolder is where what was entered is kept from run to run, "" for nowhere.
func stateFolder(environ []string) string {
	home := env(environ, "HOME")
	switch {
	case runtime.GOOS == "windows":
		if dir := env(environ, "LOCALAPPDATA"); dir != "" {
			return filepath.Join(dir, "lrok")
		}
	case filepath.IsAbs(env(environ, "XDG_STATE_HOME")):
		return filepath.Join(env(environ, "XDG_STATE_HOME"), "lrok")
	case home == "":
	case runtime.GOOS == "darwin":
		return filepath.Join(home, "Library", "Application Support", "lrok")
	default:
		return filepath.Join(home, ".local", "state", "lrok")
	}
	return ""
}

// A recalledMsg is what was entered in earlier runs, oldest first.
type recalledMsg struct {
	name string
	list []string
}

// recall reads, once, what was entered under that name in earlier runs.
func (m *model) recall(name string) tea.Cmd {
	dir := stateFolder(m.c.Environ)
	if m.past == nil {
		m.past = map[string]*[]string{}
	}
	if m.past[name] != nil {
		return nil
	}
	m.past[name] = new([]string)
	if dir == "" {
		return nil
	}
	return func() tea.Msg {
		return recalledMsg{name, readHistory(filepath.Join(dir, name+".history"))}
	}
}

func (msg recalledMsg) arrive(m *model) tea.Cmd {
	past := m.past[msg.name]
	n := len(msg.list)
	*past = append(msg.list, *past...)
	// Who is asking already counts from the end.
	if p := m.prompt; p != nil && p.past == past {
		p.at += n
	}
	if msg.name == filterHistory && m.bar.editing {
		m.bar.at += n
	}
	return nil
}

// remember keeps s for this run and later ones.
func (m *model) remember(name, s string) tea.Cmd {
	dir := stateFolder(m.c.Environ)
	if dir == "" || s == "" {
		return nil
	}
	return func() tea.Msg {
		// A history is a comfort: without one nothing is lost.
		_ = keepHistory(filepath.Join(dir, name+".history"), s)
		return nil
	}
}

// readHistory reads the lines of a history, the last ones of what is there.
func readHistory(file string) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := strings.TrimSpace(s.Text()); line != "" {
			list = append(list, line)
		}
	}
	return list[max(len(list)-keptLines, 0):]
}

// keepHistory puts a line at the end of a history. The file is written anew, and
// whole, so that it stays small and runs beside each other leave one that reads.
func keepHistory(file, line string) error {
	list := slices.DeleteFunc(readHistory(file), func(s string) bool { return s == line })
	list = append(list, line)
	list = list[max(len(list)-keptLines, 0):]
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeWhole(file, []byte(strings.Join(list, "\n")+"\n"))
}

// writeWhole writes a file that only its owner may read, all of it or nothing.
func writeWhole(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".lrok-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
