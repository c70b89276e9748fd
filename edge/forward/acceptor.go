package forward

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"time"
)

// An acceptor accepts connections, also while the process is out of file
// descriptors: then it makes room, and where there is none to make it closes
// new connections at once, so that their clients do not wait for nothing.
type acceptor struct {
	net.Listener
	log  *slog.Logger
	shed func() bool // closes an idle connection

	// reserve is a descriptor that is there to be closed: without one, not even
	// a connection that is to be turned away could be accepted.
	reserve *os.File
	warned  time.Time
}

// accept returns the next connection that can be served.
func (a *acceptor) accept() (net.Conn, error) {
	for {
		if a.reserve == nil {
			a.reserve, _ = os.Open(os.DevNull)
		}
		nc, err := a.Accept()
		var ne net.Error
		switch {
		case err == nil:
			return nc, nil
		case isTooManyFiles(err):
			if now := time.Now(); now.Sub(a.warned) > time.Minute {
				a.warned = now
				a.log.Warn("out of file descriptors: idle connections make room", "err", err)
			}
		case errors.As(err, &ne) && ne.Timeout():
			time.Sleep(5 * time.Millisecond)
			continue
		default:
			return nil, err
		}
		if a.shed() || a.reserve == nil {
			time.Sleep(5 * time.Millisecond) // until it is gone
			continue
		}
		a.close()
		if nc, err = a.Accept(); err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if a.reserve, err = os.Open(os.DevNull); err == nil {
			return nc, nil // there is room again
		}
		_ = nc.Close()
	}
}

// close gives the reserve back.
func (a *acceptor) close() {
	if a.reserve != nil {
		_ = a.reserve.Close()
		a.reserve = nil
	}
}
