package tui

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/export"
	"github.com/lrok-dev/lrok/inspector/format"
)

// copying is what y offers of a request.
var copying = []struct{ key, word string }{
	{"u", "url"}, {"c", "curl"}, {"r", "raw"}, {"h", "headers"}, {"b", "body"},
}

type (
	copyReadyMsg struct{ what, text string }
	copiedMsg    struct {
		role role
		text string
		osc  tea.Cmd
	}
)

// copies are the keys that may follow y.
func (m *model) copies() []choice {
	var list []choice
	add := func(key, word string) {
		list = append(list, choice{key, word, func(m *model) tea.Cmd { return m.copyWhat(key) }})
	}
	t := m.tab()
	if t == nil || isHTTP(t) {
		for _, c := range copying {
			add(c.key, c.word)
			if c.key == "c" && !m.reveal && m.selected() != nil {
				add("C", "curl with secrets")
			}
		}
		if _, _, ok := m.atCursor(); ok {
			add("j", "value")
			add("p", "path")
		}
		return list
	}
	add("u", "url")
	if m.selected() != nil {
		add("p", "peer")
	}
	if how, _ := howTo(t.Tunnel); how != "" {
		add("c", "command to connect")
	}
	return list
}

func (m *model) copyWhat(k string) tea.Cmd {
	t, x := m.tab(), m.selected()
	if t != nil && !isHTTP(t) {
		return m.copyConnection(t, x, k)
	}
	if k == "u" && t != nil {
		if x == nil {
			return m.putClipboard("the URL", t.URL)
		}
		s, what := x.URL(), "the URL"
		if bare := format.RedactTarget(s); bare != s && !m.reveal {
			s, what = bare, what+leftOut
		}
		return m.putClipboard(what, s)
	}
	if x == nil {
		return nil
	}
	if k == "j" || k == "p" {
		return m.copyJSON(k)
	}
	response := m.focus == inDetail && (m.detail.tab == tabResponse || m.detail.tab == tabRaw && m.detail.raw == 1)
	return m.copyPart(x, k, response)
}

// copyPart copies what key k stands for of x.
func (m *model) copyPart(of *capture, k string, response bool) tea.Cmd {
	id, reveal, once := of.ID, m.reveal, k == "C"
	if once { // a signature that is left out has the copy refused
		k, reveal = "c", true
	}
	x, have := m.atHand(id)[id]
	have = have && x.Version >= of.Version
	return func() tea.Msg {
		x := x
		if !have {
			var err error
			if x, err = m.c.API.Exchange(m.ctx, id); err != nil {
				return failMsg{id, err}
			}
		}
		what, s := extract(&x, k, response, reveal)
		if once {
			what += withSecrets
		}
		b, name, mind := bodyOf(&x, response && k != "c"), what, ""
		if i := strings.Index(what, ";"); i >= 0 {
			name, mind = what[:i], what[i:]
		}
		switch part := format.Bytes(b.Captured); {
		case s == "" && b.Truncated():
			return copiedMsg{role: warn, text: "there is nothing to copy: " + missing(&x, response)}
		case s == "":
			return copiedMsg{role: warn, text: "there is nothing to copy: no " + strings.TrimPrefix(name, "the ")}
		case !b.Truncated() || k == "h":
		case k == "b":
			what = sprintf("the first %s of %s, %s", part, name, format.Bytes(b.Size))
		case b.Captured == 0:
			what = sprintf("%s without its body of %s%s", name, format.Bytes(b.Size), mind)
		default:
			what = sprintf("%s with the first %s of its body of %s%s", name, part, format.Bytes(b.Size), mind)
		}
		return copyReadyMsg{what, s}
	}
}

func bodyOf(x *inspector.Exchange, response bool) *inspector.Body {
	if response {
		return &x.Response.Body
	}
	return &x.Request.Body
}

// atCursor is the formatted JSON in front and its line at the cursor.
func (m *model) atCursor() (d *format.Document, line int, ok bool) {
	if m.focus != inDetail || m.detail.side() < 0 {
		return nil, 0, false
	}
	p := m.detail.pager()
	j, ok := p.c.(*jsonDoc)
	if !ok || j.count() == 0 {
		return nil, 0, false
	}
	return j.doc, j.folds.Line(p.cur.line), true
}

// copyJSON copies the value at the cursor as it came, or its path.
func (m *model) copyJSON(k string) tea.Cmd {
	d, line, ok := m.atCursor()
	if !ok {
		return nil
	}
	at := d.Path(line)
	if k == "p" {
		return m.putClipboard("the path "+at, at)
	}
	v := string(d.Value(line))
	if v == "" {
		m.say(warn, "there is no value on this line")
		return nil
	}
	return m.putClipboard("the value at "+at, v)
}

// leftOut goes behind what is copied or written without its secrets.
const leftOut = "; secrets left out, S shows them"

// withSecrets goes behind what is copied with them although they are hidden.
const withSecrets = "; its secrets and signatures are in it"

// extract is a part of x as text. Secrets stay out unless they are on show.
func extract(x *inspector.Exchange, k string, response, reveal bool) (what, s string) {
	msg, side := &x.Request, "request"
	if response {
		msg, side = &x.Response, "response"
	}
	switch k {
	case "c":
		what, s = "the curl command", export.Curl(x, export.Options{Redact: !reveal})
		if !reveal && export.Curl(x, export.Options{}) != s {
			what += leftOut
		}
		return what, s
	case "h":
		var b strings.Builder
		what = "the " + side + " headers"
		mind := ""
		for _, f := range msg.Header {
			shown := redacted(f, reveal)
			if shown != f.Value {
				mind = leftOut
			}
			b.WriteString(f.Name + ": " + shown + "\n")
		}
		return what + mind, b.String()
	case "b":
		return "the " + side + " body", string(plainBody(msg))
	case "r":
		if reveal {
			return "the raw " + side, string(head(x, response)) + string(msg.Body.Data)
		}
		what = "the raw " + side
		top, masked := maskHead(head(x, response), format.RedactHeader, format.RedactTarget)
		if masked {
			what += leftOut
		}
		return what, string(top) + string(msg.Body.Data)
	}
	return "", ""
}

// redacted is a header line's value without what is secret in it.
func redacted(f inspector.Field, reveal bool) string {
	if reveal {
		return f.Value
	}
	return format.RedactHeader(f.Name, f.Value)
}

// oscLimit is the most that terminals take through OSC 52, before base64.
const oscLimit = 74_000 / 4 * 3

// putClipboard copies text: with the machine's own tool when the terminal is on
// this machine, through the terminal otherwise, to a file when it is too large
// for that. What says what it is and, after a semicolon, what to mind.
func (m *model) putClipboard(what, s string) tea.Cmd {
	environ := m.c.Environ
	what, mind, _ := strings.Cut(what, "; ")
	if mind != "" {
		mind = "; " + mind
	}
	size := format.Bytes(int64(len(s)))
	far := env(environ, "SSH_CONNECTION") != "" || env(environ, "SSH_TTY") != ""
	return func() tea.Msg {
		if argv := clipTool(environ); argv != nil && !far {
			ctx, cancel := context.WithTimeout(m.ctx, 3*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			cmd.Stdin = strings.NewReader(s)
			if cmd.Run() == nil {
				return copiedMsg{role: good, text: sprintf("copied %s (%s, %s)%s", what, size, argv[0], mind)}
			}
		}
		if len(s) <= oscLimit {
			tmux := ""
			if env(environ, "TMUX") != "" && m.tmuxTold.CompareAndSwap(false, true) {
				tmux = "; tmux needs set-clipboard on"
			}
			return copiedMsg{role: good, text: sprintf("copied %s (%s, OSC 52)%s%s", what, size, mind, tmux), osc: tea.SetClipboard(s)}
		}
		f, err := os.CreateTemp("", "lrok-copy-*.txt")
		if err == nil {
			_, err = f.WriteString(s)
			if e := f.Close(); err == nil {
				err = e
			}
		}
		if err != nil {
			return failMsg{err: err}
		}
		return copiedMsg{role: warn, text: sprintf("%s has %s (%s, too large for the clipboard)%s", f.Name(), what, size, mind)}
	}
}

// clipTool is the machine's own way to the clipboard.
func clipTool(environ []string) []string {
	var list [][]string
	switch {
	case runtime.GOOS == "darwin":
		list = [][]string{{"pbcopy"}}
	case runtime.GOOS == "windows":
		list = [][]string{{"clip.exe"}}
	case env(environ, "WAYLAND_DISPLAY") != "":
		list = [][]string{{"wl-copy"}}
	case env(environ, "DISPLAY") != "":
		list = [][]string{{"xclip", "-selection", "clipboard"}, {"xsel", "-ib"}}
	}
	for _, argv := range list {
		if _, err := exec.LookPath(argv[0]); err == nil {
			return argv
		}
	}
	return nil
}
