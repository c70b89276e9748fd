package api

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

func TestRefusalsSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRefusals(time.Now)
		p := addressOf("192.0.2.1:4711")
		took := func(p netip.Prefix) time.Duration {
			began := time.Now()
			if !f.hold(t.Context(), p) {
				t.Error("there was no room to wait")
			}
			return time.Since(began)
		}
		var got []time.Duration
		for range 10 {
			got = append(got, took(p))
		}
		want := "[0s 0s 0s 250ms 500ms 1s 2s 4s 5s 5s]"
		if fmt.Sprint(got) != want {
			t.Errorf("held back %v, want %s", got, want)
		}
		if d := took(addressOf("192.0.2.2:4711")); d != 0 {
			t.Errorf("another address waits %v, want no time", d)
		}
		f.forgive(p)
		if d := took(p); d != 0 {
			t.Errorf("after a good key: %v, want no time", d)
		}
		for range 5 {
			took(p)
		}
		time.Sleep(forgetAfter + time.Second)
		if d := took(p); d != 0 {
			t.Errorf("after %v: %v, want no time", forgetAfter, d)
		}
	})
}

// TestRefusalsBounded is an attack from everywhere.
func TestRefusalsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRefusals(time.Now)
		for i := range maxFailed {
			if f.note(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)) != 0 {
				t.Fatalf("address %d waits at its first key", i)
			}
		}
		stranger := addressOf("192.0.2.1:1")
		if d := f.note(stranger); d != longestDelay || len(f.failed) != maxFailed {
			t.Errorf("one more waits %v with %d remembered, want %v and %d", d, len(f.failed), longestDelay, maxFailed)
		}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range maxHeld {
			wg.Go(func() { f.hold(ctx, stranger) })
		}
		synctest.Wait()
		if f.hold(ctx, stranger) {
			t.Errorf("more than %d answers wait", maxHeld)
		}
		cancel()
		wg.Wait()
		if f.held != 0 {
			t.Errorf("%d answers wait, and nobody is there", f.held)
		}
		time.Sleep(forgetAfter + time.Minute)
		if d := f.note(stranger); d != 0 || len(f.failed) != 1 {
			t.Errorf("when it is over: %v with %d remembered, want no time and one", d, len(f.failed))
		}
	})
}

func TestAddressOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80":           "192.0.2.1/32",
		"192.0.2.1":              "192.0.2.1/32",
		"[::ffff:192.0.2.1]:80":  "192.0.2.1/32",
		"[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64",
		"2001:db8:1:2::9":        "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":      "fe80::/64",
		"agents":                 "invalid Prefix",
		"":                       "invalid Prefix",
	} {
		if got := addressOf(remote).String(); got != want {
			t.Errorf("addressOf(%q) = %s, want %s", remote, got, want)
		}
	}
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
	for range freeFailures {
		timed("bad", 401)
	}
	if d := timed("bad", 401); d < firstDelay {
		t.Errorf("the fourth refusal came after %v, want it held back for %v", d, firstDelay)
	}
	// No key is no try.
	for range 5 {
		timed("", 401)
	}
	timed("ada", 200)
	for range freeFailures {
		timed("revoked", 401)
	}
	if d := timed("expired", 401); d < firstDelay {
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
