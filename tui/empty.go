package tui

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// drawEmpty is what stands where the list will be: how the connection comes
// along, and then how to send the first request.
func (m *model) drawEmpty(out []string, r rect) []string {
	var rows []string
	t := m.tab()
	switch {
	case m.fate(t) != "":
		rows = m.closedRows(t, r)
	case m.granted():
		rows = m.invitation(t, r)
	default:
		rows = m.connecting(r)
	}
	if len(rows) > r.h {
		rows = rows[:r.h]
	}
	for range min((r.h-len(rows))/3, 4) {
		out = append(out, "")
	}
	return append(out, rows...)
}

// closedRows say why nothing comes of a tunnel.
func (m *model) closedRows(t *tab, r rect) []string {
	var rows []string
	add := func(how role, s string, n int) {
		for _, s := range firstRows(s, r.w-6, n) {
			l := m.th.line(r.w)
			l.gap(min(3, r.w/10))
			l.put(how, s)
			rows = append(rows, l.String())
		}
	}
	what, why, hint := "This tunnel is closed.", m.fate(t), ""
	if m.refused(t) {
		what = "This tunnel could not be started."
		why, hint = m.upstream(t).Dropped.Message, m.upstream(t).Dropped.Hint
	}
	add(strong, what, 1)
	rows = append(rows, "")
	add(bad, why, 4)
	if hint != "" {
		add(text, hint, 3)
	}
	if m.lacking() == t {
		rows = append(rows, "")
		add(accent, m.askedAgain(t), 1)
	}
	if len(m.tabs) > 1 && t.link.agent != nil && t.link.status.State == agent.Online {
		rows = append(rows, "")
		add(dim, "The others are not affected.", 1)
	}
	return rows
}

// connecting lists the steps to the edge with the time each took.
func (m *model) connecting(r rect) []string {
	var rows []string
	add := func(f func(*line)) {
		l := m.th.line(r.w)
		l.gap(min(3, r.w/10))
		f(&l)
		rows = append(rows, l.String())
	}
	s := &m.link().status
	add(func(l *line) { l.put(strong, "Connecting"); l.put(dim, m.th.g.ellipsis) })
	rows = append(rows, "")
	for i, step := range s.Steps {
		add(func(l *line) {
			switch {
			case step.Done:
				l.put(good, m.th.g.ok+" ")
				l.cell(text, step.Name, min(34, max(r.w-14, 8)))
				l.right(dim, format.Duration(step.Took), 6)
			case i == 0 || s.Steps[i-1].Done:
				l.put(accent, m.th.g.right+" ")
				l.put(strong, step.Name+m.th.g.ellipsis)
			default:
				l.put(dim, m.th.g.dot+" "+step.Name)
			}
		})
	}
	if why := m.waitsFor(); why != "" {
		rows = append(rows, "")
		for _, s := range firstRows(why, r.w-min(3, r.w/10)-1, 4) {
			add(func(l *line) { l.put(text, s) })
		}
	}
	if s.Err != nil {
		rows = append(rows, "")
		for i, s := range firstRows(message(s.Err), r.w-min(3, r.w/10)-3, 4) {
			add(func(l *line) {
				if i == 0 {
					l.put(warn, m.th.g.warn)
				}
				l.to(min(3, r.w/10) + 2)
				l.put(warn, s)
			})
		}
		if wait := s.Next.Sub(m.c.Now()); wait > 0 {
			add(func(l *line) {
				l.put(dim, sprintf("  attempt %d failed; next in %s", max(s.Attempt, 1), format.Duration(wait)))
			})
		}
	}
	if t := m.tab(); t != nil && t.Local != "" {
		rows = append(rows, "")
		add(func(l *line) { l.put(dim, "for "); l.put(text, t.Local) })
	}
	return rows
}

// public is how to get a public URL instead of one for this machine.
func (m *model) public() string {
	if m.home != nil {
		return "lrok login HOST"
	}
	return "--edge HOST"
}

// waitsFor is what the connection hangs on, and where, once that takes long.
func (m *model) waitsFor() string {
	s := &m.link().status
	if len(s.Steps) == 0 || s.Edge == "" || s.Since.IsZero() || m.c.Now().Sub(s.Since) < 3*time.Second {
		return ""
	}
	step := s.Steps[len(s.Steps)-1]
	if step.Done {
		return ""
	}
	host, port, err := net.SplitHostPort(s.Edge)
	if err != nil {
		return ""
	}
	switch step.Name {
	case "resolve":
		return "waiting for the DNS to tell the address of " + host
	case "tcp":
		return sprintf("waiting for %s to answer on port %s; a firewall may be in between", host, port)
	case "tls":
		return sprintf("waiting for the TLS handshake with %s", s.Edge)
	case "auth":
		return sprintf("waiting for %s to check the key and give the address", s.Edge)
	}
	return sprintf("waiting for %s to send a byte through the tunnel and back", s.Edge)
}

// invitation says that the tunnel is up and how to call it. The code for a
// phone stands at its left where there is room.
func (m *model) invitation(t *tab, r rect) []string {
	type part struct {
		r role
		s string
	}
	var says [][]part
	say := func(p ...part) { says = append(says, p) }
	// What is left out where the rows do not suffice, from the last one on.
	var spare []int
	perhaps := func(p ...part) {
		spare = append(spare, len(says))
		say(p...)
	}
	up := part{strong, "Your tunnel is up. "}
	if r.w < 48 {
		up.s = "" // the first row has a mark for it
	}
	if t.flow.away && t.link.agent == nil {
		say(part{warn, "Its lrok is away, so nothing comes through. "})
	} else if t.seen > 0 {
		if r.w >= 48 {
			up.s = "The list is clear. "
		}
		say(up, part{text, "New " + strings.TrimPrefix(t.things(2), "2 ") + " show up here."})
	} else if isHTTP(t) && t.flow.hidden && t.flow.calls > 0 {
		say(up, part{text, plural(int(t.flow.calls), "request") + " so far."})
	} else if isHTTP(t) {
		say(up, part{text, "Nothing has called it yet."})
	} else {
		say(up, part{text, "Nobody has connected yet."})
	}
	perhaps()
	say(part{accent, "  " + t.URL})
	if t.Direct != "" {
		say(part{dim, "  or "}, part{text, t.Direct})
	}
	where := t.Local
	if r.w < 48 {
		where = short(where)
	}
	local := []part{{dim, "  " + m.th.g.both + " "}, {text, where}}
	u := m.down()
	switch {
	case u != nil:
		s := "  " + m.th.g.no + " not answering"
		if age := downFor(u, m.c.Now()); age != "" {
			s += " for " + age
		}
		local = append(local, part{bad, s})
	case t.link.agent != nil && len(t.link.status.Upstreams) > 0:
		local = append(local, part{good, "  " + m.th.g.ok + " answers"})
	}
	say(local...)
	if near := m.nearby(); near != "" {
		say(part{accent, "    " + near})
	}
	perhaps()
	if how, speaks := howTo(t.Tunnel); !isHTTP(t) && how != "" {
		if speaks != "" {
			speaks = " with " + speaks
		}
		perhaps(part{dim, "  Connect" + speaks})
		// Only the command, for a drag to take it as it is.
		say(part{accent, "  " + how})
		perhaps()
		perhaps(part{hotkey, "  y   "}, part{text, "copy it, or the URL"})
		perhaps(part{hotkey, "  ?   "}, part{text, "all keys"})
		perhaps()
	}
	if isHTTP(t) {
		perhaps(part{dim, "  Try it"})
		if m.c.SendTest != nil {
			perhaps(part{hotkey, "  t   "}, part{text, "send a test request to yourself"})
		}
		perhaps(part{hotkey, "  y   "}, part{text, "copy the URL"})
		if m.browser != nil {
			perhaps(part{hotkey, "  o   "}, part{text, "open it in the browser"})
		}
		perhaps(part{hotkey, "  ?   "}, part{text, "all keys"})
		perhaps()
	}
	if t.link.edge.LocalOnly {
		for i, s := range wrapWords("Local only: this edge runs on this machine and nobody else can call it. For a public URL: "+m.public(), min(r.w-4, 50)) {
			head, rest, found := strings.Cut(s, ": ")
			if i > 0 || !found {
				say(part{text, "  " + s})
				continue
			}
			say(part{warn, "  " + head + ": "}, part{text, rest})
		}
		perhaps()
	}
	about := "The bytes pass as they are; the first 256 each way are kept."
	switch {
	case isHTTP(t) && t.flow.hidden:
		about = "Requests are counted and not captured (--no-inspect)."
	case isHTTP(t):
		about = "Captures stay in memory, for you alone."
	case t.flow.hidden:
		about = "Connections are counted and not listed (--no-inspect)."
	case t.Kind == tunnel.TLS:
		about = "TLS ends at your service: the edge sees only ciphertext."
	}
	for _, s := range wrapWords(about, r.w-4) {
		perhaps(part{dim, "  " + s})
	}
	var wrong []part
	if u != nil {
		consequence := "Callers get a 502 page that says so; requests are captured all the same."
		if !isHTTP(t) {
			consequence = "Whoever connects is cut off at once, and shows up here all the same."
		}
		for i, s := range firstRows(u.Err, r.w-5, 3) {
			mark := m.th.g.warn + " "
			if i > 0 {
				mark = "  "
			}
			wrong = append(wrong, part{bad, mark + s})
		}
		if r.h >= 12 {
			for _, s := range wrapWords(consequence, r.w-5) {
				wrong = append(wrong, part{dim, "  " + s})
			}
		}
	}
	for len(spare) > 0 && len(says)+len(wrong)+b2i(u != nil) > r.h {
		at := spare[len(spare)-1]
		spare = spare[:len(spare)-1]
		says = slices.Delete(says, at, at+1)
	}

	left, between := 3, 4
	if r.w < 100 {
		left, between = 1, 3
	}
	need := 0
	for _, parts := range says {
		w := 0
		for _, p := range parts {
			w += m.th.width(p.s)
		}
		need = max(need, w)
	}
	var code []string
	if r.h >= 18 && isHTTP(t) && !m.onlyHere(t) {
		code = m.qr(t.URL)
		if len(code) > 0 && (len(code) > r.h-3 || left+m.th.columns(code[0])+between+need > r.w) {
			code = nil
		}
	}
	codeW := 0
	if len(code) > 0 {
		codeW = m.th.columns(code[0])
	}
	var rows []string
	skip := 0
	if len(code) > len(says) {
		skip = (len(code) - len(says)) / 2
	}
	for i := range max(len(code), len(says)+skip) {
		l := m.th.line(r.w)
		l.gap(left)
		s := ""
		if i < len(code) {
			s = l.String() + code[i]
			l = m.th.line(r.w - left - codeW)
			l.gap(between)
		} else if codeW > 0 {
			l.gap(codeW + between)
		}
		if k := i - skip; k >= 0 && k < len(says) {
			for _, p := range says[k] {
				l.put(p.r, p.s)
			}
		}
		rows = append(rows, s+l.String())
	}
	if u != nil {
		if len(rows)+len(wrong) < r.h {
			rows = append(rows, "")
		}
		for _, p := range wrong {
			l := m.th.line(r.w)
			l.gap(left)
			l.put(p.r, p.s)
			rows = append(rows, l.String())
		}
	}
	return rows
}
