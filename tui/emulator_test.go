package tui

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// What strangers write, all the way: the frame goes through the renderer of the
// real program to an emulator, which may be sent colours, movements of the cursor
// and what the renderer redraws with, and nothing else. Then every row must stand
// where the screen meant it to.

// A wire is what lies between a frame and what a person sees.
type wire struct {
	w, h   int
	buf    bytes.Buffer
	scr    *uv.TerminalRenderer
	cells  uv.ScreenBuffer
	em     *vt.Emulator
	parser *ansi.Parser
	bad    error
	drawn  bool
}

// mayReach are the final bytes of the CSI sequences that a renderer needs: SGR,
// the cursor's movements, and erasing, shifting and repeating cells.
const mayReach = "mABCDEFGHIZ`adefJKLMPSTX@br"

// wraps is the mode in which a terminal goes on in the next row.
const wraps = 7

func newWire(t testing.TB, w, h int) *wire {
	v := &wire{w: w, h: h, cells: uv.NewScreenBuffer(w, h), em: vt.NewEmulator(w, h), parser: ansi.NewParser()}
	v.scr = uv.NewTerminalRenderer(&v.buf, []string{"TERM=xterm-256color"})
	v.scr.SetColorProfile(colorprofile.TrueColor)
	v.scr.SetFullscreen(true)
	v.scr.SetRelativeCursor(false)
	v.scr.SetTabStops(-1)
	v.scr.SetScrollOptim(true)
	say := func(format string, a ...any) {
		if v.bad == nil {
			v.bad = fmt.Errorf(format, a...)
		}
	}
	v.parser.SetHandler(ansi.Handler{
		Execute: func(b byte) {
			if b != '\r' && b != '\n' && b != '\b' {
				say("the control character %#x reaches the terminal", b)
			}
		},
		Print: func(r rune) {
			if r >= 0x80 && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r) {
				say("the control character %U reaches the terminal", r)
			}
		},
		HandleCsi: func(cmd ansi.Cmd, params ansi.Params) {
			if mode, _, _ := params.Param(0, 0); cmd.Prefix() == '?' && mode == wraps && len(params) == 1 {
				return // the last cell of a row is written without wrapping
			}
			if cmd.Prefix() != 0 || cmd.Intermediate() != 0 || strings.IndexByte(mayReach, cmd.Final()) < 0 {
				say("CSI %q reaches the terminal", cmd.Final())
			}
		},
		HandleEsc: func(cmd ansi.Cmd) {
			if cmd.Final() != 'M' && cmd.Final() != '\\' { // one row up, where that is shorter
				say("ESC %q reaches the terminal", cmd.Final())
			}
		},
		HandleDcs: func(ansi.Cmd, ansi.Params, []byte) { say("a DCS reaches the terminal") },
		HandleOsc: func(cmd int, _ []byte) { say("OSC %d reaches the terminal", cmd) },
		HandlePm:  func([]byte) { say("a PM reaches the terminal") },
		HandleApc: func([]byte) { say("an APC reaches the terminal") },
		HandleSos: func([]byte) { say("an SOS reaches the terminal") },
	})
	mode := func(m ansi.Mode) {
		if m.Mode() != wraps {
			say("mode %d is changed", m.Mode())
		}
	}
	v.em.SetCallbacks(vt.Callbacks{
		Bell: func() { say("the bell rings") },
		Title: func(s string) {
			say("the title is set to %q", s)
		},
		AltScreen:  func(bool) { say("the screen is switched") },
		EnableMode: mode, DisableMode: mode,
	})
	answered := make(chan struct{})
	go func() { // what asks the terminal would stand still without a reader
		defer close(answered)
		b := make([]byte, 64)
		for {
			n, err := v.em.Read(b)
			if n > 0 {
				t.Errorf("the terminal was asked, and answers %q", b[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = v.em.InputPipe().(io.Closer).Close() // Close itself races with Read
		<-answered
	})
	return v
}

// show draws a frame and says what is wrong with what the terminal was sent.
func (v *wire) show(rows []string, method ansi.Method) error {
	v.bad = nil
	v.cells.Clear()
	v.cells.Method = method
	uv.NewStyledString(strings.Join(rows, "\n")).Draw(v.cells, v.cells.Bounds())
	if !v.drawn {
		v.scr.Erase()
		v.drawn = true
	}
	v.scr.Render(v.cells.RenderBuffer)
	if err := v.scr.Flush(); err != nil {
		return err
	}
	sent := v.buf.Bytes()
	v.parser.Parse(sent)
	_, _ = v.em.Write(sent)
	v.buf.Reset()
	if v.bad != nil {
		return fmt.Errorf("%w, in %q", v.bad, sent)
	}
	if method != ansi.GraphemeWidth {
		return nil // the emulator measures clusters
	}
	for y := range v.h {
		for x := range v.w {
			want, got := v.cells.CellAt(x, y), v.em.CellAt(x, y)
			if a, b := glyph(want), glyph(got); a != b {
				return fmt.Errorf("row %d, column %d shows %q, the screen drew %q", y, x, b, a)
			}
		}
	}
	return nil
}

func glyph(c *uv.Cell) string {
	if c == nil || c.Content == "" && c.Width == 1 {
		return " "
	}
	return c.Content
}

// positions are where strangers, and those who are typed for, write on a screen.
var positions = []struct {
	name string
	put  func(m testModel, s string)
}{
	{"path", func(m testModel, s string) { m.arrive(func(x *inspector.Exchange) { x.Path = "/" + s }) }},
	{"query", func(m testModel, s string) { m.arrive(func(x *inspector.Exchange) { x.Path = "/a?" + s }) }},
	{"method", func(m testModel, s string) { m.arrive(func(x *inspector.Exchange) { x.Method = s }) }},
	{"host", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) { x.Host, x.Remote = s, s })
		m.key("l")
		m.detail.tab = tabRequest
	}},
	{"header", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) { x.Request = message1(s, s, "X-"+s, "b", "Cookie", s, "{}") })
		m.key("l")
		m.detail.tab = tabHeaders
	}},
	{"JSON", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) {
			x.Response = message1("Content-Type", "application/json", `{"`+s+`":["`+s+`"]}`)
		})
		m.key("l")
		m.detail.tab = tabResponse
	}},
	{"text", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) { x.Response = message1("Content-Type", "text/plain", s+"\n"+s) })
		m.key("l")
		m.detail.tab = tabResponse
	}},
	{"events", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) {
			x.Kind, x.Response = inspector.SSE, message1("Content-Type", "text/event-stream", "id: "+s+"\nevent: "+s+"\ndata: "+s+"\n\n")
		})
		m.key("l")
		m.detail.tab = tabResponse
	}},
	{"form", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) {
			x.Request = message1("Content-Type", "application/x-www-form-urlencoded", "a="+s+"&"+s+"=b")
		})
		m.key("l")
		m.detail.tab = tabRequest
	}},
	{"multipart", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) {
			x.Request = message1("Content-Type", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\""+s+"\"; filename=\""+s+"\"\r\n\r\n"+s+"\r\n--b--\r\n")
		})
		m.key("l")
		m.detail.tab = tabRequest
	}},
	{"raw", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) { x.Request = message1("A", s, s) })
		m.key("l")
		m.detail.tab = tabRaw
	}},
	{"error of a request", func(m testModel, s string) {
		m.arrive(func(x *inspector.Exchange) { x.Error, x.Detail, x.EndedBy, x.Status = s, s, s, 502 })
		m.key("l")
		m.detail.tab = tabTiming
	}},
	{"diff", func(m testModel, s string) {
		a, b := demoList(frozen)[0], demoList(frozen)[1]
		a.ID, b.ID = "req_a"+s, "req_b"+s
		a.Response, b.Response = message1(s, "a", s+"\nb"), message1(s, s, s+"\nc")
		m.focus = inDiff
		m.diff.put(layComparison(diff.Exchanges(&a, &b, diff.Both, diff.Options{}), false))
	}},
	{"note", func(m testModel, s string) { m.say(bad, "%s", s) }},
	{"log", func(m testModel, s string) {
		m.record(bad, "%s", s)
		m.key("L")
	}},
	{"filter", func(m testModel, s string) {
		m.bar.in.set(s)
		m.bar.editing = true
	}},
	{"upstream", func(m testModel, s string) {
		m.main.status.Upstreams = []agent.Upstream{{Tunnel: "acme", Local: s, Down: true, Err: s}}
	}},
	{"link", func(m testModel, s string) {
		m.main.status.State, m.main.status.Err = agent.Reconnecting, errors.New(s)
	}},
	{"address", func(m testModel, s string) {
		m.adopt(m.main, []Tunnel{{Kind: tunnel.HTTP, Name: "acme", URL: "https://" + s, Direct: s, Local: s}})
		m.tab().clear()
	}},
	{"editor", func(m testModel, s string) { m.edited(editedMsg{file: noFile, err: errors.New(s)}) }},
	{"mistake in the editor", func(m testModel, s string) { m.edited(editedMsg{file: noFile, again: s}) }},
	{"search of the help", func(m testModel, s string) {
		m.key("?")
		m.msg(tea.KeyPressMsg{Code: tea.KeyExtended, Text: s})
	}},
	{"home", func(m testModel, s string) {
		m.showHome(edgeTunnels{list: []client.Tunnel{
			{Subdomain: s, Kind: tunnel.HTTP, PublicURL: "https://" + s, Local: s, Machine: s, RemoteAddr: s, Online: true, CreatedAt: frozen},
			{Subdomain: "db", Kind: tunnel.TCP, PublicURL: s, Local: s, CreatedAt: frozen},
		}}, client.Me{ID: s, Name: s, Edge: client.Edge{Domain: s}})
	}},
	{"error of home", func(m testModel, s string) {
		m.showHome(edgeTunnels{err: &tunnel.Error{Code: "x", Message: s, Hint: s}}, client.Me{})
	}},
	{"failure at home", func(m testModel, s string) {
		m.showHome(edgeTunnels{list: []client.Tunnel{{Subdomain: "db", Kind: tunnel.TCP}}}, client.Me{})
		m.home.failed = &failure{s, &tunnel.Error{Code: "x", Message: s, Hint: s}}
	}},
}

// noFile is the file of an edit that never was, in a folder that may be removed.
var noFile = os.TempDir() + "/lrok-edit-none/lrok-none.http"

// arrive lets a request come in and opens it.
func (m testModel) arrive(change func(*inspector.Exchange)) {
	x := demoList(frozen)[0]
	x.Number = m.tab().floor + uint64(len(m.tab().all)) + 100
	x.ID = fmt.Sprintf("req_%026d", x.Number)
	change(&x)
	m.feed.put("acme", x)
	m.msg(wakeMsg{})
	m.key("g")
	m.whole(x)
}

// showHome puts the list of tunnels in front.
func (m testModel) showHome(told edgeTunnels, me client.Me) {
	m.home = newHome(m.model)
	m.focus = inHome
	told.edge = m.main.edge
	m.msg(tunnelsMsg{[]edgeTunnels{told}, me})
}

// throw writes s at a position and follows it to the emulator.
func throw(t testing.TB, v *wire, at int, s string) {
	p := positions[at%len(positions)]
	m := modelWith(t, v.w, v.h, 2)
	m.c.ASCII = at/len(positions)%4 == 3
	if at/len(positions)%3 > 0 {
		m.method = ansi.GraphemeWidth
	}
	m.paint()
	p.put(m, s)
	rows, _ := m.draw()
	if err := checkFrame(strings.Join(rows, "\n")); err != nil {
		t.Fatalf("%s with %q: %v", p.name, s, err)
	}
	if err := v.show(rows, m.method); err != nil {
		t.Fatalf("%s with %q: %v", p.name, s, err)
	}
	if err := checkFrame(m.title()); err != nil {
		t.Fatalf("title with %q: %v", s, err)
	}
}

// hostileParts is what terminals react to, and what they measure differently.
var hostileParts = []string{
	"\x1b", "\x1b[", "[", "]", "?", "\x9b", "\u009b", "\u009d", "\x9d", "\x90", "\u0090", "\x07", "\x1b\\", "52;c;aGk=", "0;x", "\r", "\n", "\t", "\b", "\x0e", "\x0f", "\x00", "\x7f",
	"\u202e", "\u200d", "\ufe0f", "\ufeff", "\xff", "\xc3", "漢", "\u0301", "\u0cf3", "\u094d", "\u0915", "\U0001f1e9", "\U0001f3fd", "\U0001f468", "\u1100", "\u1161", "\u0d4e", "\u2028",
	"m", "J", "H", "31", "2", ";", "1049h", "6n", "c", "a", "{", "\"", "\\u001b", "%", "=", "&", ":", "/", " ",
}

func hostileString(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(24) {
		if r.IntN(8) == 0 {
			b.WriteByte(byte(r.IntN(256)))
			continue
		}
		b.WriteString(hostileParts[r.IntN(len(hostileParts))])
	}
	return b.String()
}

// make hostile runs this without the race detector, and a million of it nightly.
func TestHostileBytesThroughTheEmulator(t *testing.T) {
	n := 20_000
	switch {
	case os.Getenv("LROK_NIGHTLY") != "":
		n = 1_000_000
	case raceEnabled || testing.Short():
		n = 1000
	}
	const parts = 4
	for part := range parts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, uint64(part)))
			wires := []*wire{newWire(t, 80, 24), newWire(t, 40, 10), newWire(t, 120, 36)}
			for i := range n / parts {
				w := i % 2 // small screens are quick to check
				if i%31 == 9 {
					w = 2
				}
				throw(t, wires[w], i, hostileString(r))
			}
		})
	}
}

func FuzzHostileBytesThroughTheEmulator(f *testing.F) {
	for i, s := range hostileSeeds {
		f.Add(s, i)
	}
	for i := range positions {
		f.Add("\x1b]0;owned\x07\x1b[2J\u009b6n", i)
	}
	f.Fuzz(func(t *testing.T, s string, at int) {
		if len(s) <= 4000 && at >= 0 {
			throw(t, newWire(t, 80, 24), at, s)
		}
	})
}

// The check itself: what it is to find, it finds.
func TestWireFindsEscapes(t *testing.T) {
	v := newWire(t, 20, 3)
	if err := v.show([]string{"a", "\x1b[31mb\x1b[m", "c"}, ansi.GraphemeWidth); err != nil {
		t.Fatalf("a harmless frame: %v", err)
	}
	for _, s := range []string{"\x1b]0;x\x07", "\x1b[?1049l", "\x1bc", "\x07", "\x1bPq\x1b\\", "\u009b?25l"} {
		v.bad = nil
		v.parser.Parse([]byte(s))
		if v.bad == nil {
			t.Errorf("%q reaches the terminal unseen", s)
		}
	}
	_, _ = v.em.Write([]byte("\x1b[2J"))
	if err := v.show([]string{"a", "\x1b[31mb\x1b[m", "c"}, ansi.GraphemeWidth); err == nil {
		t.Error("an erased screen is not seen")
	}
}
