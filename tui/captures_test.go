package tui

import (
	"slices"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/filter"
)

// A delivery is compared with the last of its event; another event on the route
// will do when there is none.
func TestPreviousIsOfTheSameEvent(t *testing.T) {
	c := newCaptures()
	for i, event := range []string{"invoice.paid", "charge.refunded", "invoice.paid", "ping"} {
		c.put(inspector.Exchange{
			ID: sprintf("req_%d", i), Number: uint64(i + 1), Version: uint64(i + 1), Method: "POST", Path: sprintf("/hooks?n=%d", i), Event: event,
		}, frozen)
	}
	for id, want := range map[string]string{"req_2": "req_0", "req_1": "req_0", "req_3": "req_2"} {
		if p := c.previous(&c.byID[id].Exchange); p == nil || p.ID != want {
			t.Errorf("before %s: %v, want %s", id, p, want)
		}
	}
	if p := c.previous(&c.byID["req_0"].Exchange); p != nil {
		t.Errorf("before the first: %s", p.ID)
	}
}

// A filter over many captures takes its turns, and what happens between two of
// them counts as well.
func TestFilterInTurns(t *testing.T) {
	c := newCaptures()
	c.limit = 3*portion + 100
	version := uint64(0)
	put := func(n, status int) {
		version++
		c.put(inspector.Exchange{ID: sprintf("req_%d", n), Number: uint64(n), Version: version, Status: status}, frozen)
	}
	for n := 1; n <= c.limit; n++ {
		put(n, 200+300*b2i(n%7 == 0))
	}
	f, err := filter.Parse("status:500")
	if err != nil {
		t.Fatal(err)
	}
	c.filter("status:500", f, frozen)
	if c.sift == nil || len(c.shown) != c.limit {
		t.Fatalf("after the first turn %d are shown, want all of before until it is through", len(c.shown))
	}
	put(c.limit, 500)       // was seen, and is let through now
	put(c.limit-2, 200)     // stays away
	put(c.limit+1, 500)     // is new, and the oldest goes
	put(c.limit+2, 200)     // is not let through
	put(7*(c.limit/7), 200) // was found, and is let through no more
	put(8, 500)             // has not had its turn
	c.sieve(frozen)
	put(14, 200) // has not either
	if c.sift == nil {
		t.Fatal("it is through too soon")
	}
	turns := 2
	for ; c.sift != nil; turns++ {
		c.sieve(frozen)
	}
	if turns != 4 {
		t.Errorf("it took %d turns, want 4", turns)
	}
	var want, got []string
	for _, x := range c.all {
		if x.Status == 500 {
			want = append(want, x.ID)
		}
	}
	for _, x := range c.shown {
		got = append(got, x.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("shown are %v, want %v", got, want)
	}

	// The captures that were found first may be gone before it is through.
	c.filter("status:500", f, frozen)
	for n := c.limit + 3; n < 2*c.limit; n++ {
		put(n, 200)
	}
	for c.sift != nil {
		c.sieve(frozen)
	}
	for _, x := range c.shown {
		if c.byID[x.ID] != x || x.Status != 500 {
			t.Errorf("%s is shown", x.ID)
		}
	}
	c.filter("", nil, frozen)
	if len(c.shown) != len(c.all) {
		t.Errorf("without a filter %d of %d are shown", len(c.shown), len(c.all))
	}
}
