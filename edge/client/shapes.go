package client

import (
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// Me says who a key belongs to.
type Me struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Admin bool   `json:"admin"`
	Key   Key    `json:"key"`
	Edge  Edge   `json:"edge"`
}

// A Key is what may be shown of an API key.
type Key struct {
	ID     string `json:"id"`
	Prefix string `json:"prefix"`
	Last4  string `json:"last4"`
}

// Edge describes the edge that answered.
type Edge struct {
	Software string        `json:"software"`
	Domain   string        `json:"domain"`
	Limits   tunnel.Limits `json:"limits"`
}

// Plan says how much a user may have. A nil limit is none.
type Plan struct {
	Plan         string       `json:"plan"`
	Tunnels      Tunnels      `json:"tunnels"`
	Reservations Reservations `json:"reservations"`
}

// Tunnels counts tunnels.
type Tunnels struct {
	Limit  *int `json:"limit"`
	Active int  `json:"active"`
}

// Reservations counts reserved names.
type Reservations struct {
	Limit *int `json:"limit"`
	Used  int  `json:"used"`
}

// A Tunnel is a public name as the API shows it to its owner.
type Tunnel struct {
	Subdomain string      `json:"subdomain"`
	Kind      tunnel.Kind `json:"kind"`
	PublicURL string      `json:"publicUrl"`
	DirectURL string      `json:"directUrl,omitempty"` // needs no DNS
	Local     string      `json:"local"`               // the local service, as its agent shows it
	CreatedAt time.Time   `json:"createdAt"`
	Online    bool        `json:"online"`
	// Since is when the agent came or, while Online is false, when it went.
	Since      time.Time `json:"since"`
	RemoteAddr string    `json:"remoteAddr"`        // where the agent connects from
	Machine    string    `json:"machine,omitempty"` // the agent's machine
	Inspect    bool      `json:"inspect"`           // whether requests are captured
	Requests   int64     `json:"requests"`
	BytesIn    int64     `json:"bytesIn"`  // towards the local service
	BytesOut   int64     `json:"bytesOut"` // towards the public side
}

// A Query selects from a tunnel's captures. The zero value takes all.
type Query struct {
	Limit  int
	Before uint64 // only exchanges with a lower number; 0 means the newest
	Filter string // as in package inspector/filter
}

// Requests is the answer to a [Query].
type Requests struct {
	Requests []inspector.Exchange `json:"requests"`
	// Version is the newest change that Requests can hold: what a stream goes
	// on from.
	Version uint64 `json:"version"`
	// Next is the Before of the next page, 0 when there is none.
	Next uint64 `json:"next,omitempty"`
}

// StreamOptions say what a stream tells of, and from where on.
type StreamOptions struct {
	Filter string
	// Since is the version of the newest change that the caller knows, 0 when
	// it knows nothing: then the stream starts with all that is kept.
	Since uint64
	// Live leaves out what happened before the stream began.
	Live bool
	// Lost, if not nil, is called when the stream broke and will be resumed.
	Lost func(error)
}

// A Problem is the body of an answer that is an error (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Hint   string `json:"hint,omitempty"`
}
