package domains

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Traefik says what the document for Traefik's HTTP provider names.
type Traefik struct {
	// Service is the URL under which Traefik reaches this edge's public HTTP. The
	// document is empty without it.
	Service string
	// Passthrough is where Traefik reaches this edge's HTTPS, HOST:PORT. With it
	// Traefik hands the TLS connections for a host through, with the PROXY
	// protocol, from when the edge has a certificate for the host. The router that
	// orders the certificate stays.
	Passthrough string
	// EntryPoint is Traefik's entry point for HTTPS, "websecure" when empty.
	EntryPoint string
	// CertResolver gets the certificates, "letsencrypt" when empty.
	CertResolver string
}

// traefikName reports whether Traefik's own names may look like s here: nothing
// in one can end a list or a rule.
func traefikName(s string) bool {
	return only(s, "_-") && !strings.ContainsAny(s[:1], "_-")
}

// addressHost reports whether s is an address or the name of a machine.
func addressHost(s string) bool { return only(s, "._:%-") }

// only reports whether s is made of ASCII letters, digits and what more has.
func only(s, more string) bool {
	foreign := func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		return !letter && !('0' <= r && r <= '9') && !strings.ContainsRune(more, r)
	}
	return s != "" && !strings.ContainsFunc(s, foreign)
}

// Check refuses what would make a document that Traefik does not take.
func (t Traefik) Check() error {
	if t.Service != "" {
		u, err := url.Parse(t.Service)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("traefik's way to this edge, %q, is not a URL like http://10.0.0.2:8080", t.Service)
		}
	}
	if t.Passthrough != "" {
		host, port, err := net.SplitHostPort(t.Passthrough)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || !addressHost(host) {
			return fmt.Errorf("traefik's way to this edge's HTTPS, %q, is not an address like 10.0.0.2:8443", t.Passthrough)
		}
		if t.Service == "" {
			return errors.New("traefik orders certificates for what it serves itself: say its way to this edge's HTTP as well as to HTTPS")
		}
	}
	for _, name := range []string{t.EntryPoint, t.CertResolver} {
		if name != "" && !traefikName(name) {
			return fmt.Errorf("traefik has no entry point or certificate resolver called %q", name)
		}
	}
	return nil
}

// The parts of Traefik's dynamic configuration that are used.
type (
	document struct {
		// Nil without routers: Traefik refuses an empty map of them, and takes {}.
		HTTP *configuration    `json:"http,omitempty"`
		TCP  *tcpConfiguration `json:"tcp,omitempty"`
	}
	configuration struct {
		Routers  map[string]router  `json:"routers"`
		Services map[string]service `json:"services"`
	}
	router struct {
		Rule        string    `json:"rule"`
		EntryPoints []string  `json:"entryPoints"`
		Service     string    `json:"service"`
		TLS         routerTLS `json:"tls"`
	}
	routerTLS struct {
		CertResolver string `json:"certResolver"`
		// Domains are those to order, when the rule does not say it.
		Domains []order `json:"domains,omitempty"`
	}
	order struct {
		Main string `json:"main"`
	}
	service struct {
		LoadBalancer loadBalancer `json:"loadBalancer"`
	}
	loadBalancer struct {
		Servers []server `json:"servers"`
	}
	server struct {
		URL string `json:"url"`
	}

	tcpConfiguration struct {
		Routers           map[string]tcpRouter    `json:"routers"`
		Services          map[string]tcpService   `json:"services"`
		ServersTransports map[string]tcpTransport `json:"serversTransports"`
	}
	tcpRouter struct {
		Rule        string       `json:"rule"`
		EntryPoints []string     `json:"entryPoints"`
		Service     string       `json:"service"`
		TLS         tcpRouterTLS `json:"tls"`
	}
	tcpRouterTLS struct {
		Passthrough bool `json:"passthrough"`
	}
	tcpService struct {
		LoadBalancer tcpLoadBalancer `json:"loadBalancer"`
	}
	tcpLoadBalancer struct {
		ServersTransport string      `json:"serversTransport"`
		Servers          []tcpServer `json:"servers"`
	}
	tcpServer struct {
		Address string `json:"address"`
	}
	tcpTransport struct {
		ProxyProtocol    proxyProtocol `json:"proxyProtocol"`
		TerminationDelay string        `json:"terminationDelay"`
	}
	proxyProtocol struct {
		Version int `json:"version"`
	}
)

// traefikService is the name of the services and of the transport.
const traefikService = "lrok"

// nobody is a host that no request is for (RFC 6761).
const nobody = "lrok.invalid"

// Traefik answers with the document for Traefik's HTTP provider: a router for
// each served host, so that Traefik gets a certificate for it and sends its
// requests here, and another that passes its TLS through where that is wanted
// and possible. It is for the internal listener. The same hosts and certificates
// make the same document, byte for byte.
func (d *Domains) Traefik() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		body, err := json.MarshalIndent(d.document(), "", "  ")
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(body, '\n'))
	})
}

func (d *Domains) document() document {
	t := d.cfg.Traefik
	if t.Service == "" {
		return document{}
	}
	entry, resolver := t.EntryPoint, t.CertResolver
	if entry == "" {
		entry = "websecure"
	}
	if resolver == "" {
		resolver = "letsencrypt"
	}
	routers := make(map[string]router) // written in the order of its keys
	through := make(map[string]tcpRouter)
	for _, row := range d.cfg.Store.Domains("") {
		if row.Verified.IsZero() {
			continue
		}
		// A rule is a language of its own. Nothing reaches it that this version
		// would not have let into the store.
		if c, err := hostname(row.Host); err != nil || c != row.Host || !plain(c) {
			d.cfg.Logger.Error("a domain in the store is not a host", "domain", row.Host)
			continue
		}
		name := routerName(row.Host)
		// Before the edge can end its TLS, visitors are better off with Traefik.
		if t.Passthrough == "" || !d.cfg.Certified(row.Host) {
			routers[name] = router{
				Rule: "Host(`" + row.Host + "`)", EntryPoints: []string{entry},
				Service: traefikService, TLS: routerTLS{CertResolver: resolver},
			}
			continue
		}
		// Traefik asks HTTP routers before TCP routers, whatever their priority: one
		// that named the host would keep the other from ever being used.
		routers[name] = router{
			Rule: "Host(`" + nobody + "`)", EntryPoints: []string{entry}, Service: traefikService,
			TLS: routerTLS{CertResolver: resolver, Domains: []order{{Main: row.Host}}},
		}
		through[name] = tcpRouter{
			Rule: "HostSNI(`" + row.Host + "`)", EntryPoints: []string{entry},
			Service: traefikService, TLS: tcpRouterTLS{Passthrough: true},
		}
	}
	var doc document
	if len(routers) > 0 {
		doc.HTTP = &configuration{
			Routers: routers,
			Services: map[string]service{traefikService: {
				LoadBalancer: loadBalancer{Servers: []server{{URL: t.Service}}},
			}},
		}
	}
	if len(through) > 0 {
		doc.TCP = &tcpConfiguration{
			Routers: through,
			Services: map[string]tcpService{traefikService: {LoadBalancer: tcpLoadBalancer{
				ServersTransport: traefikService, Servers: []tcpServer{{Address: t.Passthrough}},
			}}},
			ServersTransports: map[string]tcpTransport{traefikService: {
				ProxyProtocol: proxyProtocol{Version: 2},
				// Else Traefik cuts off who has said all but not heard all, after 100 ms.
				TerminationDelay: "-1ms",
			}},
		}
	}
	return doc
}

func plain(host string) bool {
	return !slices.ContainsFunc([]byte(host), func(c byte) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-'
	})
}

// routerName is a name for the router of host that no other host has: labels
// neither begin nor end with a hyphen, so single ones stand for dots.
func routerName(host string) string {
	return "lrok-" + strings.NewReplacer("-", "--", ".", "-").Replace(host)
}
