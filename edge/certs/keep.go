package certs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A pace is how often and how long things are done.
type pace struct {
	poll     time.Duration // between looks at files that said nothing
	coalesce time.Duration // from the first event of many to the look
	settle   time.Duration // between tries to read a file that is being written
	stable   time.Duration // for which names must be gone before they are dropped
	retry    []time.Duration
}

func (p pace) withDefaults() pace {
	p.poll = cmp.Or(p.poll, 30*time.Second)
	p.coalesce = cmp.Or(p.coalesce, 250*time.Millisecond)
	p.settle = cmp.Or(p.settle, 50*time.Millisecond)
	p.stable = cmp.Or(p.stable, 10*time.Second)
	if p.retry == nil {
		p.retry = []time.Duration{
			100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
			time.Second, 2 * time.Second, 5 * time.Second,
		}
	}
	return p
}

// tellAfter is how many times in a row a problem is found before it is logged:
// what a look finds in the middle of a write is no news.
const tellAfter = 3

// racy is how old a file must be for its time to tell it from the next one:
// clocks of file systems are coarse.
const racy = 2 * time.Second

// A reader knows one kind of source: which files there are and what they say.
type reader interface {
	// list names the files to be read and the directories to be watched. An error
	// says that the files cannot be listed.
	list() (listing, error)
	// parse makes certificates of the files. An error says that they say nothing,
	// so that what they said before holds.
	parse(files []file) (reading, error)
}

type listing struct {
	paths    []string
	dirs     []string // a change in one of these can be a change of the source
	problems []string
	limit    int64  // of each file
	failed   []file // what is there and cannot be read
}

// A file is what was read from one path, or why nothing was.
type file struct {
	path string
	data []byte
	err  error
}

// A reading is what files say.
type reading struct {
	entries  []*entry
	problems []string
	// broken are the origins of what is there and cannot be used: what they, and
	// what is below them, gave before stays.
	broken map[string]bool
}

func (r reading) isBroken(origin string) bool {
	for len(r.broken) > 0 {
		if r.broken[origin] {
			return true
		}
		i := strings.LastIndexAny(origin, `/\`)
		if i <= 0 {
			break
		}
		origin = origin[:i]
	}
	return false
}

// errEmpty says that a file is empty, as one is between being truncated and
// being written. It is no failure.
var errEmpty = errors.New("it is empty")

// A keeper serves what a reader's files say and follows their changes. Traefik,
// Dir and Files are this with three readers. What is served changes by one rule:
//
//   - Files that cannot be read or parsed change nothing.
//   - Nothing usable replaces no certificate that is valid.
//   - An expired certificate replaces no valid one.
//   - A part that cannot be used keeps what it gave before.
//   - Names that are gone are dropped when they have been gone for 10 s.
type keeper struct {
	reader reader
	what   string // the file or directory, for the log
	log    *slog.Logger
	now    func() time.Time
	pace   pace

	state atomic.Pointer[state]
	kick  chan struct{} // says that Reload has changed due
	// beside tells what other sources of the same edge serve; nil when alone.
	beside func() []*set

	// reading is held by the one who reads, and guards what he needs next time.
	reading sync.Mutex
	stamps  map[string]fs.FileInfo // of the files when they were listed last
	dirs    []string
	found   []string          // problems of the listing
	settled bool              // stamps tell whether there is something new
	sum     [sha256.Size]byte // of the files that last said something
	last    reading           // what they said
	since   time.Time         // for how long they have said so
	tries   int               // readings in a row after which another one is due
	seen    map[string]int    // problems, and how many readings in a row had them
	due     time.Time         // of the next reading, zero when none is
}

// A state is what is served and what was found wrong at the last reading.
type state struct {
	set      *set
	problems []string
}

func newKeeper(r reader, what string, o Options) *keeper {
	k := &keeper{
		reader: r, what: what, log: o.Logger, now: o.Now, pace: o.pace.withDefaults(),
		kick: make(chan struct{}, 1), seen: make(map[string]int),
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if k.now == nil {
		k.now = time.Now
	}
	k.state.Store(&state{set: newSet(nil)})
	return k
}

// Certificate implements [Source].
func (k *keeper) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return k.held().find(hello, k.now())
}

func (k *keeper) held() *set { return k.state.Load().set }

// Status implements [Source].
func (k *keeper) Status() Status {
	s := k.state.Load()
	now := k.now()
	st := Status{Certificates: s.set.infos(), Problems: slices.Clone(s.problems), at: now}
	for _, x := range expiring(s.set, nil, now) {
		st.Problems = append(st.Problems, x.String())
	}
	if len(st.Certificates) == 0 && len(st.Problems) == 0 {
		st.Problems = append(st.Problems, k.what+": no certificate yet")
	}
	return st
}

// Reload implements [Source].
func (k *keeper) Reload() (changed bool, err error) {
	k.reading.Lock()
	changed, err = k.read()
	k.reading.Unlock()
	select {
	case k.kick <- struct{}{}:
	default:
	}
	return changed, err
}

// Run implements [Source].
func (k *keeper) Run(ctx context.Context) error {
	w := newWatch(k.log)
	defer w.close()
	k.follow(ctx, w)
	return nil
}

// follow reads the files when w tells of a change, when it is time to look by
// oneself, and when another reading is due, until ctx ends.
func (k *keeper) follow(ctx context.Context, w *watch) {
	poll := time.NewTicker(k.pace.poll)
	defer poll.Stop()
	alarm := alarm{log: k.log}
	wake := time.NewTimer(0) // what happened before this is looked at now
	defer wake.Stop()
	var at time.Time // when wake rings, zero when never
	for {
		var now bool // look at once
		select {
		case <-ctx.Done():
			return
		case <-w.events:
			// The first event of many sets the time, so that a file that is written
			// all the time is read as well.
			if soon := time.Now().Add(k.pace.coalesce); at.IsZero() || soon.Before(at) {
				at = soon
				wake.Reset(k.pace.coalesce)
			}
			continue
		case err := <-w.errors:
			k.log.Debug("watching certificates", "file", k.what, "err", err)
			now = true // events were lost
		case <-poll.C:
		case <-wake.C:
		case <-k.kick:
		}
		k.reading.Lock()
		k.look(now)
		due := k.due
		dirs := k.dirs
		k.reading.Unlock()
		alarm.check(k.held(), k.others(), k.now())
		at = time.Time{}
		wake.Stop()
		if w.follow(dirs) {
			// What happened between the look and this nobody told us.
			if soon := time.Now().Add(k.pace.coalesce); due.IsZero() || soon.Before(due) {
				due = soon
			}
		}
		if !due.IsZero() {
			at = due
			wake.Reset(time.Until(due))
		}
	}
}

func (k *keeper) others() []*set {
	if k.beside == nil {
		return nil
	}
	return k.beside()
}

// look reads the files if they are not the ones that were read last, if another
// reading is due, or if it must.
func (k *keeper) look(must bool) {
	if !must && k.settled && (k.due.IsZero() || time.Now().Before(k.due)) {
		l, err := k.reader.list()
		if err == nil && sameStamps(k.stamps, stampsOf(l.paths)) && slices.Equal(k.dirs, l.dirs) && slices.Equal(k.found, l.problems) {
			return
		}
	}
	_, _ = k.read() // a problem is logged when it lasts
}

// read reads the files and puts what they say to use.
func (k *keeper) read() (changed bool, err error) {
	started := time.Now()
	l, err := k.reader.list()
	stamps := stampsOf(l.paths)
	if !sameStamps(k.stamps, stamps) && k.tries > len(k.pace.retry) {
		k.tries = 0 // something happens again
	}
	k.stamps, k.dirs, k.found = stamps, l.dirs, l.problems
	k.settled = err == nil
	for _, info := range k.stamps {
		if info == nil || started.Sub(info.ModTime()) < racy {
			k.settled = false
		}
	}
	var r reading
	var fresh bool
	if err == nil {
		r, fresh, err = k.load(l)
	}
	now, old := k.now(), k.held()
	problems := slices.Clone(l.problems)
	next, wait := old, time.Duration(0)
	if err != nil {
		problems = append(problems, fmt.Sprintf("%s: %v", k.what, plain(err)))
		k.sum, k.last = [sha256.Size]byte{}, reading{}
	} else {
		if fresh {
			k.since = now
		}
		problems = append(problems, r.problems...)
		var kept []string
		next, kept, wait = k.merge(old, r, now)
		problems = append(problems, kept...)
	}
	changed = !next.same(old)
	if !changed {
		next = old
	}
	k.state.Store(&state{set: next, problems: problems})
	if changed {
		k.log.Info("certificates read", "file", k.what, "certificates", len(next.entries), "before", len(old.entries))
	}

	untold := k.report(problems)
	if err == nil && !untold {
		k.tries = 0
	} else {
		k.tries++
	}
	k.due = time.Time{}
	if n := k.tries; n > 0 && n <= len(k.pace.retry) {
		k.due = time.Now().Add(k.pace.retry[n-1])
	} else if n > 0 {
		k.settled = false // at each poll
	}
	if wait > 0 {
		if at := time.Now().Add(wait); k.due.IsZero() || at.Before(k.due) {
			k.due = at
		}
	}
	if errors.Is(err, errEmpty) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("read certificates from %s: %w", k.what, plain(err))
	}
	return changed, err
}

// load returns what the files say, and whether they have not just said the same.
func (k *keeper) load(l listing) (r reading, fresh bool, err error) {
	sum := sha256.New()
	files := make([]file, 0, len(l.paths))
	defer func() {
		for _, f := range files {
			clear(f.data) // keys were in it
		}
	}()
	for _, path := range l.paths {
		f := file{path: path}
		f.data, f.err = readSettled(path, l.limit, k.pace.settle)
		f.err = plain(f.err)
		files = append(files, f)
		fmt.Fprintf(sum, "%q %d %v\n", path, len(f.data), f.err)
		sum.Write(f.data)
	}
	for _, f := range l.failed {
		files = append(files, f)
		fmt.Fprintf(sum, "%q %v\n", f.path, f.err)
	}
	now := [sha256.Size]byte(sum.Sum(nil))
	if now == k.sum {
		return k.last, false, nil
	}
	if r, err = k.reader.parse(files); err != nil {
		return reading{}, false, err
	}
	k.sum, k.last = now, r
	return r, true, nil
}

// merge returns the set that follows old after a reading, what must be said
// about it, and after how long names that are gone are to be dropped.
func (k *keeper) merge(old *set, r reading, now time.Time) (next *set, problems []string, wait time.Duration) {
	read := newSet(r.entries)
	entries := read.entries
	if left := k.pace.stable - now.Sub(k.since); left > 0 {
		wait = left
	}
	gone := false
	for _, e := range old.entries {
		if !e.valid(now) || read.prints[e.print] {
			continue
		}
		expired, missing := "", false
		for _, name := range e.names {
			switch named, valid := read.covered(name, now); {
			case !named:
				missing = true
			case !valid:
				expired = name
			}
		}
		switch {
		case len(read.entries) == 0:
			// A file without a certificate is one that was not finished, or damaged.
		case r.isBroken(e.origin):
		case expired != "":
			problems = append(problems, fmt.Sprintf("%s: the certificate for %s in it is not valid now; the one from before is served until %s",
				k.what, expired, e.cert.Leaf.NotAfter.UTC().Format(time.DateOnly)))
		case missing && wait > 0:
			gone = true
		default:
			continue
		}
		entries = append(entries, e)
	}
	if !gone {
		wait = 0
	}
	return newSet(entries), problems, wait
}

// report logs problems that last, once, and tells whether some have not lasted
// long enough yet.
func (k *keeper) report(problems []string) (untold bool) {
	seen := make(map[string]int, len(problems))
	for _, p := range problems {
		seen[p] = k.seen[p] + 1
		if seen[p] == tellAfter {
			k.log.Warn("certificates: "+p, "file", k.what)
		}
		untold = untold || seen[p] < tellAfter
	}
	k.seen = seen
	return untold
}
