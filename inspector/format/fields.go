package format

import (
	"bytes"
	"errors"
	"mime"
	"strconv"
	"strings"
	"time"
)

// How many pieces of a body are told apart. A body of nothing but separators
// must not become a list a hundred times its size.
const (
	MaxPairs  = 10_000
	MaxParts  = 1_000
	MaxEvents = 50_000
)

// ErrBoundary says that a multipart body's Content-Type holds no boundary, or
// none that occurs in the body.
var ErrBoundary = errors.New("no part boundary")

// A Pair is one decoded name and value of a form or query string.
type Pair struct {
	Name, Value string
}

// Form decodes an application/x-www-form-urlencoded body, or a query string, in
// its order and with its repeats, at most [MaxPairs] of them. What cannot be
// decoded stays as it came.
func Form(data []byte) []Pair {
	var pairs []Pair
	for piece := range bytes.SplitSeq(data, []byte{'&'}) {
		if len(piece) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(piece, []byte{'='})
		pairs = append(pairs, Pair{Name: unescape(name), Value: unescape(value)})
		if len(pairs) == MaxPairs {
			break
		}
	}
	return pairs
}

func unescape(b []byte) string {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '+') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '+':
			out = append(out, ' ')
		case b[i] == '%' && i+2 < len(b) && unhex(b[i+1]) >= 0 && unhex(b[i+2]) >= 0:
			out = append(out, byte(unhex(b[i+1])<<4|unhex(b[i+2])))
			i += 2
		default:
			out = append(out, b[i])
		}
	}
	return string(out)
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

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
// contentType. A body captured in part gives the parts up to there. At most
// [MaxParts] are told apart.
func Multipart(contentType string, data []byte) ([]Part, error) {
	_, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if err != nil && boundary == "" || boundary == "" || len(boundary) > 200 {
		return nil, ErrBoundary
	}
	dash := []byte("--" + boundary)
	at, end, last := nextBoundary(data, 0, dash)
	if at < 0 {
		return nil, ErrBoundary
	}
	var parts []Part
	for !last && end < len(data) && len(parts) < MaxParts {
		begin := end
		at, end, last = nextBoundary(data, begin, dash)
		if at < 0 {
			return append(parts, newPart(data[begin:], true)), nil
		}
		// The line end before a boundary belongs to the boundary.
		stop := at
		if stop > begin && data[stop-1] == '\n' {
			stop--
		}
		if stop > begin && data[stop-1] == '\r' {
			stop--
		}
		parts = append(parts, newPart(data[begin:stop], false))
	}
	return parts, nil
}

// nextBoundary finds the next line that is a boundary: where it begins, where
// what follows it begins, and whether it is the last. It gives at < 0 when there
// is none.
func nextBoundary(data []byte, from int, dash []byte) (at, end int, last bool) {
	for at = from; ; at++ {
		n := bytes.Index(data[at:], dash)
		if n < 0 {
			return -1, len(data), false
		}
		at += n
		if at > 0 && data[at-1] != '\n' {
			continue
		}
		rest := data[at+len(dash):]
		if last = bytes.HasPrefix(rest, []byte("--")); last {
			rest = rest[2:]
		}
		line, _, found := bytes.Cut(rest, []byte{'\n'})
		if len(bytes.TrimRight(line, " \t\r")) > 0 {
			continue
		}
		end = len(data) - len(rest) + len(line)
		if found {
			end++
		}
		return at, end, last
	}
}

func newPart(data []byte, truncated bool) Part {
	p := Part{Truncated: truncated}
	for len(p.Header) < 100 {
		line, rest, found := bytes.Cut(data, []byte{'\n'})
		if !found && !truncated && len(p.Header) == 0 {
			break // no head at all
		}
		data = rest
		line = bytes.TrimSuffix(line, []byte{'\r'})
		if len(line) == 0 {
			break
		}
		name, value, _ := strings.Cut(string(line), ":")
		p.Header = append(p.Header, Pair{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	p.Data = data
	for _, h := range p.Header {
		switch strings.ToLower(h.Name) {
		case "content-type":
			p.Type = h.Value
		case "content-disposition":
			_, params, _ := mime.ParseMediaType(h.Value)
			p.Name, p.Filename = params["name"], params["filename"]
		}
	}
	return p
}

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

// EventStream splits a text/event-stream body into its events, blocks of
// comments included, at most [MaxEvents] of them.
func EventStream(data []byte) []SSEEvent {
	var events []SSEEvent
	at := 0
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		at = 3
	}
	var b eventBuilder
	b.reset(at)
	for at < len(data) && len(events) < MaxEvents {
		line, next := data[at:], len(data)
		ended := false
		if n := bytes.IndexAny(line, "\r\n"); n >= 0 {
			next = at + n + 1
			if line[n] == '\r' && next < len(data) && data[next] == '\n' {
				next++
			}
			line = line[:n]
			ended = true
		}
		if len(line) == 0 {
			if b.seen {
				events = append(events, b.event())
			}
			b.reset(next)
		} else {
			b.field(line, ended)
		}
		at = next
	}
	if b.seen && len(events) < MaxEvents {
		e := b.event()
		e.Open = true
		events = append(events, e)
	}
	return events
}

type eventBuilder struct {
	e       SSEEvent
	seen    bool
	hasData bool
	data    []byte
}

func (b *eventBuilder) reset(at int) {
	*b = eventBuilder{e: SSEEvent{Offset: at}}
}

func (b *eventBuilder) field(line []byte, ended bool) {
	b.seen = true
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "":
		b.e.Comment = string(value)
	case "data":
		if b.hasData {
			b.data = append(b.data, '\n')
		}
		b.hasData = true
		b.data = append(b.data, value...)
	case "event":
		b.e.Event = string(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			b.e.ID = string(value)
		}
	case "retry":
		if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil && ended {
			b.e.Retry = time.Duration(ms) * time.Millisecond
		}
	}
}

func (b *eventBuilder) event() SSEEvent {
	e := b.e
	e.Data = string(b.data)
	if e.Event == "" && b.hasData {
		e.Event = "message"
	}
	if b.hasData {
		e.Comment = ""
	}
	return e
}
