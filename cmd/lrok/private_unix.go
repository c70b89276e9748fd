//go:build unix

package main

import (
	"os"
	"syscall"
)

// private reports whether dir is the user's own and closed to others: the
// temporary directory is everybody's.
func private(dir string) bool {
	st, err := os.Lstat(dir)
	if err != nil || !st.IsDir() || st.Mode().Perm()&0o077 != 0 {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Getuid()
}
