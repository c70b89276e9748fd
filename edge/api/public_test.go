package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/forward"
	"github.com/lrok-dev/lrok/edge/store"
)

// TestRefusedKeysWaitBehindProxy: it is the one who tries keys who waits, and
// not all who come through the same proxy. Who is no proxy cannot be another.
func TestRefusedKeysWaitBehindProxy(t *testing.T) {
	for name, trusted := range map[string]bool{"trusted": true, "not trusted": false} {
		t.Run(name, func(t *testing.T) {
			guesses := store.NewGuesses(time.Now)
			f := newFixtureOf(t, store.Options{}, func(c *Config) { c.Guesses = guesses })
			cfg := forward.Config{Registry: f.registry, Domain: "lrok.example", API: f.api}
			if trusted {
				cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
			fw := forward.New(cfg)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { _ = fw.Run(ctx) })
			wg.Go(func() { _ = fw.Serve(ln, nil) })
			tr := &http.Transport{}
			defer func() {
				tr.CloseIdleConnections()
				_ = fw.Shutdown(ctx)
				cancel()
				wg.Wait()
			}()
			try := func(from string) time.Duration {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+ln.Addr().String()+prefix+"/me", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "api.lrok.example"
				req.Header = f.as("bad")
				req.Header.Set("X-Forwarded-For", from)
				began := time.Now()
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != 401 {
					t.Errorf("status = %d, want 401", resp.StatusCode)
				}
				return time.Since(began)
			}
			for range store.FreeGuesses {
				try("198.51.100.1")
			}
			if d := try("198.51.100.1"); d < store.FirstDelay {
				t.Errorf("the fourth refusal came after %v, want it held back", d)
			}
			// From here on the next delay is twice the first, or the longest there is.
			if trusted {
				for range 10 {
					guesses.Refused(store.AddressOf("198.51.100.1:1"))
				}
			}
			if d := try("198.51.100.2"); trusted && d >= store.LongestDelay || !trusted && d < 2*store.FirstDelay {
				t.Errorf("somebody else's first refusal came after %v", d)
			}
		})
	}
}
