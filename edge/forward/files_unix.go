//go:build unix

package forward

import (
	"errors"
	"syscall"
)

// isTooManyFiles reports whether the process or the system is out of file
// descriptors.
func isTooManyFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
