package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/signature"
)

// What the signature of the request in the detail is worth: one line on its
// Request tab. The digest of a body of megabytes takes
// a while, so a command makes it.

// A judgedMsg is the verdict on one state of a capture.
type judgedMsg struct {
	id      string
	version uint64
	verdict signature.Verdict
	signed  bool // there is one
}

// judge starts what the line of the capture in the detail takes.
func (m *model) judge() tea.Cmd {
	o := m.detail.whole
	if o == nil || m.judging.id == o.x.ID && m.judging.version == o.x.Version {
		return nil
	}
	if m.judging.id != o.x.ID {
		m.judging = judgedMsg{id: o.x.ID}
	}
	m.judging.version = o.x.Version // what was said before stays until there is news
	x, sources, job := o.x, m.c.Secrets, m.judging
	var original *inspector.Exchange
	if was := m.find(x.ReplayOf); was != nil {
		original = &was.x
	}
	return func() tea.Msg {
		if original == nil && x.ReplayOf != "" && len(sources) > 0 {
			if was, err := m.c.API.Exchange(m.ctx, x.ReplayOf); err == nil {
				original = &was // it may be gone: then less is known
			}
		}
		job.verdict, job.signed = signature.Judge(&x, sources, "", original)
		return job
	}
}

func (msg judgedMsg) arrive(m *model) tea.Cmd {
	if m.judging.id == msg.id && m.judging.version == msg.version {
		m.judging = msg
	}
	return nil
}

// verdictRows are the line for x, and where that is too narrow, what explains it
// below. There are none while there is nothing to say.
func (m *model) verdictRows(x *capture, width int) []string {
	if m.judging.id != x.ID || !m.judging.signed {
		return nil
	}
	v := m.judging.verdict
	if v.Cause == signature.NoSecret {
		l := m.th.line(width)
		what := v.Provider + " signature not checked: "
		if m.th.width(what)+len("K takes the secret") > width {
			what = v.Provider + " not checked: "
		}
		l.put(dim, what)
		l.put(hotkey, "K")
		l.put(dim, " takes the secret")
		return []string{l.String()}
	}
	name := v.Provider
	if v.Source != "" && v.Source != v.Provider {
		name += " (" + v.Source + ")"
	}
	r, head, detail := bad, m.th.g.no+" "+name+" signature: "+strings.ReplaceAll(string(v.Cause), "_", " "), text
	switch v.Cause {
	case signature.Valid:
		r, head, detail = good, m.th.g.ok+" "+name+" signature valid", dim
	case signature.BodyIncomplete: // nothing is known against it
		r, head = warn, m.th.g.warn+head[len(m.th.g.no):]
	}
	l := m.th.line(width)
	l.put(r, head)
	if m.th.width(v.Detail)+2 <= l.room() || m.lay.detail.h < 16 {
		l.gap(2)
		l.put(detail, v.Detail)
		return []string{l.String()}
	}
	rows := []string{l.String()}
	for _, s := range wrapWords(v.Detail, width-2) {
		l := m.th.line(width)
		l.gap(2)
		l.put(detail, s)
		rows = append(rows, l.String())
	}
	return rows
}
