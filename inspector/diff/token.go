package diff

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/bits"
	"unicode/utf8"
)

// Bounds of a JSON document. Beyond them JSON returns an error and Exchanges
// compares lines instead.
const (
	maxJSON  = 8 << 20
	maxDepth = 1000
	maxNodes = 2 << 20
)

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// A doc is a parsed JSON text: its values in the order they are written, each
// before the values in it. Nothing is copied out of the text, so numbers keep
// their digits and objects the order of their keys.
type doc struct {
	data  []byte
	nodes []node
}

type node struct {
	// hash is equal for equal values: any order of keys, any way to escape a
	// string, but not any way to write a number. The seed is random, so nobody
	// can prepare two different values with the same hash.
	hash uint64
	key  uint64 // hash of the key, within an object

	start, end       int32 // the value's text
	keyStart, keyEnd int32 // the key's text with quotes
	size             int32 // nodes in it, itself included
	count            int32 // values directly in it
	kind             kind
	repeats          bool // an object in which a key comes twice
}

func (d *doc) raw(i int32) []byte { return d.data[d.nodes[i].start:d.nodes[i].end:d.nodes[i].end] }

// children appends the values directly in i to dst.
func (d *doc) children(dst []int32, i int32) []int32 {
	end := i + d.nodes[i].size
	for c := i + 1; c < end; c += d.nodes[c].size {
		dst = append(dst, c)
	}
	return dst
}

// leaves counts the scalars and empty containers in i.
func (d *doc) leaves(i int32) int {
	n := 0
	for _, c := range d.nodes[i : i+d.nodes[i].size] {
		if c.count == 0 {
			n++
		}
	}
	return n
}

// keyName is the decoded key of i.
func (d *doc) keyName(i int32) []byte {
	n := &d.nodes[i]
	text := d.data[n.keyStart+1 : n.keyEnd-1]
	if plain(text) {
		return text[:len(text):len(text)]
	}
	return unquote(nil, text)
}

var (
	seed   = maphash.MakeSeed()
	secret = maphash.String(seed, "lrok") | 1
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^secret, b^0x9e3779b97f4a7c15^secret>>1)
	return hi ^ lo
}

// A SyntaxError says where a document is not JSON, or goes beyond the bounds.
type SyntaxError struct {
	Offset  int
	Message string
}

// Error implements error.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Message, e.Offset) }

type parser struct {
	doc
	pos     int
	scratch []byte
	o       Options
	told    int // of data, to Progress
	// table finds repeated keys; a slot counts only if its round is the
	// current one, so that it need not be cleared for every object.
	table []slot
	round uint32
}

type slot struct {
	key   uint64
	round uint32
}

func parse(data []byte, o Options) (*doc, error) {
	if len(data) > maxJSON {
		return nil, &SyntaxError{Offset: maxJSON, Message: "more than 8 MiB of JSON"}
	}
	p := parser{o: o}
	p.data = data
	p.nodes = make([]node, 0, 16+len(data)/16)
	p.pos = len(data) - len(bytes.TrimPrefix(data, []byte("\ufeff")))
	p.space()
	if err := p.value(0); err != nil {
		return nil, err
	}
	p.space()
	if p.pos < len(data) {
		return nil, p.fail("more than one JSON value")
	}
	return &p.doc, nil
}

func (p *parser) fail(message string) error {
	return &SyntaxError{Offset: p.pos, Message: message}
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

func (p *parser) value(depth int) error {
	at := int32(len(p.nodes))
	if at == maxNodes {
		return p.fail("more than two million JSON values")
	}
	if at&0x3fff == 0x3fff {
		if closed(p.o.Done) {
			return ErrCanceled
		}
		p.o.Progress.add(p.pos - p.told)
		p.told = p.pos
	}
	p.nodes = append(p.nodes, node{start: int32(p.pos), size: 1})
	var n node
	switch c := p.peek(); {
	case c == '"':
		text, err := p.str()
		if err != nil {
			return err
		}
		n.kind, n.hash = kindString, mix(p.stringHash(text), 's')
	case c == '{' || c == '[':
		if depth == maxDepth {
			return p.fail("JSON nested deeper than 1,000")
		}
		if c == '[' {
			return p.array(at, depth)
		}
		return p.object(at, depth)
	case c == '-' || '0' <= c && c <= '9':
		start := p.pos
		if !p.number() {
			return p.fail("a number is not valid")
		}
		n.kind, n.hash = kindNumber, mix(maphash.Bytes(seed, p.data[start:p.pos]), '0')
	case c == 't' && p.literal("true"):
		n.kind, n.hash = kindBool, mix(1, 'b')
	case c == 'f' && p.literal("false"):
		n.kind, n.hash = kindBool, mix(2, 'b')
	case c == 'n' && p.literal("null"):
		n.kind, n.hash = kindNull, mix(3, 'b')
	case p.pos == len(p.data):
		return p.fail("the JSON ends early")
	default:
		return p.fail("this is not JSON")
	}
	to := &p.nodes[at]
	to.kind, to.hash, to.end = n.kind, n.hash, int32(p.pos)
	return nil
}

func (p *parser) literal(s string) bool {
	if !bytes.HasPrefix(p.data[p.pos:], []byte(s)) {
		return false
	}
	p.pos += len(s)
	return true
}

func (p *parser) array(at int32, depth int) error {
	p.pos++
	h := uint64('a')
	count := int32(0)
	p.space()
	if p.peek() == ']' {
		p.pos++
	} else {
		for {
			p.space()
			child := len(p.nodes)
			if err := p.value(depth + 1); err != nil {
				return err
			}
			h = mix(h+p.nodes[child].hash, 'a')
			count++
			p.space()
			c := p.peek()
			if c != ',' && c != ']' {
				return p.fail("a comma or ] is missing")
			}
			p.pos++
			if c == ']' {
				break
			}
		}
	}
	n := &p.nodes[at]
	n.kind, n.hash, n.count = kindArray, mix(h, uint64(count)), count
	n.end, n.size = int32(p.pos), int32(len(p.nodes))-at
	return nil
}

func (p *parser) object(at int32, depth int) error {
	p.pos++
	count := int32(0)
	p.space()
	if p.peek() == '}' {
		p.pos++
	} else {
		for {
			p.space()
			if p.peek() != '"' {
				return p.fail("a key is missing")
			}
			keyStart := p.pos
			text, err := p.str()
			if err != nil {
				return err
			}
			keyEnd, key := p.pos, p.stringHash(text)
			p.space()
			if p.peek() != ':' {
				return p.fail("a colon is missing")
			}
			p.pos++
			p.space()
			child := len(p.nodes)
			if err := p.value(depth + 1); err != nil {
				return err
			}
			n := &p.nodes[child]
			n.key, n.keyStart, n.keyEnd = key, int32(keyStart), int32(keyEnd)
			count++
			p.space()
			c := p.peek()
			if c != ',' && c != '}' {
				return p.fail("a comma or } is missing")
			}
			p.pos++
			if c == '}' {
				break
			}
		}
	}
	n := &p.nodes[at]
	n.kind, n.count = kindObject, count
	n.end, n.size = int32(p.pos), int32(len(p.nodes))-at
	n.repeats = p.repeats(at)
	n.hash = p.objectHash(at)
	return nil
}

func (p *parser) objectHash(at int32) uint64 {
	n := &p.nodes[at]
	sum := uint64(n.count)
	var seen map[uint64]uint64
	if n.repeats {
		seen = map[uint64]uint64{}
	}
	for c := at + 1; c < at+n.size; c += p.nodes[c].size {
		k, v := p.nodes[c].key, p.nodes[c].hash
		if n.repeats { // among equal keys the order counts
			seen[k]++
			v = mix(v, seen[k])
		}
		sum += mix(k, v)
	}
	return mix(sum, 'o')
}

func (p *parser) repeats(at int32) bool {
	n := &p.nodes[at]
	if n.count < 2 {
		return false
	}
	want := 1 << bits.Len(uint(n.count)*2)
	if len(p.table) < want {
		p.table = make([]slot, want)
	}
	p.round++
	mask := uint64(len(p.table) - 1)
	for c := at + 1; c < at+n.size; c += p.nodes[c].size {
		key := p.nodes[c].key
		i := key & mask
		for p.table[i].round == p.round {
			if p.table[i].key == key {
				return true
			}
			i = (i + 1) & mask
		}
		p.table[i] = slot{key, p.round}
	}
	return false
}

// str reads a string and returns what is between its quotes.
func (p *parser) str() ([]byte, error) {
	start := p.pos + 1
	for i := start; i < len(p.data); i++ {
		switch c := p.data[i]; {
		case c == '"':
			p.pos = i + 1
			return p.data[start:i], nil
		case c < ' ':
			p.pos = i
			return nil, p.fail("a string holds a control character")
		case c == '\\':
			i++
			if i == len(p.data) {
				continue
			}
			switch p.data[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if hex4(p.data[i+1:]) < 0 {
					p.pos = i
					return nil, p.fail(`four hex digits belong after \u`)
				}
				i += 4
			default:
				p.pos = i
				return nil, p.fail("a string holds an unknown escape")
			}
		}
	}
	p.pos = len(p.data)
	return nil, p.fail("a string has no end")
}

func (p *parser) stringHash(text []byte) uint64 {
	if plain(text) {
		return maphash.Bytes(seed, text)
	}
	p.scratch = unquote(p.scratch[:0], text)
	return maphash.Bytes(seed, p.scratch)
}

func (p *parser) number() bool {
	digits := func() bool {
		start := p.pos
		for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
			p.pos++
		}
		return p.pos > start
	}
	if p.peek() == '-' {
		p.pos++
	}
	if p.peek() == '0' {
		p.pos++
	} else if !digits() {
		return false
	}
	if p.peek() == '.' {
		p.pos++
		if !digits() {
			return false
		}
	}
	if p.peek()|0x20 == 'e' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		return digits()
	}
	return true
}

func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// Two bytes that no UTF-8 holds keep apart what JSON texts can hold and UTF-8
// cannot: a byte that is not UTF-8 follows badByte, the two halves of a lone
// surrogate follow loneSurrogate.
const (
	badByte       = 0xff
	loneSurrogate = 0xfe
)

func plain(text []byte) bool { return bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) }

// unquote appends the decoded form of what is between the quotes of a valid
// string. Different strings have different forms.
func unquote(dst, text []byte) []byte {
	if plain(text) {
		return append(dst, text...)
	}
	for i := 0; i < len(text); {
		c := text[i]
		if c != '\\' {
			if c < utf8.RuneSelf {
				dst = append(dst, c)
				i++
				continue
			}
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, badByte)
			}
			dst = append(dst, text[i:i+n]...)
			i += n
			continue
		}
		i += 2
		switch c = text[i-1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(text[i:])
			i += 4
			if 0xd800 <= r && r < 0xe000 {
				low := rune(-1)
				if r < 0xdc00 && i+6 <= len(text) && text[i] == '\\' && text[i+1] == 'u' {
					low = hex4(text[i+2:])
				}
				if low < 0xdc00 || low >= 0xe000 {
					dst = append(dst, loneSurrogate, byte(r>>8), byte(r))
					continue
				}
				i += 6
				r = (r-0xd800)<<10 | (low - 0xdc00) + 0x10000
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendString appends the JSON string whose decoded form is s.
func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == badByte && i+1 < len(s):
			i++
			dst = append(dst, s[i])
		case c == loneSurrogate && i+2 < len(s):
			dst = fmt.Appendf(dst, `\u%02x%02x`, s[i+1], s[i+2])
			i += 2
		case c < ' ':
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
