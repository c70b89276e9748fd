package tui

import (
	"strings"
	"testing"
)

// Of a body that was not captured whole a search and jq say how much they saw, not
// that there is nothing.
func TestOfACutBody(t *testing.T) {
	m := modelWith(t, 100, 30, 3)
	x := demoList(frozen)[0]
	x.Request = message1("Content-Type", "application/json", `{"orders":[{"id":1},{"id":2`)
	x.Request.Body.Size = 5452595
	m.whole(x)
	m.do("l")
	for m.detail.tab != tabRequest {
		m.do("]")
	}
	if s := m.shows(); !strings.Contains(s, "captured 27 bytes of 5.2 MiB (edge") {
		t.Errorf("want what is missing of the body, and why:\n%s", s)
	}
	const where = `"zebra" is not in what was captured: 27 bytes of 5.2 MiB`
	m.do("/")
	m.typed("zebra")
	if s := m.shows(); !strings.Contains(s, where) {
		t.Errorf("want how much was searched:\n%s", s)
	}
	m.note = note{}
	m.do("n")
	if s := m.shows(); !strings.Contains(s, where) {
		t.Errorf("n says it again:\n%s", s)
	}
	m.do("=")
	m.typed(".orders[].id")
	if s := m.shows(); !strings.Contains(s, "jq: only 27 bytes of 5.2 MiB was captured, which is not whole JSON") {
		t.Errorf("want why jq cannot read it:\n%s", s)
	}
	m.note = note{}
	m.do("/")
	m.typed("orders")
	if s := m.shows(); !strings.Contains(s, "/ 1 of 1") || strings.Contains(s, "was captured") {
		t.Errorf("what is found counts as ever:\n%s", s)
	}
}

func TestPartOf(t *testing.T) {
	for want, n := range map[string][2]int64{
		"1.0 of 5.2 MiB": {1 << 20, 5452595}, "640 bytes of 5.2 MiB": {640, 5452595}, "1 byte of 640 bytes": {1, 640},
	} {
		if got := partOf(n[0], n[1]); got != want {
			t.Errorf("partOf(%d, %d) = %q, want %q", n[0], n[1], got, want)
		}
	}
}
