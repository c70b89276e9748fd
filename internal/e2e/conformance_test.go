package e2e

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

var updateDocs = flag.Bool("update", false, "write docs/conformance.md anew from the results")

// A fidelity is one way in which proxies change traffic. The function fails the
// test unless lrok does what is wanted.
type fidelity struct {
	number int
	what   string
	others string // what httputil.ReverseProxy does
	wanted string
	check  func(t *testing.T)
}

// seen starts a tunnel to a service that answers 200 with no body, sends
// request, and returns the head that the service got.
func seen(t *testing.T, request string, configure ...func(*rigConfig)) (*rig, string) {
	t.Helper()
	heads := make(chan string, 16)
	r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
		heads <- head
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	}), configure...)
	c, br := r.dial(t)
	r.send(t, c, request)
	line, err := br.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 204") {
		t.Fatalf("answer %q, %v; want 204", line, err)
	}
	return r, <-heads
}

// answered starts a tunnel to a service that answers with the bytes of answer,
// and returns all that the client of request gets until the edge closes.
func answered(t *testing.T, request, answer string) (*rig, string) {
	t.Helper()
	r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
		_, _ = io.WriteString(c, answer)
	}))
	return r, r.exchange(t, request)
}

func trusting(c *rigConfig) {
	c.edge.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
}

const closing = "Host: HOST\r\nConnection: close\r\n\r\n"

var fidelities = []fidelity{
	{1, "client sends no `Accept-Encoding`", "adds `gzip`, inflates silently", "nothing is added", func(t *testing.T) {
		_, head := seen(t, "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n")
		wantNone(t, head, "accept-encoding")
	}},
	{2, "query `?b=2;c=3&a=%zz&z=1&a=1`", "dropped and sorted", "byte for byte", func(t *testing.T) {
		_, head := seen(t, "GET /?b=2;c=3&a=%zz&z=1&a=1 HTTP/1.1\r\nHost: HOST\r\n\r\n")
		wantStart(t, head, "GET /?b=2;c=3&a=%zz&z=1&a=1 HTTP/1.1")
	}},
	{3, "path `/a%2Fb//c/../d%7e/%E2%9C%93/;x=1`", "exact", "exact, no redirect", func(t *testing.T) {
		_, head := seen(t, "GET /a%2Fb//c/../d%7e/%E2%9C%93/;x=1 HTTP/1.1\r\nHost: HOST\r\n\r\n")
		wantStart(t, head, "GET /a%2Fb//c/../d%7e/%E2%9C%93/;x=1 HTTP/1.1")
	}},
	{4, "raw `| [ ] \" < > { } ^` in the path", "encoded anew", "the client's target verbatim", func(t *testing.T) {
		_, head := seen(t, "GET /|[]\"<>{}^ HTTP/1.1\r\nHost: HOST\r\n\r\n")
		wantStart(t, head, "GET /|[]\"<>{}^ HTTP/1.1")
	}},
	{5, "service sends no `Content-Type`", "guessed and added", "absent", func(t *testing.T) {
		_, answer := answered(t, "GET / HTTP/1.1\r\n"+closing, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
		wantNone(t, headOf(answer), "content-type")
		if bodyOf(answer) != "<html>" {
			t.Errorf("body %q, want <html>", bodyOf(answer))
		}
	}},
	{6, "service sends no `Date`", "added", "left as it is", func(t *testing.T) {
		_, answer := answered(t, "GET / HTTP/1.1\r\n"+closing, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		wantNone(t, headOf(answer), "date:")
	}},
	{7, "`Expect: 100-continue`, service answers 413 at once", "100, then 413", "only 413", func(t *testing.T) {
		r, answer := answered(t, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 413 Too Large\r\n") {
			t.Errorf("answer %q, want 413 first", answer)
		}
		if x := r.last(t); x.Status != 413 || len(x.Interim) != 0 {
			t.Errorf("captured %d after %v", x.Status, x.Interim)
		}
	}},
	{8, "response starts before the request body ends", "hangs", "both directions flow", func(t *testing.T) {
		r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 3 { // each piece is answered before the next one comes
				b := make([]byte, 4)
				if _, err := io.ReadFull(br, b); err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "4\r\n%s\r\n", b)
			}
			_, _ = io.WriteString(c, "0\r\n\r\n")
		}))
		c, br := r.dial(t)
		r.send(t, c, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 12\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range []string{"one.", "two.", "tri."} {
			r.send(t, c, piece)
			b := make([]byte, 4)
			if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != piece {
				t.Fatalf("got %q, %v; want %q back before the next is sent", b, err, piece)
			}
		}
		echoesOverH2C(t)
	}},
	{9, "service dies after 2 of 10 bytes", "connection cut with nothing", "status and headers arrive, then the cut; the capture says who", func(t *testing.T) {
		r, answer := answered(t, "GET / HTTP/1.1\r\n"+closing, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
		if !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") || bodyOf(answer) != "ab" {
			t.Errorf("answer %q, want the head and ab", answer)
		}
		if x := r.last(t); x.EndedBy != "upstream" || x.Error != "upstream_aborted" {
			t.Errorf("captured ended by %q (%s), want upstream (upstream_aborted)", x.EndedBy, x.Error)
		}
	}},
	{10, "reason phrase `299 Custom Reason`", "replaced", "kept, and in the capture", func(t *testing.T) {
		r, answer := answered(t, "GET / HTTP/1.1\r\n"+closing, "HTTP/1.1 299 Custom Reason\r\nContent-Length: 0\r\n\r\n")
		if statusLine(answer) != "HTTP/1.1 299 Custom Reason" {
			t.Errorf("status line %q", statusLine(answer))
		}
		if x := r.last(t); x.Reason != "Custom Reason" {
			t.Errorf("captured reason %q", x.Reason)
		}
	}},
	{11, "`OPTIONS *`", "answered by the proxy", "forwarded", func(t *testing.T) {
		_, head := seen(t, "OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n")
		wantStart(t, head, "OPTIONS * HTTP/1.1")
	}},
	{12, "header names `X-GitHub-Event`, `stripe-signature`, repeats", "canonical, sorted", "case and order kept, in the capture too", func(t *testing.T) {
		r, head := seen(t, "GET / HTTP/1.1\r\nstripe-signature: t=1\r\nHost: HOST\r\nX-GitHub-Event:  push  \r\nx-a: 2\r\nX-A: 1\r\naccept: */*\r\n\r\n")
		want := "stripe-signature: t=1\r\nHost: " + r.host + "\r\nX-GitHub-Event:  push  \r\nx-a: 2\r\nX-A: 1\r\naccept: */*\r\n"
		if !strings.Contains(head, "\r\n"+want) {
			t.Errorf("service saw\n%s\nwant in it\n%s", head, want)
		}
		x := r.last(t)
		if got := fmt.Sprint(x.Request.Header); got != "[{stripe-signature t=1} {Host "+r.host+"} {X-GitHub-Event push} {x-a 2} {X-A 1} {accept */*}]" {
			t.Errorf("captured %v", got)
		}
		_, answer := answered(t, "GET / HTTP/1.1\r\n"+closing, "HTTP/1.1 200 OK\r\nx-b: 2\r\nX-B: 1\r\nETAG: \"x\"\r\nContent-Length: 0\r\n\r\n")
		if !strings.Contains(answer, "\r\nx-b: 2\r\nX-B: 1\r\nETAG: \"x\"\r\n") {
			t.Errorf("client saw\n%s", answer)
		}
	}},
	{13, "103 Early Hints", "forwarded", "forwarded", func(t *testing.T) {
		r, answer := answered(t, "GET / HTTP/1.1\r\n"+closing, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if !strings.HasPrefix(answer, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n") {
			t.Errorf("client saw %q", answer)
		}
		if x := r.last(t); len(x.Interim) != 1 || x.Interim[0] != 103 {
			t.Errorf("captured interim %v, want 103", x.Interim)
		}
	}},
	{14, "Content-Length and Transfer-Encoding together", "Transfer-Encoding wins", "400 and close", func(t *testing.T) {
		refused(t, "400", "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	}},
	{15, "`Transfer-Encoding: xchunked`, two Host, two Content-Length, bare LF, obs-fold", "mixed", "400 (501 for an unknown coding) and close", func(t *testing.T) {
		for _, c := range []struct{ want, request string }{
			{"501", "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n"},
			{"400", "GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n"},
			{"400", "GET / HTTP/1.1\r\nHost: HOST\r\nHost: other.test\r\n\r\n"},
			{"400", "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"},
			{"400", "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
			{"400", "GET / HTTP/1.1\nHost: HOST\r\n\r\n"},
			{"400", "GET / HTTP/1.1\r\nHost: HOST\nX: y\r\n\r\n"},
			{"400", "GET / HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n"},
			{"400", "GET / HTTP/1.1\r\nHost: HOST\r\nX : a\r\n\r\n"},
			{"400", "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +3\r\n\r\nabc"},
			{"400", "GET / HTTP/1.1\r\n\r\n"},
		} {
			refused(t, c.want, c.request)
		}
	}},
	{16, "absolute-form target with another Host", "target wins", "target wins, the capture has both", func(t *testing.T) {
		r, head := seen(t, "GET http://HOST/p?q HTTP/1.1\r\nHost: other.test\r\n\r\n")
		wantStart(t, head, "GET /p?q HTTP/1.1")
		wantLine(t, head, "Host: "+r.host)
		if x := r.last(t); x.Host != r.host || x.Request.Get("Host") != "other.test" || x.Path != "http://"+r.host+"/p?q" {
			t.Errorf("captured host %q, Host line %q, target %q", x.Host, x.Request.Get("Host"), x.Path)
		}
	}},
	{17, "`Connection: X-Secret`, `TE: trailers`", "removed", "removed; `TE: trailers` kept", func(t *testing.T) {
		_, head := seen(t, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: X-Secret, TE\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers\r\n\r\n")
		for _, gone := range []string{"x-secret", "keep-alive", "proxy-connection"} {
			wantNone(t, head, gone)
		}
		wantLine(t, head, "TE: trailers")
	}},
	{18, "forged `X-Forwarded-*`, `Forwarded`, `X-Real-Ip`, `X-Original-*`, `X-Forwarded-Client-Cert`", "some pass", "none passes; from a trusted proxy they are appended to", func(t *testing.T) {
		forged := "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Client-Cert: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-Ip: 6.6.6.6\r\nX-Original-Url: /evil\r\nx_forwarded_for: 6.6.6.6\r\nX-Forwarded_Host: evil\r\n"
		r, head := seen(t, "GET / HTTP/1.1\r\nHost: HOST\r\n"+forged+"\r\n")
		for _, gone := range []string{"6.6.6.6", "evil", "gopher", "forwarded-port"} {
			wantNone(t, head, gone)
		}
		wantLine(t, head, "X-Forwarded-For: 127.0.0.1")
		wantLine(t, head, "X-Forwarded-Host: "+r.host)
		wantLine(t, head, "X-Forwarded-Proto: http")
		r, head = seen(t, "GET / HTTP/1.1\r\nHost: HOST\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nx_forwarded_for: 6.6.6.6\r\n\r\n", trusting)
		wantLine(t, head, "X-Forwarded-For: 203.0.113.9, 127.0.0.1")
		wantLine(t, head, "X-Forwarded-Proto: https")
		wantNone(t, head, "6.6.6.6")
		if x := r.last(t); !strings.HasPrefix(x.Remote, "203.0.113.9") || x.Scheme != "https" {
			t.Errorf("captured client %q over %s, want 203.0.113.9 over https", x.Remote, x.Scheme)
		}
	}},
	{19, "HEAD and 304 with Content-Length", "kept / dropped", "kept, and no body is waited for", func(t *testing.T) {
		r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
			for {
				status := "200 OK"
				if strings.HasPrefix(head, "GET") {
					status = "304 Not Modified"
				}
				_, _ = io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 1234\r\n\r\n")
				var err error
				if head, err = readHead(br); err != nil {
					return
				}
			}
		}))
		c, br := r.dial(t)
		for _, method := range []string{"HEAD", "GET", "HEAD"} { // on one connection: nothing may be left over
			r.send(t, c, method+" / HTTP/1.1\r\nHost: HOST\r\n\r\n")
			head, err := readHead(br)
			if err != nil {
				t.Fatal(err)
			}
			wantLine(t, head, "Content-Length: 1234")
		}
	}},
	{20, "trailers after chunks", "kept", "kept, both ways, and captured", func(t *testing.T) {
		got := make(chan string, 1)
		r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
			b := make([]byte, len("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"))
			_, _ = io.ReadFull(br, b)
			got <- string(b)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n2;ext=1\r\nok\r\n0\r\nX-Up: 2\r\n\r\n")
		}))
		answer := r.exchange(t, "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
		if s := <-got; s != "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n" {
			t.Errorf("service got %q", s)
		}
		if bodyOf(answer) != "2;ext=1\r\nok\r\n0\r\nX-Up: 2\r\n\r\n" {
			t.Errorf("client got %q", bodyOf(answer))
		}
		x := r.last(t)
		if fmt.Sprint(x.Request.Trailer, x.Response.Trailer) != "[{X-Sum 1}] [{X-Up 2}]" || string(x.Request.Body.Data) != "abc" || string(x.Response.Body.Data) != "ok" {
			t.Errorf("captured %v %v %q %q", x.Request.Trailer, x.Response.Trailer, x.Request.Body.Data, x.Response.Body.Data)
		}
	}},
	{21, "WebSocket upgrade, with half-close", "works", "byte for byte both ways", func(t *testing.T) {
		r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
			if !strings.Contains(head, "Upgrade: websocket\r\n") || !strings.Contains(head, "Connection: Upgrade\r\n") {
				_, _ = io.WriteString(c, "HTTP/1.1 400 No Upgrade\r\nContent-Length: 0\r\n\r\n")
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
			b, _ := io.ReadAll(br) // until the client's end
			_, _ = fmt.Fprintf(c, "got %q", b)
		}))
		c, br := r.dial(t)
		r.send(t, c, "GET /ws HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n")
		if head, err := readHead(br); err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
			t.Fatalf("answer %q, %v", head, err)
		}
		r.send(t, c, "\x00\xff\x81bytes")
		_ = c.CloseWrite()
		b, err := io.ReadAll(br)
		if want := "hellogot \"\\x00\\xff\\x81bytes\""; err != nil || string(b) != want {
			t.Errorf("client got %q, %v; want %q", b, err, want)
		}
		if x := r.last(t); x.Kind != inspector.WebSocket || x.Status != 101 {
			t.Errorf("captured %s %d", x.Kind, x.Status)
		}
	}},
	{22, "client leaves during an event stream", "the service sees it in 200 ms", "the service sees it within 500 ms, through the tunnel", func(t *testing.T) {
		left := make(chan struct{})
		streaming := make(chan struct{})
		r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
			close(streaming)
			_, _ = br.ReadByte()
			close(left)
		}))
		c, br := r.dial(t)
		r.send(t, c, "GET /events HTTP/1.1\r\nHost: HOST\r\n\r\n")
		if _, err := readHead(br); err != nil {
			t.Fatal(err)
		}
		<-streaming
		_ = c.Close()
		select {
		case <-left:
		case <-time.After(patience):
			t.Error("the service never sees that the client left")
		}
	}},
	{23, "HTTP/2 in, h2c out, trailers", "works", "with `--upstream-proto h2c`, and by itself for `application/grpc`", func(t *testing.T) {
		for _, proto := range []string{"h2c", ""} {
			local := h2cService(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Trailer", "Grpc-Status")
				_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Proto, r.Method, b, r.Trailer.Get("X-Req"))
				w.Header().Set("Grpc-Status", "0")
			})
			r := start(t, local, func(c *rigConfig) { c.claim.UpstreamProto = proto })
			req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://"+r.host+"/svc/Method", io.NopCloser(strings.NewReader("ping")))
			req.Header.Set("Content-Type", "application/grpc")
			req.Header.Set("TE", "trailers")
			req.Trailer = http.Header{"X-Req": {"t1"}}
			res, err := r.h2(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if string(b) != "HTTP/2.0 POST ping t1" || res.Trailer.Get("Grpc-Status") != "0" || res.ProtoMajor != 2 {
				t.Errorf("answer %q, trailer %v over %s", b, res.Trailer, res.Proto)
			}
		}
	}},
	{24, "event stream longer than any timeout", "cut by WriteTimeout", "never cut; idle limits are per direction", func(t *testing.T) {
		next := make(chan struct{})
		r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
			for range next {
				_, _ = io.WriteString(c, "data: x\n\n")
			}
		}), func(c *rigConfig) { c.edge.BodyTimeout = 300 * time.Millisecond })
		c, br := r.dial(t)
		r.send(t, c, "GET /events HTTP/1.1\r\nHost: HOST\r\n\r\n")
		if _, err := readHead(br); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			quiet, cancel := context.WithTimeout(t.Context(), time.Second) // three times the limit
			<-quiet.Done()
			cancel()
			next <- struct{}{}
			if line, err := br.ReadString('\n'); err != nil || line != "data: x\n" {
				t.Fatalf("read %q, %v", line, err)
			}
			_, _ = br.ReadString('\n')
		}
		close(next)
	}},
	{25, "header of 65 KiB", "1 MiB allowed", "431; the limit can be set", func(t *testing.T) {
		big := "GET / HTTP/1.1\r\nHost: HOST\r\nX: " + strings.Repeat("x", 65<<10) + "\r\n\r\n"
		refused(t, "431", big)
		seen(t, big, func(c *rigConfig) { c.edge.Limits.Header = 128 << 10 })
	}},
	{26, "Latin-1 bytes and underscores in headers", "pass", "pass", func(t *testing.T) {
		_, head := seen(t, "GET / HTTP/1.1\r\nHost: HOST\r\nX-Name: caf\xe9\r\nx_under_score: 1\r\n\r\n")
		wantLine(t, head, "X-Name: caf\xe9")
		wantLine(t, head, "x_under_score: 1")
	}},
	{27, "WebSocket over HTTP/2 (RFC 8441)", "off", "off: clients fall back to HTTP/1.1", func(t *testing.T) {
		r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {}))
		// SETTINGS_ENABLE_CONNECT_PROTOCOL (8) must not be offered.
		c := r.tls(t, "h2")
		_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil || head[3] != 4 {
			t.Fatalf("first frame %x, %v; want SETTINGS", head, err)
		}
		settings := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, settings); err != nil {
			t.Fatal(err)
		}
		for s := settings; len(s) >= 6; s = s[6:] {
			if s[0] == 0 && s[1] == 8 {
				t.Error("the edge offers CONNECT with a protocol")
			}
		}
	}},
}

func wantStart(t *testing.T, head, line string) {
	t.Helper()
	if got, _, _ := strings.Cut(head, "\r\n"); got != line {
		t.Errorf("service saw %q, want %q", got, line)
	}
}

// refused sends a request that must be answered with status, and the connection
// closed, without the service seeing anything of it.
func refused(t *testing.T, status, request string) {
	t.Helper()
	r := sharedRefuser(t)
	answer := r.exchange(t, request+"GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 "+status+" ") {
		t.Errorf("%.80q: answer %.80q, want %s", request, answer, status)
	}
	if n := strings.Count(answer, "HTTP/1.1 "); n != 1 {
		t.Errorf("%.80q: %d answers, want one and the end", request, n)
	}
}

// sharedRefuser is a tunnel to a service that fails the test when it is called.
func sharedRefuser(t *testing.T) *rig {
	return start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
		t.Errorf("the service was called: %q", head)
	}))
}

// echoesOverH2C is case 8 for a service that speaks HTTP/2, reached over
// HTTP/1.1.
func echoesOverH2C(t *testing.T) {
	t.Helper()
	r := start(t, h2cService(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		b := make([]byte, 4)
		for range 3 {
			if _, err := io.ReadFull(r.Body, b); err != nil {
				return
			}
			_, _ = w.Write(b)
			_ = rc.Flush()
		}
	}), func(c *rigConfig) { c.claim.UpstreamProto = "h2c" })
	c, br := r.dial(t)
	r.send(t, c, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 12\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{"one.", "two.", "tri."} {
		r.send(t, c, piece)
		b := make([]byte, 4)
		if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != piece {
			t.Fatalf("h2c: got %q, %v; want %q back before the next is sent", b, err, piece)
		}
	}
}

func h2cService(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: &p}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
	return l.Addr().String()
}

const conformancePage = "../../docs/conformance.md"

// TestConformance holds lrok to the 27 cases, and docs/conformance.md to the
// results.
func TestConformance(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# Conformance: what the tunnel does to HTTP

Proxies change traffic in small ways that break signatures, streams and strict
clients. Each row is a test on raw sockets through a whole edge and a whole
agent. This page is written by those tests (` + "`go test ./internal/e2e -run Conformance -update`" + `);
a test fails when it is out of date.

| # | case | ` + "`httputil.ReverseProxy`" + ` | lrok | test |
|--:|---|---|---|---|
`)
	for _, f := range fidelities {
		ok := t.Run(fmt.Sprintf("%02d", f.number), f.check)
		result := "passes"
		if !ok {
			result = "**fails**"
		}
		fmt.Fprintf(&page, "| %d | %s | %s | %s | %s |\n", f.number, cell(f.what), cell(f.others), cell(f.wanted), result)
	}
	if *updateDocs {
		if err := os.WriteFile(conformancePage, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(conformancePage)
	if err != nil || string(have) != page.String() {
		t.Errorf("docs/conformance.md is not what the tests found (%v): run with -update", err)
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
