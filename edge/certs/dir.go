package certs

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// What is read of a directory at most.
const (
	maxDepth    = 6
	maxDirFiles = 10_000
	maxDirBytes = 64 << 20
)

// Dir is a source that reads all PEM files below a directory, as certbot, lego,
// Caddy, mkcert and people leave them. Which key belongs to which certificate
// it takes from the keys, not from the files' names; chains are put in order.
type Dir struct{ *keeper }

// NewDir reads the directory at path and returns the source. One that is not
// there yet, or has no certificate in it, is waited for: see Status.
func NewDir(path string, o Options) *Dir {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	d := newKeeper(nil, path, o)
	d.reader = dirFiles{root: path, now: d.now}
	_, _ = d.Reload()
	return &Dir{d}
}

type dirFiles struct {
	root string
	now  func() time.Time
}

func (d dirFiles) list() (listing, error) {
	w := walk{listing: listing{dirs: dirsOf(d.root), limit: maxPEM}, seen: make(map[string]bool)}
	info, err := os.Stat(d.root)
	if err != nil {
		return w.listing, err
	}
	if !info.IsDir() {
		return w.listing, errors.New("it is not a directory")
	}
	if err := w.dir(d.root, 1); err != nil {
		return w.listing, err
	}
	if w.full {
		w.problems = append(w.problems, fmt.Sprintf("%s: there is more in it than %d files or %d MiB, and not all was read: name a directory that holds certificates only",
			d.root, maxDirFiles, maxDirBytes>>20))
	}
	return w.listing, nil
}

// A walk collects the files below a directory, through symbolic links too.
// Names that begin with a dot are left out: they are half-written files, and
// the directories that Kubernetes keeps behind its links.
type walk struct {
	listing
	seen  map[string]bool // directories by their real paths: links may go in circles
	bytes int64
	full  bool
}

func (w *walk) dir(dir string, depth int) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if w.seen[real] || depth > maxDepth {
		return nil
	}
	w.seen[real] = true
	if !slices.Contains(w.dirs, dir) && len(w.dirs) < maxWatches {
		w.dirs = append(w.dirs, dir)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(maxDirFiles + 1)
	if err != nil && err != io.EOF {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			continue
		}
		if len(w.paths)+len(w.failed) >= maxDirFiles {
			w.full = true
			return nil
		}
		w.one(filepath.Join(dir, name), depth)
	}
	return nil
}

func (w *walk) one(path string, depth int) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(path); err == nil {
			w.failed = append(w.failed, file{path: path, err: errors.New("it is a link to what is not there: mount that directory as well")})
		}
	case err != nil:
		w.failed = append(w.failed, file{path: path, err: plain(err)})
	case info.IsDir():
		if err := w.dir(path, depth+1); err != nil {
			w.failed = append(w.failed, file{path: path, err: plain(err)})
		}
	case !info.Mode().IsRegular():
	case info.Size() > maxPEM:
		if slices.Contains([]string{".pem", ".crt", ".cer", ".key"}, strings.ToLower(filepath.Ext(path))) {
			w.problems = append(w.problems, fmt.Sprintf("%s: it is larger than %d MiB and was not read", path, maxPEM>>20))
		}
	case w.bytes+info.Size() > maxDirBytes:
		w.full = true
	default:
		w.bytes += info.Size()
		w.paths = append(w.paths, path)
	}
}

// A leaf is a place where a certificate stands that may be a host's.
type leaf struct {
	path  string
	index int
	certs []*x509.Certificate // of the file
}

func (l leaf) cert() *x509.Certificate { return l.certs[l.index] }

func (d dirFiles) parse(files []file) (reading, error) {
	r := reading{broken: make(map[string]bool)}
	problem := func(path string, err error) {
		r.broken[path] = true
		r.problems = append(r.problems, fmt.Sprintf("%s: %v", path, err))
	}
	keys := make(map[[sha256.Size]byte]crypto.Signer)
	var leaves []leaf
	at := make(map[[sha256.Size]byte]int) // in leaves, by certificate
	issuers := make(map[string][]*x509.Certificate)
	for _, f := range files {
		switch {
		case errors.Is(f.err, fs.ErrNotExist):
			continue // gone since it was listed
		case f.err != nil:
			problem(f.path, f.err)
			continue
		case !isPEM(f.data):
			r.broken[f.path] = true // it may be one that is being written
			continue
		}
		certs, err := pemCerts(f.data)
		if err != nil {
			problem(f.path, err)
		}
		found, err := pemKeys(f.data)
		if err != nil {
			problem(f.path, err)
		}
		if info, err := os.Stat(f.path); len(found) > 0 && err == nil && othersMayRead(info) {
			r.problems = append(r.problems, fmt.Sprintf("%s: others may read the key in it (mode %04o): chmod o= it, and think about a new one", f.path, info.Mode().Perm()))
		}
		for _, k := range found {
			if id, ok := keyID(k.Public()); ok {
				keys[id] = k
			}
		}
		for i, c := range certs {
			// A host's own certificate stands in cert.pem and in fullchain.pem: the one
			// that brings its chain is taken.
			id := sha256.Sum256(c.Raw)
			n, known := at[id]
			switch {
			case !known:
				if c.IsCA {
					issuers[string(c.RawSubject)] = append(issuers[string(c.RawSubject)], c)
				}
				at[id] = len(leaves)
				leaves = append(leaves, leaf{f.path, i, certs})
			case i == 0 && (leaves[n].index > 0 || len(certs) > len(leaves[n].certs)):
				leaves[n] = leaf{f.path, i, certs}
			}
		}
	}
	for _, l := range leaves {
		c := l.cert()
		named := len(c.DNSNames)+len(c.IPAddresses) > 0
		if c.IsCA && !named {
			continue
		}
		id, ok := keyID(c.PublicKey)
		key := keys[id]
		if !ok || key == nil {
			if named && !c.IsCA && d.now().Before(c.NotAfter) {
				problem(l.path, errors.New("there is no private key for the certificate in it"))
			}
			continue
		}
		tc, err := serve(chainOf(l.index, l.certs, issuers), key)
		if err != nil {
			problem(l.path, err)
			continue
		}
		r.entries = append(r.entries, newEntry(tc, l.path, l.path))
	}
	return r, nil
}

// othersMayRead reports whether a file with a key is open to everybody on the
// machine. A key may be for a group, as Debian's ssl-cert.
func othersMayRead(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0
}

// keyID identifies a public key. Keys of kinds that it does not know have none.
func keyID(key crypto.PublicKey) (id [sha256.Size]byte, ok bool) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return sha256.Sum256(der), err == nil
}
