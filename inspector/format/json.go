package format

import (
	"context"
	"errors"
)

// MaxDocument is the largest body that [Pretty] takes.
const MaxDocument = 8 << 20

// What Pretty refuses with. The caller then shows the body as it is.
var (
	ErrNotJSON  = errors.New("not JSON")
	ErrDocument = errors.New("too large to format")
)

// A Role is what a stretch of a JSON line is, for its colour.
type Role uint8

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
// over lines. It keeps the body and sixteen to twenty bytes for each line; a
// line's text is made when it is asked for. It does not change once Pretty has
// returned it, so any number of goroutines may read it.
//
// A line is at most [Chunk] bytes of the body: a longer string goes on in
// further lines, for which Continued reports true.
type Document struct{ data []byte }

// Pretty lays out a JSON body or NDJSON. Key order, number text and string
// escapes stay as they came. A body that ends early is laid out up to there and
// the document says so: passing the first 64 KiB of a body is a quick way to its
// first screen. It stops with ctx's error when ctx ends; progress, when not nil,
// hears about every 256 KiB how many bytes are done.
func Pretty(ctx context.Context, data []byte, progress func(done int)) (*Document, error) {
	return nil, ErrNotJSON
}

// Count is the number of lines, continuations included.
func (d *Document) Count() int { return 0 }

// Truncated reports whether the body ended before its JSON did; a last line
// says so.
func (d *Document) Truncated() bool { return false }

// AppendLine appends the text of line i, indented and sanitized, to dst, and its
// spans to spans; their offsets count from the end that dst had.
func (d *Document) AppendLine(dst []byte, spans []Span, i int) ([]byte, []Span) { return dst, spans }

// AppendFolded is AppendLine for the opening line of a fold that is closed:
// "lines": { … 3 keys, 1 array of 4 }.
func (d *Document) AppendFolded(dst []byte, spans []Span, i int) ([]byte, []Span) { return dst, spans }

// Continued reports whether line i goes on with the string of the line before.
func (d *Document) Continued(i int) bool { return false }

// Depth is how deep line i is nested.
func (d *Document) Depth(i int) int { return 0 }

// Fold returns the last line of the object or array that line i opens. Not ok
// means that it opens none, or that it ends on the same line.
func (d *Document) Fold(i int) (end int, ok bool) { return 0, false }

// Parent returns the line that opens the object or array that line i lies in;
// for a closing line that is the line that opened it. Not ok means the top.
func (d *Document) Parent(i int) (int, bool) { return 0, false }

// Path is the JSON path of the value on line i, as .data.items[4]["odd key"];
// the top is ".".
func (d *Document) Path(i int) string { return "" }

// Value returns the bytes of the body that hold the value on line i, whole even
// where it spans many lines.
func (d *Document) Value(i int) []byte { return nil }

// At returns the line that holds the byte of the body at offset.
func (d *Document) At(offset int) int { return 0 }

// Offset returns where in the body line i begins.
func (d *Document) Offset(i int) int { return 0 }

// Data returns the body.
func (d *Document) Data() []byte { return d.data }

// Folds knows which folds of a document are closed, and so which lines show.
// It belongs to one goroutine.
type Folds struct{}

// NewFolds returns the view of d with every fold open.
func NewFolds(d *Document) *Folds { return nil }

// Toggle closes or opens the fold at line i: the one it opens or else the one it
// lies in. It returns the line that stands for i afterwards.
func (f *Folds) Toggle(i int) int { return i }

// CloseAll closes every fold but the outermost; OpenAll opens every one.
func (f *Folds) CloseAll() {}

// OpenAll opens every fold.
func (f *Folds) OpenAll() {}

// Closed reports whether the fold that line i opens is closed.
func (f *Folds) Closed(i int) bool { return false }

// Rows is the number of lines that show.
func (f *Folds) Rows() int { return 0 }

// Line returns the document's line that shows at row.
func (f *Folds) Line(row int) int { return 0 }

// Row returns where line i shows, or the line of the closed fold that hides it.
func (f *Folds) Row(i int) int { return 0 }

// Show opens what hides line i and returns its row.
func (f *Folds) Show(i int) int { return 0 }
