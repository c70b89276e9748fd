package http1_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/http1"
)

// request writes down everything a Request says.
func request(r *http1.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q 1.%d form=%d scheme=%q path=%q host=%q hostfield=%q framing=%v length=%d",
		r.Method, r.Target, r.Minor, r.Form, r.Scheme, r.Path, r.Host, r.HostField, r.Framing, r.Length)
	fmt.Fprintf(&b, " close=%t expect=%t trailers=%t upgrade=%q pinned=%t\n%q\n",
		r.Close, r.Expect100, r.Trailers, r.Upgrade, r.Pinned, r.Raw)
	fields(&b, r.Fields)
	return b.String()
}

func fields(b *strings.Builder, fs []http1.Field) {
	for _, f := range fs {
		fmt.Fprintf(b, "%q=%q %q kind=%d hop=%t\n", f.Name, f.Value, f.Line, f.Kind, f.Hop)
	}
}

// parseRequest parses s in one piece and then byte by byte, each time in a
// buffer of its own, and fails the test unless both agree.
func parseRequest(t *testing.T, s string, l http1.Limits) (*http1.Request, int, error) {
	t.Helper()
	var whole http1.Request
	n, err := http1.ParseRequest(&whole, []byte(s), l)

	var pieces http1.Request
	m, perr := 0, error(nil)
	var last []byte
	for i := 0; i <= len(s) && m == 0 && perr == nil; i++ {
		for j := range last {
			last[j] = 0xff // whoever still looks there will be noticed
		}
		last = []byte(s[:i])
		m, perr = http1.ParseRequest(&pieces, last, l)
	}
	if m != n || perr != err {
		t.Fatalf("%q: byte by byte = %d, %v, in one piece = %d, %v", s, m, perr, n, err)
	}
	if n > 0 && request(&pieces) != request(&whole) {
		t.Fatalf("%q: byte by byte =\n%s\nin one piece =\n%s", s, request(&pieces), request(&whole))
	}
	return &whole, n, err
}

func TestParseRequest(t *testing.T) {
	const h = "Host: a.example\r\n"
	type want struct {
		method, target, path, host, hostField string
		form                                  http1.TargetForm
		minor                                 int
		framing                               http1.Framing
		length                                int64
		close, expect, trailers, pinned       bool
		upgrade, scheme                       string
	}
	get := func(change func(w *want)) want {
		w := want{method: "GET", target: "/", path: "/", host: "a.example", hostField: "a.example", minor: 1}
		if change != nil {
			change(&w)
		}
		return w
	}
	same := func(target string) func(w *want) { return func(w *want) { w.target, w.path = target, target } }
	old := func(w *want) { w.minor, w.close = 0, true }
	for _, test := range []struct {
		name, head string
		want       want
	}{
		{"plain", "GET / HTTP/1.1\r\n" + h + "\r\n", get(nil)},
		{"one empty line before", "\r\nGET / HTTP/1.1\r\n" + h + "\r\n", get(nil)},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n" + h + "\r\n", get(old)},
		{"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", get(func(w *want) { old(w); w.host, w.hostField = "", "" })},
		{"HTTP/1.0 kept alive", "GET / HTTP/1.0\r\n" + h + "connection: Keep-Alive\r\n\r\n", get(func(w *want) { w.minor = 0 })},
		{"HTTP/1.7", "GET / HTTP/1.7\r\n" + h + "\r\n", get(func(w *want) { w.minor = 7 })},
		{"close", "GET / HTTP/1.1\r\n" + h + "Connection: foo, CLOSE\r\n\r\n", get(func(w *want) { w.close = true })},
		{"close and keep-alive", "GET / HTTP/1.1\r\n" + h + "Connection: close\r\nConnection: keep-alive\r\n\r\n", get(func(w *want) { w.close = true })},
		{"method in lower case", "purge / HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) { w.method = "purge" })},
		{"odd method", "M-SEARCH!#$ / HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) { w.method = "M-SEARCH!#$" })},
		{"query as it came", "GET /?b=2;c=3&a=%zz&z=1&a=1 HTTP/1.1\r\n" + h + "\r\n", get(same("/?b=2;c=3&a=%zz&z=1&a=1"))},
		{"path as it came", "GET /a%2Fb//c/../d%7e/%E2%9C%93/;x=1 HTTP/1.1\r\n" + h + "\r\n", get(same("/a%2Fb//c/../d%7e/%E2%9C%93/;x=1"))},
		{"raw bytes in the target", "GET /|[]\"<>{}^\\`#\xe2\x9c\x93\xff HTTP/1.1\r\n" + h + "\r\n", get(same("/|[]\"<>{}^\\`#\xe2\x9c\x93\xff"))},
		{"two slashes", "GET //b.example/x HTTP/1.1\r\n" + h + "\r\n", get(same("//b.example/x"))},
		{"asterisk", "OPTIONS * HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) {
			w.method, w.target, w.path, w.form = "OPTIONS", "*", "*", http1.Asterisk
		})},
		{"absolute, other Host", "GET http://B.example:81/p?q HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) {
			w.target, w.path, w.form, w.host, w.scheme = "http://B.example:81/p?q", "/p?q", http1.Absolute, "B.example:81", "http"
		})},
		{"absolute, empty path", "GET HTTPS://b.example HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) {
			w.target, w.path, w.form, w.host, w.scheme = "HTTPS://b.example", "/", http1.Absolute, "b.example", "HTTPS"
		})},
		{"absolute, query only", "GET http://b.example?q/x HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) {
			w.target, w.path, w.form, w.host, w.scheme = "http://b.example?q/x", "/?q/x", http1.Absolute, "b.example", "http"
		})},
		{"absolute OPTIONS without path", "OPTIONS http://b.example HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) {
			w.method, w.target, w.path, w.form, w.host, w.scheme = "OPTIONS", "http://b.example", "*", http1.Absolute, "b.example", "http"
		})},
		{"absolute, IPv6", "GET http://[::1]:80/ HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) {
			w.target, w.form, w.host, w.scheme = "http://[::1]:80/", http1.Absolute, "[::1]:80", "http"
		})},
		{"absolute in HTTP/1.0 without Host", "GET http://b.example/ HTTP/1.0\r\n\r\n", get(func(w *want) {
			old(w)
			w.target, w.form, w.host, w.hostField, w.scheme = "http://b.example/", http1.Absolute, "b.example", "", "http"
		})},
		{"CONNECT", "CONNECT b.example:443 HTTP/1.1\r\n" + h + "\r\n", get(func(w *want) {
			w.method, w.target, w.path, w.form, w.host = "CONNECT", "b.example:443", "", http1.Authority, "b.example:443"
		})},
		{"Host with port and spaces around", "GET / HTTP/1.1\r\nHOST: \t a.example:8080 \t\r\n\r\n", get(func(w *want) {
			w.host, w.hostField = "a.example:8080", "a.example:8080"
		})},
		{"length", "GET / HTTP/1.1\r\n" + h + "content-LENGTH: 0012\r\n\r\n", get(func(w *want) { w.framing, w.length = http1.Fixed, 12 })},
		{"length 0", "GET / HTTP/1.1\r\n" + h + "Content-Length: 0\r\n\r\n", get(func(w *want) { w.framing = http1.Fixed })},
		{"greatest length", "GET / HTTP/1.1\r\n" + h + "Content-Length: 9223372036854775807\r\n\r\n", get(func(w *want) {
			w.framing, w.length = http1.Fixed, 1<<63-1
		})},
		{"chunked", "GET / HTTP/1.1\r\n" + h + "Transfer-Encoding:\tChunked \r\n\r\n", get(func(w *want) { w.framing, w.length = http1.Chunked, -1 })},
		{"expect", "GET / HTTP/1.1\r\n" + h + "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n", get(func(w *want) {
			w.expect, w.framing, w.length = true, http1.Fixed, 1
		})},
		{"expect in HTTP/1.0", "GET / HTTP/1.0\r\n" + h + "Expect: 100-continue\r\n\r\n", get(old)},
		{"upgrade", "GET / HTTP/1.1\r\n" + h + "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", get(func(w *want) { w.upgrade = "websocket" })},
		{"upgrade that Connection does not list", "GET / HTTP/1.1\r\n" + h + "Upgrade: websocket\r\n\r\n", get(nil)},
		{"upgrade in HTTP/1.0", "GET / HTTP/1.0\r\n" + h + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", get(old)},
		{"trailers", "GET / HTTP/1.1\r\n" + h + "TE: gzip;q=1, trailers\r\n\r\n", get(func(w *want) { w.trailers = true })},
		{"NTLM", "GET / HTTP/1.1\r\n" + h + "Authorization: NTLM TlRMTVNT\r\n\r\n", get(func(w *want) { w.pinned = true })},
		{"Negotiate", "GET / HTTP/1.1\r\n" + h + "authorization: negotiate YII\r\n\r\n", get(func(w *want) { w.pinned = true })},
		{"Basic", "GET / HTTP/1.1\r\n" + h + "Authorization: Basic bnRsbTp4\r\n\r\n", get(nil)},
	} {
		t.Run(test.name, func(t *testing.T) {
			const rest = "body\n\r\n\r\n"
			r, n, err := parseRequest(t, test.head+rest, http1.Limits{})
			if err != nil || n != len(test.head) {
				t.Fatalf("ParseRequest = %d, %v, want %d, nil", n, err, len(test.head))
			}
			got := want{
				method: string(r.Method), target: string(r.Target), path: string(r.Path), host: string(r.Host),
				hostField: string(r.HostField), form: r.Form, minor: r.Minor, framing: r.Framing, length: r.Length,
				close: r.Close, expect: r.Expect100, trailers: r.Trailers, pinned: r.Pinned,
				upgrade: string(r.Upgrade), scheme: string(r.Scheme),
			}
			if got != test.want {
				t.Errorf("ParseRequest = %+v\nwant           %+v", got, test.want)
			}
			if want := strings.TrimPrefix(test.head, "\r\n"); string(r.Raw) != want {
				t.Errorf("Raw = %q, want %q", r.Raw, want)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	const (
		get = "GET / HTTP/1.1\r\n"
		h   = "Host: a.example\r\n"
	)
	for _, test := range []struct {
		name, head string
		want       *http1.Error
		status     int
	}{
		{"bare LF", "GET / HTTP/1.1\n", http1.ErrBareLF, 400},
		{"bare LF after a field", get + "Host: a.example\n\r\n", http1.ErrBareLF, 400},
		{"bare LF as blank line", get + h + "\n", http1.ErrBareLF, 400},
		{"bare LF before the request", "\nGET / HTTP/1.1\r\n", http1.ErrBareLF, 400},
		{"bare CR in a value", get + h + "A: b\rC: d\r\n\r\n", http1.ErrFieldValue, 400},
		{"bare CR at a line end", get + h + "A: b\r\r\n\r\n", http1.ErrFieldValue, 400},
		{"bare CR in a name", get + h + "\rA: b\r\n\r\n", http1.ErrFieldName, 400},
		{"bare CR in the target", "GET /\r HTTP/1.1\r\n" + h + "\r\n", http1.ErrTargetByte, 400},
		{"line of one CR", get + h + "\r\r\n\r\n", http1.ErrFieldName, 400},
		{"two empty lines before", "\r\n\r\n" + get, http1.ErrEmptyLines, 400},
		{"folded line", get + h + "A: b\r\n c\r\n\r\n", http1.ErrFold, 400},
		{"folded line, tab", get + h + "A: b\r\n\tc\r\n\r\n", http1.ErrFold, 400},
		{"fold after the request line", get + " A: b\r\n" + h + "\r\n", http1.ErrFold, 400},
		{"line of spaces", get + h + "  \r\n\r\n", http1.ErrFold, 400},
		{"space before colon", get + h + "Content-Length : 3\r\n\r\n", http1.ErrFieldSpace, 400},
		{"tab before colon", get + h + "A\t: b\r\n\r\n", http1.ErrFieldSpace, 400},
		{"no colon", get + h + "A\r\n\r\n", http1.ErrFieldName, 400},
		{"empty name", get + h + ": b\r\n\r\n", http1.ErrFieldName, 400},
		{"parenthesis in a name", get + h + "A(: b\r\n\r\n", http1.ErrFieldName, 400},
		{"Latin-1 in a name", get + h + "A\xe4: b\r\n\r\n", http1.ErrFieldName, 400},
		{"NUL in a name", get + h + "A\x00: b\r\n\r\n", http1.ErrFieldName, 400},
		{"NUL in a value", get + h + "A: 12345678\x00\r\n\r\n", http1.ErrFieldValue, 400},
		{"vertical tab in a value", get + h + "Transfer-Encoding: \vchunked\r\n\r\n", http1.ErrFieldValue, 400},
		{"DEL in a value", get + h + "A: 1\x7f3456789\r\n\r\n", http1.ErrFieldValue, 400},
		{"no Host", get + "A: b\r\n\r\n", http1.ErrNoHost, 400},
		{"no field at all", get + "\r\n", http1.ErrNoHost, 400},
		{"two Hosts", get + h + "A: b\r\n" + h + "\r\n", http1.ErrHosts, 400},
		{"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\n" + h + "HOST: b\r\n\r\n", http1.ErrHosts, 400},
		{"no Host, absolute target", "GET http://a.example/ HTTP/1.1\r\n\r\n", http1.ErrNoHost, 400},
		{"empty Host", get + "Host:\r\n\r\n", http1.ErrHost, 400},
		{"Host with a list", get + "Host: a, b\r\n\r\n", http1.ErrHost, 400},
		{"Host with a path", get + "Host: a/b\r\n\r\n", http1.ErrHost, 400},
		{"Host with user", get + "Host: u@a\r\n\r\n", http1.ErrHost, 400},
		{"Host with escape", get + "Host: %61\r\n\r\n", http1.ErrHost, 400},
		{"Host with word as port", get + "Host: a:http\r\n\r\n", http1.ErrHost, 400},
		{"Host with large port", get + "Host: a:65536\r\n\r\n", http1.ErrHost, 400},
		{"Host with two ports", get + "Host: a:80:80\r\n\r\n", http1.ErrHost, 400},
		{"Host of a port", get + "Host: :80\r\n\r\n", http1.ErrHost, 400},
		{"Host with open bracket", get + "Host: [::1\r\n\r\n", http1.ErrHost, 400},
		{"Host with zone", get + "Host: [fe80::1%25eth0]\r\n\r\n", http1.ErrHost, 400},
		{"bad Host beside absolute target", "GET http://a.example/ HTTP/1.1\r\nHost: a b\r\n\r\n", http1.ErrHost, 400},
		{"two lengths", get + h + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", http1.ErrLengths, 400},
		{"two equal lengths", get + h + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", http1.ErrLengths, 400},
		{"length list", get + h + "Content-Length: 3, 3\r\n\r\n", http1.ErrLength, 400},
		{"length with plus", get + h + "Content-Length: +3\r\n\r\n", http1.ErrLength, 400},
		{"length with minus", get + h + "Content-Length: -3\r\n\r\n", http1.ErrLength, 400},
		{"length with space", get + h + "Content-Length: 1 2\r\n\r\n", http1.ErrLength, 400},
		{"length in hex", get + h + "Content-Length: 0x3\r\n\r\n", http1.ErrLength, 400},
		{"length with underscore", get + h + "Content-Length: 1_0\r\n\r\n", http1.ErrLength, 400},
		{"empty length", get + h + "Content-Length:\r\n\r\n", http1.ErrLength, 400},
		{"length over 2^63", get + h + "Content-Length: 9223372036854775808\r\n\r\n", http1.ErrLength, 400},
		{"length over 2^64", get + h + "Content-Length: 18446744073709551617\r\n\r\n", http1.ErrLength, 400},
		{"length of zeros", get + h + "Content-Length: 00000000000000000003\r\n\r\n", http1.ErrLength, 400},
		{"length and coding", get + h + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", http1.ErrLengthAndCoding, 400},
		{"coding and length", get + h + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", http1.ErrLengthAndCoding, 400},
		{"length and unknown coding", get + h + "Content-Length: 3\r\nTransfer-Encoding: x\r\n\r\n", http1.ErrLengthAndCoding, 400},
		{"unknown coding", get + h + "Transfer-Encoding: xchunked\r\n\r\n", http1.ErrCoding, 501},
		{"coding identity", get + h + "Transfer-Encoding: identity\r\n\r\n", http1.ErrCoding, 501},
		{"coding before chunked", get + h + "Transfer-Encoding: gzip, chunked\r\n\r\n", http1.ErrCoding, 501},
		{"coding after chunked", get + h + "Transfer-Encoding: chunked, gzip\r\n\r\n", http1.ErrCoding, 501},
		{"coding with parameter", get + h + "Transfer-Encoding: chunked;q=1\r\n\r\n", http1.ErrCoding, 501},
		{"coding in quotes", get + h + "Transfer-Encoding: \"chunked\"\r\n\r\n", http1.ErrCoding, 501},
		{"chunked twice in a line", get + h + "Transfer-Encoding: chunked, chunked\r\n\r\n", http1.ErrCodings, 400},
		{"chunked twice in two lines", get + h + "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", http1.ErrCodings, 400},
		{"empty coding", get + h + "Transfer-Encoding:\r\n\r\n", http1.ErrCodings, 400},
		{"coding in HTTP/1.0", "POST / HTTP/1.0\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n", http1.ErrCodingVersion, 400},
		{"trailer announces framing", get + h + "Transfer-Encoding: chunked\r\nTrailer: A, content-length\r\n\r\n", http1.ErrTrailerName, 400},
		{"method with a slash", "GE/T / HTTP/1.1\r\n" + h + "\r\n", http1.ErrMethod, 400},
		{"method with Latin-1", "G\xc4T / HTTP/1.1\r\n" + h + "\r\n", http1.ErrMethod, 400},
		{"space first", " GET", http1.ErrNotHTTP, 400},
		{"TLS", "\x16\x03\x01\x02", http1.ErrTLS, 400},
		{"binary", "\x00\x01", http1.ErrNotHTTP, 400},
		{"two spaces before the target", "GET  / HTTP/1.1\r\n" + h + "\r\n", http1.ErrTargetByte, 400},
		{"two spaces after the target", "GET /  HTTP/1.1\r\n" + h + "\r\n", http1.ErrTargetByte, 400},
		{"space in the target", "GET /a b HTTP/1.1\r\n" + h + "\r\n", http1.ErrTargetByte, 400},
		{"tab in the target", "GET /a\tb HTTP/1.1\r\n" + h + "\r\n", http1.ErrTargetByte, 400},
		{"NUL in the target", "GET /abcdefgh\x00 HTTP/1.1\r\n" + h + "\r\n", http1.ErrTargetByte, 400},
		{"DEL in the target", "GET /\x7f HTTP/1.1\r\n" + h + "\r\n", http1.ErrTargetByte, 400},
		{"no version", "GET /\r\n" + h + "\r\n", http1.ErrRequestLine, 400},
		{"method only", "GET\r\n" + h + "\r\n", http1.ErrRequestLine, 400},
		{"no target", "GET HTTP/1.1\r\n" + h + "\r\n", http1.ErrRequestLine, 400},
		{"empty target", "GET  HTTP/1.1\r\n" + h + "\r\n", http1.ErrRequestLine, 400},
		{"version in lower case", "GET / http/1.1\r\n" + h + "\r\n", http1.ErrRequestLine, 400},
		{"version of two digits", "GET / HTTP/1.10\r\n" + h + "\r\n", http1.ErrRequestLine, 400},
		{"version without minor", "GET / HTTP/1\r\n" + h + "\r\n", http1.ErrRequestLine, 400},
		{"space after the version", "GET / HTTP/1.1 \r\n" + h + "\r\n", http1.ErrRequestLine, 400},
		{"HTTP/0.9", "GET / HTTP/0.9\r\n" + h + "\r\n", http1.ErrVersion, 505},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n", http1.ErrVersion, 505},
		{"HTTP/3", "GET / HTTP/3.0\r\n" + h + "\r\n", http1.ErrVersion, 505},
		{"relative target", "GET index.html HTTP/1.1\r\n" + h + "\r\n", http1.ErrTarget, 400},
		{"target of a query", "GET ?a HTTP/1.1\r\n" + h + "\r\n", http1.ErrTarget, 400},
		{"asterisk with GET", "GET * HTTP/1.1\r\n" + h + "\r\n", http1.ErrTarget, 400},
		{"other scheme", "GET ftp://a/ HTTP/1.1\r\n" + h + "\r\n", http1.ErrTarget, 400},
		{"scheme without host", "GET http:/// HTTP/1.1\r\n" + h + "\r\n", http1.ErrHost, 400},
		{"scheme alone", "GET http:// HTTP/1.1\r\n" + h + "\r\n", http1.ErrTarget, 400},
		{"absolute with user", "GET http://a@b/ HTTP/1.1\r\n" + h + "\r\n", http1.ErrHost, 400},
		{"absolute with fragment", "GET http://a#@b/ HTTP/1.1\r\n" + h + "\r\n", http1.ErrHost, 400},
		{"absolute with backslash", "GET http://a\\b/ HTTP/1.1\r\n" + h + "\r\n", http1.ErrHost, 400},
		{"CONNECT without port", "CONNECT a HTTP/1.1\r\n" + h + "\r\n", http1.ErrTarget, 400},
		{"CONNECT to a path", "CONNECT /a HTTP/1.1\r\n" + h + "\r\n", http1.ErrTarget, 400},
		{"authority without CONNECT", "GET a:80 HTTP/1.1\r\n" + h + "\r\n", http1.ErrTarget, 400},
		{"two Upgrades", get + h + "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n", http1.ErrUpgrades, 400},
		{"many names in Connection", get + h + "Connection: " + strings.Repeat("a,", 65) + "\r\n\r\n", http1.ErrConnection, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, n, err := parseRequest(t, test.head, http1.Limits{})
			if err != test.want || n != 0 {
				t.Fatalf("ParseRequest = %d, %v, want 0, %v", n, err, test.want)
			}
			var e *http1.Error
			if !errors.As(err, &e) || e.Status != test.status {
				t.Errorf("Status = %d, want %d", e.Status, test.status)
			}
		})
	}
}

func TestParseRequestIncomplete(t *testing.T) {
	for _, head := range []string{"", "\r", "\r\n", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"} {
		if _, n, err := parseRequest(t, head, http1.Limits{}); n != 0 || err != nil {
			t.Errorf("ParseRequest(%q) = %d, %v, want 0, nil", head, n, err)
		}
	}
}

func TestParseRequestLimits(t *testing.T) {
	const start = "GET / HTTP/1.1\r\nHost: a\r\n"
	fill := func(total int) string { // a head of that many bytes
		return start + "A: " + strings.Repeat("x", total-len(start)-len("A: \r\n\r\n")) + "\r\n\r\n"
	}
	lines := func(n int) string { return start + strings.Repeat("A: b\r\n", n-1) + "\r\n" }
	for _, test := range []struct {
		name, head string
		limits     http1.Limits
		want       error
	}{
		{"head at the limit", fill(200), http1.Limits{Head: 200}, nil},
		{"head over the limit", fill(201), http1.Limits{Head: 200}, http1.ErrHeadTooLarge},
		{"head over the limit, no end in sight", fill(400)[:300], http1.Limits{Head: 200}, http1.ErrHeadTooLarge},
		{"bare LF behind the limit", start + strings.Repeat("x", 300) + "\n", http1.Limits{Head: 200}, http1.ErrHeadTooLarge},
		{"request line over the limit", "GET /" + strings.Repeat("x", 200), http1.Limits{Head: 200}, http1.ErrTargetTooLong},
		{"request line over the limit, with its end", "GET /" + strings.Repeat("x", 300) + " HTTP/1.1\r\n", http1.Limits{Head: 200}, http1.ErrTargetTooLong},
		{"lines at the limit", lines(5), http1.Limits{Fields: 5}, nil},
		{"lines over the limit", lines(6), http1.Limits{Fields: 5}, http1.ErrTooManyFields},
		{"lines at the default limit", lines(256), http1.Limits{}, nil},
		{"lines over the default limit", lines(257), http1.Limits{}, http1.ErrTooManyFields},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, n, err := parseRequest(t, test.head, test.limits)
			if err != test.want || err == nil && n != len(test.head) {
				t.Errorf("ParseRequest = %d, %v, want %v", n, err, test.want)
			}
		})
	}
	for _, size := range []int{64 << 10, 64<<10 + 1} { // byte by byte would take its time
		var r http1.Request
		n, err := http1.ParseRequest(&r, []byte(fill(size)), http1.Limits{})
		if size == 64<<10 && n != size || size > 64<<10 && err != http1.ErrHeadTooLarge {
			t.Errorf("a head of %d bytes = %d, %v", size, n, err)
		}
	}
}

func TestParseRequestHop(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a.example\r\n" +
		"X-Secret: 1\r\n" +
		"Connection: X-Secret, close,, Host , te, content-length\r\n" +
		"Content-Length: 3\r\n" +
		"CONNECTION: x-other, Expect\r\n" +
		"X-OTHER: 2\r\n" +
		"x_secret: 3\r\n" +
		"Keep-Alive: timeout=5\r\n" +
		"Proxy-Connection: keep-alive\r\n" +
		"Proxy-Authorization: Basic x\r\n" +
		"Upgrade: foo\r\n" +
		"TE: trailers\r\n" +
		"TE: trailers, gzip\r\n" +
		"Expect: 100-continue\r\n" +
		"Trailer: A\r\n" +
		"Cookie: c\r\n\r\n"
	r, _, err := parseRequest(t, head, http1.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, f := range r.Fields {
		if !f.Hop {
			kept = append(kept, string(f.Line))
		}
	}
	want := []string{
		"Host: a.example\r\n", "Content-Length: 3\r\n", "x_secret: 3\r\n", "Proxy-Authorization: Basic x\r\n",
		"TE: trailers\r\n", "Expect: 100-continue\r\n", "Trailer: A\r\n", "Cookie: c\r\n",
	}
	if got := strings.Join(kept, ""); got != strings.Join(want, "") {
		t.Errorf("kept:\n%swant:\n%s", got, strings.Join(want, ""))
	}
}

func TestFieldKinds(t *testing.T) {
	for _, test := range []struct {
		name       string
		want       http1.FieldKind
		forwarding bool
	}{
		{"Host", http1.KindHost, false},
		{"CONNECTION", http1.KindConnection, false},
		{"Content-Length", http1.KindContentLength, false},
		{"transfer-encoding", http1.KindTransferEncoding, false},
		{"Upgrade", http1.KindUpgrade, false},
		{"te", http1.KindTE, false},
		{"Trailer", http1.KindTrailer, false},
		{"Keep-Alive", http1.KindKeepAlive, false},
		{"Proxy-Connection", http1.KindProxyConnection, false},
		{"Expect", http1.KindExpect, false},
		{"Content-Type", http1.KindContentType, false},
		{"Content-Encoding", http1.KindContentEncoding, false},
		{"Accept", http1.KindAccept, false},
		{"Authorization", http1.KindAuthorization, false},
		{"WWW-Authenticate", http1.KindWWWAuthenticate, false},
		{"Cookie", http1.KindCookie, false},
		{"Set-Cookie", http1.KindSetCookie, false},
		{"Location", http1.KindLocation, false},
		{"User-Agent", http1.KindUserAgent, false},
		{"Date", http1.KindDate, false},
		{"Server", http1.KindServer, false},
		{"X-Forwarded-For", http1.KindXForwardedFor, true},
		{"x-forwarded-proto", http1.KindXForwardedProto, true},
		{"X-Forwarded-Host", http1.KindXForwardedHost, true},
		{"X-Forwarded-Port", http1.KindXForwardedPort, true},
		{"X-Forwarded-Client-Cert", http1.KindXForwardedClientCert, true},
		{"X-Forwarded-Prefix", http1.KindXForwardedOther, true},
		{"X-Forwarded", http1.KindXForwardedOther, true},
		{"Forwarded", http1.KindForwarded, true},
		{"X-Real-IP", http1.KindXRealIP, true},
		{"X-Original-URL", http1.KindXOriginal, true},
		{"X-Original-Forwarded-For", http1.KindXOriginal, true},
		{"x_forwarded_for", http1.KindSpoofable, true},
		{"X-Forwarded_For", http1.KindSpoofable, true},
		{"X_Forwarded-Client-Cert", http1.KindSpoofable, true},
		{"X_REAL_IP", http1.KindSpoofable, true},
		{"X_Original_" + strings.Repeat("a", 80), http1.KindSpoofable, true},
		{"Content_Length", http1.KindSpoofable, true},
		{"Transfer_Encoding", http1.KindSpoofable, true},
		{"X-Forwardedness", http1.KindOther, false},
		{"X-Originals", http1.KindOther, false},
		{"X-Origina", http1.KindOther, false},
		{"X_", http1.KindOther, false},
		{"_", http1.KindOther, false},
		{"my_header", http1.KindOther, false},
		{"Hosts", http1.KindOther, false},
		{"Hosu", http1.KindOther, false},
	} {
		head := "GET / HTTP/1.0\r\n" + test.name + ": 1\r\n\r\n"
		if test.want == http1.KindTransferEncoding {
			head = strings.Replace(strings.Replace(head, "1.0", "1.1", 1), ": 1", ": chunked\r\nHost: a", 1)
		}
		var r http1.Request
		if _, err := http1.ParseRequest(&r, []byte(head), http1.Limits{}); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := http1.KindOf(test.name); got != test.want {
			t.Errorf("KindOf(%q) = %d, want %d", test.name, got, test.want)
		}
		if f := r.Fields[0]; f.Kind != test.want || f.Kind.Forwarding() != test.forwarding {
			t.Errorf("%s: kind = %d (forwarding %t), want %d (%t)", test.name, f.Kind, f.Kind.Forwarding(), test.want, test.forwarding)
		}
	}
}

// Every byte in every part of a head is either refused or comes out as it went in.
func TestParseRequestEveryByte(t *testing.T) {
	for c := range 256 {
		for pad := range 9 { // shifts the byte through the words that are checked at once
			p, b := strings.Repeat("a", pad), string([]byte{byte(c)})
			ctl := c < 0x20 || c == 0x7f
			head := "GET /" + p + b + "aaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n"
			var r http1.Request
			_, err := http1.ParseRequest(&r, []byte(head), http1.Limits{})
			if ok := !ctl && c != ' '; (err == nil) != ok {
				t.Errorf("target with %#x: %v, want ok = %t", c, err, ok)
			} else if ok && string(r.Target) != "/"+p+b+"aaaaaaaa" {
				t.Errorf("target with %#x = %q", c, r.Target)
			}
			head = "GET / HTTP/1.1\r\nHost: a\r\nA: " + p + "a" + b + "aaaaaaaa\r\n\r\n"
			_, err = http1.ParseRequest(&r, []byte(head), http1.Limits{})
			if ok := !ctl || c == '\t'; (err == nil) != ok {
				t.Errorf("value with %#x: %v, want ok = %t", c, err, ok)
			} else if ok && string(r.Fields[1].Value) != p+"a"+b+"aaaaaaaa" {
				t.Errorf("value with %#x = %q", c, r.Fields[1].Value)
			}
		}
		head := "GET / HTTP/1.1\r\nHost: a\r\nA" + string([]byte{byte(c)}) + "b: c\r\n\r\n"
		var r http1.Request
		_, err := http1.ParseRequest(&r, []byte(head), http1.Limits{})
		ok := strings.IndexByte("!#$%&'*+-.^_`|~:0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", byte(c)) >= 0
		if (err == nil) != ok {
			t.Errorf("name with %#x: %v, want ok = %t", c, err, ok)
		}
	}
}

func TestRequestReuse(t *testing.T) {
	var r http1.Request
	full := "PUT http://b.example?x HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nConnection: close, upgrade\r\nUpgrade: y\r\n" +
		"Expect: 100-continue\r\nTE: trailers\r\nAuthorization: NTLM x\r\n\r\n"
	plain := "GET / HTTP/1.1\r\nHost: c\r\n\r\n"
	if _, err := http1.ParseRequest(&r, []byte(full), http1.Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := http1.ParseRequest(&r, []byte(plain), http1.Limits{}); err != nil {
		t.Fatal(err)
	}
	var fresh http1.Request
	http1.ParseRequest(&fresh, []byte(plain), http1.Limits{})
	if request(&r) != request(&fresh) {
		t.Errorf("used Request =\n%s\nfresh Request =\n%s", request(&r), request(&fresh))
	}

	// A head that was given up must not shift where the next one is looked for.
	http1.ParseRequest(&r, []byte("GET / HTTP/1.1\r\nHost: looo"), http1.Limits{})
	r.Reset()
	if n, err := http1.ParseRequest(&r, []byte(plain), http1.Limits{}); n != len(plain) || err != nil {
		t.Errorf("after Reset: ParseRequest = %d, %v, want %d, nil", n, err, len(plain))
	}

	// Fewer bytes than before can only be another head.
	http1.ParseRequest(&r, []byte("GET / HTTP/1.1\r\nHost: "+strings.Repeat("o", 100)), http1.Limits{})
	if n, err := http1.ParseRequest(&r, []byte(plain), http1.Limits{}); n != len(plain) || err != nil {
		t.Errorf("after a longer head: ParseRequest = %d, %v, want %d, nil", n, err, len(plain))
	}
}

func TestHasToken(t *testing.T) {
	for _, test := range []struct {
		list string
		want bool
	}{
		{"h2c", true},
		{"websocket,\tH2C ", true},
		{",,h2c", true},
		{"", false},
		{"h2c2", false},
		{"h2", false},
		{"a h2c", false},
	} {
		if got := http1.HasToken([]byte(test.list), "h2c"); got != test.want {
			t.Errorf("HasToken(%q) = %t, want %t", test.list, got, test.want)
		}
	}
}

// A head of n lines in n pieces must cost n steps and not n².
func TestParseRequestResumes(t *testing.T) {
	head := []byte("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 200) + "\r\n")
	var r http1.Request
	for i := range len(head) {
		part := bytes.Clone(head[:i])
		if n, err := http1.ParseRequest(&r, part, http1.Limits{}); n != 0 || err != nil {
			t.Fatalf("after %d bytes = %d, %v", i, n, err)
		}
		// Would what was looked at be looked at again, this would be refused.
		for j := range i - 1 {
			head[j] = '\n'
		}
	}
}
