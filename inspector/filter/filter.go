// Package filter is the language that picks captures: one parser and one
// evaluator for the screen's filter bar, `lrok logs --filter`, the API's
// ?filter= and the dashboard.
//
// See docs/filter.md for the language.
package filter

import (
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// A Filter is a parsed query. It is immutable and safe for concurrent use.
type Filter struct{ root node }

// Env is what an exchange alone does not tell. The zero value is usable:
// nothing is marked, nothing is new, bodies are those in the exchange, and the
// time is now.
type Env struct {
	// Now is the time that age: and the duration of open exchanges count from.
	Now time.Time
	// Marked and Unseen answer is:marked and is:new.
	Marked, Unseen func(id string) bool
	// Body returns both bodies of x with content coding removed. When nil, the
	// captured bytes in x are used as they are.
	Body func(x *inspector.Exchange) (req, resp []byte)
}

// An Error says what is wrong with a query and where.
type Error struct {
	Pos     int    // byte offset in the query
	Message string // one plain sentence
	Nearest string // the field or value that was probably meant, or ""
}

// Error implements error.
func (e *Error) Error() string {
	if e.Nearest != "" {
		return e.Message + ", did you mean " + e.Nearest + "?"
	}
	return e.Message
}

// A Completion is one way to go on with a query: the bytes of the query from
// From to To are replaced by Text.
type Completion struct {
	Text string
	Help string
	From int
	To   int
}

type node interface {
	match(x *inspector.Exchange, e *Env) bool
}
