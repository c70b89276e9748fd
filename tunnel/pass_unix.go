//go:build unix

package tunnel

import (
	"net"
	"syscall"
)

// PassTo has whoever reads the link write frames to c by itself while a Read of
// s waits for them, when they are small and c takes them at once: the goroutine
// that reads s and writes to c need not be woken for each. It must be the only
// one that does either. What c does not take at once comes from Read, as
// everything does where c is no bare TCP or unix connection.
func (s *Stream) PassTo(c net.Conn) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	var p []byte
	var n int
	try := func(fd uintptr) bool {
		n, _ = syscall.Write(int(fd), p)
		return true
	}
	s.mux.passTo(func(b []byte) int {
		if s.in.Load() != nil { // some of what comes next comes another way
			return 0
		}
		p, n = b, 0
		_ = raw.Write(try)
		p, n = nil, max(n, 0)
		s.taken.Add(uint64(n))
		return n
	})
}
