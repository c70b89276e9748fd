//go:build unix

package crash

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/creack/pty"
)

func TestMain(m *testing.M) {
	switch end := os.Getenv("LROK_CRASH_TEST"); {
	case Watcher():
	case end != "":
		screen(end)
	default:
		os.Exit(m.Run())
	}
}

const sets = "\x1b[?1049h\x1b[?25l\x1b[?1002h\x1b[?1006hthe screen"

// screen is a program that draws on its terminal and comes to one of many ends.
func screen(end string) {
	stop := Watch(os.Stdout, os.Stderr)
	was, err := term.MakeRaw(os.Stdin.Fd())
	if err != nil {
		panic(err)
	}
	fmt.Print(sets)
	Drawing(true)
	leave := func() {
		fmt.Print("\x1b[?1002l\x1b[?1006l\x1b[?25h\x1b[?1049l")
		_ = term.Restore(os.Stdin.Fd(), was)
		Drawing(false)
	}
	kill := func(s syscall.Signal) {
		_ = syscall.Kill(os.Getpid(), s)
		select {}
	}
	fmt.Fprintln(os.Stderr, "a stray line")
	switch end {
	case "panic":
		go func() { panic("a bug in a library") }()
		select {}
	case "guarded panic":
		Before(leave)
		go func() {
			defer Guard()
			panic("a bug of ours")
		}()
		select {}
	case "throw": // which nothing recovers from
		new(sync.Mutex).Unlock()
	case "stack overflow":
		debug.SetMaxStack(1 << 20)
		var f func(int) int
		f = func(n int) int { return f(n+1) + 1 }
		fmt.Print(f(0))
	case "SIGKILL":
		kill(syscall.SIGKILL)
	case "killed in a shell's hands":
		leave()
		kill(syscall.SIGKILL)
	case "in order":
		leave()
		stop()
		stop = Watch(os.Stdout, os.Stderr) // and a second screen
		Drawing(true)
		Drawing(false)
		stop()
		fmt.Fprintln(os.Stderr, "the last word")
	case "talkative":
		signal.Ignore(syscall.SIGPIPE)
		fmt.Fprint(os.Stderr, strings.Repeat("x", 1<<20)) // waits for nobody
		leave()
		stop()
		fmt.Fprintln(os.Stderr, "the last word")
	}
}

func TestWatch(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		end   string
		says  string
		taken int // how often the alternate screen is left
	}{
		{"panic", "panic: a bug in a library", 1},
		{"guarded panic", "panic: a bug of ours", 1},
		{"throw", "fatal error: sync: unlock of unlocked mutex", 1},
		{"stack overflow", "stack exceeds", 1},
		{"SIGKILL", "a stray line", 1},
		{"killed in a shell's hands", "a stray line", 1},
		{"in order", "the last word", 1},
		{"talkative", "the last word", 1},
	} {
		t.Run(tt.end, func(t *testing.T) {
			t.Parallel()
			far, near, err := pty.Open()
			if err != nil {
				t.Skipf("no pseudo terminal: %v", err)
			}
			was, err := term.GetState(near.Fd())
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var shown bytes.Buffer
			read := make(chan struct{})
			go func() {
				defer close(read)
				b := make([]byte, 4<<10)
				for {
					n, err := far.Read(b)
					mu.Lock()
					shown.Write(b[:n])
					mu.Unlock()
					if err != nil {
						return
					}
				}
			}()
			defer func() { _, _ = near.Close(), far.Close(); <-read }()
			until := func(what string, ok func(s string) bool) {
				t.Helper()
				for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
					mu.Lock()
					s := shown.String()
					mu.Unlock()
					if ok(s) {
						return
					}
					if time.Now().After(deadline) {
						t.Fatalf("it does not happen that %s:\n%q", what, s)
					}
				}
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), "LROK_CRASH_TEST="+tt.end, "GOTRACEBACK=single")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = near, near, near
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Run(); tt.says == "the last word" && err != nil {
				t.Errorf("it ended with %v", err)
			}
			const left = "\x1b[?1049l"
			until("the screen is left", func(s string) bool { return strings.Contains(s, left) })
			until("it says "+tt.says, func(s string) bool {
				return strings.Contains(s[strings.Index(s, left):], tt.says)
			})
			until("the settings are what they were", func(string) bool {
				now, err := term.GetState(near.Fd())
				return err == nil && *now == *was
			})
			_, _ = near.WriteString("(the end)")
			var s string
			until("the terminal shows the end", func(now string) bool { s = now; return strings.Contains(s, "(the end)") })
			if n := strings.Count(s, left); n != tt.taken {
				t.Errorf("the alternate screen was left %d times, want %d:\n%q", n, tt.taken, s)
			}
			for _, mode := range []string{"?25h", "?1002l", "?1006l"} {
				if !strings.Contains(s, "\x1b["+mode) {
					t.Errorf("there is no %s in\n%q", mode, s)
				}
			}
			if before, _, _ := strings.Cut(s, left); strings.Contains(before, "stray") || strings.Contains(before, "panic") {
				t.Errorf("something was written on the screen:\n%q", before)
			}
		})
	}
}
