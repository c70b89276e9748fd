//go:build unix

package forward

import (
	"io"
	"net"
	"syscall"
)

// rawConn is nc for [conn.awaitRaw]. Only of a bare TCP connection are the bytes
// on the socket those that a Read returns.
func rawConn(nc net.Conn) syscall.RawConn {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

func (c *conn) awaitRaw() (n int, err error) {
	if c.tryRead == nil {
		c.tryRead = c.readSocket // made once, or each wait would cost memory
	}
	if err := c.raw.Read(c.tryRead); err != nil {
		return 0, err
	}
	if c.socketErr != nil {
		return 0, c.socketErr
	}
	if c.socketRead == 0 {
		return 0, io.EOF
	}
	return c.socketRead, nil
}

// readSocket reads what has arrived and reports false when that is nothing.
func (c *conn) readSocket(fd uintptr) (done bool) {
	pooled := readBufs.Get().(*[]byte)
	for {
		n, err := syscall.Read(int(fd), *pooled)
		if err == syscall.EINTR {
			continue
		}
		if n > 0 {
			c.acquire(pooled)
			c.socketRead, c.socketErr = n, nil
			return true
		}
		readBufs.Put(pooled)
		c.socketRead, c.socketErr = 0, err
		return err != syscall.EAGAIN
	}
}
