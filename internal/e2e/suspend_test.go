//go:build unix

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// shellOf starts a shell with job control in a terminal, and a tunnel in it.
func shellOf(t *testing.T, e *edgeProcess) *window {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	lrok, err := lrokBinary()
	if err != nil {
		t.Fatal(err)
	}
	local := service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })
	env := append(e.reach(""), "TERM=xterm-256color", "LANG=C.UTF-8", "PS1=(ready) ", "HISTFILE=")
	w := openWindowBy(t, bash, env, "--norc", "--noprofile", "--noediting", "-i")
	w.sees(0, "(ready) ")
	w.keys(lrok + " http " + local + " --hint shop\r")
	w.sees(0, "https://shop.tun.test")
	e.answers(t, "/seen", "hello")
	w.lists("/seen")
	return w
}

// job is the process that the shell has started.
func (w *window) job() int {
	w.t.Helper()
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(w.cmd.Process.Pid)).Output()
	if err != nil {
		w.t.Skipf("pgrep: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		w.t.Fatalf("pgrep said %q", out)
	}
	return pid
}

// prompts waits until the shell prompts again after text, and returns how much has
// been drawn by then.
func (w *window) prompts(n int, text string) int {
	w.t.Helper()
	var all string
	eventually(w.t, fmt.Sprintf("the shell says %q and prompts", text), func() bool {
		all = w.shown()
		_, after, ok := strings.Cut(all[n:], text)
		return ok && strings.Contains(after, "(ready) ")
	})
	return len(all)
}

// set checks whether the modes of a screen are set after what was drawn so far.
func (w *window) set(want bool) {
	w.t.Helper()
	s := w.shown()
	for _, m := range modes {
		set, reset := strings.LastIndex(s, m.set), strings.LastIndex(s, m.reset)
		switch m.name {
		case "the alternate screen", "the hidden cursor", "mouse drags", "mouse reports", "focus reports", "bracketed paste":
			if (set > reset) != want {
				w.t.Errorf("%s is set: %t, want %t", m.name, set > reset, want)
			}
		}
	}
}

func TestSuspend(t *testing.T) {
	e := serve(t, nil)
	for _, tt := range []struct {
		name string
		stop func(w *window)
	}{
		{"ctrl-z", func(w *window) { w.keys("\x1a") }},
		{"SIGTSTP", func(w *window) { _ = syscall.Kill(w.job(), syscall.SIGTSTP) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := shellOf(t, e)
			for i := range 2 {
				n := len(w.shown())
				tt.stop(w)
				w.prompts(n, "Stopped")
				w.set(false)
				w.keys("echo as=$((40+2))=usual\r")
				n = w.sees(n, "as=42=usual")
				if i == 1 { // in the background the tunnel works
					w.keys("bg\r")
					n = w.prompts(n, "")
					for j := range 3 {
						e.answers(t, fmt.Sprintf("/behind/%d", j), "hello")
					}
					w.keys("echo and=$((40+3))=now\r")
					n = w.sees(n, "and=43=now")
					w.set(false)
				}
				w.keys("fg\r")
				w.sees(n, modes[0].set)
				after := fmt.Sprintf("/after/%d", i)
				e.answers(t, after, "hello")
				w.lists(after)
				w.set(true)
				if i == 1 && !strings.Contains(picture(w.shown()), "/behind/2") {
					t.Error("what came in meanwhile is not there")
				}
			}
			n := len(w.shown())
			w.keys("q")
			w.prompts(n, "again: ")
			w.set(false)
			w.keys("exit\r")
			if code := w.wait(); code != 0 {
				t.Errorf("the shell ends with %d, want 0", code)
			}
			w.restored(t)
		})
	}
}

// Whatever a shell does to a job that has stopped or works in the background, its
// terminal stays as it is.
func TestSuspendedEnds(t *testing.T) {
	e := serve(t, nil)
	for _, tt := range []struct {
		name, ends string
		back       bool
	}{
		{"killed when stopped", "kill -9 %1", false},
		{"ended when stopped", "kill %1", false},
		{"ended in the background", "kill %1", true},
		{"killed in the background", "kill -9 %1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := shellOf(t, e)
			pid := w.job()
			n := len(w.shown())
			w.keys("\x1a")
			n = w.prompts(n, "Stopped")
			if tt.back {
				w.keys("bg\r")
				n = w.prompts(n, "")
			}
			w.keys(tt.ends + "\r")
			eventually(t, "the process is gone", func() bool { return syscall.Kill(pid, 0) != nil })
			w.keys("echo as=$((40+2))=usual\r")
			w.sees(n, "as=42=usual")
			w.set(false)
			if strings.Contains(tt.ends, "-9") && strings.Contains(w.shown()[n:], modes[0].reset) {
				t.Error("something was done to the shell's terminal")
			}
			w.keys("exit\r")
			w.wait()
			w.restored(t)
		})
	}
}
