package edge

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/edge/domains"
	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/stats"
)

// Config says how an edge is to run. Addresses are as for net.Listen; an empty
// one is not listened on.
type Config struct {
	Domain    string // "localhost" when empty
	PublicURL string // "https", "https://*.example.com:8443", or from the listeners when empty

	HTTP     string
	HTTPS    string
	Control  string
	Internal string
	// TCPPorts are the first and the last port of raw TCP tunnels, and TCPHost
	// the address they are listened on, which is every one when empty. Without
	// ports there are no TCP tunnels.
	TCPPorts [2]int
	TCPHost  string

	// Where certificates come from: one of these, or several at once. Without
	// any it is a development CA in DataDir.
	TLSCert, TLSKey string
	TLSDir          string
	AcmeJSON        string
	DataDir         string

	// Admins are the ids of those who may administer; empty means the first user.
	Admins []string
	// Resolver looks custom domains up: HOST:PORT, or the system's when empty.
	Resolver string
	// DomainGrace is how long a custom domain is served after its proof is gone;
	// DomainCheck is how often it is looked for. 0 means the defaults of package
	// domains.
	DomainGrace, DomainCheck time.Duration
	// Traefik says what the document for Traefik's HTTP provider leads to.
	Traefik domains.Traefik

	TrustedProxies []netip.Prefix
	DrainTimeout   time.Duration // 0 means 30 s
	CaptureBody    int64         // bytes kept of each body; 0 means 1 MiB, 16 MiB at most
	HelloTimeout   time.Duration // for an agent's handshake and first frame; 0 means 5 s
	HeaderTimeout  time.Duration // for the head of a request that has begun; 0 means 10 s
	IdleTimeout    time.Duration // between two requests; 0 means 2 min
	BodyTimeout    time.Duration // without a byte in either direction; 0 means 5 min
	Limits         Limits

	// Bulk is how many further connections an agent may be asked for, each for
	// one stream that moves much at a time; 0 means 8, less none.
	Bulk int

	// Analytics are sent only when both the key and On are set.
	Analytics Analytics

	// Pprof adds Go's profiles to the internal listener.
	Pprof bool
	// Lone makes the edge's only tunnel answer on its loopback address as well.
	Lone bool
	// Ready is called when everything is served.
	Ready func()

	Software string
	Logger   *slog.Logger
}

// Limits bound what one agent, user or client can take. 0 means the default.
// All but Streams, Header and Concurrent can be changed while the edge runs, by
// [Edge.SetLimits], and are kept to from then on: what is there already stays.
type Limits struct {
	Streams      int // open at once in one agent's session; 2,048
	EdgeStreams  int // open at once in all of them; 100,000
	Tunnels      int // in one agent's session; 16
	UserTunnels  int // of one user; no limit
	Reservations int // of one user; 25
	Domains      int // of one user; 20
	Agents       int // connected at once; 10,000
	Strangers    int // connections to the control port whose key is not yet accepted; 2,048
	StrangersPer int // of these from one address; 256

	Header     int // bytes of a request's head; 64 KiB
	Conns      int // public connections open at once; 20,000
	ConnsPer   int // of these from one address; 1,024
	TCPPer     int // connections to TCP tunnels from one address; 64
	TCPTunnel  int // connections to one TCP or TLS tunnel; 1,024
	Concurrent int // requests at once on one HTTP/2 connection; 256

	CaptureTunnel int64 // bytes kept of a tunnel's exchanges; 32 MiB
	CaptureEdge   int64 // bytes kept of all exchanges; 512 MiB
}

// Analytics names a PostHog project.
type Analytics struct {
	Key  string
	Host string // empty means PostHog's own
	On   bool
}

const (
	maxCaptureBody = 16 << 20
	maxTCPPorts    = 10_000
)

// Check fills in the defaults and refuses what cannot be, whatever the machine
// is like. [New] does so too: what fails after this is no mistake in a setting.
func (c *Config) Check() error {
	if c.Domain == "" {
		c.Domain = "localhost"
	}
	domain, err := http1.CanonicalHost(c.Domain)
	if err != nil {
		return fmt.Errorf("domain %q: %w", c.Domain, err)
	}
	c.Domain = domain
	if c.CaptureBody > maxCaptureBody {
		return fmt.Errorf("--capture-body: more than %d MiB of each body cannot be captured", maxCaptureBody>>20)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("a certificate needs its key: give both --tls-cert and --tls-key")
	}
	switch first, last := c.TCPPorts[0], c.TCPPorts[1]; {
	case first == 0 && last == 0:
	case first < 1 || last > 65535 || first > last:
		return fmt.Errorf("--tcp-ports %d-%d is no range of ports", first, last)
	case last-first >= maxTCPPorts:
		return fmt.Errorf("--tcp-ports %d-%d are more than %d ports", first, last, maxTCPPorts)
	}
	if _, _, err := c.publicURL(); err != nil {
		return err
	}
	if _, err := domains.DNS(c.Resolver); err != nil {
		return err
	}
	if err := c.Traefik.Check(); err != nil {
		return err
	}
	if err := c.analytics().Check(); err != nil {
		return err
	}
	if c.CaptureBody <= 0 {
		c.CaptureBody = 1 << 20
	}
	if c.DrainTimeout <= 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Limits.fill()
	return nil
}

// publicURL is the scheme in PublicURL and the port behind its hosts, empty or
// with a colon.
func (c *Config) publicURL() (scheme, port string, err error) {
	p := c.PublicURL
	if p == "" {
		return "", "", nil
	}
	if !strings.Contains(p, "://") {
		p += "://"
	}
	u, err := url.Parse(p)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
		return "", "", fmt.Errorf("public URL %q is neither http, https nor an address like https://*.%s:8443", c.PublicURL, c.Domain)
	}
	if u.Port() != "" {
		port = ":" + u.Port()
	}
	return u.Scheme, port, nil
}

func (c *Config) analytics() stats.Analytics {
	return stats.Analytics{Key: c.Analytics.Key, On: c.Analytics.On, Endpoint: c.Analytics.Host, Dir: c.DataDir}
}

// fill puts the default in the place of each zero.
func (l *Limits) fill() {
	for _, d := range []struct {
		to        *int
		otherwise int
	}{
		{&l.Streams, 2048},
		{&l.EdgeStreams, 100_000},
		{&l.Tunnels, 16},
		{&l.Reservations, 25},
		{&l.Domains, 20},
		{&l.Agents, 10_000},
		{&l.Strangers, 2048},
		{&l.StrangersPer, 256},
		{&l.Header, 64 << 10},
		{&l.Conns, 20_000},
		{&l.ConnsPer, 1024},
		{&l.TCPPer, 64},
		{&l.TCPTunnel, 1024},
		{&l.Concurrent, 256},
	} {
		if *d.to <= 0 {
			*d.to = d.otherwise
		}
	}
	if l.CaptureTunnel <= 0 {
		l.CaptureTunnel = 32 << 20
	}
	if l.CaptureEdge <= 0 {
		l.CaptureEdge = 512 << 20
	}
}
