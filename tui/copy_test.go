package tui

import (
	"os"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

// What is copied says that secrets are left out when there were any, and is the
// same bytes when there were none.
func TestCopiesSayWhatIsLeftOut(t *testing.T) {
	x := demoList(frozen)[0]
	x.Request = message1("Content-Type", "text/plain", "hi")
	x.Request.Head = []byte("POST /webhooks/stripe HTTP/1.1\r\ncontent-TYPE:text/plain\r\n\r\n")
	for _, secret := range []bool{false, true} {
		if secret {
			x.Request.Header = append(x.Request.Header, inspector.Field{Name: "Authorization", Value: "Bearer aaaaaaaaaaaaaaaaaaaa"})
			x.Request.Head = []byte("POST /webhooks/stripe HTTP/1.1\r\ncontent-TYPE:text/plain\r\nAuthorization: Bearer aaaaaaaaaaaaaaaaaaaa\r\n\r\n")
		}
		for _, k := range []string{"c", "r", "h"} {
			what, s := extract(&x, k, false, false)
			if got := strings.HasSuffix(what, leftOut); got != secret || strings.Contains(s, "aaaaaa") {
				t.Errorf("with a secret %t, %s is %q:\n%s", secret, k, what, s)
			}
		}
		if _, s := extract(&x, "r", false, false); !strings.Contains(s, "\r\ncontent-TYPE:text/plain\r\n") {
			t.Errorf("the raw request is not as it came:\n%s", s)
		}
	}
}

// What no clipboard takes is in a file, and its name is in view.
func TestTooLargeForTheClipboard(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	m := modelWith(t, 240, 24, 13)
	m.c.Environ = []string{"SSH_TTY=x", "LANG=C.UTF-8"}
	m.msg(m.putClipboard("the curl command; secrets left out", strings.Repeat("x", oscLimit+1))())
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v: %d files", err, len(list))
	}
	if text := m.shows(); !strings.Contains(text, list[0].Name()) {
		t.Errorf("%s is not named:\n%s", list[0].Name(), text)
	}
}

// What was captured in part says so when it is copied.
func TestCopiesOfAPart(t *testing.T) {
	for _, tt := range []struct {
		k    string
		data string
		why  string
		want string
	}{
		{"b", "abc", "limit", "the first 3 bytes of the request body, 2.0 KiB"},
		{"c", "abc", "limit", "the curl command with the first 3 bytes of its body of 2.0 KiB"},
		{"r", "abc", "limit", "the raw request with the first 3 bytes of its body of 2.0 KiB"},
		{"c", "", "evicted", "the curl command without its body of 2.0 KiB"},
		{"b", "", "evicted", "there is nothing to copy: no longer captured: given up for newer requests"},
		{"h", "abc", "limit", "the request headers"},
	} {
		m := modelWith(t, 120, 36, 13)
		x := m.selected().Exchange
		x.Request = message1("Content-Type", "text/plain", tt.data)
		x.Request.Body.Size, x.Request.Body.Missing = 2000, tt.why
		m.whole(x)
		got := ""
		switch msg := m.copyPart(m.selected(), tt.k, false)().(type) {
		case copyReadyMsg:
			got = msg.what
		case copiedMsg:
			got = msg.text
		}
		if got != tt.want {
			t.Errorf("%s of %q: %q, want %q", tt.k, tt.data, got, tt.want)
		}
	}
}
