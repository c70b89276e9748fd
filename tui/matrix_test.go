package tui

import (
	"context"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// Every screen in every size and look. A file of testdata/matrix holds one screen.
// For each size that is:
//
//	== 80x24    what stands there, in dark
//	-- dark     its styles by letter, then for each row that has any which letters
//	            stand in how many cells ("." is no style)
//	-- light    the same, and so on; what is as in dark is left out, and of the
//	            text in ASCII each row that is spelled as the table of glyphs says
//
// The screens are drawn by the renderer of the real program, on a clock that only
// goes on when nothing is left to do: nothing here waits, or depends on how fast
// the machine is.

var matrixSizes = [][2]int{{120, 36}, {80, 24}, {60, 45}, {40, 10}, {29, 5}}

var looks = []struct {
	name    string
	profile colorprofile.Profile
	change  func(*Config)
}{
	{"dark", colorprofile.TrueColor, func(c *Config) { c.Theme = "dark" }},
	{"light", colorprofile.TrueColor, func(c *Config) { c.Theme = "light" }},
	{"no colour", colorprofile.ASCII, func(c *Config) { c.Color = "never" }},
	{"ascii, sixteen colours", colorprofile.ANSI, func(c *Config) { c.ASCII = true }},
}

// A scene is a screen and how one gets there.
type scene struct {
	name   string
	change func(*Config, *agent.Status, *demoEdge)
	keys   string // see stage.keys
	then   func(*stage)
}

func newest(contentType, body string) func(*Config, *agent.Status, *demoEdge) {
	return func(_ *Config, _ *agent.Status, e *demoEdge) {
		x := demoList(frozen)[12]
		x.ID, x.Number, x.Event = "", 0, ""
		x.Method, x.Path, x.Request = "POST", "/upload", message1("Host", "acme.lrok.example", "Content-Type", contentType, body)
		e.add(x)
	}
}

func raw(kind tunnel.Kind) func(*Config, *agent.Status, *demoEdge) {
	return func(c *Config, s *agent.Status, e *demoEdge) { onlyRaw(kind, c, s, e) }
}

func atHome(c *Config, _ *agent.Status, e *demoEdge) {
	c.Tunnels, c.Agent = nil, noAgent{}
	e.tunnels = demoTunnels
	c.Start = (&demoStart{}).start
}

func streams(_ *Config, _ *agent.Status, e *demoEdge) {
	e.list = e.list[:4]
	e.add(demoTalk(frozen).x)
	e.add(demoEvents(frozen))
}

func both(list ...func(*Config, *agent.Status, *demoEdge)) func(*Config, *agent.Status, *demoEdge) {
	return func(c *Config, s *agent.Status, e *demoEdge) {
		for _, f := range list {
			f(c, s, e)
		}
	}
}

const failing = "jjjjj" // leads to the 500

var scenes = []scene{
	{name: "list"},
	{name: "request", keys: failing + "<enter>"},
	{name: "response", keys: failing + "<enter>]"},
	{name: "headers", keys: failing + "<enter>]]"},
	{name: "timing", keys: failing + "<enter>]]]"},
	{name: "diff-tab", keys: failing + "<enter>]]]]"},
	{name: "raw", keys: failing + "<enter>["},
	{name: "diff", keys: "jjjjdn"},
	{name: "diff-text", keys: "jjjjdtn"},
	{name: "diff-value", keys: "jjjjdn<enter>"},
	{name: "picker", keys: "D"},
	{name: "replay", keys: failing + "R"},
	{name: "secret", keys: failing + "K"},
	{name: "filter", keys: "/st"},
	{name: "filtered", keys: "/status:>=400<enter>"},
	{name: "help", keys: "?"},
	{name: "palette", keys: ":"},
	{name: "qr", keys: "Q"},
	{name: "log", keys: "L", change: offline1},
	{name: "copy", keys: "y"},
	{name: "clear", keys: "c"},
	{name: "home", change: atHome},
	{name: "home-new", change: atHome, keys: "n"},
	{name: "home-close", change: atHome, keys: "x"},
	{name: "home-empty", change: both(atHome, func(_ *Config, _ *agent.Status, e *demoEdge) { e.tunnels = nil })},
	{name: "tunnels", change: threeTunnels},
	{name: "tcp", change: raw(tunnel.TCP), keys: "jjj", then: func(s *stage) { s.pass(1, 2, 7, 4) }},
	{name: "tcp-connection", change: raw(tunnel.TCP), keys: "jjj<enter>"},
	{name: "tcp-empty", change: both(raw(tunnel.TCP), func(_ *Config, _ *agent.Status, e *demoEdge) { e.list, e.tunnels = nil, nil })},
	{name: "tls", change: raw(tunnel.TLS), keys: "j<enter>"},
	{name: "sse", change: streams, keys: "<enter>"},
	{name: "websocket", change: streams, keys: "j<enter>]"},
	{name: "websocket-frame", change: streams, keys: "j<enter>]<enter>"},
	{name: "grpc-list", change: calls},
	{name: "grpc-message", change: calls, keys: "jjj<enter>"},
	{name: "grpc-failed", change: calls, keys: "jj<enter>]"},
	{name: "grpc-table", change: calls, keys: "j<enter>]"},
	{name: "empty", change: none},
	{name: "connecting", change: func(_ *Config, s *agent.Status, e *demoEdge) {
		e.list = nil
		*s = agent.Status{
			Edge: "lrok.example:7000", State: agent.Connecting, Since: frozen.Add(-4200 * time.Millisecond),
			Steps: []agent.Step{{Name: "resolve", Took: 12 * time.Millisecond, Done: true}, {Name: "tcp", Took: 4 * time.Second}},
		}
	}},
	{name: "reconnecting", change: offline1},
	{name: "leaving", change: func(_ *Config, s *agent.Status, _ *demoEdge) {
		s.State, s.Attempt, s.Next = agent.Reconnecting, 2, frozen.Add(3*time.Second)
		s.OfflineSince = frozen.Add(-9 * time.Second)
		s.Err = &tunnel.Error{Code: tunnel.CodeDraining, Message: "the edge sends its agents away: maintenance until 15:00"}
	}},
	{name: "closed", change: func(_ *Config, s *agent.Status, _ *demoEdge) {
		s.State, s.Err = agent.Closed, &tunnel.Error{Code: tunnel.CodeSuperseded, Message: "another lrok has taken the name over"}
	}},
	{name: "down", change: down1},
	{name: "down-empty", change: both(none, down1)},
	{name: "refused", keys: "jjjjjjjjjj<enter>]"},
	{name: "paused", keys: "p"},
	{name: "marked", keys: "jjmj"},
	{name: "huge", change: newest("application/json", largeJSON(1<<20)), keys: "<enter>"},
	{name: "binary", change: newest("application/octet-stream", noise(4<<10)), keys: "<enter>"},
	{name: "hex", keys: failing + "<enter>]x"},
	{name: "image", keys: "jjjjjjjjj<enter>"},
	{name: "multipart", change: newest("multipart/form-data; boundary=b0undary", multipart1), keys: "<enter>"},
	{name: "form", keys: "jjjjjj<enter>"},
	{name: "gzip", keys: "jjj<enter>]"},
	{name: "search", keys: "jjjjj<enter>/invoice<enter>"},
}

const multipart1 = "--b0undary\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA picture of Ada\r\n" +
	"--b0undary\r\nContent-Disposition: form-data; name=\"notes\"; filename=\"notes.txt\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nfirst line\nsecond line\n\r\n" +
	"--b0undary\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"ada.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x80\x00\x00\x01\xe0\x08\x06\r\n" +
	"--b0undary--\r\n"

// noise is n bytes that nothing can be made of.
func noise(n int) string {
	b := make([]byte, n)
	for i, r := 0, uint32(1); i < n; i++ {
		r = r*1664525 + 1013904223
		b[i] = byte(r >> 24)
	}
	return string(b)
}

func offline1(_ *Config, s *agent.Status, _ *demoEdge) {
	s.State, s.Attempt, s.Next, s.Err = agent.Reconnecting, 4, frozen.Add(3*time.Second), errors.New("read tcp 192.0.2.7:51840->203.0.113.9:7000: i/o timeout")
	s.OfflineSince = frozen.Add(-9 * time.Second)
}

func down1(_ *Config, s *agent.Status, _ *demoEdge) {
	s.Upstreams[0] = agent.Upstream{
		Tunnel: "acme", Local: "http://localhost:3000", Down: true, Since: frozen.Add(-5 * time.Second),
		Err: "dial tcp 127.0.0.1:3000: connect: connection refused", Nearby: []int{5173, 8080},
	}
}

// threeTunnels are those tunnels of one agent: one more of HTTP whose service is down,
// and one of TCP.
func threeTunnels(c *Config, s *agent.Status, _ *demoEdge) {
	c.Tunnels = append([]Tunnel{}, c.Tunnels...)
	for _, o := range []struct {
		tunnel.Grant
		local string
	}{
		{tunnel.Grant{Kind: tunnel.HTTP, Name: "docs", URL: "https://docs.lrok.example"}, "http://localhost:8080"},
		{rawGrant(tunnel.TCP), "localhost:5432"},
	} {
		c.Tunnels = append(c.Tunnels, Tunnel{Kind: o.Kind, Name: o.Name, Local: o.local})
		s.Welcome.Grants = append(s.Welcome.Grants, o.Grant)
		s.Upstreams = append(s.Upstreams, agent.Upstream{Tunnel: o.Name, Local: o.local})
	}
	s.Upstreams[1].Down, s.Upstreams[1].Err = true, "connection refused"
}

func TestMatrix(t *testing.T) {
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				for _, size := range matrixSizes {
					w, h := size[0], size[1]
					fmt.Fprintf(&out, "== %dx%d\n", w, h)
					var dark shot
					for i, look := range looks {
						s := play(t, sc, w, h, look.profile, look.change)
						if i == 0 {
							dark = s
							out.WriteString(s.text)
						}
						if look.name == "no colour" && s.coloured {
							t.Errorf("%dx%d: a cell has a colour where there is to be none", w, h)
						}
						ascii := strings.HasPrefix(look.name, "ascii")
						if n := strings.IndexFunc(s.text, func(r rune) bool { return r > 0x7e }); ascii && n >= 0 {
							t.Errorf("%dx%d: no ASCII: %.20q", w, h, s.text[n:])
						}
						fmt.Fprintf(&out, "-- %s\n%s", look.name, s.beside(dark, i == 0, ascii))
					}
				}
				screenFile{filepath.Join("testdata", "matrix", sc.name+".screen"), out.String()}.compare(t)
			})
		})
	}
}

// TestScreens are further states of the screens, each in one size, in dark and as
// text only.
func TestScreens(t *testing.T) {
	quiet := func(_ *Config, _ *agent.Status, e *demoEdge) { e.list, e.tunnels = nil, nil }
	unreachable := func(_ *Config, s *agent.Status, _ *demoEdge) {
		s.Upstreams[0].Down, s.Upstreams[0].Err = true, "dial tcp 127.0.0.1:5432: connect: connection refused"
	}
	local := func(c *Config, s *agent.Status, e *demoEdge) {
		e.list, c.LocalOnly = nil, true
		s.Welcome.Grants[0].URL, s.Welcome.Grants[0].Direct = "http://acme.localhost:8080", "http://127.0.0.1:8080"
	}
	taken := func(c *Config, _ *agent.Status, _ *demoEdge) {
		c.Start = (&demoStart{err: &tunnel.Error{Code: tunnel.CodeName, Message: `name "shop" is in use by your lrok on laptop, since 2026-11-22 13:40:05 UTC`, Hint: "stop it there, take the name with --takeover, or choose another: --hint shop-2"}}).start
	}
	edgeless := func(c *Config, _ *agent.Status, _ *demoEdge) {
		c.API, c.Edges = nil, func(context.Context) []*Edge { return nil }
	}
	rules := func(c *Config, _ *agent.Status, _ *demoEdge) {
		c.Ignore = parsedRules(".data.updated_at", "header:x-debug")
	}
	for _, tt := range []struct {
		w, h int
		scene
	}{
		{80, 24, scene{name: "headers-revealed", keys: failing + "<enter>]]S"}},
		{120, 36, scene{name: "diff-tab", keys: "jjjj<enter>]]]]"}},
		{120, 36, scene{name: "diff-request", keys: "d<tab>"}},
		{120, 36, scene{name: "diff-equal", keys: "d<tab>="}},
		{80, 24, scene{name: "diff-rules", change: rules, keys: "jjjjdniI"}},
		{80, 24, scene{name: "filter-error", keys: "/stat:5xx"}},
		{80, 24, scene{name: "help-search", keys: "?replay"}},
		{80, 24, scene{name: "palette-search", keys: ":co"}},
		{80, 24, scene{name: "local-only", change: local}},
		{80, 24, scene{name: "local-only-down", change: both(local, down1)}},
		{80, 24, scene{name: "home-refused", change: both(atHome, taken), keys: "n3000 as shop<enter>"}},
		{80, 24, scene{name: "home-no-edge", change: both(atHome, edgeless)}},
		{40, 10, scene{name: "home-no-edge-compact", change: both(atHome, edgeless)}},
		{80, 24, scene{name: "websocket-filter", change: streams, keys: "j<enter>]frefund<enter>"}},
		{120, 36, scene{name: "websocket-all", change: streams, keys: "j<enter>]c"}},
		{120, 36, scene{name: "tcp-failed", change: raw(tunnel.TCP), keys: "jjjjjjj"}},
		{80, 24, scene{name: "tcp-down", change: both(raw(tunnel.TCP), unreachable)}},
		{80, 24, scene{name: "tcp-empty-down", change: both(raw(tunnel.TCP), quiet, unreachable)}},
		{80, 24, scene{name: "tcp-filter", change: raw(tunnel.TCP), keys: "/ip:203.0.113.0/24 is:inflight<enter>"}},
		{80, 24, scene{name: "tcp-copy", change: raw(tunnel.TCP), keys: "y"}},
		{80, 24, scene{name: "tcp-help", change: raw(tunnel.TCP), keys: "?connection"}},
		{120, 36, scene{name: "tls-empty", change: both(raw(tunnel.TLS), quiet)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := play(t, tt.scene, tt.w, tt.h, looks[0].profile, looks[0].change)
				screenFile{filepath.Join("testdata", tt.name+".screen"), s.text}.compare(t)
			})
		})
	}
}

// play is what is to be seen of sc on a screen of that size and with that look.
func play(t *testing.T, sc scene, w, h int, p colorprofile.Profile, look func(*Config)) shot {
	t.Helper()
	e := newDemoEdge(func() time.Time { return frozen })
	for _, x := range demoList(frozen) {
		e.add(x)
	}
	st := onlineStatus(frozen)
	c := Config{
		API: e, Tunnels: demoAsked, SendTest: func(context.Context, Tunnel) error { return nil }, Width: w, Height: h,
		Environ: []string{"TERM=xterm-256color", "LANG=C.UTF-8"},
	}
	at := &clock{now: frozen}
	c.Now = at.Now
	if sc.change != nil {
		sc.change(&c, &st, e)
	}
	a := Agent(newDemoAgent(st))
	if _, without := c.Agent.(noAgent); without {
		a = nil
	}
	c.Agent = a
	look(&c)
	c.color()
	v := newWire(t, w, h)
	v.scr.SetColorProfile(p)
	s := newStage(t, c)
	s.edge, s.clock = e, at
	s.news <- tea.ColorProfileMsg{Profile: p}
	s.settle()
	s.keys(sc.keys)
	if sc.then != nil {
		sc.then(s)
	}
	rows, _ := s.m.draw()
	if err := v.show(rows, s.m.method); err != nil {
		t.Errorf("%dx%d: %v", w, h, err)
	}
	return v.shot()
}

// A stage is the loop of the program on the clock of a test.
type stage struct {
	m     *model
	edge  *demoEdge
	clock *clock // what the screen takes for the time of day
	ctx   context.Context
	news  chan tea.Msg
}

func newStage(t *testing.T, c Config) *stage {
	ctx, cancel := context.WithCancel(t.Context())
	f := newFeed()
	f.abort = cancel
	s := &stage{m: newModel(ctx, c, f), ctx: ctx, news: make(chan tea.Msg, 16)}
	go f.run(ctx, cancel, s.m.main)
	t.Cleanup(func() {
		cancel()
		<-f.done
		s.m.drafts.close()
		time.Sleep(time.Minute) // of the test's clock: what waits for it ends
	})
	// As Init does, but for signals, which come from outside of the clock.
	s.do(tea.Batch(s.m.await(), s.m.tick()))
	if s.m.home != nil {
		s.do(s.m.loadTunnels())
	}
	return s
}

// do starts a command; what comes of it is for settle.
func (s *stage) do(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		switch msg := cmd().(type) {
		case nil:
		case tea.BatchMsg:
			for _, c := range msg {
				s.do(c)
			}
		default:
			select {
			case s.news <- msg:
			case <-s.ctx.Done():
			}
		}
	}()
}

// settle lets everything happen that does so within a while.
func (s *stage) settle() {
	end := time.After(700 * time.Millisecond)
	for {
		select {
		case msg := <-s.news:
			_, cmd := s.m.Update(msg)
			s.m.View()
			s.do(cmd)
		case <-end:
			return
		}
	}
}

// keys presses each key of the text, of which <enter> and <esc> are one, and
// lets what comes of it happen.
func (s *stage) keys(keys string) {
	for keys != "" {
		k := tea.KeyPressMsg{Code: rune(keys[0]), Text: keys[:1]}
		n := 1
		for name, code := range map[string]rune{"<enter>": tea.KeyEnter, "<esc>": tea.KeyEscape, "<tab>": tea.KeyTab} {
			if strings.HasPrefix(keys, name) {
				k, n = tea.KeyPressMsg{Code: code}, len(name)
			}
		}
		keys = keys[n:]
		s.news <- k
		s.settle()
	}
}

// pass has a connection pass so many MiB, one amount a second.
func (s *stage) pass(amounts ...int64) {
	for i, n := range amounts {
		if i > 0 {
			s.clock.add(time.Second) // not after the last: only a tick would show it
		}
		s.edge.mu.Lock()
		x := s.edge.list[4]
		s.edge.tunnels[0].BytesIn += n << 20
		s.edge.tunnels[0].BytesOut += 10 * n << 20
		s.edge.mu.Unlock()
		x.Request.Body.Size += n << 20
		x.Response.Body.Size += 10 * n << 20
		s.edge.add(x)
		s.settle()
	}
}

// A shot is a screen as text, as styles by letter, and as the letters of each row.
type shot struct {
	text, legend, rows string
	coloured           bool
}

// beside writes the styles of s, and what of its text is not as in dark.
func (s shot) beside(dark shot, first, ascii bool) string {
	if first {
		return s.legend + s.rows
	}
	var b strings.Builder
	was, is := strings.Split(dark.text, "\n"), strings.Split(s.text, "\n")
	for i, row := range is {
		if row != was[i] && (!ascii || row != inASCII.Replace(was[i])) {
			fmt.Fprintf(&b, "%2d|%s\n", i+1, row)
		}
	}
	b.WriteString(s.legend)
	if s.rows != dark.rows {
		b.WriteString(s.rows)
	}
	return b.String()
}

// inASCII spells a row as the screen does that may draw with ASCII only.
var inASCII = func() *strings.Replacer {
	u, a := &unicodeGlyphs, &asciiGlyphs
	pairs := []string{
		u.bar, a.bar, u.replay, a.replay, u.online, a.online, u.offline, a.offline, u.paused, a.paused,
		u.up, a.up, u.down, a.down, u.right, a.right, u.left, a.left, u.both, a.both, u.arrow, a.arrow,
		u.open, a.open, u.closed, a.closed, u.ellipsis, a.ellipsis, u.rule, a.rule, u.wall, a.wall,
		u.teeDown, a.teeDown, u.teeUp, a.teeUp, u.teeRight, a.teeRight, " " + u.dot + " ", "  ",
		u.ok, a.ok, u.no, a.no, u.none, a.none, u.full, a.full, u.sent, a.sent,
	}
	for i := range u.corner {
		pairs = append(pairs, u.corner[i], a.corner[i])
	}
	for i := range u.spark {
		pairs = append(pairs, u.spark[i], a.spark[i])
	}
	return strings.NewReplacer(pairs...)
}()

// shot reads what stands on the emulator.
func (v *wire) shot() shot {
	var s shot
	lines := strings.Split(strings.ReplaceAll(v.em.String(), nbsp, " "), "\n")
	for _, l := range lines {
		s.text += strings.TrimRight(l, " ") + "\n"
	}
	letters := map[string]byte{"": '.'}
	var legend, rows strings.Builder
	for y := range v.h {
		var row strings.Builder
		var run byte
		n := 0
		flush := func() {
			if n == 1 {
				row.WriteByte(run)
			} else if n > 1 {
				fmt.Fprintf(&row, "%c%d", run, n)
			}
		}
		for x := range v.w {
			name := ""
			if c := v.em.CellAt(x, y); c != nil {
				s.coloured = s.coloured || c.Style.Fg != nil || c.Style.Bg != nil
				style := c.Style
				if strings.TrimSpace(c.Content) == "" {
					// Which of two ways to skip blanks the renderer takes depends on
					// what it drew when. Nobody sees the letters of a blank.
					if style.Attrs &= uv.AttrReverse; style.Attrs == 0 {
						style.Fg = nil
					}
				}
				name = styleName(style)
			}
			l, ok := letters[name]
			if !ok {
				l = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[len(letters)-1]
				letters[name] = l
				fmt.Fprintf(&legend, "%c  %s\n", l, name)
			}
			if l != run {
				flush()
				run, n = l, 0
			}
			n++
		}
		if run != '.' {
			flush()
		}
		if row.Len() > 0 {
			fmt.Fprintf(&rows, "%2d %s\n", y+1, row.String())
		}
	}
	s.legend, s.rows = legend.String(), rows.String()
	return s
}

func styleName(s uv.Style) string {
	var words []string
	add := func(prefix string, c color.Color) {
		switch c := c.(type) {
		case nil:
		case ansi.BasicColor:
			words = append(words, fmt.Sprintf("%s%d", prefix, c))
		case ansi.IndexedColor:
			words = append(words, fmt.Sprintf("%s%d", prefix, c))
		default:
			r, g, b, _ := c.RGBA()
			words = append(words, fmt.Sprintf("%s#%02x%02x%02x", prefix, r>>8, g>>8, b>>8))
		}
	}
	add("", s.Fg)
	add("on ", s.Bg)
	for _, a := range []struct {
		bit  uint8
		name string
	}{{uv.AttrBold, "bold"}, {uv.AttrFaint, "faint"}, {uv.AttrItalic, "italic"}, {uv.AttrReverse, "reverse"}, {uv.AttrStrikethrough, "struck"}} {
		if s.Attrs&a.bit != 0 {
			words = append(words, a.name)
		}
	}
	if s.Underline != 0 {
		words = append(words, "underlined")
	}
	return strings.Join(words, " ")
}

// A screenFile is a golden file and what was drawn.
type screenFile struct{ path, got string }

func (f screenFile) compare(t *testing.T) {
	t.Helper()
	if *updateScreens {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.path, []byte(f.got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == f.got {
		return
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(f.got, "\n")
	head := ""
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			t.Errorf("%s differs from line %d on, in %s; look at it, then go test -update-screens\nwant %s\ngot  %s", f.path, i+1, head, x, y)
			return
		}
		if strings.HasPrefix(x, "== ") {
			head = x[3:]
		}
	}
}
