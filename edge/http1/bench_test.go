package http1_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/http1"
)

// webhook is a delivery as it comes from a sender behind a proxy, about 1 KiB.
var webhook = []byte("POST /webhooks/orders?source=shop&attempt=1 HTTP/1.1\r\n" +
	"Host: quiet-otter.lrok.example.com\r\n" +
	"User-Agent: Shop-Hookshot/3f6c1d2 (+https://shop.example.com/docs/webhooks)\r\n" +
	"Content-Length: 7354\r\n" +
	"Accept: */*\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Content-Type: application/json; charset=utf-8\r\n" +
	"X-Shop-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958\r\n" +
	"X-Shop-Event: order.payment_succeeded\r\n" +
	"X-Shop-Hook-Id: 292430182\r\n" +
	"X-Shop-Signature: t=1767225600,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd," +
	"v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39\r\n" +
	"X-Request-Id: 01JGFJJZ00DKWPB8F1N6SC9B5W\r\n" +
	"X-Forwarded-For: 203.0.113.77\r\n" +
	"X-Forwarded-Proto: https\r\n" +
	"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n" +
	"Cookie: session=" + strings.Repeat("0123456789abcdef", 10) + "\r\n\r\n")

var answer = []byte("HTTP/1.1 200 OK\r\n" +
	"X-Powered-By: Express\r\n" +
	"Content-Type: application/json; charset=utf-8\r\n" +
	"Content-Length: 27\r\n" +
	"ETag: W/\"1b-2bTGYxPCKb6DJ1AAdYfYR6DOkKg\"\r\n" +
	"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n" +
	"Connection: keep-alive\r\n" +
	"Keep-Alive: timeout=5\r\n\r\n")

func chunks(size, total int) []byte {
	var p []byte
	for range total / size {
		p = http1.AppendChunkHeader(p, size)
		p = append(p, bytes.Repeat([]byte("x"), size)...)
		p = append(p, "\r\n"...)
	}
	return append(p, http1.LastChunk...)
}

func TestNoAllocations(t *testing.T) {
	var (
		q       http1.Request
		r       http1.Response
		b       http1.Body
		dst     = make([]byte, 0, 256)
		chunked = append(chunks(100, 1000), "GET"...)
		trailed = []byte("1\r\nx\r\n0\r\nGrpc-Status: 0\r\n\r\n")
		loose   = bytes.ReplaceAll(answer, []byte("\r\n"), []byte("\n"))
		refused = []byte("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
		query   = []byte("GET http://a.example?b HTTP/1.1\r\nHost: a\r\nConnection: x, y\r\n\r\n")
		host    = []byte("A-Rather-Long-Name.That-Is.No-Constant.Lrok.Example:8080")
		method  = []byte("GET")
	)
	for name, f := range map[string]func(){
		"ParseRequest":          func() { http1.ParseRequest(&q, webhook, http1.Limits{}) },
		"ParseRequest absolute": func() { http1.ParseRequest(&q, query, http1.Limits{}) },
		"ParseRequest refusing": func() { http1.ParseRequest(&q, refused, http1.Limits{}) },
		"ParseRequest in pieces": func() {
			http1.ParseRequest(&q, webhook[:500], http1.Limits{})
			http1.ParseRequest(&q, webhook, http1.Limits{})
		},
		"ParseResponse":       func() { http1.ParseResponse(&r, answer, http1.Limits{}, method) },
		"ParseResponse loose": func() { http1.ParseResponse(&r, loose, http1.Limits{}, method) },
		"Scan chunked":        func() { b.Reset(http1.Chunked, -1); b.Scan(chunked, io.Discard) },
		"Scan trailers":       func() { b.Reset(http1.Chunked, -1); b.Scan(trailed, io.Discard) },
		"Scan fixed":          func() { b.Reset(http1.Fixed, 100); b.Scan(chunked, io.Discard) },
		"AppendHost":          func() { dst, _ = http1.AppendHost(dst[:0], host) },
		"AppendChunkHeader":   func() { dst = http1.AppendChunkHeader(dst[:0], 1000) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

// BenchmarkParseRequest is a head on a connection that had others before, or
// the first one there.
func BenchmarkParseRequest(b *testing.B) {
	for _, first := range []bool{false, true} {
		b.Run(fmt.Sprintf("first=%t", first), func(b *testing.B) {
			var r http1.Request
			b.SetBytes(int64(len(webhook)))
			b.ReportAllocs()
			for b.Loop() {
				if first {
					r = http1.Request{}
				}
				if n, err := http1.ParseRequest(&r, webhook, http1.Limits{}); n != len(webhook) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	var r http1.Response
	method := []byte("POST")
	b.SetBytes(int64(len(answer)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := http1.ParseResponse(&r, answer, http1.Limits{}, method); n != len(answer) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkScan is 64 KiB of a body, with a length or in chunks of a size.
func BenchmarkScan(b *testing.B) {
	for _, test := range []struct {
		name    string
		framing http1.Framing
		body    []byte
	}{
		{"length", http1.Fixed, make([]byte, 64<<10)},
		{"chunk=32KiB", http1.Chunked, chunks(32<<10, 64<<10)},
		{"chunk=4KiB", http1.Chunked, chunks(4<<10, 64<<10)},
		{"chunk=100B", http1.Chunked, chunks(100, 64<<10)},
	} {
		b.Run(test.name, func(b *testing.B) {
			var body http1.Body
			b.SetBytes(int64(len(test.body)))
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(test.framing, int64(len(test.body)))
				if _, done, err := body.Scan(test.body, io.Discard); !done || err != nil {
					b.Fatal(done, err)
				}
			}
		})
	}
}

func BenchmarkAppendHost(b *testing.B) {
	host, dst := []byte("quiet-otter.lrok.example.com:443"), make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := http1.AppendHost(dst, host); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendField(b *testing.B) {
	name, value, dst := []byte("X-Shop-Event"), []byte("order.payment_succeeded"), make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := http1.AppendField(dst, name, value); err != nil {
			b.Fatal(err)
		}
	}
}
