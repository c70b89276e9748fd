package tunnel

import (
	"net"
	"time"
)

// Version is the protocol version of this package. Both sides speak the lower
// of the two versions; one below MinVersion is refused with CodeVersion.
const (
	Version    = 1
	MinVersion = 1
)

// ALPN is the application protocol that agent and edge agree on in TLS.
const ALPN = "lrok/1"

// MaxHello is the largest first frame an edge reads, in bytes.
const MaxHello = 4 << 10

// HelloTimeout is how long an edge waits for the whole first frame.
const HelloTimeout = 5 * time.Second

// A Kind says what a tunnel carries.
type Kind string

const (
	HTTP Kind = "http"
	TCP  Kind = "tcp"
	TLS  Kind = "tls"
)

// Hello is the agent's first frame.
type Hello struct {
	Version  int    `json:"version"`
	Software string `json:"software"` // "lrok 0.1.0"
	// Instance identifies the agent process: 16 random bytes in hex. A hello
	// with the instance of a live session replaces that session at once.
	Instance string  `json:"instance"`
	Key      string  `json:"key"`
	Host     string  `json:"host,omitempty"` // the agent's machine, named to its owner on a conflict
	Claims   []Claim `json:"claims,omitempty"`
}

// A Claim asks for one tunnel.
type Claim struct {
	Kind Kind `json:"kind"`
	// Name is the wished name, empty for one the edge chooses. Project is an
	// opaque text that makes the chosen name the same each time.
	Name     string `json:"name,omitempty"`
	Project  string `json:"project,omitempty"`
	Domain   string `json:"domain,omitempty"`
	Takeover bool   `json:"takeover,omitempty"`
	// Local is the local service as the agent shows it ("http://localhost:3000").
	// The edge puts it into its 502 page; only the agent dials it.
	Local      string `json:"local"`
	RemotePort int    `json:"remotePort,omitempty"`

	HostHeader    string   `json:"hostHeader,omitempty"`    // "rewrite" (to Local's host) or a host
	UpstreamProto string   `json:"upstreamProto,omitempty"` // "h1" (default) or "h2c"
	BasicUser     string   `json:"basicUser,omitempty"`
	BasicPassword string   `json:"basicPassword,omitempty"`
	Allow         []string `json:"allow,omitempty"`
	Deny          []string `json:"deny,omitempty"`
	NoInspect     bool     `json:"noInspect,omitempty"`
	// ProxyProtocol makes the edge begin each stream of a TCP or TLS tunnel with
	// a PROXY protocol header that names the public client: "v1" or "v2".
	ProxyProtocol string `json:"proxyProtocol,omitempty"`
}

// Welcome answers a Hello. Either Error is set and the edge closes the
// connection, or Grants holds one grant per claim, in their order.
type Welcome struct {
	Version  int     `json:"version"`
	Software string  `json:"software"`
	Session  string  `json:"session,omitempty"`
	User     string  `json:"user,omitempty"`
	Grants   []Grant `json:"grants,omitempty"`
	API      string  `json:"api,omitempty"` // base URL of the HTTPS API
	Limits   Limits  `json:"limits"`
	Error    *Error  `json:"error,omitempty"`
}

// Limits are the edge's, told to the agent.
type Limits struct {
	Streams     int   `json:"streams"`     // open at once in the session
	Tunnels     int   `json:"tunnels"`     // in the session
	CaptureBody int64 `json:"captureBody"` // bytes kept of each body
	Ring        int   `json:"ring"`        // exchanges kept per tunnel
	// Keep is for how many seconds the edge keeps name, port and captures for an
	// agent that lost its connection; 0 from one that does not say.
	Keep int `json:"keep,omitempty"`
}

// Keeps is Keep as a duration, and ten minutes for an edge that does not say.
func (l Limits) Keeps() time.Duration {
	if l.Keep > 0 {
		return time.Duration(l.Keep) * time.Second
	}
	return 10 * time.Minute
}

// A Grant is one tunnel the edge opened.
type Grant struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	URL  string `json:"url"` // what the public side calls: https://…, tcp://tcp.example.com:30007, tls://…
	// Direct is a second address that needs no DNS, for a lone tunnel of an
	// edge on loopback.
	Direct string `json:"direct,omitempty"`
}

// A Conn is one byte stream to a local service, whatever carries it.
type Conn interface {
	net.Conn
	// CloseWrite ends the direction towards the local service and leaves the
	// other one open.
	CloseWrite() error
}

// Peer tells the far end of a stream whom it serves.
type Peer struct {
	Tunnel string // the tunnel's name
	Addr   string // the public client's address
	Kind   Kind   // what the stream carries; empty is HTTP
}

// An Opener yields streams to one local service: an agent's session, the
// in-process API server.
type Opener interface {
	// Open returns a stream without waiting for the other side. The caller
	// closes it. Close before both directions have ended resets it.
	Open(Peer) (Conn, error)
}
