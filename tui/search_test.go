package tui

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
)

// do presses keys and does what comes of them.
func (m testModel) do(keys ...string) {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown}
	for _, k := range keys {
		msg := tea.KeyPressMsg{Code: special[k]}
		if msg.Code == 0 {
			msg = tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
		}
		m.run(m.msg(msg))
	}
}

// typed enters s at what asks for text.
func (m testModel) typed(s string) {
	m.do(strings.Split(s, "")...)
	m.do("enter")
}

// detailOf is a screen with the request that has this body in the detail.
func detailOf(t testing.TB, w, h int, contentType, body string) testModel {
	t.Helper()
	m := modelWith(t, w, h, 3)
	x := demoList(frozen)[0]
	x.Request = message1("Content-Type", contentType, body)
	m.whole(x)
	m.do("l")
	for m.detail.tab != tabRequest {
		m.do("]")
	}
	return m
}

const orders = `{"orders":[{"id":1,"name":"Ada"},{"id":2,"name":"Grace"},{"id":3,"name":"ada again"}],"total":3}`

func TestSearchInBody(t *testing.T) {
	m := detailOf(t, 100, 30, "application/json", orders)
	pager := m.detail.pager()
	m.do("/")
	m.typed("ada")
	if s := m.shows(); !strings.Contains(s, "/ 1 of 2") {
		t.Fatalf("want the first of two matches:\n%s", s)
	}
	line := func() string {
		b, _ := pager.c.line(nil, nil, pager.cur.line)
		return strings.TrimSpace(string(b))
	}
	for _, step := range []struct{ key, want, count string }{
		{"n", `"name": "ada again"`, "2 of 2"},
		{"n", `"name": "Ada"`, "1 of 2"}, // round the end
		{"N", `"name": "ada again"`, "2 of 2"},
	} {
		m.do(step.key)
		if got := line(); got != step.want || !strings.Contains(m.shows(), "/ "+step.count) {
			t.Errorf("%s goes to %s, want %s as %s:\n%s", step.key, got, step.want, step.count, m.shows())
		}
	}
	// What a closed fold hides is opened.
	pager.foldAll(true)
	m.do("n")
	if got := line(); got != `"name": "Ada"` {
		t.Errorf("n stops at %s, want it within the fold", got)
	}
	// From where a person has moved, not from the last match.
	m.do("G", "N")
	if got := line(); got != `"name": "ada again"` {
		t.Errorf("N from the end goes to %s", got)
	}
	m.do("esc")
	if s := m.shows(); strings.Contains(s, " of 2") || m.focus != inDetail {
		t.Errorf("esc ends the search and nothing else:\n%s", s)
	}
}

func TestSearchAsShown(t *testing.T) {
	m := detailOf(t, 100, 30, "application/json", orders)
	for query, want := range map[string]string{
		`"id": 2`:      " of 1", // the body has no blank there
		`~"id":\s*\d~`: " of 3",
		"~gra.e":       " of 1",
		"zebra":        "none",
	} {
		m.do("/")
		m.typed(query)
		if s := m.shows(); !strings.Contains(s, want) {
			t.Errorf("%s: want %s:\n%s", query, want, s)
		}
	}
	m.do("/")
	m.do("~", "(", "enter")
	if s := m.shows(); !strings.Contains(s, "missing closing )") || m.prompt == nil {
		t.Errorf("want the mistake in the pattern to be told:\n%s", s)
	}
	m.do("esc")
	if s := m.shows(); !strings.Contains(s, "/ none") && !strings.Contains(s, " of ") {
		t.Errorf("esc brings the search before back:\n%s", s)
	}
}

func TestSearchGoesToOtherTabs(t *testing.T) {
	m := detailOf(t, 100, 30, "application/json", orders)
	m.do("/")
	m.typed("content-type")
	if s := m.shows(); !strings.Contains(s, "/ none, ") {
		t.Errorf("want to be told where else it is:\n%s", s)
	}
	m.do("n")
	if s := m.shows(); m.detail.tab == tabRequest || !strings.Contains(s, "/ 1 of ") {
		t.Errorf("n goes to the tab that has it:\n%s", s)
	}
}

// The matches of a long line are found within it, and no key waits for them.
func TestSearchInOneLongLine(t *testing.T) {
	body := strings.Repeat("lorem ipsum ", 5<<20/12) + "needle and " + strings.Repeat("dolor ", 1000)
	m := detailOf(t, 80, 24, "text/plain", body)
	m.do("/")
	m.typed("needle")
	if s := m.shows(); !strings.Contains(s, "needle") || !strings.Contains(s, "dolor") || !strings.Contains(s, "/ 1 of 1") {
		t.Fatalf("the match is not on the screen:\n%s", s)
	}
	m.do("/")
	m.typed("ipsum")
	if s := m.shows(); !strings.Contains(s, " of 100,000+") {
		t.Fatalf("want the matches to be counted up to a limit:\n%s", s)
	}
	best := time.Hour
	for range 10 {
		began := time.Now()
		m.key("n")
		best = min(best, time.Since(began))
	}
	if best > slack*2*time.Millisecond {
		t.Errorf("n took %v at best", best)
	}
}

// A search that is typed over does not come back.
func TestSearchIsCancelled(t *testing.T) {
	m := detailOf(t, 100, 30, "application/json", orders)
	f := &m.detail.find
	f.set("ada")
	first := f.sync(m.model, &m.detail)
	f.set("grace")
	m.run(f.sync(m.model, &m.detail))
	m.run(first)
	if got := f.count(tabRequest); got != "1 of 1" {
		t.Errorf("count = %s, want that of the search in front", got)
	}
}

func BenchmarkSearchKey(b *testing.B) {
	m := detailOf(b, 120, 36, "application/json", largeJSON(5<<20))
	m.do("/")
	m.typed("lovelace")
	b.Run("next", func(b *testing.B) {
		for b.Loop() {
			m.key("n")
		}
	})
	b.Run("view", func(b *testing.B) {
		for b.Loop() {
			m.View()
		}
	})
}
