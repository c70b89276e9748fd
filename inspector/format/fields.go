package format

import "time"

// A Pair is one decoded name and value of a form or query string.
type Pair struct {
	Name, Value string
}

// Form decodes an application/x-www-form-urlencoded body, or a query string, in
// its order and with its repeats. What cannot be decoded stays as it came.
func Form(data []byte) []Pair { return nil }

// A Part is one part of a multipart body.
type Part struct {
	Name     string // of the form field
	Filename string
	Type     string // its Content-Type
	Header   []Pair
	Data     []byte // a slice of the body
	// Truncated says that the body ended within the part.
	Truncated bool
}

// Multipart splits a multipart body of any subtype; the boundary is taken from
// contentType. A body captured in part gives the parts up to there.
func Multipart(contentType string, data []byte) ([]Part, error) { return nil, nil }

// An SSEEvent is one event of an event stream.
type SSEEvent struct {
	Offset  int // of its first byte in the stream
	ID      string
	Event   string // "message" when the stream names none
	Data    string
	Retry   time.Duration
	Comment string // of a block without data: a heartbeat
	// Open says that the blank line that ends the event has not been seen.
	Open bool
}

// EventStream splits a text/event-stream body into its events.
func EventStream(data []byte) []SSEEvent { return nil }
