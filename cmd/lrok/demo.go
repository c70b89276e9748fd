package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/inspector/signature"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// The demo is the whole product without set-up: an edge on loopback, a sample
// receiver of webhooks behind a tunnel, and deliveries that are signed as the
// real senders sign them. One of them hits a bug in the receiver, so that there
// is something to find, to fix and to replay.

func newDemo(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Try everything at once: an edge, a sample service, signed deliveries",
		Long: `Try everything at once: an edge on this machine, a sample webhook receiver behind
a tunnel, and signed deliveries that arrive while you watch. One of them fails:
find it (/ then 5xx), give customer_email an address and send it (e), compare the
answers (d).

Without a terminal the deliveries are printed as lines, and the demo ends.`,
		Example: "  lrok demo\n  lrok demo | cat",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shop, err := openShop()
			if err != nil {
				return err
			}
			defer shop.close()
			target, err := agent.ParseTarget(shop.addr)
			if err != nil {
				return err
			}
			claim := tunnel.Claim{Kind: tunnel.HTTP, Name: "demo", Local: "http://" + shop.addr}
			// Their senders sign all with the one secret.
			for _, p := range []string{signature.Stripe, signature.GitHub, signature.Slack} {
				o.known = append(o.known, signature.Source{Name: p, Provider: p, Secrets: []signature.Secret{{Value: shop.secret, From: "the demo's own secret"}}})
			}
			u := &up{
				o:      o,
				wishes: []wish{{claim: claim, target: target}},
				own:    true,
				background: func(ctx context.Context, url, direct string) error {
					return deliver(ctx, direct, hostOf(url), shop.secret, o.interactive())
				},
				endsAlone: !o.interactive(),
			}
			return u.run(cmd.Context())
		},
	}
}

func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// A shop is the sample receiver.
type shop struct {
	addr   string
	secret string
	server *http.Server
	done   sync.WaitGroup
	orders atomic.Int64
}

func openShop() (*shop, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the sample service: %w", err)
	}
	s := &shop{addr: l.Addr().String(), secret: "whsec_" + rand.Text()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks/stripe", s.stripe)
	mux.HandleFunc("POST /webhooks/github", s.github)
	mux.HandleFunc("POST /webhooks/slack", s.slack)
	mux.HandleFunc("GET /api/orders", s.list)
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /logo.png", s.logo)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	s.done.Go(func() { _ = s.server.Serve(l) })
	return s, nil
}

func (s *shop) close() {
	_ = s.server.Close()
	s.done.Wait()
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v)
}

func mac(secret, message string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(h, message)
	return h.Sum(nil)
}

func body(r *http.Request) string {
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	return string(b)
}

func (s *shop) stripe(w http.ResponseWriter, r *http.Request) {
	b := body(r)
	var stamp, signature string
	for part := range strings.SplitSeq(r.Header.Get("Stripe-Signature"), ",") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "t":
			stamp = value
		case "v1":
			signature = value
		}
	}
	if got, _ := hex.DecodeString(signature); !hmac.Equal(got, mac(s.secret, stamp+"."+b)) {
		// An edited body no longer carries a valid signature; the sample says so
		// and goes on, so that editing can be tried.
		w.Header().Set("X-Verified", "no")
	}
	var event struct {
		ID   string `json:"id"`
		Type string `json:"type"`
		Data struct {
			Object struct {
				ID            string  `json:"id"`
				AmountPaid    int     `json:"amount_paid"`
				Currency      string  `json:"currency"`
				CustomerEmail *string `json:"customer_email"`
			} `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(b), &event); err != nil {
		answerJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_json", "message": err.Error()})
		return
	}
	if event.Data.Object.CustomerEmail == nil {
		// The bug of the demo: an invoice without an address.
		answerJSON(w, http.StatusInternalServerError, map[string]any{
			"error":   "internal_error",
			"message": "cannot read customer_email of " + event.Data.Object.ID + ": it is null",
			"trace":   []string{"mailer.sendReceipt (mailer.js:41)", "onInvoicePaid (webhooks.js:88)", "dispatch (webhooks.js:23)"},
		})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{
		"received": true, "event": event.ID, "order": s.orders.Add(1),
		"receipt": map[string]any{"to": *event.Data.Object.CustomerEmail, "amount": event.Data.Object.AmountPaid, "currency": event.Data.Object.Currency},
		"at":      time.Now().UTC().Format(time.RFC3339),
	})
}

func (s *shop) github(w http.ResponseWriter, r *http.Request) {
	b := body(r)
	got, _ := hex.DecodeString(strings.TrimPrefix(r.Header.Get("X-Hub-Signature-256"), "sha256="))
	if !hmac.Equal(got, mac(s.secret, b)) {
		answerJSON(w, http.StatusUnauthorized, map[string]any{"error": "bad_signature"})
		return
	}
	answerJSON(w, http.StatusAccepted, map[string]any{"queued": true, "event": r.Header.Get("X-GitHub-Event")})
}

func (s *shop) slack(w http.ResponseWriter, r *http.Request) {
	b := body(r)
	got, _ := hex.DecodeString(strings.TrimPrefix(r.Header.Get("X-Slack-Signature"), "v0="))
	if !hmac.Equal(got, mac(s.secret, "v0:"+r.Header.Get("X-Slack-Request-Timestamp")+":"+b)) {
		answerJSON(w, http.StatusUnauthorized, map[string]any{"error": "bad_signature"})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "Deploying shop to staging, this takes a minute.\n")
}

// list answers compressed, as most services do.
func (s *shop) list(w http.ResponseWriter, r *http.Request) {
	type order struct {
		ID     int    `json:"id"`
		Status string `json:"status"`
		Total  int    `json:"total"`
		Items  []any  `json:"items"`
	}
	var orders []order
	for i := range 12 {
		orders = append(orders, order{1040 + i, []string{"paid", "open", "shipped"}[i%3], 1900 + 350*i, []any{map[string]any{"sku": fmt.Sprintf("TEA-%02d", i), "quantity": i%3 + 1}}})
	}
	b, _ := json.Marshal(map[string]any{"orders": orders, "page": 1, "pages": 1})
	w.Header().Set("Content-Type", "application/json")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		var z bytes.Buffer
		g := gzip.NewWriter(&z)
		_, _ = g.Write(b)
		_ = g.Close()
		b = z.Bytes()
		w.Header().Set("Content-Encoding", "gzip")
	}
	_, _ = w.Write(b)
}

func (s *shop) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	tick := time.NewTicker(400 * time.Millisecond)
	defer tick.Stop()
	for i := range 300 {
		_, _ = fmt.Fprintf(w, "id: %d\nevent: stock\ndata: {\"sku\":\"TEA-%02d\",\"left\":%d}\n\n", i, i%12, 100-i%40)
		if rc.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *shop) logo(w http.ResponseWriter, _ *http.Request) {
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			img.Set(x, y, color.RGBA{uint8(40 + 2*x), uint8(90 + y), 160, 255})
		}
	}
	w.Header().Set("Content-Type", "image/png")
	_ = png.Encode(w, img)
}

// A delivery is one request of the demo's outside world.
type delivery struct {
	wait    time.Duration // before it, when somebody watches
	method  string
	path    string
	header  [][2]string
	body    string
	sign    string
	readFor time.Duration // leave a stream after this
}

const stripeEvent = `{
  "id": "evt_%s",
  "object": "event",
  "api_version": "2026-08-27",
  "created": %d,
  "type": "invoice.paid",
  "livemode": false,
  "pending_webhooks": 1,
  "data": {
    "object": {
      "id": "in_%s",
      "object": "invoice",
      "amount_paid": %d,
      "currency": "eur",
      "customer": "cus_Nf8hQ2",
      "customer_email": %s,
      "lines": {
        "object": "list",
        "data": [
          {"id": "il_1", "amount": %d, "description": "Green tea, monthly", "quantity": 1}
        ],
        "has_more": false
      },
      "status": "paid"
    }
  }
}`

func invoice(id string, amount int, email string) string {
	return fmt.Sprintf(stripeEvent, id, time.Now().Unix(), strings.ToLower(id), amount, email, amount)
}

const githubEvent = `{"action":"opened","number":128,"pull_request":{"id":210987,"number":128,"state":"open","title":"Ship receipts for invoices without an address","user":{"login":"octo-dev","id":4711},"body":"Fixes the mailer when customer_email is null.","merged":false,"changed_files":3,"additions":41,"deletions":7},"repository":{"id":9911,"name":"shop","full_name":"tea/shop","private":true},"sender":{"login":"octo-dev","id":4711}}`

func deliveries() []delivery {
	stripe := [][2]string{{"User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"}, {"Content-Type", "application/json; charset=utf-8"}}
	github := [][2]string{{"User-Agent", "GitHub-Hookshot/8f2c1d0"}, {"X-GitHub-Event", "pull_request"}, {"X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"}, {"Content-Type", "application/json"}}
	slack := [][2]string{{"User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)"}, {"Content-Type", "application/x-www-form-urlencoded"}}
	browser := [][2]string{{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0"}, {"Accept-Encoding", "gzip"}, {"Cookie", "session=8f14e45fceea167a"}}
	return []delivery{
		{method: "GET", path: "/health", header: [][2]string{{"User-Agent", "uptime/2"}}},
		{method: "POST", path: "/webhooks/stripe", header: stripe, body: invoice("1PqT9x", 4200, `"ada@example.com"`), sign: "stripe"},
		{wait: 150 * time.Millisecond, method: "POST", path: "/webhooks/github", header: github, body: githubEvent, sign: "github"},
		{wait: 150 * time.Millisecond, method: "GET", path: "/api/orders?status=open&page=1", header: browser},
		{wait: 100 * time.Millisecond, method: "GET", path: "/favicon.ico", header: browser},
		{wait: 250 * time.Millisecond, method: "POST", path: "/webhooks/slack", header: slack, body: "token=gIkuvaNz&team_domain=tea&channel_name=deploys&user_name=ada&command=%2Fdeploy&text=shop+to+staging&trigger_id=13345224609.738474920", sign: "slack"},
		{wait: 200 * time.Millisecond, method: "GET", path: "/logo.png", header: browser},
		{wait: 100 * time.Millisecond, method: "GET", path: "/events", header: browser, readFor: time.Minute},
		{wait: 400 * time.Millisecond, method: "POST", path: "/webhooks/stripe", header: stripe, body: invoice("1PqU0b", 1900, "null"), sign: "stripe"},
		{wait: 4 * time.Second, method: "POST", path: "/webhooks/stripe", header: stripe, body: invoice("1PqU3k", 2450, `"grace@example.com"`), sign: "stripe"},
		{wait: 6 * time.Second, method: "GET", path: "/health", header: [][2]string{{"User-Agent", "uptime/2"}}},
	}
}

// deliver calls the tunnel as the outside world would: at addr, for host. When
// nobody watches it does so without pauses and reads only the beginning of
// streams.
func deliver(ctx context.Context, addr, host, secret string, watched bool) error {
	var streams sync.WaitGroup
	defer streams.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for round := 0; ; round++ {
		for i, d := range deliveries() {
			if round > 0 && i > 0 && i < 9 {
				continue // later rounds are only now and then a call
			}
			if watched && !sleep(ctx, d.wait*time.Duration(1+5*min(round, 1))) {
				return nil
			}
			if d.readFor > 0 {
				if !watched {
					d.readFor = 500 * time.Millisecond
				}
				streams.Go(func() { _ = send(ctx, d, addr, host, secret) })
				continue
			}
			if err := send(ctx, d, addr, host, secret); err != nil && ctx.Err() == nil {
				return fmt.Errorf("deliver %s %s: %w", d.method, d.path, err)
			}
		}
		if !watched {
			streams.Wait()
			return nil
		}
		if !sleep(ctx, 10*time.Second) {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func send(ctx context.Context, d delivery, addr, host, secret string) error {
	if d.readFor > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.readFor)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, d.method, addr+d.path, strings.NewReader(d.body))
	if err != nil {
		return err
	}
	req.Host = host
	for _, h := range d.header {
		req.Header.Set(h[0], h[1])
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	switch d.sign {
	case "stripe":
		req.Header.Set("Stripe-Signature", "t="+now+",v1="+hex.EncodeToString(mac(secret, now+"."+d.body)))
	case "github":
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac(secret, d.body)))
	case "slack":
		req.Header.Set("X-Slack-Request-Timestamp", now)
		req.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac(secret, "v0:"+now+":"+d.body)))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	return nil
}
