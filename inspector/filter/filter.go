// Package filter is the language that picks captures: one parser and one
// evaluator for the screen's filter bar, `lrok logs --filter`, the API's
// ?filter= and the dashboard. docs/filter.md describes the language.
//
// A query may come from anybody who may call the API, and it runs over bodies
// that came from anybody at all. Length, nesting, the size of regular
// expressions and the number of terms that read bodies are therefore bounded,
// and nothing in here backtracks.
package filter

import (
	"strings"
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
	Open    bool   // the query ends within something: what follows may mend it
}

// Error implements error.
func (e *Error) Error() string {
	if e.Nearest != "" {
		return e.Message + ", did you mean " + e.Nearest + "?"
	}
	return e.Message
}

// Match reports whether x is what f asks for.
func (f *Filter) Match(x *inspector.Exchange, e Env) bool { return f.root.match(x, &e) }

// NeedsBody reports whether Match looks into bodies. A list that holds light
// exchanges then has to fetch them first.
func (f *Filter) NeedsBody() bool { return f.root.deep }

// String is f in canonical form. Parsing it again gives an equivalent filter.
func (f *Filter) String() string {
	var b strings.Builder
	f.root.write(&b, opOr)
	return b.String()
}

type op uint8

const (
	opAll  op = iota // the empty query
	opTerm           // kids is empty
	opNot            // one kid
	opAnd            // two or more
	opOr             // two or more
)

// A node is a concrete type with a switch, not an interface: the environment
// then stays on the stack, and a match costs nanoseconds instead of an
// allocation.
type node struct {
	op   op
	deep bool // looks into bodies
	kids []node
	term *term
}

func (n *node) match(x *inspector.Exchange, e *Env) bool {
	switch n.op {
	case opTerm:
		return n.term.match(x, e)
	case opNot:
		return !n.kids[0].match(x, e)
	case opAnd:
		return !n.oneIs(false, x, e)
	case opOr:
		return n.oneIs(true, x, e)
	}
	return true
}

// oneIs reports whether one of the kids gives want. Those that look into bodies
// are asked last: they cost thousands of times as much.
func (n *node) oneIs(want bool, x *inspector.Exchange, e *Env) bool {
	for i := range n.kids {
		if !n.kids[i].deep && n.kids[i].match(x, e) == want {
			return true
		}
	}
	if n.deep {
		for i := range n.kids {
			if n.kids[i].deep && n.kids[i].match(x, e) == want {
				return true
			}
		}
	}
	return false
}

// write appends n in canonical form; outer is the operator around it, which
// decides about parentheses.
func (n *node) write(b *strings.Builder, outer op) {
	sep := " "
	switch n.op {
	case opAll:
		return
	case opTerm:
		b.WriteString(n.term.text)
		return
	case opNot:
		b.WriteByte('-')
		n.kids[0].write(b, opNot)
		return
	case opOr:
		sep = " or "
	}
	paren := outer == opNot || outer == opAnd
	if paren {
		b.WriteByte('(')
	}
	for i := range n.kids {
		if i > 0 {
			b.WriteString(sep)
		}
		n.kids[i].write(b, n.op)
	}
	if paren {
		b.WriteByte(')')
	}
}

func not(n node) node {
	switch n.op {
	case opNot:
		return n.kids[0]
	default:
		return node{op: opNot, deep: n.deep, kids: []node{n}}
	}
}

// join combines nodes and flattens what is nested for no reason, so that equal
// queries have equal canonical forms.
func join(o op, kids []node) node {
	if len(kids) == 1 {
		return kids[0]
	}
	flat := make([]node, 0, len(kids))
	deep := false
	for _, k := range kids {
		deep = deep || k.deep
		if k.op == o {
			flat = append(flat, k.kids...)
		} else {
			flat = append(flat, k)
		}
	}
	return node{op: o, deep: deep, kids: flat}
}
