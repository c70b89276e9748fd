package diff

import (
	"errors"
	"io"

	"github.com/lrok-dev/lrok/inspector"
)

var errTODO = errors.New("not there yet")

// A Rule calls differences noise.
type Rule struct{ text string }

// ParseRule reads a rule: a path such as .items[*].updated_at (what is below it
// is ignored too, .. stands for any depth), or header:NAME with * as wildcard.
func ParseRule(s string) (Rule, error) { return Rule{s}, nil }

// String is the text that ParseRule reads.
func (r Rule) String() string { return r.text }

// Generalize turns the path of a change into one for a rule:
// .items[id=42].updated_at becomes .items[*].updated_at.
func Generalize(path string) string { return path }

// JSON compares two JSON documents.
func JSON(a, b []byte, o Options) ([]Change, error) { return nil, errTODO }

// Apply changes a by what JSON found.
func Apply(a []byte, changes []Change) ([]byte, error) { return nil, errTODO }

// Text compares two texts line by line.
func Text(a, b string) []Line { return nil }

// Headers compares two header blocks.
func Headers(a, b []inspector.Field, o Options) []HeaderChange { return nil }

// Exchanges compares two captures.
func Exchanges(a, b *inspector.Exchange, side Side, o Options) Report { return Report{} }

// Equal reports whether the captures are equal but for what rules ignore.
func (r Report) Equal() bool { return false }

// Summary is the report in one line: "status 200 -> 500, body ~2 +1 -1".
func (r Report) Summary() string { return "" }

// WriteText writes r for people, without colour or control characters.
func WriteText(w io.Writer, r Report) error { return errTODO }
