package tui

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

func TestReason(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7000}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"connection refused":                       fmt.Errorf("connect: %w", dial),
		"no address is known of edge.lrok.example": &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "edge.lrok.example"}},
		"i/o timeout":                              &net.OpError{Op: "read", Net: "tcp", Err: errors.New("i/o timeout")},
		"the edge is busy":                         errors.New("the edge is busy"),
	} {
		if got := reason(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

// Why the edge no longer has a request depends on what happened to the edge.
func TestWhyARequestIsGone(t *testing.T) {
	c := newCaptures()
	put := func(id string, n uint64) *capture {
		c.put(inspector.Exchange{ID: id, Number: n, State: inspector.Done}, frozen)
		return c.byID[id]
	}
	old := put("a", 1)
	for n := range uint64(3) {
		put(fmt.Sprint("b", n), n+2)
	}
	if c.restarted(old, 100) {
		t.Error("the edge was never out of sight")
	}
	c.lose(frozen)
	if !c.restarted(old, 100) {
		t.Error("the edge has had few others, and was out of sight")
	}
	if c.restarted(old, 3) {
		t.Error("the edge keeps 3, and 4 came")
	}
	anew := put("c", 1)
	if !c.restarted(old, 3) || c.restarted(anew, 3) && c.base == 0 {
		t.Error("the edge counts anew")
	}
}
