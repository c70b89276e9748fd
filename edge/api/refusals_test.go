package api

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// TestRefusalsBounded: there is room for so many who wait.
func TestRefusalsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &refusals{guesses: store.NewGuesses(time.Now)}
		stranger := store.AddressOf("192.0.2.1:1")
		for range store.FreeGuesses {
			f.hold(t.Context(), stranger)
		}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range maxHeld {
			wg.Go(func() { f.hold(ctx, stranger) })
		}
		synctest.Wait()
		began := time.Now()
		if f.hold(ctx, stranger) || time.Since(began) > 0 {
			t.Errorf("more than %d answers wait", maxHeld)
		}
		cancel()
		wg.Wait()
		if n := f.held.Load(); n != 0 {
			t.Errorf("%d answers wait, and nobody is there", n)
		}
	})
}

// TestRefusedKeysWait tries keys over real connections. Good ones never wait.
func TestRefusedKeysWait(t *testing.T) {
	f := newFixture(t)
	timed := func(who string, status int) time.Duration {
		began := time.Now()
		if resp := f.send(who, "GET", "/me", ""); resp.StatusCode != status {
			t.Errorf("%q: %d, want %d", who, resp.StatusCode, status)
		}
		return time.Since(began)
	}
	for range store.FreeGuesses {
		timed("bad", 401)
	}
	if d := timed("bad", 401); d < store.FirstDelay {
		t.Errorf("the fourth refusal came after %v, want it held back for %v", d, store.FirstDelay)
	}
	// No key is no try.
	for range 5 {
		timed("", 401)
	}
	timed("ada", 200)
	for range store.FreeGuesses {
		timed("revoked", 401)
	}
	if d := timed("expired", 401); d < store.FirstDelay {
		t.Errorf("a refusal after a good key and three bad ones came after %v, want it held back", d)
	}
}

// TestRefusalSaysWhy: whoever has the key may know what became of it, and the
// answer does not repeat it.
func TestRefusalSaysWhy(t *testing.T) {
	f := newFixture(t)
	for who, want := range map[string]string{"revoked": "was revoked", "expired": "expired", "bad": "does not know"} {
		p := refused(t, f.send(who, "GET", "/me", ""), 401, tunnel.CodeKey)
		if !strings.Contains(p.Detail, want) || strings.Contains(p.Detail+p.Hint, f.keys[who]) {
			t.Errorf("%s: %q, want %q in it and no key", who, p.Detail, want)
		}
	}
}
