package signature

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// Judge says what becomes of the signature of x, by the time it arrived. The
// name is that of a source or a provider, "" for whatever fits. For a replay
// the original, when it is at hand, tells an altered body from a wrong secret.
// Without a signature, and nobody who wants one, there is no verdict.
//
// It takes some milliseconds for a body of a megabyte.
func Judge(x *inspector.Exchange, sources []Source, name string, original *inspector.Exchange) (Verdict, bool) {
	if x.Method == "" || x.Kind == inspector.TCP || x.Kind == inspector.TLS {
		return Verdict{}, false
	}
	found := candidates(x, sources, name)
	if len(found) == 0 {
		provider := name
		if name == "" {
			provider = Detect(x)
		}
		if provider == "" {
			return Verdict{}, false
		}
		return Verdict{Provider: provider, Cause: NoSecret, Detail: "no secret of it is known here"}, true
	}
	var best Verdict
	for i := range found {
		v := found[i].verify(x, original)
		if best.Provider == "" || telling(v.Cause) < telling(best.Cause) {
			best = v
		}
	}
	if best.Cause != WrongSecret {
		return best, true
	}
	// The secret of another entry may explain it.
	for i := range sources {
		s := &sources[i]
		if s.Provider != best.Provider || slices.ContainsFunc(found, func(f Source) bool { return f.Name == s.Name }) {
			continue
		}
		if v := s.verify(x, nil); v.Valid || v.Cause == StaleTimestamp {
			best.Detail = fmt.Sprintf("signed with the secret of %s", s.Name)
			if s.Path != "" {
				best.Detail += ", which is for " + s.Path
			}
			break
		}
	}
	return best, true
}

// telling orders causes by how much they explain.
func telling(c Cause) int {
	return slices.Index([]Cause{Valid, StaleTimestamp, WrongEncoding, BodyAltered, HeaderAltered, BodyIncomplete, WrongSecret, HeaderMalformed, HeaderMissing}, c)
}

// candidates are the sources that x may be of, the best first.
func candidates(x *inspector.Exchange, sources []Source, name string) []Source {
	r := &request{header: x.Request.Header}
	var out []Source
	for _, s := range sources {
		if len(s.Secrets) == 0 || name != "" && s.Name != name && s.Provider != name {
			continue
		}
		named := name != "" && s.Name == name
		_, carried := s.scheme(r)
		// A path says that a signature belongs there; without one, only a
		// signature says whose the request is.
		if named || s.covers(x.Path) && (carried || s.Path != "" || name != "") {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Source) int {
		_, ca := a.scheme(r)
		_, cb := b.scheme(r)
		if ca != cb {
			if ca {
				return -1
			}
			return 1
		}
		return cmp.Compare(len(b.Path), len(a.Path))
	})
	// Of one provider only those with the longest path: that is whose secret the
	// service behind it has.
	longest := map[string]int{}
	return slices.DeleteFunc(out, func(s Source) bool {
		if s.Provider == HMAC {
			return false
		}
		n, seen := longest[s.Provider]
		if !seen {
			longest[s.Provider] = len(s.Path)
			return false
		}
		return len(s.Path) < n
	})
}

func (src *Source) verify(x, original *inspector.Exchange) Verdict {
	v := Verdict{Provider: src.Provider, Source: src.Name}
	r := changed(x, inspector.Changes{})
	s, _ := src.scheme(r)
	say := func(c Cause, f string, args ...any) Verdict {
		v.Cause, v.Detail = c, fmt.Sprintf(f, args...)
		return v
	}
	g, bad := s.read(r)
	if bad != nil {
		return say(bad.cause, "%s", bad.detail)
	}
	if !g.at.IsZero() {
		v.Signed = &g.at
	}
	if incomplete(x) {
		return say(BodyIncomplete, "the body was not captured in full, so its signature cannot be checked")
	}
	content := s.content(r, &g, r.body)
	usable := 0
	var unusable string
	for i, secret := range src.Secrets {
		key, err := s.key(secret.Value)
		if err != nil {
			unusable = fmt.Sprintf("%s: %v", secret.From, err)
			continue
		}
		usable++
		if !equal(g.digests, s.encode(digest(s.hash(), key, content))) {
			continue
		}
		v.Secret = secret.From
		age := x.Timing.Accepted.Unix() - g.at.Unix()
		switch {
		case g.at.IsZero():
		case age > int64(tolerance/time.Second):
			return say(StaleTimestamp, "signed %s before it arrived; %s at most. The digest fits", seconds(age), seconds(int64(tolerance/time.Second)))
		case !s.late && -age > int64(tolerance/time.Second):
			return say(StaleTimestamp, "signed %s after it arrived: a clock is wrong. The digest fits", seconds(-age))
		}
		v.Valid = true
		v.Cause, v.Detail = Valid, "with "+secret.From
		if i > 0 {
			v.Detail += fmt.Sprintf(", an older secret (%d of %d)", i+1, len(src.Secrets))
		}
		return v
	}
	if f := src.explain(&s, r, &g, content); f != nil {
		return say(f.cause, "%s", f.detail)
	}
	if usable == 0 {
		return say(WrongEncoding, "%s", unusable)
	}
	if name := brokenDigest(r); name != "" {
		return say(BodyAltered, "%s says that the body was another one", name)
	}
	if original != nil && original.ID != x.ID {
		was := src.verify(original, nil)
		switch {
		case !was.Valid && was.Cause != StaleTimestamp:
		case !bytes.Equal(original.Request.Body.Data, x.Request.Body.Data):
			return say(BodyAltered, "the signature is that of the original, the body is not; sign it again")
		default:
			return say(HeaderAltered, "the body is that of the original, the signature is not; sign it again")
		}
	}
	return say(WrongSecret, "%s does not fit: the secret is another one, or the body was changed on its way", src.list())
}

// seconds is a time without its zeros: 5m, 1h, 1m30s.
func seconds(n int64) string {
	s := (time.Duration(n) * time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func (src *Source) list() string {
	var out []string
	for _, s := range src.Secrets {
		if !slices.Contains(out, s.From) {
			out = append(out, s.From)
		}
	}
	return strings.Join(out, " or ")
}

// equal compares in constant time, whichever of the digests it is.
func equal(digests []string, want string) bool {
	ok := false
	for _, d := range digests {
		ok = hmac.Equal([]byte(d), []byte(want)) || ok
	}
	return ok
}

// explain tries what people get wrong: digests and secrets in another encoding,
// another algorithm, a body that was written anew.
func (src *Source) explain(s *Scheme, r *request, g *signed, content []byte) *fault {
	var raw [][]byte
	for _, d := range g.digests {
		raw = append(raw, decodings(d)...)
	}
	fits := func(key []byte, algo string, content []byte) bool {
		want := digest(algorithm(algo), key, content)
		ok := false
		for _, d := range raw {
			ok = hmac.Equal(d, want) || ok
		}
		return ok
	}
	for _, secret := range src.Secrets {
		key, err := s.key(secret.Value)
		if err == nil {
			if fits(key, s.Algorithm, content) {
				return &fault{WrongEncoding, "the digest fits, but is not written in " + s.written()}
			}
			for _, algo := range []string{"sha1", "sha256", "sha512"} {
				if fits(key, algo, content) {
					return &fault{WrongEncoding, "made with " + algo + ", not " + cmp.Or(s.Algorithm, "sha256")}
				}
			}
			for _, b := range rewritten(r.body) {
				if fits(key, s.Algorithm, s.content(r, g, b.body)) {
					return &fault{BodyAltered, "the signature fits the body " + b.how}
				}
			}
		}
		for _, k := range keys(secret.Value) {
			if fits(k.key, s.Algorithm, content) {
				return &fault{WrongEncoding, "made with " + secret.From + " " + k.how + ", where " + s.wants() + " belongs"}
			}
		}
	}
	// A digest of another shape cannot fit, whatever the secret.
	size := s.hash()().Size()
	for _, d := range g.digests {
		if len(d) == len(s.encode(make([]byte, size))) {
			return nil
		}
	}
	for _, other := range []string{"hex", "base64"} {
		o := Scheme{Encoding: other}
		if d := g.digests[0]; other != s.encoding() && len(d) == len(o.encode(make([]byte, size))) && len(decodings(d)) > 0 {
			return &fault{WrongEncoding, "the digest looks like " + other + ", not " + s.encoding()}
		}
	}
	return &fault{HeaderMalformed, fmt.Sprintf("the digest in %s is not as long as %s in %s", s.Header, cmp.Or(s.Algorithm, "sha256"), s.encoding())}
}

func (s *Scheme) written() string {
	if s.encoding() == "hex" {
		return "lower-case hex"
	}
	return "padded base64"
}

// wants says how the scheme takes the secret.
func (s *Scheme) wants() string {
	if s.form == spaced {
		return "the base64 after whsec_, decoded,"
	}
	return "its text as it is"
}

// decodings are the bytes that a digest may mean.
func decodings(d string) [][]byte {
	var out [][]byte
	if b, err := hex.DecodeString(d); err == nil && len(b) > 0 {
		out = append(out, b)
	}
	plain := strings.TrimRight(d, "=")
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(plain); err == nil && len(b) > 0 {
			out = append(out, b)
			break
		}
	}
	return out
}

type otherKey struct {
	how string
	key []byte
}

// keys are what people take a secret for.
func keys(secret string) []otherKey {
	bare := strings.TrimPrefix(secret, "whsec_")
	out := []otherKey{{"as text", []byte(secret)}}
	if bare != secret {
		out = append(out, otherKey{"as text without whsec_", []byte(bare)})
	}
	if k, err := base64.StdEncoding.DecodeString(bare); err == nil && len(k) > 0 {
		out = append(out, otherKey{"decoded from base64", k})
	}
	if k, err := hex.DecodeString(bare); err == nil && len(k) > 0 {
		out = append(out, otherKey{"decoded from hex", k})
	}
	return append(out, otherKey{"with a line feed behind it", []byte(secret + "\n")})
}

type otherBody struct {
	how  string
	body []byte
}

// rewritten are bodies that what stands in the way makes into this one, undone.
func rewritten(body []byte) []otherBody {
	var out []otherBody
	if cut := bytes.TrimRight(body, "\r\n"); len(cut) < len(body) {
		out = append(out, otherBody{"without the line end at its end", cut})
	}
	out = append(out, otherBody{"with a line feed at its end", append(bytes.Clone(body), '\n')})
	if bytes.Contains(body, []byte("\r\n")) {
		out = append(out, otherBody{"with LF for its CRLF line ends", bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))})
	} else if bytes.Contains(body, []byte("\n")) {
		out = append(out, otherBody{"with CRLF for its LF line ends", bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))})
	}
	var b bytes.Buffer
	if json.Compact(&b, body) == nil {
		out = append(out, otherBody{"as JSON without white space: it was formatted on its way", bytes.Clone(b.Bytes())})
		for _, indent := range []string{"  ", "    ", "\t"} {
			b.Reset()
			if json.Indent(&b, body, "", indent) == nil {
				out = append(out, otherBody{"as indented JSON: its white space was changed on its way", bytes.Clone(bytes.TrimRight(b.Bytes(), "\r\n"))})
			}
		}
	}
	return out
}

// brokenDigest names a header that holds an unkeyed digest of another body.
func brokenDigest(r *request) string {
	differs := func(value string, sum []byte) bool {
		got, err := base64.StdEncoding.DecodeString(strings.Trim(strings.TrimSpace(value), ":"))
		return err == nil && len(got) == len(sum) && !bytes.Equal(got, sum)
	}
	for _, v := range r.values("Content-MD5") {
		if sum := md5.Sum(r.body); differs(v, sum[:]) {
			return "Content-MD5"
		}
	}
	for _, name := range []string{"Content-Digest", "Digest"} {
		for _, v := range r.values(name) {
			for item := range strings.SplitSeq(v, ",") {
				algo, value, _ := strings.Cut(strings.TrimSpace(item), "=")
				s256, s512 := sha256.Sum256(r.body), sha512.Sum512(r.body)
				switch strings.ToLower(algo) {
				case "sha-256":
					if differs(value, s256[:]) {
						return name
					}
				case "sha-512":
					if differs(value, s512[:]) {
						return name
					}
				}
			}
		}
	}
	return ""
}
