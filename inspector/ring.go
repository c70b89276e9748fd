package inspector

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// RingSize is how many exchanges a tunnel keeps unless told otherwise.
const RingSize = 100

// A Budget bounds the memory that captures take over many rings. The zero value
// of a *Budget, nil, bounds nothing.
type Budget struct {
	limit, used atomic.Int64

	mu    sync.Mutex
	rings map[*Ring]struct{}
}

// join and leave tell the budget which rings share it.
func (b *Budget) join(r *Ring) {
	if b == nil {
		return
	}
	b.mu.Lock()
	if b.rings == nil {
		b.rings = map[*Ring]struct{}{}
	}
	b.rings[r] = struct{}{}
	b.mu.Unlock()
}

func (b *Budget) leave(r *Ring) {
	if b == nil {
		return
	}
	b.mu.Lock()
	delete(b.rings, r)
	b.mu.Unlock()
}

// trim makes the ring that takes most give up bodies. The caller holds no
// ring's lock.
func (b *Budget) trim() {
	b.mu.Lock()
	var most *Ring
	for r := range b.rings {
		if most == nil || r.own.Used() > most.own.Used() {
			most = r
		}
	}
	b.mu.Unlock()
	if most != nil {
		most.mu.Lock()
		most.dropBodies(most.own.Used() / 2)
		most.mu.Unlock()
	}
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget {
	b := &Budget{}
	b.limit.Store(limit)
	return b
}

// SetLimit changes the limit. What is taken beyond a lower one is given up as new
// captures come.
func (b *Budget) SetLimit(limit int64) { b.limit.Store(limit) }

// Used is how many bytes are taken now.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// take reserves n bytes or none.
func (b *Budget) take(n int64) bool {
	if b == nil {
		return true
	}
	if b.used.Add(n) > b.limit.Load() {
		b.used.Add(-n)
		return false
	}
	return true
}

// charge reserves n bytes even when the budget has no room; see [Ring.fit].
func (b *Budget) charge(n int64) {
	if b != nil {
		b.used.Add(n)
	}
}

// over reports whether more is taken than there is.
func (b *Budget) over() bool {
	return b != nil && b.used.Load() > b.limit.Load()
}

func (b *Budget) give(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// tight reports whether less than a quarter of the budget is left.
func (b *Budget) tight() bool {
	return b != nil && b.used.Load() > b.limit.Load()/4*3
}

// A Ring keeps the newest exchanges of one tunnel and tells watchers about
// every change. All methods may be called at the same time; none waits for a
// watcher or for the traffic it records.
type Ring struct {
	tunnel string
	size   int
	limits Limits
	edge   *Budget
	own    *Budget

	mu       sync.Mutex
	records  []*Record // oldest first
	number   uint64
	version  uint64
	lost     uint64 // the newest version that Since can no longer tell of
	watchers map[*Watcher]struct{}
	done     chan struct{}
	closed   bool
}

// Limits bound what a ring captures.
type Limits struct {
	Body   int64 // bytes kept of each body; 0 means 1 MiB
	Tunnel int64 // bytes kept of all bodies of a tunnel; 0 means 32 MiB
}

const (
	defaultBody   = 1 << 20
	defaultTunnel = 32 << 20
	// maxHashed is the size of the largest body whose digest is kept.
	maxHashed = 16 << 20
)

// NewRing returns a ring for tunnel that keeps size exchanges, RingSize when
// it is 0. The budget is shared with other rings and may be nil.
func NewRing(tunnel string, size int, limits Limits, budget *Budget) *Ring {
	if size <= 0 {
		size = RingSize
	}
	if limits.Body <= 0 {
		limits.Body = defaultBody
	}
	if limits.Tunnel <= 0 {
		limits.Tunnel = defaultTunnel
	}
	r := &Ring{
		tunnel: tunnel, size: size, limits: limits,
		edge: budget, own: NewBudget(limits.Tunnel),
		done: make(chan struct{}),
	}
	// Versions go on where no earlier ring of this name can have been: who
	// resumes after a restart of the edge learns of the gap.
	r.version = uint64(time.Now().UnixMilli()) << 10
	r.lost = r.version
	budget.join(r)
	return r
}

// List returns up to limit exchanges without heads and bodies, newest first.
// Only those with a number below before are returned, unless it is 0.
func (r *Ring) List(limit int, before uint64) []Exchange {
	if limit <= 0 || limit > r.size {
		limit = r.size
	}
	r.mu.Lock()
	recs := make([]*Record, 0, min(limit, len(r.records)))
	for _, rec := range slices.Backward(r.records) {
		if len(recs) == limit {
			break
		}
		if before == 0 || rec.x.Number < before {
			recs = append(recs, rec)
		}
	}
	r.mu.Unlock()
	// Snapshots are made without the lock that new requests wait for.
	out := make([]Exchange, len(recs))
	for i, rec := range recs {
		out[i] = rec.light()
	}
	return out
}

// Find returns the exchange with the given id, heads and bodies included.
func (r *Ring) Find(id string) (Exchange, bool) {
	rec := r.find(id)
	if rec == nil {
		return Exchange{}, false
	}
	return rec.Whole(), true
}

func (r *Ring) find(id string) *Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range slices.Backward(r.records) {
		if rec.x.ID == id {
			return rec
		}
	}
	return nil
}

// Since returns what changed after version, oldest change first, without heads
// and bodies; after 0 that is all there is. The gap is true when the ring has
// already forgotten some of it, or never knew it.
func (r *Ring) Since(version uint64) (xs []Exchange, gap bool) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, false
	}
	gap = version > 0 && version < r.lost || version > r.version
	var changed []change
	for _, rec := range r.records {
		if v := rec.version.Load(); v > version || gap {
			changed = append(changed, change{rec, v})
		}
	}
	r.mu.Unlock()
	slices.SortFunc(changed, func(a, b change) int { return cmp.Compare(a.version, b.version) })
	xs = make([]Exchange, len(changed))
	for i, c := range changed {
		xs[i] = c.rec.light()
		// What came after that has a version of its own, and is told again.
		xs[i].Version = c.version
	}
	return xs, gap
}

// A change is a record and its version when somebody asked what has changed.
type change struct {
	rec     *Record
	version uint64
}

// Version is the version of the newest change.
func (r *Ring) Version() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version
}

// Clear forgets all exchanges; those still open finish unrecorded. Watchers see
// a gap.
func (r *Ring) Clear() {
	r.mu.Lock()
	r.clear()
	r.mu.Unlock()
}

func (r *Ring) clear() {
	for _, rec := range r.records {
		rec.detach()
	}
	r.records = nil
	r.version++
	r.lost = r.version
	r.poke()
}

// Close clears the ring and ends its watchers. Nothing is recorded afterwards.
func (r *Ring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	r.clear()
	close(r.done)
	r.edge.leave(r)
}

// Done is closed when the ring is.
func (r *Ring) Done() <-chan struct{} { return r.done }

// add puts rec in, making room first.
func (r *Ring) add(rec *Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if len(r.records) >= r.size {
		r.evict()
	}
	if r.own.tight() {
		r.dropBodies(r.limits.Tunnel / 2)
	}
	r.number++
	r.version++
	rec.x.Number = r.number
	rec.version.Store(r.version)
	r.records = append(r.records, rec)
	r.fit()
	r.poke()
	return true
}

// fit keeps fewer exchanges while heads take more memory than there is: a head
// is small and always kept whole, but a hundred large ones are not small.
func (r *Ring) fit() {
	for (r.own.over() || r.edge.over()) && len(r.records) > 1 {
		r.evict()
	}
}

// evict drops the oldest exchange that has ended, or the oldest when all are
// open: a stream that is still running stays on the screen.
func (r *Ring) evict() {
	i := 0
	for k, rec := range r.records {
		if rec.ended.Load() {
			i = k
			break
		}
	}
	rec := r.records[i]
	r.lost = max(r.lost, rec.version.Load())
	rec.detach()
	copy(r.records[i:], r.records[i+1:])
	r.records[len(r.records)-1] = nil
	r.records = r.records[:len(r.records)-1]
}

// dropBodies frees the captured bodies of the oldest ended exchanges until no
// more than keep bytes are taken.
func (r *Ring) dropBodies(keep int64) {
	for _, rec := range r.records {
		if r.own.Used() <= keep {
			return
		}
		if rec.ended.Load() {
			rec.dropBodies("evicted")
		}
	}
}

// touch gives rec a new version and wakes the watchers.
func (r *Ring) touch(rec *Record) {
	r.mu.Lock()
	if !rec.detached.Load() {
		r.version++
		rec.version.Store(r.version)
		r.poke()
	}
	r.mu.Unlock()
}

// A Watcher is poked after every change of a ring.
type Watcher struct {
	c    chan struct{}
	ring *Ring
}

// Watch returns a new watcher; the caller closes it.
func (r *Ring) Watch() *Watcher {
	w := &Watcher{c: make(chan struct{}, 1), ring: r}
	r.mu.Lock()
	if r.watchers == nil {
		r.watchers = map[*Watcher]struct{}{}
	}
	r.watchers[w] = struct{}{}
	r.mu.Unlock()
	return w
}

// C receives after changes; any number of them may share one receive.
func (w *Watcher) C() <-chan struct{} { return w.c }

// Close ends the watching.
func (w *Watcher) Close() {
	w.ring.mu.Lock()
	delete(w.ring.watchers, w)
	w.ring.mu.Unlock()
}

func (r *Ring) poke() {
	for w := range r.watchers {
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}
