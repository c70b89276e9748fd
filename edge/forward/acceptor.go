package forward

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"time"
)

// How long an acceptor waits after a failure, at first and at most.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// An acceptor accepts connections until its listener is closed, whatever else
// fails. While the process is out of file descriptors it makes room, and where
// there is none to make it closes new connections at once, so that their clients
// do not wait for nothing. After other failures it tries again, less and less
// often.
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
	pause := minPause
	for {
		if a.reserve == nil {
			a.reserve, _ = os.Open(os.DevNull)
		}
		nc, err := a.Accept()
		var ne net.Error
		switch {
		case err == nil:
			return nc, nil
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case isTooManyFiles(err):
			a.warn("out of file descriptors: idle connections make room", err)
		case errors.As(err, &ne) && ne.Timeout():
			time.Sleep(5 * time.Millisecond)
			continue
		default:
			a.warn("accepting connections fails: trying again", err)
			time.Sleep(pause)
			pause = min(2*pause, maxPause)
			continue
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

// warn logs once in a while.
func (a *acceptor) warn(what string, err error) {
	if now := time.Now(); now.Sub(a.warned) > time.Minute {
		a.warned = now
		a.log.Warn(what, "address", a.Addr().String(), "err", err)
	}
}

// close gives the reserve back.
func (a *acceptor) close() {
	if a.reserve != nil {
		_ = a.reserve.Close()
		a.reserve = nil
	}
}
