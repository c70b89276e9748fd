package tui

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
)

// However the screen ends while an edit goes on, nothing of the request stays on
// the disk.
func TestDraftsGoWithTheScreen(t *testing.T) {
	const change = `sed -i 's/"amount_paid":4200/"amount_paid":99/' "$1"`
	for _, tt := range []struct {
		name, editor string
		wait         string // on the screen, "" for an open editor
		keys         string
	}{
		{name: "question", editor: change, wait: "send this to", keys: "\x03\x03"},
		{name: "stay, then quit", editor: change, wait: "send this to", keys: "\x03n\x03\x03"},
		{name: "mistake", editor: `printf 'POST\nno colon\n' >"$1"`, wait: "e edit again", keys: "\x03\x03"},
		{name: "the context ends at the question", editor: change, wait: "send this to"},
		{name: "the context ends in the editor", editor: `echo $$ >"$TMPDIR/pid"; exec sleep 60`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			environ := append(script(t, tt.editor), "TMPDIR="+tmp)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s, e := onTerminalUntil(ctx, t, environ)
			s.waitText(t, "favicon")
			s.keys("jjjjje")
			drafts := func() []string { list, _ := filepath.Glob(tmp + "/lrok-edit-*/*"); return list }
			if tt.wait != "" {
				s.waitText(t, tt.wait)
			} else {
				s.wait(t, func() bool { _, err := os.Stat(tmp + "/pid"); return err == nil }, "an open editor")
			}
			if n := len(drafts()); n != 1 {
				t.Fatalf("there are %d drafts, want one while the edit goes on", n)
			}
			if tt.keys != "" {
				s.keys(tt.keys)
			} else {
				cancel()
			}
			s.waitDone(t)
			if list, _ := filepath.Glob(tmp + "/lrok-edit-*"); len(list) > 0 {
				t.Errorf("%q is left", list)
			}
			if len(e.replays) != 0 {
				t.Errorf("sent %d replays, want none", len(e.replays))
			}
		})
	}
}

// A quit that is taken back leaves the question that waited.
func TestQuestionSurvivesAQuit(t *testing.T) {
	s, e := onTerminal(t, script(t, `sed -i 's/"amount_paid":4200/"amount_paid":99/' "$1"`))
	s.waitText(t, "favicon")
	s.keys("jjjjje")
	s.waitText(t, "send this to")
	s.keys("\x03")
	s.waitText(t, "Quit?")
	s.keys("n")
	s.waitText(t, "send this to")
	s.keys("y")
	s.waitText(t, "#1280 answered 200")
	if len(e.replays) != 1 {
		t.Errorf("sent %d replays, want the one", len(e.replays))
	}
}

// What people set as their editor may have quotes in it.
func TestEditorsWithQuotes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no shell to read them")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "with a blank")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nprintf '<%s>' \"$@\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"sh '" + file + "' -a ''":                 "<-a><><the file>",
		"sh \"" + file + "\" -w":                  "<-w><the file>",
		`X="a  b"; sh '` + file + `' "$X"`:        "<a  b><the file>",
		"printf %s.":                              "the file.",
		"sh " + dir + "/with\\ a\\ blank --wait ": "<--wait><the file>",
	} {
		argv := append(argvOf(command), "the file")
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil || string(out) != want {
			t.Errorf("%s says %q, %v, want %q", command, out, err, want)
		}
	}
	if got := argvOf("code  --wait"); !slices.Equal(got, []string{"code", "--wait"}) {
		t.Errorf("a plain command is %q", got)
	}
}

// Windows has no shell to read quotes, and paths with blanks.
func TestWordsOfACommand(t *testing.T) {
	for s, want := range map[string][]string{
		"": nil, "  ": nil, "vi": {"vi"}, " code  --wait ": {"code", "--wait"},
		`"C:\Program Files\Editor\editor.exe" -n --title "a b"`: {`C:\Program Files\Editor\editor.exe`, "-n", "--title", "a b"},
		`C:\"Program Files"\editor.exe ""`:                      {`C:\Program Files\editor.exe`, ""},
	} {
		if got := commandWords(s); !slices.Equal(got, want) {
			t.Errorf("commandWords(%q) = %q, want %q", s, got, want)
		}
	}
}

// onRequest is a screen with an editor and a request selected that can be edited.
func onRequest(t *testing.T) testModel {
	t.Helper()
	m := modelWith(t, 120, 36, 13)
	m.c.Environ = []string{"EDITOR=true"}
	for m.key("j"); m.selected().Kind != inspector.HTTP; {
		m.key("j")
	}
	return m
}

// A request that comes late opens no editor over what a person looks at by then.
func TestEditOfASlowEdge(t *testing.T) {
	for _, tt := range []struct {
		name   string
		during func(m testModel)
		opens  bool
		says   string // afterwards, "" for nothing of it
	}{
		{"waits", func(testModel) {}, true, ""},
		{"others arrive", func(m testModel) {
			x := demoList(frozen)[0]
			x.ID, x.Number = "req_later", 99
			m.feed.put("acme", x)
			m.msg(wakeMsg{})
		}, true, ""},
		{"looks and comes back", func(m testModel) { m.key("j", "k") }, true, ""},
		{"another request", func(m testModel) { m.key("j") }, false, "is here, and was not opened: you had gone on"},
		{"another screen", func(m testModel) { m.key("?") }, false, ""},
		{"a filter", func(m testModel) { m.key("/") }, false, ""},
		{"cancels", func(m testModel) { m.do("esc") }, false, "nothing was opened"},
		{"edits another", func(m testModel) { m.key("j", "e") }, false, "fetching"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			m := onRequest(t)
			m.c.API.(*demoEdge).add(m.selected().Exchange)
			fetch := m.edit()
			if s := m.statusRow(); !strings.Contains(s, "fetching #") || !strings.Contains(s, "esc cancels") {
				t.Errorf("while it is fetched the screen says %q", s)
			}
			if m.edit() != nil {
				t.Error("it is fetched twice")
			}
			msg := fetch().(editingMsg) // the edge has answered; the screen is told later
			tt.during(m)
			if cmd := m.editing(msg); (cmd != nil) != tt.opens {
				t.Errorf("the editor opens = %v, want %v", cmd != nil, tt.opens)
			}
			if s := m.note.text; tt.says == "" && strings.Contains(s, "fetching") || !strings.Contains(s, tt.says) {
				t.Errorf("the screen says %q, want %q", s, tt.says)
			}
			if list, _ := filepath.Glob(tmp + "/lrok-edit-*"); len(list) != b2i(tt.opens) {
				t.Errorf("there are %d drafts", len(list))
			}
			m.drafts.close()
		})
	}
}

// Who gives up waiting ends the call to the edge.
func TestEditCancelled(t *testing.T) {
	m := onRequest(t)
	m.c.API.(*demoEdge).stalled = true
	fetch := m.edit()
	done := make(chan tea.Msg)
	go func() { done <- fetch() }()
	m.do("esc")
	m.msg(<-done)
	if s := m.note.text; !strings.Contains(s, "nothing was opened") || m.fetching != nil {
		t.Errorf("after esc the screen says %q", s)
	}
}
