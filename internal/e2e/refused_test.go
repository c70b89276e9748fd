//go:build unix

package e2e

import (
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

// refusing is an edge that refuses every agent, once it may. It returns what leads
// a lrok to it.
func refusing(t testing.TB, why *tunnel.Error, may <-chan struct{}) (env []string) {
	t.Helper()
	dir := t.TempDir()
	dev, err := certs.OpenDev(dir, "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, dev.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				p, err := tunnel.Accept(c, &tunnel.EdgeConfig{TLS: certs.Config(dev)})
				if err != nil {
					return
				}
				<-may
				_ = p.Refuse(why)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return []string{"LROK_EDGE=" + l.Addr().String(), "LROK_EDGE_CA=" + ca, "LROK_API_KEY=" + store.NewKey()}
}

// What an edge refuses at once opens no screen. A refusal that comes when there is
// one, because the edge is slow, closes it; either way the reason and what to do
// stand on the terminal, and lrok ends with the code for it.
func TestRefusalLeavesPlainText(t *testing.T) {
	for code, exit := range map[string]int{tunnel.CodeKey: 3, tunnel.CodeName: 4, tunnel.CodeLimit: 5, tunnel.CodeVersion: 6} {
		for _, late := range []bool{false, true} {
			name := code + " at once"
			if late {
				name = code + " late"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				may := make(chan struct{})
				goOn := sync.OnceFunc(func() { close(may) })
				t.Cleanup(goOn)
				if !late {
					goOn()
				}
				w := openWindow(t, refusing(t, &tunnel.Error{Code: code, Message: "no, because of " + code, Hint: "do something about it"}, may), "http", "3000")
				if late {
					w.sees(0, modes[0].set)
					w.sees(0, "connecting")
					goOn()
				}
				if got := w.wait(); got != exit {
					t.Errorf("exit code %d, want %d", got, exit)
				}
				if late {
					w.restored(t)
				} else {
					w.quiet(t)
				}
				rows := strings.Split(strings.TrimRight(normal(w.shown()), " \n"), "\n")
				if len(rows) < 2 || !strings.HasPrefix(rows[0], "lrok: no, because of "+code) || !strings.HasPrefix(rows[1], "hint: do something about it") {
					t.Errorf("on the terminal stands\n%s\nwant the reason and the hint, and nothing before", strings.Join(rows, "\n"))
				}
			})
		}
	}
}
