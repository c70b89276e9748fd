package tui

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/filter"
)

// unwatched is the state of an exchange that was open when the screen lost sight
// of it: the edge let go of it before its end was told. It is not in flight, and
// how it ended is not known.
const unwatched inspector.State = "unwatched"

// A capture is an exchange and what a person did to it on this screen.
type capture struct {
	inspector.Exchange
	order  uint64 // its place in the list
	unseen bool
	looked looked
	flow   *[2]meter // of a connection that is open: in and out
}

// Looked is what a filter that looks into bodies knows of a capture.
type looked struct {
	scan int // which filter
	body match
	read uint64    // the version of which body tells
	at   time.Time // when that was, also of what could not be read
}

// A match says what a filter that looks into bodies found.
type match uint8

const (
	unknown match = iota
	matches
	differs
)

// captures are those of one tunnel. They belong to the screen's loop.
type captures struct {
	all    []*capture // by order, oldest first
	shown  []*capture // those that the filter lets through
	byID   map[string]*capture
	marked string // the id of A
	limit  int
	seen   int             // arrived in all
	floor  uint64          // what has this order or a lower one was cleared
	under  map[string]bool // ids of what was cleared and is in flight

	// An edge that was started anew counts from 1 again. What it numbers comes
	// after what was there before: an order is base and the number.
	base   uint64
	top    uint64    // the highest order so far
	newest time.Time // when the youngest came
	lost   bool      // changes were lost since base was found

	forgotten int // of seen, those that the edge was told to forget

	query   string
	match   *filter.Filter
	sift    *sift // shown is what a filter before this one lets through
	scan    int   // counts the filters, to know the results of this one
	reading bool  // one capture is being looked into

	open  int       // in flight, cleared ones too
	fresh time.Time // when the youngest of them came
	rate  rate
	stats stats
	flow  traffic // of a tunnel without HTTP
	wants wanted  // room in the list
}

func newCaptures() *captures {
	return &captures{byID: map[string]*capture{}, under: map[string]bool{}, limit: heads}
}

// put adds x or brings it up to date.
func (c *captures) put(x inspector.Exchange, now time.Time) {
	old := c.byID[x.ID]
	order := c.base + x.Number
	if old == nil && !c.under[x.ID] && c.renumbered(&x, order) {
		c.base, c.lost = c.top, false
		order = c.base + x.Number
	}
	if c.under[x.ID] || old == nil && order <= c.floor {
		is := x.State == inspector.Open
		c.open += b2i(is) - b2i(c.under[x.ID])
		if is {
			c.under[x.ID] = true
		} else {
			delete(c.under, x.ID)
		}
		return
	}
	if old != nil {
		if x.Version < old.Version {
			return
		}
		if was, is := old.State == inspector.Open, x.State == inspector.Open; was != is {
			c.open += b2i(is) - b2i(was)
			c.stats.stale = true
		}
		if isRaw(&x) {
			c.move(old, &x, now)
		}
		old.Exchange = x.Light()
		c.wants.see(&x)
		c.refilter(old, now)
		return
	}
	n := &capture{Exchange: x.Light(), order: order, unseen: true}
	c.top = max(c.top, order)
	if x.Timing.Accepted.After(c.newest) {
		c.newest = x.Timing.Accepted
	}
	if len(c.all) >= c.limit {
		if order < c.all[0].order {
			return
		}
		c.forget(c.all[0])
	}
	if isRaw(&x) { // not before: what the list does not keep would be new each time
		c.flow.see(nil, &x, now)
	}
	c.byID[x.ID] = n
	c.wants.see(&x)
	c.all = insert(c.all, n)
	c.seen++
	if x.State == inspector.Open {
		c.open++
		if x.Timing.Accepted.After(c.fresh) {
			c.fresh = x.Timing.Accepted
		}
	}
	c.stats.stale = true
	c.rate.add(x.Timing.Accepted)
	c.refilter(n, now)
}

// renumbered reports whether x, which is new here, shows that the edge counts
// anew: its place is taken, or it came later than all others under a number that
// was passed before changes were lost.
func (c *captures) renumbered(x *inspector.Exchange, order uint64) bool {
	if order > c.top {
		return false
	}
	if _, taken := position(c.all, order); taken {
		return true
	}
	return c.lost && x.Timing.Accepted.After(c.newest)
}

// restarted reports whether the edge that has let go of x may have been started
// anew since: it counts from 1 again, or it was out of sight and has not had so many
// others as it keeps.
func (c *captures) restarted(x *capture, ring int) bool {
	if x.order <= c.base {
		return true
	}
	i, _ := position(c.all, x.order)
	return c.lost && len(c.all)-i <= ring
}

// move counts what has passed through a connection since it was old.
func (c *captures) move(old *capture, x *inspector.Exchange, now time.Time) {
	in, out := c.flow.see(old, x, now)
	if x.State != inspector.Open {
		old.flow = nil
		return
	}
	if in+out > 0 {
		if old.flow == nil {
			old.flow = &[2]meter{}
		}
		old.flow[0].add(now, in)
		old.flow[1].add(now, out)
	}
}

// lose settles what is open after changes were lost. What is still open comes
// again and is in flight as before.
func (c *captures) lose(now time.Time) {
	c.lost = true
	for _, x := range c.all {
		if x.State == inspector.Open {
			x.State = unwatched
			c.refilter(x, now)
		}
	}
	c.open = 0
	clear(c.under)
}

// forget drops the oldest capture.
func (c *captures) forget(x *capture) {
	delete(c.byID, x.ID)
	c.all[0] = nil
	c.all = c.all[1:]
	if len(c.shown) > 0 && c.shown[0] == x {
		c.shown[0] = nil
		c.shown = c.shown[1:]
	}
	if x.State == inspector.Open {
		c.open--
	}
}

// clear empties the list; what is in it now does not come back. What is in
// flight still counts as such.
func (c *captures) clear() {
	if n := len(c.all); n > 0 {
		c.floor = c.all[n-1].order
	}
	for _, x := range c.all {
		if x.State == inspector.Open {
			c.under[x.ID] = true
		}
	}
	c.all, c.shown, c.byID, c.marked = nil, nil, map[string]*capture{}, ""
	c.stats, c.sift, c.wants = stats{}, nil, wanted{}
}

// A sift is a filter on its way through the captures, newest first. A portion of
// them is its turn: keys that are pressed meanwhile do not wait for all.
type sift struct {
	below   uint64     // what has this order or a higher one is through
	found   []*capture // newest first
	changed []*capture // came, or changed, since it began
}

// portion is how many captures a filter takes at a time: half a millisecond with a
// regular expression.
const portion = 1000

// filter shows what f matches; nil shows all. What is shown changes at once when
// that is decided with one portion, or when all has had its turn: see sieve.
func (c *captures) filter(query string, f *filter.Filter, now time.Time) {
	c.query, c.match, c.sift = query, f, nil
	c.scan++
	c.reading = false
	switch {
	case f == nil:
		c.shown = slices.Clone(c.all)
	case f.NeedsBody():
		c.shown = nil // until one has been looked into
	default:
		c.sift = &sift{below: math.MaxUint64}
		c.sieve(now)
	}
}

// sieve takes the next portion of what the filter has not seen.
func (c *captures) sieve(now time.Time) {
	s, e := c.sift, c.env(now)
	i, _ := position(c.all, s.below)
	for _, x := range slices.Backward(c.all[max(i-portion, 0):i]) {
		if c.passes(x, e) {
			s.found = append(s.found, x)
		}
		s.below = x.order
	}
	if i > portion {
		return
	}
	slices.Reverse(s.found)
	gone := 0 // while it went on
	for gone < len(s.found) && s.found[gone].order < c.all[0].order {
		gone++
	}
	c.shown, c.sift = s.found[gone:], nil
	for _, x := range s.changed {
		if c.byID[x.ID] == x {
			c.refilter(x, now)
		}
	}
}

// refilter puts x where the filter wants it after x has changed.
func (c *captures) refilter(x *capture, now time.Time) {
	if c.sift != nil {
		c.sift.changed = append(c.sift.changed, x)
	}
	i, was := position(c.shown, x.order)
	switch is := c.passes(x, c.env(now)); {
	case is && !was:
		c.shown = insert(c.shown, x)
	case was && !is:
		c.shown = slices.Delete(c.shown, i, i+1)
	}
}

// shows reports whether x is among what is shown.
func (c *captures) shows(x *capture) bool {
	_, ok := position(c.shown, x.order)
	return ok
}

// of is what the filter in front knows of the bodies of x.
func (c *captures) of(x *capture) *looked {
	if x.looked.scan != c.scan {
		x.looked = looked{scan: c.scan}
	}
	return &x.looked
}

// scanned is how many captures a filter looks into: what is younger than that
// many others. It is what an edge keeps unless told otherwise.
const scanned = 100

// unread returns the youngest capture that the filter has to look into, and how
// many of how many there are. What is still going on is looked into again, once
// a second.
func (c *captures) unread(now time.Time) (next *capture, left, of int) {
	if c.match == nil || !c.match.NeedsBody() {
		return nil, 0, 0
	}
	for i := len(c.all) - 1; i >= 0 && of < scanned; i-- {
		x := c.all[i]
		of++
		l := c.of(x)
		known := l.body != unknown
		if known && l.read == x.Version || x.State == inspector.Open && now.Sub(x.Timing.Accepted) < time.Second {
			continue
		}
		if !known {
			left++
		}
		if next == nil && (now.Sub(l.at) >= time.Second || known && x.State != inspector.Open) {
			next = x
		}
	}
	return next, left, of
}

func (c *captures) passes(x *capture, e filter.Env) bool {
	if c.match == nil {
		return true
	}
	if c.match.NeedsBody() {
		return c.of(x).body == matches
	}
	return c.match.Match(&x.Exchange, e)
}

func (c *captures) env(now time.Time) filter.Env {
	return filter.Env{
		Now:    now,
		Marked: func(id string) bool { return id == c.marked },
		Unseen: func(id string) bool { x := c.byID[id]; return x != nil && x.unseen },
	}
}

// previous is the capture on the same route before x, of the same event if there
// is one.
func (c *captures) previous(x *inspector.Exchange) *capture {
	at := c.byID[x.ID]
	if at == nil {
		return nil
	}
	var last *capture
	i, _ := position(c.all, at.order)
	for i--; i >= 0; i-- {
		p := c.all[i]
		if p.Method != x.Method || route(p.Path) != route(x.Path) {
			continue
		}
		if p.Event == x.Event {
			return p
		}
		if last == nil {
			last = p
		}
	}
	return last
}

func route(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// insert puts x into its place in a list, where it almost always belongs
// at the end.
func insert(list []*capture, x *capture) []*capture {
	if n := len(list); n == 0 || list[n-1].order < x.order {
		return append(list, x)
	}
	i, _ := position(list, x.order)
	return slices.Insert(list, i, x)
}

// position finds the capture with that order.
func position(list []*capture, order uint64) (int, bool) {
	return slices.BinarySearchFunc(list, order, func(x *capture, n uint64) int {
		switch {
		case x.order < n:
			return -1
		case x.order > n:
			return 1
		}
		return 0
	})
}

// A rate counts arrivals by second.
type rate struct {
	second [10]int64
	count  [10]int
}

func (r *rate) add(at time.Time) {
	s := at.Unix()
	i := int(uint64(s) % 10)
	if r.second[i] != s {
		r.second[i], r.count[i] = s, 0
	}
	r.count[i]++
}

// perSecond is the mean over the last ten seconds.
func (r *rate) perSecond(now time.Time) float64 {
	n := 0
	for i, s := range r.second {
		if age := now.Unix() - s; age >= 0 && age < 10 {
			n += r.count[i]
		}
	}
	return float64(n) / 10
}

// stats sums up the last hundred captures that have ended.
type stats struct {
	stale    bool
	p50, p95 time.Duration
	failed   float64 // share of 5xx and broken ones
	recent   []time.Duration
	sorted   []time.Duration
}

// summary brings the figures up to date. Streams are left out of the durations:
// how long they last says nothing about how fast the service is.
func (c *captures) summary() *stats {
	s := &c.stats
	if !s.stale {
		return s
	}
	s.stale = false
	s.recent = s.recent[:0]
	ended, failed := 0, 0
	for i := len(c.all) - 1; i >= 0 && ended < 100; i-- {
		x := c.all[i]
		if x.State != inspector.Done {
			continue
		}
		ended++
		if x.Erred() {
			failed++
		}
		if x.Kind == inspector.HTTP || x.Kind == inspector.GRPC {
			s.recent = append(s.recent, x.Timing.Done)
		}
	}
	slices.Reverse(s.recent)
	s.p50, s.p95, s.failed = 0, 0, 0
	if ended > 0 {
		s.failed = float64(failed) / float64(ended)
	}
	if n := len(s.recent); n > 0 {
		s.sorted = append(s.sorted[:0], s.recent...)
		slices.Sort(s.sorted)
		s.p50, s.p95 = s.sorted[n/2], s.sorted[min(n*95/100, n-1)]
	}
	return s
}
