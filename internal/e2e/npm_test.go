package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/signature"
	"github.com/lrok-dev/lrok/internal/e2e/node"
)

// behindShop puts a script behind the tunnel shop.
func behindShop(t *testing.T, e *edgeProcess, s *node.Script) {
	t.Helper()
	p := lrok(t, e.reach(""), "http", fmt.Sprint(s.Port()), "--plain", "--hint", "shop")
	p.stdout.await(t, "https://shop.tun.test")
}

// Every delivery that GitHub, Stripe and Standard Webhooks' own libraries make
// verifies with those libraries behind the tunnel, and once more after lrok
// replay.
func TestWebhooksVerifyDirectlyAndReplayed(t *testing.T) {
	e := serve(t, nil)
	receiver := node.Start(t, "receiver.mjs")
	behindShop(t, e, receiver)
	api := e.api(t)
	sources := secretsOfScripts()

	// A ring keeps 100; replays are captured as well, and push out the oldest.
	const batch = 80
	var replayed uint64 // number of the newest capture so far
	kinds := map[string]int{}
	for skip := 0; ; skip += batch {
		sent := node.Send(t, "http://"+e.http+"/hooks?from=e2e", "shop.tun.test", "--skip", fmt.Sprint(skip), "--limit", fmt.Sprint(batch))
		if len(sent) == 0 {
			break
		}
		arrived := deliveries(t, receiver, len(sent))
		for _, s := range sent {
			a := arrived[s.ID]
			if s.Status != 200 || !a.OK || a.Kind != s.Kind || a.Event != s.Event || a.SHA256 != s.SHA256 || a.Path != "/hooks?from=e2e" {
				t.Errorf("sent %+v\narrived %+v", s, a)
			}
			kinds[s.Kind]++
		}

		xs, err := api.Requests(t.Context(), "shop", client.Query{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{"replay"}
		newest := replayed
		for _, x := range slices.Backward(xs) { // the oldest first
			if x.Number <= replayed {
				continue
			}
			ids = append(ids, x.ID)
			newest = max(newest, x.Number)
			whole, err := api.Exchange(t.Context(), x.ID)
			if err != nil {
				t.Fatal(err)
			}
			if v, ok := signature.Judge(&whole, sources, "", nil); !ok || !v.Valid {
				t.Errorf("%s %s is valid to its sender's library, and here %+v", x.Method, x.ID, v)
			}
		}
		if len(ids)-1 != len(sent) {
			t.Fatalf("%d captures of %d deliveries", len(ids)-1, len(sent))
		}
		p := lrok(t, e.reach(""), ids...)
		if code := p.wait(); code != 0 {
			t.Fatalf("lrok replay exits %d, want 0", code)
		}
		replayed = newest + uint64(len(sent))
		again := deliveries(t, receiver, len(sent))
		for _, s := range sent {
			if a := again[s.ID]; !a.OK || a.Event != s.Event || a.SHA256 != s.SHA256 || a.Path != "/hooks?from=e2e" {
				t.Errorf("sent %+v\nreplayed %+v", s, a)
			}
			if was, is := arrived[s.ID].Headers, again[s.ID].Headers; !slices.Equal(was, is) {
				t.Errorf("%s: headers of the replay\n%q, want\n%q", s.ID, is, was)
			}
		}
	}
	if kinds["github"] < 300 || kinds["stripe"] < 5 || kinds["standard"] < 4 || kinds["slack"] < 3 || kinds["shopify"] < 3 {
		t.Errorf("kinds = %v, want every payload of the npm package (over 300) and some of the others", kinds)
	}
}

// secretsOfScripts are those of the scripts, as lrok has them.
func secretsOfScripts() []signature.Source {
	var out []signature.Source
	for _, kv := range node.Secrets {
		name, value, _ := strings.Cut(kv, "=")
		kind := strings.ToLower(strings.TrimSuffix(name, "_SECRET"))
		out = append(out, signature.Source{Name: kind, Provider: kind, Secrets: []signature.Secret{{Value: value, From: name}}})
	}
	return out
}

// webhook is an unsigned delivery that the scripts know.
func webhook(kind string) *inspector.Exchange {
	body := []byte(`{"type": "event_callback", "event_id": "evt_1", "id": "evt_1", "event": {"type": "message"}}`)
	x := &inspector.Exchange{ID: "req_1", State: inspector.Done, Kind: inspector.HTTP, Method: "POST", Path: "/", Timing: inspector.Timing{Accepted: time.Now()}}
	x.Request.Header = []inspector.Field{{Name: "Content-Type", Value: "application/json"}}
	if kind == signature.Shopify {
		for _, name := range []string{"X-Shopify-API-Version", "X-Shopify-Shop-Domain", "X-Shopify-Topic", "X-Shopify-Webhook-Id"} {
			x.Request.Header = append(x.Request.Header, inspector.Field{Name: name, Value: "app/uninstalled"})
		}
	}
	x.Request.Body = inspector.Body{Size: int64(len(body)), Captured: int64(len(body)), Data: body}
	return x
}

// What is signed here the senders' own libraries accept, and what is called bad
// here they refuse; nothing that they refuse is called valid.
func TestSignaturesAgreeWithTheirLibraries(t *testing.T) {
	receiver := node.Start(t, "receiver.mjs")
	url := fmt.Sprintf("http://127.0.0.1:%d/", receiver.Port())
	headers := map[string]string{
		signature.GitHub: "X-Hub-Signature-256", signature.Stripe: "Stripe-Signature", signature.Slack: "X-Slack-Signature",
		signature.Shopify: "X-Shopify-Hmac-Sha256", signature.Standard: "webhook-signature",
	}
	for _, src := range secretsOfScripts() {
		header := headers[src.Provider]
		old := src
		old.Secrets = []signature.Secret{{Value: "b2xk", From: "old"}}
		both := src
		both.Secrets = []signature.Secret{old.Secrets[0], src.Secrets[0]}
		digest := func(to func(string) string) func(*inspector.Exchange) {
			return func(x *inspector.Exchange) {
				for i, f := range x.Request.Header {
					if strings.EqualFold(f.Name, header) {
						at := strings.LastIndexAny(strings.TrimRight(f.Value, "="), "=,") + 1
						x.Request.Header[i].Value = f.Value[:at] + to(f.Value[at:])
					}
				}
			}
		}
		body := func(s string) func(*inspector.Exchange) {
			return func(x *inspector.Exchange) {
				x.Request.Body = inspector.Body{Size: int64(len(s)), Captured: int64(len(s)), Data: []byte(s)}
			}
		}
		timed := src.Provider != signature.GitHub && src.Provider != signature.Shopify
		ahead := signature.Valid
		stale := signature.Valid
		if timed {
			stale = signature.StaleTimestamp
		}
		if src.Provider == signature.Standard {
			ahead = signature.StaleTimestamp
		}
		rotated := signature.WrongSecret // where the header has room for one only
		if src.Provider == signature.Stripe || src.Provider == signature.Standard {
			rotated = signature.Valid
		}
		for _, c := range []struct {
			name  string
			by    signature.Source
			when  time.Duration
			alter func(*inspector.Exchange)
			cause signature.Cause
		}{
			{name: "as it is", by: src, cause: signature.Valid},
			{name: "four minutes old", by: src, when: -4 * time.Minute, cause: signature.Valid},
			{name: "six minutes old", by: src, when: -6 * time.Minute, cause: stale},
			{name: "six minutes ahead", by: src, when: 6 * time.Minute, cause: ahead},
			{name: "with another secret", by: old, cause: signature.WrongSecret},
			{name: "with both secrets", by: both, cause: rotated},
			{name: "another body", by: src, alter: body(`{"type":"other","id":"evt_2"}`), cause: signature.WrongSecret},
			{name: "a line feed more", by: src, alter: body(string(webhook("").Request.Body.Data) + "\n"), cause: signature.BodyAltered},
			{name: "a digest cut short", by: src, alter: digest(func(s string) string { return s[:8] }), cause: signature.HeaderMalformed},
			{name: "no digest", by: src, alter: digest(func(string) string { return "" }), cause: signature.HeaderMalformed},
			{name: "another encoding", by: src, alter: digest(func(s string) string {
				if src.Provider == signature.Shopify || src.Provider == signature.Standard {
					return strings.TrimRight(s, "=")
				}
				raw, err := hex.DecodeString(s)
				if err != nil {
					t.Errorf("%s: %q is no hex", src.Provider, s)
				}
				return fmt.Sprintf("%X", raw)
			}), cause: signature.WrongEncoding},
		} {
			x := webhook(src.Provider)
			ch, err := signature.Sign(x, inspector.Changes{}, c.by, x.Timing.Accepted.Add(c.when))
			if err != nil {
				t.Fatal(err)
			}
			x.Request.Header = append(x.Request.Header, ch.Set...)
			if c.alter != nil {
				c.alter(x)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(x.Request.Body.Data))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range x.Request.Header {
				req.Header.Add(f.Name, f.Value)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			var theirs node.Delivery
			if !receiver.Next(&theirs) {
				t.Fatal(receiver.Wait())
			}
			ours, ok := signature.Judge(x, []signature.Source{src}, "", nil)
			if !ok || ours.Valid != theirs.OK || ours.Cause != c.cause {
				t.Errorf("%s, %s: theirs = %v (%s), ours = %s (%s), want %s", src.Provider, c.name, theirs.OK, theirs.Error, ours.Cause, ours.Detail, c.cause)
			}
		}
	}
}

// A replay with another body verifies behind the tunnel once it is signed again,
// and not before; no secret is in what the edge has.
func TestReplaysAreSignedAgain(t *testing.T) {
	e := serve(t, nil)
	receiver := node.Start(t, "receiver.mjs")
	behindShop(t, e, receiver)
	api := e.api(t)
	sent := node.Send(t, "http://"+e.http+"/hooks", "shop.tun.test", "--limit", "1")
	deliveries(t, receiver, len(sent))
	env := e.reach("")
	for _, s := range node.Secrets {
		name, value, _ := strings.Cut(s, "=")
		env = append(env, "LROK_SECRET_"+strings.TrimSuffix(name, "_SECRET")+"="+value)
	}
	body := string(webhook("").Request.Body.Data)
	xs, err := api.Requests(t.Context(), "shop", client.Query{Limit: 100})
	if err != nil || len(xs) != len(sent) || len(sent) != len(node.Secrets) {
		t.Fatalf("%d captures of %d deliveries, want one for each secret: %v", len(xs), len(sent), err)
	}
	for _, x := range xs {
		for _, resign := range []bool{false, true} {
			args, code := []string{"replay", x.ID, "--body", body}, 1
			if resign {
				args, code = append(args, "--resign"), 0
			}
			if got := lrok(t, env, args...).wait(); got != code {
				t.Errorf("%v exits %d, want %d", args, got, code)
			}
			var d node.Delivery
			if !receiver.Next(&d) {
				t.Fatal(receiver.Wait())
			}
			if d.OK != resign {
				t.Errorf("%s, signed again: %v, verifies: %v %s", d.Kind, resign, d.OK, d.Error)
			}
			latest, err := api.Requests(t.Context(), "shop", client.Query{Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			y, err := api.Exchange(t.Context(), latest[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range node.Secrets {
				_, value, _ := strings.Cut(s, "=")
				if strings.Contains(fmt.Sprintf("%+v %s", y, y.Request.Head), value) {
					t.Errorf("a secret is in the capture %+v", y)
				}
			}
		}
	}
}

func deliveries(t *testing.T, receiver *node.Script, n int) map[string]node.Delivery {
	t.Helper()
	by := map[string]node.Delivery{}
	for range n {
		var d node.Delivery
		if !receiver.Next(&d) {
			t.Fatal(receiver.Wait())
		}
		by[d.ID] = d
	}
	if len(by) != n {
		t.Errorf("%d deliveries with an id of their own, want %d", len(by), n)
	}
	return by
}

func TestNpmWebSocket(t *testing.T) {
	e := serve(t, nil)
	echo := node.Start(t, "ws-echo.mjs")
	behindShop(t, e, echo)
	url := "ws://" + e.http + "/room?x=1"
	node.WebSocket(t, url, "shop.tun.test")
	var c struct{ Connected, Host, Protocol string }
	if !echo.Next(&c) || c.Connected != "/room?x=1" || c.Host != "shop.tun.test" || c.Protocol != "lrok.v2" {
		t.Errorf("first connection = %+v", c)
	}
	node.WebSocket(t, url, "shop.tun.test", "--deflate", "1")

	// The codes with which either side closed arrive at the server as well.
	want := map[int]bool{4001: true, 4002: true}
	for len(want) > 0 {
		var line struct {
			Closed int
			Reason string
		}
		if !echo.Next(&line) {
			t.Fatalf("the server never saw close codes %v: %v", want, echo.Wait())
		}
		delete(want, line.Closed)
	}
}

func TestNpmEventSourceResumes(t *testing.T) {
	e := serve(t, nil)
	server := node.Start(t, "sse-server.mjs")
	behindShop(t, e, server)
	ticks, opened := node.Events(t, "http://"+e.http+"/events?n=10&ms=5&drop=4", "shop.tun.test", 10)
	if len(ticks) != 10 || opened != 3 {
		t.Fatalf("%d events over %d connections, want 10 over 3", len(ticks), opened)
	}
	for i, k := range ticks {
		if k.N != i+1 || k.ID != fmt.Sprint(i+1) || k.Text != "Grüße 😀" {
			t.Errorf("event %d = %+v", i+1, k)
		}
	}
	for _, want := range []string{"", "4", "8"} {
		var o struct{ Opened, LastEventID, Host string }
		for o.Opened == "" && server.Next(&o) {
		}
		if o.LastEventID != want || o.Host != "shop.tun.test" {
			t.Errorf("connection = %+v, want Last-Event-ID %q", o, want)
		}
	}
}
