package tui

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/export"
)

// chdir is an empty directory that the test works in.
func chdir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	return dir
}

// answer answers a prompt with another text than it offers.
func (m testModel) answer(s string) {
	m.prompt.set("")
	m.typed(s)
}

func TestFileName(t *testing.T) {
	for _, tt := range []struct {
		target, label, name, coding, want string
	}{
		{"/api/v1/orders?limit=5", "json", "", "", "orders.json"},
		{"/", "html", "", "", "body.html"},
		{"/avatar.png", "png 640x480", "", "", "avatar.png"},
		{"/avatar", "jpeg 640x480", "", "", "avatar.jpg"},
		{"/report.v2", "json", "", "", "report.v2.json"},
		{"/notes.md", "text", "", "", "notes.md"},
		{"/orders", "json", "", "gzip", "orders.json.gz"},
		{"/orders", "json", "", "BR", "orders.json.br"},
		{"/orders", "json", "", "gzip, br", "orders.json.bin"},
		{"/blob", "binary", "", "", "blob.bin"},
		{"/../../etc/passwd", "text", "", "", "passwd.txt"},
		{"/..", "text", "", "", "body.txt"},
		{"/-rf", "text", "", "", "rf.txt"},
		{"/a\x1b[31m\u202eb", "text", "", "", "a--31m-b.txt"},
		{"/upload", "avatar.gif  gif 1x1", "../avatar.gif", "", "avatar.gif"},
		{"/orders", "jq .a", "jq .a", "", "orders.ndjson"},
	} {
		if got := fileName(tt.target, &body{label: tt.label, name: tt.name}, tt.coding); got != tt.want {
			t.Errorf("fileName(%q, %s, %q, %q) = %q, want %q", tt.target, tt.label, tt.name, tt.coding, got, tt.want)
		}
	}
}

func TestWriteBody(t *testing.T) {
	dir := chdir(t)
	m := modelWith(t, 100, 30, 3)
	x := demoList(frozen)[0]
	x.Request = message1("Content-Type", "application/json", "Content-Encoding", "gzip", zipped(orders))
	m.whole(x)
	m.do("l")
	m.detail.tab = tabRequest
	m.do("w")
	if s := m.shows(); !strings.Contains(s, "b body, decoded") || !strings.Contains(s, "c as captured") || !strings.Contains(s, "h HAR of #3") {
		t.Fatalf("want to be asked what to write:\n%s", s)
	}
	m.do("b")
	if got := m.prompt.text(); got != "health.json" {
		t.Errorf("the name offered is %q", got)
	}
	m.do("enter")
	if s := m.shows(); !strings.Contains(s, "wrote the request body, decoded to health.json (") {
		t.Errorf("want to be told what was written:\n%s", s)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := read("health.json"); got != orders {
		t.Errorf("wrote %q, want the decoded body", got)
	}
	if st, err := os.Stat("health.json"); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, want it for its owner alone", st.Mode())
	}
	m.do("w", "c", "enter")
	if got := read("health.json.gz"); got != string(x.Request.Body.Data) {
		t.Error("the bytes are not those that were captured")
	}
	// What is there stays, unless a person says otherwise.
	if err := os.WriteFile("health.json", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.do("w", "b", "enter")
	if s := m.shows(); !strings.Contains(s, "health.json exists. Write over it?") || read("health.json") != "mine" {
		t.Errorf("want to be asked first:\n%s", s)
	}
	m.do("x")
	if s := m.shows(); !strings.Contains(s, "nothing was written") || read("health.json") != "mine" {
		t.Errorf("any other key is no:\n%s", s)
	}
	m.do("w", "b", "enter", "y")
	if st, _ := os.Stat("health.json"); read("health.json") != orders || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("wrote %q as %v after y", read("health.json"), st.Mode())
	}
	if err := os.Mkdir("sub", 0o700); err != nil {
		t.Fatal(err)
	}
	m.do("w", "b")
	m.answer("sub")
	if got := read("sub/health.json"); got != orders {
		t.Errorf("wrote %q into the directory", got)
	}
	m.do("w", "b")
	m.answer("nowhere/at/all")
	if s := m.shows(); !strings.Contains(s, "nowhere/at/all was not written: no such file") {
		t.Errorf("want the reason:\n%s", s)
	}
}

func TestWriteHAR(t *testing.T) {
	dir := chdir(t)
	m := modelWith(t, 140, 30, 0)
	edge := m.c.API.(*demoEdge)
	for i := range 3 {
		x := demoList(frozen)[0]
		x.ID, x.Path = "req_"+string(rune('a'+i)), "/cb?code=secretcode1234567&n=1"
		x.Request.Header = append(x.Request.Header, inspector.Field{Name: "Authorization", Value: "Bearer topsecrettoken99"})
		x = edge.add(x)
		m.feed.put("acme", x)
	}
	m.drain()
	m.do("w")
	if s := m.shows(); !strings.Contains(s, "a HAR of all 3") {
		t.Fatalf("want the list to be offered:\n%s", s)
	}
	m.do("a", "enter")
	data, err := os.ReadFile(filepath.Join(dir, "acme.har"))
	if err != nil {
		t.Fatalf("%v\n%s", err, m.shows())
	}
	list, err := export.ParseHAR(data)
	if err != nil || list.Len() != 3 {
		t.Errorf("the archive holds %d (%v), want 3", list.Len(), err)
	}
	if bytes.Contains(data, []byte("topsecret")) || bytes.Contains(data, []byte("secretcode")) || !strings.Contains(m.shows(), "S shows them") {
		t.Errorf("secrets are in the archive, or it is not told that they are not:\n%s", m.shows())
	}
	m.do("S", "w", "h", "enter")
	if data, err := os.ReadFile(filepath.Join(dir, sprintf("acme-%d.har", m.selected().Number))); err != nil || !bytes.Contains(data, []byte("topsecret")) {
		t.Errorf("%v: secrets that are on show are written", err)
	}
	edge.mu.Lock()
	edge.list = edge.list[1:]
	edge.mu.Unlock()
	m.do("w", "a")
	m.answer("some.har")
	if s := m.shows(); !strings.Contains(s, "without 1 that the edge has let go of") {
		t.Errorf("want to be told what is missing:\n%s", s)
	}
}

// What goes to a pager does nothing to a terminal.
func TestPagedIsHarmless(t *testing.T) {
	hostile := "\x1b]0;owned\x07\u202e{\"a\":\"\x9b31m\"}\x00"
	for _, contentType := range []string{"text/plain", "application/json", "application/octet-stream", "application/x-www-form-urlencoded", "text/event-stream"} {
		for _, data := range []string{hostile, `{"x\u001b":"` + "\x1b[2J" + `"}`, "a=1&b=" + hostile, "data: " + hostile + "\n\n"} {
			x := demoList(frozen)[0]
			x.Request = message1("Content-Type", contentType, data)
			b := layOut(t.Context(), &x, false, false)
			var rows []byte
			for i := range b.view().count() {
				rows, _ = b.view().line(rows, nil, i)
				rows = append(rows, '\n')
			}
			for _, out := range [][]byte{paged(b.view(), rows), paged(b.hex, nil)} {
				if bytes.ContainsAny(out, "\x1b\x07\x00\u202e") || !utf8.Valid(out) {
					t.Errorf("%s: %q gets through as %q", contentType, data, out)
				}
			}
		}
	}
}

func TestPipeToThePager(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record")
	environ := script(t, `cat >`+record+`.part; mv `+record+`.part `+record)
	for i, kv := range environ {
		if rest, ok := strings.CutPrefix(kv, "EDITOR="); ok {
			environ[i] = "PAGER=" + rest
		}
	}
	s, _ := onTerminal(t, environ)
	s.waitText(t, "favicon")
	s.keys("/path:/graphql\r\r")
	s.waitText(t, `"query": "{ viewer`)
	s.keys("|")
	var data []byte
	s.wait(t, func() (ok bool) {
		var err error
		data, err = os.ReadFile(record)
		return err == nil
	}, "what the pager has read")
	if !bytes.Contains(data, []byte("\n  \"")) || !bytes.HasPrefix(data, []byte("{\n")) {
		t.Errorf("the pager got %q , want the body as it is formatted", data)
	}
	s.keys("x")
	s.waitText(t, "00000000")
}

func TestHistoryIsKept(t *testing.T) {
	dir := t.TempDir()
	environ := []string{"LANG=C.UTF-8", "HOME=" + dir, "XDG_STATE_HOME=" + dir, "LOCALAPPDATA=" + dir}
	first := modelWith(t, 100, 30, 3)
	first.c.Environ = environ
	first.do("/")
	first.typed("status:5xx")
	first.do("/", "esc")
	second := modelWith(t, 100, 30, 3)
	second.c.Environ = environ
	second.do("/", "up")
	if got := second.bar.in.text(); got != "status:5xx" {
		t.Errorf("up brings %q, want what an earlier run has entered", got)
	}
	second.do("esc", "enter", "/")
	second.typed("paid")
	third := modelWith(t, 100, 30, 3)
	third.c.Environ = environ
	third.do("enter", "/", "up")
	if got := third.prompt.text(); got != "paid" {
		t.Errorf("up brings %q, want what an earlier run has searched for", got)
	}
	file := filepath.Join(stateFolder(environ), "filter.history")
	if st, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v: want a file for its owner alone", err, st)
	}
	for i := range 2 * keptLines {
		if err := keepHistory(file, sprintf("line %d", i%(keptLines+50))); err != nil {
			t.Fatal(err)
		}
	}
	list := readHistory(file)
	if len(list) != keptLines || list[keptLines-1] != "line 149" {
		t.Errorf("%d lines are kept, the last one %q, want the last %d", len(list), list[len(list)-1], keptLines)
	}
	if n, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".lrok-*")); len(n) != 0 {
		t.Errorf("%v are left", n)
	}
}
