//go:build unix

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// inherited opens a descriptor that lrok was started with. All that Go opens by
// itself is closed for other programs, which tells the two apart.
func inherited(fd int) (*os.File, error) {
	flags, err := unix.FcntlInt(uintptr(max(fd, 0)), unix.F_GETFD, 0)
	if fd < 3 || err != nil || flags&unix.FD_CLOEXEC != 0 {
		return nil, errors.New("no such descriptor was opened for lrok; in a shell: lrok http 3000 --ready-fd 3 3>file")
	}
	unix.CloseOnExec(fd) // an editor has nothing to do with it
	return os.NewFile(uintptr(fd), "ready"), nil
}
