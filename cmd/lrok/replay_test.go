package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/lrok-dev/lrok/inspector"
)

// Who made a mistake in the editor is asked, and finds it told above what they
// wrote; with the mistake undone there is nothing to send.
func TestEditAgain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the editors are shell scripts")
	}
	far, near, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	defer func() { _, _ = near.Close(), far.Close() }()
	t.Setenv("CI", "")
	x := inspector.Exchange{ID: "req_1", Method: "GET", Path: "/", Host: "shop.tun.test", Request: inspector.Message{Header: []inspector.Field{{Name: "Host", Value: "shop.tun.test"}}}}
	for _, tt := range []struct {
		name, second, answers, want string
		sends, fails                bool
	}{
		{"mended", `sed 's/^nonsense$/A: b/' "$1" > "$1.new"; mv "$1.new" "$1"`, "y\n", "# lrok: line 4: ", true, false},
		{"undone", `grep -v nonsense "$1" > "$1.new"; mv "$1.new" "$1"`, "y\n", "# lrok: line 4: ", false, false},
		{"given up", `echo second >> "$1"`, "n\n", "", false, true},
		{"wrong twice", `echo more >> "$1"`, "y\nn\n", "# lrok: line 4: ", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			editor, seen := filepath.Join(dir, "editor"), filepath.Join(dir, "seen")
			// The first time it adds a wrong line, later it does what the case says.
			script := "#!/bin/sh\nif test -e " + seen + "; then cp \"$1\" " + seen + "; " + tt.second + "\nelse touch " + seen +
				"; sed 's/^Host/nonsense\\\nHost/' \"$1\" > \"$1.new\"; mv \"$1.new\" \"$1\"; fi\n"
			if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("VISUAL", editor)
			if _, err := io.WriteString(far, tt.answers); err != nil {
				t.Fatal(err)
			}
			ch, sends, err := (&options{stdin: near, stdout: near, stderr: near}).editRequest(t.Context(), &x)
			if sends != tt.sends || (err != nil) != tt.fails {
				t.Errorf("sends %+v: %v, error %v; want %v, error %v", ch, sends, err, tt.sends, tt.fails)
			}
			told, err := os.ReadFile(seen)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(told), tt.want) || tt.want == "" && len(told) > 0 {
				t.Errorf("the second time the file began with %.80q, want %q", told, tt.want)
			}
			if n := strings.Count(string(told), "# lrok: "); n > 1 {
				t.Errorf("what is wrong is told %d times in\n%s", n, told)
			}
		})
	}
}
