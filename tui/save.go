package tui

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/export"
	"github.com/lrok-dev/lrok/inspector/format"
)

// A saving is what goes to a file once it has a name.
type saving struct {
	what string
	name string // unless a person gives another
	make func(ctx context.Context) (data []byte, more string, err error)
}

// save offers what can be written from here: of the detail the body in front, of
// the list an archive of what it shows.
func (m *model) save() []choice {
	var list []choice
	add := func(key, word string, s saving) {
		list = append(list, choice{key, word, func(m *model) tea.Cmd { return m.askName(s) }})
	}
	x := m.selected()
	if x == nil {
		return nil
	}
	d := &m.detail
	if m.focus == inDetail && d.whole != nil {
		side, b := d.side(), (*body)(nil)
		if side >= 0 {
			b = d.whole.sides[side]
		}
		if b != nil && b.view() != nil && len(b.front().data) > 0 {
			f := b.front()
			msg, word := &d.whole.x.Request, "request"
			if side == 1 {
				msg, word = &d.whole.x.Response, "response"
			}
			coding := strings.TrimSpace(msg.Get("Content-Encoding"))
			encoded := b == f && f.raw == nil && coding != "" && !strings.EqualFold(coding, "identity")
			what, short := "the "+word+" body", word+" body"
			if b != f {
				what, short = f.name, f.name
			} else if encoded {
				what, short = what+", decoded", "body, decoded"
			}
			add("b", short, saving{what, fileName(x.Path, f, ""), func(context.Context) ([]byte, string, error) {
				if !encoded {
					return f.data, "", nil
				}
				// Not what is on the screen: that may be less.
				out, err := format.Decode(coding, msg.Body.Data, format.MaxLimit)
				if err != nil && len(out) > 0 {
					return out, err.Error(), nil
				}
				return out, "", err
			}})
			if f.raw != nil {
				raw := *f
				raw.label = ""
				what, short := "the "+word+" body as it came", "as it came"
				if b != f {
					what = f.name + " as it came"
				}
				add("c", short, saving{what, fileName(x.Path, &raw, ""), func(context.Context) ([]byte, string, error) { return f.raw, "", nil }})
			} else if encoded {
				add("c", "as captured", saving{"the " + word + " body as captured", fileName(x.Path, f, coding), func(context.Context) ([]byte, string, error) {
					return msg.Body.Data, "", nil
				}})
			}
		}
	}
	t := m.tab()
	archive := func(list []*capture) func(context.Context) ([]byte, string, error) {
		ids := make([]string, len(list))
		for i, x := range list {
			ids[i] = x.ID
		}
		reveal := m.reveal
		return func(ctx context.Context) ([]byte, string, error) { return m.archive(ctx, ids, reveal) }
	}
	name := strings.Trim(safeName(t.Name), "-")
	add("h", "HAR of "+number(&x.Exchange), saving{"a HAR of " + number(&x.Exchange), sprintf("%s-%d.har", name, x.Number), archive([]*capture{x})})
	if a := t.byID[t.marked]; a != nil && a != x {
		add("m", "HAR of the marked "+number(&a.Exchange), saving{"a HAR of " + number(&a.Exchange), sprintf("%s-%d.har", name, a.Number), archive([]*capture{a})})
	}
	if n := len(t.shown); n > 1 {
		shown := t.shown[max(n-m.ring(), 0):] // the edge has let go of the others
		add("a", sprintf("HAR of all %d", len(shown)), saving{"a HAR of " + plural(len(shown), "request"), name + ".har", archive(shown)})
	}
	return list
}

// archive writes an HTTP archive of the captures with these ids.
func (m *model) archive(ctx context.Context, ids []string, reveal bool) (data []byte, more string, err error) {
	var list []inspector.Exchange
	size := 0
	const most = 256 << 20 // of bodies: the archive is in memory
	gone := 0
	for _, id := range ids {
		x, err := m.c.API.Exchange(ctx, id)
		switch {
		case isGone(err):
			gone++
			continue
		case err != nil:
			return nil, "", err
		}
		if size += len(x.Request.Body.Data) + len(x.Response.Body.Data); size > most {
			return nil, "", errors.New("that is more than " + format.Bytes(most) + " of bodies: filter the list first")
		}
		list = append(list, x)
	}
	if len(list) == 0 {
		return nil, "", errors.New("the edge has let go of all of it")
	}
	if gone > 0 {
		more = "without " + format.Count(int64(gone)) + " that the edge has let go of"
	}
	if !reveal {
		more += leftOut
	}
	data, err = export.HAR(list, export.Options{Redact: !reveal})
	return data, more, err
}

// askName asks where s goes.
func (m *model) askName(s saving) tea.Cmd {
	return m.request("save", s.name, prompt{
		title: "write " + s.what + " to", enter: "write", hint: "a file's name",
		check: func(name string) string {
			if name == "" {
				return "a file needs a name"
			}
			return ""
		},
		done: func(m *model, name string) tea.Cmd { return m.write(s, name, false) },
	})
}

// expand is the file that a person means: in the home directory after a tilde,
// under the usual name in a directory.
func expand(name, usual string, environ []string) string {
	if rest, ok := strings.CutPrefix(name, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		if home := env(environ, "HOME"); home != "" {
			name = home + rest
		}
	}
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return filepath.Join(name, usual)
	}
	return name
}

// A savedMsg says what became of writing a file.
type savedMsg struct {
	saving
	file   string
	n      int
	more   string
	exists bool
	err    error
}

// write puts s into a file, in the place of another one only if over says so.
func (m *model) write(s saving, file string, over bool) tea.Cmd {
	m.say(text, "writing %s%s", file, m.th.g.ellipsis)
	return func() tea.Msg {
		file := expand(file, s.name, m.c.Environ)
		msg := savedMsg{saving: s, file: file}
		if _, err := os.Lstat(file); err == nil && !over {
			msg.exists = true
			return msg
		}
		var data []byte
		if data, msg.more, msg.err = s.make(m.ctx); msg.err != nil {
			return msg
		}
		msg.n = len(data)
		if over {
			msg.err = writeWhole(file, data)
			return msg
		}
		msg.err = writeNew(file, data)
		msg.exists = errors.Is(msg.err, fs.ErrExist)
		return msg
	}
}

// writeNew writes a file that was not there before, for its owner only.
func writeNew(file string, data []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(file)
	}
	return err
}

func (msg savedMsg) arrive(m *model) tea.Cmd {
	switch {
	case msg.exists:
		m.note = note{}
		m.ask = &question{
			text:  sprintf("%s exists. Write over it?", msg.file),
			brief: "it exists. Write over it?",
			choices: []choice{
				{"y", "write over it", func(m *model) tea.Cmd { return m.write(msg.saving, msg.file, true) }},
				{"n", "another name", func(m *model) tea.Cmd { return m.askName(msg.saving) }},
				{"esc", "cancel", func(m *model) tea.Cmd { m.say(text, "nothing was written"); return nil }},
			},
		}
	case msg.err != nil:
		var e *fs.PathError
		if errors.As(msg.err, &e) {
			msg.err = e.Err
		}
		m.say(bad, "%s was not written: %s", msg.file, message(msg.err))
	default:
		if msg.more != "" {
			msg.more = "; " + strings.TrimPrefix(msg.more, "; ")
		}
		m.say(good, "wrote %s to %s (%s)%s", msg.what, msg.file, format.Bytes(int64(msg.n)), msg.more)
	}
	return nil
}

// fileName is a name for a body: what the path ends with, and an ending that
// tells its type.
func fileName(target string, b *body, coding string) string {
	last := path.Base(route(target))
	if b.name != "" && !strings.HasPrefix(b.name, "jq ") {
		last = path.Base(b.name)
	}
	name := strings.Trim(safeName(last), "-.")
	if name == "" {
		name = "body"
	}
	end := ending(b)
	if old := path.Ext(name); end != "" && !strings.EqualFold(old, end) && (old == "" || !knownEnding(old)) {
		name += end
	}
	switch strings.ToLower(coding) {
	case "":
	case "gzip", "x-gzip":
		name += ".gz"
	case "br":
		name += ".br"
	case "zstd":
		name += ".zst"
	default:
		name += ".bin"
	}
	return name
}

// ending is what files of b's type end with, "" for what tells nothing.
func ending(b *body) string {
	word, _, _ := strings.Cut(b.label, " ")
	switch {
	case strings.HasPrefix(b.name, "jq "):
		word = "ndjson"
	case b.raw != nil && word != "":
		word = "json"
	}
	switch word {
	case "javascript":
		return ".js"
	case "jpeg":
		return ".jpg"
	case "gzip":
		return ".gz"
	case "json", "ndjson", "html", "xml", "csv", "css", "png", "gif", "webp", "bmp", "pdf", "zip", "tar", "wasm", "mp3", "mp4":
		return "." + word
	case "text", "form":
		return ".txt"
	}
	return ".bin"
}

func knownEnding(s string) bool {
	switch strings.ToLower(s) {
	case ".json", ".ndjson", ".html", ".htm", ".xml", ".csv", ".css", ".js", ".mjs", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".pdf", ".zip", ".tar", ".gz", ".tgz",
		".wasm", ".mp3", ".mp4", ".txt", ".md", ".svg", ".ico", ".woff", ".woff2", ".yaml", ".yml", ".log":
		return true
	}
	return false
}

// safeName leaves of s what is harmless in the name of a file anywhere.
func safeName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' {
			return r
		}
		return '-'
	}, s)
	return s[max(len(s)-60, 0):]
}

// A pipedMsg is text for the pager.
type pipedMsg struct{ text []byte }

// pipe gives the body in front to $PAGER, formatted as it is on the screen.
func (m *model) pipe() tea.Cmd {
	d := &m.detail
	p := d.pager()
	if p.c == nil || p.c.count() == 0 || d.tab == tabDiff {
		m.say(warn, "there is nothing here to page through")
		return nil
	}
	var b *body
	if side := d.body(); side != nil {
		b = side.front()
		if b.part {
			m.say(warn, "this body is still being formatted")
			return nil
		}
	}
	// What only the loop may read is read here; it is small.
	var rows []byte
	c := p.c
	switch doc := c.(type) {
	case *jsonDoc, *textDoc, *hexDoc:
	case *streamDoc:
		now := *doc // as it is at this moment
		c = &now
	default:
		for i := range c.count() {
			rows, _ = c.line(rows, nil, i)
			rows = append(rows, '\n')
		}
	}
	return func() tea.Msg { return pipedMsg{paged(c, rows)} }
}

// paged is a content as lines of text that do nothing to a terminal.
func paged(c content, rows []byte) []byte {
	switch c := c.(type) {
	case *jsonDoc:
		var out []byte
		for i := range c.doc.Count() {
			out, _ = c.doc.AppendLine(out, nil, i)
			out = append(out, '\n')
		}
		return out
	case *textDoc:
		return format.AppendSanitizedLines(nil, c.lines.Data())
	case *streamDoc:
		var out []byte
		for i := range c.count() {
			out, _ = c.line(out, nil, i)
			out = append(out, '\n')
		}
		return out
	case *hexDoc:
		var out []byte
		for at := 0; at < len(c.data); at += 16 {
			out = append(format.AppendHexRow(out, c.data, int64(at), 16), '\n')
		}
		return out
	}
	return rows
}

// pagerCommand is the person's pager.
func pagerCommand(environ []string) []string {
	if argv := argvOf(env(environ, "PAGER")); len(argv) > 0 {
		return argv
	}
	for _, name := range []string{"less", "more"} {
		if _, err := exec.LookPath(name); err == nil {
			return []string{name}
		}
	}
	return nil
}

func (msg pipedMsg) arrive(m *model) tea.Cmd {
	argv := pagerCommand(m.c.Environ)
	if argv == nil {
		m.say(warn, "there is no pager: set PAGER, or write the body to a file with w")
		return nil
	}
	// As with the editor: the loop stands still until the pager ends.
	cmd := exec.CommandContext(m.ctx, argv[0], argv[1:]...)
	cmd.Env = m.c.Environ
	return tea.Exec(&pagerRun{editorRun{cmd, m.stops}, msg.text}, func(err error) tea.Msg {
		if err != nil {
			return failMsg{err: errors.New("pager " + argv[0] + ": " + err.Error())}
		}
		return nil
	})
}

// A pagerRun is a pager with the terminal to itself: it reads keys from there,
// and the text from its input.
type pagerRun struct {
	editorRun
	text []byte
}

func (p *pagerRun) Run() error {
	p.Stdin = bytes.NewReader(p.text)
	return p.editorRun.Run()
}
