package tui

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A demoEdge is an API with traffic as a person would have it while writing a
// webhook receiver.
type demoEdge struct {
	mu      sync.Mutex
	list    []inspector.Exchange
	version uint64
	changed chan struct{}
	replays []inspector.Changes
	now     func() time.Time
	stalled bool // Exchange and Body do not answer
	status  int  // of replays
	forgot  int
	tunnels []client.Tunnel
	taken   uint64 // the version up to which a stream was read
	gap     bool   // the next news begin with a gap
}

func newDemoEdge(now func() time.Time) *demoEdge {
	return &demoEdge{changed: make(chan struct{}), now: now, status: 200}
}

// add records x, or a change of it, and tells the streams.
func (e *demoEdge) add(x inspector.Exchange) inspector.Exchange {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.version++
	x.Version = e.version
	x.Tunnel = "acme"
	for i := range e.list {
		if e.list[i].ID == x.ID {
			x.Number = e.list[i].Number
			e.list[i] = x
			close(e.changed)
			e.changed = make(chan struct{})
			return x
		}
	}
	if x.Number == 0 {
		x.Number = uint64(len(e.list) + 1)
		if n := len(e.list); n > 0 {
			x.Number = e.list[n-1].Number + 1
		}
	}
	if x.ID == "" {
		x.ID = fmt.Sprintf("req_%026d", x.Number)
	}
	e.list = append(e.list, x)
	close(e.changed)
	e.changed = make(chan struct{})
	return x
}

func (e *demoEdge) Tunnels(context.Context) ([]client.Tunnel, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.tunnels), nil
}

func (e *demoEdge) Me(context.Context) (client.Me, error) {
	return client.Me{ID: "usr_1", Name: "ada", Edge: client.Edge{Domain: "lrok.example"}}, nil
}

func (e *demoEdge) Exchange(ctx context.Context, id string) (inspector.Exchange, error) {
	e.mu.Lock()
	stalled := e.stalled
	for _, x := range e.list {
		if x.ID == id && !stalled {
			e.mu.Unlock()
			return x, nil
		}
	}
	e.mu.Unlock()
	if stalled {
		<-ctx.Done()
		return inspector.Exchange{}, ctx.Err()
	}
	return inspector.Exchange{}, &tunnel.Error{Code: tunnel.CodeNotFound, Message: "no such request"}
}

// Beginning is the first kilobyte of each body.
func (e *demoEdge) Beginning(ctx context.Context, id string) (inspector.Exchange, error) {
	x, err := e.Exchange(ctx, id)
	for _, b := range []*inspector.Body{&x.Request.Body, &x.Response.Body} {
		b.Data = b.Data[:min(len(b.Data), 1<<10)]
		if b.Tail != nil {
			b.Tail = &inspector.Tail{Offset: b.Tail.Offset, Size: b.Tail.Size, Skipped: b.Tail.Skipped}
		}
	}
	return x, err
}

func (e *demoEdge) Complete(ctx context.Context, x *inspector.Exchange, progress func(response bool, n int)) error {
	whole, err := e.Exchange(ctx, x.ID)
	if err != nil {
		return err
	}
	x.Request.Body, x.Response.Body = whole.Request.Body, whole.Response.Body
	if progress != nil {
		progress(false, len(x.Request.Body.Data))
		progress(true, len(x.Response.Body.Data))
	}
	return nil
}

func (e *demoEdge) Follow(ctx context.Context, x *inspector.Exchange) error {
	whole, err := e.Exchange(ctx, x.ID)
	if err == nil {
		*x = whole
	}
	return err
}

func (e *demoEdge) Replay(ctx context.Context, id string, c inspector.Changes) (inspector.Exchange, error) {
	x, err := e.Exchange(ctx, id)
	if err != nil {
		return x, err
	}
	e.mu.Lock()
	e.replays = append(e.replays, c)
	status := e.status
	e.mu.Unlock()
	y := altered(&x, c)
	y.ID, y.Number, y.ReplayOf, y.State = "", 0, id, inspector.Done
	y.Timing.Accepted = e.now()
	y.Timing.Done = 41 * time.Millisecond
	y.Timing.FirstByte = 40 * time.Millisecond
	y.Error, y.Detail, y.EndedBy = "", "", ""
	y.Status, y.Reason = status, "OK"
	y.Response = message1("Content-Type", "application/json", `{"received":true,"attempt":2,"status":"paid"}`)
	return e.add(y), nil
}

func (e *demoEdge) Forget(context.Context, string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list, e.forgot = nil, e.forgot+1
	return nil
}

func (e *demoEdge) CloseConnection(_ context.Context, _, id string) error {
	e.mu.Lock()
	for _, x := range e.list {
		if x.ID == id && x.State == inspector.Open {
			e.mu.Unlock()
			x.State, x.EndedBy, x.Error, x.Detail = inspector.Done, "edge", tunnel.CodeClosed, "closed by the tunnel's owner"
			x.Timing.Done = e.now().Sub(x.Timing.Accepted)
			e.add(x)
			return nil
		}
	}
	e.mu.Unlock()
	return &tunnel.Error{Code: tunnel.CodeNotFound, Message: "no open connection of that tunnel has this id"}
}

func (e *demoEdge) CloseTunnel(_ context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.tunnels)
	if e.tunnels = slices.DeleteFunc(e.tunnels, func(t client.Tunnel) bool { return t.Subdomain == name }); len(e.tunnels) == n {
		return &tunnel.Error{Code: tunnel.CodeTunnelNotFound, Message: "no such tunnel"}
	}
	return nil
}

func (e *demoEdge) CloseConnections(ctx context.Context, name string) (n int, err error) {
	e.mu.Lock()
	list := slices.Clone(e.list)
	e.mu.Unlock()
	for _, x := range list {
		if x.State == inspector.Open && e.CloseConnection(ctx, name, x.ID) == nil {
			n++
		}
	}
	return n, nil
}

func (e *demoEdge) Stream(ctx context.Context, name string, o client.StreamOptions, fn func(inspector.Event) error) error {
	if name != "acme" && name != "db" {
		<-ctx.Done()
		return ctx.Err()
	}
	if o.Begun != nil {
		o.Begun()
	}
	last := o.Since
	for {
		e.mu.Lock()
		changed, gap := e.changed, e.gap
		e.gap = false
		if gap {
			last = 0
		}
		version := e.version
		var news []inspector.Exchange
		for _, x := range e.list {
			if x.Version > last {
				news = append(news, x.Light())
			}
		}
		last = version
		e.mu.Unlock()
		if gap {
			if err := fn(inspector.Event{Type: "gap", ID: version}); err != nil {
				return err
			}
		}
		for i := range news {
			if err := fn(inspector.Event{Type: "request", ID: news[i].Version, Exchange: &news[i]}); err != nil {
				return err
			}
		}
		e.mu.Lock()
		e.taken = last
		e.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// message1 is a message with pairs of headers and a body.
func message1(pairs ...string) inspector.Message {
	var m inspector.Message
	for len(pairs) > 1 {
		m.Header = append(m.Header, inspector.Field{Name: pairs[0], Value: pairs[1]})
		pairs = pairs[2:]
	}
	if len(pairs) == 1 {
		b := []byte(pairs[0])
		m.Header = append(m.Header, inspector.Field{Name: "Content-Length", Value: fmt.Sprint(len(b))})
		m.Body = inspector.Body{Size: int64(len(b)), Captured: int64(len(b)), Data: b, SHA256: strings.Repeat("9f86d081884c7d65", 4)}
	}
	return m
}

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

const stripeEvent = `{"id":"evt_1PqT9x2eZvKYlo2C","object":"event","api_version":"2026-06-30","created":1763819345,` +
	`"type":"invoice.paid","livemode":false,"pending_webhooks":1,"data":{"object":{"id":"in_1PqT9w","object":"invoice",` +
	`"amount_due":4200,"amount_paid":4200,"currency":"eur","customer":"cus_Qh8","customer_email":"ada@example.com",` +
	`"lines":{"object":"list","data":[{"id":"il_1","amount":3000,"description":"Pro plan, November"},{"id":"il_2","amount":1200,` +
	`"description":"2 extra seats"}],"has_more":false},"status":"paid","paid":true,"metadata":{"order":"A-1042"}}},` +
	`"request":{"id":null,"idempotency_key":"7c1e0a52-95b4-4b0e-9f6e-0a6f2f1f2a10"}}`

// demoList is the traffic, oldest first.
func demoList(now time.Time) []inspector.Exchange {
	at := func(s float64) time.Time { return now.Add(-time.Duration(s * float64(time.Second))) }
	n := uint64(1266)
	mk := func(ago float64, method, path string, status int, took time.Duration, req, resp inspector.Message) inspector.Exchange {
		n++
		x := inspector.Exchange{
			ID: fmt.Sprintf("req_%026d", n), Number: n, Tunnel: "acme", State: inspector.Done, Kind: inspector.HTTP,
			Method: method, Path: path, Scheme: "https", Host: "acme.lrok.example", Proto: "HTTP/1.1", TLS: "TLS 1.3",
			Remote: "203.0.113.7:51512", Status: status, Reason: reasons[status], Request: req, Response: resp,
		}
		switch path {
		case "/webhooks/stripe":
			x.Event = "invoice.paid"
		case "/webhooks/github":
			x.Event = "push"
		}
		x.Timing = inspector.Timing{
			Accepted: at(ago), StreamOpen: took / 40, Reused: true, Dial: took / 60, FirstByte: took * 9 / 10, Done: took,
		}
		return x
	}
	stripe := func(sig string) inspector.Message {
		return message1(
			"Host", "acme.lrok.example", "User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)", "Accept", "*/*; q=0.5, application/xml",
			"Content-Type", "application/json; charset=utf-8", "Stripe-Signature", sig, "X-Forwarded-For", "203.0.113.7", "Cache-Control", "no-cache",
			stripeEvent)
	}
	ms := time.Millisecond
	get := message1("Host", "acme.lrok.example", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/141.0", "Accept", "text/html", "Cookie", "session=s3cr3t-7d1f9a; theme=dark")
	list := []inspector.Exchange{
		mk(28, "DELETE", "/api/v1/sessions/9f2", 204, 9*ms, get, message1("Date", "Sun, 22 Nov 2026 14:02:03 GMT")),
		mk(24, "GET", "/", 304, 4*ms, get, message1("ETag", `"33a64df5"`)),
		mk(22, "GET", "/health", 502, 1*ms, get, message1("Content-Type", "text/html", "<h1>502</h1>")),
		mk(20, "PUT", "/upload/avatar.png", 201, 640*ms, message1("Content-Type", "image/png", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x80\x00\x00\x01\xe0\x08\x06\x00\x00\x00\x35\xd1\xdc\xe4"+strings.Repeat("\x00\x1f\x8a\xee", 300)), message1("Content-Type", "application/json", `{"ok":true}`)),
		mk(125, "GET", "/socket", 101, 0, message1("Upgrade", "websocket", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), message1("Upgrade", "websocket", "\x81\x05hello\x81\x10{\"tick\":1,\"a\":2}\x89\x00\x88\x05\x03\xe8bye")),
		mk(72, "GET", "/events", 200, 0, get, message1("Content-Type", "text/event-stream", "id: 1\nevent: tick\ndata: {\"n\":1}\n\n: ping\n\nid: 2\nevent: tick\ndata: {\"n\":2}\n\n")),
		mk(9, "POST", "/webhooks/github", 202, 18*ms, message1("X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "Content-Type", "application/x-www-form-urlencoded", "payload=%7B%22ref%22%3A%22main%22%7D&zen=Keep+it+logically+awesome.&tag=a&tag=b"), message1("Content-Type", "text/plain", "ok")),
		mk(6, "POST", "/webhooks/stripe", 500, 212*ms, stripe("t=1763819345,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"), message1("Content-Type", "application/json", "X-Request-Id", "7c1e0a52", `{"error":"relation \"invoices\" does not exist","code":"42P01","status":"open"}`)),
	}
	failed := &list[2]
	failed.Error, failed.Detail = tunnel.CodeUpstreamRefused, "dial tcp 127.0.0.1:3000: connect: connection refused"
	failed.EndedBy = ""
	list[4].Kind, list[4].State = inspector.WebSocket, inspector.Open
	list[5].Kind, list[5].State = inspector.SSE, inspector.Open
	replayed := mk(3, "POST", "/webhooks/stripe", 200, 41*ms, stripe("t=1763819345,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"), message1("Content-Type", "application/json", "X-Request-Id", "9d02c4f1", `{"received":true,"status":"paid"}`))
	replayed.ReplayOf = list[7].ID
	zip := message1("Content-Type", "application/json", "Content-Encoding", "gzip", zipped(`{"data":{"viewer":{"login":"ada","repositories":[`+strings.Repeat(`{"name":"lrok","stars":42},`, 200)+`null]}}}`))
	list = append(list, replayed,
		mk(2, "POST", "/graphql", 200, 91*ms, message1("Content-Type", "application/json", `{"query":"{ viewer { login } }"}`), zip),
		mk(1, "GET", "/favicon.ico", 404, 2*ms, get, message1("Content-Type", "text/plain", "not found")),
		mk(0.6, "GET", "/api/v1/users/42/orders?limit=50&page=2&sort=created&include=lines,customer", 200, 12*ms, get, message1("Content-Type", "application/json", `{"orders":[`+strings.Repeat(`{"id":1,"total":4200},`, 380)+`{}]}`)),
		mk(0.2, "POST", "/webhooks/stripe", 200, 38*ms, stripe("t=1763819351,v1=0257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"), message1("Content-Type", "application/json", `{"received":true}`)),
	)
	return list
}

var reasons = map[int]string{101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 304: "Not Modified", 404: "Not Found", 500: "Internal Server Error", 502: "Bad Gateway"}

// A demoAgent is an agent in a state of one's choice.
type demoAgent struct {
	mu      sync.Mutex
	status  agent.Status
	changed chan struct{}
	again   []int // the claims that were to be made again
}

func (a *demoAgent) Again(i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again = append(a.again, i)
}

func newDemoAgent(s agent.Status) *demoAgent {
	return &demoAgent{status: s, changed: make(chan struct{}, 1)}
}

func (a *demoAgent) Status() agent.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

func (a *demoAgent) Changed() <-chan struct{} { return a.changed }

func (a *demoAgent) SetTarget(name string, t agent.Target) {
	s := a.Status()
	s.Upstreams = slices.Clone(s.Upstreams)
	for i := range s.Upstreams {
		if s.Upstreams[i].Tunnel == name {
			s.Upstreams[i] = agent.Upstream{Tunnel: name, Local: t.String()}
		}
	}
	a.set(s)
}

func (a *demoAgent) set(s agent.Status) {
	a.mu.Lock()
	a.status = s
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// with is c on the tunnels of a.
func with(c Config, a Agent) Config {
	c.Agent = a
	return c
}

var demoGrants = []tunnel.Grant{{Kind: tunnel.HTTP, Name: "acme", URL: "https://acme.lrok.example"}}

func onlineStatus(now time.Time) agent.Status {
	return agent.Status{
		State: agent.Online, RTT: 23 * time.Millisecond, Since: now.Add(-time.Hour),
		Welcome:   tunnel.Welcome{Grants: append([]tunnel.Grant(nil), demoGrants...)},
		Upstreams: []agent.Upstream{{Tunnel: "acme", Local: "http://localhost:3000"}},
	}
}

var demoAsked = []Tunnel{{Kind: tunnel.HTTP, Name: "acme", Local: "http://localhost:3000"}}

var previewFlag = flag.String("preview", "", "run the screen on this terminal: live, empty, down, connecting, reconnecting, home, busy")

// TestMain runs the tests or, built with go test -c and run with -preview, shows
// the screen with the demo's traffic in a state that is hard to come by.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == JQCommand {
		JQ(os.Stdin, os.Stdout, os.Stderr)
		return
	}
	flag.Parse()
	if *previewFlag != "" {
		showState()
		return
	}
	os.Exit(m.Run())
}

func showState() {
	e := newDemoEdge(time.Now)
	now := time.Now()
	s := onlineStatus(now)
	c := Config{API: e, Tunnels: demoAsked, SendTest: func(context.Context, Tunnel) error {
		x := demoList(time.Now())[12]
		x.ID, x.Number = "", 0
		e.add(x)
		return nil
	}, Theme: os.Getenv("LROK_THEME"), ASCII: os.Getenv("LROK_ASCII") != ""}
	fill := func() {
		for _, x := range demoList(now) {
			e.add(x)
		}
	}
	switch *previewFlag {
	case "live":
		fill()
	case "busy":
		fill()
		go func() {
			for {
				time.Sleep(time.Second)
				for _, x := range demoList(time.Now())[9:] {
					x.ID, x.Number = "", 0
					x.Timing.Accepted = time.Now()
					e.add(x)
				}
			}
		}()
	case "down":
		s.Upstreams[0].Down, s.Upstreams[0].Err = true, "dial tcp 127.0.0.1:3000: connect: connection refused"
	case "connecting":
		s = agent.Status{State: agent.Connecting, Steps: []agent.Step{{Name: "resolve", Took: 12 * time.Millisecond, Done: true}, {Name: "tcp", Took: 21 * time.Millisecond, Done: true}, {Name: "tls", Took: 41 * time.Millisecond, Done: true}, {Name: "auth", Took: 0, Done: false}}}
	case "reconnecting":
		fill()
		s.State, s.Attempt, s.Next, s.Err, s.OfflineSince = agent.Reconnecting, 4, now.Add(3*time.Second), errors.New("read tcp 192.168.1.4:55555->203.0.113.9:7000: i/o timeout"), now.Add(-9*time.Second)
	case "home":
		c.Tunnels = nil
		e.tunnels = []client.Tunnel{
			{Subdomain: "acme", Kind: tunnel.HTTP, PublicURL: "https://acme.lrok.example", Local: "http://localhost:3000", CreatedAt: now.Add(-time.Hour), Online: true, Requests: 1284},
			{Subdomain: "docs", Kind: tunnel.HTTP, PublicURL: "https://docs.lrok.example", Local: "http://localhost:8080", CreatedAt: now.Add(-26 * time.Hour), Requests: 3},
		}
	}
	if *previewFlag != "home" {
		c.Agent = newDemoAgent(s)
	}
	if _, err := Run(context.Background(), c); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// What the screen asks for is what the client and the agent have.
var (
	_ API   = (*client.Client)(nil)
	_ Agent = (*agent.Agent)(nil)
)
