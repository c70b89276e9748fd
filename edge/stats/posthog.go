package stats

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/posthog/posthog-go"
)

// Analytics say where events go. They go nowhere unless there is a Key and On
// is true: one of the two alone does nothing at all.
type Analytics struct {
	Key      string // of a PostHog project
	On       bool
	Endpoint string // PostHog's own when empty
	// Dir is where the secret is kept that turns user ids into what PostHog sees
	// of them.
	Dir string
}

func (a Analytics) wanted() bool { return a.Key != "" && a.On }

// Check refuses an endpoint that is none, if it is needed.
func (a Analytics) Check() error {
	if !a.wanted() || a.Endpoint == "" {
		return nil
	}
	if u, err := url.Parse(a.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("PostHog's address %q is not a URL like %s", a.Endpoint, posthog.DefaultEndpoint)
	}
	return nil
}

const (
	// maxEvents is how many events wait to be sent; what is more is dropped.
	maxEvents = 1000
	// flushTimeout is how long the end of the edge waits for events to be sent.
	flushTimeout = 3 * time.Second
	secretFile   = "analytics.secret"
	secretSize   = 32
)

// An event says that something happened, without any name, host or address.
type event struct {
	name       string
	user       string // an id, or empty for the edge itself
	at         time.Time
	properties map[string]any
}

// A posthogSink sends events. A nil one takes them and does nothing.
type posthogSink struct {
	cfg      Analytics
	software string
	log      *slog.Logger
	now      func() time.Time

	queue   chan event
	unsent  atomic.Int64 // handed to the client, and neither sent nor given up
	dropped atomic.Int64
}

// newSink returns nil unless analytics are on. It makes no client yet.
func newSink(cfg Config) (*posthogSink, error) {
	a := cfg.Analytics
	if err := a.Check(); err != nil {
		return nil, err
	}
	if !a.wanted() {
		return nil, nil
	}
	a.Endpoint = cmp.Or(a.Endpoint, posthog.DefaultEndpoint)
	return &posthogSink{
		cfg: a, software: cfg.Software, log: cfg.Logger, now: cfg.Now,
		queue: make(chan event, maxEvents),
	}, nil
}

func (s *posthogSink) started() {
	s.put(event{name: "edge_started", at: s.now()})
}

func (s *posthogSink) opened(k *known) {
	if s == nil {
		return
	}
	s.put(event{name: "tunnel_opened", user: k.user, at: k.created, properties: map[string]any{"kind": string(k.kind)}})
}

func (s *posthogSink) closed(k *known, at time.Time) {
	if s == nil {
		return
	}
	s.put(event{name: "tunnel_closed", user: k.user, at: at, properties: map[string]any{
		"kind":             string(k.kind),
		"duration_seconds": int64(at.Sub(k.created) / time.Second),
		"requests":         k.last.requests,
		"connections":      k.last.connections,
		"bytes_in":         k.last.in,
		"bytes_out":        k.last.out,
	}})
}

// put never waits: it may be called under a lock.
func (s *posthogSink) put(e event) {
	select {
	case s.queue <- e:
	default:
		s.dropped.Add(1)
	}
}

// run sends events until ctx ends, and then for a moment what is left.
func (s *posthogSink) run(ctx context.Context) {
	secret, err := s.secret()
	if err != nil {
		s.log.Error("no analytics: the secret for user ids", "err", err)
		return
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	way := &bounded{ctx: sending, inner: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second,
	}}
	defer way.inner.CloseIdleConnections()
	client, err := posthog.NewWithConfig(s.cfg.Key, posthog.Config{
		Endpoint: s.cfg.Endpoint, Transport: way, Logger: quiet{s.log}, Callback: (*callback)(s),
	})
	if err != nil {
		s.log.Error("no analytics", "err", err)
		return
	}
	s.log.Info("analytics are on: events go to PostHog, without names, hosts and addresses", "to", s.cfg.Endpoint)
	for ctx.Err() == nil {
		select {
		case e := <-s.queue:
			s.send(client, secret, e)
		case <-ctx.Done():
		}
	}
	defer time.AfterFunc(flushTimeout, stop).Stop()
	for {
		select {
		case e := <-s.queue:
			s.send(client, secret, e)
			continue
		default:
		}
		break
	}
	_ = client.Close() // it ends when what was sent was answered, or stop was called
	if n := s.dropped.Load(); n > 0 {
		s.log.Warn("events for PostHog were dropped", "count", n)
	}
}

// send hands e to the client, which batches, tries again and sends. It has no
// bound of its own for what waits for an address that does not answer.
func (s *posthogSink) send(client posthog.Client, secret []byte, e event) {
	if s.unsent.Load() >= maxEvents {
		s.dropped.Add(1)
		return
	}
	p := posthog.NewProperties()
	for k, v := range e.properties {
		p.Set(k, v)
	}
	p.Set("software", s.software).Set("os", runtime.GOOS).Set("arch", runtime.GOARCH)
	// PostHog is to keep no profile of anybody and no address of the edge.
	p.Set("$process_person_profile", false).Set("$geoip_disable", true).Set("$ip", "0.0.0.0")
	s.unsent.Add(1)
	err := client.Enqueue(posthog.Capture{DistinctId: pseudonym(secret, e.user), Event: e.name, Timestamp: e.at, Properties: p})
	if err != nil {
		s.unsent.Add(-1)
		s.dropped.Add(1)
	}
}

// pseudonym is what PostHog sees of a user id: always the same from this edge,
// and nothing that could be turned back or compared with another edge's.
func pseudonym(secret []byte, user string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(user))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// secret reads the secret, or makes it.
func (s *posthogSink) secret() ([]byte, error) {
	path := filepath.Join(s.cfg.Dir, secretFile)
	b, err := os.ReadFile(path)
	switch {
	case err == nil && len(b) == secretSize:
		return b, nil
	case err == nil:
		return nil, fmt.Errorf("%s does not hold %d bytes", path, secretSize)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	b = make([]byte, secretSize)
	_, _ = rand.Read(b) // never fails
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	return b, errors.Join(err, f.Close())
}

// callback counts what the client is done with.
type callback posthogSink

func (c *callback) Success(posthog.APIMessage) { c.unsent.Add(-1) }

func (c *callback) Failure(posthog.APIMessage, error) {
	c.unsent.Add(-1)
	c.dropped.Add(1)
}

// quiet keeps the client's messages, which are about every try, out of the way.
type quiet struct{ log *slog.Logger }

func (q quiet) Logf(format string, args ...any) {
	q.log.Debug("posthog", "said", fmt.Sprintf(format, args...))
}

func (q quiet) Errorf(format string, args ...any) {
	q.log.Debug("posthog", "said", fmt.Sprintf(format, args...))
}

// bounded ends its requests with ctx and reads a bounded answer: the client
// waits for requests when it closes, and reads all of an error.
type bounded struct {
	ctx   context.Context
	inner *http.Transport
}

const maxAnswer = 64 << 10

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	resp, err := b.inner.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
