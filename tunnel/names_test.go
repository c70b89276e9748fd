package tunnel

import (
	"errors"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"shop": true, "shop-2": true, "3000": true, "a": true, strings.Repeat("a", 63): true, "a-b--c": true,
		"": false, strings.Repeat("a", 64): false, "-shop": false, "shop-": false, "Shop": false,
		"shop_1": false, "shop.dev": false, "shöp": false, "xn--shp-sna": false, "sh op": false, "shop\n": false,
		"api": false, "www": false, "tunnel": false, "tcp": false, "dashboard": false, "admin": false, "lrok": false,
	} {
		err := CheckName(name)
		if got := ValidName(name); got != want || got != (err == nil) {
			t.Errorf("ValidName(%q) = %v (%v), want %v", name, got, err, want)
		}
		if e := (*Error)(nil); err != nil && (!errors.As(err, &e) || e.Code != CodeNameInvalid) {
			t.Errorf("CheckName(%q) = %v, want %s", name, err, CodeNameInvalid)
		}
	}
}

func TestDefaultName(t *testing.T) {
	if n := len(adjectives) * len(animals); n < 10_000 {
		t.Errorf("%d pairs, want 10000 at least", n)
	}
	for _, words := range [][]string{adjectives, animals} {
		seen := map[string]bool{}
		for _, w := range words {
			if seen[w] {
				t.Errorf("%s is there twice", w)
			}
			if seen[w] = true; !ValidName(w) {
				t.Errorf("%s is no valid name", w)
			}
		}
	}
	// The same on every edge and in every version: names are in people's
	// webhook settings.
	if got, want := DefaultName("u1", "/home/ann/shop:3000", 0), "scarlet-lynx"; got != want {
		t.Errorf("DefaultName = %s, want %s", got, want)
	}
	names := map[string]bool{}
	for attempt := range 5 {
		a, b := DefaultName("u1", "p", attempt), DefaultName("u1", "p", attempt)
		if a != b {
			t.Errorf("attempt %d: %s, then %s", attempt, a, b)
		}
		if !ValidName(a) {
			t.Errorf("%s is no valid name", a)
		}
		names[a] = true
	}
	if len(names) < 5 {
		t.Errorf("5 attempts gave %d names: %v", len(names), names)
	}
	if DefaultName("u1", "p", 0) == DefaultName("u2", "p", 0) && DefaultName("u1", "q", 0) == DefaultName("u2", "q", 0) {
		t.Error("two users get the same names")
	}
}
