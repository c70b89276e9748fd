package format

import (
	"bytes"
	"context"
	"errors"
	"unicode/utf8"
)

// MaxDocument is the largest body that [Pretty] takes.
const MaxDocument = 8 << 20

// What Pretty refuses with. The caller then shows the body as it is.
var (
	ErrNotJSON  = errors.New("not JSON")
	ErrDocument = errors.New("too large to format")
)

const (
	maxDepth = 10_000  // of nesting; what encoding/json stops at, too
	maxLines = 2 << 20 // 40 MiB of index
	// maxIndent keeps a deep document in sight of the left edge.
	maxIndent = 32
	blockBits = 12
	blockSize = 1 << blockBits
	noLine    = ^uint32(0)
)

// Pretty lays out a JSON body or NDJSON. Key order, number text and string
// escapes stay as they came. A body that ends early is laid out up to there and
// the document says so: passing the first 64 KiB of a body is a quick way to its
// first screen. It stops with ctx's error when ctx ends; progress, when not nil,
// hears about every 256 KiB how many bytes are done.
func Pretty(ctx context.Context, data []byte, progress func(done int)) (*Document, error) {
	if len(data) > MaxDocument {
		return nil, ErrDocument
	}
	x := indexer{d: &Document{data: data}, ctx: ctx, progress: progress}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		x.at = 3
	}
	if err := x.run(); err != nil {
		return nil, err
	}
	return x.d, nil
}

// An indexer walks a body once and notes where lines begin.
type indexer struct {
	d        *Document
	ctx      context.Context
	progress func(int)
	at       int // in the body
	begin    int // where the current line begins
	next     int // when to look at ctx again
	stack    []frame
}

type frame struct {
	line  uint32 // the opening one
	count uint32 // members so far
	array bool
}

func (x *indexer) run() error {
	data := x.d.data
	for {
		if !x.skipSpace(len(x.stack) == 0) {
			break
		}
		if x.at >= x.next {
			if err := x.ctx.Err(); err != nil {
				return err
			}
			if x.progress != nil {
				x.progress(x.at)
			}
			x.next = x.at + 256<<10
		}
		if x.d.count > maxLines {
			return ErrDocument
		}

		// A member begins here, or the container ends before its first.
		if top := x.top(); top != nil {
			if c := data[x.at]; (c == ']' && top.array || c == '}' && !top.array) && top.count == 0 {
				x.punct() // [] and {} stay on their line
				l := x.d.line(int(top.line))
				l.flags &^= opensArray | opensObject
				x.stack = x.stack[:len(x.stack)-1]
				if !x.afterValue() {
					if x.at < len(data) {
						return ErrNotJSON
					}
					break
				}
				continue
			}
			if !x.member(top) {
				if x.at < len(data) {
					return ErrNotJSON
				}
				break
			}
		} else {
			x.open(noLine, uint32(x.d.tops), 0)
			x.d.tops++
		}
		opened, ok := x.value()
		if !ok {
			if x.at < len(data) {
				return ErrNotJSON
			}
			break
		}
		if opened {
			if len(x.stack) > maxDepth {
				return ErrDocument
			}
			continue
		}
		if !x.afterValue() {
			if x.at < len(data) {
				return ErrNotJSON
			}
			break
		}
	}
	if x.d.count == 0 {
		return ErrNotJSON
	}
	if len(x.stack) > 0 {
		x.d.truncated = true
	}
	if x.d.truncated {
		for _, f := range x.stack {
			x.d.line(int(f.line)).other = uint32(x.d.count - 1)
		}
		x.add(line{start: uint32(len(data)), parent: noLine, flags: note})
	}
	return nil
}

func (x *indexer) top() *frame {
	if len(x.stack) == 0 {
		return nil
	}
	return &x.stack[len(x.stack)-1]
}

// skipSpace reports whether anything follows. Between values of a stream the
// record separator of RFC 7464 is space as well.
func (x *indexer) skipSpace(outside bool) bool {
	data := x.d.data
	for x.at < len(data) {
		switch c := data[x.at]; {
		case c == ' ' || c == '\n' || c == '\t' || c == '\r', c == 0x1e && outside:
			x.at++
		default:
			return true
		}
	}
	return false
}

func (x *indexer) add(l line) uint32 {
	d := x.d
	if d.count&(blockSize-1) == 0 {
		// The first block grows as it fills: most bodies are small.
		size := blockSize
		if d.count == 0 {
			size = 32
		}
		d.blocks = append(d.blocks, make([]line, 0, size))
	}
	b := &d.blocks[len(d.blocks)-1]
	*b = append(*b, l)
	d.count++
	return uint32(d.count - 1)
}

// open begins the line of a new member.
func (x *indexer) open(parent, index uint32, fl flags) {
	x.begin = x.at
	x.add(line{start: uint32(x.at), parent: parent, index: index, depth: uint16(len(x.stack)), flags: fl})
}

// token takes the bytes up to end into the current line, breaking it where it
// gets too long.
func (x *indexer) token(end int, role Role) {
	start := x.at
	x.at = end
	if end-x.begin <= Chunk {
		return
	}
	if start-x.begin > Chunk/2 { // after so much space, or so long a key
		x.continueAt(start, Space)
	}
	for end-x.begin > Chunk {
		at := x.begin + Chunk
		data := x.d.data
		for back := at; at-back < utf8.UTFMax && back > x.begin; back-- {
			if utf8.RuneStart(data[back]) {
				at = back
				break
			}
		}
		// Not between a backslash and what it escapes. The line began at no such
		// place, so counting from there is enough.
		slashes := 0
		for at-1-slashes >= x.begin && data[at-1-slashes] == '\\' {
			slashes++
		}
		at -= slashes & 1
		x.continueAt(at, role)
	}
}

func (x *indexer) continueAt(at int, role Role) {
	last := *x.d.line(x.d.count - 1)
	x.begin = at
	x.add(line{
		start: uint32(at), parent: last.parent, index: last.index, depth: last.depth,
		flags: continued, role: role,
	})
}

func (x *indexer) punct() { x.token(x.at+1, Punct) }

// member begins a member of the container f: its key and colon in an object.
// Not ok means damage, or the end of the body when x.at is there.
func (x *indexer) member(f *frame) (ok bool) {
	data := x.d.data
	if f.array {
		x.open(f.line, f.count, 0)
		f.count++
		return true
	}
	if data[x.at] != '"' {
		return false
	}
	x.open(f.line, f.count, hasKey)
	f.count++
	if !x.text(Key) || !x.skipSpace(false) {
		x.d.truncated = true
		x.at = len(data)
		return false
	}
	if data[x.at] != ':' {
		return false
	}
	x.punct()
	if !x.skipSpace(false) {
		x.d.truncated = true
		return false
	}
	return true
}

// value takes one value, or the opening of one.
func (x *indexer) value() (opened, ok bool) {
	data := x.d.data
	switch c := data[x.at]; {
	case c == '{' || c == '[':
		fl := opensObject
		if c == '[' {
			fl = opensArray
		}
		x.punct()
		i := x.d.count - 1
		x.d.line(i).flags |= fl
		x.stack = append(x.stack, frame{line: uint32(i), array: c == '['})
		return true, true
	case c == '"':
		if !x.text(String) {
			x.d.truncated = true
			x.at = len(data)
			return false, false
		}
		return false, true
	case c == '-' || c >= '0' && c <= '9':
		end := x.at + 1
		for end < len(data) && isNumberByte(data[end]) {
			end++
		}
		if !isNumber(data[x.at:end]) {
			if end < len(data) || !isNumberPrefix(data[x.at:end]) {
				return false, false
			}
			x.d.truncated = true
		}
		x.token(end, Number)
		return false, true
	}
	for _, word := range []string{"true", "false", "null"} {
		if data[x.at] != word[0] {
			continue
		}
		n := min(len(word), len(data)-x.at)
		if string(data[x.at:x.at+n]) != word[:n] {
			return false, false
		}
		x.token(x.at+n, Literal)
		if n < len(word) {
			x.d.truncated = true
		}
		return false, true
	}
	return false, false
}

// text takes a string and reports whether it ended.
func (x *indexer) text(role Role) bool {
	end, ok := stringEnd(x.d.data, x.at)
	x.token(end, role)
	return ok
}

// afterValue takes the comma or the closing brackets that follow a value, and
// reports whether a member or another value may follow.
func (x *indexer) afterValue() (more bool) {
	data := x.d.data
	for len(x.stack) > 0 {
		if !x.skipSpace(false) {
			x.d.truncated = true
			return false
		}
		f := x.top()
		switch c := data[x.at]; {
		case c == ',':
			x.punct()
			if !x.skipSpace(false) {
				x.d.truncated = true
				return false
			}
			// No member may be missing, so no bracket may follow.
			return data[x.at] != ']' && data[x.at] != '}'
		case c == ']' && f.array, c == '}' && !f.array:
			opener := x.d.line(int(f.line))
			parent, index := opener.parent, opener.index
			opener.other = uint32(x.d.count)
			line := f.line
			x.stack = x.stack[:len(x.stack)-1]
			x.open(parent, index, closes)
			x.d.line(x.d.count - 1).other = line
			x.punct()
		default:
			return false
		}
	}
	if x.at == len(data) {
		return true
	}
	// Values of a stream are set apart by space, or by what cannot be part of a
	// word or number.
	switch data[x.at] {
	case ' ', '\n', '\t', '\r', 0x1e, '{', '[':
		return true
	}
	return false
}

// stringEnd returns the end of the string that begins with the quote at i; not
// ok means that data ends before it.
func stringEnd(data []byte, i int) (end int, ok bool) { return closingQuote(data, i+1) }

// closingQuote is stringEnd from a place within the string.
func closingQuote(data []byte, i int) (end int, ok bool) {
	for at := i; ; {
		n := bytes.IndexByte(data[at:], '"')
		if n < 0 {
			return len(data), false
		}
		at += n + 1
		slashes := 0
		for at-2-slashes >= i && data[at-2-slashes] == '\\' {
			slashes++
		}
		if slashes&1 == 0 {
			return at, true
		}
	}
}

func isNumberByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}

// isNumber holds b against JSON's grammar.
func isNumber(b []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		b = b[n:]
		return n > 0
	}
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	if len(b) > 1 && b[0] == '0' && b[1] >= '0' && b[1] <= '9' || !digits() {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		if b = b[1:]; !digits() {
			return false
		}
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		if b = b[1:]; len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(b) == 0
}

// isNumberPrefix reports whether some digits would make b a number.
func isNumberPrefix(b []byte) bool {
	return isNumber(append(b[:len(b):len(b)], '0')) || len(b) == 1 && b[0] == '-'
}
