package forward

import (
	"net"
	"syscall"
)

// rawConn says that no connection can be waited for: reads complete by
// themselves here.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (c *conn) awaitRaw() (int, error) { return c.nc.Read(c.buf) }
