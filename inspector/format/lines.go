package format

import (
	"bytes"
	"context"
	"sort"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// Chunk is the most bytes of a body that one line holds: longer lines go on in
// further ones, so that whatever is done with a line is bounded.
const Chunk = 4 << 10

const (
	// sparse is how many lines share one entry of the index: a body of nothing
	// but line feeds must not make an index many times its size.
	sparse   = 16
	tabWidth = 8
)

// Lines is text by line: a body and an index of where its lines begin, built
// piece by piece. It belongs to one goroutine; hand it over after Index, do not
// share it.
type Lines struct {
	data  []byte
	marks []lineMark // of lines 0, 16, 32, ...
	count int
	at    int // how far the index goes, always to the end of a line
	named int // lines that are no continuation, so far
}

type lineMark struct {
	start  uint32
	number uint32 // what people call the line
}

// NewLines returns the lines of data, none indexed yet. More than 4 GiB are not
// for a screen; the rest is left out.
func NewLines(data []byte) *Lines {
	return &Lines{data: data[:min(len(data), 1<<32-1)]}
}

// Index looks at up to n more bytes (all that are left when n is not positive)
// and reports whether the whole body is indexed now. A ctx that ends stops it
// early.
func (l *Lines) Index(ctx context.Context, n int) bool {
	stop := len(l.data)
	if n > 0 {
		stop = min(stop, l.at+n)
	}
	for check := l.at; l.at < stop; {
		if l.at >= check {
			if ctx.Err() != nil {
				return false
			}
			check = l.at + 256<<10
		}
		if !l.continues(l.at) {
			l.named++
		}
		if l.count%sparse == 0 {
			l.marks = append(l.marks, lineMark{start: uint32(l.at), number: uint32(l.named)})
		}
		l.count++
		_, l.at = l.bounds(l.at)
	}
	return l.at == len(l.data)
}

// Indexed is how many bytes of the body the index covers.
func (l *Lines) Indexed() int { return l.at }

// Count is the number of lines found so far, continuations included.
func (l *Lines) Count() int { return l.count }

// Line returns the bytes of line i as they came, without the line end. They
// must go through AppendLine or [AppendSanitized] before a terminal sees them.
func (l *Lines) Line(i int) []byte {
	start := l.Offset(i)
	end, _ := l.bounds(start)
	return l.data[start:end]
}

// AppendLine appends line i to dst, sanitized, tabs expanded to eight columns.
func (l *Lines) AppendLine(dst []byte, i int) []byte {
	line := l.Line(i)
	if bytes.IndexByte(line, '\t') < 0 {
		return AppendSanitized(dst, line)
	}
	for column := 0; ; {
		text, rest, tab := bytes.Cut(line, []byte{'\t'})
		from := len(dst)
		dst = AppendSanitized(dst, text)
		if !tab {
			return dst
		}
		column += displaywidth.Bytes(dst[from:])
		for {
			dst = append(dst, ' ')
			if column++; column%tabWidth == 0 {
				break
			}
		}
		line = rest
	}
}

// Continued reports whether line i goes on with the line before.
func (l *Lines) Continued(i int) bool { return l.continues(l.Offset(i)) }

// Number is the number, from 1, that people give line i.
func (l *Lines) Number(i int) int {
	m := l.marks[i/sparse]
	number, start := int(m.number), int(m.start)
	for range i % sparse {
		if _, start = l.bounds(start); !l.continues(start) {
			number++
		}
	}
	return number
}

// At returns the line that holds the byte at offset, or the last one indexed.
func (l *Lines) At(offset int) int {
	n := sort.Search(len(l.marks), func(i int) bool { return int(l.marks[i].start) > offset })
	if n == 0 {
		return 0
	}
	i, start := (n-1)*sparse, int(l.marks[n-1].start)
	for ; i+1 < l.count; i++ {
		if _, start = l.bounds(start); start > offset {
			break
		}
	}
	return i
}

// Offset returns where in the body line i begins.
func (l *Lines) Offset(i int) int {
	start := int(l.marks[i/sparse].start)
	for range i % sparse {
		_, start = l.bounds(start)
	}
	return start
}

// Data returns the body.
func (l *Lines) Data() []byte { return l.data }

func (l *Lines) continues(start int) bool { return start > 0 && l.data[start-1] != '\n' }

// bounds returns where the line that begins at start ends and where the next
// one begins.
func (l *Lines) bounds(start int) (end, next int) {
	// Two bytes more than a chunk, so that no line end is torn off its line.
	window := l.data[start:min(len(l.data), start+Chunk+2)]
	if n := bytes.IndexByte(window, '\n'); n >= 0 {
		end = start + n
		if n > 0 && window[n-1] == '\r' {
			end--
		}
		return end, start + n + 1
	}
	if len(window) <= Chunk {
		return start + len(window), start + len(window)
	}
	cut := Chunk
	for back := cut; cut-back < utf8.UTFMax; back-- {
		if utf8.RuneStart(window[back]) {
			cut = back
			break
		}
	}
	return start + cut, start + cut
}

// Wrap appends to ends where the rows of a sanitized line end when it is broken
// at width columns, wide characters kept whole, and after a blank where one comes
// in the last third of the row. The rows after the first are narrower by hang
// columns. A line has at least one row. Columns measures one character that is not
// ASCII, with its marks; nil does it as Unicode has it.
func Wrap(ends []int, text []byte, width, hang int, columns func(cluster []byte) int) []int {
	width = max(width, 2) // room for one wide character
	start, column := len(ends), 0
	blank, before := 0, 0 // where the row can end after a blank, and its columns up to there
	ink := false          // the row is not all blank so far
	wrap := func(i int) {
		if len(ends) == start {
			width = max(width-hang, 2)
		}
		if blank > 0 && 3*before >= 2*column && column-before+2 <= width {
			ends = append(ends, blank)
			column -= before
		} else {
			ends = append(ends, i)
			column = 0
		}
		blank, before, ink = 0, 0, column > 0
	}
	for i := 0; i < len(text); {
		// Printable ASCII takes a column each, unless a mark follows.
		if text[i] < utf8.RuneSelf && (i+1 == len(text) || text[i+1] < utf8.RuneSelf) {
			if column == width {
				wrap(i)
			}
			column++
			i++
			if text[i-1] != ' ' {
				ink = true
			} else if ink {
				blank, before = i, column
			}
			continue
		}
		graphemes := displaywidth.BytesGraphemes(text[i:])
		if !graphemes.Next() {
			break
		}
		w := graphemes.Width()
		if columns != nil {
			w = columns(graphemes.Value())
		}
		if column+w > width {
			wrap(i)
		}
		column += w
		ink = true
		i += len(graphemes.Value())
	}
	if n := len(ends); n == start || ends[n-1] < len(text) {
		ends = append(ends, len(text))
	}
	return ends
}
