package inspector

import (
	"crypto/sha256"
	"hash"
	"slices"
	"time"
)

// A Tail is the last part of what one side of a stream sent, where more has
// passed than is kept. What came between the beginning and it is gone.
type Tail struct {
	// Offset is how many bytes passed before it. An event or a frame begins there.
	Offset int64 `json:"offset"`
	// Size counts its bytes: they reach to the last one that passed.
	Size int64 `json:"size"`
	// Skipped counts the events or frames that are gone, all but those of which the
	// beginning has at least a head.
	Skipped int64 `json:"skipped"`
	// Data holds its bytes.
	Data []byte `json:"data,omitempty"`
}

// End is how far what b has of the bytes that passed reaches without a gap: to the
// end of its last part if it has all of that, to the end of its beginning if not.
func (b *Body) End() int64 {
	if t := b.Tail; t != nil && t.Size > 0 && int64(len(t.Data)) == t.Size {
		return t.Offset + t.Size
	}
	return int64(len(b.Data))
}

// Since leaves out of b, the capture of a stream, the data before an offset. The
// rest of them is in Tail, also where no byte is missing. [Body.Extend] puts both
// together again.
func (b *Body) Since(offset int64) {
	t := b.Tail
	if t == nil && !b.Truncated() {
		from := min(max(offset, 0), b.Size)
		t = &Tail{Offset: from, Size: b.Size - from, Data: b.Data[from:]}
	} else if t != nil {
		from := min(max(offset-t.Offset, 0), t.Size)
		t = &Tail{Offset: t.Offset, Size: t.Size, Skipped: t.Skipped, Data: t.Data[from:]}
	}
	b.Data, b.Tail = nil, t
}

// Extend gives b, which has what came since the end of an earlier state of it, the
// data of that. It reports whether they fit together; b is not changed if not.
func (b *Body) Extend(had *Body) bool {
	first := had.Data[:min(int64(len(had.Data)), max(b.Captured, 0))]
	if b.Tail == nil {
		b.Data = first
		return true
	}
	t := *b.Tail
	start := b.Size - int64(len(t.Data)) // of what came since
	if t.Offset < 0 || t.Size < 0 || t.Offset+t.Size != b.Size || start < t.Offset {
		return false
	}
	if !b.Truncated() {
		if start != t.Offset || start > int64(len(had.Data)) {
			return false
		}
		b.Data, b.Tail = append(had.Data[:start:start], t.Data...), nil
		return true
	}
	if start > t.Offset {
		data, at := had.Data, int64(0)
		if had.Tail != nil {
			data, at = had.Tail.Data, had.Tail.Offset
		}
		if t.Offset < at || start > at+int64(len(data)) {
			return false
		}
		t.Data = append(data[t.Offset-at:start-at:start-at], t.Data...)
	}
	b.Data, b.Tail = first, &t
	return true
}

// tailPieces is in how many pieces the last part of a stream is kept. The oldest
// of them goes as a whole, so that the others stay where they are and a snapshot
// can share them.
const tailPieces = 16

// A tail is the last part of a stream while it happens: one half of what is kept
// of it. Until the first piece goes, nothing is missing.
type tail struct {
	head   int // bytes that are kept of the beginning
	size   int // of a piece
	pieces []*piece
	before int64 // how many items had passed when the beginning was full
}

// A piece is a stretch of a stream.
type piece struct {
	data  []byte
	at    int64 // its first byte's offset
	start int   // where the first item begins, below 0 if none does
	item  int64 // how many have passed before that
	seen  bool  // a snapshot shares the data
}

// newTail returns what keeps the last part of a stream of which body bytes are
// kept; nil if that is too little to be shared out.
func newTail(body int64) *tail {
	size := int(body) / (2 * tailPieces)
	if size == 0 {
		return nil
	}
	return &tail{head: int(body) - tailPieces*size, size: size}
}

// whole reports whether nothing is gone between the beginning, n bytes, and the
// last part.
func (t *tail) whole(n int) bool {
	return len(t.pieces) == 0 || t.pieces[0].at == int64(n)
}

// begin finds where the first item begins that is kept from its beginning on,
// and how many came before it.
func (t *tail) begin() (offset, item int64, ok bool) {
	for _, q := range t.pieces {
		if q.start >= 0 {
			return q.at + int64(q.start), q.item, true
		}
	}
	return 0, 0, false
}

// share fills out with the beginning and the last part of b, and returns what to
// do about it when the lock is no longer held.
func (t *tail) share(b *BodyRecord, out *Body) func() {
	if len(t.pieces) == 0 {
		return func() {}
	}
	parts := make([][]byte, 0, tailPieces+1)
	for _, q := range t.pieces {
		q.seen = true
		parts = append(parts, q.data)
	}
	if t.whole(len(b.data)) {
		data := out.Data
		return func() { out.Data = slices.Concat(append([][]byte{data}, parts...)...) }
	}
	first := t.pieces[0].at
	offset, item, ok := t.begin()
	if !ok {
		offset, item = b.size, b.items.n
	}
	out.Tail = &Tail{Offset: offset, Size: b.size - offset, Skipped: item - t.before}
	return func() { out.Tail.Data = slices.Concat(parts...)[offset-first:] }
}

// follow records p, which came at that time, as the next bytes of a stream.
func (b *BodyRecord) follow(p []byte, at time.Duration) {
	t := b.tail
	for len(p) > 0 {
		n := len(p)
		var q *piece
		if b.keeps() {
			if n, q = b.room(n); n == 0 {
				b.miss("memory")
				continue
			}
		}
		next := p[:n]
		first, item := b.items.pass(next, at)
		switch {
		case q != nil:
			if q.start < 0 && first >= 0 {
				q.start, q.item = len(q.data)+first, item
			}
			q.data = append(q.data, next...)
		case b.keeps():
			if b.data = append(b.data, next...); len(b.data) == t.head {
				t.before = b.items.n
			}
		}
		b.pass(n, next)
		p = p[n:]
	}
}

// room makes room for up to n of the next bytes of a stream: in the beginning,
// or in the piece that it returns. There is none when the budgets have none and no
// piece can go.
func (b *BodyRecord) room(n int) (int, *piece) {
	t := b.tail
	if left := t.head - len(b.data); left > 0 && len(t.pieces) == 0 {
		n = min(n, left)
		if need := len(b.data) + n; need > cap(b.data) && !b.grow(need) {
			return 0, nil
		}
		return n, nil
	}
	var q *piece
	if k := len(t.pieces); k > 0 {
		q = t.pieces[k-1]
	}
	if q == nil || len(q.data) == cap(q.data) {
		if q = b.piece(); q == nil {
			return 0, nil
		}
	}
	return min(n, cap(q.data)-len(q.data)), q
}

// piece returns the next piece, in the place of the oldest one if there are
// enough or the budgets have no room for more.
func (b *BodyRecord) piece() *piece {
	t := b.tail
	n := len(t.pieces)
	if n < tailPieces && b.take(int64(t.size)) {
		if t.pieces == nil {
			t.pieces = make([]*piece, 0, tailPieces)
		}
		q := &piece{at: b.size, start: -1, data: make([]byte, 0, t.size)}
		t.pieces = append(t.pieces, q)
		return q
	}
	switch n {
	case 0:
		return nil
	case tailPieces:
		b.miss("limit")
	default:
		b.miss("memory")
	}
	q := t.pieces[0]
	copy(t.pieces, t.pieces[1:])
	t.pieces[n-1] = q
	data := q.data[:0]
	if q.seen {
		data = make([]byte, 0, t.size)
	}
	*q = piece{at: b.size, start: -1, data: data}
	return q
}

// keeps reports whether any of the next bytes are kept.
func (b *BodyRecord) keeps() bool {
	return !b.closed && (b.missing == "" || b.tail != nil && len(b.tail.pieces) > 0)
}

// miss notes why bytes are about to be missing. From here on the digest is made
// as they pass.
func (b *BodyRecord) miss(why string) {
	if b.missing != "" {
		return
	}
	b.missing = why
	if b.length <= maxHashed && b.size <= maxHashed {
		b.hash = b.digest()
	}
}

// digest is that of all that is kept.
func (b *BodyRecord) digest() hash.Hash {
	h := sha256.New()
	h.Write(b.data)
	if b.tail != nil {
		for _, q := range b.tail.pieces {
			h.Write(q.data)
		}
	}
	return h
}
