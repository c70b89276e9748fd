package certs

import (
	"errors"
	"fmt"
	"slices"
)

// maxPEM bounds a PEM file.
const maxPEM = 1 << 20

// A Pair names two PEM files: the chain, leaf first, and its private key. They
// may be one.
type Pair struct {
	Cert, Key string
}

// Files is a source of pairs of PEM files. Two files cannot be changed at once:
// a pair that does not fit is tried again, and the old one serves on.
type Files struct{ *keeper }

// NewFiles reads the pairs, of which each must be good, and returns the source.
func NewFiles(o Options, pairs ...Pair) (*Files, error) {
	if len(pairs) == 0 {
		return nil, errors.New("no certificate files")
	}
	f := &Files{newKeeper(pairFiles(pairs), pairs[0].Cert, o)}
	if _, err := f.Reload(); err != nil {
		return nil, err
	}
	for _, p := range pairs {
		var read [2]file
		for i, path := range []string{p.Cert, p.Key} {
			read[i].data, read[i].err = readSettled(path, maxPEM, f.pace.settle)
			defer clear(read[i].data)
		}
		if _, err := p.entry(read[0], read[1]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

type pairFiles []Pair

func (ps pairFiles) list() (listing, error) {
	l := listing{limit: maxPEM}
	for _, p := range ps {
		for _, path := range []string{p.Cert, p.Key} {
			if slices.Contains(l.paths, path) {
				continue
			}
			l.paths = append(l.paths, path)
			for _, dir := range dirsOf(path) {
				if !slices.Contains(l.dirs, dir) {
					l.dirs = append(l.dirs, dir)
				}
			}
		}
	}
	return l, nil
}

func (ps pairFiles) parse(files []file) (reading, error) {
	read := make(map[string]file, len(files))
	for _, f := range files {
		read[f.path] = f
	}
	r := reading{broken: make(map[string]bool)}
	for _, p := range ps {
		e, err := p.entry(read[p.Cert], read[p.Key])
		if err != nil {
			r.broken[p.Cert] = true
			r.problems = append(r.problems, err.Error())
			continue
		}
		r.entries = append(r.entries, e)
	}
	return r, nil
}

// entry makes a certificate of what was read.
func (p Pair) entry(cert, key file) (*entry, error) {
	if cert.err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", p.Cert, cert.err)
	}
	if key.err != nil {
		return nil, fmt.Errorf("read certificate's key %s: %w", p.Key, key.err)
	}
	c, err := pairUnordered(cert.data, key.data)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", p.Cert, p.Key, err)
	}
	return newEntry(c, p.Cert, p.Cert), nil
}
