package certs

import (
	"bytes"
	"strconv"
	"strings"
)

// A mount is a line of /proc/self/mountinfo.
type mount struct {
	deleted bool // what is mounted has been deleted where it came from
}

// findMount returns the mount whose mount point is path itself, the last one
// made there.
func findMount(table []byte, path string) (m mount, ok bool) {
	for line := range bytes.Lines(table) {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
		f := strings.Fields(string(line))
		if len(f) < 5 || unescapeMount(f[4]) != path {
			continue
		}
		m, ok = mount{deleted: strings.HasSuffix(unescapeMount(f[3]), "//deleted")}, true
	}
	return m, ok
}

// unescapeMount undoes the kernel's \040 for a space and the like.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
