package tui

import (
	"context"
	"errors"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

func nanoseconds(n int64) time.Duration { return time.Duration(n) }

// A replayedMsg is one finished replay of possibly several.
type replayedMsg struct {
	tunnel   string
	id       string // the original
	x        inspector.Exchange
	changes  inspector.Changes
	how      *manner // nil for as it was
	of, left int
	statuses []int
	touched  int // what model.touched was when it began
	err      error
}

// replay sends the selected request again, as often as the count says. It goes
// to one's own local service only, so nothing is asked.
func (m *model) replay() tea.Cmd {
	t := m.tab()
	x := m.selected()
	if m.focus == inDiff && t != nil {
		if m.outside != nil && m.diff.want.b == m.outside.ID {
			return m.elsewhereAgain()
		}
		x = t.byID[m.diff.want.b]
	}
	if x == nil {
		return nil
	}
	n := max(m.count, 1)
	if n == 1 {
		m.say(accent, "%s replaying %s%s", m.th.g.replay, number(&x.Exchange), m.th.g.ellipsis)
	} else {
		m.say(accent, "%s replaying %s, %d times%s", m.th.g.replay, number(&x.Exchange), n, m.th.g.ellipsis)
	}
	m.note.until = m.c.Now().Add(time.Minute)
	return m.send(replayedMsg{tunnel: t.Name, id: x.ID, of: n, left: n})
}

// send does the next replay of a run.
func (m *model) send(run replayedMsg) tea.Cmd {
	if run.left == run.of {
		run.touched = m.touched
	}
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, 2*time.Minute)
		defer cancel()
		first := run.left == run.of
		run.left--
		run.x, run.err = run.how.replay(ctx, m, run.id, run.changes, first)
		if e := (*tunnel.Error)(nil); errors.As(run.err, &e) && e.Code == "replay_truncated" {
			// The edge may have given its body up since the list was told of it.
			run.x, _ = m.c.API.Exchange(ctx, run.id)
		}
		run.statuses = append(run.statuses, run.x.Status)
		return run
	}
}

func (m *model) replayed(r replayedMsg) tea.Cmd {
	if r.err != nil {
		m.say(bad, "%s", m.notReplayed(&r))
		return nil
	}
	var t *tab
	for _, o := range m.tabs {
		if o.Name == r.tunnel {
			t = o
		}
	}
	if t == nil {
		return nil
	}
	watching := false
	if s := t.list.selected(t.captures); s != nil {
		watching = s.ID == r.id || s.ReplayOf == r.id
	}
	t.put(r.x, m.c.Now())
	t.list.settle(t.captures)
	if x := t.byID[r.x.ID]; x != nil && watching && t.shows(x) && m.focus != inDiff {
		t.list.choose(t.captures, x) // d then compares it with the original
	}
	if r.left > 0 {
		m.note.text = sprintf("%s %d of %d: %s", m.th.g.replay, r.of-r.left, r.of, tally(r.statuses))
		return m.send(r)
	}
	was := t.byID[r.id]
	ok := good
	if r.x.Erred() {
		ok = bad
	} else if r.x.Status >= 400 {
		ok = warn
	}
	switch {
	case r.of > 1:
		m.say(ok, "%s replayed %d times: %s", m.th.g.replay, r.of, tally(r.statuses))
	case was != nil:
		m.say(ok, "%s %s answered %s in %s, was %s", m.th.g.replay, number(&r.x), outcome(&r.x, &m.th.g),
			took(&r.x, m.c.Now()), outcome(&was.Exchange, &m.th.g))
	default:
		m.say(ok, "%s %s answered %s", m.th.g.replay, number(&r.x), outcome(&r.x, &m.th.g))
	}
	m.note.until = m.c.Now().Add(20 * time.Second)
	x := t.byID[r.x.ID]
	if x != nil && !t.shows(x) {
		m.note.text += "; the filter hides it"
	}
	if was == nil || x == nil {
		return nil
	}
	// The answer to one replay opens beside the first one, unless the person has
	// gone on to something else: then it is offered.
	if m.focus == inDiff && m.diff.want.b == r.id || r.of == 1 && m.touched == r.touched && m.focus != inHome && m.tab() == t {
		return m.openDiff(r.id, r.x.ID)
	}
	m.note.a, m.note.b = r.id, r.x.ID
	return m.compare(m.pairOf(was, x))
}

// notReplayed is why a capture was not sent again.
func (m *model) notReplayed(r *replayedMsg) string {
	if why := missing(&r.x, false); r.x.ID == r.id && why != "" {
		s := number(&r.x) + " cannot be sent again: " + why
		if !r.x.Request.Body.Truncated() {
			s += "; e sends what came"
		}
		return s
	}
	return m.because(r.id, r.err)
}

// tally counts statuses: "4 x 200, 1 x 500".
func tally(list []int) string {
	var order []int
	n := map[int]int{}
	for _, s := range list {
		if n[s] == 0 {
			order = append(order, s)
		}
		n[s]++
	}
	var out []string
	for _, s := range order {
		name := sprintf("%d", s)
		if s == 0 {
			name = "no answer"
		}
		out = append(out, sprintf("%d x %s", n[s], name))
	}
	return strings.Join(out, ", ")
}
