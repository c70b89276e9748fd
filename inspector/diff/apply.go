package diff

import (
	"fmt"
	"strconv"
	"strings"
)

// Apply changes a by what [JSON] found between a and b, and returns a document
// equal to b: the same values, numbers written as in b where they changed,
// arrays in the order of b. The keys of a keep their order, and added keys come
// last. What did not change keeps its text.
func Apply(a []byte, changes []Change) ([]byte, error) {
	dc, err := parse(a, Options{})
	if err != nil {
		return nil, err
	}
	e := editor{
		doc:     dc,
		edits:   make(map[int32]*edit),
		indexes: make(map[int32]map[string]int32),
		arrays:  make(map[int32][]int32),
	}
	for i := range changes {
		if changes[i].Op == Equal {
			continue
		}
		if err := e.add(&changes[i]); err != nil {
			return nil, fmt.Errorf("change %d at %s: %w", i, changes[i].Path, err)
		}
	}
	return e.write(nil, 0)
}

// An editor collects what happens to each value, then writes the document once.
type editor struct {
	*doc
	edits   map[int32]*edit
	indexes map[int32]map[string]int32 // pointer tokens of an object's values
	arrays  map[int32][]int32
}

type edit struct {
	replace []byte
	remove  bool
	move    bool
	to      int
	adds    []addition // to this container
}

type addition struct {
	key   string // in an object
	index int    // in an array
	raw   []byte
}

func (e *editor) at(i int32) *edit {
	if e.edits[i] == nil {
		e.edits[i] = &edit{}
	}
	return e.edits[i]
}

func (e *editor) add(c *Change) error {
	if c.Pointer == "" {
		if c.Op != Replace || c.B == nil {
			return errPointer
		}
		e.at(0).replace = c.B
		return nil
	}
	if c.Pointer[0] != '/' {
		return errPointer
	}
	tokens := strings.Split(c.Pointer[1:], "/")
	last := tokens[len(tokens)-1]
	parent := int32(0)
	for _, token := range tokens[:len(tokens)-1] {
		e.at(parent) // an edit without content says: look inside
		child, err := e.child(parent, token)
		if err != nil {
			return err
		}
		parent = child
	}
	ed := e.at(parent)
	if c.Op == Add {
		if c.B == nil {
			return errPointer
		}
		return e.addTo(parent, ed, last, c.B)
	}
	child, err := e.child(parent, last)
	if err != nil {
		return err
	}
	switch {
	case c.Op == Remove:
		e.at(child).remove = true
	case c.Op == Replace && c.B != nil:
		e.at(child).replace = c.B
	case c.Op == Move && e.nodes[parent].kind == kindArray:
		e.at(child).move, e.at(child).to = true, c.To
	default:
		return fmt.Errorf("cannot %q here", c.Op)
	}
	return nil
}

func (e *editor) addTo(parent int32, ed *edit, token string, raw []byte) error {
	switch e.nodes[parent].kind {
	case kindObject:
		key, _, err := parseToken(token)
		if err != nil {
			return err
		}
		ed.adds = append(ed.adds, addition{key: key, raw: raw})
	case kindArray:
		i, err := strconv.Atoi(token)
		if err != nil {
			return errPointer
		}
		ed.adds = append(ed.adds, addition{index: i, raw: raw})
	default:
		return errPointer
	}
	return nil
}

func (e *editor) child(parent int32, token string) (int32, error) {
	switch e.nodes[parent].kind {
	case kindArray:
		if _, ok := e.arrays[parent]; !ok {
			e.arrays[parent] = e.children(nil, parent)
		}
		i, err := strconv.Atoi(token)
		if err != nil || i < 0 || i >= len(e.arrays[parent]) {
			return 0, fmt.Errorf("there is no element %s", token)
		}
		return e.arrays[parent][i], nil
	case kindObject:
		index, ok := e.indexes[parent]
		if !ok {
			index = make(map[string]int32, e.nodes[parent].count)
			seen := make(map[string]int)
			for _, c := range e.children(nil, parent) {
				key := e.keyName(c)
				index[string(appendToken(nil, key, seen[string(key)]))[1:]] = c
				seen[string(key)]++
			}
			e.indexes[parent] = index
		}
		if c, ok := index[token]; ok {
			return c, nil
		}
	}
	return 0, fmt.Errorf("there is no value at %s", token)
}

func (e *editor) write(dst []byte, i int32) ([]byte, error) {
	ed := e.edits[i]
	switch {
	case ed == nil:
		return append(dst, e.raw(i)...), nil
	case ed.replace != nil:
		return append(dst, ed.replace...), nil
	}
	switch e.nodes[i].kind {
	case kindObject:
		return e.writeObject(dst, i, ed)
	case kindArray:
		return e.writeArray(dst, i, ed)
	}
	return append(dst, e.raw(i)...), nil
}

func (e *editor) writeObject(dst []byte, i int32, ed *edit) ([]byte, error) {
	var err error
	dst = append(dst, '{')
	open := len(dst)
	for _, c := range e.children(nil, i) {
		if ce := e.edits[c]; ce != nil && ce.remove {
			continue
		}
		if len(dst) > open {
			dst = append(dst, ',')
		}
		dst = append(dst, e.data[e.nodes[c].keyStart:e.nodes[c].keyEnd]...)
		dst = append(dst, ':')
		if dst, err = e.write(dst, c); err != nil {
			return nil, err
		}
	}
	for _, ad := range ed.adds {
		if len(dst) > open {
			dst = append(dst, ',')
		}
		dst = appendString(dst, []byte(ad.key))
		dst = append(dst, ':')
		dst = append(dst, ad.raw...)
	}
	return append(dst, '}'), nil
}

// writeArray puts added and moved elements at their index in B and lets the
// others fill the places between them in their order.
func (e *editor) writeArray(dst []byte, i int32, ed *edit) ([]byte, error) {
	type place struct {
		raw  []byte
		node int32
		set  bool
	}
	var kept []int32
	total := len(ed.adds)
	children := e.children(nil, i)
	for _, c := range children {
		ce := e.edits[c]
		if ce != nil && ce.remove {
			continue
		}
		total++
		if ce == nil || !ce.move {
			kept = append(kept, c)
		}
	}
	places := make([]place, total)
	put := func(at int, p place) error {
		if at < 0 || at >= total || places[at].set {
			return fmt.Errorf("no place for an element at index %d of %d", at, total)
		}
		p.set = true
		places[at] = p
		return nil
	}
	for _, ad := range ed.adds {
		if err := put(ad.index, place{raw: ad.raw}); err != nil {
			return nil, err
		}
	}
	for _, c := range children {
		if ce := e.edits[c]; ce != nil && ce.move && !ce.remove {
			if err := put(ce.to, place{node: c}); err != nil {
				return nil, err
			}
		}
	}
	dst = append(dst, '[')
	for k, p := range places {
		if k > 0 {
			dst = append(dst, ',')
		}
		if p.raw != nil {
			dst = append(dst, p.raw...)
			continue
		}
		c := p.node
		if !p.set {
			c, kept = kept[0], kept[1:]
		}
		var err error
		if dst, err = e.write(dst, c); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}
