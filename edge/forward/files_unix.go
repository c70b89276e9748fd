//go:build unix

package forward

import (
	"errors"
	"math"
	"syscall"
)

// isTooManyFiles reports whether the process or the system is out of file
// descriptors.
func isTooManyFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// openFiles is how many files the process may open, 0 when nobody knows.
func openFiles() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || l.Cur > math.MaxInt32 {
		return 0
	}
	return int(l.Cur)
}
