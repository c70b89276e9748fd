package format

import "context"

// Chunk is the most bytes of a body that one line holds: longer lines go on in
// further ones, so that whatever is done with a line is bounded.
const Chunk = 4 << 10

// Lines is text by line: a body and an index of where its lines begin, built
// piece by piece. It belongs to one goroutine; hand it over after Index, do not
// share it.
type Lines struct{ data []byte }

// NewLines returns the lines of data, none indexed yet.
func NewLines(data []byte) *Lines { return &Lines{data: data} }

// Index looks at up to n more bytes (all that are left when n is not positive)
// and reports whether the whole body is indexed now. A ctx that ends stops it
// early.
func (l *Lines) Index(ctx context.Context, n int) bool { return true }

// Indexed is how many bytes of the body the index covers.
func (l *Lines) Indexed() int { return 0 }

// Count is the number of lines found so far, continuations included.
func (l *Lines) Count() int { return 0 }

// Line returns the bytes of line i as they came, without the line end. They
// must go through AppendLine or [AppendSanitized] before a terminal sees them.
func (l *Lines) Line(i int) []byte { return nil }

// AppendLine appends line i to dst, sanitized, tabs expanded to eight columns.
func (l *Lines) AppendLine(dst []byte, i int) []byte { return dst }

// Continued reports whether line i goes on with the line before.
func (l *Lines) Continued(i int) bool { return false }

// Number is the number, from 1, that people give line i.
func (l *Lines) Number(i int) int { return 0 }

// At returns the line that holds the byte at offset.
func (l *Lines) At(offset int) int { return 0 }

// Offset returns where in the body line i begins.
func (l *Lines) Offset(i int) int { return 0 }

// Data returns the body.
func (l *Lines) Data() []byte { return l.data }

// Wrap appends to ends where the rows of a sanitized line end when it is broken
// at width columns, wide characters kept whole. A line has at least one row.
func Wrap(ends []int, text []byte, width int) []int { return ends }
