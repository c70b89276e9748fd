//go:build linux || darwin

package tunnel

import (
	"net"
	"syscall"
)

func setTCPOption(conn net.Conn, set func(fd uintptr)) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		// An option that the kernel does not know costs fairness, not function.
		raw.Control(set)
	}
}
