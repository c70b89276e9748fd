//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A systemd is what a service manager hears of its service.
type systemd struct {
	c      *net.UnixConn
	socket string
}

func newSystemd(t testing.TB) *systemd {
	t.Helper()
	dir, err := os.MkdirTemp("", "lrok-") // the name of a socket has room for 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &systemd{socket: filepath.Join(dir, "notify")}
	s.c, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.c.Close() })
	return s
}

// next returns the assignments of the next message.
func (s *systemd) next(t testing.TB) map[string]string {
	t.Helper()
	_ = s.c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 4096)
	n, err := s.c.Read(b)
	if err != nil {
		t.Fatalf("the service manager hears nothing: %v", err)
	}
	said := make(map[string]string)
	for line := range strings.Lines(string(b[:n])) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			t.Errorf("%q is no assignment", line)
		}
		said[name] = value
	}
	return said
}

// monotonic is what systemd compares MONOTONIC_USEC with.
func monotonic(t testing.TB) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano() / 1000
}

// TestService runs an edge as docs/self-hosting/lrok.service does: its settings
// in a file, told by SIGHUP to read them again, ended by SIGTERM.
func TestService(t *testing.T) {
	t.Parallel()
	manager := newSystemd(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "edge.yaml")
	settings := func(more string) {
		t.Helper()
		text := fmt.Sprintf("domain: tun.test\nhttp: 127.0.0.1:0\nhttps: 127.0.0.1:0\ncontrol: 127.0.0.1:0\ninternal: 127.0.0.1:0\ntcp_ports: \"\"\n%s\n", more)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	settings("")
	e := &edgeProcess{dir: filepath.Join(dir, "state")}
	e.process = lrok(t, []string{"NOTIFY_SOCKET=" + manager.socket, "LROK_CONFIG=" + file, "STATE_DIRECTORY=" + e.dir}, "serve")
	if said := manager.next(t); said["READY"] != "1" {
		t.Fatalf("the first message is %v, want READY=1", said)
	}
	// Ready means ready: nothing is waited for any more.
	address := func(what string) string {
		f := strings.Fields(e.stderr.await(t, what))
		return f[len(f)-1]
	}
	e.http, e.https, e.control = address("public HTTP "), address("public HTTPS"), address("agents ")
	res, err := http.Get("http://" + address("health ") + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/readyz after READY=1: Status = %d, want 200", res.StatusCode)
	}

	local := named(t, "shop")
	first := e.tunnel(t, "", local)
	reload := func() {
		t.Helper()
		before := monotonic(t)
		if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		said := manager.next(t)
		at, _ := strconv.ParseInt(said["MONOTONIC_USEC"], 10, 64)
		if after := monotonic(t); said["RELOADING"] != "1" || at < before || at > after {
			t.Errorf("message %v, want RELOADING=1 and MONOTONIC_USEC from %d to %d", said, before, after)
		}
		if said := manager.next(t); said["READY"] != "1" || len(said) != 1 {
			t.Errorf("after the reload: %v, want READY=1 alone", said)
		}
	}
	second := func() *process {
		t.Helper()
		return lrok(t, e.reach(""), "http", local, "--plain", "--hint", "second")
	}

	settings("max_user_tunnels: 1")
	reload()
	p := second()
	if code := p.wait(); code != 5 {
		t.Errorf("beyond the new limit: exit code %d, want 5", code)
	}
	e.answers(t, "/", "shop /")

	settings("max_user_tunels: 9") // mistyped
	reload()
	e.stderr.await(t, "the old limits stay")
	if code := second().wait(); code != 5 {
		t.Errorf("after a reload that failed: exit code %d, want 5", code)
	}

	settings("max_user_tunnels: 2")
	reload()
	p = second()
	p.stdout.await(t, "https://second.tun.test")

	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if said := manager.next(t); said["STOPPING"] != "1" {
		t.Errorf("after SIGTERM: %v, want STOPPING=1", said)
	}
	if code := e.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, p := range []*process{first, p} {
		if !p.running() {
			t.Error("an agent has ended with its edge")
		}
	}
	if _, _, _, err := tryGet(e.http, "/"); err == nil {
		t.Error("the edge still answers after its end")
	}
	// Who looks back finds the reloads, and not what the mistyped one did not do.
	audit := lrok(t, nil, "admin", "audit", "--data-dir", e.dir, "--json")
	if code := audit.wait(); code != 0 {
		t.Fatalf("lrok admin audit: exit code %d", code)
	}
	lines := audit.stdout.String()
	for action, want := range map[string]int{"certs.reload": 3, "limits.reload": 2} {
		if got := strings.Count(lines, `"action": "`+action+`"`); got != want {
			t.Errorf("the audit log has %d lines of %s, want %d:\n%s", got, action, want, lines)
		}
	}
}
