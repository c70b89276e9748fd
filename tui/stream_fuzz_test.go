package tui

import (
	"bytes"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// FuzzStream: whatever passes on a stream makes rows that a terminal shows as
// text, and each of them opens.
func FuzzStream(f *testing.F) {
	k := demoTalk(frozen)
	f.Add(true, k.x.Request.Body.Data, k.x.Response.Body.Data, "permessage-deflate", uint8(80))
	f.Add(true, []byte("\x01\x03abc\x00\x03def\x89\x00\x80\x00\x81\x05a\xff\x1b[m"), []byte("\x88\x02\x0f\xa0\xc1\x04aaaa"), "", uint8(40))
	e := demoEvents(frozen)
	f.Add(false, []byte(nil), e.Response.Body.Data, "", uint8(55))
	f.Add(false, []byte(nil), []byte("id: \x1b\xff\nevent: \u202e\u6f22\u5b57\ndata: a\x07b\n\n: \x9b\n\nretry: 99999999999\n\ndata"), "gzip", uint8(70))
	f.Fuzz(func(t *testing.T, ws bool, in, out []byte, coding string, width uint8) {
		x := inspector.Exchange{State: inspector.Done, Kind: inspector.SSE, Status: 200, Marks: []inspector.Mark{{At: time.Second, Response: true}, {At: 2 * time.Second, Offset: 3}}}
		x.Response.Header = []inspector.Field{{Name: "Content-Encoding", Value: coding}, {Name: "Sec-WebSocket-Extensions", Value: coding}}
		if ws {
			x.Kind, x.Status = inspector.WebSocket, 101
		}
		x.Request.Body = inspector.Body{Size: int64(len(in)) + 1, Captured: int64(len(in)), Data: in}
		x.Response.Body = inspector.Body{Size: int64(len(out)), Captured: int64(len(out)), Data: out}
		if n := len(out) / 2; width%2 == 1 { // the middle is not kept
			x.Response.Body = inspector.Body{
				Size: int64(len(out)) + 5, Captured: int64(n), Data: out[:n],
				Tail: &inspector.Tail{Offset: int64(n) + 5, Size: int64(len(out) - n), Skipped: int64(width / 2), Data: out[n:]},
			}
		}
		checkRows(t, newStream(&x), width)
	})
}

// FuzzCalls is FuzzStream for the messages of gRPC, and lays out what is no table.
func FuzzCalls(f *testing.F) {
	x := demoChat()
	f.Add(x.Request.Body.Data, x.Response.Body.Data, "", "", uint8(80))
	f.Add([]byte(grpcFrame(0, "\x0a\x03\x1b[m")), []byte(grpcFrame(1, "\x1f\x8b")+grpcFrame(0x80, "grpc-status: 5\r\n\x1b")), "-web", "gzip", uint8(40))
	f.Add([]byte("AAAAAAA="), []byte("AAAAAAMKAWE=AAAAAAMKAWE="), "-web-text", "", uint8(60))
	f.Add([]byte(grpcFrame(0, `{"a": 1}`)), []byte(grpcFrame(0, `{"a"`)), "+json", "zstd", uint8(100))
	f.Fuzz(func(t *testing.T, in, out []byte, suffix, coding string, width uint8) {
		x := inspector.Exchange{State: inspector.Done, Kind: inspector.GRPC, Status: 200, Marks: []inspector.Mark{{At: time.Second, Response: true}, {At: 2 * time.Second, Offset: 3}}}
		header := []inspector.Field{{Name: "Content-Type", Value: "application/grpc" + suffix}, {Name: "Grpc-Encoding", Value: coding}}
		x.Request.Header, x.Response.Header = header, header
		x.Request.Body = inspector.Body{Size: int64(len(in)) + 1, Captured: int64(len(in)), Data: in}
		x.Response.Body = inspector.Body{Size: int64(len(out)), Captured: int64(len(out)), Data: out}
		if s := newStream(&x); s != nil {
			checkRows(t, s, width)
			return
		}
		for side := range 2 {
			b := layOut(t.Context(), &x, side == 1, false)
			if f, ok := b.pretty.(fitter); ok {
				f.fit(int(width))
			}
			for i := range b.pretty.count() {
				row, _ := b.pretty.line(nil, nil, i)
				if bytes.ContainsAny(row, "\x1b\n\r") {
					t.Fatalf("row %d: %q", i, row)
				}
			}
		}
	})
}

// checkRows says what holds of any table.
func checkRows(t *testing.T, s *stream, width uint8) {
	t.Helper()
	for _, control := range []bool{false, true} {
		d := table1(s, sieve{control: control})
		d.fit(int(width))
		for i := range d.count() {
			row, spans := d.line(nil, nil, i)
			for _, c := range row {
				if c < ' ' || c == 0x7f {
					t.Fatalf("row %d: %q", i, row)
				}
			}
			for k, s := range spans {
				if s.start > s.end || s.end > len(row) || k > 0 && s.start < spans[k-1].end {
					t.Fatalf("row %d: span %+v of %d bytes", i, s, len(row))
				}
			}
			if _, _, _, ok := d.open(i); !ok {
				t.Fatalf("row %d does not open", i)
			}
			_ = d.about(i)
		}
		text, line := sourceOf(d)()
		if n := bytes.Count(text, []byte("\n")); d.count() > 0 && (n < d.count() || line(len(text)-1) != d.count()-1) {
			t.Fatalf("%d lines of %d rows", n, d.count())
		}
	}
}
