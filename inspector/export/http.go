package export

import (
	"errors"
	"fmt"

	"github.com/lrok-dev/lrok/inspector"
)

// HTTP writes the request of x as an .http file for an editor: comment lines,
// method and target, header lines, an empty line, the body. A body that is not
// text is written in base64 and a comment says so. [ParseHTTP] is its inverse.
func HTTP(x *inspector.Exchange) []byte { return nil }

// A Request is what an .http file says.
type Request struct {
	Method string
	URL    string // as written: a request target or a whole URL
	Header []inspector.Field
	Body   []byte
}

// ErrEmpty says that an .http file holds nothing but comments: the user gave up.
var ErrEmpty = errors.New("the file is empty")

// A SyntaxError says what is wrong with an .http file and where.
type SyntaxError struct {
	Line    int // from 1
	Message string
}

// Error says the line and what is wrong there.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Message) }

// ParseHTTP reads an .http file. Its error is [ErrEmpty] or a [*SyntaxError]. The body's last
// line feed is not part of it, because editors end files with one.
func ParseHTTP(data []byte) (Request, error) { return Request{}, nil }

// Changes says how r differs from the request of x, for a replay. The zero
// value means not at all.
func (r Request) Changes(x *inspector.Exchange) inspector.Changes { return inspector.Changes{} }
