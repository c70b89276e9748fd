package http1_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/http1"
)

// scan feeds p in pieces that end at the given offsets and returns what Scan
// made of all of it.
func scan(f http1.Framing, length int64, p string, cuts ...int) (n int, data, trailer string, done bool, err error) {
	var b http1.Body
	b.Reset(f, length)
	var out bytes.Buffer
	from := 0
	for _, to := range append(cuts, len(p)) {
		var m int
		m, done, err = b.Scan([]byte(p[from:to]), &out)
		n += m
		if err != nil || m < to-from {
			break
		}
		from = to
	}
	if done != b.Done() && err == nil {
		panic("Scan and Done disagree")
	}
	if int64(out.Len()) != b.Size() {
		panic("Size is not what was written")
	}
	return n, out.String(), string(b.Trailer()), done, err
}

func TestBodyScan(t *testing.T) {
	const end = "0\r\n\r\n"
	for _, test := range []struct {
		name    string
		framing http1.Framing
		length  int64
		body    string
		n       int // -1: all but the surplus
		data    string
		trailer string
		done    bool
		err     error
	}{
		{name: "none", framing: http1.None, n: -1, done: true},
		{name: "fixed", framing: http1.Fixed, length: 5, body: "hello", n: -1, data: "hello", done: true},
		{name: "fixed 0", framing: http1.Fixed, n: -1, done: true},
		{name: "fixed, more to come", framing: http1.Fixed, length: 9e18, body: "hello", n: -1, data: "hello"},
		{name: "until close", framing: http1.UntilClose, body: "hello" + end, n: -1, data: "hello" + end},
		{name: "empty", framing: http1.Chunked, body: end, n: -1, done: true},
		{name: "one chunk", framing: http1.Chunked, body: "5\r\nhello\r\n" + end, n: -1, data: "hello", done: true},
		{name: "two chunks", framing: http1.Chunked, body: "5\r\nhello\r\n0001\r\n!\r\n" + end, n: -1, data: "hello!", done: true},
		{name: "hex in both cases", framing: http1.Chunked, body: "1a\r\n" + strings.Repeat("x", 26) + "\r\nC\r\n0123456789\r\n\r\n" + end, n: -1, data: strings.Repeat("x", 26) + "0123456789\r\n", done: true},
		{name: "many zeros", framing: http1.Chunked, body: "0000000000000005\r\nhello\r\n00000000\r\n\r\n", n: -1, data: "hello", done: true},
		{name: "extensions", framing: http1.Chunked, body: "5;a=b; c=\"d\te\xff\"\r\nhello\r\n0;x\r\n\r\n", n: -1, data: "hello", done: true},
		{name: "trailers", framing: http1.Chunked, body: "1\r\n!\r\n0\r\nGrpc-Status: 0\r\nx:\t\xe4 \r\n\r\n", n: -1, data: "!", trailer: "Grpc-Status: 0\r\nx:\t\xe4 \r\n", done: true},
		{name: "incomplete size", framing: http1.Chunked, body: "5", n: -1},
		{name: "incomplete data", framing: http1.Chunked, body: "5\r\nhel", n: -1, data: "hel"},
		{name: "incomplete trailer", framing: http1.Chunked, body: "0\r\nA: b\r\n", n: -1, trailer: "A: b\r\n"},
		{name: "largest chunk", framing: http1.Chunked, body: "1000000000000000\r\nx", n: -1, data: "x"},

		{name: "empty size", framing: http1.Chunked, body: "\r\n", err: http1.ErrChunkSize},
		{name: "no hex", framing: http1.Chunked, body: "g\r\n", err: http1.ErrChunkSize},
		{name: "0x", framing: http1.Chunked, body: "0x5\r\nhello\r\n", n: 1, err: http1.ErrChunkSize},
		{name: "sign", framing: http1.Chunked, body: "+5\r\n", err: http1.ErrChunkSize},
		{name: "minus", framing: http1.Chunked, body: "-5\r\n", err: http1.ErrChunkSize},
		{name: "underscore", framing: http1.Chunked, body: "1_0\r\n", n: 1, err: http1.ErrChunkSize},
		{name: "space before size", framing: http1.Chunked, body: " 5\r\n", err: http1.ErrChunkSize},
		{name: "space after size", framing: http1.Chunked, body: "5 \r\n", n: 1, err: http1.ErrChunkSize},
		{name: "space before extension", framing: http1.Chunked, body: "5 ;a\r\n", n: 1, err: http1.ErrChunkSize},
		{name: "extension without size", framing: http1.Chunked, body: ";a\r\n", err: http1.ErrChunkSize},
		{name: "17 digits", framing: http1.Chunked, body: "00000000000000005\r\n", n: 16, err: http1.ErrChunkSize},
		{name: "overflow", framing: http1.Chunked, body: "ffffffffffffffff\r\n", n: 15, err: http1.ErrChunkSize},
		{name: "over 2^60", framing: http1.Chunked, body: "1000000000000001\r\n", n: 15, err: http1.ErrChunkSize},
		{name: "bare LF after size", framing: http1.Chunked, body: "5\nhello\r\n", n: 1, err: http1.ErrChunkSize},
		{name: "CR alone after size", framing: http1.Chunked, body: "5\rhello", n: 2, err: http1.ErrChunkSize},
		{name: "two CR after size", framing: http1.Chunked, body: "5\r\r\n", n: 2, err: http1.ErrChunkSize},
		{name: "bare LF in extension", framing: http1.Chunked, body: "5;a\nhello", n: 3, err: http1.ErrChunkExt},
		{name: "NUL in extension", framing: http1.Chunked, body: "5;\x00\r\n", n: 2, err: http1.ErrChunkExt},
		{name: "DEL in extension", framing: http1.Chunked, body: "5;\x7f\r\n", n: 2, err: http1.ErrChunkExt},
		{name: "CR in extension", framing: http1.Chunked, body: "5;a\rb\r\n", n: 4, err: http1.ErrChunkSize},
		{name: "data too long", framing: http1.Chunked, body: "5\r\nhello!\r\n", n: 8, data: "hello", err: http1.ErrChunkEnd},
		{name: "data too short", framing: http1.Chunked, body: "5\r\nhell\r\n0\r\n", n: 8, data: "hell\r", err: http1.ErrChunkEnd},
		{name: "bare LF after data", framing: http1.Chunked, body: "5\r\nhello\n0\r\n", n: 8, data: "hello", err: http1.ErrChunkEnd},
		{name: "CR alone after data", framing: http1.Chunked, body: "5\r\nhello\r0\r\n", n: 9, data: "hello", err: http1.ErrChunkEnd},
		{name: "bare LF as end", framing: http1.Chunked, body: "0\r\n\n", n: 3, err: http1.ErrTrailer},
		{name: "CR alone as end", framing: http1.Chunked, body: "0\r\n\rA", n: 4, err: http1.ErrTrailer},
		{name: "bare LF in trailer", framing: http1.Chunked, body: "0\r\nA: b\n\r\n", err: http1.ErrTrailer},
		{name: "bare CR in trailer", framing: http1.Chunked, body: "0\r\nA: b\rc\r\n\r\n", err: http1.ErrTrailer},
		{name: "folded trailer", framing: http1.Chunked, body: "0\r\nA: b\r\n c\r\n\r\n", err: http1.ErrTrailer},
		{name: "trailer without colon", framing: http1.Chunked, body: "0\r\nGET / HTTP/1.1\r\n\r\n", err: http1.ErrTrailer},
		{name: "trailer with space before colon", framing: http1.Chunked, body: "0\r\nA : b\r\n\r\n", err: http1.ErrTrailer},
		{name: "trailer Content-Length", framing: http1.Chunked, body: "0\r\nContent-Length: 3\r\n\r\n", err: http1.ErrTrailerName},
		{name: "trailer Transfer-Encoding", framing: http1.Chunked, body: "0\r\ntransfer-encoding: chunked\r\n\r\n", err: http1.ErrTrailerName},
		{name: "trailer Host", framing: http1.Chunked, body: "0\r\nHost: a\r\n\r\n", err: http1.ErrTrailerName},
		{name: "trailer X-Forwarded-For", framing: http1.Chunked, body: "0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", err: http1.ErrTrailerName},
		{name: "trailer x_forwarded_for", framing: http1.Chunked, body: "0\r\nx_forwarded_for: 1.2.3.4\r\n\r\n", err: http1.ErrTrailerName},
		{name: "trailer Authorization", framing: http1.Chunked, body: "0\r\nAuthorization: Basic x\r\n\r\n", err: http1.ErrTrailerName},
	} {
		t.Run(test.name, func(t *testing.T) {
			const surplus = "GET / HTTP/1.1\r\n"
			body := test.body
			if test.done {
				body += surplus
			}
			n, data, trailer, done, err := scan(test.framing, test.length, body)
			wantN := test.n
			if wantN < 0 {
				wantN = len(test.body)
			}
			if err != test.err || done != test.done || data != test.data || err == nil && n != wantN {
				t.Fatalf("Scan = %d, %t, %v, data %q, want %d, %t, %v, data %q", n, done, err, data, wantN, test.done, test.err, test.data)
			}
			if err == nil && trailer != test.trailer {
				t.Errorf("Trailer = %q, want %q", trailer, test.trailer)
			}
			if err != nil && test.n > 0 && n != test.n {
				t.Errorf("passes on %d bytes before the error, want %d", n, test.n)
			}
			for i := range len(body) + 1 {
				for j := i; j <= len(body); j++ {
					n2, data2, trailer2, done2, err2 := scan(test.framing, test.length, body, i, j)
					if data2 != data || done2 != done || err2 != err || err == nil && (n2 != n || trailer2 != trailer) {
						t.Fatalf("cut at %d and %d: Scan = %d, %t, %v, data %q, trailer %q, want %d, %t, %v, data %q, trailer %q",
							i, j, n2, done2, err2, data2, trailer2, n, done, err, data, trailer)
					}
				}
			}
		})
	}
}

func TestBodyBounds(t *testing.T) {
	tiny := strings.Repeat("1\r\nx\r\n", 20000)
	for _, test := range []struct {
		name, body string
		err        error
	}{
		{"long extension", "5;" + strings.Repeat("x", 4000) + "\r\nhello\r\n0\r\n\r\n", nil},
		{"longer extension", "5;" + strings.Repeat("x", 4100) + "\r\nhello\r\n0\r\n\r\n", http1.ErrChunkExt},
		{"a byte a chunk", tiny + "0\r\n\r\n", nil},
		{"much framing for a byte", strings.Repeat("1;"+strings.Repeat("y", 1000)+"\r\nx\r\n", 20) + "0\r\n\r\n", http1.ErrChunkExt},
		{"much framing for much data", strings.Repeat("800;"+strings.Repeat("y", 1000)+"\r\n"+strings.Repeat("x", 0x800)+"\r\n", 20) + "0\r\n\r\n", nil},
		{"large trailer", "0\r\nA: " + strings.Repeat("x", 16<<10-5) + "\r\n\r\n", nil},
		{"larger trailer", "0\r\nA: " + strings.Repeat("x", 16<<10-4) + "\r\n\r\n", http1.ErrTrailerLarge},
		{"endless trailer", "0\r\n" + strings.Repeat("A: b\r\n", 3000), http1.ErrTrailerLarge},
		{"endless trailer line", "0\r\n" + strings.Repeat("A", 17<<10), http1.ErrTrailerLarge},
		{"sum over 2^63", "1000000000000000\r\n", nil},
	} {
		if _, _, _, _, err := scan(http1.Chunked, -1, test.body); err != test.err {
			t.Errorf("%s: Scan = %v, want %v", test.name, err, test.err)
		}
	}
}

func TestBodyEOF(t *testing.T) {
	for _, test := range []struct {
		name    string
		framing http1.Framing
		length  int64
		body    string
		err     error
	}{
		{"none", http1.None, 0, "", nil},
		{"fixed, whole", http1.Fixed, 2, "ab", nil},
		{"fixed, short", http1.Fixed, 10, "ab", io.ErrUnexpectedEOF},
		{"chunked, whole", http1.Chunked, -1, "2\r\nab\r\n0\r\n\r\n", nil},
		{"chunked, at a chunk", http1.Chunked, -1, "2\r\nab\r\n", io.ErrUnexpectedEOF},
		{"chunked, last blank line missing", http1.Chunked, -1, "2\r\nab\r\n0\r\n", io.ErrUnexpectedEOF},
		{"chunked, wrong", http1.Chunked, -1, "x", http1.ErrChunkSize},
		{"until close", http1.UntilClose, -1, "ab", nil},
		{"until close, empty", http1.UntilClose, -1, "", nil},
	} {
		var b http1.Body
		b.Reset(test.framing, test.length)
		b.Scan([]byte(test.body), nil)
		if err := b.EOF(); err != test.err || b.Done() != (err == nil) {
			t.Errorf("%s: EOF = %v, Done = %t, want %v", test.name, err, b.Done(), test.err)
		}
	}
}

func TestBodyLeft(t *testing.T) {
	var b http1.Body
	b.Reset(http1.Fixed, 5)
	b.Scan([]byte("ab"), nil)
	if got := b.Left(); got != 3 {
		t.Errorf("Fixed: Left = %d, want 3", got)
	}
	b.Scan([]byte("cdef"), nil)
	if got := b.Left(); got != 0 {
		t.Errorf("Fixed, done: Left = %d, want 0", got)
	}
	b.Reset(http1.Chunked, -1)
	if got := b.Left(); got != -1 {
		t.Errorf("Chunked: Left = %d, want -1", got)
	}
}

func TestChunkEncoding(t *testing.T) {
	var p []byte
	for _, n := range []int{1, 0, 15, 16, 300} {
		if n == 0 {
			p = http1.AppendChunkHeader(p, 0) // must not end the body
			continue
		}
		p = http1.AppendChunkHeader(p, n)
		p = append(p, strings.Repeat("x", n)...)
		p = append(p, "\r\n"...)
	}
	whole := string(p) + http1.LastChunk
	if n, data, _, done, err := scan(http1.Chunked, -1, whole); n != len(whole) || len(data) != 332 || !done || err != nil {
		t.Errorf("Scan = %d, %d bytes of data, %t, %v, want %d, 332, true, nil", n, len(data), done, err, len(whole))
	}
	whole = string(http1.AppendLastChunk(p, []byte("A: b\r\n")))
	if _, _, trailer, done, err := scan(http1.Chunked, -1, whole); trailer != "A: b\r\n" || !done || err != nil {
		t.Errorf("Scan = trailer %q, %t, %v, want \"A: b\\r\\n\", true, nil", trailer, done, err)
	}
}

func TestBodyReuse(t *testing.T) {
	var b http1.Body
	b.Reset(http1.Chunked, -1)
	b.Scan([]byte("5\r\nhello\r\n0\r\nA: b\r\n\r\n"), nil)
	b.Reset(http1.Chunked, -1)
	b.Scan([]byte("x"), nil)
	b.Reset(http1.Chunked, -1)
	n, done, err := b.Scan([]byte("1\r\n!\r\n0\r\n\r\n"), nil)
	if n != 11 || !done || err != nil || b.Size() != 1 || len(b.Trailer()) != 0 {
		t.Errorf("Scan = %d, %t, %v, Size = %d, Trailer = %q, want 11, true, nil, 1, \"\"", n, done, err, b.Size(), b.Trailer())
	}
}
