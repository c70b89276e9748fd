package signature

import (
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// A Secret is shared with a sender. It prints as stars, wherever it gets.
type Secret struct {
	Value string
	From  string // where it was read, for people: "LROK_SECRET_STRIPE"
}

func (Secret) String() string               { return "****" }
func (Secret) GoString() string             { return "****" }
func (Secret) MarshalText() ([]byte, error) { return []byte("****"), nil }

// A Source is a sender as somebody knows it: its provider and its secrets.
type Source struct {
	Name     string // what it is called
	Provider string // one of [Providers]
	// Path limits it to requests whose path begins so, "" for all.
	Path string
	// Secrets are those in use, the newest first: while one is being changed,
	// either may have signed.
	Secrets []Secret
	// Scheme is that of an HMAC, for which [Scheme.Check] was called.
	Scheme Scheme
}

func (s *Source) schemes() []Scheme {
	if s.Provider == HMAC {
		return []Scheme{s.Scheme}
	}
	return schemes[s.Provider]
}

// scheme is the one that r carries, or the first.
func (s *Source) scheme(r *request) (sch Scheme, carried bool) {
	list := s.schemes()
	for _, sch := range list {
		if len(r.values(sch.Header)) > 0 {
			return sch, true
		}
	}
	return list[0], false
}

// covers reports whether s is meant for the path: /hooks is for /hooks, /hooks/a
// and /hooks?x, and not for /hooksa.
func (s *Source) covers(path string) bool {
	rest, ok := strings.CutPrefix(path, s.Path)
	return ok && (rest == "" || strings.HasSuffix(s.Path, "/") || s.Path == "" || rest[0] == '/' || rest[0] == '?')
}

// Detect is the provider whose signature header x carries, "" for none.
func Detect(x *inspector.Exchange) string {
	r := &request{header: x.Request.Header}
	for _, name := range Providers {
		for _, s := range schemes[name] {
			if len(r.values(s.Header)) > 0 {
				return name
			}
		}
	}
	return ""
}

// A Cause says in one word what became of a signature.
type Cause string

// The causes. All but Valid mean that the sender's library refuses the request,
// or that nothing can be said.
const (
	Valid           Cause = "valid"
	WrongSecret     Cause = "wrong_secret" // or, as nothing tells them apart, a changed body
	BodyAltered     Cause = "body_altered"
	HeaderAltered   Cause = "header_altered"
	StaleTimestamp  Cause = "stale_timestamp"
	WrongEncoding   Cause = "wrong_encoding"
	HeaderMissing   Cause = "header_missing"
	HeaderMalformed Cause = "header_malformed"
	BodyIncomplete  Cause = "body_incomplete" // not captured in full: nothing can be said
	NoSecret        Cause = "no_secret"       // signed, and no secret is known here
)

// A Verdict is what there is to say about the signature of one request.
type Verdict struct {
	Provider string `json:"provider"`
	Source   string `json:"source,omitempty"` // its name, once one is known
	Valid    bool   `json:"valid"`
	Cause    Cause  `json:"cause"`
	Detail   string `json:"detail"` // in words
	// Secret is where the secret that fits was read; never the secret.
	Secret string     `json:"secret,omitempty"`
	Signed *time.Time `json:"signed,omitempty"` // when it was signed, as the sender says
}

// Text is the verdict as one sentence.
func (v Verdict) Text() string {
	name := v.Provider
	if v.Source != "" && v.Source != v.Provider {
		name += " (" + v.Source + ")"
	}
	if v.Valid {
		return name + " signature valid: " + v.Detail
	}
	return name + " signature: " + strings.ReplaceAll(string(v.Cause), "_", " ") + ": " + v.Detail
}
