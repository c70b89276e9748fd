package tui

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"

	"github.com/charmbracelet/colorprofile"

	"github.com/lrok-dev/lrok/tunnel/agent"
)

// The list and a detail in every size and look, with the colours of each cell.
// A file of testdata/matrix holds one screen: for each look its text, unless that
// is as in the look before, then the styles it uses by letter and, for each row
// that has any, which letters stand in how many cells ("." is no style).

var looks = []struct {
	name   string
	change func(*Config)
}{
	{"dark", func(c *Config) { c.Theme, c.Profile = "dark", colorprofile.TrueColor }},
	{"light", func(c *Config) { c.Theme, c.Profile = "light", colorprofile.TrueColor }},
	{"no colour", func(c *Config) {
		c.Profile, c.Environ = colorprofile.TrueColor, []string{"TERM=xterm-256color", "LANG=C.UTF-8", "NO_COLOR=1"}
	}},
	{"ascii, sixteen colours", func(c *Config) { c.ASCII, c.Profile = true, colorprofile.ANSI }},
}

var matrixSizes = [][2]int{{120, 36}, {80, 24}, {60, 45}, {40, 10}, {29, 5}}

func TestMatrix(t *testing.T) {
	for _, size := range matrixSizes {
		w, h := size[0], size[1]
		for _, what := range []string{"list", "detail"} {
			t.Run(fmt.Sprintf("%s-%dx%d", what, w, h), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join("testdata", "matrix", t.Name()[len("TestMatrix/"):]+".screen")
				want, _ := os.ReadFile(path)
				var out, last strings.Builder
				for _, look := range looks {
					s, _, _ := demo(t, w, h, func(c *Config, _ *agent.Status, _ *demoEdge) { look.change(c) })
					switch {
					case w < 30:
						s.waitText(t, "13 !")
					case w >= 100 || h >= 40:
						s.waitText(t, "evt_1PqT9x") // of the newest, in the pane beside
					default:
						s.waitText(t, "favicon")
					}
					if what == "detail" {
						s.keys(strings.Repeat("j", 5) + "\r")
						if w >= 30 {
							s.waitText(t, "#1274")
						}
						s.keys("]")
						if w >= 60 {
							s.waitText(t, "42P01")
						}
					}
					s.still(t)
					var text string
					part := func() string {
						drawn, styles, coloured := s.cells()
						if look.name == "no colour" && coloured {
							t.Error("a cell has a colour where there is to be none")
						}
						if text = drawn; text == last.String() {
							drawn = "the text is as above\n"
						}
						return fmt.Sprintf("== %s\n%s%s", look.name, drawn, styles)
					}
					if *updateScreens {
						out.WriteString(part())
					} else {
						n := strings.LastIndex(string(want), "== "+look.name+"\n")
						rest := string(want[max(n, 0):])
						if next := strings.Index(rest, "\n== "); next >= 0 {
							rest = rest[:next+1]
						}
						out.WriteString(settle(rest, part))
					}
					last.Reset()
					last.WriteString(text)
				}
				screenFile{path, out.String()}.compare(t)
			})
		}
	}
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
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			t.Errorf("%s differs from line %d on; look at it, then go test -update-screens\nwant %s\ngot  %s\n%s", f.path, i+1, x, y, f.got)
			return
		}
	}
}

// cells is the screen as text and as styles, and whether any cell has a colour.
func (s *screen) cells() (text, styles string, coloured bool) {
	text = s.text()
	s.mu.Lock()
	defer s.mu.Unlock()
	letters := map[string]byte{"": '.'}
	var legend, rows strings.Builder
	for y := range s.em.Height() {
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
		for x := range s.em.Width() {
			c := s.em.CellAt(x, y)
			name := ""
			if c != nil {
				coloured = coloured || c.Style.Fg != nil || c.Style.Bg != nil
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
	return text, legend.String() + rows.String(), coloured
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
