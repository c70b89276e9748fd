package inspector

import (
	"encoding/binary"
	"strings"
	"sync/atomic"
	"time"
)

// A Mark says when, and after what, a stretch of a stream began to pass. The
// marks of an exchange are in the order in which the stretches came, so that what
// both sides said can be read as one conversation.
type Mark struct {
	At       time.Duration `json:"at"`                 // after Timing.Accepted
	Response bool          `json:"response,omitempty"` // the service said it
	Offset   int64         `json:"offset"`             // in what that side said
}

const (
	// markEvery is how long what comes from one side without a word from the other
	// may share a mark.
	markEvery = 5 * time.Millisecond
	// maxMarks bounds the marks of an exchange. What comes after the last one has
	// neither a time nor a place among what the other side said.
	maxMarks = 4096
	markSize = 24 // bytes of memory
)

// marks are those of a stream while it happens. The list is guarded by the
// record's lock.
type marks struct {
	last atomic.Int64 // the time of the latest mark, doubled, and one if it is the response's
	list []Mark
	full bool
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
	if m.full {
		return
	}
	if len(m.list) == cap(m.list) && !rec.moreMarks() {
		m.full = true
		return
	}
	m.list = append(m.list, Mark{at, response, offset})
	m.last.Store(now)
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
		m.list, m.full = nil, true
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

// pass takes p, which came at that time.
func (c *items) pass(p []byte, at time.Duration) {
	n := c.n
	switch c.kind {
	case WebSocket:
		c.frames(p)
	case SSE:
		c.events(p)
	case GRPC:
		c.messages(p)
	}
	if c.n != n {
		c.last = at
	}
}

// frames counts the WebSocket frames whose heads are complete (RFC 6455, 5.2).
func (c *items) frames(p []byte) {
	for len(p) > 0 {
		if c.left > 0 {
			n := min(c.left, uint64(len(p)))
			c.left, p = c.left-n, p[n:]
			continue
		}
		c.head[c.have] = p[0]
		c.have++
		p = p[1:]
		if size, ok := payload(c.head[:c.have]); ok {
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

// payload is how many bytes follow the head of a frame, once all of that is
// there.
func payload(head []byte) (n uint64, ok bool) {
	if len(head) < 2 {
		return 0, false
	}
	n = uint64(head[1] & 0x7f)
	size := 2
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	whole := size
	if head[1]&0x80 != 0 { // masked
		whole += 4
	}
	if len(head) < whole {
		return 0, false
	}
	if size > 2 {
		n = 0
		for _, b := range head[2:size] {
			n = n<<8 | uint64(b)
		}
	}
	return n, true
}

// events counts the events that have data and have come to their end. Others,
// such as comments that keep a connection alive, are told to nobody.
func (c *items) events(p []byte) {
	const name = "data"
	for _, b := range p {
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
		default:
			c.data = c.data || c.named && c.column >= len(name)
			c.column = 0
		}
	}
}
