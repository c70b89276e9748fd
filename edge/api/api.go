package api

import (
	"context"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// An Authenticator knows whose a key is. Its error is a *[tunnel.Error] of
// [tunnel.CodeKey] for a key that is refused.
type Authenticator interface {
	Authenticate(ctx context.Context, key string) (store.User, store.Key, error)
}

// A Replayer sends a captured request again, to t's local service, and returns
// the id of the new exchange once it is in t's ring.
type Replayer interface {
	Replay(ctx context.Context, t *registry.Tunnel, x inspector.Exchange, c inspector.Changes) (id string, err error)
}

// Config says what the API works on.
type Config struct {
	Store    Authenticator
	Registry *registry.Registry
	Replayer Replayer
	Software string // "lrok 0.1.0"
	Domain   string
	Limits   tunnel.Limits
	Logger   *slog.Logger // nil discards

	// ReplayWait is how long a replay's answer is waited for; 0 means 30 s.
	ReplayWait time.Duration
	Now        func() time.Time
}

type api struct {
	cfg Config
	log *slog.Logger
	mux *http.ServeMux
	doc []byte // the OpenAPI document
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
	a := &api{cfg: cfg, log: discard(cfg.Logger), mux: http.NewServeMux()}
	byPath := make(map[string]map[string]route)
	for _, rt := range a.routes() {
		if byPath[rt.path] == nil {
			byPath[rt.path] = make(map[string]route)
		}
		byPath[rt.path][rt.method] = rt
	}
	for p, methods := range byPath {
		a.mux.Handle(prefix+p, a.dispatch(methods))
	}
	a.mux.HandleFunc("/", a.nowhere)
	a.doc = openAPI(a.routes(), cfg.Software)
	return a
}

const prefix = "/api/v1"

// ServeHTTP implements [http.Handler].
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if rest, ok := strings.CutPrefix(r.URL.Path, "/__lrok/"); ok {
		r2 := *r
		u := *r.URL
		u.Path = "/" + rest
		u.RawPath = strings.TrimPrefix(u.RawPath, "/__lrok")
		r2.URL = &u
		r = &r2
	}
	p := r.URL.Path
	// The mux would redirect an unclean path; an API has nothing to gain by it.
	if !strings.HasPrefix(p, prefix+"/") || path.Clean(p) != p {
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

// dispatch picks the route of one path by its method and lets in who may call
// it.
func (a *api) dispatch(methods map[string]route) http.Handler {
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
		c := call{}
		if rt.who != anybody {
			key, ok := bearer(r)
			if !ok {
				a.fail(w, r, &tunnel.Error{
					Code:    tunnel.CodeKey,
					Message: "no key was given",
					Hint:    "send it as Authorization: Bearer lrok_...",
				})
				return
			}
			var err error
			if c.user, c.key, err = a.cfg.Store.Authenticate(r.Context(), key); err != nil {
				a.fail(w, r, err)
				return
			}
		}
		if !rt.body && r.ContentLength != 0 {
			// Nothing is read that nobody asked for.
			r.Body = http.MaxBytesReader(w, r.Body, 0)
		}
		if err := rt.serve(w, r, c); err != nil {
			a.fail(w, r, err)
		}
	})
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
