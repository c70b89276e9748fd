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
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	User      string     `json:"user,omitempty"` // its owner's id, in what administrators see
	Prefix    string     `json:"prefix"`
	Last4     string     `json:"last4"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt"`
	LastUsed  *time.Time `json:"lastUsed"` // to about a minute
	RevokedAt *time.Time `json:"revokedAt"`
}

// A NewKey is a key that was just made: the only time that Secret is told.
type NewKey struct {
	Key
	Secret string `json:"secret"`
}

// KeyRequest asks for a key.
type KeyRequest struct {
	Name      string     `json:"name,omitempty"` // to know it by
	User      string     `json:"user,omitempty"` // for administrators: whose
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
}

// A Revoked key works no more.
type Revoked struct {
	Key
	// Self says that it is the key that the call was made with.
	Self bool `json:"self"`
}

// Closed tells how many connections were closed.
type Closed struct {
	Connections int `json:"connections"`
}

// A Reservation is a name that nobody else gets.
type Reservation struct {
	Subdomain string    `json:"subdomain"`
	CreatedAt time.Time `json:"createdAt"`
}

// ReservationRequest asks for a name.
type ReservationRequest struct {
	Subdomain string `json:"subdomain"`
}

// A Domain is a host of the user's own. It is served while its State is
// "verified" or "failing".
type Domain struct {
	Domain string `json:"domain"`
	// State is "pending" (never proven), "verified", "failing" (the proof is gone,
	// served until GraceEnds) or "lapsed" (no longer served).
	State      string     `json:"state"`
	CreatedAt  time.Time  `json:"createdAt"`
	VerifiedAt *time.Time `json:"verifiedAt"`
	CheckedAt  *time.Time `json:"checkedAt"`
	GraceEnds  *time.Time `json:"graceEnds"`
	Problem    string     `json:"problem,omitempty"` // what the last check found
	// Records are what has to be in the DNS.
	Records []Record `json:"records"`
}

// DomainRequest asks for a host.
type DomainRequest struct {
	Domain string `json:"domain"`
}

// A Record is one DNS record that a domain needs.
type Record struct {
	Type  string `json:"type"` // "CNAME" or "TXT"
	Name  string `json:"name"`
	Value string `json:"value"`
	OK    bool   `json:"ok"` // the last check found it
	Found string `json:"found,omitempty"`
}

// A User as administrators see it.
type User struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Admin     bool       `json:"admin"`
	CreatedAt time.Time  `json:"createdAt"`
	Limits    UserLimits `json:"limits"`
	Keys      int        `json:"keys"` // that work
	Tunnels   int        `json:"tunnels"`
	Usage     Usage      `json:"usage"` // of the last 24 hours
}

// UserLimits are what an administrator set: nil leaves the edge's default, and 0
// is no limit.
type UserLimits struct {
	Tunnels      *int `json:"tunnels"`
	Reservations *int `json:"reservations"`
}

// UserRequest makes a user.
type UserRequest struct {
	Name   string     `json:"name"`
	Limits UserLimits `json:"limits,omitzero"`
}

// Usage counts what passed.
type Usage struct {
	Requests    int64 `json:"requests"`
	Connections int64 `json:"connections"`
	BytesIn     int64 `json:"bytesIn"`  // towards local services
	BytesOut    int64 `json:"bytesOut"` // towards the public side
}

// AdminTunnel is a tunnel as administrators see it.
type AdminTunnel struct {
	Tunnel
	User string `json:"user"`
}

// Stats are the operator's counters.
type Stats struct {
	StartedAt time.Time `json:"startedAt"`
	Agents    int       `json:"agents"`
	Tunnels   int       `json:"tunnels"`
	Users     int       `json:"users"`
	Total     Usage     `json:"total"` // since the first start
	Hours     []Hour    `json:"hours"` // newest first
	// ByUser and ByTunnel are who had the most of the bytes in these hours, 100 at
	// most.
	ByUser   []Share `json:"byUser"`
	ByTunnel []Share `json:"byTunnel"`
}

// An Hour is the usage of one hour.
type Hour struct {
	Hour time.Time `json:"hour"`
	Usage
}

// A Share is what one user, or one tunnel, had of the usage in the hours that
// were asked for.
type Share struct {
	User   string `json:"user"`
	Tunnel string `json:"tunnel,omitempty"`
	Usage
}

// An Entry is one line of the audit log.
type Entry struct {
	ID     int64     `json:"id"`
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`  // a user's id, "local" for the edge's own machine, or "edge" for what it does by itself
	Action string    `json:"action"` // "key.revoke"
	Object string    `json:"object"` // a key's id, a name, a domain, or empty
	Detail string    `json:"detail,omitempty"`
}

// Entries is a page of the audit log, newest first.
type Entries struct {
	Entries []Entry `json:"entries"`
	// Next is the before of the next page, 0 when there is none.
	Next int64 `json:"next,omitempty"`
}

// Reload is what came of reading the certificates again.
type Reload struct {
	Changed      bool          `json:"changed"`
	Certificates []Certificate `json:"certificates"`
	Problems     []string      `json:"problems"`
}

// A Certificate that the edge serves.
type Certificate struct {
	Names    []string  `json:"names"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"notAfter"`
	Source   string    `json:"source"`
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
	PublicURL string      `json:"publicUrl"`      // https://…, tcp://…, tls://…
	Port      int         `json:"port,omitempty"` // of a TCP tunnel
	Domain    string      `json:"domain,omitempty"`
	DirectURL string      `json:"directUrl,omitempty"` // needs no DNS
	Local     string      `json:"local"`               // the local service, as its agent shows it
	CreatedAt time.Time   `json:"createdAt"`
	Online    bool        `json:"online"`
	// Since is when the agent came or, while Online is false, when it went.
	Since      time.Time `json:"since"`
	RemoteAddr string    `json:"remoteAddr"`        // where the agent connects from
	Machine    string    `json:"machine,omitempty"` // the agent's machine
	Inspect    bool      `json:"inspect"`           // whether requests are captured
	// Open and Connections count the connections of a tunnel without HTTP: those
	// of the moment, and all.
	Open        int64 `json:"open"`
	Connections int64 `json:"connections"`
	Requests    int64 `json:"requests"`
	BytesIn     int64 `json:"bytesIn"`  // towards the local service
	BytesOut    int64 `json:"bytesOut"` // towards the public side
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
	// Begun, if not nil, is called when the edge has begun to send, each time:
	// there is such a tunnel, though nothing may happen in it.
	Begun func()
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
