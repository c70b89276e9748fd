package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/http1"
)

// The oracle is net/http: a message that http1 accepts must be the same message
// to it. The other way round does not hold, http1 is stricter.

var requestSeeds = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /",
	"\r\nPOST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\nabcdef",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: B\r\n\r\n3;x=y\r\nabc\r\n0\r\nB: c\r\n\r\nrest",
	"GET http://b.example?x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, X\r\nX: y\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nhost: [::1]:80\r\nPragma: no-cache\r\n\r\n",
	"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
	"GET /|[]\"<>{}^%zz\xff HTTP/1.1\r\nHost: a\r\nA: \xe4\tb\r\na: c\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\r\n\n",
	"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
}

func FuzzRequest(f *testing.F) {
	for _, s := range requestSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(checkRequest)
}

func checkRequest(t *testing.T, in []byte) {
	var r http1.Request
	n, err := http1.ParseRequest(&r, in, http1.Limits{})
	checkPieces(t, in, n, err, func(p []byte) (int, string, error) {
		n, err := http1.ParseRequest(&pieceRequest, p, http1.Limits{})
		return n, request(&pieceRequest), err
	}, func() string { return request(&r) })
	if n == 0 {
		return
	}

	// Targets are opaque to http1; where net/url disagrees, the rest of the
	// message still has to be the same.
	raw, target := slices.Concat(r.Raw, in[n:]), string(r.Target)
	parsed := target
	if r.Form == http1.Authority {
		parsed = "http://" + parsed
	}
	if _, err := url.ParseRequestURI(parsed); err != nil {
		target = "/"
		switch r.Form {
		case http1.Absolute:
			target = string(r.Scheme) + "://" + string(r.Host) + "/"
		case http1.Origin:
		default:
			t.Fatalf("net/url refuses %q: %v", target, err)
		}
		raw = slices.Concat(r.Method, []byte(" "+target), raw[len(r.Method)+1+len(r.Target):])
	}

	br := bufio.NewReaderSize(bytes.NewReader(raw), len(raw)+4096)
	q, err := http.ReadRequest(br)
	if err != nil {
		t.Fatalf("http1 accepts %q, net/http: %v", in, err)
	}
	got := fmt.Sprintf("%s %s %s %s %v", r.Method, target, r.Host, fmt.Sprint(r.Length), r.Close)
	want := fmt.Sprintf("%s %s %s %s %v", q.Method, q.RequestURI, q.Host, fmt.Sprint(q.ContentLength), q.Close)
	if got != want {
		t.Fatalf("%q:\nhttp1    %s\nnet/http %s", in, got, want)
	}
	if chunked := len(q.TransferEncoding) > 0; chunked != (r.Framing == http1.Chunked) {
		t.Fatalf("%q: Framing = %v, net/http: %q", in, r.Framing, q.TransferEncoding)
	}
	removed := []string{"Host"}
	if r.Framing == http1.Chunked {
		removed = append(removed, "Transfer-Encoding", "Trailer")
	}
	compareHeaders(t, in, r.Fields, q.Header, removed)
	compareBody(t, in[n:], r.Framing, r.Length, q.Body, br, func() http.Header { return q.Trailer })
}

var pieceRequest http1.Request

// checkPieces holds that a head that comes in two pieces is the same head.
func checkPieces(t *testing.T, in []byte, n int, err error, parse func(p []byte) (int, string, error), whole func() string) {
	t.Helper()
	cut := len(in) / 2
	if n > 0 {
		cut = n / 2
	}
	m, s, perr := parse(slices.Clone(in[:cut]))
	if m == 0 && perr == nil {
		m, s, perr = parse(in)
	}
	if m != n || perr != err {
		t.Fatalf("%q in two pieces = %d, %v, in one %d, %v", in, m, perr, n, err)
	}
	if n > 0 && s != whole() {
		t.Fatalf("%q in two pieces =\n%s\nin one =\n%s", in, s, whole())
	}
	if m == 0 && perr == nil {
		pieceRequest.Reset()
		pieceResponse.Reset()
	}
}

func compareHeaders(t *testing.T, in []byte, fs []http1.Field, want http.Header, removed []string) {
	t.Helper()
	got := http.Header{}
	for _, f := range fs {
		name := textproto.CanonicalMIMEHeaderKey(string(f.Name))
		if !slices.Contains(removed, name) {
			got[name] = append(got[name], string(f.Value))
		}
	}
	// net/http adds what Pragma implies.
	if len(got["Pragma"]) > 0 && got["Cache-Control"] == nil {
		delete(want, "Cache-Control")
	}
	// It keeps what came before a value's end, http1 trims both ends; inside of
	// folded lines the two count spaces differently.
	for _, vs := range want {
		for i, v := range vs {
			vs[i] = strings.Trim(v, " \t")
		}
	}
	if !maps.EqualFunc(got, want, func(a, b []string) bool { return slices.EqualFunc(a, b, sameWords) }) {
		t.Fatalf("%q:\nhttp1    %q\nnet/http %q", in, got, want)
	}
}

func sameWords(a, b string) bool {
	split := func(r rune) bool { return r == ' ' || r == '\t' }
	return slices.Equal(strings.FieldsFunc(a, split), strings.FieldsFunc(b, split))
}

// compareBody holds that net/http reads the same data from rest and stops at
// the same byte.
func compareBody(t *testing.T, rest []byte, framing http1.Framing, length int64, body io.Reader, br *bufio.Reader, trailer func() http.Header) {
	t.Helper()
	var b http1.Body
	b.Reset(framing, length)
	var data bytes.Buffer
	n, done, err := b.Scan(rest, &data)
	if err != nil {
		return
	}
	if framing == http1.UntilClose {
		done = b.EOF() == nil
	}
	got, err := io.ReadAll(body)
	if !bytes.Equal(got, data.Bytes()) {
		t.Fatalf("body %q: http1 %q, net/http %q (%v)", rest, data.Bytes(), got, err)
	}
	if done != (err == nil) {
		t.Fatalf("body %q: http1 done = %t, net/http: %v", rest, done, err)
	}
	if !done {
		return
	}
	left, _ := io.ReadAll(br)
	if !bytes.Equal(left, rest[n:]) {
		t.Fatalf("body %q: http1 leaves %q, net/http %q", rest, rest[n:], left)
	}
	want := trailer()
	for line := range strings.Lines(string(b.Trailer())) {
		name, value, _ := strings.Cut(line, ":")
		vs := want[textproto.CanonicalMIMEHeaderKey(name)]
		if len(vs) == 0 || strings.Trim(vs[0], " \t") != strings.Trim(value, " \t\r\n") {
			t.Fatalf("trailer %q: http1 %q, net/http %q", rest, line, want)
		}
		want[textproto.CanonicalMIMEHeaderKey(name)] = vs[1:]
	}
}

var pieceResponse http1.Response

func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\nrest",
		"HTTP/1.0 200\r\n\r\nuntil the end",
		"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nHTTP/1.1",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81",
		"HTTP/1.1 200 OK\nA: b\n c\nContent-Length: 1\n\nxy",
		"HTTP/1.1 299 Custom Reason\r\nContent-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(checkResponse)
}

func checkResponse(t *testing.T, in []byte, head bool) {
	method := "GET"
	if head {
		method = "HEAD"
	}
	var r http1.Response
	n, err := http1.ParseResponse(&r, in, http1.Limits{}, []byte(method))
	checkPieces(t, in, n, err, func(p []byte) (int, string, error) {
		n, err := http1.ParseResponse(&pieceResponse, p, http1.Limits{}, []byte(method))
		return n, response(&pieceResponse), err
	}, func() string { return response(&r) })
	if n == 0 {
		return
	}

	br := bufio.NewReaderSize(bytes.NewReader(in), len(in)+4096)
	q, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("http1 accepts %q, net/http: %v", in, err)
	}
	status := fmt.Sprintf("%03d", r.Status)
	if len(r.Reason) > 0 {
		status += " " + string(r.Reason)
	}
	if q.StatusCode != r.Status || strings.TrimSuffix(q.Status, " ") != strings.TrimSuffix(status, " ") || q.ProtoMinor != r.Minor {
		t.Fatalf("%q: http1 1.%d %q, net/http 1.%d %q", in, r.Minor, status, q.ProtoMinor, q.Status)
	}
	if q.Close && !r.Close && !r.Interim() && r.Framing != http1.None {
		t.Fatalf("%q: net/http closes, http1 does not", in)
	}
	if r.Framing != http1.None && (q.ContentLength != r.Length || (len(q.TransferEncoding) > 0) != (r.Framing == http1.Chunked)) {
		t.Fatalf("%q: http1 %v %d, net/http %q %d", in, r.Framing, r.Length, q.TransferEncoding, q.ContentLength)
	}
	// Connection goes with close and Content-Length where it means nothing.
	removed := []string{"Connection", "Transfer-Encoding", "Content-Length"}
	for _, name := range removed {
		delete(q.Header, name)
	}
	if len(q.TransferEncoding) > 0 {
		removed = append(removed, "Trailer")
	}
	compareHeaders(t, in, r.Fields, q.Header, removed)
	compareBody(t, in[n:], r.Framing, r.Length, q.Body, br, func() http.Header { return q.Trailer })
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{
		"5\r\nhello\r\n0\r\n\r\n",
		"5;a=b\r\nhello\r\n01;\r\n!\r\n000\r\nA: b\r\n\r\nrest",
		"ffffffffffffffff\r\n",
		"1000000000000000\r\nx",
		"5 \r\nhello\r\n",
		"5\nhello\n0\n\n",
	} {
		f.Add([]byte(s), uint16(3), uint16(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, i, j uint16) {
		n, data, trailer, done, err := scan(http1.Chunked, -1, string(in))
		cuts := []int{int(i) % (len(in) + 1), int(j) % (len(in) + 1)}
		slices.Sort(cuts)
		n2, data2, trailer2, done2, err2 := scan(http1.Chunked, -1, string(in), cuts...)
		if data2 != data || done2 != done || err2 != err || err == nil && (n2 != n || trailer2 != trailer) {
			t.Fatalf("%q cut at %d = %d, %q, %q, %t, %v, whole = %d, %q, %q, %t, %v",
				in, cuts, n2, data2, trailer2, done2, err2, n, data, trailer, done, err)
		}
		if n > len(in) || !done && err == nil && n != len(in) {
			t.Fatalf("%q: Scan = %d of %d, %t", in, n, len(in), done)
		}
		if err != nil {
			return
		}
		got, oerr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in[:n])))
		if string(got) != data {
			t.Fatalf("%q: http1 %q, net/http %q (%v)", in, data, got, oerr)
		}
		if done && oerr != nil || oerr != nil && oerr != io.ErrUnexpectedEOF {
			t.Fatalf("%q: http1 done = %t, net/http: %v", in, done, oerr)
		}
	})
}

func FuzzCanonicalHost(f *testing.F) {
	for _, s := range []string{"a.example", "A.Example.:80", "[::1]:80", "bücher.example", "bücher。example。", "xn--bcher-kva", "127.0.0.1", "a_b-c", "\u00df.\u200d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, err := http1.CanonicalHost(s)
		if err != nil {
			if host != "" {
				t.Fatalf("CanonicalHost(%q) = %q and %v", s, host, err)
			}
			return
		}
		for _, other := range []string{host, host + ":8080", strings.ToUpper(host)} {
			if got, err := http1.CanonicalHost(other); got != host || err != nil {
				t.Errorf("CanonicalHost(%q) = %q, but CanonicalHost(%q) = %q, %v", s, host, other, got, err)
			}
		}
		if host[0] == '[' {
			return
		}
		if bad := strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_."); bad != "" || len(host) > 253 {
			t.Errorf("CanonicalHost(%q) = %q, of %d bytes", s, host, len(host))
		}
		for label := range strings.SplitSeq(host, ".") {
			if label == "" || len(label) > 63 {
				t.Errorf("CanonicalHost(%q) = %q with label %q", s, host, label)
			}
		}
	})
}

// A grammar gone wrong finds in a second what mutated bytes find in an hour:
// messages out of parts, most of them right and some of them tricks.
var (
	lineEnds = []string{"\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\r\n ", " \r\n", "\t\r\n", "\r\n\t", "\x00\r\n", "\x85\r\n"}
	methods  = []string{"GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "CONNECT", "get", "M-X", "PRI", "G T", "", "G\x00"}
	targets  = []string{"/", "/", "/", "/a?b", "*", "a:80", "http://a", "http://a/", "http://b?c", "https://B:1/%zz", "HTTP://[::1]:8/", "//c/d", "/%zz", "/ ", "/\xff", "/#f", "/\\", "http://a#b/", "http://u@a/", "http://a:x/", "http://[::1/", "http://[::1%25e]/", "http://a]b/", "ftp://a/", "", "?", "http://a\\b/", "http://:80/", "http://a_b./"}
	versions = []string{"HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "http/1.1", "HTTP/1.", "HTTP/1.1 "}
	names    = []string{"Content-Length", "content-length", "Transfer-Encoding", "transfer-Encoding", "Connection", "Host", "Trailer", "Expect", "TE", "Upgrade", "Keep-Alive", "A", "a", "X_y", "Pragma", "Content_Length", "A ", "", "A\x00", "Content-Length\t", "\u017feT"}
	colons   = []string{": ", ": ", ": ", ": ", ":", ":\t", ":  ", " :", "\t: ", "", "::", ":\v", ":\xa0"}
	values   = []string{"0", "1", "3", "3", "03", "+3", "-1", "3,3", "3 3", "0x3", "9223372036854775808", "chunked", "chunked", "chunked", "CHUNKED", "chunked, chunked", "gzip, chunked", "identity", "xchunked", "chunked\x0b", "\"chunked\"", "chunked;", "close", "keep-alive", "close, keep-alive", "upgrade, x", "100-continue", "trailers", "a", "a:80", "[::1]", "A, Content-Length", "no-cache", "", "\xe4", "\x7f", "a\x00b"}
	bodies   = []string{"", "abc", "abcdef", "0\r\n\r\n", "0\r\n\r\nrest", "3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", "3;x\r\nabc\r\n00\r\nB: c\r\n\r\n", "3\nabc\n0\n\n", "3 \r\nabc\r\n0\r\n\r\n", "03\r\nab", "0\r\nContent-Length: 3\r\n\r\n", "0\r\nB : c\r\n\r\n", "0\r\n\n", "0\r\n\r"}
	statuses = []string{"200", "200", "200", "204", "304", "100", "103", "101", "299", "404", "099", "1000", "+20", "20", ""}
	reasons  = []string{" OK", " OK", " ", "", "  OK", " O\rK", " \xe4", " Custom Reason ", "\t"}
)

func TestAgainstNetHTTP(t *testing.T) {
	n := 60000
	if testing.Short() {
		n = 5000
	}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	// Each list puts what is right first, so the least of three draws leans to it.
	lean := func(from []string) string {
		return from[min(random.IntN(len(from)), random.IntN(len(from)), random.IntN(len(from)))]
	}
	rest := func() string {
		var b strings.Builder
		for range random.IntN(4) {
			b.WriteString(lean(names) + lean(colons) + pick(values) + lean(lineEnds))
		}
		return b.String() + lean(lineEnds) + pick(bodies)
	}
	accepted := 0
	for range n {
		in := []byte(lean(methods) + " " + lean(targets) + " " + lean(versions) + lean(lineEnds))
		if random.IntN(20) > 0 {
			in = append(in, "Host: a"+lean(lineEnds)...)
		}
		in = append(in, rest()...)
		checkRequest(t, in)
		if m, _ := http1.ParseRequest(new(http1.Request), in, http1.Limits{}); m > 0 {
			accepted++
		}
		in = []byte(lean(versions) + " " + lean(statuses) + lean(reasons) + lean(lineEnds) + rest())
		checkResponse(t, in, random.IntN(4) == 0)
		if m, _ := http1.ParseResponse(new(http1.Response), in, http1.Limits{}, nil); m > 0 {
			accepted++
		}
		if t.Failed() {
			return
		}
	}
	if share := float64(accepted) / float64(2*n); share < 0.1 || share > 0.9 {
		t.Errorf("%.2f of the messages were accepted; the parts no longer make good and bad ones", share)
	}
}
