package certs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// maxACME bounds an acme.json.
const maxACME = 16 << 20

// Traefik is a source that reads the file in which Traefik keeps what it
// ordered, acme.json. It never writes it: Traefik holds it to be its own, and
// its ACME account's key lies in it.
type Traefik struct{ *keeper }

// NewTraefik reads the file at path and returns the source. A file that is not
// there yet, or has nothing in it, is waited for: see Status.
func NewTraefik(path string, o Options) *Traefik {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	t := &Traefik{newKeeper(traefik{path, mountTable}, path, o)}
	_, _ = t.Reload()
	return t
}

type traefik struct {
	path   string
	mounts func() ([]byte, error)
}

func (t traefik) list() (listing, error) {
	l := listing{paths: []string{t.path}, dirs: dirsOf(t.path), limit: maxACME}
	if info, err := os.Stat(t.path); err == nil && runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		l.problems = append(l.problems, fmt.Sprintf("%s: others may read it (mode %04o), so Traefik will not use it: chmod 600 it", t.path, info.Mode().Perm()))
	}
	if p := t.mountProblem(); p != "" {
		l.problems = append(l.problems, t.path+": "+p)
	}
	return l, nil
}

func (t traefik) parse(files []file) (reading, error) {
	if err := files[0].err; err != nil {
		return reading{}, err
	}
	data := files[0].data
	if len(bytes.TrimSpace(data)) == 0 {
		return reading{}, errEmpty
	}
	resolvers, err := parseACME(data)
	if err != nil {
		return reading{}, err
	}
	r := reading{broken: make(map[string]bool)}
	for _, name := range slices.Sorted(maps.Keys(resolvers)) {
		label := fmt.Sprintf("resolver %q", name)
		if name == "" {
			label = "Certificates"
		}
		list := resolvers[name].Certificates
		if list.bad {
			r.problems = append(r.problems, fmt.Sprintf("%s: %s: its certificates are no list", t.path, label))
		}
		for i := range list.entries {
			x := &list.entries[i]
			origin := name + "/" + x.Domain.Main
			err := x.err
			if err == nil {
				c, perr := pair(x.Certificate, x.Key)
				if err = perr; err == nil {
					r.entries = append(r.entries, newEntry(c, t.path+" ("+label+")", origin))
				}
			}
			clear(x.Key)
			if err != nil {
				r.broken[origin] = true
				r.problems = append(r.problems, fmt.Sprintf("%s: %s, entry %d: %v", t.path, label, i, err))
			}
		}
	}
	return r, nil
}

// Of acme.json only this is parsed. Accounts are skipped where they stand, and
// no text of the file gets into an error.
type (
	acmeResolver struct {
		Certificates acmeList
	}
	acmeList struct {
		entries []acmeEntry
		bad     bool // it is no list
	}
	acmeEntry struct {
		Domain struct {
			// Main says whose entry this is. What it covers only the certificate tells.
			Main string
		}
		Certificate []byte // PEM, after the base64
		Key         []byte

		err error
	}
)

// parseACME returns the resolvers of an acme.json. The flat file of Traefik 1 is
// one resolver without a name.
func parseACME(data []byte) (map[string]*acmeResolver, error) {
	var top map[string]*acmeValue
	if err := json.Unmarshal(data, &top); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("it is not JSON, or only the beginning of it (at byte %d of %d)", syntax.Offset, len(data))
		}
		return nil, errors.New("it is not a JSON object")
	}
	if v := top["Certificates"]; v != nil && !v.object {
		// Version 1. Next to it TLSChallenges holds certificates that prove things
		// to the authority and are for nobody else.
		return map[string]*acmeResolver{"": {Certificates: v.list}}, nil
	}
	resolvers := make(map[string]*acmeResolver)
	for name, v := range top {
		if v != nil && v.object {
			resolvers[name] = &v.resolver
		}
	}
	return resolvers, nil
}

// An acmeValue is what stands at the top of the file: a resolver, or version 1's
// list.
type acmeValue struct {
	object   bool
	resolver acmeResolver
	list     acmeList
}

func (v *acmeValue) UnmarshalJSON(data []byte) error {
	*v = acmeValue{object: data[0] == '{'}
	if v.object {
		return json.Unmarshal(data, &v.resolver)
	}
	return v.list.UnmarshalJSON(data)
}

func (l *acmeList) UnmarshalJSON(data []byte) error {
	*l = acmeList{bad: data[0] != '[' && data[0] != 'n'}
	if l.bad {
		return nil
	}
	return json.Unmarshal(data, &l.entries)
}

// UnmarshalJSON keeps an error for itself, so that the other entries are read.
func (x *acmeEntry) UnmarshalJSON(data []byte) error {
	type plain acmeEntry
	if err := json.Unmarshal(data, (*plain)(x)); err != nil {
		x.err = errors.New("it is not an object with a certificate and a key in base64")
	}
	return nil
}

// mountProblem says what is wrong when the file was mounted by itself, as
// container engines do: a file put in its place on the host is never seen.
func (t traefik) mountProblem() string {
	real, err := filepath.EvalSymlinks(t.path)
	if err != nil {
		return ""
	}
	if info, err := os.Stat(real); err != nil || info.IsDir() {
		return ""
	}
	table, err := t.mounts()
	if err != nil {
		return ""
	}
	m, ok := findMount(table, real)
	switch {
	case !ok:
		return ""
	case m.deleted:
		return "it is mounted by itself and was replaced on the host, so that changes are not seen any more: mount the directory, not the file"
	}
	return "it is mounted by itself, so that a file put in its place on the host will not be seen: mount the directory, not the file"
}
