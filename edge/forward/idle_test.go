package forward

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Heads of every size around the buffers arrive whole, one after the other on a
// connection that was idle in between, with what came behind them.
func TestHeadsAfterIdling(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%d %s", len(r.Header.Get("X")), b)
	}))
	addr := r.secure(t)
	for name, dial := range map[string]func() (net.Conn, error){
		"TCP": func() (net.Conn, error) { return net.Dial("tcp", r.addr) },
		"TLS": func() (net.Conn, error) {
			return tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "a.tun.test"}) //nolint:gosec // the certificate is not what is tested
		},
	} {
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		br := bufio.NewReader(c)
		const get, post = "GET / HTTP/1.1\r\nHost: a.tun.test\r\nX: ", "POST / HTTP/1.1\r\nHost: a.tun.test\r\nContent-Length: 5\r\nX: "
		for _, size := range []int{100, firstSize - 1, firstSize, firstSize + 1, readSize - 1, readSize, readSize + 1, 3 * readSize, 100} {
			x := strings.Repeat("x", size-len(get)-4)
			_, got := ask(t, c, br, get+x+"\r\n\r\n")
			if want := fmt.Sprintf("%d ", len(x)); got != want {
				t.Errorf("%s, a head of %d bytes: %q, want %q", name, size, got, want)
			}
			waitFor(t, func() bool { return r.idleConns() == 1 })
		}
		// Two at once, the second in pieces.
		_, _ = io.WriteString(c, post+"1\r\n\r\nfirst"+post[:20])
		_, _ = io.WriteString(c, post[20:]+"22\r\n\r\nsecon")
		for _, want := range []string{"1 first", "2 secon"} {
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := io.ReadAll(res.Body); string(b) != want {
				t.Errorf("%s: %q, want %q", name, b, want)
			}
		}
		_ = c.Close()
		waitFor(t, func() bool { return r.idleConns() == 0 })
	}
}

// What an idle connection keeps is a fraction of the buffer that its requests
// are read into.
func TestIdleMemory(t *testing.T) {
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) {}))
	inUse := func() int64 {
		for range 3 { // pools give what they hold in the second
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const conns = 500
	before := inUse()
	buf := make([]byte, 4<<10)
	for range conns {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
		if n, err := c.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200 ") {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	waitFor(t, func() bool { return r.idleConns() == conns })
	if each := (inUse() - before) / conns; each > readSize/2 {
		t.Errorf("an idle connection keeps %d bytes, want less than %d", each, readSize/2)
	}
}
