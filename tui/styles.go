package tui

import (
	"image/color"
	"strings"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/inspector/format"
)

// Themes are the names of themes. Auto follows the terminal's background.
var Themes = []string{"auto", "dark", "light", "mono", "contrast"}

// A role is what a piece of text is on the screen. Panes name roles, never
// colours.
type role uint8

const (
	text   role = iota
	dim         // secondary: labels, units, what a rule ignores
	strong      // what the eye should find first
	accent      // lrok itself, the selection, links
	good        // 2xx, online
	info        // 3xx, streams
	warn        // 4xx, reconnecting
	bad         // 5xx, failed
	border
	hotkey // a key in the hint bar
	jsonKey
	jsonString
	jsonNumber
	jsonWord // true, false, null
	added
	removed
	changed
	badge // a word on a coloured ground
	alert // the same, amber
	paper // a QR code's ground
	ink   // the dark of a QR code that has no blocks
	roles
)

// A theme turns roles into what the terminal understands. All colours are the
// terminal's own sixteen, so that a person's palette rules; the one exception
// is the ground of the selected row, made from the terminal's background when
// it tells.
type theme struct {
	plain    [roles]string // SGR that begins a role
	selected [roles]string // the same on the selected row
	token    [roles]string // the same there for what tells its row apart
	current  [roles]string // the same on the selected row of the pane without focus
	ascii    bool
	ink      string // what the dark of a QR code is drawn with
	g        glyphs
	method   ansi.Method // how the renderer counts columns
}

// glyphs is all there is besides letters.
type glyphs struct {
	bar, mark, replay, fail             string
	online, offline, paused             string
	up, down, right, left, both, arrow  string
	open, closed, ellipsis, rule, wall  string
	teeDown, teeUp, teeRight            string
	corner                              [4]string
	ok, no, warn, dot, live, none, full string
	sent                                string // before the size of what came in
	spark                               []string
}

var unicodeGlyphs = glyphs{
	bar: "▌", mark: "*", replay: "↻", fail: "!",
	online: "●", offline: "○", paused: "‖",
	up: "▲", down: "▼", right: "▶", left: "←", both: "⇄", arrow: "→",
	open: "▾", closed: "▸", ellipsis: "…", rule: "─", wall: "│",
	teeDown: "┬", teeUp: "┴", teeRight: "├", corner: [4]string{"╭", "╮", "╰", "╯"},
	ok: "✓", no: "✗", warn: "▲", dot: "·", live: "●", none: "–", full: "█", sent: "↑",
	spark: []string{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
}

var asciiGlyphs = glyphs{
	bar: ">", mark: "*", replay: "~", fail: "!",
	online: "*", offline: "o", paused: "=",
	up: "^", down: "v", right: ">", left: "<-", both: "<->", arrow: "->",
	open: "-", closed: "+", ellipsis: "~", rule: "-", wall: "|",
	teeDown: "+", teeUp: "+", teeRight: "+", corner: [4]string{"+", "+", "+", "+"},
	ok: "ok", no: "x", warn: "!", dot: "-", live: "*", none: "-", full: "#", sent: "^",
	spark: []string{"_", "_", ".", ".", "-", "-", "=", "#"},
}

// newTheme makes a theme. Ground is the terminal's background when it is known.
func newTheme(name string, ascii, noColor bool, ground color.Color) *theme {
	t := &theme{ascii: ascii, g: unicodeGlyphs, ink: "##"}
	if ascii {
		t.g = asciiGlyphs
	}
	s := lipgloss.NewStyle
	styles := [roles]lipgloss.Style{
		text:       s(),
		dim:        s().Faint(true),
		strong:     s().Bold(true),
		accent:     s().Foreground(lipgloss.Cyan),
		good:       s().Foreground(lipgloss.Green),
		info:       s().Foreground(lipgloss.Blue),
		warn:       s().Foreground(lipgloss.Yellow),
		bad:        s().Foreground(lipgloss.Red).Bold(true),
		border:     s().Faint(true),
		hotkey:     s().Foreground(lipgloss.Cyan).Bold(true),
		jsonKey:    s().Foreground(lipgloss.Blue),
		jsonString: s().Foreground(lipgloss.Green),
		jsonNumber: s().Foreground(lipgloss.Magenta),
		jsonWord:   s().Foreground(lipgloss.Yellow),
		added:      s().Foreground(lipgloss.Green),
		removed:    s().Foreground(lipgloss.Red),
		changed:    s().Foreground(lipgloss.Yellow),
		badge:      s().Foreground(lipgloss.Cyan).Reverse(true),
		alert:      s().Foreground(lipgloss.Yellow).Reverse(true),
		paper:      s().Foreground(lipgloss.Black).Background(lipgloss.BrightWhite),
		ink:        s().Foreground(lipgloss.Black).Background(lipgloss.Black),
	}
	switch {
	case noColor || name == "mono":
		noColor = true
		for r := range styles {
			styles[r] = styles[r].UnsetForeground().UnsetBackground()
		}
		styles[accent], styles[hotkey] = s().Bold(true), s().Bold(true)
		styles[badge], styles[alert] = s().Reverse(true).Bold(true), s().Reverse(true).Bold(true)
		styles[paper] = s().Reverse(true)
		t.ink = "  " // beside reversed paper the ground itself is the darkest there is
	case name == "contrast":
		styles[dim], styles[border] = s(), s()
		for _, r := range []role{accent, good, info, warn, jsonKey, jsonString, jsonNumber, jsonWord, added, removed, changed} {
			styles[r] = styles[r].Bold(true)
		}
	}
	var tint color.Color
	switch {
	case noColor || name == "contrast":
	case ground != nil:
		tint = nudge(ground)
	case name == "dark":
		tint = lipgloss.ANSIColor(236)
	case name == "light":
		tint = lipgloss.ANSIColor(254)
	}
	for r, st := range styles {
		t.plain[r] = opening(st)
		if tint == nil {
			if st = st.Faint(false).Bold(true); role(r).grounded() {
				st = s().Bold(true)
			}
			t.current[r] = opening(st)
			// Reverse is the one ground that is readable on every palette. Over the
			// whole row it is louder than what the row says: it is for what tells
			// the row apart, and the rest is bold.
			t.selected[r], t.token[r] = t.current[r], opening(st.Reverse(true))
			if name == "contrast" {
				t.selected[r] = opening(s().Reverse(true))
				t.token[r] = t.selected[r]
			}
			continue
		}
		if r := role(r); !r.grounded() {
			st = st.Background(tint)
		}
		t.selected[r] = opening(st)
		t.token[r], t.current[r] = t.selected[r], t.selected[r]
	}
	return t
}

// grounded reports whether r brings a ground of its own along.
func (r role) grounded() bool { return r >= badge }

// opening returns the SGR sequence that st begins with.
func opening(st lipgloss.Style) string {
	before, _, _ := strings.Cut(st.Render("x"), "x")
	return before
}

// nudge moves a background a little towards its opposite.
func nudge(ground color.Color) color.Color {
	r, g, b, _ := ground.RGBA()
	light := (299*r+587*g+114*b)/1000 > 0x7fff
	mix := func(c uint32) uint8 {
		v := int(c >> 8)
		if light {
			return uint8(v - v*9/100)
		}
		return uint8(v + (255-v)*13/100)
	}
	return color.RGBA{R: mix(r), G: mix(g), B: mix(b), A: 255}
}

// status is the role of an HTTP status.
func status(code int) role {
	switch {
	case code >= 500:
		return bad
	case code >= 400:
		return warn
	case code >= 300:
		return info
	case code >= 200:
		return good
	case code >= 100:
		return info
	}
	return dim
}

// A line is one row of the screen in the making. Text that does not fit is cut,
// and nothing but what put lets through gets in.
type line struct {
	th   *theme
	sgr  *[roles]string
	b    []byte
	w    int // columns so far
	max  int
	last int    // role of the last text, -1 when none is open
	edge string // the last text, if its end may join what comes next
}

func (t *theme) line(width int) line {
	return line{th: t, sgr: &t.plain, max: max(width, 0), last: -1, b: make([]byte, 0, width+64)}
}

// on gives the rest of the line the ground of a selected row.
func (l *line) on(focused bool) {
	l.sgr = &l.th.current
	if focused {
		l.sgr = &l.th.selected
	}
}

// token appends s as what tells its row apart: its status, its state.
func (l *line) token(r role, s string) {
	if l.sgr != &l.th.selected {
		l.put(r, s)
		return
	}
	l.end()
	l.sgr = &l.th.token
	l.put(r, s)
	l.end()
	l.sgr = &l.th.selected
}

// end ends the role of the last text.
func (l *line) end() {
	if l.last >= 0 {
		l.b = append(l.b, "\x1b[m"...)
		l.last = -1
	}
}

// put appends s in role r. What might steer a terminal is made visible.
func (l *line) put(r role, s string) {
	room := l.max - l.w
	if room <= 0 || s == "" {
		return
	}
	// What is far longer than the row is cut first, so that a header of a
	// megabyte costs no more than one of a hundred bytes.
	if len(s) > 32*room+64 {
		s = s[:32*room+64]
	}
	s, w := l.th.clean(s)
	if l.edge != "" && s[0] >= utf8.RuneSelf && l.th.columns(l.edge+s) != l.th.columns(l.edge)+w {
		// Two halves of a flag, say, or of a Hangul syllable. The first one shows
		// as its code point, and they stay apart.
		_, n := utf8.DecodeRuneInString(s)
		s = format.ASCII(s[:n]) + s[n:]
		w = l.th.columns(s)
	}
	if w > room {
		s = l.th.cut(s, room, l.th.g.ellipsis)
		w = l.th.columns(s)
	}
	if s == "" {
		return
	}
	if l.edge = ""; s[len(s)-1] >= utf8.RuneSelf {
		l.edge = s
	}
	if l.last != int(r) {
		if l.last >= 0 {
			l.b = append(l.b, "\x1b[m"...)
		}
		l.b = append(l.b, l.sgr[r]...)
		l.last = int(r)
	}
	l.b = append(l.b, s...)
	l.w += w
}

// clean makes s harmless and measures it.
func (t *theme) clean(s string) (string, int) {
	plain := true
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			plain = false
			break
		}
	}
	if plain {
		return s, len(s)
	}
	s = format.Sanitize(s)
	if t.ascii {
		s = format.ASCII(ownASCII.Replace(s))
	}
	return s, t.columns(s)
}

// ownASCII writes out the few characters beyond ASCII that stand in texts of our
// own: in masks of secrets, in cut values, as names of keys.
var ownASCII = strings.NewReplacer("●", "*", "…", "...", "→", "->", "←", "<-", "↑", "^", "↓", "v")

// cell appends s in a column of n, cut or filled up.
func (l *line) cell(r role, s string, n int) {
	end := min(l.w+n, l.max)
	keep := l.max
	l.max = end
	l.put(r, s)
	l.max = keep
	l.to(end)
}

// right appends s at the right of a column of n.
func (l *line) right(r role, s string, n int) {
	s, w := l.th.clean(s)
	if w < n {
		l.gap(n - w)
		n = w
	}
	l.cell(r, s, n)
}

const blanks = "                                                                                                                                "

// gap appends n blanks.
func (l *line) gap(n int) {
	for n = min(n, l.max-l.w); n > 0; {
		k := min(n, len(blanks))
		r := text
		if l.last >= 0 && l.sgr == &l.th.plain && !role(l.last).grounded() {
			r = role(l.last) // a blank looks the same in every role without a ground
		}
		l.put(r, blanks[:k])
		n -= k
	}
}

// to appends blanks up to column x.
func (l *line) to(x int) { l.gap(x - l.w) }

// rest fills the row up. On a ground of its own the last cell is a no-break
// space: renderers clear trailing blanks with an erase sequence, and not every
// multiplexer keeps the ground of what was erased.
func (l *line) rest() {
	if l.sgr == &l.th.plain || l.th.ascii || l.room() == 0 {
		l.to(l.max)
		return
	}
	l.to(l.max - 1)
	l.put(text, nbsp)
}

const nbsp = "\u00a0"

// fill repeats s up to column x.
func (l *line) fill(r role, s string, x int) {
	x = min(x, l.max)
	n := x - l.w
	if n <= 0 {
		return
	}
	w := max(l.th.columns(s), 1)
	l.put(r, strings.Repeat(s, n/w))
}

// room is how many columns are left.
func (l *line) room() int { return l.max - l.w }

// String ends the line.
func (l *line) String() string {
	l.end()
	return string(l.b)
}

// width measures s as clean would leave it.
func (t *theme) width(s string) int {
	_, w := t.clean(s)
	return w
}

// shortPath fits a request target into n columns. It gives up the middle of the
// query first and keeps the last segment of the path to the end.
func (t *theme) shortPath(target string, n int) string {
	if len(target) > 4096 {
		target = target[:4096]
	}
	s, w := t.clean(target)
	if w <= n {
		return s
	}
	more := t.g.ellipsis
	path, query, found := strings.Cut(s, "?")
	pw := t.columns(path)
	if found && pw <= n && pw+2 > n {
		return path + more[:len(more)*(n-pw)] // a query without room for any of it
	}
	if found && pw+2 <= n {
		room := n - pw - 2 // for "?" and the ellipsis
		if room < 8 {
			return path + "?" + t.cut(query, room, "") + more
		}
		tail := room / 3
		return path + "?" + t.cut(query, room-tail, "") + more + t.last(query, tail)
	}
	if n < 6 {
		return t.cut(path, n, more)
	}
	last := path
	if i := strings.LastIndexByte(path[:max(len(path)-1, 0)], '/'); i > 0 {
		last = path[i:]
	}
	lw := t.columns(last)
	if lw > n-2 {
		return more + t.last(path, n-1)
	}
	return t.cut(path, n-lw-1, "") + more + last
}

// shortEvent cuts the name of an event to n columns. Its last words tell more than
// its first, which get what room is left: "inv…payment_failed" of
// "invoice.payment_failed".
func (t *theme) shortEvent(event string, n int) string {
	s, w := t.clean(event)
	if w <= n {
		return s
	}
	more := t.g.ellipsis
	for rest := s; ; {
		i := strings.IndexAny(rest, "./:")
		if i < 0 {
			return more + t.last(s, n-t.columns(more))
		}
		if rest = rest[i+1:]; rest == "" {
			continue
		}
		switch room := n - t.columns(more+rest); {
		case room >= 3:
			return t.cut(s, room+t.columns(more), more) + rest
		case room >= 0:
			return more + rest
		}
	}
}
