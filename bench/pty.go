package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// A terminal is the far side of a pty: it reads what a screen draws and answers
// nothing, so that a program that waits for an answer of its terminal is found out.
type terminal struct {
	far, near *os.File

	mu    sync.Mutex
	head  []byte        // the beginning of what was drawn
	since []byte        // what was drawn since forget
	at    time.Time     // when the last of it was
	more  chan struct{} // closed when there is more
	still sync.Mutex    // held while nothing is read
}

// altScreen is what a program writes that takes the whole screen.
var altScreen = []byte("\x1b[?1049h")

func newTerminal() (*terminal, error) {
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	ioctl := func(call uintptr, arg unsafe.Pointer) error {
		if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, far.Fd(), call, uintptr(arg)); no != 0 {
			return no
		}
		return nil
	}
	var unlock, n int32
	size := [4]uint16{40, 120}
	if err = ioctl(syscall.TIOCSPTLCK, unsafe.Pointer(&unlock)); err == nil {
		if err = ioctl(syscall.TIOCGPTN, unsafe.Pointer(&n)); err == nil {
			err = ioctl(syscall.TIOCSWINSZ, unsafe.Pointer(&size))
		}
	}
	if err != nil {
		far.Close()
		return nil, err
	}
	near, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		far.Close()
		return nil, err
	}
	t := &terminal{far: far, near: near, more: make(chan struct{})}
	go t.read()
	return t, nil
}

func (t *terminal) read() {
	buf := make([]byte, 16<<10)
	for {
		n, err := t.far.Read(buf)
		t.still.Lock()
		t.mu.Lock()
		if len(t.head) < 64<<10 {
			t.head = append(t.head, buf[:n]...)
		}
		t.since, t.at = append(t.since, buf[:n]...), time.Now()
		close(t.more)
		t.more = make(chan struct{})
		t.mu.Unlock()
		t.still.Unlock()
		if err != nil {
			return
		}
	}
}

// drawn reports whether a program has taken the screen.
func (t *terminal) drawn() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Contains(t.head, altScreen)
}

// forget makes since begin anew.
func (t *terminal) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = nil
}

// drawnSince is how much was drawn since forget.
func (t *terminal) drawnSince() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.since)
}

// freeze makes the terminal take nothing more, as one does whose window hangs.
func (t *terminal) freeze(yes bool) {
	if yes {
		t.still.Lock()
	} else {
		t.still.Unlock()
	}
}

// await waits until ok holds of what was drawn, and returns how long after t0
// that was.
func (t *terminal) await(t0 time.Time, limit time.Duration, ok func(drawn []byte) bool) (time.Duration, error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		t.mu.Lock()
		drawn, at, more := t.since, t.at, t.more
		t.mu.Unlock()
		if ok(drawn) {
			return at.Sub(t0), nil
		}
		select {
		case <-more:
		case <-timeout.C:
			return 0, fmt.Errorf("not drawn in %v; the last: %.300q", limit, drawn[max(len(drawn)-300, 0):])
		}
	}
}
