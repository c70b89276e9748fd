package format

import (
	"bytes"
	"sort"
	"strconv"
)

// A Role is what a stretch of a JSON line is, for its colour.
type Role uint8

// The roles.
const (
	Space   Role = iota
	Key          // with its quotes
	String       // with its quotes
	Number       // as it was written
	Literal      // true, false, null
	Punct        // { } [ ] , :
	Note         // words of ours: a fold's summary, the mark of a cut
)

// A Span is a stretch of a line's text with one role.
type Span struct {
	Start, End int
	Role       Role
}

// A Document is formatted JSON, one value (or, for NDJSON, several) laid out
// over lines. It keeps the body and twenty bytes for each line; a line's text is
// made when it is asked for. It does not change once Pretty has returned it, so
// any number of goroutines may read it.
//
// A line is at most [Chunk] bytes of the body: a longer string goes on in
// further lines, for which Continued reports true.
type Document struct {
	data      []byte
	blocks    [][]line
	count     int
	tops      int // values at the top level
	truncated bool
	remarks   []Remark
}

// Remark has words of ours stand behind lines, in the order of their offsets. It
// is called before anybody else has d.
func (d *Document) Remark(list []Remark) { d.remarks = list }

// remark writes what is to be said of line i.
func (d *Document) remark(w *lineWriter, i int) {
	if len(d.remarks) == 0 || i+1 < d.count && d.line(i+1).flags&continued != 0 {
		return
	}
	l := d.line(d.first(i))
	if l.flags&note != 0 || d.line(i).flags&closes != 0 {
		return
	}
	at := int(l.start)
	k := sort.Search(len(d.remarks), func(k int) bool { return d.remarks[k].At >= at })
	if k < len(d.remarks) && d.remarks[k].At == at {
		w.plain("  ", Space)
		start := len(w.dst)
		w.dst = AppendSanitized(w.dst, []byte(d.remarks[k].Text))
		w.mark(start, Note)
	}
}

// A line begins at start in the body and ends where its last token does, before
// the next line. All its tokens lie within Chunk bytes and a few.
type line struct {
	start  uint32
	parent uint32 // the line that opens the container around it, or noLine
	index  uint32 // its place among the members of that container
	other  uint32 // of an opening line the closing one, and the reverse
	depth  uint16
	flags  flags
	role   Role // of the token that a continued line goes on with
}

type flags uint8

const (
	opensObject flags = 1 << iota
	opensArray
	closes
	hasKey
	continued
	note // no part of the body: the mark of a cut
)

func (d *Document) line(i int) *line { return &d.blocks[i>>blockBits][i&(blockSize-1)] }

// Count is the number of lines, continuations included.
func (d *Document) Count() int { return d.count }

// Truncated reports whether the body ended before its JSON did; a last line
// says so.
func (d *Document) Truncated() bool { return d.truncated }

// Values is the number of values at the top: 1, or more for NDJSON.
func (d *Document) Values() int { return d.tops }

// source returns the bytes of the body that line i shows.
func (d *Document) source(i int) []byte {
	start := int(d.line(i).start)
	end := len(d.data)
	if i+1 < d.count {
		end = int(d.line(i + 1).start)
	}
	// What lies beyond can only be space.
	return d.data[start:min(end, start+Chunk)]
}

// AppendLine appends the text of line i, indented and sanitized, to dst, and its
// spans to spans; their offsets count from the end that dst had.
func (d *Document) AppendLine(dst []byte, spans []Span, i int) ([]byte, []Span) {
	w := lineWriter{dst: dst, base: len(dst), spans: spans}
	d.write(&w, i)
	d.remark(&w, i)
	return w.dst, w.spans
}

// AppendFolded is AppendLine for the opening line of a fold that is closed:
// "lines": { … 3 keys, 1 array of 4 }.
func (d *Document) AppendFolded(dst []byte, spans []Span, i int) ([]byte, []Span) {
	w := lineWriter{dst: dst, base: len(dst), spans: spans}
	d.write(&w, i)
	end, ok := d.Fold(i)
	if !ok {
		return w.dst, w.spans
	}
	w.plain(" ", Space)
	w.plain("… "+d.summary(i), Note)
	w.plain(" ", Space)
	if last := d.line(end); last.flags&closes != 0 && int(last.other) == i {
		w.tokens(d.source(end), Space, false)
	} else {
		w.plain("…", Note)
	}
	return w.dst, w.spans
}

func (d *Document) write(w *lineWriter, i int) {
	l := d.line(i)
	if l.flags&note != 0 {
		w.plain("… the body is cut here", Note)
		return
	}
	for range min(int(l.depth), maxIndent) {
		w.dst = append(w.dst, "  "...)
	}
	w.tokens(d.source(i), l.role, l.flags&hasKey != 0)
}

// A lineWriter turns the source of one line into text and spans.
type lineWriter struct {
	dst   []byte
	base  int
	spans []Span
}

func (w *lineWriter) mark(start int, role Role) {
	start -= w.base
	if n := len(w.spans); n > 0 && w.spans[n-1].Role == role && w.spans[n-1].End == start && start > 0 {
		w.spans[n-1].End = len(w.dst) - w.base
		return
	}
	w.spans = append(w.spans, Span{Start: start, End: len(w.dst) - w.base, Role: role})
}

func (w *lineWriter) plain(s string, role Role) {
	start := len(w.dst)
	w.dst = append(w.dst, s...)
	if role != Space {
		w.mark(start, role)
	}
}

// tokens writes src, which begins within a token of the role inside unless that
// is Space, or with a key.
func (w *lineWriter) tokens(src []byte, inside Role, key bool) {
	for i := 0; i < len(src); {
		end, role := i+1, Punct
		switch c := src[i]; {
		case i == 0 && (inside == Key || inside == String):
			end, _ = closingQuote(src, 0)
			role = inside
		case c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == 0x1e:
			i++
			continue
		case c == '"':
			end, _ = stringEnd(src, i)
			role = String
			if key && i == 0 {
				role = Key
			}
		case isNumberByte(c) && (c != 'e' && c != 'E' || i == 0 && inside == Number):
			for end < len(src) && isNumberByte(src[end]) {
				end++
			}
			role = Number
		case c >= 'a' && c <= 'z':
			for end < len(src) && src[end] >= 'a' && src[end] <= 'z' {
				end++
			}
			role = Literal
		}
		start := len(w.dst)
		w.dst = appendSafe(w.dst, src[i:end], false)
		w.mark(start, role)
		if role == Punct && src[i] == ':' {
			w.dst = append(w.dst, ' ')
		}
		i = end
	}
}

// Continued reports whether line i goes on with the string of the line before.
func (d *Document) Continued(i int) bool { return d.line(i).flags&continued != 0 }

// Depth is how deep line i is nested.
func (d *Document) Depth(i int) int { return int(d.line(i).depth) }

// Fold returns the last line of the object or array that line i opens. Not ok
// means that it opens none, or that it ends on the same line.
func (d *Document) Fold(i int) (end int, ok bool) {
	l := d.line(i)
	if l.flags&(opensObject|opensArray) == 0 || int(l.other) <= i {
		return 0, false
	}
	return int(l.other), true
}

// Parent returns the line that opens the object or array that line i lies in;
// for a closing line that is the line that opened it. Not ok means the top.
func (d *Document) Parent(i int) (int, bool) {
	l := d.line(i)
	if l.flags&closes != 0 {
		return int(l.other), true
	}
	if l.parent == noLine {
		return 0, false
	}
	return int(l.parent), true
}

// first returns the line on which the member that line i belongs to begins.
func (d *Document) first(i int) int {
	if l := d.line(i); l.flags&closes != 0 {
		i = int(l.other)
	}
	for i > 0 && d.line(i).flags&continued != 0 {
		i--
	}
	return i
}

// Path is the JSON path of the value on line i, as .data.items[4]["odd key"];
// the top is ".". It is sanitized, and such that jq takes it.
func (d *Document) Path(i int) string {
	var up []int
	for i = d.first(i); d.line(i).parent != noLine; i = d.first(int(d.line(i).parent)) {
		up = append(up, i)
	}
	if len(up) == 0 {
		return "."
	}
	var p []byte
	for n := len(up) - 1; n >= 0; n-- {
		l := d.line(up[n])
		if l.flags&hasKey == 0 {
			if len(p) == 0 {
				p = append(p, '.')
			}
			p = append(p, '[')
			p = strconv.AppendUint(p, uint64(l.index), 10)
			p = append(p, ']')
			continue
		}
		end, _ := stringEnd(d.data, int(l.start))
		key := d.data[l.start:end]
		if len(key) > 2 && isWord(key[1:len(key)-1]) {
			p = append(append(p, '.'), key[1:len(key)-1]...)
			continue
		}
		if len(p) == 0 {
			p = append(p, '.')
		}
		p = append(append(append(p, '['), key...), ']')
	}
	return string(AppendSanitized(nil, p))
}

func isWord(b []byte) bool {
	for i, c := range b {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			if c != '_' && (i == 0 || c < '0' || c > '9') {
				return false
			}
		}
	}
	return true
}

// Value returns the bytes of the body that hold the value on line i, whole even
// where it spans many lines.
func (d *Document) Value(i int) []byte {
	if d.line(i).flags&note != 0 {
		return nil
	}
	i = d.first(i)
	l := d.line(i)
	at := int(l.start)
	if l.flags&hasKey != 0 {
		at, _ = stringEnd(d.data, at)
		for at < len(d.data) && (isSpace(d.data[at]) || d.data[at] == ':') {
			at++
		}
	}
	if at == len(d.data) {
		return nil
	}
	end := at + 1
	switch d.data[at] {
	case '"':
		end, _ = stringEnd(d.data, at)
	case '{', '[':
		// The opening bracket may stand on a continued line, if the key is long.
		for d.line(i).flags&(opensObject|opensArray) == 0 && i+1 < d.count && d.line(i+1).flags&continued != 0 {
			i++
		}
		l := d.line(i)
		switch {
		case l.flags&(opensObject|opensArray) == 0: // {} and []
			for end < len(d.data) && isSpace(d.data[end]) {
				end++
			}
			end = min(end+1, len(d.data))
		case d.line(int(l.other)).flags&closes != 0 && int(d.line(int(l.other)).other) == i:
			end = int(d.line(int(l.other)).start) + 1
		default:
			end = len(d.data)
		}
	default:
		for end < len(d.data) && !isSpace(d.data[end]) && !bytes.ContainsRune([]byte(",]}"), rune(d.data[end])) {
			end++
		}
	}
	return d.data[at:end]
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == 0x1e }

// At returns the line that holds the byte of the body at offset.
func (d *Document) At(offset int) int {
	n := sort.Search(d.count, func(i int) bool { return int(d.line(i).start) > offset })
	return max(n-1, 0)
}

// Offset returns where in the body line i begins.
func (d *Document) Offset(i int) int { return int(d.line(i).start) }

// Data returns the body.
func (d *Document) Data() []byte { return d.data }

// summary says what a closed fold hides: "3 keys, 1 array of 4".
func (d *Document) summary(i int) string {
	n, whole := d.members(i)
	least := ""
	if !whole {
		least = "at least "
	}
	if d.line(i).flags&opensArray != 0 {
		return least + plural(n, "item")
	}
	s := least + plural(n, "key")
	arrays, items := 0, 0
	for j, steps := i+1, 0; j <= int(d.line(i).other); j++ {
		if steps++; steps > 256 {
			return s
		}
		l := d.line(j)
		if l.flags&opensArray != 0 {
			arrays++
			items, _ = d.members(j)
		}
		if end, ok := d.Fold(j); ok {
			j = end
		}
	}
	switch arrays {
	case 0:
		return s
	case 1:
		return s + ", 1 array of " + strconv.Itoa(items)
	}
	return s + ", " + plural(arrays, "array")
}

// members counts what the container opened by line i holds; not whole means that
// the body ends within it.
func (d *Document) members(i int) (n int, whole bool) {
	last := int(d.line(i).other)
	if l := d.line(last); l.flags&closes != 0 && int(l.other) == i {
		last--
		whole = true
	}
	for last > i && d.line(last).parent != uint32(i) {
		last = int(d.line(last).parent)
	}
	if last <= i {
		return 0, whole
	}
	return int(d.line(last).index) + 1, whole
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(int64(n)) + " " + noun + "s"
}
