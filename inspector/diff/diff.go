// Package diff compares two captures the way a person would: the start line,
// the headers by name, and the body by what it holds. JSON is compared by
// structure, forms and multipart bodies field by field, text line by line,
// anything else by size, digest and first differing byte.
//
// What a rule calls noise (a fresh id, a timestamp, the Date header) is still
// in the result, marked as ignored together with the rule that says so. Nothing
// is dropped silently.
//
// Bodies come from outside, so every comparison is bounded in time, memory and
// depth. Where a bound was reached, the result gets coarser, never wrong, and
// carries a note.
package diff

import (
	"encoding/json"
	"errors"
	"sync/atomic"
)

// ErrCanceled is returned when Options.Done was closed before the end.
var ErrCanceled = errors.New("diff canceled")

// Options say how to compare. The zero value is what `lrok diff` does.
type Options struct {
	// Ignore lists the user's own rules, tried before the built-in ones.
	Ignore []Rule
	// Strict switches the built-in rules off: timestamps, ids and volatile
	// headers then count as differences.
	Strict bool
	// BodyDiffers tells Headers that the bodies differ, so that a different
	// Content-Length is no news. Exchanges sets it by itself.
	BodyDiffers bool
	// Equal also lists what is equal: start line, header lines, fields, and
	// values, an object or array without a difference as one, up to 20,000 in
	// a body.
	Equal bool
	// Plain compares bodies of text line by line, whatever they hold. JSON is
	// indented first.
	Plain bool
	// Progress, when not nil, is where another goroutine can see how far the
	// comparison is.
	Progress *Progress
	// Done, when not nil, stops the comparison once it is closed: pass
	// ctx.Done().
	Done <-chan struct{}
}

// A Progress tells how far a comparison is. The zero value is ready for one.
type Progress struct{ read, total atomic.Int64 }

// Bytes returns how many bytes of the bodies were read, of how many.
func (p *Progress) Bytes() (read, total int64) { return p.read.Load(), p.total.Load() }

func (p *Progress) add(n int) {
	if p != nil {
		p.read.Add(int64(n))
	}
}

func (p *Progress) expect(n int) {
	if p != nil {
		p.total.Add(int64(n))
	}
}

// An Op says what happened to a value on the way from A to B.
type Op string

const (
	Equal   Op = "equal" // only in Line, and elsewhere with Options.Equal
	Add     Op = "add"
	Remove  Op = "remove"
	Replace Op = "replace"
	Move    Op = "move"
)

// A Change is one difference between two JSON documents, two forms or two start
// lines.
type Change struct {
	// Path is for people: .data.items[id=42].price. Array elements without a
	// name are shown by their index, the one in B for Add, the one in A
	// otherwise.
	Path string `json:"path"`
	// Pointer is for Apply: a JSON pointer into A. The last token of an Add to
	// an array is the index in B. Two escapes go beyond RFC 6901: ~2 and a
	// number at the end of a token name a later occurrence of a repeated key
	// (counted from 1), and ~3 with two hex digits is a byte that is not UTF-8.
	Pointer string `json:"pointer,omitempty"`
	Op      Op     `json:"op"`
	// To is the index in B of an element that moved.
	To int `json:"to,omitempty"`
	// A and B are the values as they were written; nil means there is none.
	// They share memory with what was compared.
	A json.RawMessage `json:"a,omitempty"`
	B json.RawMessage `json:"b,omitempty"`
	// Ignored marks a difference that Rule calls noise.
	Ignored bool   `json:"ignored,omitempty"`
	Rule    string `json:"rule,omitempty"`
	// TypeChange marks a value whose JSON type changed.
	TypeChange bool `json:"typeChange,omitempty"`
	// Note says where the comparison had to be coarse, such as an array too
	// long to align.
	Note string `json:"note,omitempty"`
}

// A HeaderChange is one difference between two header blocks.
type HeaderChange struct {
	Name string `json:"name"` // as B writes it, or A where B has none
	Op   Op     `json:"op"`
	A    string `json:"a,omitempty"`
	B    string `json:"b,omitempty"`
	// From and To are set for a Move: the positions, counted from 1, among the
	// lines that both sides have.
	From    int    `json:"from,omitempty"`
	To      int    `json:"to,omitempty"`
	Ignored bool   `json:"ignored,omitempty"`
	Rule    string `json:"rule,omitempty"`
}

// A Line is one line of a text diff, without its line end.
type Line struct {
	Op   Op     `json:"op"`          // Equal, Remove or Add
	A    int    `json:"a,omitempty"` // line number in A, counted from 1; 0 for Add
	B    int    `json:"b,omitempty"` // line number in B, counted from 1; 0 for Remove
	Text string `json:"text"`
	// NoEnd marks a last line without line end.
	NoEnd bool `json:"noEnd,omitempty"`
	// Spans are the parts of Text that differ from its counterpart. Within a
	// run of changed lines the n-th removed line is the counterpart of the n-th
	// added one. A line without counterpart has none.
	Spans []Span `json:"spans,omitempty"`
}

// A Span is a part of a text, in bytes.
type Span struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// A Side says which message of two exchanges to compare.
type Side string

const (
	Request  Side = "request"
	Response Side = "response"
	Both     Side = "both"
)

// A Report is everything that Exchanges found.
type Report struct {
	A        Ref       `json:"a"`
	B        Ref       `json:"b"`
	Side     Side      `json:"side"`
	Request  *Messages `json:"request,omitempty"`  // nil when not asked for
	Response *Messages `json:"response,omitempty"` // nil when not asked for
}

// A Ref names one of the two exchanges.
type Ref struct {
	ID       string `json:"id"`
	Tunnel   string `json:"tunnel,omitempty"`
	Number   uint64 `json:"number"`
	ReplayOf string `json:"replayOf,omitempty"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Status   int    `json:"status"`
	Duration int64  `json:"duration"` // nanoseconds, 0 while open
}

// Messages is the comparison of two requests or of two responses.
type Messages struct {
	// Start holds what differs outside of headers and body: "method", "path",
	// "query.NAME", "host", "proto", "status", "reason", "grpc", "error". Values are
	// JSON.
	Start    []Change       `json:"start"`
	Headers  []HeaderChange `json:"headers"`
	Trailers []HeaderChange `json:"trailers,omitempty"`
	Body     Body           `json:"body"`

	StartCounts  Counts `json:"startCounts"`
	HeaderCounts Counts `json:"headerCounts"` // headers and trailers
}

// Body is the comparison of two bodies.
type Body struct {
	// Kind says how they were compared: "none" (both empty), "json", "protobuf" (as
	// JSON, read without a schema), "form", "multipart", "text", "binary".
	Kind  string `json:"kind"`
	SizeA int64  `json:"sizeA"` // bytes that passed, before decoding
	SizeB int64  `json:"sizeB"`

	Changes []Change `json:"changes,omitempty"` // json, protobuf, form, multipart
	Lines   []Line   `json:"lines,omitempty"`   // text
	Binary  *Binary  `json:"binary,omitempty"`  // binary that differs
	Counts  Counts   `json:"counts"`            // values, fields or lines

	// Incomplete says that not all bytes of both could be compared, and that
	// what could be showed no difference. The bodies may or may not be equal.
	Incomplete bool `json:"incomplete,omitempty"`
	// Notes say in plain words what limits the comparison met.
	Notes []string `json:"notes,omitempty"`
}

// Binary describes two bodies that differ and are neither text nor a known
// structure.
type Binary struct {
	SHA256A string `json:"sha256A,omitempty"`
	SHA256B string `json:"sha256B,omitempty"`
	// Offset is the first byte that differs, -1 if the captured bytes do not.
	Offset int64 `json:"offset"`
	// Windows shows up to three places that differ, 16 bytes a row.
	Windows []Window `json:"windows,omitempty"`
}

// A Window is a stretch of two binary bodies at the same offset.
type Window struct {
	Offset int64  `json:"offset"`
	A      []byte `json:"a"`
	B      []byte `json:"b"`
}

// Counts sums up a comparison. Ignored differences count in Ignored alone.
type Counts struct {
	Added   int `json:"added"`
	Removed int `json:"removed"`
	Changed int `json:"changed"`
	Moved   int `json:"moved"`
	Ignored int `json:"ignored"`
	Equal   int `json:"equal"`
}

// Differ reports whether anything differs that no rule ignores.
func (c Counts) Differ() bool { return c.Added+c.Removed+c.Changed+c.Moved > 0 }
