package certs

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// When the end of a certificate is warned of, and when it is an error that
// nobody renewed it.
const (
	warnBefore  = 14 * 24 * time.Hour
	errorBefore = 3 * 24 * time.Hour
)

// An ending is a certificate that runs out and that no other one makes up for.
type ending struct {
	*entry
	left time.Duration
}

func (x ending) String() string {
	names := x.names
	if len(names) > 3 {
		names = append(slices.Clone(names[:3]), fmt.Sprintf("%d more", len(x.names)-3))
	}
	verb := "expires"
	if x.left <= 0 {
		verb = "expired"
	}
	return fmt.Sprintf("the certificate for %s %s on %s (%s)", strings.Join(names, ", "), verb,
		x.cert.Leaf.NotAfter.UTC().Format("2006-01-02 15:04 UTC"), x.source)
}

// expiring returns the certificates of s that end within 14 days, or have ended,
// and that are the best for one of their names in s and in others.
func expiring(s *set, others []*set, now time.Time) []ending {
	var found []ending
	for _, e := range s.entries {
		left := e.cert.Leaf.NotAfter.Sub(now)
		if left > warnBefore {
			continue
		}
		if slices.ContainsFunc(e.names, func(name string) bool {
			return !s.outlives(name, e, now) && !slices.ContainsFunc(others, func(o *set) bool { return o.outlives(name, e, now) })
		}) {
			found = append(found, ending{e, left})
		}
	}
	return found
}

// outlives reports whether the set has a certificate for name that is valid now
// and makes up for e: one of the same name that ends later, or a wildcard that
// does not end soon.
func (s *set) outlives(name string, e *entry, now time.Time) bool {
	return slices.ContainsFunc(s.naming(name), func(x *entry) bool {
		end := x.cert.Leaf.NotAfter
		return x.valid(now) && end.After(e.cert.Leaf.NotAfter) && (slices.Contains(x.names, name) || end.Sub(now) > warnBefore)
	})
}

// An alarm logs the certificates that run out, each once a day.
type alarm struct {
	log  *slog.Logger
	next time.Time
	told map[[32]byte]time.Time
}

func (a *alarm) check(s *set, others []*set, now time.Time) {
	if now.Before(a.next) && a.next.Sub(now) <= time.Hour {
		return
	}
	a.next = now.Add(time.Hour)
	told := make(map[[32]byte]time.Time)
	for _, x := range expiring(s, others, now) {
		if last := a.told[x.print]; !last.IsZero() && now.Sub(last) < 24*time.Hour {
			told[x.print] = last
			continue
		}
		told[x.print] = now
		level := slog.LevelWarn
		if x.left < errorBefore {
			level = slog.LevelError
		}
		a.log.Log(context.Background(), level, x.String())
	}
	a.told = told
}
