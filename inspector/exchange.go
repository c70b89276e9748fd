package inspector

import (
	"strings"
	"time"
	"unicode/utf8"
)

// An Exchange is one captured request and its response, or one connection of a
// tunnel that carries no HTTP. It is the only shape a
// capture has: in the ring, in the API's JSON, in the event stream and on every
// screen.
//
// A value handed out by [Ring] or decoded from the API is a snapshot: it does
// not change any more, and its slices are shared and must not be written to.
type Exchange struct {
	ID      string `json:"id"`      // "req_" and a ULID
	Number  uint64 `json:"number"`  // counts from 1 in a tunnel's life, shown as #1279
	Version uint64 `json:"version"` // grows with every change in the tunnel; the event stream's id
	Tunnel  string `json:"tunnel"`  // the tunnel's name

	// ReplayOf is the id of the exchange this one repeats, empty for traffic
	// from outside.
	ReplayOf string `json:"replayOf,omitempty"`

	State State `json:"state"`
	Kind  Kind  `json:"kind"`

	Method string `json:"method"`
	Path   string `json:"path"` // the request target byte for byte, query included
	Scheme string `json:"scheme"`
	Host   string `json:"host"`
	Proto  string `json:"proto"`  // "HTTP/1.1", "HTTP/2.0"
	Remote string `json:"remote"` // the client's address as the edge believes it, with port
	TLS    string `json:"tls,omitempty"`

	// Event is what a webhook is about, as its sender calls it: "invoice.paid",
	// "push". It is known when the exchange is done, and empty where nothing says.
	Event string `json:"event,omitempty"`

	Status int    `json:"status"` // 0 until the response head arrived
	Reason string `json:"reason,omitempty"`

	Request  Message `json:"request"`
	Response Message `json:"response"`

	// Interim lists the 1xx statuses that were passed on before the final one.
	Interim []int `json:"interim,omitempty"`

	Timing Timing `json:"timing"`

	// Marks tell when, and in which order, the two sides of a stream spoke, as far
	// as what they said is kept. Lists and events leave them out.
	Marks []Mark `json:"marks,omitempty"`

	// EndedBy says who cut the exchange short: "client", "upstream" or "edge".
	// It is empty when both messages came to their end.
	EndedBy string `json:"endedBy,omitempty"`
	// Error is the code of the edge's own answer or of what cut the exchange
	// short, such as "upstream_refused" or "upstream_aborted".
	Error string `json:"error,omitempty"`
	// Detail is Error in words: the dial error of the local service, verbatim.
	Detail string `json:"detail,omitempty"`
}

// A State says how far an exchange has come.
type State string

const (
	Open State = "open" // bytes may still arrive
	Done State = "done"
)

// A Kind says what an exchange turned out to be.
type Kind string

const (
	HTTP      Kind = "http"
	SSE       Kind = "sse"       // the response is an event stream
	WebSocket Kind = "websocket" // the connection was upgraded to WebSocket
	Upgraded  Kind = "upgraded"  // the connection was upgraded to something else
	// GRPC is a call of gRPC; one of gRPC-Web is HTTP, see [Exchange.IsGRPC].
	GRPC Kind = "grpc"
	// TCP and TLS are whole connections of raw tunnels: no method, path or status,
	// the sizes of the bodies are the bytes of the two directions, of each of which
	// the first 256 are kept. Host is what the client connected to.
	TCP Kind = "tcp"
	TLS Kind = "tls"
)

// A Field is one header or trailer line, name and value as they came.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Message is one side of an exchange.
type Message struct {
	// Header holds the lines in their order, repeats included.
	Header []Field `json:"header"`
	// Head is the whole head as it came on the wire, for HTTP/1 only: start
	// line to blank line. Lists and events leave it out.
	Head []byte `json:"head,omitempty"`
	// Trailer holds the trailer lines; those of gRPC-Web stand in the body as well.
	Trailer []Field `json:"trailer,omitempty"`
	Body    Body    `json:"body"`
}

// Get returns the first value of the header named name in any case, or "".
func (m Message) Get(name string) string {
	for _, f := range m.Header {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// A Body is what is known of a message body.
type Body struct {
	// Size counts the bytes that passed so far, transfer coding removed.
	Size int64 `json:"size"`
	// Captured counts the bytes kept of them, from the first on; Tail has more where
	// the body is a stream.
	Captured int64 `json:"captured"`
	// SHA256 is the hex digest of the whole body, once it ended, for bodies up
	// to 16 MiB; empty otherwise.
	SHA256 string `json:"sha256,omitempty"`
	// Missing says why bytes are missing: "limit" or "memory" were reached, the
	// capture was "evicted" to make room, or the body was "aborted": its sender
	// left, or the answer came before its end.
	Missing string `json:"missing,omitempty"`
	// Items counts what has passed of a stream: the events of an event stream, or
	// the WebSocket frames or gRPC messages that one side sent.
	Items int64 `json:"items,omitempty"`
	// Last is when the last of them came, after Timing.Accepted.
	Last time.Duration `json:"last,omitempty"`
	// Data holds the captured bytes. Lists and events leave it out.
	Data []byte `json:"data,omitempty"`
	// Tail is the last part of an event stream or a WebSocket of which more has
	// passed than is kept. Lists and events leave it out.
	Tail *Tail `json:"tail,omitempty"`
	// Decoded says that Data and the counts are without the content coding that
	// the header names, as archives hold bodies. Captures of the edge are not.
	Decoded bool `json:"-"`
}

// Truncated reports whether the capture holds less than what passed.
func (b Body) Truncated() bool { return b.Captured < b.Size }

// Timing holds when an exchange began and how long after that each step came.
// A zero duration means that the step was not reached; durations are
// nanoseconds in JSON.
type Timing struct {
	Accepted   time.Time     `json:"accepted"`             // the request head was complete
	StreamOpen time.Duration `json:"streamOpen,omitempty"` // a stream to the agent was at hand
	Reused     bool          `json:"reused,omitempty"`     // that stream had served before
	Dial       time.Duration `json:"dial,omitempty"`       // how long the agent dialled the local service
	FirstByte  time.Duration `json:"firstByte,omitempty"`  // the response head was complete
	Done       time.Duration `json:"done,omitempty"`       // everything had passed
}

// Duration is how long x took, or has taken until now while it is open.
func (x *Exchange) Duration(now time.Time) time.Duration {
	if x.State == Done {
		return x.Timing.Done
	}
	return now.Sub(x.Timing.Accepted)
}

// Failed reports whether x ended without a usable answer: the edge answered in
// the local service's place, or somebody cut it short. That its reader leaves is
// how an event stream ends, and no failure.
func (x *Exchange) Failed() bool {
	if x.Kind == SSE && x.EndedBy == "client" {
		return false
	}
	return x.Error != "" || x.EndedBy != ""
}

// URL is the address the client asked for.
func (x *Exchange) URL() string {
	if strings.HasPrefix(x.Path, "/") || x.Path == "" {
		return x.Scheme + "://" + x.Host + x.Path
	}
	return x.Path
}

// Light returns x without the parts that lists and events leave out.
func (x Exchange) Light() Exchange {
	for _, m := range []*Message{&x.Request, &x.Response} {
		m.Head, m.Body.Data, m.Body.Tail = nil, nil, nil
	}
	x.Marks = nil
	return x
}

// Restore puts back what JSON has no place for: bytes of the heads that are not
// UTF-8, Latin-1 mostly. A light exchange stays as it is.
func (x *Exchange) Restore() {
	line := func(m *Message) string {
		if len(m.Head) == 0 || utf8.Valid(m.Head) {
			return ""
		}
		m.Header = fields(string(m.Head))
		first, _, _ := strings.Cut(string(m.Head), "\n")
		return strings.TrimSuffix(first, "\r")
	}
	if _, target, ok := strings.Cut(line(&x.Request), " "); ok {
		if end := strings.LastIndexByte(target, ' '); end > 0 {
			x.Path = target[:end]
		}
	}
	if _, status, ok := strings.Cut(line(&x.Response), " "); ok {
		_, x.Reason, _ = strings.Cut(status, " ")
	}
}

// An Event is one message of the event stream.
type Event struct {
	// Type is "request" (Exchange was added or has changed), "gap" (changes were
	// lost: read the list again) or "closed" (the tunnel is gone).
	Type     string    `json:"type"`
	ID       uint64    `json:"id"` // the Exchange's Version
	Exchange *Exchange `json:"exchange,omitempty"`
}
