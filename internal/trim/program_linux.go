package trim

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// forgetProgram unmaps the pages of the program's file that nobody has written
// to. Linux maps 64 KiB around each one that is touched, so that soon after the
// start most of a program counts as resident.
func forgetProgram() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	var from, to uint64 // of the mapping that the lines are about, if it is one of these
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "Anonymous:"); ok {
			// Relocated pages are read-only too, and not as in the file.
			if to > from && strings.TrimSpace(value) == "0 kB" {
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED)
			}
			from, to = 0, 0
			continue
		}
		// "00400000-00ec1000 r-xp 00000000 fe:00 1234  /usr/bin/lrok"
		if addresses, rest, _ := strings.Cut(lines.Text(), " "); strings.HasPrefix(rest, "r-") && strings.HasSuffix(rest, " "+exe) {
			first, last, _ := strings.Cut(addresses, "-")
			from, _ = strconv.ParseUint(first, 16, 64)
			to, _ = strconv.ParseUint(last, 16, 64)
		}
	}
}
