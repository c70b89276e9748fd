package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
)

// answering is the address of a service that gives answer to a request and closes
// the connection, or with hold keeps it until the other side leaves.
func answering(t *testing.T, answer string, hold bool) string {
	t.Helper()
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
		defer func() { _ = c.Close() }()
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err != nil {
			t.Errorf("read the request: %v", err)
		}
		_, _ = io.WriteString(c, answer)
		if hold {
			_, _ = io.Copy(io.Discard, br)
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestSendToLongHeaderLine(t *testing.T) {
	policy := "default-src " + strings.Repeat("https://a.example ", 1000)
	addr := answering(t, "HTTP/1.1 103 Early Hints\r\nLink: "+policy+"\r\n\r\n"+
		"HTTP/1.1 200 OK\r\nContent-Security-Policy: "+policy+"\r\nContent-Length: 2\r\n\r\nok", false)
	y, err := sendToAddress(t.Context(), addr, &inspector.Exchange{Method: "GET", Path: "/"}, inspector.Changes{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := y.Response.Get("Content-Security-Policy"); y.Status != 200 || string(y.Response.Body.Data) != "ok" || got != strings.TrimSpace(policy) {
		t.Errorf("answer = %d, a header of %d bytes, body %q; want 200, %d bytes, ok", y.Status, len(got), y.Response.Body.Data, len(policy)-1)
	}
}

// Names below localhost are this machine, whether or not they resolve, and need no
// certificate that anybody signed.
func TestTestRequestToLocalhost(t *testing.T) {
	var got []string
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.Host+r.URL.Path)
		http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusFound)
	})
	open, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	var want []string
	for _, server := range []*httptest.Server{open, secure} {
		u := strings.Replace(server.URL, "127.0.0.1", "shop.localhost", 1)
		if err := new(reach).sendTest(t.Context(), tui.Tunnel{URL: u}); err != nil {
			t.Errorf("test request to %s: %v", u, err)
		}
		if y, err := sendToAddress(t.Context(), u, &inspector.Exchange{Method: "GET", Path: "/"}, inspector.Changes{}, false); err != nil || y.Status != 302 {
			t.Errorf("replay to %s = %d, %v, want 302", u, y.Status, err)
		}
		host := hostOf(u)
		want = append(want, "POST "+host+"/lrok-test", "GET "+u[strings.Index(u, "shop"):]+"/")
		server.Close()
		err := new(reach).sendTest(t.Context(), tui.Tunnel{URL: u})
		if err == nil || !strings.HasPrefix(err.Error(), "dial tcp") {
			t.Errorf("test request to nobody: %v, want the cause first", err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("came %q, want %q", got, want)
	}
}

// A tunnel's certificate may be of the edge's own authority.
func TestRoots(t *testing.T) {
	dev, err := certs.OpenDev(t.TempDir(), "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := dev.Certificate(&tls.ClientHelloInfo{ServerName: "shop.localhost"})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*reach{{CA: string(dev.CA())}, {}} {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: "shop.localhost", Roots: r.roots()})
		if trusted := err == nil; trusted != (r.CA != "") {
			t.Errorf("with CA %.20q: verify: %v", r.CA, err)
		}
	}
}

func TestSendToEndlessHead(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxHead), "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHead/6)} {
		addr := answering(t, answer+"\r\n\r\n", true)
		_, err := sendToAddress(t.Context(), addr, &inspector.Exchange{Method: "GET", Path: "/"}, inspector.Changes{}, false)
		if err == nil || !strings.Contains(err.Error(), "the head of the answer has more than 256 KiB") {
			t.Errorf("error = %v, want that the head is too long", err)
		}
	}
}

// Who ends lrok while an answer comes has not got a broken answer: there is none.
func TestSendToCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	defer context.AfterFunc(ctx, func() { _ = near.SetDeadline(time.Unix(1, 0)) })()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal") // ends once it was read
		cancel()
	})
	y := inspector.Exchange{Method: "GET"}
	err := readAnswer(ctx, near, &y)
	wg.Wait()
	if err == nil || y.EndedBy != "" || y.Error != "" {
		t.Errorf("error = %v, ended by %q: %q; want an error and nothing of the service", err, y.EndedBy, y.Error)
	}
}

// An answer that does not end is shown as far as it came.
func TestSendToTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := errors.New("no whole answer in 2 minutes")
		ctx, cancel := context.WithTimeoutCause(t.Context(), sendLimit, limit)
		defer cancel()
		near, far := net.Pipe()
		defer func() { _, _ = near.Close(), far.Close() }()
		defer context.AfterFunc(ctx, func() { _ = near.SetDeadline(time.Unix(1, 0)) })()
		go func() { _, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal") }()
		y := inspector.Exchange{Method: "GET"}
		if err := readAnswer(ctx, near, &y); err != nil {
			t.Fatal(err)
		}
		if y.Status != 200 || string(y.Response.Body.Data) != "hal" || y.EndedBy != "client" || y.Error != tunnel.CodeClientAborted || y.Detail != limit.Error() {
			t.Errorf("answer = %d %q, ended by %q, %q: %q; want half of it, ended here for the limit", y.Status, y.Response.Body.Data, y.EndedBy, y.Error, y.Detail)
		}
	})
}
