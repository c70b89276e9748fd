package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/edge/domains"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/stats"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// A Store is what the edge keeps: a [*store.Store]. Its errors that are a
// *[tunnel.Error] are for the caller's eyes.
type Store interface {
	Authenticate(ctx context.Context, key string) (store.User, store.Key, error)
	// Working reports whether a key that was good still is. It waits for nothing.
	Working(keyID string) bool

	User(id string) (store.User, bool)
	Users() []store.User
	AddUser(ctx context.Context, by, name string, l store.Limits) (store.User, error)
	RemoveUser(ctx context.Context, by, id string) error
	SetLimits(ctx context.Context, by, id string, l store.Limits) error

	Keys(user string) []store.Key
	CreateKey(ctx context.Context, by, user, name string, expires time.Time) (k store.Key, secret string, err error)
	RevokeKey(ctx context.Context, by, user, id string) error

	Reservation(name string) (store.Reservation, bool)
	Reservations(user string) []store.Reservation
	ReservationLimit(user string) int
	Reserve(ctx context.Context, by, user, name string) (store.Reservation, error)
	Unreserve(ctx context.Context, by, user, name string) error

	Audit(ctx context.Context, e store.Entry) error
	Entries(ctx context.Context, before int64, limit int) ([]store.Entry, error)
}

// A Replayer sends a captured request again, to t's local service, and returns
// the id of the new exchange once it is in t's ring.
type Replayer interface {
	Replay(ctx context.Context, t *registry.Tunnel, x inspector.Exchange, c inspector.Changes) (id string, err error)
}

// Connections are those of tunnels without HTTP.
type Connections interface {
	// CloseConnections closes the open connection of t that was captured under that
	// id, all of them if it is empty, and returns how many those were.
	CloseConnections(t *registry.Tunnel, id string) int
}

// Config says what the API works on. Store and Registry are needed. What is nil
// of the others is answered with [tunnel.CodeUnsupported].
type Config struct {
	Store       Store
	Registry    *registry.Registry
	Replayer    Replayer
	Connections Connections
	Domains     *domains.Domains
	Certs       certs.Source
	Stats       *stats.Stats

	Software string // "lrok 0.1.0"
	Domain   string
	Limits   tunnel.Limits
	// TunnelLimit is how many tunnels a user may have online, 0 for any number;
	// nil is no limit for anybody.
	TunnelLimit func(user string) int
	// Guesses counts the keys that were refused at other doors as well; nil is one
	// of its own.
	Guesses *store.Guesses
	Logger  *slog.Logger // nil discards

	// ReplayWait is how long a replay's answer is waited for; 0 means 30 s.
	ReplayWait time.Duration
	Now        func() time.Time
}

type api struct {
	cfg     Config
	log     *slog.Logger
	mux     *http.ServeMux
	doc     func() []byte // the OpenAPI document, made when it is first asked for
	refused *refusals
}

// New returns the API's handler. It serves /api/v1/ and /__lrok/api/v1/ and
// answers 404 to everything else. It is for a server that sets no write
// timeout, since event streams do not end.
func New(cfg Config) http.Handler {
	if cfg.ReplayWait <= 0 {
		cfg.ReplayWait = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Guesses == nil {
		cfg.Guesses = store.NewGuesses(cfg.Now)
	}
	a := &api{
		cfg: cfg, log: discard(cfg.Logger), mux: http.NewServeMux(),
		refused: &refusals{guesses: cfg.Guesses},
	}
	byPath := make(map[string]map[string]route)
	for _, rt := range a.routes() {
		if byPath[rt.path] == nil {
			byPath[rt.path] = make(map[string]route)
		}
		byPath[rt.path][rt.method] = rt
	}
	for p, methods := range byPath {
		for _, base := range bases {
			a.mux.Handle(base+p, a.dispatch(base, methods))
		}
	}
	a.mux.HandleFunc("/", a.nowhere)
	a.doc = sync.OnceValue(func() []byte { return openAPI(a.routes(), cfg.Software) })
	return a
}

// prefix is where the API is on its own host. On hosts that are no tunnel it has
// a second place, which no app behind a tunnel will miss.
const prefix = "/api/v1"

var bases = []string{prefix, "/__lrok" + prefix}

// ServeHTTP implements [http.Handler].
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	// Nearly all that is told here is somebody's own.
	h.Set("Cache-Control", "no-store")
	if r.ContentLength != 0 {
		// The server reads the rest of a body that was refused before it sends the
		// answer, and would wait for that for ever.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	p := r.URL.Path
	// The mux would redirect an unclean path; an API has nothing to gain by it.
	if path.Clean(p) != p {
		a.nowhere(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

func (a *api) nowhere(w http.ResponseWriter, r *http.Request) {
	a.fail(w, r, &tunnel.Error{
		Code:    tunnel.CodeNotFound,
		Message: "there is no such route",
		Hint:    "the routes are in " + prefix + "/openapi.json",
	})
}

// answerTimeout is how long a caller may take to read an answer that has an end.
const answerTimeout = 5 * time.Minute

// dispatch picks the route of one path by its method and lets in who may call
// it.
func (a *api) dispatch(base string, methods map[string]route) http.Handler {
	allow := allowed(methods)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rt, ok := methods[r.Method]
		if !ok && r.Method == http.MethodHead {
			if rt, ok = methods[http.MethodGet]; ok && rt.endless {
				ok = false
			}
		}
		if !ok {
			w.Header().Set("Allow", allow)
			a.fail(w, r, &tunnel.Error{
				Code:    codeMethod,
				Message: r.Method + " is not for this route",
				Hint:    "it knows " + allow,
			})
			return
		}
		if !rt.endless {
			rc := http.NewResponseController(w)
			_ = rc.SetWriteDeadline(time.Now().Add(answerTimeout))
			defer func() { _ = rc.SetWriteDeadline(time.Time{}) }() // the next request on the connection has its own
		}
		c, err := a.admit(r, rt.who)
		if err == nil {
			err = checkQuery(r, rt.query)
		}
		if err != nil {
			a.fail(w, r, err)
			return
		}
		if rt.takes == nil && r.ContentLength != 0 {
			// Nothing is read that nobody asked for.
			r.Body = http.MaxBytesReader(w, r.Body, 0)
		}
		c.base = base
		if err := rt.serve(w, r, c); err != nil {
			a.fail(w, r, err)
		}
	})
}

// admit finds out who calls, and whether they may.
func (a *api) admit(r *http.Request, who who) (call, error) {
	if who == anybody {
		return call{}, nil
	}
	key, ok := bearer(r)
	if !ok {
		return call{}, &tunnel.Error{
			Code:    tunnel.CodeKey,
			Message: "no key was given",
			Hint:    "send it as Authorization: Bearer lrok_...",
		}
	}
	from := store.AddressOf(r.RemoteAddr)
	user, k, err := a.cfg.Store.Authenticate(r.Context(), key)
	if err != nil {
		if e := (*tunnel.Error)(nil); errors.As(err, &e) && !a.refused.hold(r.Context(), from) {
			return call{}, errHurry
		}
		return call{}, err
	}
	a.refused.guesses.Accepted(from)
	if who == anAdmin && !user.Admin {
		return call{}, &tunnel.Error{
			Code:    tunnel.CodeForbidden,
			Message: "only administrators of the edge may do this",
			Hint:    "ask whoever runs the edge, or call it with an administrator's key",
		}
	}
	return call{user: user, key: k}, nil
}

// bearer returns the key in the Authorization header.
func bearer(r *http.Request) (string, bool) {
	if len(r.Header["Authorization"]) != 1 {
		return "", false
	}
	scheme, key, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	key = strings.TrimSpace(key)
	return key, ok && strings.EqualFold(scheme, "Bearer") && key != ""
}
