package edge

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/lrok-dev/lrok/edge/store"
)

// warnOfReaders logs which of the edge's files others can read that should not.
// It is called before the store is opened, which takes its own back from them.
func (c *Config) warnOfReaders(log *slog.Logger) {
	if runtime.GOOS == "windows" { // has no such bits; the ACLs do it there
		return
	}
	for _, f := range []struct {
		what, path string
		not        fs.FileMode // a key may be for a group, as Debian's ssl-cert
		then       string
	}{
		{"TLS key", c.TLSKey, 0o007, "chmod o= it, and think about a new one"},
		{"acme.json, which holds TLS keys,", c.AcmeJSON, 0o007, "chmod o= it, and think about new ones"},
		{"data directory", c.DataDir, 0o077, "chmod 700 it"},
		{"store", filepath.Join(c.DataDir, store.FileName), 0o077, "it is given mode 0600 now"},
	} {
		info, err := os.Stat(f.path)
		if f.path == "" || err != nil || info.Mode().Perm()&f.not == 0 {
			continue
		}
		log.Warn("the "+f.what+" can be read by others", "path", f.path, "mode", fmt.Sprintf("%04o", info.Mode().Perm()), "hint", f.then)
	}
}
