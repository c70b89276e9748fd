//go:build unix

package draft

import (
	"os"
	"syscall"
)

// lock opens dir and locks it, or returns nil when another process has it, or when
// there are no locks on that file system. The lock is let go of when everybody has
// closed the file that inherited it.
func lock(dir string) *os.File {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil
	}
	return f
}

// own reports whether the directory is one that New made for this user.
func own(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid() && info.Mode().Perm() == 0o700
}
