package tunnel

import (
	"errors"
	"slices"
	"strconv"
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

// TestPairs looks at every name that the edge may choose: people send them to
// their customers.
func TestPairs(t *testing.T) {
	unwanted := strings.Fields(`anal anus arse ass bastard beaver bitch boob breast butt cock cougar cunt damn dick
		dumb fag fat fuck gay hell horny hump idiot kill lesb naked nazi negro nigg nude penis piss poop porn prick
		pubi pussy rape retard satan semen sex shit shower slave slut spic stupid suck tit tramp twat ugly vagi vulva
		wank wet whore xxx`)
	words := map[string]bool{}
	for _, w := range slices.Concat(adjectives, animals) {
		if words[w] {
			t.Errorf("%s is there twice", w)
		}
		words[w] = true
		for _, bad := range unwanted {
			if strings.Contains(w, bad) && w != "cassowary" {
				t.Errorf("%s has %s in it", w, bad)
			}
		}
	}
	// Harmless alone, and together only until somebody has an idea.
	for _, a := range strings.Fields("dirty easy fast hairy loose moist naughty tight willing") {
		for _, b := range strings.Fields("chick donkey fox hen kitten pony rabbit") {
			if words[a] && words[b] {
				t.Errorf("%s-%s may be chosen", a, b)
			}
		}
	}
	pairs := map[string]bool{}
	for _, a := range adjectives {
		for _, b := range animals {
			pairs[a+"-"+b] = true
		}
	}
	if len(pairs) < 10_000 || len(pairs) != len(adjectives)*len(animals) {
		t.Errorf("%d different pairs of %d and %d words, want all and 10000 at least", len(pairs), len(adjectives), len(animals))
	}
	for name := range pairs {
		if !ValidName(name) {
			t.Errorf("%s is no valid name", name)
		}
	}
	// The pairs above are those that are used.
	for i := range 2000 {
		if name := DefaultName("u", strconv.Itoa(i), 0); !pairs[name] {
			t.Fatalf("the edge would choose %s, which is no pair", name)
		}
	}
}

func TestDefaultName(t *testing.T) {
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
