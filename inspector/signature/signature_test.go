package signature

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// at is when the captures of these tests arrived.
var at = time.Unix(1_700_000_000, 600_000_000)

func capture(path, body string, header ...string) *inspector.Exchange {
	x := &inspector.Exchange{ID: "req_1", State: inspector.Done, Kind: inspector.HTTP, Method: "POST", Path: path, Timing: inspector.Timing{Accepted: at}}
	for i := 0; i < len(header); i += 2 {
		x.Request.Header = append(x.Request.Header, inspector.Field{Name: header[i], Value: header[i+1]})
	}
	x.Request.Body = inspector.Body{Size: int64(len(body)), Captured: int64(len(body)), Data: []byte(body)}
	return x
}

func source(provider string, secrets ...string) Source {
	s := Source{Name: provider, Provider: provider}
	for i, v := range secrets {
		s.Secrets = append(s.Secrets, Secret{v, fmt.Sprintf("SECRET_%d", i+1)})
	}
	return s
}

func hmacSource(t *testing.T, sch Scheme, secrets ...string) Source {
	t.Helper()
	s := source(HMAC, secrets...)
	s.Scheme = sch
	if err := s.Scheme.Check(); err != nil {
		t.Fatal(err)
	}
	return s
}

// signed is x as it arrives after it was signed by src.
func signedBy(t *testing.T, x *inspector.Exchange, src Source, when time.Time) *inspector.Exchange {
	t.Helper()
	ch, err := Sign(x, inspector.Changes{}, src, when)
	if err != nil {
		t.Fatal(err)
	}
	y := *x
	y.Request.Header = changed(x, ch).header
	return &y
}

func judge(t *testing.T, x *inspector.Exchange, sources ...Source) Verdict {
	t.Helper()
	v, ok := Judge(x, sources, "", nil)
	if !ok {
		t.Fatal("no verdict")
	}
	if v.Valid != (v.Cause == Valid) || v.Detail == "" {
		t.Errorf("verdict = %+v", v)
	}
	return v
}

// The examples of the senders' own documentation.
func TestPublishedExamples(t *testing.T) {
	github := capture("/", "Hello, World!", "X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	if v := judge(t, github, source(GitHub, "It's a Secret to Everybody")); !v.Valid {
		t.Errorf("GitHub: %+v", v)
	}
	slack := capture("/slash", "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
		"X-Slack-Request-Timestamp", "1531420618", "X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503")
	slack.Timing.Accepted = time.Unix(1531420620, 0)
	if v := judge(t, slack, source(Slack, "8f742231b10e8888abcd99yyyzzz85a5")); !v.Valid {
		t.Errorf("Slack: %+v", v)
	}
	standard := capture("/", `{"test": 2432232314}`, "webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330",
		"webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	standard.Timing.Accepted = time.Unix(1614265331, 0)
	if v := judge(t, standard, source(Standard, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")); !v.Valid {
		t.Errorf("Standard Webhooks: %+v", v)
	}
}

// all are a source of each provider, with an HMAC of every setting.
func all(t *testing.T) map[string]Source {
	return map[string]Source{
		"stripe":   source(Stripe, "whsec_one"),
		"github":   source(GitHub, "octo"),
		"slack":    source(Slack, "8f742231b10e"),
		"shopify":  source(Shopify, "shpss_1"),
		"standard": source(Standard, "whsec_bHJvayBlbmQgdG8gZW5k"),
		"hmac":     hmacSource(t, Scheme{Header: "X-Sig"}, "k"),
		"hmac timed": hmacSource(t, Scheme{
			Header: "X-Sig", Algorithm: "sha512", Encoding: "base64", Prefix: "v2:", Timestamp: "X-Time", Template: "{method} {path}\n{timestamp}\n{body}",
		}, "k"),
		"hmac sha1": hmacSource(t, Scheme{Header: "X-Sig", Algorithm: "sha1", Prefix: "sha1="}, "k"),
	}
}

func TestSignedIsValidAndEveryChangeIsSeen(t *testing.T) {
	for name, src := range all(t) {
		t.Run(name, func(t *testing.T) {
			plain := capture("/hooks?a=1", "{\"a\": 1}\n", "Content-Type", "application/json")
			x := signedBy(t, plain, src, at)
			v := judge(t, x, src)
			if !v.Valid || v.Provider != src.Provider || v.Secret != "SECRET_1" {
				t.Fatalf("%+v of %v", v, x.Request.Header)
			}
			sch := src.schemes()[0]
			if got := v.Signed; sch.timed() != (got != nil) || got != nil && got.Unix() != at.Unix() {
				t.Errorf("signed = %v", got)
			}

			other := source(src.Provider, "d3Jvbmc=")
			other.Scheme = src.Scheme
			if v := judge(t, x, other); v.Cause != WrongSecret {
				t.Errorf("another secret: %+v", v)
			}

			altered := *x
			altered.ID = "req_2"
			altered.Request.Body.Data = []byte("{\"a\": 2}\n")
			if v := judge(t, &altered, src); v.Cause != WrongSecret || !strings.Contains(v.Detail, "body was changed") {
				t.Errorf("altered: %+v", v)
			}
			if v, _ := Judge(&altered, []Source{src}, "", x); v.Cause != BodyAltered {
				t.Errorf("altered replay: %+v", v)
			}
			compact := *x
			compact.Request.Body = inspector.Body{Size: 8, Captured: 8, Data: []byte("{\"a\": 1}")}
			if v := judge(t, &compact, src); v.Cause != BodyAltered || !strings.Contains(v.Detail, "line feed") {
				t.Errorf("line feed lost: %+v", v)
			}

			late := *x
			late.Timing.Accepted = at.Add(5 * time.Minute)
			if v := judge(t, &late, src); !v.Valid {
				t.Errorf("five minutes: %+v", v)
			}
			late.Timing.Accepted = at.Add(5*time.Minute + time.Second)
			if v := judge(t, &late, src); sch.timed() != (v.Cause == StaleTimestamp) {
				t.Errorf("later: %+v", v)
			}
			early := *x
			early.Timing.Accepted = at.Add(-6 * time.Minute)
			if v := judge(t, &early, src); (sch.timed() && !sch.late) != (v.Cause == StaleTimestamp) {
				t.Errorf("early: %+v", v)
			}

			part := *x
			part.Request.Body.Size++
			if v := judge(t, &part, src); v.Cause != BodyIncomplete {
				t.Errorf("in part: %+v", v)
			}
			if _, err := Sign(&part, inspector.Changes{}, src, at); err == nil {
				t.Error("a body in part was signed")
			}

			if v, ok := Judge(plain, []Source{src}, src.Name, nil); !ok || v.Cause != HeaderMissing || !strings.Contains(v.Detail, sch.Header) {
				t.Errorf("unsigned: %+v", v)
			}
			src.Path = "/hooks"
			if v := judge(t, plain, src); v.Cause != HeaderMissing {
				t.Errorf("unsigned where a signature belongs: %+v", v)
			}
			src.Path = "/hook"
			if v, ok := Judge(plain, []Source{src}, "", nil); ok {
				t.Errorf("a path that is another: %+v", v)
			}
		})
	}
}

func header(x *inspector.Exchange, name, value string) *inspector.Exchange {
	y := *x
	y.Request.Header = changed(x, inspector.Changes{Set: []inspector.Field{{Name: name, Value: value}}}).header
	return &y
}

func TestWhatPeopleGetWrong(t *testing.T) {
	body := `{"id":"evt_1","amount":12}`
	x := capture("/", body)
	b64 := "whsec_bHJvayBlbmQgdG8gZW5k"
	indented := signedBy(t, capture("/", "{\n  \"id\": \"evt_1\",\n  \"amount\": 12\n}"), source(Stripe, "s"), at)
	indented.Request.Body = x.Request.Body
	asText := hmacSource(t, Scheme{Header: "X-Sig", Encoding: "base64"}, b64)
	sha1 := hmacSource(t, Scheme{Header: "X-Hub-Signature-256", Algorithm: "sha1", Prefix: "sha256="}, "s")
	github := source(GitHub, "s")
	right := signedBy(t, x, github, at).Request.Get("X-Hub-Signature-256")
	std := signedBy(t, x, source(Standard, b64), at)
	// Made with the text of the secret, which Standard Webhooks decode.
	g := signed{id: "msg_1", time: "1700000000"}
	sch := schemes[Standard][0]
	text := sch.encode(digest(sch.hash(), []byte(b64), sch.content(&request{}, &g, []byte(body))))
	textual := capture("/", body, "webhook-id", g.id, "webhook-timestamp", g.time, "webhook-signature", "v1,"+text)

	for name, c := range map[string]struct {
		x     *inspector.Exchange
		src   Source
		cause Cause
		says  string
	}{
		"hex in capitals":       {header(x, "X-Hub-Signature-256", "sha256="+strings.ToUpper(right[7:])), github, WrongEncoding, "lower-case hex"},
		"base64 for hex":        {header(x, "X-Hub-Signature-256", "sha256="+encoded(right[7:])), github, WrongEncoding, "not written in lower-case hex"},
		"base64 of nothing":     {header(x, "X-Hub-Signature-256", "sha256="+strings.Repeat("A", 43)+"="), github, WrongEncoding, "looks like base64"},
		"hex for base64":        {header(x, "X-Shopify-Hmac-Sha256", right[7:]), source(Shopify, "s"), WrongEncoding, "not written in padded base64"},
		"too short":             {header(x, "X-Hub-Signature-256", "sha256=1234"), github, HeaderMalformed, "not as long"},
		"no prefix":             {header(x, "X-Hub-Signature-256", right[7:]), github, HeaderMalformed, "does not begin with sha256="},
		"sha1":                  {signedBy(t, x, sha1, at), github, WrongEncoding, "made with sha1"},
		"whsec_ as text":        {textual, source(Standard, b64), WrongEncoding, "as text, where the base64"},
		"whsec_ decoded":        {signedBy(t, x, hmacSource(t, Scheme{Header: "X-Sig", Encoding: "base64"}, "lrok end to end"), at), asText, WrongEncoding, "decoded from base64, where its text"},
		"secret not in base64":  {std, source(Standard, "whsec_?!"), WrongEncoding, "not whsec_ and base64"},
		"reformatted":           {indented, source(Stripe, "s"), BodyAltered, "indented"},
		"Digest":                {header(header(x, "X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64)), "Digest", "sha-256="+strings.Repeat("A", 43)+"="), github, BodyAltered, "Digest says"},
		"Content-Digest":        {header(header(x, "X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64)), "Content-Digest", "sha-256=:"+strings.Repeat("A", 43)+"=:"), github, BodyAltered, "Content-Digest says"},
		"Stripe without t":      {header(x, "Stripe-Signature", "v1=00"), source(Stripe, "s"), HeaderMalformed, "no t="},
		"Stripe without v1":     {header(x, "Stripe-Signature", "t=1,v0=00"), source(Stripe, "s"), HeaderMalformed, "no v1="},
		"Stripe with a t of no": {header(x, "Stripe-Signature", "t=now,v1=00"), source(Stripe, "s"), HeaderMalformed, "no number"},
		"Slack without time":    {header(x, "X-Slack-Signature", "v0=00"), source(Slack, "s"), HeaderMissing, "X-Slack-Request-Timestamp"},
		"v1a":                   {header(std, "webhook-signature", "v1a,AAAA"), source(Standard, b64), HeaderMalformed, "private key"},
		"another id":            {header(std, "webhook-id", "msg_other"), source(Standard, b64), WrongSecret, "SECRET_1"},
		"no secret":             {std, source(Stripe, "s"), NoSecret, "no secret"},
	} {
		if v := judge(t, c.x, c.src); v.Cause != c.cause || !strings.Contains(v.Detail, c.says) {
			t.Errorf("%s: %s: %s; want %s with %q", name, v.Cause, v.Detail, c.cause, c.says)
		}
	}
	twice := header(x, "X-Hub-Signature-256", right)
	twice.Request.Header = append(twice.Request.Header, twice.Request.Header...)
	if v := judge(t, twice, github); v.Cause != HeaderMalformed {
		t.Errorf("sent twice: %+v", v)
	}
	if v, ok := Judge(x, []Source{github}, "", nil); ok {
		t.Errorf("unsigned, and nobody wants it signed: %+v", v)
	}
}

// encoded turns hex into base64.
func encoded(s string) string {
	sch := Scheme{Encoding: "base64"}
	return sch.encode(decodings(s)[0])
}

func TestRotation(t *testing.T) {
	x := capture("/", "{}")
	for name, both := range all(t) {
		was, is := both, both
		was.Secrets = []Secret{{"b2xk", "OLD"}}
		is.Secrets = []Secret{{"bmV3", "NEW"}}
		both.Secrets = []Secret{{"bmV3", "NEW"}, {"b2xk", "OLD"}}
		if v := judge(t, signedBy(t, x, was, at), both); !v.Valid || v.Secret != "OLD" || !strings.Contains(v.Detail, "2 of 2") {
			t.Errorf("%s: with the old one: %+v", name, v)
		}
		y := signedBy(t, x, both, at)
		if v := judge(t, y, is); !v.Valid {
			t.Errorf("%s: signed with both: %+v", name, v)
		}
		if several := both.Provider == Stripe || both.Provider == Standard; several {
			if v := judge(t, y, was); !v.Valid {
				t.Errorf("%s: who has the old secret yet: %+v", name, v)
			}
		}
	}
}

func TestTheLongestPathCounts(t *testing.T) {
	main, billing := source(Stripe, "main"), source(Stripe, "billing")
	billing.Name, billing.Path = "billing", "/hooks/billing"
	sources := []Source{main, billing}
	x := signedBy(t, capture("/hooks/billing/eu", "{}"), billing, at)
	if v := judge(t, x, sources...); !v.Valid || v.Source != "billing" {
		t.Errorf("%+v", v)
	}
	v := judge(t, signedBy(t, capture("/hooks/billing", "{}"), main, at), sources...)
	if v.Cause != WrongSecret || v.Detail != "signed with the secret of stripe" {
		t.Errorf("the secret of the other: %+v", v)
	}
	v = judge(t, signedBy(t, capture("/hooks", "{}"), billing, at), sources...)
	if v.Cause != WrongSecret || v.Detail != "signed with the secret of billing, which is for /hooks/billing" {
		t.Errorf("the secret of the path: %+v", v)
	}
	for path, want := range map[string]string{"/hooks/billing": "billing", "/hooks": "stripe", "/hooks/billings": "stripe"} {
		if s, err := Pick(header(capture(path, ""), "Stripe-Signature", "t=1,v1=1"), sources, ""); err != nil || s.Name != want {
			t.Errorf("Pick(%s) = %s, %v, want %s", path, s.Name, err, want)
		}
	}
	if s, err := Pick(capture("/", ""), sources, "billing"); err != nil || s.Name != "billing" {
		t.Errorf("by name: %s, %v", s.Name, err)
	}
	for name, says := range map[string]string{"": "carries no signature", GitHub: "no secret of github", "shop": `no secret is called "shop"`} {
		if _, err := Pick(capture("/", ""), sources, name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Pick(%q): %v, want %q", name, err, says)
		}
	}
}

func TestSignFollowsTheChanges(t *testing.T) {
	src := source(Standard, "whsec_bHJvayBlbmQgdG8gZW5k")
	x := signedBy(t, capture("/", "{}", "Content-Type", "text/plain"), src, at)
	id := x.Request.Get("webhook-id")
	if !strings.HasPrefix(id, "msg_") {
		t.Errorf("id = %q", id)
	}
	body := []byte(`{"edited":true}`)
	later := at.Add(time.Hour)
	ch, err := Sign(x, inspector.Changes{Body: &body, Path: "/other", Set: []inspector.Field{{Name: "X-Debug", Value: "1"}}}, src, later)
	if err != nil {
		t.Fatal(err)
	}
	y := *x
	y.Request.Header = changed(x, ch).header
	y.Request.Body = inspector.Body{Size: int64(len(body)), Captured: int64(len(body)), Data: body}
	y.Timing.Accepted = later
	if v := judge(t, &y, src); !v.Valid || y.Request.Get("webhook-id") != id || y.Request.Get("X-Debug") != "1" {
		t.Errorf("%+v of %v", v, y.Request.Header)
	}
	// The names of the headers, and their order, stay.
	if got := y.Request.Header[0].Name; got != "Content-Type" {
		t.Errorf("first header = %s", got)
	}

	// GitHub sends both digests, and milliseconds stay milliseconds.
	both := signedBy(t, capture("/", "{}", "X-Hub-Signature", "sha1=0", "X-Hub-Signature-256", "sha256=0"), source(GitHub, "s"), at)
	for _, name := range []string{"X-Hub-Signature", "X-Hub-Signature-256"} {
		one := capture("/", "{}", name, both.Request.Get(name))
		if v := judge(t, one, source(GitHub, "s")); !v.Valid {
			t.Errorf("%s: %+v", name, v)
		}
	}
	millis := signedBy(t, capture("/", "{}", "X-Time", "1700000000000"), hmacSource(t, Scheme{Header: "X-Sig", Timestamp: "X-Time"}, "s"), at)
	if got := millis.Request.Get("X-Time"); got != "1700000000600" {
		t.Errorf("milliseconds = %s", got)
	}
	// A header that came twice is one afterwards.
	twice := capture("/", "{}", "X-Hub-Signature-256", "a", "X-Hub-Signature-256", "b")
	if v := judge(t, signedBy(t, twice, source(GitHub, "s"), at), source(GitHub, "s")); !v.Valid {
		t.Errorf("twice: %+v", v)
	}
}

func TestSchemesThatCannotBeMeant(t *testing.T) {
	for says, s := range map[string]Scheme{
		"header is missing":          {},
		"is no header name":          {Header: "X Sig"},
		"algorithm is":               {Header: "X", Algorithm: "md5"},
		"encoding is":                {Header: "X", Encoding: "base32"},
		"without {body}":             {Header: "X", Template: "{path}"},
		"not {id}":                   {Header: "X", Template: "{body}{id}"},
		"say in timestamp":           {Header: "X", Template: "{timestamp}{body}"},
		"anybody could change it":    {Header: "X", Timestamp: "T", Template: "{body}"},
		"cannot stand in a header":   {Header: "X", Prefix: "a\n"},
		`"T:" is no header name`:     {Header: "X", Timestamp: "T:"},
		"and {path}, not {timestmp}": {Header: "X", Template: "{timestmp}.{body}"},
	} {
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", s, err, says)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	src := source(Stripe, "sesame")
	j, err := json.Marshal(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(src), fmt.Sprintf("%+v %#v %v", src, src, src.Secrets), string(j), judge(t, signedBy(t, capture("/", "{}"), src, at), src).Text()} {
		if strings.Contains(s, "sesame") {
			t.Errorf("a secret is in %s", s)
		}
	}
}

// FuzzHeaders holds that no header brings the parsers down, that what arrives
// from outside is in no verdict's words, and that nothing is valid without the
// secret.
func FuzzHeaders(f *testing.F) {
	f.Add("t=1700000000,v1=00,v1=11", "1700000000", "{}")
	f.Add("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "", "Hello, World!")
	f.Add("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,x", "1614265330", "{\n}")
	f.Add("v0=a2", "9999999999999", "")
	f.Add(",=,t=,v1=,, \x1b[2J", "-1", "\x00")
	sources := []Source{
		source(Stripe, "a\x01"), source(GitHub, "b\x01"), source(Slack, "c\x01"), source(Shopify, "d\x01"),
		source(Standard, "bHJvayBlbmQgdG8gZW5k"),
		{Name: "h", Provider: HMAC, Secrets: []Secret{{"e\x01", "E"}}, Scheme: Scheme{Header: "X-Sig", Encoding: "hex", Prefix: "p", Timestamp: "X-Time", Template: "{timestamp}{path}{body}", form: many}},
	}
	names := []string{"Stripe-Signature", "X-Hub-Signature-256", "X-Hub-Signature", "X-Slack-Signature", "X-Shopify-Hmac-Sha256", "webhook-signature", "svix-signature", "X-Sig"}
	f.Fuzz(func(t *testing.T, value, when, body string) {
		for _, name := range names {
			x := capture("/", body, name, value, "X-Slack-Request-Timestamp", when, "webhook-timestamp", when, "webhook-id", when,
				"svix-timestamp", when, "svix-id", when, "X-Time", when, "Digest", value, "Content-MD5", value)
			for i := range sources {
				v, ok := Judge(x, sources[i:i+1], sources[i].Name, x)
				if !ok || v.Valid {
					t.Errorf("%s as %s: %+v, %v", name, sources[i].Name, v, ok)
				}
				if strings.ContainsFunc(v.Text(), func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%s as %s says %q", name, sources[i].Name, v.Text())
				}
				y := signedBy(t, x, sources[i], at)
				if v, _ := Judge(y, sources[i:i+1], sources[i].Name, nil); !v.Valid && !odd(when) {
					t.Errorf("%s as %s, signed anew: %+v", name, sources[i].Name, v)
				}
			}
		}
	})
}

// odd are ids that no header can hold as they are.
func odd(s string) bool { return strings.TrimSpace(s) != s || s == "" }
