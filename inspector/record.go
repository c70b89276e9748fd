package inspector

import (
	"cmp"
	"encoding/hex"
	"hash"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
)

// A Record is an exchange while it happens. The forwarder fills it in; the ring
// takes snapshots. A nil Record is valid and records nothing, so a tunnel
// without inspection takes the same path.
//
// Request and response may be recorded by two goroutines at the same time: a
// service can answer before it has read the whole request.
type Record struct {
	ring *Ring

	version  atomic.Uint64
	ended    atomic.Bool
	detached atomic.Bool  // not in the ring any more
	shown    atomic.Int64 // nanoseconds after Accepted of the last touch
	behind   atomic.Bool  // something has passed that watchers were not told of

	Request, Response BodyRecord

	mu       sync.Mutex
	x        Exchange // ID, Number and what Begin sets never change
	reqHead  string
	respHead string
	heads    int64  // bytes of the budgets that the heads and marks take
	marks    *marks // of a stream, set before either body is counted as one
	named    bool   // x.Event is what it will be
}

// progressEvery is how often a running exchange tells watchers of its bytes.
const progressEvery = 250 * time.Millisecond

// A Start is what is known of a request when its head has arrived.
type Start struct {
	// Head is the head as it came, copied by Begin; Header stands for it where
	// there was none on the wire (HTTP/2).
	Head   []byte
	Header []Field

	Method, Path, Scheme, Host, Proto, Remote, TLS string

	Kind     Kind // empty is HTTP
	ReplayOf string
	Accepted time.Time
}

// Begin puts a new exchange into the ring. It returns nil when r is nil or
// closed.
func (r *Ring) Begin(s Start) *Record {
	if r == nil {
		return nil
	}
	rec := &Record{ring: r, reqHead: string(s.Head)}
	rec.x = Exchange{
		ID: newID(s.Accepted), Tunnel: r.tunnel, ReplayOf: s.ReplayOf,
		State: Open, Kind: cmp.Or(s.Kind, HTTP),
		Method: s.Method, Path: s.Path, Scheme: s.Scheme, Host: s.Host,
		Proto: s.Proto, Remote: s.Remote, TLS: s.TLS,
		Request: Message{Header: s.Header},
		Timing:  Timing{Accepted: s.Accepted},
	}
	rec.Request.rec, rec.Response.rec = rec, rec
	rec.charge(s.Head, s.Header)
	if r.edge.tight() {
		r.edge.trim()
	}
	if s.Kind == GRPC {
		rec.streams(GRPC) // messages may come long before the answer
	}
	if !r.add(rec) {
		rec.release()
		return nil
	}
	return rec
}

func newID(t time.Time) string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(t))
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		id[6+i] = byte(a >> (8 * i))
	}
	id[14], id[15] = byte(b), byte(b>>8)
	var buf [4 + ulid.EncodedSize]byte
	copy(buf[:], "req_")
	_ = id.MarshalTextTo(buf[4:])
	return string(buf[:])
}

// charge takes what a head needs from the budgets: its bytes, and as much again
// for the lines that are made of it.
func (rec *Record) charge(head []byte, fields []Field) {
	n := 2 * int64(len(head))
	for _, f := range fields {
		n += int64(len(f.Name) + len(f.Value))
	}
	rec.heads += n
	rec.ring.own.charge(n)
	rec.ring.edge.charge(n)
}

// release gives back what the record takes, heads and bodies. Only the snapshots
// that were made of it stay, so nobody will ask for a digest any more.
func (rec *Record) release() {
	rec.mu.Lock()
	n := rec.heads
	rec.heads = 0
	rec.mu.Unlock()
	rec.ring.own.give(n)
	rec.ring.edge.give(n)
	for _, b := range [...]*BodyRecord{&rec.Request, &rec.Response} {
		b.mu.Lock()
		b.free("evicted")
		b.hash, b.closed = nil, true
		b.mu.Unlock()
	}
}

// ID is the exchange's id, empty for a nil Record.
func (rec *Record) ID() string {
	if rec == nil {
		return ""
	}
	return rec.x.ID
}

// Opened notes that a stream to the agent is at hand.
func (rec *Record) Opened(reused bool) {
	if rec == nil {
		return
	}
	rec.mu.Lock()
	rec.x.Timing.StreamOpen = time.Since(rec.x.Timing.Accepted)
	rec.x.Timing.Reused = reused
	rec.mu.Unlock()
}

// Connected notes that the local service of a raw connection was reached, which
// took the agent dial.
func (rec *Record) Connected(dial time.Duration) {
	if rec == nil {
		return
	}
	rec.mu.Lock()
	rec.x.Timing.Dial = dial
	rec.mu.Unlock()
	rec.Show()
}

// Interim notes a 1xx response that was passed on.
func (rec *Record) Interim(status int) {
	if rec == nil {
		return
	}
	rec.mu.Lock()
	rec.x.Interim = append(rec.x.Interim[:len(rec.x.Interim):len(rec.x.Interim)], status)
	rec.mu.Unlock()
}

// Answer is a final response head.
type Answer struct {
	Head   []byte // as it came, copied; or Header
	Header []Field
	Status int
	Reason string
	Kind   Kind          // empty keeps HTTP
	Dial   time.Duration // how long the agent dialled, 0 for a stream that had served before
}

// Answered notes the response head.
func (rec *Record) Answered(a Answer) {
	if rec == nil {
		return
	}
	rec.mu.Lock()
	rec.x.Status, rec.x.Reason = a.Status, a.Reason
	rec.x.Response.Header = a.Header
	rec.respHead = string(a.Head)
	rec.charge(a.Head, a.Header)
	if a.Kind != "" {
		rec.x.Kind = a.Kind
	}
	rec.x.Timing.Dial = a.Dial
	rec.x.Timing.FirstByte = time.Since(rec.x.Timing.Accepted)
	rec.mu.Unlock()
	rec.behind.Store(true) // told by CatchUp when the body takes its time
	if a.Kind != "" {
		rec.streams(a.Kind)
	}
}

// Trailers notes trailer fields of the request or the response.
func (rec *Record) Trailers(request, response []Field) {
	if rec == nil || request == nil && response == nil {
		return
	}
	rec.mu.Lock()
	if request != nil {
		rec.x.Request.Trailer = request
	}
	if response != nil {
		rec.x.Response.Trailer = response
	}
	rec.mu.Unlock()
}

// An Ending says who cut an exchange short and why; the zero value is a clean
// end.
type Ending struct {
	By     string // "client", "upstream" or "edge"
	Code   string
	Detail string
}

// End closes the exchange. Further calls change nothing.
func (rec *Record) End(e Ending) {
	if rec == nil || rec.ended.Load() {
		return
	}
	rec.mu.Lock()
	rec.x.State = Done
	rec.x.EndedBy, rec.x.Error, rec.x.Detail = e.By, e.Code, e.Detail
	rec.x.Timing.Done = max(time.Since(rec.x.Timing.Accepted), 1)
	rec.mu.Unlock()
	rec.ended.Store(true)
	if rec.detached.Load() {
		rec.release()
		return
	}
	rec.ring.touch(rec)
}

// Show tells watchers that the exchange has something new, such as the
// response head of a stream that goes on.
func (rec *Record) Show() {
	if rec == nil {
		return
	}
	rec.shown.Store(int64(time.Since(rec.x.Timing.Accepted)))
	rec.ring.touch(rec)
}

// light is a snapshot without heads and bodies.
func (rec *Record) light() Exchange {
	rec.mu.Lock()
	rec.parse()
	x, named := rec.x, rec.named
	rec.mu.Unlock()
	if x.State == Done && !named {
		rec.name(&x)
	}
	x.Version = rec.version.Load()
	rec.Request.describe(&x.Request.Body)
	rec.Response.describe(&x.Response.Body)
	return x
}

// Whole is a snapshot with heads and captured bodies.
func (rec *Record) Whole() Exchange {
	x := rec.light()
	rec.mu.Lock()
	x.Request.Head, x.Response.Head = []byte(rec.reqHead), []byte(rec.respHead)
	if rec.marks != nil {
		x.Marks = rec.marks.all()
	}
	rec.mu.Unlock()
	rec.Request.fill(&x.Request.Body, x.State == Done)
	rec.Response.fill(&x.Response.Body, x.State == Done)
	return x
}

// parse fills the header lists from the raw heads, once.
func (rec *Record) parse() {
	if rec.x.Request.Header == nil {
		rec.x.Request.Header = fields(rec.reqHead)
	}
	if rec.x.Response.Header == nil && rec.respHead != "" {
		rec.x.Response.Header = fields(rec.respHead)
	}
}

// name finds out what the bodies of x tell, once, when somebody looks: which event
// it brings, and how a call of gRPC-Web ended.
func (rec *Record) name(x *Exchange) {
	x.Event = eventOf(x, rec.Request.kept())
	if contentType := x.Response.Get("Content-Type"); isGRPCWeb(contentType) && x.Response.Trailer == nil {
		x.Response.Trailer = webTrailer(contentType, rec.Response.kept())
	}
	rec.mu.Lock()
	rec.x.Event, rec.x.Response.Trailer, rec.named = x.Event, x.Response.Trailer, true
	rec.mu.Unlock()
}

// fields splits a head into its lines, the start line left out.
func fields(head string) []Field {
	_, rest, _ := strings.Cut(head, "\n")
	out := make([]Field, 0, strings.Count(rest, "\n"))
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimSuffix(line, "\r")
		if name, value, ok := strings.Cut(line, ":"); ok {
			out = append(out, Field{name, strings.Trim(value, " \t")})
		}
	}
	return out
}

// detach is called by the ring, under its lock, when it lets go of rec.
func (rec *Record) detach() {
	rec.detached.Store(true)
	if rec.ended.Load() {
		rec.release()
	}
}

func (rec *Record) dropBodies(why string) {
	rec.Request.drop(why)
	rec.Response.drop(why)
	rec.dropMarks()
}

// A BodyRecord keeps the beginning of one body, the last part of one that is a
// stream, its size and its digest. It is
// an io.Writer that never fails and never waits; a nil BodyRecord is not valid,
// see [Record.Body].
type BodyRecord struct {
	rec *Record

	mu      sync.Mutex
	data    []byte
	size    int64
	taken   int64 // of both budgets
	length  int64 // that was announced, 0 when none was
	missing string
	closed  bool // nothing is kept any more
	sum     string
	hash    hash.Hash // for bodies larger than what is kept
	items   *items    // of a stream
	tail    *tail     // of a stream whose last part is kept as well
}

// RequestBody returns where the request body is recorded, nil for a nil Record.
func (rec *Record) RequestBody() *BodyRecord {
	if rec == nil {
		return nil
	}
	return &rec.Request
}

// ResponseBody returns where the response body is recorded, nil for a nil
// Record.
func (rec *Record) ResponseBody() *BodyRecord {
	if rec == nil {
		return nil
	}
	return &rec.Response
}

// Write records p as the next bytes of the body. On a nil BodyRecord it does
// nothing.
func (b *BodyRecord) Write(p []byte) (int, error) {
	if b == nil {
		return len(p), nil
	}
	b.mu.Lock()
	keeps := b.keeps()
	at, offset := time.Duration(0), b.size
	if b.items != nil {
		at = time.Since(b.rec.x.Timing.Accepted)
	}
	if b.tail != nil {
		b.follow(p, at)
	} else {
		if b.items != nil {
			b.items.pass(p, at)
		}
		rest := p
		if keeps {
			rest = p[b.keep(p):]
		}
		b.pass(len(p), rest)
	}
	marks := b.items != nil && keeps && len(p) > 0
	b.mu.Unlock()
	if marks {
		b.rec.mark(b == &b.rec.Response, offset, at)
	}
	b.rec.progress()
	return len(p), nil
}

// pass counts n bytes, of which the last ones are not in the digest yet.
func (b *BodyRecord) pass(n int, rest []byte) {
	b.size += int64(n)
	if b.hash != nil {
		if b.size > maxHashed {
			b.hash = nil
		} else {
			b.hash.Write(rest)
		}
	}
}

// Expect says that the body has n bytes in all, so that room need not be made
// again and again. A length that is not known is -1. On a nil BodyRecord it does
// nothing.
func (b *BodyRecord) Expect(n int64) {
	if b == nil || n <= 0 {
		return
	}
	b.mu.Lock()
	b.length = n
	b.mu.Unlock()
}

// firstBytes is how much is kept of each direction of a raw connection: enough to
// see what is spoken.
const firstBytes = 256

// Pass records p as the next bytes of a raw connection. Only the first few are
// kept, and no digest is made as they pass. On a nil BodyRecord it does nothing.
func (b *BodyRecord) Pass(p []byte) {
	if b == nil {
		return
	}
	b.mu.Lock()
	if b.missing == "" && !b.closed && len(p) > 0 {
		n := min(len(p), min(firstBytes, int(b.rec.ring.limits.Body))-len(b.data))
		switch {
		case n > 0 && len(b.data)+n > cap(b.data) && !b.grow(len(b.data)+n):
			n, b.missing = 0, "memory"
		case n < len(p):
			b.missing = "limit"
		}
		b.data = append(b.data, p[:n]...)
	}
	b.size += int64(len(p))
	b.mu.Unlock()
	b.rec.progress()
}

// Cut notes that the body ended before its end.
func (b *BodyRecord) Cut() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.missing = "aborted"
	b.hash = nil
	b.mu.Unlock()
}

// progress shows a long exchange's bytes now and then.
func (rec *Record) progress() {
	at := int64(time.Since(rec.x.Timing.Accepted))
	last := rec.shown.Load()
	if at-last <= int64(progressEvery) {
		if !rec.behind.Load() {
			rec.behind.Store(true)
		}
		return
	}
	if rec.shown.CompareAndSwap(last, at) {
		rec.behind.Store(false)
		rec.ring.touch(rec)
	}
}

// CatchUp tells watchers of what passed too soon after something else to be told
// of when it came. Whoever forwards calls it now and then while an exchange is
// open: the last bytes before a pause would not be seen otherwise, nor the head of
// an answer whose body takes long.
func (rec *Record) CatchUp() {
	if rec != nil && rec.behind.Load() {
		rec.progress()
	}
}

// keep appends what the limits allow of p and returns how much that was. From
// the first byte that is not kept on, the digest is computed as bytes pass.
func (b *BodyRecord) keep(p []byte) int {
	n := min(len(p), int(b.rec.ring.limits.Body)-len(b.data))
	why := ""
	if need := len(b.data) + n; need > cap(b.data) && !b.grow(need) {
		n, why = 0, "memory"
	} else if n < len(p) {
		why = "limit"
	}
	b.data = append(b.data, p[:n]...)
	if why != "" {
		b.miss(why)
	}
	return n
}

// believed is how much of a body must have come before room is made for all that
// was announced.
const believed = 32 << 10

// grow makes room for need bytes, at most the ring's limit, within the budgets.
func (b *BodyRecord) grow(need int) bool {
	most := b.rec.ring.limits.Body
	if b.tail != nil {
		most = int64(b.tail.head)
	}
	size := max(need, min(2*cap(b.data), int(most)))
	if need >= believed {
		size = max(size, int(min(b.length, most)))
	}
	if size < 512 {
		size = (size + 63) &^ 63
	}
	if !b.take(int64(size - cap(b.data))) {
		return false
	}
	data := make([]byte, len(b.data), size)
	copy(data, b.data)
	b.data = data
	return true
}

// take takes n bytes from the budgets, or none.
func (b *BodyRecord) take(n int64) bool {
	r := b.rec.ring
	if !r.own.take(n) {
		return false
	}
	if !r.edge.take(n) {
		r.own.give(n)
		return false
	}
	b.taken += n
	return true
}

// drop gives up the data and keeps its digest.
func (b *BodyRecord) drop(why string) {
	b.mu.Lock()
	if b.data != nil {
		b.finish()
		b.free(why)
	}
	b.mu.Unlock()
}

// free gives up the data.
func (b *BodyRecord) free(why string) {
	if b.data == nil {
		return
	}
	b.missing = why
	b.data = nil
	if b.tail != nil {
		b.tail.pieces = nil
	}
	b.rec.ring.own.give(b.taken)
	b.rec.ring.edge.give(b.taken)
	b.taken = 0
}

// kept is what there is of the body; it is only ever appended to.
func (b *BodyRecord) kept() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data
}

// describe says how much there is; fill adds data and digest.
func (b *BodyRecord) describe(out *Body) {
	b.mu.Lock()
	*out = b.body()
	b.mu.Unlock()
}

func (b *BodyRecord) body() Body {
	body := Body{Size: b.size, Captured: int64(len(b.data)), Missing: b.missing, SHA256: b.sum}
	if b.tail != nil && len(b.tail.pieces) > 0 && b.tail.whole(len(b.data)) {
		body.Captured = b.size
	}
	if b.items != nil {
		body.Items, body.Last = b.items.n, b.items.last
	}
	return body
}

func (b *BodyRecord) fill(out *Body, done bool) {
	b.mu.Lock()
	if done {
		b.finish()
	}
	*out = b.body()
	out.Data = b.data[:len(b.data):len(b.data)]
	join := func() {}
	if b.tail != nil {
		join = b.tail.share(b, out)
	}
	b.mu.Unlock()
	join()
}

// finish computes the digest of a body that has ended. Small bodies are hashed
// here, when somebody looks, and not while they pass.
func (b *BodyRecord) finish() {
	switch {
	case b.sum != "" || b.size == 0:
	case b.hash != nil:
		b.sum = hex.EncodeToString(b.hash.Sum(nil))
		b.hash = nil
	case b.body().Captured == b.size && b.missing == "":
		b.sum = hex.EncodeToString(b.digest().Sum(nil))
	}
}
