package signature

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// The providers whose schemes are known, and HMAC for one that is described.
const (
	Stripe   = "stripe"
	GitHub   = "github"
	Slack    = "slack"
	Shopify  = "shopify"
	Standard = "standard" // Standard Webhooks, as Svix and others sign
	HMAC     = "hmac"
)

// Providers lists all of them.
var Providers = []string{Stripe, GitHub, Slack, Shopify, Standard, HMAC}

// A Scheme is how a sender signs: an HMAC of Template, written into Header.
type Scheme struct {
	Header    string // holds the signature
	Algorithm string // "sha1", "sha256" (or "") or "sha512"
	Encoding  string // "hex" (or "") or "base64"
	Prefix    string // what stands before the digest, as "sha256="
	// Timestamp is the header with the time of signing, in seconds or
	// milliseconds since 1970, or "".
	Timestamp string
	// Template is what is signed, with {body}, {timestamp}, {method} and {path}.
	// Empty means {timestamp}.{body}, or {body} without a Timestamp.
	Template string

	id   string // the header of {id}
	form form   // how Header is laid out
	late bool   // only the past is limited
}

// A form is how the signature header is laid out.
type form int

const (
	plain  form = iota // prefix and digest
	many               // the same, several after commas or in several lines
	stripe             // t=TIME,v1=DIGEST,v1=DIGEST
	spaced             // v1,DIGEST v1,DIGEST
)

// schemes are those of each provider. The first that a request carries counts.
var schemes = map[string][]Scheme{
	Stripe: {{Header: "Stripe-Signature", Template: "{timestamp}.{body}", form: stripe, late: true}},
	GitHub: {
		{Header: "X-Hub-Signature-256", Prefix: "sha256=", Template: "{body}"},
		{Header: "X-Hub-Signature", Algorithm: "sha1", Prefix: "sha1=", Template: "{body}"},
	},
	Slack: {{Header: "X-Slack-Signature", Prefix: "v0=", Timestamp: "X-Slack-Request-Timestamp", Template: "v0:{timestamp}:{body}", late: true}},
	Shopify: {
		{Header: "X-Shopify-Hmac-Sha256", Encoding: "base64", Template: "{body}"},
		{Header: "Shopify-Hmac-Sha256", Encoding: "base64", Template: "{body}"},
	},
	Standard: {
		{Header: "webhook-signature", Encoding: "base64", Timestamp: "webhook-timestamp", Template: "{id}.{timestamp}.{body}", id: "webhook-id", form: spaced},
		{Header: "svix-signature", Encoding: "base64", Timestamp: "svix-timestamp", Template: "{id}.{timestamp}.{body}", id: "svix-id", form: spaced},
	},
}

// tolerance is how old a timestamp may be: what all of these senders say.
const tolerance = 5 * time.Minute

var placeholders = []string{"body", "timestamp", "method", "path"}

// Check fills in what was left out and says what cannot be meant.
func (s *Scheme) Check() error {
	if s.Header == "" {
		return errors.New("header is missing: it is the one with the signature")
	}
	for _, name := range []string{s.Header, s.Timestamp} {
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
			return fmt.Errorf("%q is no header name", name)
		}
	}
	if strings.ContainsAny(s.Prefix, "\r\n,") {
		return fmt.Errorf("prefix %q cannot stand in a header", s.Prefix)
	}
	switch s.Algorithm {
	case "":
		s.Algorithm = "sha256"
	case "sha1", "sha256", "sha512":
	default:
		return fmt.Errorf("algorithm is sha1, sha256 or sha512, not %q", s.Algorithm)
	}
	switch s.Encoding {
	case "":
		s.Encoding = "hex"
	case "hex", "base64":
	default:
		return fmt.Errorf("encoding is hex or base64, not %q", s.Encoding)
	}
	if s.Template == "" {
		s.Template = "{body}"
		if s.Timestamp != "" {
			s.Template = "{timestamp}.{body}"
		}
	}
	rest := s.Template
	for {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		name, left, ok := strings.Cut(after, "}")
		if !ok || !slices.Contains(placeholders, name) {
			return fmt.Errorf("template knows {body}, {timestamp}, {method} and {path}, not {%s}", name)
		}
		rest = left
	}
	switch timed := strings.Contains(s.Template, "{timestamp}"); {
	case !strings.Contains(s.Template, "{body}"):
		return errors.New("template without {body} signs nothing that was sent")
	case timed && s.Timestamp == "":
		return errors.New("template has {timestamp}: say in timestamp which header holds it")
	case !timed && s.Timestamp != "":
		return errors.New("timestamp names a header, and template has no {timestamp}: anybody could change it")
	}
	s.form = many
	return nil
}

func (s *Scheme) hash() func() hash.Hash { return algorithm(s.Algorithm) }

func algorithm(name string) func() hash.Hash {
	switch name {
	case "sha1":
		return sha1.New
	case "sha512":
		return sha512.New
	}
	return sha256.New
}

func (s *Scheme) encoding() string {
	if s.Encoding == "base64" {
		return "base64"
	}
	return "hex"
}

func (s *Scheme) encode(digest []byte) string {
	if s.Encoding == "base64" {
		return base64.StdEncoding.EncodeToString(digest)
	}
	return hex.EncodeToString(digest)
}

// A signed is what a request says of its signature.
type signed struct {
	digests []string // without prefix; several when secrets are being changed
	time    string   // as it stands in the request
	at      time.Time
	id      string
}

// A request is what is signed of one: an exchange, or what becomes of it.
type request struct {
	method, path string
	header       []inspector.Field
	body         []byte
}

func (r *request) values(name string) []string {
	var out []string
	for _, f := range r.header {
		if name != "" && strings.EqualFold(f.Name, name) {
			out = append(out, strings.TrimSpace(f.Value))
		}
	}
	return out
}

// content is the bytes that are signed.
func (s *Scheme) content(r *request, g *signed, body []byte) []byte {
	out := make([]byte, 0, len(body)+len(s.Template)+64)
	rest := s.Template
	for rest != "" {
		before, after, ok := strings.Cut(rest, "{")
		out = append(out, before...)
		if !ok {
			break
		}
		name, left, _ := strings.Cut(after, "}")
		switch name {
		case "body":
			out = append(out, body...)
		case "timestamp":
			out = append(out, g.time...)
		case "id":
			out = append(out, g.id...)
		case "method":
			out = append(out, r.method...)
		case "path":
			out = append(out, r.path...)
		}
		rest = left
	}
	return out
}

func digest(h func() hash.Hash, key, content []byte) []byte {
	m := hmac.New(h, key)
	m.Write(content)
	return m.Sum(nil)
}

// key is the secret as the scheme uses it: Standard Webhooks have it in base64,
// all others take its text.
func (s *Scheme) key(secret string) ([]byte, error) {
	if s.form != spaced {
		return []byte(secret), nil
	}
	k, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(k) == 0 {
		return nil, errors.New("the secret is not whsec_ and base64, as Standard Webhooks have it")
	}
	return k, nil
}

// A fault says what is wrong with a signature.
type fault struct {
	cause  Cause
	detail string
}

func missing(name string) *fault {
	return &fault{HeaderMissing, "the header " + name + " is missing"}
}

func malformed(f string, args ...any) *fault {
	return &fault{HeaderMalformed, fmt.Sprintf(f, args...)}
}

// read finds what r says of its signature. The values come from anybody: what
// it says of them never holds them.
func (s *Scheme) read(r *request) (signed, *fault) {
	var g signed
	lines := r.values(s.Header)
	if len(lines) == 0 {
		return g, missing(s.Header)
	}
	if len(lines) > 1 && s.form == plain {
		return g, malformed("the header %s came %d times", s.Header, len(lines))
	}
	for _, want := range []struct {
		name string
		to   *string
	}{{s.Timestamp, &g.time}, {s.id, &g.id}} {
		if want.name == "" {
			continue
		}
		v := r.values(want.name)
		if len(v) == 0 || v[0] == "" {
			return g, missing(want.name)
		}
		if len(v) > 1 {
			return g, malformed("the header %s came %d times", want.name, len(v))
		}
		*want.to = v[0]
	}
	joined := strings.Join(lines, ",")
	switch s.form {
	case stripe:
		for item := range strings.SplitSeq(joined, ",") {
			switch k, v, _ := strings.Cut(item, "="); k {
			case "t":
				g.time = v
			case "v1":
				g.digests = append(g.digests, v)
			}
		}
		switch {
		case g.time == "":
			return g, malformed("%s has no t=", s.Header)
		case len(g.digests) == 0:
			return g, malformed("%s has no v1=", s.Header)
		}
	case spaced:
		asymmetric := false
		for item := range strings.FieldsSeq(strings.Join(lines, " ")) {
			version, v, _ := strings.Cut(item, ",")
			if version == "v1" {
				g.digests = append(g.digests, v)
			}
			asymmetric = asymmetric || version == "v1a"
		}
		switch {
		case len(g.digests) == 0 && asymmetric:
			return g, malformed("%s is signed with a private key (v1a); only v1, made with a secret, can be checked", s.Header)
		case len(g.digests) == 0:
			return g, malformed("%s has no v1 signature", s.Header)
		}
	default:
		list := []string{joined}
		if s.form == many {
			list = strings.Split(joined, ",")
		}
		for _, item := range list {
			v, ok := strings.CutPrefix(strings.TrimSpace(item), s.Prefix)
			if ok && v != "" {
				g.digests = append(g.digests, v)
			}
		}
		if len(g.digests) == 0 {
			if s.Prefix == "" {
				return g, malformed("%s is empty", s.Header)
			}
			return g, malformed("%s does not begin with %s", s.Header, s.Prefix)
		}
	}
	if s.timed() {
		at, ok := unix(g.time)
		if !ok {
			return g, malformed("the time of the signature is no number of seconds since 1970")
		}
		g.at = at
	}
	return g, nil
}

func (s *Scheme) timed() bool { return s.Timestamp != "" || s.form == stripe }

// unix reads seconds since 1970, or milliseconds where it can only be those.
func unix(s string) (time.Time, bool) {
	if s == "" || len(s) > 13 {
		return time.Time{}, false
	}
	n := int64(0)
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		n = n*10 + int64(c-'0')
	}
	if millis(s) {
		return time.UnixMilli(n), true
	}
	return time.Unix(n, 0), true
}

func millis(s string) bool { return len(s) >= 12 }
