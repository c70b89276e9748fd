package filter

import "github.com/lrok-dev/lrok/inspector"

// Parse reads a query. The empty query matches everything. The error is an
// *Error.
func Parse(q string) (*Filter, error) { return &Filter{}, nil }

// Match reports whether x is what f asks for.
func (f *Filter) Match(x *inspector.Exchange, e Env) bool {
	return f.root == nil || f.root.match(x, &e)
}

// NeedsBody reports whether Match looks into bodies. A list that holds light
// exchanges then has to fetch them first.
func (f *Filter) NeedsBody() bool { return false }

// String is f in canonical form. Parsing it again gives an equivalent filter.
func (f *Filter) String() string { return "" }

// Complete suggests how to go on at byte offset cursor of q, from the fields of
// the language and from the values in the exchanges seen.
func Complete(q string, cursor int, seen []inspector.Exchange) []Completion { return nil }
