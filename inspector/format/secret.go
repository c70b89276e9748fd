package format

import "strings"

// secretWords end the names of headers and parameters whose value is a secret.
var secretWords = map[string]bool{
	"authorization": true, "cookie": true, "signature": true, "sig": true, "token": true, "secret": true,
	"password": true, "passwd": true, "passphrase": true, "apikey": true, "hmac": true, "jwt": true,
	"credential": true, "assertion": true, "cookie2": true, "pwd": true, "authtoken": true, "accesstoken": true,
}

// secretKeys are the words that make a following "key" a secret; a
// Sec-WebSocket-Key or an Idempotency-Key is none.
var secretKeys = map[string]bool{
	"api": true, "access": true, "auth": true, "private": true, "subscription": true, "functions": true,
	"function": true, "master": true, "account": true, "session": true, "admin": true, "client": true,
	"encryption": true, "customer": true, "signing": true, "app": true, "application": true, "service": true,
	"license": true, "x": true,
}

// algorithms may follow a secret word: X-Hub-Signature-256.
var algorithms = map[string]bool{
	"1": true, "256": true, "512": true, "sha1": true, "sha256": true, "sha384": true, "sha512": true, "v1": true,
	"v2": true, "ed25519": true, "rsa": true, "hash": true, "value": true,
}

// SecretHeader reports whether the value of the header named name is a secret
// that screens mask and exports leave out: credentials, cookies, signatures.
func SecretHeader(name string) bool {
	switch strings.ToLower(name) {
	case "x-client-cert", "x-forwarded-client-cert", "x-amz-cf-id-token", "x-session-id", "x-auth", "x-ms-token-aad-id-token":
		return true
	}
	return secretName(name)
}

// SecretParam reports the same of a query or form parameter.
func SecretParam(name string) bool {
	switch strings.ToLower(name) {
	case "code", "key", "auth", "session", "sessionid", "sid":
		return true
	}
	return secretName(name)
}

func secretName(name string) bool {
	words := nameWords(name)
	for len(words) > 1 && algorithms[words[len(words)-1]] {
		words = words[:len(words)-1]
	}
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	if last == "key" || last == "keys" {
		return len(words) > 1 && secretKeys[words[len(words)-2]]
	}
	return secretWords[last]
}

// nameWords splits "X-Hub-Signature-256", "access_token" and "apiKey" into
// their words in lower case.
func nameWords(name string) []string {
	var b []byte
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '_' || c == '.' || c == ' ' || c == '[' || c == ']' || c == '-':
			c = '-'
		case c >= 'A' && c <= 'Z':
			if i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z' {
				b = append(b, '-')
			}
			c |= 0x20
		}
		b = append(b, c)
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '-' })
}

// Mask writes a secret header value for a screen: its first four characters and
// dots, or dots alone when it is short. An authorization scheme, the names of
// cookies and what a signature header holds beside the signature stay readable.
// The result is sanitized.
func Mask(name, value string) string {
	return Sanitize(hide(name, value, func(secret string) string {
		const dots = "●●●●"
		// Enough must stay hidden for the rest to be of use.
		if len(secret) < 16 {
			return dots
		}
		n := 0
		for i := range secret {
			if n++; n > 4 {
				return secret[:i] + dots
			}
		}
		return dots
	}, "●●●●"))
}

// Redacted stands for a secret in files.
const Redacted = "REDACTED"

// Redact is Mask for files: nothing of the secret is left, and the result may
// stand in a header wherever value might.
func Redact(name, value string) string {
	return hide(name, value, func(string) string { return Redacted }, Redacted)
}

// hide replaces the secret parts of a header value: by token for an opaque
// value, by signature for the parts of a signature, which nobody tells apart by
// their first characters.
func hide(name, value string, token func(string) string, signature string) string {
	if value == "" {
		return ""
	}
	switch lower := strings.ToLower(name); {
	case strings.HasSuffix(lower, "authorization"):
		if scheme, rest, ok := strings.Cut(value, " "); ok && len(scheme) <= 24 && isToken(scheme) {
			return scheme + " " + token(strings.TrimLeft(rest, " "))
		}
		return token(value)
	case lower == "cookie":
		pieces := strings.Split(value, ";")
		for i, p := range pieces {
			pieces[i] = hidePair(p, token)
		}
		return strings.Join(pieces, ";")
	case lower == "set-cookie":
		pair, attributes, ok := strings.Cut(value, ";")
		pair = hidePair(pair, token)
		if ok {
			return pair + ";" + attributes
		}
		return pair
	case strings.Contains(lower, "signature"):
		return hideSignature(value, signature)
	}
	return token(value)
}

func hidePair(pair string, token func(string) string) string {
	name, value, ok := strings.Cut(pair, "=")
	if !ok {
		return token(pair)
	}
	if value == "" {
		return pair
	}
	return name + "=" + token(value)
}

// hideSignature keeps the timestamp, key id and scheme of the signature headers
// in use: "t=1,v1=hex", "sha256=hex", "v1,base64 v1,base64", "v0=hex".
func hideSignature(value, hidden string) string {
	plain := map[string]bool{
		"t": true, "ts": true, "timestamp": true, "keyid": true, "alg": true, "algorithm": true, "created": true,
		"expires": true, "headers": true,
	}
	var out strings.Builder
	for at := 0; at < len(value); {
		end := at
		for end < len(value) && value[end] != ',' && value[end] != ' ' && value[end] != ';' {
			end++
		}
		piece := value[at:end]
		key, v, ok := strings.Cut(piece, "=")
		switch {
		case piece == "":
		case ok && strings.Trim(v, "=") != "" && len(key) <= 16 && isToken(key):
			if plain[strings.ToLower(strings.TrimSpace(key))] {
				out.WriteString(piece)
			} else {
				out.WriteString(key + "=" + hidden)
			}
		case len(piece) <= 4 && piece[0] == 'v' && end < len(value) && value[end] == ',':
			out.WriteString(piece) // Standard Webhooks' version
		default:
			out.WriteString(hidden)
		}
		if end < len(value) {
			out.WriteByte(value[end])
			end++
		}
		at = end
	}
	return out.String()
}

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// MaskHeader is what a screen shows of a header's value: without the secret that
// it is, or that an address in it has among its parameters. It is not sanitized.
func MaskHeader(name, value string) string { return hideHeader(name, value, Mask) }

// RedactHeader is MaskHeader for files and copies.
func RedactHeader(name, value string) string { return hideHeader(name, value, Redact) }

func hideHeader(name, value string, hide func(name, value string) string) string {
	if SecretHeader(name) {
		return hide(name, value)
	}
	switch strings.ToLower(name) {
	case "location", "content-location", "referer", "destination", "x-original-url", "x-original-uri", "x-forwarded-uri",
		"x-rewrite-url", "x-envoy-original-path":
		return hideTarget(value, hide)
	case "link": // <address>; rel=next, <address>; rel=last
		var out strings.Builder
		for value != "" {
			before, rest, _ := strings.Cut(value, "<")
			address, _, closed := strings.Cut(rest, ">")
			out.WriteString(value[:min(len(before)+1, len(value))])
			out.WriteString(hideTarget(address, hide))
			if value = rest[len(address):]; !closed {
				break
			}
		}
		return out.String()
	case "refresh": // 5; url=address
		if i := strings.Index(strings.ToLower(value), "url="); i >= 0 {
			return value[:i+4] + hideTarget(value[i+4:], hide)
		}
	}
	return value
}

// RedactTarget replaces the values of secret parameters, and a password, in a
// request target or URL and leaves all other bytes as they are.
func RedactTarget(target string) string { return hideTarget(target, Redact) }

// MaskTarget is RedactTarget for a screen, where the first characters of a long
// secret tell it from others. Of the rest no byte changes: it is not sanitized.
func MaskTarget(target string) string { return hideTarget(target, Mask) }

func hideTarget(target string, hide func(name, value string) string) string {
	if i := strings.Index(target, "://"); i >= 0 {
		authority := target[i+3:]
		if end := strings.IndexAny(authority, "/?#"); end >= 0 {
			authority = authority[:end]
		}
		if at := strings.LastIndexByte(authority, '@'); at >= 0 {
			target = target[:i+3] + hide("", authority[:at]) + target[i+3+at:]
		}
	}
	// OAuth hands tokens over in the fragment, and some applications have a
	// whole address there, with parameters of its own.
	target, fragment, hasFragment := strings.Cut(target, "#")
	if path, query, ok := strings.Cut(target, "?"); ok {
		target = path + "?" + hideParams(query, hide)
	}
	if hasFragment {
		target += "#"
		if path, query, ok := strings.Cut(fragment, "?"); ok {
			target, fragment = target+path+"?", query
		}
		target += hideParams(fragment, hide)
	}
	return target
}

// hideParams hides the values of secret parameters in a=b&c=d.
func hideParams(query string, hide func(name, value string) string) string {
	pieces := strings.Split(query, "&")
	for i, p := range pieces {
		if name, value, ok := strings.Cut(p, "="); ok && value != "" && SecretParam(unescape([]byte(name))) {
			pieces[i] = name + "=" + hide("", value)
		}
	}
	return strings.Join(pieces, "&")
}
