//go:build unix

package crash

import (
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lrok-dev/lrok/internal/trim"
)

// watcherName is what the watcher is called, in lists of processes as well.
const watcherName = "lrok: puts the terminal right"

// takesBack ends every mode that a screen may have set, the alternate screen last.
const takesBack = "\x1b[?2026l" + // what is drawn shows at once
	"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l" + // the mouse
	"\x1b[?1004l\x1b[?2004l\x1b[?2027l" + // focus, paste, clusters
	"\x1b[>4m\x1b[<1u" + // keys
	"\x1b[m\x1b[?7h\x1b]2;\x07\x1b[?25h\x1b[?1049l"

// Watch starts the watcher for a screen on terminal, until the function that it
// returns is called. Until then this process writes nothing on a terminal's
// standard error, where it would ruin the screen: the watcher does, afterwards.
// Where it cannot be started everything is as it was.
//
// The program's main calls [Watcher] first of all.
func Watch(terminal, stderr *os.File) (stop func()) {
	stop = func() {}
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), getTermios)
	if err != nil {
		return stop
	}
	self, err := os.Executable()
	if err != nil {
		return stop
	}
	words, pipe, err := os.Pipe()
	if err != nil {
		return stop
	}
	defer func() { _ = words.Close() }()
	cmd := exec.Command(self)
	cmd.Args = []string{watcherName}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout = words, terminal
	// In a session of its own it gets none of the signals of the terminal's, and
	// may still set what the terminal is set to.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	giveBack := redirect(cmd, stderr)
	if err := cmd.Start(); err != nil {
		giveBack()
		_ = pipe.Close()
		return stop
	}
	_ = binary.Write(pipe, binary.NativeEndian, settings)
	_ = debug.SetCrashOutput(pipe, debug.CrashOptions{})
	watching.Lock()
	watching.pipe = pipe
	watching.Unlock()
	return func() {
		giveBack()
		_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
		watching.Lock()
		watching.pipe = nil
		watching.Unlock()
		_, _ = pipe.Write([]byte{ended})
		_ = pipe.Close()
		t := time.AfterFunc(time.Second, func() { _ = cmd.Process.Kill() }) // a terminal that takes nothing
		_ = cmd.Wait()
		t.Stop()
	}
}

// redirect has what is written on stderr, when that is a terminal, kept in a pipe
// that cmd reads at the end. What does not fit is dropped: nobody may wait there.
func redirect(cmd *exec.Cmd, stderr *os.File) (giveBack func()) {
	giveBack = func() {}
	fd := int(stderr.Fd())
	if _, err := unix.IoctlGetTermios(fd, getTermios); err != nil {
		return giveBack // a file has it all at once, and ruins nothing
	}
	said, say, err := os.Pipe()
	if err != nil {
		return giveBack
	}
	was, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		_, _ = said.Close(), say.Close()
		return giveBack
	}
	cmd.Stderr = os.NewFile(uintptr(was), stderr.Name())
	cmd.ExtraFiles = []*os.File{said}
	into := int(say.Fd()) // which also has it wait
	_ = syscall.SetNonblock(into, true)
	_ = unix.Dup2(into, fd)
	_ = say.Close()
	return func() {
		_ = unix.Dup2(was, fd)
		_ = cmd.Stderr.(*os.File).Close()
		_ = said.Close()
	}
}

// Watcher is the watcher's whole life, and reports whether this process is one.
func Watcher() bool {
	if len(os.Args) != 1 || os.Args[0] != watcherName {
		return false
	}
	var settings unix.Termios
	if err := binary.Read(os.Stdin, binary.NativeEndian, &settings); err != nil {
		return true
	}
	// Of a whole program little is needed. Giving back the rest takes more than all
	// of the start, and whoever this watches over is starting now.
	time.AfterFunc(2*time.Second, trim.Memory)
	drawn, crashed := false, false
	putRight := func() {
		if !drawn {
			return
		}
		drawn = false
		fd := int(os.Stdout.Fd())
		// Where output is processed again, somebody else, such as a shell, has the
		// terminal already and has set it as it likes.
		if now, err := unix.IoctlGetTermios(fd, getTermios); err == nil && now.Oflag&unix.OPOST == 0 {
			_ = unix.IoctlSetTermios(fd, setTermios, &settings)
		}
		_, _ = io.WriteString(os.Stdout, takesBack)
	}
	buf := make([]byte, 4<<10)
	for {
		n, err := os.Stdin.Read(buf)
		for _, b := range buf[:n] {
			switch {
			case crashed:
			case b == drawing, b == away:
				drawn = b == drawing
			case b == ended:
				drawn = false
			default: // its last words
				crashed = true
				putRight()
			}
		}
		if err != nil {
			break
		}
	}
	putRight() // it went without a word
	const said = 3
	if err := syscall.SetNonblock(said, true); err != nil {
		return true
	}
	for {
		n, err := syscall.Read(said, buf)
		if n <= 0 || err != nil {
			return true
		}
		_, _ = os.Stderr.Write(buf[:n])
	}
}
