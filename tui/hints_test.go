package tui

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
)

// shows is the screen of a model as text.
func (m testModel) shows() string {
	rows, _ := m.draw()
	return strings.Join(plain(rows), "\n")
}

// hints is its last row.
func (m testModel) hints() string {
	rows, _ := m.draw()
	return strings.TrimSpace(plain(rows)[len(rows)-1])
}

func TestHintsNameTheFilterFirst(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	if got := m.hints(); !strings.Contains(got, "/ filter") {
		t.Errorf("hints at 80 columns: %q, want / filter among them", got)
	}
	m.key("/")
	if got, want := m.hints(), "enter apply  esc cancel"; !strings.HasPrefix(got, want) || strings.Contains(got, "replay") {
		t.Errorf("hints while the filter is typed: %q, want %q and no keys of the list", got, want)
	}
	m.key("m", "e")
	if got := m.hints(); !strings.Contains(got, "tab complete") {
		t.Errorf("hints while the filter is typed: %q, want the completion", got)
	}
}

func TestHintsOfAPausedList(t *testing.T) {
	for _, w := range []int{80, 120} {
		m := modelWith(t, w, 24, 5)
		m.key("p")
		if got := m.hints(); !strings.Contains(got, "p resume") || strings.Contains(got, "p pause") {
			t.Errorf("hints at %d columns: %q, want p resume", w, got)
		}
	}
}

// While the edited request waits to be sent, the keys on show are the answers.
func TestHintsOfTheConfirmation(t *testing.T) {
	for _, size := range [][2]int{{40, 10}, {60, 45}, {120, 36}} {
		m := modelWith(t, size[0], size[1], 13)
		a := demoList(frozen)[7]
		b := a
		b.Method = "PUT"
		m.edited(editedMsg{x: a, file: t.TempDir() + "/edit/lrok-x.http", draft: &rewritten{c: layComparison(diff.Exchanges(&a, &b, diff.Request, diff.Options{Strict: true}), false)}})
		if got, want := m.hints(), "y send  e edit again  esc cancel"; got != want {
			t.Errorf("at %dx%d the keys are %q, want %q", size[0], size[1], got, want)
		}
		if text := m.shows(); !strings.Contains(text, "send this to ") || !strings.Contains(text, ":3000?") {
			t.Errorf("at %dx%d the question is cut:\n%s", size[0], size[1], text)
		}
		m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
		if text := m.shows(); m.ask == nil || !strings.Contains(text, "y sends") {
			t.Errorf("at %dx%d enter says nothing:\n%s", size[0], size[1], text)
		}
		m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
		if m.ask != nil || m.focus == inDiff {
			t.Errorf("at %dx%d esc did not cancel", size[0], size[1])
		}
	}
}

func TestQuestionsFitANarrowScreen(t *testing.T) {
	for key, want := range map[string][2]string{
		"c": {"clear 13 requests from this screen?", "y clear  f at the edge too  esc cancel"},
		"q": {"2 requests are in flight. Quit?", "y quit  n stay"},
	} {
		m := modelWith(t, 40, 10, 13)
		m.key(key)
		if text := m.shows(); !strings.Contains(text, want[0]) || m.hints() != want[1] {
			t.Errorf("%s asks\n%s\nwant %q and %q", key, text, want[0], want[1])
		}
	}
}

func TestHelpScrollsUntilASearchBegins(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	m.key("?", "j", "j")
	h := m.over.(*help)
	if text := m.shows(); h.top != 2 || h.query != "" || !strings.Contains(text, "j k PgUp PgDn scroll") {
		t.Errorf("after jj the help is at row %d with the search %q, want row 2 and none:\n%s", h.top, h.query, text)
	}
	m.key("k")
	if m.shows(); h.top != 1 {
		t.Errorf("after k the help is at row %d, want 1", h.top)
	}
	m.key("/", "j")
	if text := m.shows(); h.query != "j" || !strings.Contains(text, "search j") {
		t.Errorf("after /j the search is %q, want j:\n%s", h.query, text)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	m.key("r", "e", "j")
	if h.query != "rej" {
		t.Errorf("typing searches for %q, want rej", h.query)
	}
}

func TestHelpIsNotCut(t *testing.T) {
	for _, w := range []int{80, 120} {
		m := modelWith(t, w, 100, 5)
		for _, place := range []string{"list", "detail"} {
			m.key("?")
			for _, row := range m.over.draw(m.model, w, 100) {
				if row = plain([]string{row})[0]; strings.Contains(row, "…") {
					t.Errorf("at %d columns a row of the help of the %s is cut: %q", w, place, row)
				}
			}
			m.key("?", "l")
		}
	}
}

// A page of the help is what it shows at once, less a row to hold on to, and where
// all of it shows nothing is said of scrolling.
func TestHelpGoesByPages(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	m.key("?")
	before := m.over.draw(m.model, 80, 24)
	m.msg(tea.KeyPressMsg{Code: tea.KeyPgDown})
	after := m.over.draw(m.model, 80, 24)
	if last := len(before) - 3; before[last] != after[1] {
		t.Errorf("a page on the help begins with %q, want %q", plain(after[1:2]), plain(before[last:last+1]))
	}
	if text := strings.Join(plain(m.over.draw(m.model, 80, 100)), "\n"); strings.Contains(text, "scroll  ") {
		t.Errorf("the help speaks of scrolling where nothing scrolls:\n%s", text)
	}
}

// The address of a wide headline does not move while the figures beside it grow.
func TestHeadlineKeepsTheAddressInPlace(t *testing.T) {
	for _, w := range []int{100, 120, 160} {
		at := map[int]bool{}
		for n := range 20 {
			m := modelWith(t, w, 30, 0)
			for i := range n {
				x := openRequest(uint64(i + 1))
				x.State, x.Status = inspector.Done, 200
				x.Timing.Done = time.Duration(i*i*i) * 100 * time.Millisecond
				m.feed.put("acme", x)
			}
			m.msg(wakeMsg{})
			rows, _ := m.draw()
			head, _, ok := strings.Cut(plain(rows)[0], "https://acme")
			if !ok {
				t.Fatalf("no address: %q", plain(rows)[0])
			}
			at[ansi.StringWidth(head)] = true
		}
		if len(at) != 1 {
			t.Errorf("at %d columns the address stands at %v, want one place", w, at)
		}
	}
}

// What stands in the tabs of the detail fits its pane, and leaves the same column
// free at its right.
func TestDetailTabsFit(t *testing.T) {
	for _, w := range []int{100, 120} {
		m := modelWith(t, w, 36, 13)
		m.key(strings.Split(strings.Repeat("j", 4), "")...)
		x := demoList(frozen)[8]
		m.whole(x)
		d := &m.detail
		d.tab = tabRaw
		d.masked = true
		for d.raw = range 2 {
			head := plain([]string{m.rawHead(m.lay.detail.w - 2)})[0]
			if strings.Contains(head, "…") || !strings.Contains(head, "x hex") || !strings.Contains(head, "S show") {
				t.Errorf("at %d columns the head of the Raw tab is %q, want its keys uncut", w, head)
			}
		}
		if got, want := d.diff.width, d.pages[tabRequest].width; got != want {
			t.Errorf("at %d columns the Diff tab is %d wide, want %d as the others", w, got, want)
		}
	}
}

// Whoever has several tunnels is told how to go from one to the other.
func TestHintsNameTheDigitsOfTunnels(t *testing.T) {
	for _, w := range []int{80, 120} {
		m := modelWith(t, w, 24, 5)
		if got := m.hints(); strings.Contains(got, "1-") {
			t.Errorf("hints of one tunnel at %d columns: %q, want no digits", w, got)
		}
		m.tabs = append(m.tabs, newTab(Tunnel{Kind: "tcp", Name: "db"}, m.main), newTab(Tunnel{Kind: "http", Name: "docs"}, m.main))
		got := m.hints()
		if !strings.Contains(got, "1-3 tunnel") || !strings.Contains(got, "q quit") {
			t.Errorf("hints of three tunnels at %d columns: %q, want 1-3 tunnel", w, got)
		}
		m.msg(tea.MouseClickMsg{X: strings.Index(got, "1-3") + 1, Y: 23, Button: tea.MouseLeft})
		if m.cur != 1 {
			t.Errorf("a click on the hint goes to tab %d, want 1", m.cur)
		}
		if got := m.hints(); !strings.Contains(got, "1-3 tunnel") {
			t.Errorf("hints of an empty tunnel at %d columns: %q, want 1-3 tunnel", w, got)
		}
	}
}

// The help begins with what can be done here, and names no other keys until they
// are searched for.
func TestHelpIsOfThisScreen(t *testing.T) {
	home := func() testModel {
		m := modelWith(t, 80, 60, 5)
		m.showHome(edgeTunnels{list: demoTunnels}, client.Me{})
		return m
	}
	for name, tt := range map[string]struct {
		m           testModel
		first, open string
		not         []string
	}{
		"requests":    {modelWith(t, 80, 60, 5), "Requests", "open the request", []string{"open the connection", "inspector", "fold", "next change", "1-9"}},
		"connections": {rawModel(t, 80, 60, 5), "Connections", "open the connection", []string{"request", "replay", "hex", "QR"}},
		"quiet":       {rawModel(t, 80, 60, 0), "Connections", "command to connect", []string{"enter", "one row down", "filter the list"}},
		"home":        {home(), "Tunnels", "open the tunnel's inspector", []string{"request", "copy the body", "level back", "QR"}},
	} {
		m := tt.m
		m.key("?")
		rows := plain(m.over.draw(m.model, 80, 60))
		text := strings.Join(rows, "\n")
		if !strings.Contains(rows[1], tt.first) || !strings.Contains(text, tt.open) {
			t.Errorf("%s: the help begins with %q, want %q, and %q in it:\n%s", name, rows[1], tt.first, tt.open, text)
		}
		for _, s := range tt.not {
			if strings.Contains(text, s) {
				t.Errorf("%s: the help names %q:\n%s", name, s, text)
			}
		}
		if n := strings.Count(text, " enter "); n > 1 {
			t.Errorf("%s: the help has %d lines of enter, want one at most:\n%s", name, n, text)
		}
		m.key("/", "h", "e", "x")
		text = strings.Join(plain(m.over.draw(m.model, 80, 60)), "\n")
		if !strings.Contains(text, "On other screens") || !strings.Contains(text, "bytes or text") {
			t.Errorf("%s: a search does not find the keys of other screens:\n%s", name, text)
		}
	}
}

// What does not fit after a note is left out by whole parts.
func TestNoteLeavesOutWhatDoesNotFit(t *testing.T) {
	for _, tt := range []struct {
		width int
		want  string
	}{
		{120, "d compare  status 500 -> 200, headers +1, body ~12 +4 -3"},
		{80, "d compare  status 500 -> 200, headers +1"},
		{60, "d compare"},
	} {
		m := modelWith(t, tt.width, 24, 1)
		m.say(good, "localhost:4000 answered 200 in 38ms")
		m.note.a, m.note.b = "a", "b"
		m.note.more = "status 500 -> 200, headers +1, body ~12 +4 -3"
		rows, _ := m.draw()
		screen := ansi.Strip(strings.Join(rows, "\n"))
		_, after, ok := strings.Cut(screen, "answered 200 in 38ms")
		line, _, _ := strings.Cut(after, "\n")
		if line = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "● live")); !ok || line != tt.want {
			t.Errorf("at %d columns the note goes on with %q, want %q:\n%s", tt.width, line, tt.want, screen)
		}
	}
}
