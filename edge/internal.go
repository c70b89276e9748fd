package edge

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"
)

// A check is one thing that an edge needs to do its work.
type check struct {
	name string
	// serious is one without which no request gets through. With a store that
	// cannot be written, tunnels go on: whoever looks at /readyz to send traffic
	// must not take them away.
	serious bool
	problem func() string // empty when all is well
}

func (e *Edge) checks() []check {
	return []check{
		{"listeners", true, func() string {
			if !e.ready.Load() {
				return "draining"
			}
			return ""
		}},
		{"certificate", true, func() string {
			if name := "tunnel." + e.cfg.Domain; !e.certs.Status().Covers(name) {
				return "none is valid for " + name + ", which agents connect to"
			}
			return ""
		}},
		{"store", false, func() string {
			if err := e.store.Healthy(); err != nil {
				return err.Error()
			}
			return ""
		}},
	}
}

// internalHandler answers those who run the edge: liveness, readiness as a whole
// and by check, metrics, and Traefik.
func (e *Edge) internalHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		var b strings.Builder
		status := http.StatusOK
		for _, c := range e.checks() {
			problem := c.problem()
			switch {
			case problem == "":
				fmt.Fprintf(&b, "ok %s\n", c.name)
			case c.serious:
				status = http.StatusServiceUnavailable
				fmt.Fprintf(&b, "fail %s: %s\n", c.name, problem)
			default:
				fmt.Fprintf(&b, "degraded %s: %s\n", c.name, problem)
			}
		}
		answerText(w, status, b.String())
	})
	for _, c := range e.checks() {
		mux.HandleFunc("GET /readyz/"+c.name, func(w http.ResponseWriter, _ *http.Request) {
			if problem := c.problem(); problem != "" {
				answerText(w, http.StatusServiceUnavailable, "fail "+c.name+": "+problem+"\n")
				return
			}
			answerText(w, http.StatusOK, "ok "+c.name+"\n")
		})
	}
	mux.Handle("GET /metrics", e.stats.Metrics())
	mux.Handle("GET /traefik.json", e.domains.Traefik())
	if e.cfg.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func answerText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
