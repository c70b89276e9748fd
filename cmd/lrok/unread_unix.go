//go:build unix

package main

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// unread waits until nobody reads any more what is written to w, and returns true
// then; false when ctx ends before, or when w is no pipe. Without it head -1 would
// have its line, and lrok would find out with the next one only.
func unread(ctx context.Context, w io.Writer) bool {
	pipe, ok := w.(*os.File)
	if !ok {
		return false
	}
	if info, err := pipe.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return false
	}
	wake, end, err := os.Pipe()
	if err != nil {
		return false // the next line tells
	}
	defer func() { _, _ = wake.Close(), end.Close() }()
	defer context.AfterFunc(ctx, func() { _ = end.Close() })()
	fds := []unix.PollFd{
		{Fd: int32(pipe.Fd()), Events: unix.POLLHUP}, // macOS looks for nothing that it is not asked for
		{Fd: int32(wake.Fd()), Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return false
		}
		if ctx.Err() != nil {
			return false
		}
		if fds[0].Revents != 0 {
			return true
		}
	}
}
