package diff

import (
	"fmt"
	"strconv"
)

// What one comparison may cost. Beyond the first two a container is reported as
// replaced, beyond the others arrays are compared by position.
const (
	maxChanges = 100_000
	maxOutput  = 48 << 20 // bytes of paths and of the changes themselves
	maxAlign   = 2000     // elements of an array on either side
	maxCells   = 64 << 20 // pairs of elements looked at in all arrays together
	maxEqual   = 20_000   // equal values listed with Options.Equal
)

// JSON compares two JSON documents. Values are equal as JSON sees them: the
// order of keys and the way a string is escaped do not count. Numbers are
// compared by value too, but a number that is written differently is reported,
// as ignored.
//
// Objects are compared by key, the n-th occurrence of a repeated key with the
// n-th. Elements of arrays are matched by an id where they have one (a value
// under id, _id, key, uuid, name or slug that is unique on both sides),
// otherwise by the longest common subsequence. The changes are in the order of
// the documents, and [Apply] takes a to b with them, the ignored ones included.
//
// The error is a *SyntaxError for what is no JSON or beyond the bounds (8 MiB,
// two million values, nested 1,000 deep), or ErrCanceled.
func JSON(a, b []byte, o Options) ([]Change, error) {
	changes, _, err := compareJSON(a, b, o)
	return changes, err
}

func compareJSON(a, b []byte, o Options) (changes []Change, equal int, err error) {
	d := differ{o: o}
	var errB error
	parsed := make(chan struct{})
	go func() { // reading is most of the work, and the two are independent
		defer close(parsed)
		d.b, errB = parse(b, o)
	}()
	d.a, err = parse(a, o)
	<-parsed
	if err != nil {
		return nil, 0, fmt.Errorf("a: %w", err)
	}
	if errB != nil {
		return nil, 0, fmt.Errorf("b: %w", errB)
	}
	if d.value(0, 0); d.canceled {
		return nil, 0, ErrCanceled
	}
	return d.out, d.equal, nil
}

type differ struct {
	a, b *doc
	o    Options

	out   []Change
	bytes int // of out and what it points to
	equal int // values that are equal
	kept  int // of them in out

	path  []byte // where the walk is, for people
	ptr   []byte // and for Apply
	steps []step // and for rules

	cells    int // pairs of elements looked at
	ticks    int
	over     bool // too many changes: the container around has to stand for them
	canceled bool
	note     string // for the next change
	scratch  []int32
}

type mark struct{ path, ptr, steps int }

func (d *differ) mark() mark { return mark{len(d.path), len(d.ptr), len(d.steps)} }

func (d *differ) back(m mark) {
	d.path, d.ptr, d.steps = d.path[:m.path], d.ptr[:m.ptr], d.steps[:m.steps]
}

func (d *differ) pushKey(key []byte, occurrence int) mark {
	m := d.mark()
	d.path = appendKey(d.path, key, occurrence)
	d.ptr = appendToken(d.ptr, key, occurrence)
	if key == nil {
		key = []byte{}
	}
	d.steps = append(d.steps, step{key: key})
	return m
}

func (d *differ) pushIndex(index int32, name string) mark {
	m := d.mark()
	d.path = appendIndex(d.path, index, name)
	d.ptr = append(d.ptr, '/')
	d.ptr = strconv.AppendInt(d.ptr, int64(index), 10)
	d.steps = append(d.steps, step{index: index, name: name})
	return m
}

// emit reports a change where the walk is. a or b is -1 where there is no value.
func (d *differ) emit(op Op, a, b int32, to int) {
	c := Change{Path: string(d.path), Pointer: string(d.ptr), Op: op, To: to, Note: d.note}
	if c.Path == "" {
		c.Path = "."
	}
	d.note = ""
	if a >= 0 {
		c.A = d.a.raw(a)
	}
	if b >= 0 {
		c.B = d.b.raw(b)
	}
	if a >= 0 && b >= 0 {
		c.TypeChange = d.a.nodes[a].kind != d.b.nodes[b].kind
	}
	c.Rule = d.rule(op, a, b)
	c.Ignored = c.Rule != ""
	d.out = append(d.out, c)
	d.bytes += 192 + len(c.Path) + len(c.Pointer)
	d.over = d.over || len(d.out)-d.kept > maxChanges || d.bytes > maxOutput
}

func (d *differ) rule(op Op, a, b int32) string {
	for i := range d.o.Ignore {
		if d.o.Ignore[i].matchPath(d.steps) {
			return d.o.Ignore[i].text
		}
	}
	if d.o.Strict || op != Replace {
		return ""
	}
	var key []byte
	if n := len(d.steps); n > 0 {
		key = d.steps[n-1].key
	}
	return volatile(key, d.a.raw(a), d.b.raw(b), d.a.nodes[a].kind, d.b.nodes[b].kind)
}

// keep reports two equal values where the walk is.
func (d *differ) keep(a, b int32) {
	d.equal += d.a.leaves(a)
	if d.o.Equal && d.kept < maxEqual {
		d.kept++
		path := string(d.path)
		if path == "" {
			path = "."
		}
		d.out = append(d.out, Change{Path: path, Pointer: string(d.ptr), Op: Equal, A: d.a.raw(a), B: d.b.raw(b)})
	}
}

// stop reports whether the walk has to end, here or altogether.
func (d *differ) stop() bool {
	if d.ticks++; d.ticks&0x3ff == 0 && closed(d.o.Done) {
		d.canceled = true
	}
	return d.over || d.canceled
}

func (d *differ) value(a, b int32) {
	na, nb := &d.a.nodes[a], &d.b.nodes[b]
	if na.hash == nb.hash && na.kind == nb.kind {
		d.keep(a, b)
		return
	}
	if na.kind != nb.kind || na.kind < kindArray {
		d.emit(Replace, a, b, 0)
		return
	}
	changes, bytes, equal, kept := len(d.out), d.bytes, d.equal, d.kept
	if na.kind == kindObject {
		d.object(a, b)
	} else {
		d.array(a, b)
	}
	if d.over && !d.canceled {
		d.out, d.bytes, d.equal, d.kept = d.out[:changes], bytes, equal, kept
		d.over = false
		d.note = "too many differences to list"
		d.emit(Replace, a, b, 0)
	}
}

func (d *differ) object(a, b int32) {
	if d.a.nodes[a].repeats || d.b.nodes[b].repeats {
		d.repeated(a, b)
		return
	}
	// Most objects have the same keys in the same order on both sides. Walk
	// them side by side and look the rest up.
	endA, endB := a+d.a.nodes[a].size, b+d.b.nodes[b].size
	ca, cb := a+1, b+1
	for ca < endA && cb < endB && d.a.nodes[ca].key == d.b.nodes[cb].key {
		d.member(ca, cb, 0)
		if d.stop() {
			return
		}
		ca += d.a.nodes[ca].size
		cb += d.b.nodes[cb].size
	}
	if ca == endA && cb == endB {
		return
	}
	inB := make(map[uint64]int32)
	for c := cb; c < endB; c += d.b.nodes[c].size {
		inB[d.b.nodes[c].key] = c
	}
	for ; ca < endA; ca += d.a.nodes[ca].size {
		key := d.a.nodes[ca].key
		if c, ok := inB[key]; ok {
			d.member(ca, c, 0)
			delete(inB, key)
		} else {
			d.member(ca, -1, 0)
		}
		if d.stop() {
			return
		}
	}
	for ; cb < endB; cb += d.b.nodes[cb].size {
		if _, ok := inB[d.b.nodes[cb].key]; ok {
			d.member(-1, cb, 0)
		}
		if d.stop() {
			return
		}
	}
}

// repeated compares objects in which a key comes more than once.
func (d *differ) repeated(a, b int32) {
	type occurrence struct {
		key uint64
		n   int
	}
	inB := make(map[occurrence]int32)
	seen := make(map[uint64]int)
	each := func(dc *doc, i int32, fn func(c int32, at occurrence)) {
		clear(seen)
		for c := i + 1; c < i+dc.nodes[i].size && !d.stop(); c += dc.nodes[c].size {
			key := dc.nodes[c].key
			fn(c, occurrence{key, seen[key]})
			seen[key]++
		}
	}
	each(d.b, b, func(c int32, at occurrence) { inB[at] = c })
	each(d.a, a, func(c int32, at occurrence) {
		if other, ok := inB[at]; ok {
			d.member(c, other, at.n)
			delete(inB, at)
		} else {
			d.member(c, -1, at.n)
		}
	})
	each(d.b, b, func(c int32, at occurrence) {
		if _, ok := inB[at]; ok {
			d.member(-1, c, at.n)
		}
	})
}

// member compares two values under the same key; -1 stands for none.
func (d *differ) member(a, b int32, occurrence int) {
	if a >= 0 && b >= 0 && d.a.nodes[a].hash == d.b.nodes[b].hash && !d.o.Equal {
		d.value(a, b)
		return
	}
	var m mark
	if a >= 0 {
		m = d.pushKey(d.a.keyName(a), occurrence)
	} else {
		m = d.pushKey(d.b.keyName(b), occurrence)
	}
	switch {
	case b < 0:
		d.emit(Remove, a, -1, 0)
	case a < 0:
		d.emit(Add, -1, b, 0)
	default:
		d.value(a, b)
	}
	d.back(m)
}
