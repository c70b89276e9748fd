package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Join returns a source that serves the best certificate of all sources, by the
// rules that each of them serves by. It runs and reloads them all.
func Join(sources ...Source) Source {
	if len(sources) == 1 {
		return sources[0]
	}
	j := &joined{sources: sources, now: time.Now}
	for _, s := range sources {
		if k, ok := s.(kept); ok {
			j.kept = append(j.kept, k)
			j.now = k.clock()
		}
	}
	for _, k := range j.kept {
		k.sitBeside(j.sets)
	}
	return j
}

// kept is a source whose certificates are all known at any time.
type kept interface {
	Source
	held() *set
	clock() func() time.Time
	sitBeside(others func() []*set)
}

func (k *keeper) clock() func() time.Time { return k.now }

func (k *keeper) sitBeside(others func() []*set) { k.beside = others }

type joined struct {
	sources []Source
	kept    []kept
	now     func() time.Time
	merged  atomic.Pointer[merged]
}

// merged is the one set that several make together.
type merged struct {
	parts []*set
	all   *set
}

func (j *joined) sets() []*set {
	sets := make([]*set, len(j.kept))
	for i, k := range j.kept {
		sets[i] = k.held()
	}
	return sets
}

// all returns the certificates of all sources that are kept. It is made anew
// when one of them has changed.
func (j *joined) all() *set {
	m := j.merged.Load()
	if m != nil && m.current(j.kept) {
		return m.all
	}
	m = &merged{parts: j.sets()}
	var entries []*entry
	for _, s := range m.parts {
		entries = append(entries, s.entries...)
	}
	m.all = newSet(entries)
	j.merged.Store(m)
	return m.all
}

func (m *merged) current(sources []kept) bool {
	for i, k := range sources {
		if k.held() != m.parts[i] {
			return false
		}
	}
	return true
}

func (j *joined) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	all := j.all()
	c, err := all.find(hello, j.now())
	if err == nil || hello.ServerName == "" && len(all.entries) > 0 {
		return c, err
	}
	// A development CA makes certificates as they are asked for.
	for _, s := range j.sources {
		if _, ok := s.(kept); ok {
			continue
		}
		if c, err = s.Certificate(hello); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func (j *joined) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(j.sources))
	for i, s := range j.sources {
		wg.Go(func() {
			if errs[i] = s.Run(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (j *joined) Reload() (changed bool, err error) {
	var errs []error
	for _, s := range j.sources {
		c, err := s.Reload()
		changed = changed || c
		errs = append(errs, err)
	}
	return changed, errors.Join(errs...)
}

func (j *joined) Status() Status {
	all := Status{at: j.now()}
	for _, s := range j.sources {
		st := s.Status()
		all.Certificates = append(all.Certificates, st.Certificates...)
		all.Problems = append(all.Problems, st.Problems...)
	}
	all.Problems = slices.Compact(all.Problems)
	return all
}
