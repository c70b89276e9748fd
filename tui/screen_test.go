package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// demo starts the screen with the demo's traffic.
func demo(t *testing.T, w, h int, change ...func(*Config, *agent.Status, *demoEdge)) (*screen, *demoEdge, *demoAgent) {
	t.Helper()
	e := newDemoEdge(func() time.Time { return frozen })
	for _, x := range demoList(frozen) {
		e.add(x)
	}
	st := onlineStatus(frozen)
	c := Config{API: e, Tunnels: demoAsked, SendTest: func(context.Context, Tunnel) error { return nil }}
	for _, f := range change {
		f(&c, &st, e)
	}
	a := newDemoAgent(st)
	if _, without := c.Agent.(noAgent); without {
		c.Agent = nil
	} else {
		c.Agent = a
	}
	return start(t, c, w, h), e, a
}

func none(_ *Config, _ *agent.Status, e *demoEdge) { e.list = nil }

// The program draws what the goldens hold, which are made without its loop.
func TestProgramDrawsTheSame(t *testing.T) {
	for _, tt := range []struct {
		scene  string
		w, h   int
		change func(*Config, *agent.Status, *demoEdge)
		keys   []string // each followed by a wait for the text after it
	}{
		{"list", 120, 36, nil, []string{"", "evt_1PqT9x"}},
		{"list", 29, 5, nil, []string{"", "13 !"}},
		{"response", 80, 24, nil, []string{"", "favicon", failing + "\r]", "42P01"}},
		{"filter", 60, 45, nil, []string{"", "evt_1PqT9x", "/st", "status code"}},
		{"websocket", 40, 10, streams, []string{"", "/socket", "j\r]", "A-1044"}},
		{"home", 80, 24, atHome, []string{"", "1h00"}},
	} {
		t.Run(fmt.Sprintf("%s-%dx%d", tt.scene, tt.w, tt.h), func(t *testing.T) {
			t.Parallel()
			file, err := os.ReadFile(filepath.Join("testdata", "matrix", tt.scene+".screen"))
			if err != nil {
				t.Fatal(err)
			}
			_, want, _ := strings.Cut(string(file), fmt.Sprintf("== %dx%d\n", tt.w, tt.h))
			want, _, _ = strings.Cut(want, "-- ")
			s, _, _ := demo(t, tt.w, tt.h, func(c *Config, st *agent.Status, e *demoEdge) {
				if tt.change != nil {
					tt.change(c, st, e)
				}
			})
			for i := 0; i < len(tt.keys); i += 2 {
				s.keys(tt.keys[i])
				s.waitText(t, tt.keys[i+1])
			}
			s.wait(t, func() bool { return s.text() == want }, "this\n"+want)
		})
	}
}

func TestFollowUntilMoved(t *testing.T) {
	s, e, _ := demo(t, 80, 24, func(_ *Config, _ *agent.Status, e *demoEdge) {
		for _, x := range demoList(frozen) {
			x.ID, x.Number = "", 0
			e.add(x)
		}
	})
	s.waitText(t, "● live")
	s.keys("jj")
	s.waitText(t, "g follows")
	s.wait(t, func() bool { return strings.Contains(s.line(s.rowOf("▌")), "favicon") }, "the third row selected")
	s.still(t)
	row := s.rowOf("▌")
	before := s.line(row)
	x := demoList(frozen)[0]
	for range 3 {
		x.ID, x.Number, x.Path = "", 0, "/new"
		e.add(x)
	}
	s.waitText(t, "3 newer (g)")
	if got := s.line(s.rowOf("▌")); got != before || s.rowOf("▌") != row {
		t.Errorf("selected row is\n%s\nwant it to stay\n%s", got, before)
	}
	s.keys("g")
	s.waitText(t, "● live")
	if got := s.line(s.rowOf("▌")); !strings.Contains(got, "/new") {
		t.Errorf("after g the selected row is %q, want the latest", got)
	}
}

// The ground of the selected row reaches from edge to edge.
func TestSelectionFillsTheRow(t *testing.T) {
	for _, w := range []int{40, 80, 240} {
		s, _, _ := demo(t, w, 30, func(c *Config, _ *agent.Status, _ *demoEdge) { c.Profile = colorprofile.TrueColor })
		s.waitText(t, "favicon")
		s.keys("jjjjd")
		s.waitText(t, "9d02c4f1")
		s.still(t)
		y := s.rowOf("▌")
		for x := 1; x < w-1; x++ {
			if !s.ground(x, y) {
				t.Errorf("at %d columns the selected row has no ground at %d", w, x)
				break
			}
		}
	}
}

func TestResizeKeepsSelection(t *testing.T) {
	m := modelWith(t, 120, 36, 300)
	m.key("j", "j", "j", "j")
	want := m.selected().ID
	for _, size := range [][2]int{{80, 24}, {40, 10}, {29, 5}, {60, 45}, {240, 60}, {120, 36}} {
		m.size(size[0], size[1])
		if got := m.selected().ID; got != want {
			t.Errorf("at %dx%d the selection is %s, want %s", size[0], size[1], got, want)
		}
		rows, _ := m.draw()
		if len(rows) != size[1] {
			t.Errorf("at %dx%d the screen has %d rows", size[0], size[1], len(rows))
		}
	}
}

func TestReplayOpensItsDiff(t *testing.T) {
	s, e, _ := demo(t, 120, 36)
	s.waitText(t, "favicon")
	s.keys("jjjjj")
	s.waitText(t, "#1274")
	s.keys("r")
	s.waitText(t, "#1280 answered 200 in 41ms, was 500")
	s.waitText(t, "change 1 of")
	text := s.text()
	for _, want := range []string{"#1274", "#1280", `"42P01"`, "→ 200"} {
		if !strings.Contains(text, want) {
			t.Errorf("the diff lacks %q:\n%s", want, text)
		}
	}
	if len(e.replays) != 1 {
		t.Errorf("sent %d replays, want 1", len(e.replays))
	}
	s.keys("\x1b")
	s.waitText(t, "time     method path")
}

func TestReplayFiveTimes(t *testing.T) {
	s, e, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("5r")
	s.waitText(t, "replayed 5 times: 5 x 200")
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.replays) != 5 {
		t.Errorf("sent %d replays, want 5", len(e.replays))
	}
}

// script writes a shell script that stands in for an editor.
func script(t *testing.T, body string) []string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the scripted editor is a shell script")
	}
	file := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(file, []byte(body+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"TERM=xterm-256color", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "EDITOR=sh " + file}
}

// onTerminal runs the screen on a real terminal, as an editor needs one.
func onTerminal(t *testing.T, environ []string) (*screen, *demoEdge) {
	t.Helper()
	return onTerminalUntil(context.Background(), t, environ)
}

// onTerminalUntil does so until ctx ends.
func onTerminalUntil(ctx context.Context, t *testing.T, environ []string) (*screen, *demoEdge) {
	t.Helper()
	e := newDemoEdge(func() time.Time { return frozen })
	for _, x := range demoList(frozen) {
		e.add(x)
	}
	master, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Cols: 120, Rows: 36}); err != nil {
		t.Fatal(err)
	}
	s := &screen{em: vt.NewEmulator(120, 36), in: master, done: make(chan struct{}), tty: true}
	go func() { _, _ = io.Copy(master, s.em) }()
	go func() { _, _ = io.Copy(s, master) }()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(s.done)
		s.sum, s.err = Run(ctx, Config{
			API: e, Agent: newDemoAgent(onlineStatus(frozen)), Tunnels: demoAsked,
			Input: tty, Output: tty, Environ: environ, Theme: "dark", Now: func() time.Time { return frozen },
		})
	}()
	t.Cleanup(func() {
		cancel()
		s.waitDone(t)
		s.restored(t)
		// tty is left to the collector: Bubble Tea (2.1.1) looks at its size after
		// an editor in a goroutine that it does not wait for.
		_ = master.Close()
		_ = s.em.InputPipe().(io.Closer).Close()
	})
	return s, e
}

func TestEditAndReplay(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record")
	environ := script(t, `ls -l "$1" >`+record+`; echo "$1" >>`+record+`; sed -i 's/"amount_paid":4200/"amount_paid":99/' "$1"`)
	s, e := onTerminal(t, environ)
	s.waitText(t, "favicon")
	s.keys("jjjjj")
	s.waitText(t, "#1274")
	s.keys("e")
	s.waitText(t, "send this to http://localhost:3000?")
	s.waitText(t, ".data.object.amount_paid")
	s.waitText(t, "→ 99")
	e.mu.Lock()
	if len(e.replays) != 0 {
		t.Error("the request was sent before it was confirmed")
	}
	e.mu.Unlock()
	s.keys("y")
	s.waitText(t, "#1280 answered 200")
	e.mu.Lock()
	c := e.replays[0]
	e.mu.Unlock()
	if c.Body == nil || !strings.Contains(string(*c.Body), `"amount_paid":99,`) {
		t.Errorf("sent %+v, want the edited body", c)
	}
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if !strings.HasPrefix(lines[0], "-rw-------") {
		t.Errorf("the file is %q, want it for its owner alone", lines[0])
	}
	file := lines[len(lines)-1]
	if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", file, err)
	}
}

func TestEditUnchangedSendsNothing(t *testing.T) {
	s, e := onTerminal(t, script(t, "true"))
	s.waitText(t, "favicon")
	s.keys("e")
	s.waitText(t, "unchanged: nothing was sent")
	if len(e.replays) != 0 {
		t.Errorf("sent %d replays, want none", len(e.replays))
	}
}

func TestEditMistakeIsToldAndReopened(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "second")
	record := filepath.Join(t.TempDir(), "record")
	environ := script(t, `if [ -e `+flag+` ]; then cp "$1" `+record+`; printf 'POST /fixed\nHost: a\n\nx' >"$1"; else touch `+flag+`; printf 'POST\nno colon here\n' >"$1"; fi`)
	s, e := onTerminal(t, environ)
	s.waitText(t, "favicon")
	s.keys("e")
	s.waitText(t, "e edit again")
	s.keys("e")
	s.waitText(t, "send this to")
	s.waitText(t, "/fixed")
	s.keys("\x1b")
	s.waitText(t, "nothing was sent")
	data, _ := os.ReadFile(record)
	if !strings.HasPrefix(string(data), "# lrok: ") {
		t.Errorf("the reopened file begins %q, want the mistake in a comment", data)
	}
	if len(e.replays) != 0 {
		t.Errorf("sent %d replays, want none", len(e.replays))
	}
}

func TestMarkAndCompareAnyTwo(t *testing.T) {
	s, _, _ := demo(t, 120, 36)
	s.waitText(t, "favicon")
	s.keys("jj")
	s.waitText(t, "#1277 GET")
	s.keys("m")
	s.waitText(t, "#1277 is A")
	s.keys("j")
	s.waitText(t, "#1276 POST")
	s.keys("d")
	s.waitText(t, "change 1 of")
	if text := s.text(); !strings.Contains(text, "A  #1277") || !strings.Contains(text, "B  #1276") {
		t.Errorf("the diff is of other requests:\n%s", text)
	}
	s.keys("\x1b")
	s.waitText(t, "time     method path")
}

func TestIgnorePath(t *testing.T) {
	s, _, _ := demo(t, 120, 36)
	s.waitText(t, "favicon")
	s.keys("jjjjd")
	s.waitText(t, "change 1 of 5")
	s.keys("nn")
	s.keys("i")
	s.waitText(t, "ignored from now on: .code")
	s.waitText(t, "of 4")
	s.waitText(t, ".code   differs, ignored by rule")
	s.keys("=")
	s.waitText(t, "ignored: .code")
	s.keys("I")
	s.waitText(t, "until lrok ends")
	s.keys("d\x1b")
	s.waitText(t, "of 5")
}

func TestFilterKeepsTheLastValid(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("/status:500")
	s.waitText(t, "1 of 13 shown")
	s.keys(" (\r")
	s.waitText(t, "✗")
	if text := s.text(); !strings.Contains(text, "500  212ms") || strings.Contains(text, "favicon") {
		t.Errorf("the list does not show the last valid filter:\n%s", text)
	}
	s.keys("\x1b")
	s.waitText(t, "favicon")
	if strings.Contains(s.text(), "shown") {
		t.Errorf("esc left a filter:\n%s", s.text())
	}
}

func TestFilterCompletesWithTab(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("/meth\t")
	s.waitText(t, "/ method:")
	s.keys("DELETE\r")
	s.waitText(t, "1 of 13 shown")
}

func TestFilterLooksIntoBodies(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("/resp.body:42P01\r")
	s.waitText(t, "1 of 13 shown")
	s.waitText(t, "500")
}

func TestPauseCountsWhatWaits(t *testing.T) {
	s, e, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("p")
	s.waitText(t, "paused")
	x := demoList(frozen)[0]
	x.ID, x.Number, x.Path = "", 0, "/while-paused"
	e.add(x)
	s.waitText(t, "1 waiting")
	if strings.Contains(s.text(), "/while-paused") {
		t.Error("a paused list took a new request in")
	}
	s.keys("p")
	s.waitText(t, "/while-paused")
}

func TestQuitAsksWhileRequestsAreInFlight(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("q")
	s.waitText(t, "2 requests are in flight")
	s.keys("n")
	s.waitText(t, "enter open")
	s.keys("\x03")
	s.waitText(t, "2 requests are in flight")
	s.keys("\x03")
	s.waitDone(t)
	if s.err != nil || s.sum.Seen != 13 {
		t.Errorf("Run = %+v, %v, want 13 seen and no error", s.sum, s.err)
	}
	s.restored(t)
}

func TestQuitAtOnceWithoutAny(t *testing.T) {
	s, _, _ := demo(t, 80, 24, none)
	s.waitText(t, "Nothing has called")
	s.keys("q")
	s.waitDone(t)
	s.restored(t)
}

func TestClearAsks(t *testing.T) {
	s, e, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("cn")
	s.waitText(t, "favicon")
	s.keys("cy")
	s.waitText(t, "The list is clear. New requests show up here.")
	if text := s.text(); strings.Contains(text, "Nothing has called") || !strings.Contains(text, "2 open") {
		t.Errorf("a cleared list does not go with what was seen:\n%s", text)
	}
	if e.forgot != 0 {
		t.Error("clearing the screen made the edge forget")
	}
	x := demoList(frozen)[12]
	x.ID, x.Number = "", 0
	e.add(x)
	s.waitText(t, "/webhooks/stripe")
	ws := demoList(frozen)[4]
	ws.State = inspector.Done
	e.add(ws)
	s.waitText(t, "1 open")
	if strings.Contains(s.text(), "/socket") {
		t.Errorf("what was cleared came back:\n%s", s.text())
	}
}

func TestCopyThroughTheTerminal(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("yu")
	s.waitText(t, "copied the URL")
	// base64 of https://acme.lrok.example/webhooks/stripe
	s.waitRaw(t, "\x1b]52;c;aHR0cHM6Ly9hY21lLmxyb2suZXhhbXBsZS93ZWJob29rcy9zdHJpcGU=\a")
	s.keys("yc")
	s.waitText(t, "secrets left out, S shows them")
}

func TestMouse(t *testing.T) {
	s, _, _ := demo(t, 120, 36)
	s.waitText(t, "favicon")
	s.keys("\x1b[<0;20;8M\x1b[<0;20;8m") // the fourth request of the list
	s.waitText(t, "#1276 POST")
	s.keys("\x1b[<0;81;5M\x1b[<0;81;5m") // the tab Response
	s.waitText(t, "gzip")
	s.keys("\x1b[<65;20;8M")
	s.waitText(t, "#1273")
	s.keys("M")
	s.waitText(t, "mouse released")
}

func TestMultiTunnelTabs(t *testing.T) {
	s, _, _ := demo(t, 120, 36, func(c *Config, st *agent.Status, _ *demoEdge) {
		c.Tunnels = append(c.Tunnels[:1:1], Tunnel{Name: "docs", Local: "http://localhost:8080"})
		st.Welcome.Grants = append(st.Welcome.Grants[:1:1], st.Welcome.Grants[0])
		st.Welcome.Grants[1].Name, st.Welcome.Grants[1].URL = "docs", "https://docs.lrok.example"
	})
	s.waitText(t, "[2] http docs")
	s.keys("2")
	s.waitText(t, "https://docs.lrok.example")
	s.waitText(t, "Nothing has called it yet")
	s.keys("1")
	s.waitText(t, "favicon")
}

func TestReconnectTellsTheGap(t *testing.T) {
	s, _, a := demo(t, 120, 36)
	s.waitText(t, "favicon")
	st := onlineStatus(frozen)
	down := st
	down.State, down.Attempt, down.OfflineSince, down.Err = agent.Reconnecting, 2, frozen.Add(-22*time.Second), errors.New("i/o timeout")
	a.set(down)
	s.waitText(t, "reconnecting")
	s.waitText(t, "URL kept")
	a.set(st)
	s.waitText(t, "online again after 22s")
	s.waitText(t, "offline 14:02:09-14:02:31 (22s)")
	s.keys("L")
	s.waitText(t, "attempt 2: i/o timeout")
}

func TestContextEndsTheScreen(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	e := newDemoEdge(time.Now)
	e.add(demoList(frozen)[0])
	out := &syncBuffer{}
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, Config{API: e, Agent: newDemoAgent(onlineStatus(frozen)), Tunnels: demoAsked, Input: strings.NewReader(""), Output: out, Width: 80, Height: 24, Environ: []string{"TERM=xterm", "LANG=C.UTF-8"}})
		done <- err
	}()
	out.wait(t, "sessions")
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Run did not return")
	}
	if !strings.Contains(out.String(), "\x1b[?1049l") {
		t.Error("the alternate screen was not left")
	}
}

// brokenAPI falls over while it follows.
type brokenAPI struct{ API }

func (brokenAPI) Stream(context.Context, string, client.StreamOptions, func(inspector.Event) error) error {
	panic("a bug")
}

func TestPanicOfAFollowerRestoresTheTerminal(t *testing.T) {
	out := &syncBuffer{}
	defer func() {
		if r := recover(); r == nil || !strings.Contains(sprintf("%v", r), "a bug") {
			t.Errorf("Run panicked with %v, want the follower's panic", r)
		}
		if !strings.Contains(out.String(), "\x1b[?1049l") {
			t.Error("the alternate screen was not left")
		}
	}()
	r, w := io.Pipe()
	defer w.Close()
	_, _ = Run(context.Background(), Config{
		API: brokenAPI{newDemoEdge(time.Now)}, Agent: newDemoAgent(onlineStatus(frozen)), Tunnels: demoAsked,
		Input: r, Output: out, Width: 80, Height: 24, Environ: []string{"TERM=xterm", "LANG=C.UTF-8"},
	})
}

func TestHomeOpensATunnel(t *testing.T) {
	s, _, _ := demo(t, 120, 36, func(c *Config, _ *agent.Status, e *demoEdge) {
		c.Tunnels, c.Agent = nil, noAgent{}
		e.tunnels = demoTunnels
	})
	s.waitText(t, "docs")
	s.keys("\r")
	s.waitText(t, "favicon")
	s.keys("\x1b")
	s.waitText(t, "your tunnels")
}

func TestTestRequest(t *testing.T) {
	var edge *demoEdge
	s, _, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, e *demoEdge) {
		e.list, edge = nil, e
		c.SendTest = func(_ context.Context, target Tunnel) error {
			x := demoList(frozen)[0]
			x.ID, x.Number, x.Path = "", 0, "/test-of-"+target.Name
			edge.add(x)
			return nil
		}
	})
	s.waitText(t, "send a test request")
	s.keys("t")
	s.waitText(t, "/test-of-acme")
	s.waitText(t, "test request sent")
}

// Attached to a tunnel that runs elsewhere there is no agent, and nothing to ask
// before leaving.
func TestAttached(t *testing.T) {
	s, _, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, _ *demoEdge) {
		c.Agent = noAgent{}
		c.Tunnels = []Tunnel{{Name: "acme", URL: "https://acme.lrok.example", Local: "http://localhost:3000"}}
	})
	s.waitText(t, "favicon")
	s.waitText(t, "attached")
	s.keys("q")
	s.waitDone(t)
}

func TestNewestAtTheBottom(t *testing.T) {
	m := modelWith(t, 80, 24, 100)
	m.key("v")
	rows, _ := m.draw()
	l := m.tab().list
	if at := l.at(m.tab().captures, l.offset+m.listRows()-1); at.Number != 100 || l.cursor != 99 {
		t.Errorf("the last row shows #%d and the cursor is on row %d, want #100 on row 99:\n%s", at.Number, l.cursor, strings.Join(rows, "\n"))
	}
	m.key("k")
	if m.tab().list.follow || m.selected().Number != 99 {
		t.Errorf("k selects #%d (follow %v), want #99", m.selected().Number, m.tab().list.follow)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	s, _, _ := demo(t, 120, 36)
	s.waitText(t, "favicon")
	s.keys("jjjjj")
	s.waitText(t, "#1274 POST")
	s.keys("\r")
	for range tabCount {
		s.still(t)
		if strings.Contains(s.text(), "5257a869e7ec") {
			t.Errorf("the signature is on show:\n%s", s.text())
		}
		s.keys("]")
	}
	s.keys("[S")
	s.waitText(t, "5257a869e7ec")
}

func TestGoneTunnelIsTold(t *testing.T) {
	m := modelWith(t, 80, 24, 3)
	m.ended = map[string]string{"acme": "the tunnel was closed"}
	rows, _ := m.draw()
	if all := strings.Join(rows, "\n"); !strings.Contains(all, "the tunnel was closed") {
		t.Errorf("the screen does not tell:\n%s", all)
	}
}

// Writers go on while a person is in the editor, and what came in meanwhile is
// there afterwards.
func TestOpenEditorHoldsNothingUp(t *testing.T) {
	dir := t.TempDir()
	environ := script(t, `touch `+dir+`/open; while [ ! -e `+dir+`/close ]; do sleep 0.05; done`)
	s, e := onTerminal(t, environ)
	s.waitText(t, "favicon")
	s.keys("e")
	s.wait(t, func() bool { _, err := os.Stat(dir + "/open"); return err == nil }, "an open editor")
	x := demoList(frozen)[0]
	began := time.Now()
	for range 2000 {
		x.ID, x.Number, x.Path = "", 0, "/meanwhile"
		e.add(x)
	}
	e.mu.Lock()
	version := e.version
	e.mu.Unlock()
	s.wait(t, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.taken == version }, "the stream read to its end")
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("with an open editor the stream took %v", d)
	}
	if strings.Contains(s.text(), "/meanwhile") {
		t.Error("the screen drew over the editor")
	}
	if err := os.WriteFile(dir+"/close", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.waitText(t, "unchanged: nothing was sent")
	s.waitText(t, "2,013 seen · 100 kept")
}

// A large body shows at once, and then whole; one that is too large to format
// shows as it came.
func TestHugeBodies(t *testing.T) {
	big := func(s string) func(*Config, *agent.Status, *demoEdge) {
		return func(_ *Config, _ *agent.Status, e *demoEdge) {
			x := demoList(frozen)[0]
			x.ID, x.Number = "", 0
			x.Request = message1("Content-Type", "application/json", s)
			e.add(x)
		}
	}
	s, _, _ := demo(t, 120, 36, big(largeJSON(5<<20)))
	s.waitText(t, "Ada Lovelace")
	s.keys("\r")
	s.waitText(t, "line 1 of 738,435")
	s.keys("G")
	s.waitText(t, "null")
	s.keys("zM")
	s.waitText(t, "73,844 items")
	s.waitText(t, "▾ {")

	s, _, _ = demo(t, 120, 36, big(strings.Repeat("x", 9<<20)), func(_ *Config, _ *agent.Status, e *demoEdge) {
		e.list[len(e.list)-1].Request.Body.Size = 42 << 20
		e.list[len(e.list)-1].Request.Body.Missing = "limit"
	})
	s.waitText(t, "captured 9.0 MiB of 42 MiB (edge's --capture-body)")
	s.waitText(t, "xxxxxxxxxxxx")
}

// An exchange that is still open gets its body anew when more of it came.
func TestLiveBody(t *testing.T) {
	s, e, _ := demo(t, 120, 36, func(c *Config, _ *agent.Status, _ *demoEdge) { c.Now = time.Now })
	s.waitText(t, "favicon")
	s.keys(strings.Repeat("j", 7))
	s.waitText(t, "#1272 GET /events")
	s.keys("\r")
	s.waitText(t, `{"n":2}`)
	x := demoList(frozen)[5]
	x.Response.Body.Data = append(x.Response.Body.Data, "id: 3\nevent: tick\ndata: {\"n\":3}\n\n"...)
	x.Response.Body.Size = int64(len(x.Response.Body.Data))
	x.Response.Body.Captured = x.Response.Body.Size
	e.add(x)
	s.waitText(t, `{"n":3}`)
}
