package tui

import (
	"testing"

	"github.com/lrok-dev/lrok/inspector"
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
