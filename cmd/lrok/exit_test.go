package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// What an edge refuses ends lrok with the code that scripts rely on, and with
// the step that fixes it.
func TestRefusalsEndWithTheirCode(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, dir)
	}
	key := store.NewKey()
	t.Setenv("LROK_API_KEY", key)
	dev, err := certs.OpenDev(dir, "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "edge-ca.pem")
	if err := os.WriteFile(ca, dev.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]int{
		tunnel.CodeKey:         3,
		tunnel.CodeName:        4,
		tunnel.CodeNameInvalid: 2,
		tunnel.CodePort:        4,
		tunnel.CodeDomain:      4,
		tunnel.CodeForbidden:   3,
		tunnel.CodeLimit:       5,
		tunnel.CodeVersion:     6,
		tunnel.CodeUnsupported: 1,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p, err := tunnel.Accept(c, &tunnel.EdgeConfig{TLS: certs.Config(dev)})
			if err != nil {
				t.Errorf("%s: accept: %v", code, err)
				return
			}
			_ = p.Refuse(&tunnel.Error{Code: code, Message: "no, because of " + code, Hint: "do something about it"})
		})
		var stdout, stderr bytes.Buffer
		got := run([]string{"http", "3000", "--edge", l.Addr().String(), "--edge-ca", ca}, strings.NewReader(""), &stdout, &stderr)
		if got != want {
			t.Errorf("%s: exit code %d, want %d\n%s", code, got, want, stderr.String())
		}
		message, hint := "no, because of "+code, "do something about it"
		if code == tunnel.CodeKey { // which key, which edge, and how to use another
			message += fmt.Sprintf(" (key %s…, edge %s)", key[:9], l.Addr())
			hint += "; for another key: lrok login " + l.Addr().String()
		}
		if say := stderr.String(); !strings.Contains(say, fmt.Sprintf("lrok: %s\nhint: %s\n", message, hint)) {
			t.Errorf("%s: said %q, want the edge's message and hint", code, say)
		}
		_ = l.Close()
		wg.Wait()
	}
}
