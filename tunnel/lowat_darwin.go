package tunnel

import (
	"net"
	"syscall"
)

// limitUnsent sets TCP_NOTSENT_LOWAT: what waits for the line waits in front of
// our queue, where streams take turns, and not in the kernel's.
func limitUnsent(conn net.Conn, bytes int) {
	const tcpNotsentLowat = 0x201
	setTCPOption(conn, func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotsentLowat, bytes)
	})
}
