package tui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/export"
	"github.com/lrok-dev/lrok/inspector/signature"
	"github.com/lrok-dev/lrok/internal/draft"
)

// Edit and replay: the request goes to a file that only its owner can read, an
// editor changes it, the screen shows what would be sent and asks. The file and
// its directory are gone when the edit is over, however it ends; those of an edit
// that the screen's end cut short go with the screen, and those of a screen that was
// killed with a later one, once they are old.
type (
	editingMsg struct {
		of   *fetching
		x    inspector.Exchange
		file string
		err  error
	}
	// An editedMsg says that the editor was left.
	editedMsg struct {
		x     inspector.Exchange
		file  string
		err   error
		draft *rewritten // what the file says, once it was read
		again string     // what is wrong with the file
		none  string     // why there is nothing to send
	}
)

// A fetching is a request that is on its way from the edge into an editor.
type fetching struct {
	id     string
	number string
	stop   context.CancelFunc
	keys   int // how many had been pressed
	at     place
	said   note
}

// stopFetching gives up the request that was to be edited.
func (m *model) stopFetching() {
	if f := m.fetching; f != nil {
		f.stop()
		m.fetching = nil
		if m.note == f.said {
			m.note = note{}
		}
	}
}

// turnedAway reports whether the person looks at something else by now: an editor
// over it would be in the way.
func (m *model) turnedAway(f *fetching) bool {
	if m.touched == f.keys {
		return false // a list that follows moves on by itself
	}
	x := m.selected()
	return x == nil || x.ID != f.id || m.focus != f.at || m.ask != nil || m.over != nil || m.prompt != nil || m.prefix != nil || m.bar.editing
}

// A rewritten request is about to be sent.
type rewritten struct {
	changes inspector.Changes
	c       *comparison // with the original
}

func (m *model) edit() tea.Cmd {
	x := m.selected()
	if x == nil {
		return nil
	}
	if editor(m.c.Environ) == nil {
		m.say(warn, "no editor: set $EDITOR")
		return nil
	}
	if x.Kind == inspector.WebSocket || x.Kind == inspector.Upgraded {
		m.say(warn, "an upgraded connection cannot be replayed")
		return nil
	}
	if m.fetching != nil && m.fetching.id == x.ID {
		return nil // on its way
	}
	m.stopFetching()
	ctx, stop := context.WithCancel(m.ctx)
	f := &fetching{id: x.ID, number: number(&x.Exchange), stop: stop, keys: m.touched, at: m.focus}
	m.fetching = f
	var have *inspector.Exchange
	if o := m.find(f.id); o != nil && o.x.Version >= x.Version {
		have = &o.x
	} else {
		m.say(accent, "fetching %s%s esc cancels", f.number, m.th.g.ellipsis)
		m.note.until = m.c.Now().Add(time.Hour) // it ends with the request
		f.said = m.note
	}
	return func() tea.Msg {
		var x inspector.Exchange
		if have != nil {
			x = *have
		} else {
			var err error
			if x, err = m.c.API.Exchange(ctx, f.id); err != nil {
				return editingMsg{of: f, x: inspector.Exchange{ID: f.id}, err: err}
			}
		}
		if x.Request.Body.Truncated() {
			return editingMsg{of: f, err: errors.New(number(&x) + " cannot be sent again: " + missing(&x, false))}
		}
		file, err := m.drafts.write(&x)
		return editingMsg{f, x, file, err}
	}
}

// Drafts are the files of edits that are not over.
type drafts struct {
	mu   sync.Mutex
	list map[string]*draft.Draft // by their path
	over bool
}

// write writes the request to a file.
func (d *drafts) write(x *inspector.Exchange) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return "", context.Canceled // a command that outlives the screen leaves nothing
	}
	made, err := draft.New(x.ID, export.HTTP(x, export.Options{}))
	if err != nil {
		return "", err
	}
	if d.list == nil {
		d.list = map[string]*draft.Draft{}
	}
	d.list[made.Path] = made
	return made.Path, nil
}

// hold keeps file for the editor that cmd is.
func (d *drafts) hold(file string, cmd *exec.Cmd) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if made := d.list[file]; made != nil {
		made.Hold(cmd)
	}
}

// remove ends the edit of file.
func (d *drafts) remove(file string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if made := d.list[file]; made != nil {
		made.Remove()
		delete(d.list, file)
	}
}

// close removes what is left. Nothing is written afterwards.
func (d *drafts) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	for _, made := range d.list {
		made.Remove()
	}
}

// editor is the command that edits a file, nil when there is none.
func editor(environ []string) []string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if argv := argvOf(env(environ, name)); len(argv) > 0 {
			return argv
		}
	}
	if runtime.GOOS == "windows" {
		return []string{"notepad"}
	}
	for _, name := range []string{"vi", "nano"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}
		}
	}
	return nil
}

// argvOf is a command as people set it in the environment, to append arguments
// to. One with quotes or the like is the shell's to read.
func argvOf(command string) []string {
	if runtime.GOOS != "windows" && strings.ContainsAny(command, "|&;<>()$`\\\"'*?[#~=%") {
		return []string{"sh", "-c", command + ` "$@"`, "sh"}
	}
	return commandWords(command)
}

// commandWords splits one where no shell does, at blanks that are not between double
// quotes: "C:\Program Files\Editor\editor.exe" --wait.
func commandWords(command string) []string {
	var list []string
	var word strings.Builder
	quoted, begun := false, false
	end := func() {
		if begun {
			list = append(list, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range command {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case (r == ' ' || r == '\t') && !quoted:
			end()
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	end()
	return list
}

func (m *model) editing(msg editingMsg) tea.Cmd {
	cancelled, away := msg.of != m.fetching, false
	if !cancelled {
		away = m.turnedAway(msg.of)
		m.stopFetching()
	}
	switch {
	case cancelled || away && msg.err == nil:
		m.drafts.remove(msg.file)
		if !cancelled {
			m.say(text, "%s is here, and was not opened: you had gone on", msg.of.number)
		}
		return nil
	case msg.err != nil:
		m.say(bad, "%s", m.because(msg.x.ID, msg.err))
		return nil
	}
	return m.runEditor(msg.x, msg.file)
}

func (m *model) runEditor(x inspector.Exchange, file string) tea.Cmd {
	argv := append(editor(m.c.Environ), file)
	// The loop stands still while the editor is open. Its end with the context
	// lets the screen leave in order.
	cmd := exec.CommandContext(m.ctx, argv[0], argv[1:]...)
	cmd.Env = m.c.Environ
	m.drafts.hold(file, cmd)
	return tea.Exec(&editorRun{cmd, m.stops}, func(err error) tea.Msg {
		return editedMsg{x: x, file: file, err: err}
	})
}

// An editorRun is a command that has the terminal to itself.
type editorRun struct {
	*exec.Cmd
	stops *stops
}

func (e *editorRun) SetStdin(r io.Reader) { e.Stdin = r }

// SetStdout sets standard error as well: that of this process is kept back while
// the screen is open, and some programs draw there.
func (e *editorRun) SetStdout(w io.Writer) { e.Stdout, e.Stderr = w, w }
func (e *editorRun) SetStderr(io.Writer)   {}

// settling is how long the screen waits before it gives the terminal away. Bubble
// Tea (2.1.1) stops its renderer's ticker in a goroutine that it does not wait for,
// and starts the ticker again afterwards: a command that returns at once, as an
// editor does that hands the file to a running instance, could win that race, and
// the screen would stay blank for good.
const settling = 50 * time.Millisecond

func (e *editorRun) Run() error {
	time.Sleep(settling)
	e.stops.away.Store(true)
	defer e.stops.away.Store(false)
	restore := func() {}
	if f, ok := e.Stdin.(term.File); ok {
		if was, err := term.GetState(f.Fd()); err == nil {
			restore = func() { _ = term.Restore(f.Fd(), was) }
		}
	}
	err := e.Cmd.Run()
	// One that crashed leaves the terminal as it had made it, and that would be
	// taken for what to go back to when the screen ends.
	restore()
	if err != nil && e.Stdout != nil {
		_, _ = io.WriteString(e.Stdout, ansi.ResetModeMouseNormal+ansi.ResetModeMouseButtonEvent+ansi.ResetModeMouseAnyEvent+ansi.ResetModeMouseExtSgr+
			ansi.ResetModeFocusEvent+ansi.ResetModeBracketedPaste+ansi.ResetModeAltScreenSaveCursor+ansi.SetModeTextCursorEnable+ansi.ResetStyle)
	}
	return err
}

func (m *model) edited(msg editedMsg) tea.Cmd {
	done := func() { m.drafts.remove(msg.file) }
	switch {
	case msg.err != nil:
		done()
		m.say(bad, "editor: %s; nothing was sent", msg.err.Error())
	case msg.none != "":
		done()
		m.say(text, "%s: nothing was sent", msg.none)
	case msg.again != "":
		m.ask = &question{text: msg.again, choices: []choice{
			{"e", "edit again", func(m *model) tea.Cmd { return m.runEditor(msg.x, msg.file) }},
			{"esc", "give up", func(*model) tea.Cmd { done(); return nil }},
		}}
	case msg.draft != nil:
		m.confirm(msg, done)
	default:
		return func() tea.Msg { return readDraft(msg) }
	}
	return nil
}

// errorMark begins the line that tells in the file what is wrong with it.
const errorMark = "# lrok: "

// readDraft reads what the editor left.
func readDraft(msg editedMsg) editedMsg {
	data, err := os.ReadFile(msg.file)
	if err != nil {
		msg.err = err
		return msg
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // of Windows
	for bytes.HasPrefix(data, []byte(errorMark)) {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	// What is wrong is counted by the lines that the file has with this one.
	r, err := export.ParseHTTP(append([]byte(errorMark+"\n"), data...))
	if errors.Is(err, export.ErrEmpty) {
		msg.none = "the file is empty"
		return msg
	}
	if err != nil {
		msg.again = err.Error()
		msg.err = os.WriteFile(msg.file, append([]byte(errorMark+err.Error()+"\n"), data...), 0o600)
		return msg
	}
	changes := r.Changes(&msg.x)
	if msg.x.Request.Body.Missing != "" && changes.Body == nil && !changes.None() {
		changes.Body = &r.Body // what is in the file is what is meant, though it did not come whole
	}
	b := altered(&msg.x, changes)
	if changes.None() {
		msg.none = "unchanged"
		return msg
	}
	// All that a person may have changed counts; what follows from it does not.
	length, _ := diff.ParseRule("header:content-length")
	report := diff.Exchanges(&msg.x, &b, diff.Request, diff.Options{Strict: true, Ignore: []diff.Rule{length}})
	msg.draft = &rewritten{changes, layComparison(report, false)}
	return msg
}

// altered is the request of x with the changes made, to show what they do.
func altered(x *inspector.Exchange, c inspector.Changes) inspector.Exchange {
	y := *x
	y.ReplayOf = x.ID
	if c.Method != "" {
		y.Method = c.Method
	}
	if c.Path != "" {
		y.Path = c.Path
	}
	fields := x.Request.Header
	drop := func(name string) {
		var kept []inspector.Field
		for _, f := range fields {
			if !strings.EqualFold(f.Name, name) {
				kept = append(kept, f)
			}
		}
		fields = kept
	}
	for _, name := range c.Remove {
		drop(name)
	}
	if c.Header != nil {
		fields = c.Header
	}
	for _, f := range c.Set {
		found := false
		fields = append([]inspector.Field(nil), fields...)
		for i := range fields {
			if strings.EqualFold(fields[i].Name, f.Name) {
				fields[i].Value, found = f.Value, true
			}
		}
		if !found {
			fields = append(fields, f)
		}
	}
	if c.Body != nil {
		n := int64(len(*c.Body))
		y.Request.Body = inspector.Body{Size: n, Captured: n, Data: *c.Body}
		fields = append([]inspector.Field(nil), fields...)
		for i := range fields {
			if strings.EqualFold(fields[i].Name, "Content-Length") {
				fields[i].Value = sprintf("%d", n)
			}
		}
	}
	y.Request.Header = fields
	return y
}

// confirm shows what would be sent and asks.
func (m *model) confirm(msg editedMsg, done func()) {
	t := m.tab()
	if m.focus != inDiff {
		m.from = m.focus
	}
	m.focus = inDiff
	w, h := m.diff.width, m.diff.height
	m.diff = diffPane{side: diff.Request, draft: true, width: w, height: h}
	m.diff.put(msg.draft.c)
	leave := func(m *model) {
		m.focus = m.from
		m.diff = diffPane{}
	}
	local := t.Local
	if local == "" {
		local = "the local service"
	}
	m.ask = &question{
		text:  "send this to " + local + "?",
		brief: "send this to " + short(local) + "?",
		pass:  true,
		enter: "y sends; enter does not",
		choices: []choice{
			{"y", "send", func(m *model) tea.Cmd {
				done()
				leave(m)
				m.say(accent, "%s sending the edited %s%s", m.th.g.replay, number(&msg.x), m.th.g.ellipsis)
				m.note.until = m.c.Now().Add(time.Minute)
				return m.send(replayedMsg{tunnel: t.Name, id: msg.x.ID, changes: msg.draft.changes, of: 1, left: 1})
			}},
			{"e", "edit again", func(m *model) tea.Cmd {
				leave(m)
				return m.runEditor(msg.x, msg.file)
			}},
			{"esc", "cancel", func(m *model) tea.Cmd {
				done()
				leave(m)
				m.say(text, "nothing was sent")
				return nil
			}},
		},
	}
	sign := func(m *model, src signature.Source) tea.Cmd {
		done()
		leave(m)
		run := replayedMsg{tunnel: t.Name, id: msg.x.ID, changes: msg.draft.changes, of: 1, left: 1, how: &manner{sign: &src}}
		return m.again(&msg.x, run)
	}
	provider := outdated(&msg.x, msg.draft.changes)
	if provider != "" {
		m.ask.text = sprintf("send this to %s? Its %s signature will not fit any more", local, provider)
		m.ask.brief = sprintf("send? Its %s signature will not fit any more", provider)
	}
	ask := func(m *model) tea.Cmd { m.confirm(msg, done); return nil }
	give := func(m *model) tea.Cmd {
		return m.askSecret(&msg.x, func(m *model, src signature.Source) tea.Cmd {
			if m.misfits(&msg.x) {
				return ask(m)
			}
			return sign(m, src)
		}, ask)
	}
	var more []choice
	src, err := signature.Pick(&msg.x, m.c.Secrets, "")
	switch {
	case err == nil:
		if m.misfits(&msg.x) {
			m.ask.text = "The " + src.Provider + " secret you gave is not the one it was signed with; send all the same?"
			m.ask.brief = "the secret you gave is not the one it was signed with"
			more = append(more, choice{"K", "another secret", give})
		}
		more = append(more, choice{"s", "sign and send", func(m *model) tea.Cmd { return sign(m, src) }})
	case provider != "":
		more = append(more, choice{"s", "give the secret, sign and send", give})
	}
	m.ask.choices = slices.Insert(m.ask.choices, 1, more...)
}
