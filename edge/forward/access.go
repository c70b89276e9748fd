package forward

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// A refusal is the edge's answer to a request that it does not pass on.
type refusal struct {
	err    *tunnel.Error
	fields [][2]string // besides those of every answer of the edge
}

var errDenied = &tunnel.Error{
	Code:    tunnel.CodeAccessDenied,
	Message: "this tunnel does not let your address in",
	Hint:    "ask its owner to allow it",
}

// refusal says why the client at ip may not send a request to t that carries
// these Authorization lines, and is nil when it may. It is asked for every
// request, whatever its connection was used for before.
func (f *Forwarder) refusal(t *registry.Tunnel, ip netip.Addr, authorization []string) *refusal {
	no := f.refuses(t, ip, authorization)
	if no != nil {
		f.denied.Add(1)
	}
	return no
}

func (f *Forwarder) refuses(t *registry.Tunnel, ip netip.Addr, authorization []string) *refusal {
	if !t.Access.Admits(ip) {
		return &refusal{err: errDenied}
	}
	if !asksLogin(t) {
		return nil
	}
	no := &refusal{
		err: &tunnel.Error{
			Code:    tunnel.CodeUnauthorized,
			Message: "this tunnel asks for a user name and a password",
			Hint:    "ask its owner for them",
		},
		fields: [][2]string{{"WWW-Authenticate", `Basic realm="` + t.Name + `", charset="UTF-8"`}},
	}
	if len(authorization) == 0 {
		return no
	}
	from, now := guesser{prefixOf(ip), t.Name}, time.Now()
	if wait := f.guard.wait(from, now); wait > 0 {
		return &refusal{
			err: &tunnel.Error{
				Code:    tunnel.CodeLimit,
				Message: "too many wrong passwords came from your address",
				Hint:    "try again in a few seconds",
			},
			fields: [][2]string{{"Retry-After", strconv.Itoa(int((wait + time.Second - 1) / time.Second))}},
		}
	}
	// Of two lines the local service might believe the one that was not checked;
	// neither reaches it, but then nobody meant this request to pass.
	if user, password, ok := basicLogin(authorization[0]); ok && len(authorization) == 1 && t.Access.Login(user, password) {
		return nil
	}
	f.guard.failed(from, now)
	no.err.Message, no.err.Hint = "the user name or the password is wrong", "try again"
	return no
}

func asksLogin(t *registry.Tunnel) bool { return t.Access != nil && t.Access.User != "" }

// basicLogin reads the value of an Authorization line (RFC 7617).
func basicLogin(value string) (user, password string, ok bool) {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	text, err := base64.StdEncoding.DecodeString(strings.Trim(token, " "))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(text), ":")
}

// mask stands in captures where a password was.
const mask = "***"

// masked returns the value of an Authorization line without its secret.
func masked(value string) string {
	if scheme, _, ok := strings.Cut(value, " "); ok {
		return scheme + " " + mask
	}
	return mask
}

func isMasked(value []byte) bool {
	return string(value) == mask || strings.HasSuffix(string(value), " "+mask)
}

// authorization returns the values of the Authorization lines of a request to a
// tunnel that asks for a login.
func (c *conn) authorization() (values []string) {
	for i := range c.req.Fields {
		if f := &c.req.Fields[i]; f.Kind == http1.KindAuthorization {
			values = append(values, string(f.Value))
		}
	}
	return values
}

// appendMasked appends the request's head with its logins masked.
func (c *conn) appendMasked(out []byte) []byte {
	line, _, _ := strings.Cut(string(c.req.Raw), "\n")
	out = append(append(out, line...), '\n')
	for i := range c.req.Fields {
		if f := &c.req.Fields[i]; f.Kind == http1.KindAuthorization {
			out = appendField(out, string(f.Name), []byte(masked(string(f.Value))))
		} else {
			out = append(out, f.Line...)
		}
	}
	return append(out, "\r\n"...)
}

// isChecked reports whether an Authorization line was for the edge and is none
// of the local service's business. In a replay, whose sender is the owner, that
// is the one whose secret the capture does not hold.
func (c *conn) isChecked(t *registry.Tunnel, value []byte) bool {
	if c.replay != nil {
		return isMasked(value)
	}
	return t != nil && asksLogin(t)
}

// decline answers a request that the edge does not pass on. It reports whether
// the connection may carry another one: not when a body is on its way that
// nobody is going to read.
func (c *conn) decline(x *flight, no *refusal) (again bool) {
	keep := c.body.Done() && !c.req.Close && c.req.Minor > 0 && !c.f.draining.Load()
	c.own(x, no, keep)
	return keep
}

// A guesser is who tries passwords at which tunnel. Their counts are apart for
// each tunnel, so that nobody is slowed by what happens at another.
type guesser struct {
	from   netip.Prefix
	tunnel string
}

// A guard slows those down who guess passwords: after a few wrong ones, those
// that come too soon are not even looked at.
type guard struct {
	mu    sync.Mutex
	wrong map[guesser]guesses
}

type guesses struct {
	times int
	last  time.Time
}

const (
	freeGuesses   = 5
	firstPause    = 250 * time.Millisecond
	longestPause  = 5 * time.Second
	forgetGuesses = 10 * time.Minute
	// maxGuessers bounds the table. Whoever has that many addresses has as many
	// guesses anyway.
	maxGuessers = 10_000
)

// wait returns how long it is until a password of k is looked at.
func (g *guard) wait(k guesser, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.wrong[k]
	if w.times <= freeGuesses {
		return 0
	}
	pause := min(firstPause<<min(w.times-freeGuesses-1, 10), longestPause)
	return w.last.Add(pause).Sub(now)
}

// failed notes that k sent a wrong password.
func (g *guard) failed(k guesser, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w, ok := g.wrong[k]
	if now.Sub(w.last) > forgetGuesses {
		w.times = 0
	}
	if !ok && len(g.wrong) >= maxGuessers {
		for old := range g.wrong { // any of them
			delete(g.wrong, old)
			break
		}
	}
	g.wrong[k] = guesses{w.times + 1, now}
}

// astray says why a request for host, which goes to to, must not be
// answered on this connection, and is nil when it may. The connection was made
// to sni; both are canonical, and sni is empty where TLS ended elsewhere.
//
// Browsers use one connection for all hosts that its certificate covers. What
// was checked of a connection for one owner would then count for another.
func (f *Forwarder) astray(sni string, host []byte, to route) *refusal {
	t := to.tunnel
	if t != nil && t.Kind != tunnel.HTTP {
		return &refusal{err: &tunnel.Error{
			Code:    tunnel.CodeMisdirected,
			Message: t.Host + " carries no HTTP that this edge could read: it is a tunnel for TLS",
			Hint:    "connect with TLS to " + t.Grant.URL,
		}}
	}
	if sni == "" || sni == string(host) || t == nil && !to.api {
		return nil
	}
	from := f.route([]byte(sni), nil)
	if to.api && from.api || t != nil && from.tunnel != nil && from.tunnel.Owner == t.Owner {
		return nil
	}
	f.misdirected.Add(1)
	return &refusal{err: &tunnel.Error{
		Code:    tunnel.CodeMisdirected,
		Message: "this connection was made to " + sni + ", which is not for " + string(host) + " to answer on",
		Hint:    "connect to " + string(host),
	}}
}

// nobody is what an SNI is called that is no host.
const nobody = "-"

// canonicalSNI is the host that a TLS client connected to, empty when it did
// not say.
func canonicalSNI(name string) string {
	if name == "" {
		return ""
	}
	host, err := http1.CanonicalHost(name)
	if err != nil {
		return nobody
	}
	return host
}

// maskedHeader returns the fields of an HTTP/2 request to t as they are
// captured.
func maskedHeader(fields []inspector.Field, t *registry.Tunnel) []inspector.Field {
	if asksLogin(t) {
		for i := range fields {
			if fields[i].Name == "authorization" {
				fields[i].Value = masked(fields[i].Value)
			}
		}
	}
	return fields
}
