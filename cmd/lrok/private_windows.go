package main

import "os"

// private reports whether dir is there: on Windows the temporary directory is
// the user's own.
func private(dir string) bool {
	st, err := os.Lstat(dir)
	return err == nil && st.IsDir()
}
