package tui

import (
	"fmt"
	"image/color"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// While nobody looks, and for who wants no motion, what runs by itself is drawn
// twice a second at most; a key is answered at once all the same.
func TestCalm(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(testModel)
		keep bool // what has been loaded waits as well
	}{
		{"blurred", func(m testModel) { m.msg(tea.BlurMsg{}) }, true},
		{"reduced motion", func(m testModel) { m.c.ReduceMotion = true }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := modelWith(t, 80, 24, 3)
			tt.set(m)
			before, began := m.View().Content, m.frame.at
			arrive := func(n int) {
				x := demoList(frozen)[0]
				x.Number, x.ID = uint64(100+n), fmt.Sprintf("req_%026d", 100+n)
				m.feed.put("acme", x)
				m.msg(wakeMsg{})
			}
			for i := range 20 {
				arrive(i)
				m.msg(tickMsg{})
				if now := m.View().Content; now != before {
					if m.frame.at.Sub(began) < calmly {
						t.Fatal("the screen was drawn anew at once")
					}
					before, began = now, m.frame.at // on a machine that is busy elsewhere
				}
			}
			arrive(20) // what came before may have been drawn
			m.frame.at = m.frame.at.Add(-calmly)
			after := m.View().Content
			if after == before {
				t.Error("half a second later the screen is as it was")
			}
			m.frame.at = time.Now().Add(time.Hour) // it is not half a second later, however long this takes
			arrive(21)
			m.msg(copiedMsg{role: good, text: "copied"})
			if drawn := m.View().Content != after; drawn == tt.keep {
				t.Errorf("drawn at once for what was asked for: %t", drawn)
			}
			arrive(22)
			m.key("?")
			if !strings.Contains(m.View().Content, "search") {
				t.Error("a key was not answered at once")
			}
			if tt.keep && m.calm() {
				t.Error("after a key nobody is thought to look")
			}
		})
	}
	m := modelWith(t, 80, 24, 3)
	m.msg(tea.BlurMsg{})
	m.View()
	x := demoList(frozen)[0]
	x.ID, x.Path = "req_new", "/while-away"
	m.feed.put("acme", x)
	m.msg(tea.FocusMsg{})
	if !strings.Contains(m.View().Content, "/while-away") {
		t.Error("whoever comes back does not see at once what has come in")
	}
}

// The command that waits for news wakes the loop twice a second at most while
// the screen is calm, and fifteen times while nobody can follow what comes.
func TestCalmWakes(t *testing.T) {
	for _, tt := range []struct {
		calm bool
		news int
		want time.Duration
	}{{false, 0, 33 * time.Millisecond}, {false, rush - 1, 33 * time.Millisecond}, {false, rush, 66 * time.Millisecond}, {true, 0, calmly}} {
		synctest.Test(t, func(t *testing.T) {
			m := modelWith(t, 80, 24, tt.news)
			m.blurred = tt.calm
			wait := m.await()
			m.feed.wake()
			began := time.Now()
			if _, ok := wait().(wakeMsg); !ok {
				t.Fatal("news did not wake the loop")
			}
			if got := time.Since(began); got != tt.want {
				t.Errorf("calm %t, %d news: woke after %v, want %v", tt.calm, tt.news, got, tt.want)
			}
		})
	}
}

// A theme of auto asks the terminal for its background and follows the answer.
func TestAutoAsksForTheBackground(t *testing.T) {
	for name, ground := range map[string]color.Color{"dark": color.RGBA{A: 255}, "light": color.RGBA{R: 255, G: 255, B: 255, A: 255}} {
		s, _, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, _ *demoEdge) {
			c.Theme, c.Profile = "auto", colorprofile.TrueColor
		})
		s.waitRaw(t, "\x1b]11;?")
		s.waitText(t, "favicon")
		r, g, b, _ := ground.RGBA()
		s.keys(fmt.Sprintf("\x1b]11;rgb:%04x/%04x/%04x\x07", r, g, b))
		want := nudge(ground)
		s.wait(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			for y := range 24 {
				if c := s.em.CellAt(20, y); c != nil && c.Style.Bg != nil && sameColor(c.Style.Bg, want) {
					return true
				}
			}
			return false
		}, "a selected row that is a little "+map[string]string{"dark": "lighter", "light": "darker"}[name]+" than the background")
	}
}

func sameColor(a, b color.Color) bool {
	ar, ag, ab, _ := a.RGBA()
	br, bg, bb, _ := b.RGBA()
	return ar == br && ag == bg && ab == bb
}

// Whether there are colours is said by the flag, then by CLICOLOR_FORCE, then by
// NO_COLOR.
func TestColorOrNone(t *testing.T) {
	for _, tt := range []struct {
		color   string
		environ []string
		want    bool
	}{
		{"", nil, true},
		{"auto", []string{"NO_COLOR=1"}, false},
		{"auto", []string{"NO_COLOR=yes"}, false},
		{"auto", []string{"NO_COLOR="}, true},
		{"auto", []string{"NO_COLOR=1", "CLICOLOR_FORCE=1"}, true},
		{"auto", []string{"NO_COLOR=1", "CLICOLOR_FORCE=0"}, false},
		{"always", []string{"NO_COLOR=1"}, true},
		{"never", []string{"CLICOLOR_FORCE=1"}, false},
	} {
		s, _, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, _ *demoEdge) {
			c.Color, c.Environ = tt.color, append([]string{"TERM=xterm-256color", "LANG=C.UTF-8"}, tt.environ...)
		})
		s.waitText(t, "favicon")
		s.still(t)
		got := false
		s.mu.Lock()
		for y := range 24 {
			for x := range 80 {
				if c := s.em.CellAt(x, y); c != nil && c.Style.Fg != nil {
					got = true
				}
			}
		}
		s.mu.Unlock()
		if got != tt.want {
			t.Errorf("--color %q with %q: colours %t, want %t", tt.color, tt.environ, got, tt.want)
		}
	}
}

// A panic in a goroutine that the screen knows nothing of finds the terminal as
// it was.
func TestPanicElsewhereRestores(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	func() {
		defer func() {
			if r := recover(); r != "fell over" {
				t.Errorf("recovered %v, want what was panicked with", r)
			}
			s.restored(t) // before anybody could print why
		}()
		defer crash.Guard()
		panic("fell over")
	}()
	s.waitDone(t)
}

// What tmux needs for the clipboard is said once.
func TestTmuxHintOnce(t *testing.T) {
	m := modelWith(t, 80, 24, 1)
	m.c.Environ = []string{"TMUX=/tmp/tmux", "SSH_TTY=/dev/pts/1"}
	for i, want := range []bool{true, false, false} {
		msg, ok := m.putClipboard("the URL", "https://acme.lrok.example")().(copiedMsg)
		if !ok || strings.Contains(msg.text, "set-clipboard") != want {
			t.Errorf("copy %d says %q; with the hint: %t", i+1, msg.text, want)
		}
	}
}

// Secrets are masked in ASCII, too, with a character that is no puzzle.
func TestASCIIMask(t *testing.T) {
	s, _, _ := demo(t, 120, 36, func(c *Config, _ *agent.Status, _ *demoEdge) { c.ASCII = true })
	s.waitText(t, "favicon")
	s.keys("jjjjj")
	s.waitText(t, "v1=****")
	s.keys("?")
	s.waitText(t, "one row down")
	if text := s.text(); strings.Contains(text, `\u`) {
		t.Errorf("the help spells characters out:\n%s", text)
	}
}

// Without a ground for it the selected row of the pane without focus is bold, and
// what has failed in it stays red.
func TestCurrentRowKeepsItsColours(t *testing.T) {
	th := newTheme("contrast", false, false, nil)
	if th.current[bad] == th.current[text] || th.current[bad] == th.plain[text] {
		t.Errorf("a failed status in the current row is %q, other text %q", th.current[bad], th.current[text])
	}
}

// Without half blocks a QR code is drawn with ##, and where the window is too
// small for that it says what would do.
func TestASCIICode(t *testing.T) {
	ascii := func(c *Config, _ *agent.Status, _ *demoEdge) { c.ASCII = true }
	s, _, _ := demo(t, 120, 40, ascii)
	s.waitText(t, "favicon")
	s.keys("Q")
	s.waitText(t, "##############") // a corner of it
	m := modelWith(t, 120, 40, 0)
	blocks := m.qr("https://acme.lrok.example")
	m.c.ASCII = true
	m.paint()
	code := m.qr("https://acme.lrok.example")
	if len(code) != 2*len(blocks)-1 || m.th.columns(code[0]) != 2*m.th.columns(blocks[0]) {
		t.Errorf("the code is %d rows of %d columns, with half blocks %d of %d", len(code), m.th.columns(code[0]), len(blocks), m.th.columns(blocks[0]))
	}

	s, _, _ = demo(t, 80, 24, ascii)
	s.waitText(t, "favicon")
	s.keys("Q")
	s.waitText(t, "without --ascii")
	if !strings.Contains(s.text(), "window has 80 and 24") {
		t.Errorf("the screen does not say what it is too small for:\n%s", s.text())
	}
}

// Where no shade of the background is to be had the selected row is bold, and only
// its status and its mark stand on a ground: whatever the palette, it is told from
// the others, and is no louder than what it says.
func TestSelectionWithoutAGround(t *testing.T) {
	for _, name := range []string{"auto", "mono"} {
		m := modelWith(t, 80, 24, 8)
		m.c.Theme = name
		m.noColor = name == "mono"
		m.msg(tea.ColorProfileMsg{Profile: colorprofile.ANSI})
		m.msg(tea.BackgroundColorMsg{Color: color.White})
		v := newWire(t, 80, 24)
		rows, _ := m.draw()
		if err := v.show(rows, m.method); err != nil {
			t.Fatal(err)
		}
		y := 4 // below header, rule and the names of the columns
		if got := m.selected(); got == nil || got.Status != 500 || !strings.HasPrefix(plain(rows)[y], "▌!") {
			t.Fatalf("%s: row %d is %q", name, y, plain(rows)[y])
		}
		on := ""
		for x := range 80 {
			c := v.em.CellAt(x, y)
			if c == nil || strings.TrimSpace(c.Content) == "" {
				continue
			}
			if c.Style.Attrs&uv.AttrBold == 0 {
				t.Errorf("%s: %q at %d of the selected row is not bold", name, c.Content, x)
			}
			if c.Style.Attrs&uv.AttrReverse != 0 {
				on += c.Content
			}
			if below := v.em.CellAt(x, y+1); below.Style.Attrs&uv.AttrReverse != 0 {
				t.Errorf("%s: %q at %d of the next row has a ground", name, below.Content, x)
			}
		}
		if on != "!500" {
			t.Errorf("%s: on a ground are %q, want the mark and the status", name, on)
		}
	}
}

// On a terminal of 256 colours the selected row is a grey near the ground, whatever
// hue that has.
func TestSelectionOf256Colours(t *testing.T) {
	for _, ground := range []color.RGBA{{13, 17, 23, 255}, {26, 27, 38, 255}, {0, 43, 54, 255}, {30, 30, 46, 255}, {255, 255, 255, 255}, {253, 246, 227, 255}} {
		m := modelWith(t, 80, 24, 3)
		m.c.Theme = "auto"
		m.msg(tea.ColorProfileMsg{Profile: colorprofile.ANSI256})
		m.msg(tea.BackgroundColorMsg{Color: ground})
		_, bg, _ := strings.Cut(m.th.selected[text], "48;2;")
		var r, g, b uint8
		if _, err := fmt.Sscanf(bg, "%d;%d;%dm", &r, &g, &b); err != nil {
			t.Fatalf("on %v the selected row begins with %q", ground, m.th.selected[text])
		}
		shade := ansi.Convert256(color.RGBA{r, g, b, 255})
		if shade < 232 {
			t.Errorf("on %v the selected row is colour %d, want one of the greys", ground, shade)
		}
	}
}

// An event is cut between its words where one of them fits, and anywhere else.
func TestShortEventKeepsTheLastWords(t *testing.T) {
	m := modelWith(t, 80, 24, 0)
	for _, tt := range []struct {
		event string
		n     int
		want  string
	}{
		{"push", 8, "push"},
		{"invoice.payment_failed", 22, "invoice.payment_failed"},
		{"invoice.payment_failed", 21, "invoic…payment_failed"},
		{"invoice.payment_failed", 17, "…payment_failed"},
		{"customer.subscription.updated", 21, "…subscription.updated"},
		{"customer.subscription.updated", 20, "customer.sub…updated"},
		{"orders/create", 9, "…create"},
		{"pull_request_review_thread", 10, "…ew_thread"},
		{"a.b.", 3, "…b."},
		{"漢字漢字漢字漢字", 8, "…字漢字"},
	} {
		if got := m.th.shortEvent(tt.event, tt.n); got != tt.want {
			t.Errorf("%q in %d columns is %q, want %q", tt.event, tt.n, got, tt.want)
		}
	}
}
