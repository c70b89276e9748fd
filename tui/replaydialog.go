package tui

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/signature"
)

// A replayDialog asks how a request is to be sent again: signed anew, to which
// address, how often. What goes to another address leaves from this machine, and
// only after a question.
type replayDialog struct {
	x       inspector.Exchange // without bodies
	tunnel  string
	sources []signature.Source // who may sign it
	sign    int                // of sources, -1 for nobody
	keep    bool               // Host stays what it was
	to      field
	times   input
	delay   input
	row     int
	wrong   string
	top     int // of the box, as it was drawn
	caret   tea.Position
}

// The rows of the dialog.
const (
	rowSign = iota
	rowTo
	rowHost
	rowTimes
	rowDelay
	replayRows
)

// A manner is how a replay differs from sending the same bytes the same way.
type manner struct {
	sign     *signature.Source
	to       string // an address that is not the tunnel's, "" for the tunnel
	keepHost bool
	delay    time.Duration
}

func (m *model) startReplayDialog() tea.Cmd {
	t, x := m.tab(), m.selected()
	if t == nil || x == nil {
		return nil
	}
	if x.Kind == inspector.WebSocket || x.Kind == inspector.Upgraded {
		m.say(warn, "an upgraded connection cannot be replayed")
		return nil
	}
	d := &replayDialog{x: x.Exchange, tunnel: t.Name, to: m.field("replay-to", "")}
	d.know(m)
	d.times.set(strconv.Itoa(max(m.count, 1)))
	d.delay.set("0s")
	m.over = d
	return nil
}

// know takes in whose secrets are known: the one whose signature the request
// carries is chosen.
func (d *replayDialog) know(m *model) {
	d.sources, d.sign = m.signers(&d.x), -1
	if src, err := signature.Pick(&d.x, d.sources, ""); err == nil && signature.Detect(&d.x) != "" {
		d.sign = slices.IndexFunc(d.sources, func(s signature.Source) bool { return s.Name == src.Name })
	}
}

// unsignable reports whether there is nobody to sign, but a secret would do.
func (d *replayDialog) unsignable() bool {
	return d.row == rowSign && len(d.sources) == 0 && signature.Detect(&d.x) != ""
}

// askSecret leaves the dialog for the time that it takes to give a secret.
func (d *replayDialog) askSecret(m *model) tea.Cmd {
	m.over = nil
	back := func(m *model) tea.Cmd { m.over = d; return nil }
	return m.askSecret(&d.x, func(m *model, _ signature.Source) tea.Cmd { d.know(m); return back(m) }, back)
}

// signers are the sources that can sign x: whose signature it has first.
func (m *model) signers(x *inspector.Exchange) []signature.Source {
	var first, others []signature.Source
	has, err := signature.Pick(x, m.c.Secrets, "")
	for _, s := range m.c.Secrets {
		switch {
		case len(s.Secrets) == 0:
		case err == nil && s.Name == has.Name:
			first = append(first, s)
		default:
			others = append(others, s)
		}
	}
	return append(first, others...)
}

func (d *replayDialog) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	d.wrong = ""
	switch k.String() {
	case "esc":
		m.over = nil
	case "enter":
		return d.send(m)
	case "tab", "down":
		d.row = (d.row + 1) % replayRows
	case "shift+tab", "up":
		d.row = (d.row + replayRows - 1) % replayRows
	case "space":
		if d.unsignable() {
			return d.askSecret(m)
		}
		d.write(k)
	default:
		d.write(k) // ctrl-p and ctrl-n: addresses of before
	}
	return nil
}

// write takes a key or a paste into the row in front.
func (d *replayDialog) write(msg tea.Msg) {
	step := 0
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "space", "right", "l":
			step = 1
		case "left", "h":
			step = -1
		}
	}
	switch d.row {
	case rowSign:
		n := len(d.sources) + 1
		d.sign = (d.sign+1+step+n)%n - 1
	case rowHost:
		if step != 0 {
			d.keep = !d.keep
		}
	case rowTo:
		d.to.update(msg)
	case rowTimes:
		d.times.update(msg)
	case rowDelay:
		d.delay.update(msg)
	}
}

func (d *replayDialog) paste(_ *model, msg tea.PasteMsg) tea.Cmd {
	d.write(msg)
	return nil
}

func (d *replayDialog) click(m *model, msg tea.MouseClickMsg) tea.Cmd {
	if i := msg.Y - d.top - 2; i >= 0 && i < replayRows {
		d.row = i
		if i == rowSign || i == rowHost {
			return d.press(m, tea.KeyPressMsg{Code: tea.KeySpace})
		}
		return nil
	}
	m.over = nil
	return nil
}

func (d *replayDialog) wheel(_ *model, n int) tea.Cmd {
	d.row = max(min(d.row+n, replayRows-1), 0)
	return nil
}

// send starts the run, or asks first when it goes elsewhere.
func (d *replayDialog) send(m *model) tea.Cmd {
	n, err := strconv.Atoi(strings.TrimSpace(d.times.text()))
	if err != nil || n < 1 || n > 1000 {
		d.row, d.wrong = rowTimes, "times is a number from 1 to 1000"
		return nil
	}
	how := &manner{keepHost: d.keep}
	if s := strings.TrimSpace(d.delay.text()); s != "" {
		if how.delay, err = time.ParseDuration(s); err != nil || how.delay < 0 || how.delay > time.Minute {
			d.row, d.wrong = rowDelay, "the delay is a time like 500ms or 2s, a minute at most"
			return nil
		}
	}
	if d.sign >= 0 {
		how.sign = &d.sources[d.sign]
	}
	run := replayedMsg{tunnel: d.tunnel, id: d.x.ID, of: n, left: n, how: how}
	if how.to = strings.TrimSpace(d.to.text()); how.to == "" {
		m.over = nil
		return m.again(&d.x, run)
	}
	if m.c.SendTo == nil {
		d.row, d.wrong = rowTo, "nothing can be sent to other addresses from here"
		return nil
	}
	if !strings.Contains(how.to, "://") {
		how.to = "http://" + how.to
	}
	if u, err := url.Parse(how.to); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		d.row, d.wrong = rowTo, "say http://host:port, with a path or without"
		return nil
	}
	m.over = nil
	d.to.keep(how.to)
	x := d.x
	m.askElsewhere(x, run, func(m *model) tea.Cmd { m.over = d; return nil })
	return nil
}

// again says that a run starts, and starts it.
func (m *model) again(x *inspector.Exchange, run replayedMsg) tea.Cmd {
	what := number(x)
	if run.of > 1 {
		what += sprintf(", %d times", run.of)
	}
	if run.how.sign != nil {
		what += ", signed again"
	}
	m.say(accent, "%s replaying %s%s", m.th.g.replay, what, m.th.g.ellipsis)
	m.note.until = m.c.Now().Add(time.Minute)
	if run.how.to != "" {
		return m.sendElsewhere(run)
	}
	return m.send(run)
}

// replay sends the capture of that id through its tunnel once more.
func (how *manner) replay(ctx context.Context, m *model, id string, ch inspector.Changes, first bool) (inspector.Exchange, error) {
	if how == nil {
		return m.c.API.Replay(ctx, id, ch)
	}
	if err := how.wait(ctx, first); err != nil {
		return inspector.Exchange{}, err
	}
	if how.sign != nil {
		x, err := m.c.API.Exchange(ctx, id)
		if err != nil {
			return x, err
		}
		if ch, err = signature.Sign(&x, ch, *how.sign, m.c.Now()); err != nil {
			return x, err
		}
	}
	return m.c.API.Replay(ctx, id, ch)
}

func (how *manner) wait(ctx context.Context, first bool) error {
	if first || how.delay <= 0 {
		return nil
	}
	t := time.NewTimer(how.delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An elsewhereMsg is one finished request to another address.
type elsewhereMsg struct{ replayedMsg }

// An outside is an answer that came from another address: no capture of any
// tunnel, but one to compare with. The screen keeps the last.
type outside struct {
	capture
	run replayedMsg // how it came about
}

func (m *model) sendElsewhere(run replayedMsg) tea.Cmd {
	if run.left == run.of {
		run.touched = m.touched
	}
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, 3*time.Minute)
		defer cancel()
		first := run.left == run.of
		run.left--
		msg := elsewhereMsg{replayedMsg: run}
		if msg.err = run.how.wait(ctx, first); msg.err != nil {
			return msg
		}
		x, err := m.c.API.Exchange(ctx, run.id)
		ch := run.changes
		if err == nil && run.how.sign != nil {
			ch, err = signature.Sign(&x, ch, *run.how.sign, m.c.Now())
		}
		if err == nil {
			msg.x, err = m.c.SendTo(ctx, run.how.to, &x, ch, run.how.keepHost)
		}
		msg.err = err
		msg.statuses = append(msg.statuses, msg.x.Status)
		return msg
	}
}

func (msg elsewhereMsg) arrive(m *model) tea.Cmd {
	if msg.err != nil {
		m.say(bad, "%s", m.because(msg.id, msg.err))
		return nil
	}
	if msg.left > 0 {
		m.note.text = sprintf("%s %d of %d: %s", m.th.g.replay, msg.of-msg.left, msg.of, tally(msg.statuses))
		return m.sendElsewhere(msg.replayedMsg)
	}
	r := good
	if msg.x.Erred() {
		r = bad
	} else if msg.x.Status >= 400 {
		r = warn
	}
	_, host, _ := strings.Cut(msg.how.to, "://")
	host, _, _ = strings.Cut(host, "/")
	if msg.of > 1 {
		m.say(r, "%s %s answered %d times: %s", m.th.g.replay, host, msg.of, tally(msg.statuses))
	} else {
		m.say(r, "%s %s answered %s in %s", m.th.g.replay, host, statusText(&msg.x, &m.th.g), took(&msg.x, m.c.Now()))
	}
	m.record(r, "%s was sent to %s: %s", number(&msg.x), msg.how.to, tally(msg.statuses))
	m.note.until = m.c.Now().Add(20 * time.Second)
	was := m.capture(msg.id)
	if was == nil {
		return nil
	}
	again := m.outside != nil && m.focus == inDiff && m.diff.want.b == m.outside.ID
	m.sent++
	msg.x.ID = sprintf("sent-%d", m.sent)
	m.outside = &outside{capture{Exchange: msg.x}, msg.replayedMsg}
	// As with a replay through the tunnel.
	if again || msg.of == 1 && m.touched == msg.touched && m.tab() != nil && m.tab().Name == msg.tunnel {
		return m.openDiff(msg.id, m.outside.ID)
	}
	m.note.a, m.note.b = msg.id, m.outside.ID
	return m.compare(m.pairOf(was, &m.outside.capture))
}

// elsewhereAgain sends a request to the other address once more.
func (m *model) elsewhereAgain() tea.Cmd {
	run, was := m.outside.run, m.capture(m.outside.run.id)
	if was == nil {
		m.say(warn, "the request is gone from the list")
		return nil
	}
	n := max(m.count, 1)
	run.of, run.left, run.statuses = n, n, nil
	m.askElsewhere(was.Exchange, run, nil)
	return nil
}

// askElsewhere asks before anything leaves this machine for another address.
func (m *model) askElsewhere(x inspector.Exchange, run replayedMsg, change func(*model) tea.Cmd) {
	m.ask = &question{
		text:  "send " + number(&x) + " from this machine to " + run.how.to + ", cookies and keys included?",
		brief: "send to " + run.how.to + "?",
		choices: []choice{
			{"y", "send", func(m *model) tea.Cmd { return m.again(&x, run) }},
			{"esc", "cancel", func(m *model) tea.Cmd { m.say(text, "nothing was sent"); return nil }},
		},
	}
	if change != nil {
		m.ask.choices = slices.Insert(m.ask.choices, 1, choice{"e", "change", change})
	}
}

func (d *replayDialog) cursor(*model) *tea.Cursor {
	if d.row == rowSign || d.row == rowHost {
		return nil
	}
	return tea.NewCursor(d.caret.X, d.caret.Y)
}

func (d *replayDialog) draw(m *model, w, h int) []string {
	width := min(66, w-6)
	const label = 12
	elsewhere := strings.TrimSpace(d.to.text()) != ""
	var rows []string
	at := 0 // where the cursor stands in its row
	row := func(i int, name string, fill func(l *line)) {
		l := m.th.line(width)
		mark := " "
		if i == d.row {
			mark = m.th.g.bar
		}
		l.put(accent, mark+" ")
		r := dim
		if i == d.row {
			r = strong
		}
		l.cell(r, name, label)
		l.gap(1)
		fill(&l)
		rows = append(rows, l.String())
	}
	// say puts the first of the texts that has room, and the last one anyway.
	say := func(l *line, r role, texts ...string) {
		for i, s := range texts {
			if i == len(texts)-1 || m.th.width(s) <= l.room() {
				l.put(r, s)
				return
			}
		}
	}
	choose := func(l *line, i int, s string) {
		if i == d.row {
			s = "< " + s + " >"
		}
		l.put(text, s)
	}
	write := func(i int, in *input, l *line) {
		if i == d.row {
			f := field{input: *in}
			at = f.draw(m, l, l.room()-1)
			return
		}
		l.put(text, in.text())
	}
	row(rowSign, "sign again", func(l *line) {
		switch {
		case len(d.sources) == 0 && signature.Detect(&d.x) == "":
			say(l, dim, "it carries no signature that is known here", "it is not signed")
		case len(d.sources) == 0:
			l.put(dim, "no; ")
			l.put(hotkey, "space")
			say(l, dim, " takes the "+signature.Detect(&d.x)+" secret", ": secret")
		case d.sign < 0:
			choose(l, rowSign, "no")
		default:
			s := d.sources[d.sign]
			name := s.Name
			if name != s.Provider {
				name += ", " + s.Provider
			}
			choose(l, rowSign, name)
			l.put(dim, "  with "+s.Secrets[0].From)
		}
	})
	row(rowTo, "send to", func(l *line) {
		if !elsewhere && d.row != rowTo {
			say(l, dim, "the tunnel's local service; or http://host:port", "the tunnel's local service", "the service")
			return
		}
		write(rowTo, &d.to.input, l)
	})
	row(rowHost, "Host", func(l *line) {
		switch {
		case !elsewhere:
			say(l, dim, "kept, as all that goes through the tunnel", "kept")
		case d.keep:
			choose(l, rowHost, "kept: "+d.x.Host)
		default:
			choose(l, rowHost, "that of the address")
		}
	})
	row(rowTimes, "times", func(l *line) { write(rowTimes, &d.times, l) })
	row(rowDelay, "delay", func(l *line) { write(rowDelay, &d.delay, l) })
	l := m.th.line(width)
	l.gap(2)
	switch {
	case d.wrong != "":
		l.put(bad, m.th.g.no+" "+d.wrong)
	case elsewhere:
		say(&l, warn, "sent from this machine, cookies and keys included; asks first", "from this machine; asks first")
	default:
		say(&l, dim, "sent through the tunnel to the local service", "through the tunnel")
	}
	rows = append(rows, l.String())
	title := "Replay " + number(&d.x) + " " + d.x.Method + " "
	title += m.th.shortPath(d.x.Path, max(width-m.th.width(title)-2, 1))
	box := m.box(title, rows, width)
	x, y := max((w-width-4)/2, 0), max((h-len(box))/2, 0)
	d.top = y - 1
	d.caret = tea.Position{X: x + 2 + at, Y: y + 1 + d.row}
	return box
}

func (d *replayDialog) tips(*model) []tip {
	press := func(k tea.KeyPressMsg) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return d.press(m, k) }
	}
	list := []tip{
		{"enter", "send", press(tea.KeyPressMsg{Code: tea.KeyEnter})},
		{"esc", "cancel", press(tea.KeyPressMsg{Code: tea.KeyEscape})},
		{"tab", "next", press(tea.KeyPressMsg{Code: tea.KeyTab})},
	}
	if d.unsignable() {
		list = append(list, tip{"space", "give the secret", d.askSecret})
	} else if d.row == rowSign && len(d.sources) > 0 || d.row == rowHost {
		list = append(list, tip{"space", "change", press(tea.KeyPressMsg{Code: tea.KeySpace})})
	}
	return list
}
