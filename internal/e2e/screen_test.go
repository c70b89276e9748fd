//go:build unix

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// The screen of the real binary on a real terminal: however it ends, the terminal
// is as it was.

// A window is a terminal with a lrok in it.
type window struct {
	*process
	far  *os.File
	near *os.File // held open, so that what was set on the terminal can be read at the end
	was  *term.State

	mu    sync.Mutex
	drawn bytes.Buffer
}

// openWindow starts lrok in a terminal of its own.
func openWindow(t testing.TB, env []string, args ...string) *window {
	t.Helper()
	path, err := lrokBinary()
	if err != nil {
		t.Fatal(err)
	}
	return openWindowBy(t, path, append([]string{"TERM=xterm-256color", "LANG=C.UTF-8"}, env...), args...)
}

func openWindowBy(t testing.TB, path string, env []string, args ...string) *window {
	t.Helper()
	far, near, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	if err := pty.Setsize(far, &pty.Winsize{Cols: 120, Rows: 36}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	w := &window{process: &process{t: t, args: args, stdout: newOutput(done), stderr: newOutput(done), done: done}, far: far, near: near}
	if w.was, err = term.GetState(near.Fd()); err != nil {
		t.Fatal(err)
	}
	w.cmd = exec.Command(path, args...)
	w.cmd.Env = append(cleanEnv(t), env...)
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = near, near, near
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = w.cmd.Wait()
		close(done)
	}()
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		buf := make([]byte, 16<<10)
		for {
			n, err := far.Read(buf)
			w.mu.Lock()
			w.drawn.Write(buf[:n])
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		w.kill()
		_ = near.Close()
		_ = far.Close()
		<-reading
		if t.Failed() {
			t.Logf("the screen at the end:\n%s", picture(w.shown()))
		}
	})
	return w
}

// picture is the screen that stands, or stood last, on a terminal that was sent s.
func picture(s string) string {
	if left := strings.LastIndex(s, modes[0].reset); left > strings.LastIndex(s, modes[0].set) {
		s = s[:left] // the screen itself, not what came after
	}
	return normal(s)
}

// normal is what stands on a terminal that was sent s.
func normal(s string) string {
	em := vt.NewEmulator(120, 36)
	defer func() { _ = em.InputPipe().(io.Closer).Close() }()
	go func() { _, _ = io.Copy(io.Discard, em) }()
	_, _ = em.Write([]byte(s))
	return em.String()
}

func (w *window) shown() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drawn.String()
}

func (w *window) keys(s string) {
	w.t.Helper()
	if _, err := io.WriteString(w.far, s); err != nil {
		w.t.Fatal(err)
	}
}

// sees waits until text was drawn after the first n bytes, and returns how much
// has been drawn by then.
func (w *window) sees(n int, text string) int {
	w.t.Helper()
	var all string
	eventually(w.t, fmt.Sprintf("the screen shows %q", text), func() bool {
		all = w.shown()
		return len(all) > n && strings.Contains(all[n:], text)
	})
	return len(all)
}

// lists waits until the screen shows a request for path that has its answer, and
// none that has not: quitting would ask.
func (w *window) lists(path string) {
	w.t.Helper()
	eventually(w.t, "the screen lists "+path, func() bool {
		now := picture(w.shown())
		return !strings.Contains(now, "kept · ") && slices.ContainsFunc(strings.Split(now, "\n"), func(row string) bool {
			return strings.Contains(row, path+" ") && strings.Contains(row, " 200 ")
		})
	})
}

// modes are what a screen sets on a terminal, and what puts each back.
var modes = []struct{ name, set, reset string }{
	{"the alternate screen", "\x1b[?1049h", "\x1b[?1049l"},
	{"the hidden cursor", "\x1b[?25l", "\x1b[?25h"},
	{"mouse clicks", "\x1b[?1000h", "\x1b[?1000l"},
	{"mouse drags", "\x1b[?1002h", "\x1b[?1002l"},
	{"all mouse movements", "\x1b[?1003h", "\x1b[?1003l"},
	{"mouse reports", "\x1b[?1006h", "\x1b[?1006l"},
	{"focus reports", "\x1b[?1004h", "\x1b[?1004l"},
	{"bracketed paste", "\x1b[?2004h", "\x1b[?2004l"},
	{"clusters", "\x1b[?2027h", "\x1b[?2027l"},
	{"synchronised output", "\x1b[?2026h", "\x1b[?2026l"},
	{"keys with all modifiers", "\x1b[>4;2m", "\x1b[>4m"},
	{"keyboard flags", "\x1b[>1u", "\x1b[<1u"},
}

// all is everything that a lrok which has ended wrote.
func (w *window) all(t testing.TB) string {
	t.Helper()
	const end = "(the end)" // a word of our own follows it
	if _, err := io.WriteString(w.near, end); err != nil {
		t.Fatal(err)
	}
	w.sees(0, end)
	return w.shown()
}

// quiet checks that lrok has changed nothing about its terminal: no screen was
// opened, not even for a moment.
func (w *window) quiet(t testing.TB) {
	t.Helper()
	s := w.all(t)
	for _, m := range modes {
		if strings.Contains(s, m.set) {
			t.Errorf("%s was set", m.name)
		}
	}
	if strings.Contains(s, "\x1b[2J") {
		t.Error("the terminal was cleared")
	}
}

// restored checks that the terminal is as lrok found it.
func (w *window) restored(t testing.TB) {
	t.Helper()
	s := w.all(t)
	for _, m := range modes {
		set, reset := strings.LastIndex(s, m.set), strings.LastIndex(s, m.reset)
		if set >= 0 && reset < set {
			t.Errorf("%s: %q was not taken back with %q", m.name, m.set, m.reset)
		}
	}
	for _, must := range modes[:2] {
		if !strings.Contains(s, must.set) {
			t.Errorf("%s was never set: this was no screen", must.name)
		}
	}
	now, err := term.GetState(w.near.Fd())
	if err != nil {
		t.Fatal(err)
	}
	if *now != *w.was {
		t.Errorf("the terminal's own settings are %+v, were %+v", *now, *w.was)
	}
}

// drafts are the files that edits have left behind.
func drafts(t testing.TB, dir string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "lrok-edit-*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// inspected is a window with a tunnel to a service, and one request in it.
func inspected(t testing.TB, e *edgeProcess, env ...string) *window {
	t.Helper()
	local := service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })
	w := openWindow(t, append(e.reach(""), env...), "http", local, "--hint", "shop")
	w.sees(0, "https://shop.tun.test")
	e.answers(t, "/seen", "hello")
	w.lists("/seen")
	return w
}

func TestScreenRestoresTheTerminal(t *testing.T) {
	e := serve(t, nil)
	signals := func(s syscall.Signal) func(testing.TB, *window) {
		return func(t testing.TB, w *window) {
			if err := w.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	types := func(keys string) func(testing.TB, *window) {
		return func(_ testing.TB, w *window) { w.keys(keys) }
	}
	for _, tt := range []struct {
		name string
		end  func(testing.TB, *window)
		code int
	}{
		{"q", types("q"), 0},
		{"ctrl-c", types("\x03"), 0},
		{"q in a detail", types("\rq"), 0},
		{"ctrl-c in the filter", types("/stat\x03"), 0},
		{"ctrl-c in the help", types("?\x03\x03"), 0},
		{"SIGINT", signals(syscall.SIGINT), 0},
		{"SIGTERM", signals(syscall.SIGTERM), 0},
		{"SIGHUP", signals(syscall.SIGHUP), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := inspected(t, e)
			tt.end(t, w)
			if code := w.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			w.restored(t)
			if s := w.shown(); !strings.Contains(s[strings.LastIndex(s, "\x1b[?1049l"):], "https://shop.tun.test") {
				t.Error("the address does not stand on the terminal afterwards")
			}
		})
	}
}

// What ends lrok without a chance to do anything about it leaves the terminal as it
// was all the same, and what Go's runtime said of it is there to be read.
func TestScreenRestoresTheTerminalOfADeadProcess(t *testing.T) {
	e := serve(t, nil)
	for _, tt := range []struct {
		signal syscall.Signal
		says   string
	}{
		{syscall.SIGKILL, ""},
		{syscall.SIGQUIT, "SIGQUIT: quit"},
		{syscall.SIGSEGV, "SIGSEGV: segmentation violation"},
		{syscall.SIGABRT, "SIGABRT: abort"},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			w := inspected(t, e)
			if err := w.cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			w.wait()
			eventually(t, "the alternate screen is left", func() bool { return strings.Contains(w.shown(), modes[0].reset) })
			eventually(t, "the settings of the terminal are those of before", func() bool {
				now, err := term.GetState(w.near.Fd())
				return err == nil && *now == *w.was
			})
			w.sees(strings.LastIndex(w.shown(), modes[0].reset), tt.says)
			w.restored(t)
		})
	}
}

// editor writes a shell script that stands for an editor; $1 is the file.
func editorOf(t testing.TB, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(file, []byte(script+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "EDITOR=sh " + file
}

// An editor may crash, be killed, or leave the terminal in a state of its own.
func TestScreenOutlivesItsEditor(t *testing.T) {
	e := serve(t, nil)
	for _, tt := range []struct{ name, editor, says string }{
		{"fails", "EDITOR=false", "nothing was sent"},
		{"is not there", "EDITOR=/nonexistent/editor", "nothing was sent"},
		{"is killed", "kill -9 $$", "nothing was sent"},
		{"crashes in raw mode", "stty raw -echo; printf '\\033[?1049h\\033[?1000h\\033[?25l'; kill -SEGV $$", "nothing was sent"},
		{"empties the file", `: >"$1"`, "nothing was sent"},
		{"removes the file", `rm "$1"`, "nothing was sent|editor: open"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			editor := tt.editor
			if !strings.HasPrefix(editor, "EDITOR=") {
				editor = editorOf(t, editor)
			}
			tmp := t.TempDir()
			w := inspected(t, e, editor, "TMPDIR="+tmp)
			n := len(w.shown())
			w.keys("e")
			var all string
			eventually(t, "the screen says "+tt.says, func() bool {
				all = w.shown()[n:]
				return slices.ContainsFunc(strings.Split(tt.says, "|"), func(s string) bool { return strings.Contains(all, s) })
			})
			// The screen is back and takes keys.
			after := "/after/" + strings.ReplaceAll(tt.name, " ", "-")
			e.answers(t, after, "hello")
			w.lists(after)
			w.keys("q")
			if code := w.wait(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			w.restored(t)
			if left := drafts(t, tmp); len(left) > 0 {
				t.Errorf("the edit left %v behind", left)
			}
		})
	}
}

// Whatever ends lrok while somebody edits, the request, with its secrets, does
// not stay on the disk.
func TestScreenEndsWhileEditing(t *testing.T) {
	e := serve(t, nil)
	hup := func(w *window) { _ = w.cmd.Process.Signal(syscall.SIGHUP) }
	term := func(w *window) { _ = w.cmd.Process.Signal(syscall.SIGTERM) }
	for _, tt := range []struct {
		name, editor string
		open         string // what shows that the time has come
		end          func(*window)
	}{
		{"SIGTERM in the editor", "echo the editor is open; exec sleep 60", "the editor is open", term},
		{"SIGHUP in the editor", "echo the editor is open; exec sleep 60", "the editor is open", hup},
		{"SIGTERM before it is sent", `sed -i 's/^GET/POST/' "$1"`, "send this to", term},
		{"ctrl-c before it is sent", `sed -i 's/^GET/POST/' "$1"`, "send this to", func(w *window) { w.keys("\x03\x03") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp := t.TempDir()
			w := inspected(t, e, editorOf(t, tt.editor), "TMPDIR="+tmp)
			n := len(w.shown())
			w.keys("e")
			w.sees(n, tt.open)
			tt.end(w)
			if code := w.wait(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			w.restored(t)
			if left := drafts(t, tmp); len(left) > 0 {
				t.Errorf("the edit left %v behind", left)
			}
		})
	}
}

// A terminal that is closed takes lrok along: the tunnel is closed in order, the
// files of an edit are gone, and nothing reads a dead terminal in circles.
func TestScreenEndsWithItsTerminal(t *testing.T) {
	e := serve(t, nil)
	for _, tt := range []struct {
		name  string
		there func(t *testing.T, w *window)
		how   func(w *window)
	}{
		{"closed", func(*testing.T, *window) {}, (*window).hangUp},
		{"closed while something is typed", func(_ *testing.T, w *window) {
			w.keys("/status:")
			w.sees(0, "status:")
		}, (*window).hangUp},
		{"closed with the editor open", func(_ *testing.T, w *window) {
			w.keys("e")
			w.sees(0, "the editor is open")
		}, (*window).hangUp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp := t.TempDir()
			w := inspected(t, e, editorOf(t, "echo the editor is open; exec sleep 60"), "TMPDIR="+tmp)
			tt.there(t, w)
			tt.how(w)
			w.wait()
			if took := w.cmd.ProcessState.UserTime() + w.cmd.ProcessState.SystemTime(); took > 5*time.Second {
				t.Errorf("lrok took %v of the processor", took)
			}
			eventually(t, "the tunnel is closed", func() bool {
				status, _, _, err := tryGet(e.http, "/after")
				return err == nil && status == http.StatusNotFound
			})
			if left := drafts(t, tmp); len(left) > 0 {
				t.Errorf("the edit left %v behind", left)
			}
		})
	}
}

// hangUp closes the terminal.
func (w *window) hangUp() {
	_ = w.far.Close()
	_, _ = io.WriteString(w.near, "\n") // lets go of who reads there
}

// Who has lrok outlive hangups, as nohup does, has it stay.
func TestHangupsMayBeIgnored(t *testing.T) {
	e := serve(t, nil)
	path, err := lrokBinary()
	if err != nil {
		t.Fatal(err)
	}
	local := service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })
	p := run(t, e.reach(""), "/bin/sh", "-c", `trap "" HUP INT; exec "$0" "$@"`, path, "http", local, "--plain", "--hint", "shop")
	p.stdout.await(t, "https://shop.tun.test")
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		e.answers(t, fmt.Sprintf("/still/%d", i), "hello")
	}
	if code := p.term(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// Once it stands the screen does not flash: neither requests that come in nor the
// way through its parts clear the terminal, switch screens or set its modes anew.
func TestScreenDoesNotFlash(t *testing.T) {
	e := serve(t, nil)
	w := inspected(t, e)
	steady := len(w.shown())
	if n := strings.Count(w.shown(), modes[0].set); n != 1 {
		t.Errorf("the alternate screen was entered %d times, want once", n)
	}
	for i := range 60 { // more than there are rows
		e.answers(t, fmt.Sprintf("/steady/%d", i), "hello")
	}
	w.lists("/steady/59")
	shows := ""
	for _, step := range []struct{ keys, shows string }{ // "-": the last one no longer
		{"jjjj", "/steady/55 "},
		{"\r]", "Response"},
		{"]]", "Timing"},
		{"h?", " Keys "},
		{"\x1b", "-"},
		{"/status:404", "of 61 shown"},
		{"\x1b", "-"},
		{"L", " Log "},
		{"\x1b", "-"},
		{strings.Repeat("\x1b[6~", 4), "/seen "},
		{"mkd", "A  #1"},
		{"\x1b", "-"},
	} {
		was := shows
		w.keys(step.keys)
		if shows = step.shows; shows != "-" {
			eventually(t, fmt.Sprintf("%q shows %q", step.keys, shows), func() bool { return strings.Contains(picture(w.shown()), shows) })
		} else {
			eventually(t, fmt.Sprintf("%q is gone", was), func() bool { return !strings.Contains(picture(w.shown()), was) })
		}
	}
	e.answers(t, "/steady/last", "hello")
	w.keys("g")
	w.lists("/steady/last")
	drawn := w.shown()[steady:]
	for _, never := range []string{"\x1b[2J", "\x1b[3J", "\x1bc", "\x1b[!p"} {
		if strings.Contains(drawn, never) {
			t.Errorf("%q clears the terminal", never)
		}
	}
	for _, m := range modes {
		if m.name == "the hidden cursor" || m.name == "synchronised output" {
			continue // where something is typed there is a cursor, and frames are drawn at once
		}
		if strings.Contains(drawn, m.set) || strings.Contains(drawn, m.reset) {
			t.Errorf("%s changed", m.name)
		}
	}
	// Erasing from somewhere to the end of the screen is clearing it when the rows
	// there are drawn again.
	for _, home := range []string{"\x1b[H\x1b[J", "\x1b[1;1H\x1b[J", "\x1b[H\x1b[0J"} {
		if strings.Contains(drawn, home) {
			t.Errorf("%q clears the terminal", home)
		}
	}
}

// An editor that is open, and a terminal that takes nothing, hold no request up.
func TestAwayScreenHoldsNothingUp(t *testing.T) {
	e := serve(t, nil)
	w := inspected(t, e, editorOf(t, "test -t 2 && echo the editor is open >&2; exec sleep 60"))
	n := len(w.shown())
	w.keys("e")
	w.sees(n, "the editor is open")
	for i := range 200 {
		e.answers(t, fmt.Sprintf("/while/%d", i), "hello")
	}
	if !w.running() {
		t.Error("lrok ended")
	}
}

// A screen that looks at a tunnel from elsewhere stays when the tunnel is closed,
// and shows it again when it is back.
func TestInspectedTunnelComesBack(t *testing.T) {
	e := serve(t, nil)
	local := service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })
	p := e.tunnel(t, "", local)
	w := openWindow(t, e.reach(""), "inspect", "shop")
	e.answers(t, "/before", "hello")
	w.lists("/before")
	n := len(w.shown())
	if code := p.term(); code != 0 {
		t.Errorf("lrok http ended with %d", code)
	}
	w.sees(n, "the tunnel was closed")
	e.tunnel(t, "", local)
	e.answers(t, "/after", "hello")
	w.lists("/after")
	if s := picture(w.shown()); !strings.Contains(s, "/before") || strings.Contains(s, "was closed") {
		t.Errorf("the screen is\n%s", s)
	}
	n = len(w.shown())
	w.keys("L")
	w.sees(n, "the tunnel is back")
}
