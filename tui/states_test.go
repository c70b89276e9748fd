package tui

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// The URL is said to be kept for as long as the edge keeps it, and no longer.
func TestReconnectingSaysWhetherTheURLIsKept(t *testing.T) {
	m := modelWith(t, 100, 24, 5)
	st := onlineStatus(frozen)
	st.State, st.Attempt, st.Err = agent.Reconnecting, 3, errors.New("i/o timeout")
	const grace = 10 * time.Minute // of an edge that does not say
	for _, tt := range []struct {
		gone time.Duration
		keep int
		want string
	}{
		{time.Minute, 0, "URL kept"},
		{grace - time.Second, 0, "URL kept"},
		{grace, 0, "URL asked for again"},
		{59 * time.Second, 60, "URL kept"},
		{time.Minute, 60, "URL asked for again"},
		{grace, 3600, "URL kept"},
	} {
		st.OfflineSince, st.Welcome.Limits.Keep = frozen.Add(-tt.gone), tt.keep
		m.follow(m.main, st)
		if s := m.shows(); !strings.Contains(s, tt.want) {
			t.Errorf("after %v the first row is %q, want %q", tt.gone, strings.Split(s, "\n")[0], tt.want)
		}
	}
	// An edge that goes does not keep anything, whatever the next attempts meet.
	st.OfflineSince = frozen.Add(-time.Second)
	st.Err = &tunnel.Error{Code: tunnel.CodeDraining, Message: "the edge sends its agents away: the edge is shutting down"}
	m.follow(m.main, st)
	st.Attempt, st.Err = 4, errors.New("connection refused")
	m.follow(m.main, st)
	if row, _, _ := strings.Cut(m.shows(), "\n"); !strings.Contains(row, "edge shutting down  at 14:02:30") || !strings.Contains(row, "URL asked for again") {
		t.Errorf("the first row is %q, want that the edge has gone", row)
	}
	m.follow(m.main, onlineStatus(frozen))
	if s := m.shows(); strings.Contains(s, "shutting down") {
		t.Errorf("back online the screen still says that the edge has gone:\n%s", s)
	}
}

// The tunnel leads elsewhere from the moment that a person says so.
func TestChangeUpstream(t *testing.T) {
	s, _, a := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("u")
	s.waitText(t, "send requests to")
	s.keys("5173x\r")
	s.waitText(t, "is no port")
	s.keys("\x7f\r")
	s.waitText(t, "acme: requests go to http://localhost:5173 now")
	s.waitText(t, "⇄ :5173")
	if got := a.Status().Upstreams[0].Local; got != "http://localhost:5173" {
		t.Errorf("the agent leads to %s", got)
	}
	s.keys("u\r")
	s.waitText(t, "⇄ :5173") // nothing entered, nothing changed
}

func TestTargetsOfATunnel(t *testing.T) {
	for _, tt := range []struct {
		kind     tunnel.Kind
		s, want  string
		mistaken bool
	}{
		{kind: tunnel.HTTP, s: "5173", want: "http://localhost:5173"},
		{kind: "", s: "https://localhost:8443", want: "https://localhost:8443"},
		{kind: tunnel.TCP, s: "5432", want: "localhost:5432"},
		{kind: tunnel.TLS, s: "tcp://db:5432", want: "db:5432"},
		{kind: tunnel.TCP, s: "http://localhost:80", mistaken: true},
		{kind: tunnel.HTTP, s: "no port", mistaken: true},
	} {
		got, err := targetOf(tt.kind, tt.s)
		if (err != nil) != tt.mistaken || err == nil && got.String() != tt.want {
			t.Errorf("%s %q leads to %v, %v, want %s", tt.kind, tt.s, got, err, tt.want)
		}
	}
}

// o hands the address, and only an address, to the browser.
func TestOpenInBrowser(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the browser is a shell script")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "browser")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$@\" >"+dir+"/tmp; mv "+dir+"/tmp "+dir+"/opened\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	opened := func() string { b, _ := os.ReadFile(dir + "/opened"); return string(b) }
	s, _, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, e *demoEdge) {
		e.list = nil
		c.Environ = []string{"TERM=xterm-256color", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH"), "BROWSER=" + script}
	})
	s.waitText(t, "open it in the browser")
	s.keys("o")
	s.waitText(t, "opening https://acme.lrok.example")
	s.wait(t, func() bool { return opened() != "" }, "an open browser")
	if got := opened(); got != "https://acme.lrok.example\n" {
		t.Errorf("the browser got %q", got)
	}

	m := modelWith(t, 80, 24, 0)
	m.browser = []string{"no-such-browser"}
	for _, u := range []string{"javascript:alert(1)", "--help", "file:///etc/passwd", "https:", "\x1b]0;x\a"} {
		m.tab().URL = u
		if cmd := m.openBrowser(); cmd != nil || !strings.Contains(m.note.text, "no web address") {
			t.Errorf("%q goes to the browser", u)
		}
	}
}

func TestBrowserOfThisMachineOnly(t *testing.T) {
	if got := browser([]string{"SSH_CONNECTION=a b", "DISPLAY=:0"}); got != nil {
		t.Errorf("over SSH the browser is %q, want none", got)
	}
	if got := browser([]string{"SSH_CONNECTION=a b", "BROWSER=w3m -N"}); len(got) != 2 {
		t.Errorf("the browser is %q, want the one that was named", got)
	}
}

// Dragging says once how text is selected; a click with an unsteady hand does not.
func TestDragSaysHowToSelect(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	m.msg(tea.MouseClickMsg{Button: tea.MouseLeft, X: 20, Y: 6})
	m.msg(tea.MouseMotionMsg{Button: tea.MouseLeft, X: 21, Y: 6})
	if m.note.text != "" {
		t.Errorf("a click says %q", m.note.text)
	}
	m.msg(tea.MouseMotionMsg{Button: tea.MouseLeft, X: 30, Y: 6})
	if !strings.Contains(m.note.text, "hold shift (or press M) to select text") {
		t.Errorf("dragging says %q", m.note.text)
	}
	m.note = note{}
	m.msg(tea.MouseMotionMsg{Button: tea.MouseLeft, X: 40, Y: 6})
	if m.note.text != "" {
		t.Error("dragging says it again and again")
	}
}

// A failure shows that it is marked, and that it is a replay.
func TestFailureShowsItsMark(t *testing.T) {
	m := modelWith(t, 80, 24, 13)
	for i := range 13 {
		if m.selected().Status == 500 {
			break
		}
		if i == 12 {
			t.Fatal("no failure among the demo's requests")
		}
		m.key("j")
	}
	m.key("m")
	row := ""
	for _, s := range strings.Split(m.shows(), "\n") {
		if strings.HasPrefix(s, "▌") {
			row = s
		}
	}
	if !strings.HasPrefix(row, "▌!*") {
		t.Errorf("the row of a marked failure is %q", row)
	}
	x := m.selected()
	x.ReplayOf = "another"
	m.key("m")
	if s := m.shows(); !strings.Contains(s, "▌!↻") {
		t.Errorf("the row of a failed replay does not say so:\n%s", s)
	}
}

func TestTabOfATCPTunnelIsItsPort(t *testing.T) {
	m := modelWith(t, 120, 36, 5)
	m.tabs = append(m.tabs, newTab(Tunnel{Kind: tunnel.TCP, Name: "db", URL: "tcp://tcp.lrok.example:30007"}, m.main))
	m.arrange()
	if s := m.shows(); !strings.Contains(s, "[2] tcp :30007") {
		t.Errorf("the tab lacks its port:\n%s", strings.Split(s, "\n")[1])
	}
}
