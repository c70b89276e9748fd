package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxPEM bounds a PEM file.
const maxPEM = 4 << 20

// A Pair names two PEM files: the chain, leaf first, and its private key.
type Pair struct {
	Cert, Key string
}

// Files is a source of pairs of PEM files. It reads them again when they
// change.
type Files struct {
	pairs []Pair
	log   *slog.Logger
	every time.Duration

	set atomic.Pointer[set]

	mu    sync.Mutex
	state [sha256.Size]byte // what the set was read from
}

// NewFiles reads the pairs, of which each must be good, and returns the source.
// A nil logger discards.
func NewFiles(log *slog.Logger, pairs ...Pair) (*Files, error) {
	if len(pairs) == 0 {
		return nil, errors.New("no certificate files")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Files{pairs: pairs, log: log, every: 10 * time.Second}
	s, state, err := f.read()
	if err != nil {
		return nil, err
	}
	f.set.Store(s)
	f.state = state
	return f, nil
}

// Certificate implements [Source].
func (f *Files) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.set.Load().find(hello, time.Now())
}

// Run looks every ten seconds whether the files have changed. Two files cannot
// be changed at once, so a pair that does not fit is tried again at the next
// look, and the old one serves on.
func (f *Files) Run(ctx context.Context) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	failing := ""
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		changed, err := f.Reload()
		switch {
		case err != nil && err.Error() != failing:
			failing = err.Error()
			f.log.Warn("certificate not reloaded, the old one serves on", "err", err)
		case err == nil && changed:
			f.log.Info("certificate reloaded", "file", f.pairs[0].Cert, "expires", f.Expires())
			failing = ""
		}
	}
}

// Reload reads the files now and reports whether they have changed.
func (f *Files) Reload() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, state, err := f.read()
	if err != nil || state == f.state {
		return false, err
	}
	f.set.Store(s)
	f.state = state
	return true, nil
}

// Expires returns when the first of the certificates runs out.
func (f *Files) Expires() time.Time {
	var first time.Time
	for _, c := range f.set.Load().certs {
		if first.IsZero() || c.Leaf.NotAfter.Before(first) {
			first = c.Leaf.NotAfter
		}
	}
	return first
}

func (f *Files) read() (*set, [sha256.Size]byte, error) {
	var certs []*tls.Certificate
	sum := sha256.New()
	for _, p := range f.pairs {
		chain, err := readFile(p.Cert)
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("read certificate: %w", err)
		}
		key, err := readFile(p.Key)
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("read certificate's key: %w", err)
		}
		c, err := pair(chain, key)
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("certificate %s with key %s: %w", p.Cert, p.Key, err)
		}
		sum.Write(chain)
		sum.Write(key)
		certs = append(certs, c)
	}
	return newSet(certs), [sha256.Size]byte(sum.Sum(nil)), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxPEM {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxPEM>>20)
	}
	return data, nil
}

// hostOf returns an address without its port.
func hostOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return host
}
