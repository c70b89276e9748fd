package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A keptClient is a public connection that is used again and again.
type keptClient struct {
	c  net.Conn
	br *bufio.Reader
}

func keep(t testing.TB, addr string) *keptClient {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &keptClient{c, bufio.NewReader(c)}
}

func (k *keptClient) get(path string) (string, error) {
	if err := k.send(path); err != nil {
		return "", err
	}
	return k.answer()
}

func (k *keptClient) send(path string) error {
	_ = k.c.SetDeadline(time.Now().Add(patience))
	_, err := fmt.Fprintf(k.c, "GET %s HTTP/1.1\r\nHost: shop.tun.test\r\n\r\n", path)
	return err
}

func (k *keptClient) answer() (string, error) {
	_ = k.c.SetDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(k.br, nil)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(b)), err
}

// closed waits up to limit for the edge to close the connection.
func (k *keptClient) closed(limit time.Duration) bool {
	_ = k.c.SetReadDeadline(time.Now().Add(limit))
	_, err := k.br.ReadByte()
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// An edge with 256 file descriptors goes on serving whom it serves while
// hundreds more knock, closes what it cannot take, lets agents in, and is as
// before once they have gone.
func TestFewDescriptors(t *testing.T) {
	path, err := lrokBinary()
	if err != nil {
		t.Fatal(err)
	}
	poor := filepath.Join(t.TempDir(), "lrok")
	script := "#!/bin/sh\nulimit -n 256\nexec '" + path + "' \"$@\"\n"
	if err := os.WriteFile(poor, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	release := make(chan struct{})
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, "ok")
	})
	e := serveBy(t, poor, nil)
	agent := e.tunnel(t, "", "http://"+local)

	var kept []*keptClient
	for range 5 {
		kept = append(kept, keep(t, e.http))
	}
	use := func(when string) {
		t.Helper()
		for i, k := range kept {
			if got, err := k.get("/"); err != nil || got != "200 ok" {
				t.Fatalf("%s: connection %d got %q, %v; want 200 ok", when, i, got, err)
			}
		}
	}
	use("at first")
	slow := keep(t, e.http)
	if err := slow.send("/slow"); err != nil {
		t.Fatal(err)
	}

	const crowd = 400
	for _, kind := range []struct{ name, sends string }{
		{"idle connections", ""},
		{"connections with half a head", "GET / HTTP/1.1\r\nHost: sh"},
	} {
		var conns []*keptClient
		for i := range crowd {
			k := keep(t, e.http)
			_, _ = io.WriteString(k.c, kind.sends)
			conns = append(conns, k)
			if i%20 == 0 { // who uses a connection keeps it
				use(kind.name)
			}
		}
		use(kind.name)
		turned := 0
		for _, k := range conns {
			if k.closed(time.Millisecond) {
				turned++
			}
		}
		if turned < crowd-256 {
			t.Errorf("%s: %d of %d were closed, want at least %d", kind.name, turned, crowd, crowd-256)
		}
		if kind.sends == "" {
			agent.kill()
			agent = e.tunnel(t, "", "http://"+local, "--takeover")
		}
		e.answers(t, "/", "ok") // on a new connection, in the place of another
		for _, k := range conns {
			_ = k.c.Close()
		}
		e.answers(t, "/", "ok")
		use("after the " + kind.name)
	}
	// What was in flight when the agent was killed has its answer; requests in
	// flight make no room for new ones.
	if _, err := slow.answer(); err != nil {
		t.Errorf("the request in flight got no answer: %v", err)
	}
	var conns []*keptClient
	for range crowd {
		k := keep(t, e.http)
		_ = k.send("/slow")
		conns = append(conns, k)
	}
	// Those that were let in are answered in their time, and others are closed
	// long before that.
	turned, answered := 0, 0
	var waiting []*keptClient
	for _, k := range conns {
		if k.closed(5 * time.Millisecond) {
			turned++
		} else {
			waiting = append(waiting, k)
		}
	}
	close(release)
	for _, k := range waiting {
		if got, err := k.answer(); err == nil && got == "200 ok" {
			answered++
		}
	}
	if answered < 150 || turned+answered != crowd {
		t.Errorf("of %d requests that wait, %d were answered and %d turned away; want at least 150 answered and the others turned away", crowd, answered, turned)
	}
	for _, k := range conns {
		_ = k.c.Close()
	}
	e.answers(t, "/", "ok")
	agent.kill()
	if code := e.term(); code != 0 {
		t.Errorf("lrok serve ended with %d, want 0", code)
	}
}
