package tui

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// What strangers send ends up on a person's terminal. Whatever it is, the screen
// may write nothing but its own colours: every escape sequence in a frame is an
// SGR of the shape that the theme makes, and no other control character is in
// it. The rest of what reaches the terminal comes from the renderer, which takes
// frames apart into cells.

// checkFrame reports what a frame holds that it must not.
func checkFrame(frame string) error {
	for i := 0; i < len(frame); {
		c := frame[i]
		if c == 0x1b {
			end := i + 1
			if end >= len(frame) || frame[end] != '[' {
				return errors.New("an escape that is no CSI: " + quoteAt(frame, i))
			}
			end++
			for end < len(frame) && (frame[end] >= '0' && frame[end] <= '9' || frame[end] == ';' || frame[end] == ':') {
				end++
			}
			if end >= len(frame) || frame[end] != 'm' {
				return errors.New("a CSI that is no SGR: " + quoteAt(frame, i))
			}
			i = end + 1
			continue
		}
		r, n := utf8.DecodeRuneInString(frame[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return errors.New("a byte that is not UTF-8: " + quoteAt(frame, i))
		case r == '\n':
		case r < 0x20 || r >= 0x7f && r < 0xa0:
			return errors.New("a control character: " + quoteAt(frame, i))
		case r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2060 && r <= 0x2069 || r == 0xfeff || unicode.Is(unicode.Bidi_Control, r):
			return errors.New("an invisible or bidirectional control: " + quoteAt(frame, i))
		}
		i += n
	}
	return nil
}

func quoteAt(s string, i int) string {
	return sprintf("%q", s[max(i-12, 0):min(i+24, len(s))])
}

// hostileModel shows an exchange with s in every place where strangers write.
func hostileModel(t testing.TB, m testModel, s string) {
	x := demoList(frozen)[0]
	x.ID, x.Number = "req_"+s, m.tab().floor+uint64(len(m.tab().all))+100
	x.Method, x.Path, x.Host, x.Proto, x.Remote, x.TLS, x.Reason = s, "/"+s+"?"+s, s, s, s, s, s
	x.Error, x.Detail, x.EndedBy, x.Status = s, s, s, 502
	x.Request = message1(s, s, "Content-Type", "application/json", "Cookie", s, "{\"a\":\""+s+"\"}"+s)
	x.Response = message1(s, s, "Content-Type", "text/plain", s, "a"+s, s)
	x.Request.Trailer = []inspector.Field{{Name: s, Value: s}}
	old := x
	old.ID, old.Number = "req_old_"+s, x.Number-1
	old.Response = message1(s, "b"+s, "Content-Type", "text/plain", "other\n"+s)
	old.Path, old.Status = x.Path, 200
	m.feed.put("acme", old)
	m.feed.put("acme", x)
	m.msg(wakeMsg{})
	m.key("g")
	st := onlineStatus(frozen)
	st.Welcome.Grants[0].URL, st.Welcome.Grants[0].Direct = "https://"+s, s
	st.Upstreams[0] = agent.Upstream{Tunnel: "acme", Local: s, Down: true, Err: s}
	m.main.status = st
	m.adopt(m.main, []Tunnel{{Kind: tunnel.HTTP, Name: "acme", URL: "https://" + s, Direct: s, Local: s}})
	m.whole(x)
	check := func(what string) {
		rows, _ := m.draw()
		if err := checkFrame(strings.Join(rows, "\n")); err != nil {
			t.Fatalf("%s with %q: %v", what, s, err)
		}
		if len(rows) != m.h {
			t.Fatalf("%s with %q: %d rows on a screen of %d", what, s, len(rows), m.h)
		}
		for i, r := range rows {
			if w := m.th.columns(r); w > m.w {
				t.Fatalf("%s with %q: row %d is %d columns wide, the screen %d", what, s, i, w, m.w)
			}
		}
		if err := checkFrame(m.title()); err != nil {
			t.Fatalf("the window's title with %q: %v", s, err)
		}
	}
	check("the list")
	m.key("l")
	for tab := range tabCount {
		m.detail.tab = tab
		m.msg(tickMsg{})
		check("the tab " + tabNames[tab])
	}
	m.detail.tab = tabResponse
	m.key("x")
	check("hex")
	m.key("x", "S")
	check("secrets")
	m.key("S", "h")
	m.openDiff(old.ID, x.ID)
	m.diff.put(layComparison(diff.Exchanges(&old, &x, diff.Both, diff.Options{}), false))
	check("the diff")
	m.focus = inList
	m.say(bad, "%s", s)
	check("a note")
	m.record(bad, "%s", s)
	m.key("L")
	check("the log")
	m.key("q")
	m.startPick()
	check("the picker")
	m.over = nil
	m.bar.in.set(s)
	m.bar.editing = true
	check("the filter")
	m.bar.editing = false
	m.main.status.State, m.main.status.Err = agent.Reconnecting, errors.New(s)
	check("reconnecting")
	m.tab().clear()
	m.main.status.State = agent.Online
	check("the empty screen")
	m.main.status.Welcome.Grants = nil
	m.main.status.Steps = []agent.Step{{Name: s}}
	m.main.status.Err = errors.New(s)
	check("connecting")
	m.ended = map[string]string{"acme": s}
	m.main.agent = nil
	check("a closed tunnel")
}

var hostileSeeds = []string{
	"\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x1b]52;c;aGk=\x1b\\", "\x9b31m", "\u009b31m", "a\rb\nc\td\x00\x7f",
	"\u202eabc\u2066", "a\u200bb\u200d", "\xff\xfe\xc3\x28", "👩‍👩‍👧 한국어 \u0301\u0301\u0301", "\ue000\U000e0001", "\x1b", "\u2028\u2029\u00ad", strings.Repeat("\u0300", 300),
	"\u0cf3", "\u093e\u0903a\u302e", "\u0915\u094d\u0937", "\U0001f1e9\U0001f1ea\U0001f1eb", "\U0001f44d\U0001f3fd", "\u1100\u1161\u11a8", "a\u0d4e", "\uff76\uff9e\uff9e",
	"\x1bP+q544e\x1b\\", "\x1b[?1049l", "\x1b_Gf=100;AAAA\x1b\\", "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字", strings.Repeat("x", 5000),
}

func FuzzHostileBytes(f *testing.F) {
	for _, s := range hostileSeeds {
		for _, size := range []byte{0, 1, 2, 4, 64, 65, 66} {
			f.Add(s, size)
		}
	}
	sizes := [][2]int{{120, 36}, {80, 24}, {40, 10}, {29, 5}, {60, 45}}
	f.Fuzz(func(t *testing.T, s string, size byte) {
		if len(s) > 10_000 {
			return
		}
		d := sizes[int(size&0x3f)%len(sizes)]
		m := modelWith(t, d[0], d[1], 3)
		m.c.ASCII = size&0x80 != 0
		if size&0x40 != 0 {
			m.method = ansi.GraphemeWidth
		}
		m.paint()
		hostileModel(t, m, s)
	})
}

// The gate runs random bytes, rich in what terminals react to.
func TestHostileBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	parts := []string{"\x1b", "[", "]", "?", "\x9b", "\u009d", "\x07", "\x1b\\", "52;c;", "\r", "\n", "\b", "\x00", "\u202e", "\u200d", "\xff", "漢", "\u0301", "\u0cf3", "\u094d", "\u0915", "\U0001f1e9", "\U0001f3fd", "\u1100", "\u1161", "\u0d4e", "m", "J", "31", ";", "a", "\x7f", "{", "\"", "\\u001b"}
	n := 400
	if testing.Short() || raceEnabled {
		n = 60
	}
	sizes := [][2]int{{120, 36}, {80, 24}, {40, 10}}
	for i := range n {
		var b strings.Builder
		for range r.IntN(40) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		d := sizes[i%len(sizes)]
		m := modelWith(t, d[0], d[1], 1)
		if i%2 == 1 {
			m.method = ansi.GraphemeWidth
			m.paint()
		}
		hostileModel(t, m, b.String())
	}
}

// Through a real program: what reaches the terminal holds no sequence that a
// stranger wrote.
func TestHostileBytesOnTheTerminal(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\x1b]52;c;b3duZWQ=\x07\u009b2J"
	s, e, _ := demo(t, 120, 36)
	s.waitText(t, "favicon")
	x := demoList(frozen)[0]
	x.ID, x.Number, x.Path, x.Host, x.Method = "", 0, "/"+evil, evil, "GET"+evil
	x.Request = message1(evil, evil, "Content-Type", "text/plain", evil)
	e.add(x)
	s.waitText(t, "␛]0;owned")
	s.keys("\r")
	s.keys("]]]]]")
	s.waitText(t, ", written out")
	s.still(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, bad := range []string{"\x1b]0;owned", "\x1b]52", "b3duZWQ=\x07", "\u009b"} {
		if strings.Contains(s.raw.String(), bad) {
			t.Errorf("the terminal was sent %q", bad)
		}
	}
}

// A clipboard command carries base64 only, whatever is copied.
func TestHostileClipboard(t *testing.T) {
	m := modelWith(t, 80, 24, 1)
	msg := m.putClipboard("the body", "\x1b]52;c;x\x07")()
	c, ok := msg.(copiedMsg)
	if !ok || c.osc == nil {
		t.Fatalf("putClipboard = %#v, want an OSC 52 copy", msg)
	}
	m.msg(c)
	rows, _ := m.draw()
	if err := checkFrame(strings.Join(rows, "\n")); err != nil {
		t.Error(err)
	}
}
