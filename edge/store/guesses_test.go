package store

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestGuessesSlowDown(t *testing.T) {
	now := time.Now()
	g := NewGuesses(func() time.Time { return now })
	p := AddressOf("192.0.2.1:4711")
	var got []time.Duration
	for range 10 {
		got = append(got, g.Refused(p))
	}
	if want := "[0s 0s 0s 250ms 500ms 1s 2s 4s 5s 5s]"; fmt.Sprint(got) != want {
		t.Errorf("held back %v, want %s", got, want)
	}
	if d := g.Refused(AddressOf("192.0.2.2:4711")); d != 0 {
		t.Errorf("another address waits %v, want no time", d)
	}
	g.Accepted(p)
	if d := g.Refused(p); d != 0 {
		t.Errorf("after a good key: %v, want no time", d)
	}
	for range 5 {
		g.Refused(p)
	}
	now = now.Add(ForgetAfter + time.Second)
	if d := g.Refused(p); d != 0 {
		t.Errorf("after %v: %v, want no time", ForgetAfter, d)
	}
}

// TestGuessesBounded is an attack from everywhere.
func TestGuessesBounded(t *testing.T) {
	now := time.Now()
	g := NewGuesses(func() time.Time { return now })
	for i := range maxFailed {
		if g.Refused(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)) != 0 {
			t.Fatalf("address %d waits at its first key", i)
		}
	}
	stranger := AddressOf("192.0.2.1:1")
	if d := g.Refused(stranger); d != LongestDelay || len(g.failed) != maxFailed {
		t.Errorf("one more waits %v with %d remembered, want %v and %d", d, len(g.failed), LongestDelay, maxFailed)
	}
	now = now.Add(ForgetAfter + time.Minute)
	if d := g.Refused(stranger); d != 0 || len(g.failed) != 1 {
		t.Errorf("when it is over: %v with %d remembered, want no time and one", d, len(g.failed))
	}
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
		if got := AddressOf(remote).String(); got != want {
			t.Errorf("AddressOf(%q) = %s, want %s", remote, got, want)
		}
	}
}
