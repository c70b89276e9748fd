package tui

import (
	"net/url"
	"strings"

	tea "charm.land/bubbletea/v2"
	"rsc.io/qr"

	"github.com/lrok-dev/lrok/tunnel"
)

// qrView shows the QR code of the URL.
type qrView struct{}

func (m *model) startQR() tea.Cmd {
	if m.tab() != nil {
		m.over = qrView{}
	}
	return nil
}

func (qrView) press(m *model, _ tea.KeyPressMsg) tea.Cmd { m.over = nil; return nil }
func (qrView) cursor(*model) *tea.Cursor                 { return nil }

func (v qrView) tips(*model) []tip {
	return []tip{{"esc", "close", func(m *model) tea.Cmd { return v.press(m, tea.KeyPressMsg{}) }}}
}

func (qrView) draw(m *model, w, height int) []string {
	t := m.tab()
	if m.onlyHere(t) {
		width := min(w-4, 46)
		var out []string
		for _, s := range wrapWords("Only this machine can reach that address, so a phone has no use for its code.", width) {
			out = append(out, m.textRow(text, s, width))
		}
		out = append(out, m.textRow(text, "", width), m.textRow(dim, "For a public URL: "+m.public(), width))
		return m.box("no QR code", out, width)
	}
	rows := m.qr(t.URL)
	if len(rows) == 0 {
		return m.box("QR", []string{m.textRow(warn, "there is no address yet", 23)}, 23)
	}
	columns := m.th.columns(rows[0])
	if len(rows)+3 > height || columns+4 > w {
		says := []string{
			sprintf("the code needs %d columns and %d rows, this window has %d and %d", m.w-w+columns+4, m.h-height+len(rows)+3, m.w, m.h),
		}
		if m.th.ascii {
			says = append(says, "", "in a terminal with UTF-8, and without --ascii,", "half of both is enough")
		}
		width := min(w-4, 46)
		var out []string
		for _, s := range says {
			for _, s := range wrapWords(s, width) {
				out = append(out, m.textRow(warn, s, width))
			}
		}
		return m.box("QR", out, width)
	}
	return m.box("QR", append(rows, m.textRow(dim, bare(t.URL), columns)), columns)
}

// onlyHere reports whether no other machine can call t.
func (m *model) onlyHere(t *tab) bool {
	u, err := url.Parse(t.URL)
	if err != nil {
		return false
	}
	return t.link.edge.LocalOnly || tunnel.Loopback(u.Hostname())
}

func (m *model) textRow(r role, s string, width int) string {
	l := m.th.line(width)
	l.put(r, s)
	return l.String()
}

// qr draws a code dark on light, as scanners want it: with half blocks, or as
// large again with ## where there are none.
func (m *model) qr(url string) []string {
	if url == "" {
		return nil
	}
	code, err := qr.Encode(url, qr.L)
	if err != nil {
		return nil
	}
	dark := func(x, y int) bool { return x >= 0 && y >= 0 && x < code.Size && y < code.Size && code.Black(x, y) }
	var rows []string
	if m.th.ascii {
		for y := -1; y < code.Size+1; y++ {
			l := m.th.line(2 * (code.Size + 4))
			for x := -2; x < code.Size+2; x++ {
				if dark(x, y) {
					l.put(ink, m.th.ink)
				} else {
					l.put(paper, "  ")
				}
			}
			rows = append(rows, l.String())
		}
		return rows
	}
	for y := -1; y < code.Size+1; y += 2 {
		l := m.th.line(code.Size + 4)
		var b strings.Builder
		for x := -2; x < code.Size+2; x++ {
			up, down := dark(x, y), dark(x, y+1)
			switch {
			case up && down:
				b.WriteString("█")
			case up:
				b.WriteString("▀")
			case down:
				b.WriteString("▄")
			default:
				b.WriteByte(' ')
			}
		}
		l.put(paper, strings.TrimSuffix(b.String(), " ")+nbsp)
		rows = append(rows, l.String())
	}
	return rows
}
