package tui

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
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
