package diff

import (
	"slices"
	"strconv"

	"github.com/lrok-dev/lrok/inspector/format"
)

func (d *differ) array(a, b int32) {
	base := len(d.scratch)
	d.scratch = d.a.children(d.scratch, a)
	split := len(d.scratch)
	d.scratch = d.b.children(d.scratch, b)
	// Capped slices: deeper arrays append behind them.
	as, bs := d.scratch[base:split:split], d.scratch[split:len(d.scratch):len(d.scratch)]
	al := d.align(as, bs)
	d.report(as, bs, al)
	d.scratch = d.scratch[:base]
}

// An alignment says which elements of two arrays belong together.
type alignment struct {
	toB   []int32 // for each of A the index in B, or -1
	toA   []int32 // for each of B the index in A, or -1
	moved []bool  // for each of A: it changed its place among the others
	name  func(dc *doc, i int32) string
}

func (d *differ) align(as, bs []int32) alignment {
	al := alignment{toB: make([]int32, len(as)), toA: make([]int32, len(bs)), moved: make([]bool, len(as))}
	for i := range al.toB {
		al.toB[i] = -1
	}
	for j := range al.toA {
		al.toA[j] = -1
	}
	lo := 0
	for lo < len(as) && lo < len(bs) && d.same(as[lo], bs[lo]) {
		al.pair(lo, lo)
		lo++
	}
	ea, eb := len(as), len(bs)
	for ea > lo && eb > lo && d.same(as[ea-1], bs[eb-1]) {
		ea--
		eb--
		al.pair(ea, eb)
	}
	key, found := d.identity(as, bs)
	if found {
		al.name = func(dc *doc, i int32) string { return elementName(dc, i, key) }
	}
	n, m := ea-lo, eb-lo
	switch {
	case n == 0 || m == 0:
	case found:
		d.alignByName(as, bs, lo, ea, eb, key, &al)
	case max(n, m) > maxAlign || d.cells+n*m > maxCells:
		d.note = "array of " + format.Count(int64(max(len(as), len(bs)))) + " elements compared by position"
		for i := lo; i < min(ea, eb); i++ {
			al.pair(i, i)
		}
	default:
		d.cells += n * m
		d.alignByValue(as, bs, lo, ea, eb, &al)
	}
	return al
}

func (al *alignment) pair(i, j int) { al.toB[i], al.toA[j] = int32(j), int32(i) }

func (d *differ) same(a, b int32) bool {
	return d.a.nodes[a].hash == d.b.nodes[b].hash && d.a.nodes[a].kind == d.b.nodes[b].kind
}

// The keys that name an element, the best first.
var identityKeys = []string{"id", "_id", "key", "uuid", "name", "slug"}

// identity finds a key that every element has and whose values are unique on
// both sides. It returns the key's hash.
func (d *differ) identity(as, bs []int32) (key uint64, found bool) {
	if len(as) == 0 || len(bs) == 0 {
		return 0, false
	}
	for _, c := range as {
		if d.a.nodes[c].kind != kindObject {
			return 0, false
		}
	}
	var p parser
	seen := make(map[uint64]struct{}, max(len(as), len(bs)))
	for _, name := range identityKeys {
		key := p.stringHash([]byte(name))
		if unique(d.a, as, key, seen) && unique(d.b, bs, key, seen) {
			return key, true
		}
	}
	return 0, false
}

func unique(dc *doc, elements []int32, key uint64, seen map[uint64]struct{}) bool {
	clear(seen)
	for _, e := range elements {
		v := memberOf(dc, e, key)
		if v < 0 {
			return false
		}
		n := &dc.nodes[v]
		if n.kind != kindString && n.kind != kindNumber || n.end-n.start > 80 {
			return false
		}
		if _, ok := seen[n.hash]; ok {
			return false
		}
		seen[n.hash] = struct{}{}
	}
	return true
}

// memberOf finds the value under a key that comes once, or -1. Names stand near
// the start of an object; looking at 64 keys bounds the work.
func memberOf(dc *doc, i int32, key uint64) int32 {
	n := &dc.nodes[i]
	if n.kind != kindObject || n.repeats {
		return -1
	}
	looked := 0
	for c := i + 1; c < i+n.size && looked < 64; c += dc.nodes[c].size {
		if dc.nodes[c].key == key {
			return c
		}
		looked++
	}
	return -1
}

// elementName is what stands in the brackets: id=42, name="a b".
func elementName(dc *doc, i int32, key uint64) string {
	v := memberOf(dc, i, key)
	name := string(dc.keyName(v)) + "="
	raw := dc.raw(v)
	if dc.nodes[v].kind == kindNumber {
		return name + string(raw)
	}
	s := unquote(nil, raw[1:len(raw)-1])
	if word(s) {
		return name + string(s)
	}
	return name + strconv.Quote(string(s))
}

func (d *differ) alignByName(as, bs []int32, lo, ea, eb int, key uint64, al *alignment) {
	inB := make(map[uint64]int, eb-lo)
	for j := lo; j < eb; j++ {
		inB[d.b.nodes[memberOf(d.b, bs[j], key)].hash] = j
	}
	var order []int32 // indexes in B in the order of A
	var at []int32    // the indexes in A they belong to
	for i := lo; i < ea; i++ {
		if j, ok := inB[d.a.nodes[memberOf(d.a, as[i], key)].hash]; ok {
			al.pair(i, j)
			order, at = append(order, int32(j)), append(at, int32(i))
		}
	}
	keep := increasing(order)
	for k, i := range at {
		al.moved[i] = !keep[k]
	}
}

// increasing marks a longest increasing subsequence.
func increasing(seq []int32) []bool {
	keep := make([]bool, len(seq))
	tails := make([]int, 0, len(seq)) // index of the smallest end of each length
	before := make([]int, len(seq))
	for i, v := range seq {
		k, _ := slices.BinarySearchFunc(tails, v, func(t int, v int32) int { return int(seq[t]) - int(v) })
		before[i] = -1
		if k > 0 {
			before[i] = tails[k-1]
		}
		if k == len(tails) {
			tails = append(tails, i)
		} else {
			tails[k] = i
		}
	}
	if len(tails) > 0 {
		for i := tails[len(tails)-1]; i >= 0; i = before[i] {
			keep[i] = true
		}
	}
	return keep
}

// alignByValue pairs equal elements along a longest common subsequence, then
// elements that moved, then those between them that look most alike.
func (d *differ) alignByValue(as, bs []int32, lo, ea, eb int, al *alignment) {
	n, m := ea-lo, eb-lo
	width := m + 1
	length := make([]uint16, (n+1)*width)
	for i := n - 1; i >= 0; i-- {
		row, below := length[i*width:(i+1)*width], length[(i+1)*width:(i+2)*width]
		ha := d.a.nodes[as[lo+i]].hash
		for j := m - 1; j >= 0; j-- {
			if ha == d.b.nodes[bs[lo+j]].hash {
				row[j] = below[j+1] + 1
			} else {
				row[j] = max(below[j], row[j+1])
			}
		}
		if i&63 == 0 && closed(d.o.Done) {
			d.canceled = true
			return
		}
	}
	for i, j := 0, 0; i < n && j < m; {
		switch {
		case d.same(as[lo+i], bs[lo+j]) && length[i*width+j] == length[(i+1)*width+j+1]+1:
			al.pair(lo+i, lo+j)
			i++
			j++
		case length[(i+1)*width+j] >= length[i*width+j+1]:
			i++
		default:
			j++
		}
	}
	d.pairMoved(as, bs, lo, ea, eb, al)
	// Pair what is left between two pairs that kept their order.
	i0, j0 := lo, lo
	for i := lo; i <= ea; i++ {
		if i < ea && (al.toB[i] < 0 || al.moved[i]) {
			continue
		}
		j := eb
		if i < ea {
			j = int(al.toB[i])
		}
		d.pairAlike(as, bs, i0, i, j0, j, al)
		i0, j0 = i+1, j+1
	}
}

// pairMoved pairs equal elements that the subsequence left over. Scalars are
// left alone: that a 0 moved is more confusing than that it went and came.
func (d *differ) pairMoved(as, bs []int32, lo, ea, eb int, al *alignment) {
	free := make(map[uint64][]int)
	for j := eb - 1; j >= lo; j-- {
		if al.toA[j] < 0 {
			h := d.b.nodes[bs[j]].hash
			free[h] = append(free[h], j)
		}
	}
	for i := lo; i < ea; i++ {
		h := d.a.nodes[as[i]].hash
		if js := free[h]; al.toB[i] < 0 && len(js) > 0 && movable(&d.a.nodes[as[i]]) {
			al.pair(i, js[len(js)-1])
			al.moved[i] = true
			free[h] = js[:len(js)-1]
		}
	}
}

func movable(n *node) bool { return n.count > 0 || n.kind == kindString && n.end-n.start > 4 }

// pairAlike pairs elements of a gap in their order so that the likeness in
// total is greatest.
func (d *differ) pairAlike(as, bs []int32, i0, i1, j0, j1 int, al *alignment) {
	var is, js []int
	for i := i0; i < i1; i++ {
		if al.toB[i] < 0 {
			is = append(is, i)
		}
	}
	for j := j0; j < j1; j++ {
		if al.toA[j] < 0 {
			js = append(js, j)
		}
	}
	n, m := len(is), len(js)
	if n == 0 || m == 0 {
		return
	}
	if d.cells += 16 * n * m; n*m > 64<<10 || d.cells > maxCells {
		for k := range min(n, m) {
			al.pair(is[k], js[k])
		}
		return
	}
	width := m + 1
	best := make([]int32, (n+1)*width)
	like := make([]uint8, n*m)
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			l := d.likeness(as[is[i]], bs[js[j]])
			like[i*m+j] = l
			best[i*width+j] = max(best[(i+1)*width+j+1]+int32(l), best[(i+1)*width+j], best[i*width+j+1])
		}
	}
	for i, j := 0, 0; i < n && j < m; {
		l := like[i*m+j]
		switch {
		case l > 0 && best[i*width+j] == best[(i+1)*width+j+1]+int32(l):
			al.pair(is[i], js[j])
			i++
			j++
		case best[i*width+j] == best[(i+1)*width+j]:
			i++
		default:
			j++
		}
	}
}

// likeness says how well two elements that are not equal go together. Any pair
// is better than none, so that a change of type stays one entry.
func (d *differ) likeness(a, b int32) uint8 {
	na, nb := &d.a.nodes[a], &d.b.nodes[b]
	if na.kind != nb.kind {
		return 1
	}
	if na.kind == kindNumber && sameNumber(d.a.raw(a), d.b.raw(b)) {
		return 18
	}
	if na.kind != kindObject || na.count == 0 || nb.count == 0 {
		return 2
	}
	if d.cells += int(min(na.count, 32)) * int(min(nb.count, 32)); d.cells > maxCells {
		return 2
	}
	keys, values, looked := 0, 0, 0
	cb := b + 1
	for ca := a + 1; ca < a+na.size && looked < 32; ca += d.a.nodes[ca].size {
		looked++
		// Keys mostly stand in the same order: go on where the last was found.
		for tries := int32(0); tries < min(nb.count, 32); tries++ {
			if cb >= b+nb.size {
				cb = b + 1
			}
			hit := d.a.nodes[ca].key == d.b.nodes[cb].key
			if hit {
				keys++
				if d.a.nodes[ca].hash == d.b.nodes[cb].hash {
					values++
				}
			}
			cb += d.b.nodes[cb].size
			if hit {
				break
			}
		}
	}
	return uint8(2 + 4*keys/looked + 16*values/looked)
}

// report writes down what an alignment means, in the order of B with the
// removed elements where they stood.
func (d *differ) report(as, bs []int32, al alignment) {
	name := func(dc *doc, e int32) string {
		if al.name == nil {
			return ""
		}
		return al.name(dc, e)
	}
	next := 0
	removed := func(end int) {
		for ; next < end && !d.stop(); next++ {
			if al.toB[next] < 0 {
				m := d.pushIndex(int32(next), name(d.a, as[next]))
				d.emit(Remove, as[next], -1, 0)
				d.back(m)
			}
		}
	}
	for j, b := range bs {
		i := al.toA[j]
		if i < 0 {
			end := next
			for end < len(as) && (al.toB[end] < 0 || al.moved[end]) {
				end++
			}
			removed(end)
			m := d.pushIndex(int32(j), name(d.b, b))
			d.emit(Add, -1, b, 0)
			d.back(m)
		} else {
			a := as[i]
			if !al.moved[i] {
				removed(int(i))
				next = int(i) + 1
			}
			if al.moved[i] || d.o.Equal || !d.same(a, b) {
				m := d.pushIndex(i, name(d.a, a))
				if al.moved[i] {
					d.emit(Move, a, -1, j)
				}
				if al.moved[i] && d.same(a, b) {
					d.equal += d.a.leaves(a)
				} else {
					d.value(a, b)
				}
				d.back(m)
			} else {
				d.equal += d.a.leaves(a)
			}
		}
		if d.stop() {
			return
		}
	}
	removed(len(as))
}
