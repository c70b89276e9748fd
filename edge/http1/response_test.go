package http1_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/http1"
)

func response(r *http1.Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "1.%d %d %q framing=%v length=%d close=%t keep=%d upgrade=%q events=%t pinned=%t\n%q\n",
		r.Minor, r.Status, r.Reason, r.Framing, r.Length, r.Close, r.KeepAlive, r.Upgrade, r.EventStream, r.Pinned, r.Raw)
	fields(&b, r.Fields)
	return b.String()
}

func parseResponse(t *testing.T, s, method string) (*http1.Response, int, error) {
	t.Helper()
	var whole http1.Response
	n, err := http1.ParseResponse(&whole, []byte(s), http1.Limits{}, []byte(method))

	var pieces http1.Response
	m, perr := 0, error(nil)
	for i := 0; i <= len(s) && m == 0 && perr == nil; i++ {
		m, perr = http1.ParseResponse(&pieces, []byte(s[:i]), http1.Limits{}, []byte(method))
	}
	if m != n || perr != err {
		t.Fatalf("%q: byte by byte = %d, %v, in one piece = %d, %v", s, m, perr, n, err)
	}
	if n > 0 && response(&pieces) != response(&whole) {
		t.Fatalf("%q: byte by byte =\n%s\nin one piece =\n%s", s, response(&pieces), response(&whole))
	}
	return &whole, n, err
}

func TestParseResponse(t *testing.T) {
	type want struct {
		minor, status  int
		reason         string
		framing        http1.Framing
		length         int64
		close          bool
		keep           int
		upgrade        string
		events, pinned bool
		passed         string // lines that go on
		interim        bool
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	const three = "Content-Length: 3\r\n"
	for _, test := range []struct {
		name, method, head string
		want               want
	}{
		{"length", "GET", ok + three + "\r\n", want{1, 200, "OK", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"chunked", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n", want{1, 200, "OK", http1.Chunked, -1, false, 0, "", false, false, "Transfer-Encoding: chunked\r\n", false}},
		{"until close", "GET", ok + "\r\n", want{1, 200, "OK", http1.UntilClose, -1, true, 0, "", false, false, "", false}},
		{"close", "GET", ok + three + "Connection: close\r\n\r\n", want{1, 200, "OK", http1.Fixed, 3, true, 0, "", false, false, three, false}},
		{"custom reason", "GET", "HTTP/1.1 299 Custom Reason \xe4\r\n" + three + "\r\n", want{1, 299, "Custom Reason \xe4", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"empty reason", "GET", "HTTP/1.1 404 \r\n" + three + "\r\n", want{1, 404, "", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"no reason", "GET", "HTTP/1.1 404\r\n" + three + "\r\n", want{1, 404, "", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n" + three + "\r\n", want{0, 200, "OK", http1.Fixed, 3, true, 0, "", false, false, three, false}},
		{"HTTP/1.0 kept alive", "GET", "HTTP/1.0 200 OK\r\n" + three + "Connection: keep-alive\r\n\r\n", want{0, 200, "OK", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"HEAD with length", "HEAD", ok + three + "\r\n", want{1, 200, "OK", http1.None, 3, false, 0, "", false, false, three, false}},
		{"HEAD chunked", "HEAD", ok + "Transfer-Encoding: chunked\r\n\r\n", want{1, 200, "OK", http1.None, -1, false, 0, "", false, false, "Transfer-Encoding: chunked\r\n", false}},
		{"HEAD without", "HEAD", ok + "\r\n", want{1, 200, "OK", http1.None, -1, false, 0, "", false, false, "", false}},
		{"head in lower case is another method", "head", ok + three + "\r\n", want{1, 200, "OK", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"304 with length", "GET", "HTTP/1.1 304 Not Modified\r\n" + three + "\r\n", want{1, 304, "Not Modified", http1.None, 3, false, 0, "", false, false, three, false}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", want{1, 204, "No Content", http1.None, -1, false, 0, "", false, false, "", false}},
		{"204 with length", "GET", "HTTP/1.1 204 No Content\r\n" + three + "A: b\r\n\r\n", want{1, 204, "No Content", http1.None, -1, false, 0, "", false, false, "A: b\r\n", false}},
		{"204 chunked", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", want{1, 204, "No Content", http1.None, -1, false, 0, "", false, false, "", false}},
		{"100", "PUT", "HTTP/1.1 100 Continue\r\n\r\n", want{1, 100, "Continue", http1.None, -1, false, 0, "", false, false, "", true}},
		{"103", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", want{1, 103, "Early Hints", http1.None, -1, false, 0, "", false, false, "Link: </a>\r\n", true}},
		{"101", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n", want{1, 101, "Switching Protocols", http1.None, -1, false, 0, "websocket", false, false, "Sec-WebSocket-Accept: x\r\n", false}},
		{"426 offers an upgrade", "GET", "HTTP/1.1 426 Upgrade Required\r\n" + three + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", want{1, 426, "Upgrade Required", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"keep-alive timeout", "GET", ok + three + "Connection: keep-alive\r\nKeep-Alive: max=3, Timeout=5\r\n\r\n", want{1, 200, "OK", http1.Fixed, 3, false, 5, "", false, false, three, false}},
		{"keep-alive timeout 0", "GET", ok + three + "Keep-Alive: timeout=0\r\n\r\n", want{1, 200, "OK", http1.Fixed, 3, true, 0, "", false, false, three, false}},
		{"keep-alive nonsense", "GET", ok + three + "Keep-Alive: timeout=x, 5\r\n\r\n", want{1, 200, "OK", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"event stream", "GET", ok + "Content-Type: Text/Event-Stream; charset=utf-8\r\n\r\n", want{1, 200, "OK", http1.UntilClose, -1, true, 0, "", true, false, "Content-Type: Text/Event-Stream; charset=utf-8\r\n", false}},
		{"not quite an event stream", "GET", ok + three + "Content-Type: text/event-streams\r\n\r\n", want{1, 200, "OK", http1.Fixed, 3, false, 0, "", false, false, three + "Content-Type: text/event-streams\r\n", false}},
		{"NTLM", "GET", "HTTP/1.1 401 Unauthorized\r\n" + three + "WWW-Authenticate: Basic realm=\"x\", NTLM\r\n\r\n", want{1, 401, "Unauthorized", http1.Fixed, 3, false, 0, "", false, true, three + "WWW-Authenticate: Basic realm=\"x\", NTLM\r\n", false}},
		{"equal lengths", "GET", ok + three + three + "\r\n", want{1, 200, "OK", http1.Fixed, 3, false, 0, "", false, false, three, false}},
		{"Host twice", "GET", ok + three + "Host: a\r\nHost: b\r\n\r\n", want{1, 200, "OK", http1.Fixed, 3, false, 0, "", false, false, three + "Host: a\r\nHost: b\r\n", false}},
		{"bare LF", "GET", "HTTP/1.1 200 OK\nA:  b\nContent-Length: 3\n\n", want{1, 200, "OK", http1.Fixed, 3, true, 0, "", false, false, "A:  b\r\n" + three, false}},
		{"bare LF and CR LF", "GET", "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 3\r\n\n", want{1, 200, "OK", http1.Fixed, 3, true, 0, "", false, false, "A: b\r\n" + three, false}},
		{"folded line", "GET", ok + "A: b \r\n\t c\r\n \r\n  d\r\n" + three + "\r\n", want{1, 200, "OK", http1.Fixed, 3, true, 0, "", false, false, "A: b c d\r\n" + three, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, n, err := parseResponse(t, test.head+"body\r\n\r\n", test.method)
			if err != nil || n != len(test.head) {
				t.Fatalf("ParseResponse = %d, %v, want %d, nil", n, err, len(test.head))
			}
			got := want{
				minor: r.Minor, status: r.Status, reason: string(r.Reason), framing: r.Framing, length: r.Length,
				close: r.Close, keep: r.KeepAlive, upgrade: string(r.Upgrade), events: r.EventStream, pinned: r.Pinned,
				interim: r.Interim(),
			}
			for _, f := range r.Fields {
				if !f.Hop {
					got.passed += string(f.Line)
				}
			}
			if got != test.want {
				t.Errorf("ParseResponse = %+v\nwant            %+v", got, test.want)
			}
			if string(r.Raw) != test.head {
				t.Errorf("Raw = %q, want %q", r.Raw, test.head)
			}
		})
	}
}

func TestParseResponseRefuses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, test := range []struct {
		name, head string
		want       *http1.Error
	}{
		{"TLS alert", "\x15\x03\x01\x00\x02\x02\x46", http1.ErrTLS},
		{"other protocol", "SSH-2.0-OpenSSH", http1.ErrNotHTTP},
		{"ICY", "ICY 200 OK\r\n\r\n", http1.ErrNotHTTP},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", http1.ErrStatusLine},
		{"version without minor", "HTTP/1 200 OK\r\n\r\n", http1.ErrStatusLine},
		{"two digits", "HTTP/1.1 20 OK\r\n\r\n", http1.ErrStatusLine},
		{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", http1.ErrStatusLine},
		{"signed status", "HTTP/1.1 +20 OK\r\n\r\n", http1.ErrStatusLine},
		{"status under 100", "HTTP/1.1 099 OK\r\n\r\n", http1.ErrStatusLine},
		{"status line without status", "HTTP/1.1\r\n\r\n", http1.ErrStatusLine},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", http1.ErrStatusLine},
		{"tab for space", "HTTP/1.1\t200 OK\r\n\r\n", http1.ErrStatusLine},
		{"CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", http1.ErrStatusLine},
		{"NUL in the reason", "HTTP/1.1 200 O\x00\r\n\r\n", http1.ErrStatusLine},
		{"empty line before", "\r\n" + ok + "\r\n", http1.ErrEmptyLines},
		{"length and coding", ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", http1.ErrLengthAndCoding},
		{"lengths that differ", ok + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", http1.ErrLengths},
		{"equal lengths in different digits", ok + "Content-Length: 3\r\nContent-Length: 03\r\n\r\n", http1.ErrLengths},
		{"length list", ok + "Content-Length: 3, 3\r\n\r\n", http1.ErrLength},
		{"negative length", ok + "Content-Length: -1\r\n\r\n", http1.ErrLength},
		{"coding identity", ok + "Transfer-Encoding: identity\r\n\r\n", http1.ErrCoding},
		{"two codings", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", http1.ErrCoding},
		{"coding twice", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", http1.ErrCodings},
		{"coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", http1.ErrCodingVersion},
		{"space before colon", ok + "A : b\r\n\r\n", http1.ErrFieldSpace},
		{"control character", ok + "A: \x01\r\n\r\n", http1.ErrFieldValue},
		{"bare CR", ok + "A: b\rSet-Cookie: c\r\n\r\n", http1.ErrFieldValue},
		{"bare CR before a fold", ok + "A: b\r\r\n c\r\n\r\n", http1.ErrFieldValue},
		{"fold of the status line", ok + " A: b\r\n\r\n", http1.ErrFold},
		{"folded framing that differs", ok + "Content-Length: 3\r\n 4\r\n\r\n", http1.ErrLength},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, n, err := parseResponse(t, test.head, "GET"); err != test.want || n != 0 {
				t.Fatalf("ParseResponse = %d, %v, want 0, %v", n, err, test.want)
			}
		})
	}
}

func TestParseResponseIncomplete(t *testing.T) {
	for _, head := range []string{"", "H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r"} {
		if _, n, err := parseResponse(t, head, "GET"); n != 0 || err != nil {
			t.Errorf("ParseResponse(%q) = %d, %v, want 0, nil", head, n, err)
		}
	}
}

func TestResponseReuse(t *testing.T) {
	var r http1.Response
	http1.ParseResponse(&r, []byte("HTTP/1.0 401 No\nKeep-Alive: timeout=3\nWWW-Authenticate: NTLM\nContent-Type: text/event-stream\n\n"), http1.Limits{}, nil)
	const plain = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	http1.ParseResponse(&r, []byte(plain), http1.Limits{}, nil)
	var fresh http1.Response
	http1.ParseResponse(&fresh, []byte(plain), http1.Limits{}, nil)
	if response(&r) != response(&fresh) {
		t.Errorf("used Response =\n%s\nfresh Response =\n%s", response(&r), response(&fresh))
	}
}
