package inspector

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A Mark says when, and after what, a stretch of a stream began to pass. The
// marks of an exchange are in the order in which the stretches came, so that what
// both sides said can be read as one conversation. Where marks were let go of, one
// for each side says from where on, with a time below 0.
type Mark struct {
	At       time.Duration `json:"at"`                 // after Timing.Accepted
	Response bool          `json:"response,omitempty"` // the service said it
	Offset   int64         `json:"offset"`             // in what that side said
}

const (
	// markEvery is how long what comes from one side without a word from the other
	// may share a mark.
	markEvery = 5 * time.Millisecond
	// maxMarks bounds the marks of an exchange: the first ones and the last ones,
	// half of them each.
	maxMarks = 4096
	markSize = 24 // bytes of memory
)

// marks are those of a stream while it happens. The list is guarded by the
// record's lock.
type marks struct {
	last  atomic.Int64 // the time of the latest mark, doubled, and one if it is the response's
	list  []Mark
	full  bool     // the second half of the list goes round
	next  int      // then: which is the oldest there
	gone  [2]bool  // whether marks of a side were let go of
	since [2]int64 // from which offset on
}

// mark notes that one side says something at the offset. Only the writer of that
// side calls it.
func (rec *Record) mark(response bool, offset int64, at time.Duration) {
	m := rec.marks
	now := int64(at) << 1
	if response {
		now |= 1
	}
	if last := m.last.Load(); last&1 == now&1 && now-last < int64(markEvery)<<1 {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !m.full && len(m.list) == cap(m.list) && !rec.moreMarks() {
		m.full, m.next = true, len(m.list)/2
	}
	switch {
	case !m.full:
		m.list = append(m.list, Mark{at, response, offset})
	case len(m.list) == 0: // there is no memory for any, or no more
		return
	default:
		m.put(Mark{at, response, offset})
	}
	m.last.Store(now)
}

// put has a mark take the place of the oldest one in the second half.
func (m *marks) put(mark Mark) {
	old := &m.list[m.next]
	side := 0
	if old.Response {
		side = 1
	}
	if !m.gone[side] {
		m.gone[side], m.since[side] = true, old.Offset
	}
	*old = mark
	if m.next++; m.next == len(m.list) {
		m.next /= 2
	}
}

// all returns the marks in their order.
func (m *marks) all() []Mark {
	if !m.full {
		return slices.Clone(m.list)
	}
	half := len(m.list) / 2
	out := append(make([]Mark, 0, len(m.list)+len(m.gone)), m.list[:half]...)
	for side, gone := range m.gone {
		if gone {
			out = append(out, Mark{-1, side == 1, m.since[side]})
		}
	}
	return append(append(out, m.list[m.next:]...), m.list[half:m.next]...)
}

// moreMarks makes room within the budgets.
func (rec *Record) moreMarks() bool {
	m := rec.marks
	size := max(2*cap(m.list), 16)
	n := int64(size-cap(m.list)) * markSize
	if size > maxMarks || !rec.ring.own.take(n) {
		return false
	}
	if !rec.ring.edge.take(n) {
		rec.ring.own.give(n)
		return false
	}
	rec.heads += n
	m.list = append(make([]Mark, 0, size), m.list...)
	return true
}

// dropMarks gives the marks up with the bodies that they are of.
func (rec *Record) dropMarks() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if m := rec.marks; m != nil && cap(m.list) > 0 {
		n := int64(cap(m.list)) * markSize
		rec.heads -= n
		rec.ring.own.give(n)
		rec.ring.edge.give(n)
		m.list, m.full, m.next, m.gone = nil, true, 0, [2]bool{}
	}
}

// streams has the bodies of an exchange of that kind counted and marked as they
// pass.
func (rec *Record) streams(kind Kind) {
	sides := []*BodyRecord{&rec.Request, &rec.Response}
	switch kind {
	case SSE:
		sides = sides[1:]
	case WebSocket, Upgraded, GRPC:
	default:
		return
	}
	rec.mu.Lock()
	counted := rec.marks != nil
	rec.mu.Unlock()
	if counted { // since the request came
		return
	}
	m := &marks{}
	m.last.Store(-int64(time.Hour)) // the first one is always noted
	rec.mu.Lock()
	rec.marks = m
	rec.parse()
	if coding := rec.x.Response.Get("Content-Encoding"); kind == SSE && coding != "" && !strings.EqualFold(coding, "identity") {
		kind = Upgraded // what is compressed cannot be told apart
	}
	rec.mu.Unlock()
	for _, b := range sides {
		b.mu.Lock()
		b.items = &items{kind: kind}
		if (kind == SSE || kind == WebSocket) && b.size == 0 { // others cannot be taken up again in the middle
			b.tail = newTail(rec.ring.limits.Body)
		}
		b.mu.Unlock()
	}
}

// items counts the events, frames or messages of a stream as its bytes pass. It
// keeps nothing of them but where in one it is.
type items struct {
	kind Kind
	n    int64
	last time.Duration

	// Of a frame or message: its head as far as it has come, and what of its payload
	// has not.
	head [14]byte
	have int
	left uint64

	// Of an event: how far its line has come, whether that began as "data" does,
	// whether any line did, and whether a CR came last.
	column          int
	named, data, cr bool
}

// pass takes p, which came at that time. It returns where in p, its end included,
// an item begins for the first time, below 0 if none does, and how many passed
// before that.
func (c *items) pass(p []byte, at time.Duration) (first int, before int64) {
	n := c.n
	first = -1
	switch c.kind {
	case WebSocket:
		first, before = c.frames(p)
	case SSE:
		first, before = c.events(p)
	case GRPC:
		c.messages(p)
	}
	if c.n != n {
		c.last = at
	}
	return first, before
}

// frames counts the WebSocket frames whose heads are complete (RFC 6455, 5.2).
func (c *items) frames(p []byte) (first int, before int64) {
	first = -1
	for at := 0; ; {
		if c.left > 0 {
			n := min(c.left, uint64(len(p)-at))
			c.left -= n
			at += int(n)
		}
		if first < 0 && c.left == 0 && c.have == 0 {
			first, before = at, c.n
		}
		if at == len(p) {
			return first, before
		}
		if c.have == 0 {
			if size, n := payload(p[at:]); n > 0 {
				c.n, c.left, at = c.n+1, size, at+n
				continue
			}
		}
		c.head[c.have] = p[at]
		c.have++
		at++
		if size, n := payload(c.head[:c.have]); n > 0 {
			c.n, c.left, c.have = c.n+1, size, 0
		}
	}
}

// messages counts the gRPC messages whose heads are complete: a byte of flags and
// four of length.
func (c *items) messages(p []byte) {
	for len(p) > 0 {
		if c.left > 0 {
			n := min(c.left, uint64(len(p)))
			c.left, p = c.left-n, p[n:]
			continue
		}
		n := copy(c.head[c.have:5], p)
		c.have, p = c.have+n, p[n:]
		if c.have == 5 {
			c.n, c.left, c.have = c.n+1, uint64(binary.BigEndian.Uint32(c.head[1:5])), 0
		}
	}
}

// payload is how many bytes follow the head of a frame, and how many that takes,
// once all of it is there.
func payload(p []byte) (n uint64, head int) {
	if len(p) < 2 {
		return 0, 0
	}
	n = uint64(p[1] & 0x7f)
	size := 2
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	head = size
	if p[1]&0x80 != 0 { // masked
		head += 4
	}
	if len(p) < head {
		return 0, 0
	}
	if size > 2 {
		n = 0
		for _, b := range p[2:size] {
			n = n<<8 | uint64(b)
		}
	}
	return n, head
}

// events counts the events that have data and have come to their end. Others,
// such as comments that keep a connection alive, are told to nobody.
func (c *items) events(p []byte) (first int, before int64) {
	const name = "data"
	first = -1
	for i := 0; i < len(p); i++ {
		if c.column > len(name) { // of what follows only the line's end matters
			n := lineEnd(p[i:])
			if n > 0 {
				c.cr = false
			}
			if i += n; i == len(p) {
				break
			}
		}
		b := p[i]
		second := b == '\n' && c.cr
		c.cr = b == '\r'
		switch {
		case second: // of a line's end
		case b != '\n' && b != '\r':
			switch {
			case c.column < len(name):
				c.named = b == name[c.column] && (c.named || c.column == 0)
			case c.column == len(name):
				c.named = c.named && b == ':'
			}
			c.column = min(c.column+1, len(name)+1)
		case c.column == 0: // a blank line
			if c.data {
				c.n++
			}
			c.data = false
			if first < 0 {
				first, before = i+1, c.n
			}
		default:
			c.data = c.data || c.named && c.column >= len(name)
			c.column = 0
		}
	}
	return first, before
}

// lineEnd is where the line ends with which p begins, the length of p if it does
// not.
func lineEnd(p []byte) int {
	if n := bytes.IndexByte(p, '\n'); n >= 0 {
		p = p[:n]
	}
	if n := bytes.IndexByte(p, '\r'); n >= 0 {
		return n
	}
	return len(p)
}
