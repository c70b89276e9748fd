package tui

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// A recorded stream is one that a real recorder keeps in part.
type recorded struct {
	ring *inspector.Ring
	rec  *inspector.Record
}

func record(t *testing.T, kind inspector.Kind, limit int64, header ...string) *recorded {
	t.Helper()
	ring := inspector.NewRing("acme", 0, inspector.Limits{Body: limit}, nil)
	t.Cleanup(ring.Close)
	rec := ring.Begin(inspector.Start{Method: "GET", Path: "/live", Scheme: "https", Host: "acme.lrok.example", Proto: "HTTP/1.1", Header: message1("Host", "acme.lrok.example").Header, Accepted: time.Now()})
	status := 200
	if kind == inspector.WebSocket {
		status = 101
	}
	rec.Answered(inspector.Answer{Status: status, Kind: kind, Header: message1(append(header, "Server", "x")...).Header})
	return &recorded{ring, rec}
}

func (r *recorded) event(i int) {
	_, _ = fmt.Fprintf(r.rec.ResponseBody(), "id: %d\ndata: {\"n\":%d}\n\n", i, i)
}

func (r *recorded) frame(down bool, first byte, payload string) {
	k := &talk{}
	k.say(down, 0, first, payload)
	if down {
		_, _ = r.rec.ResponseBody().Write(k.x.Response.Body.Data)
	} else {
		_, _ = r.rec.RequestBody().Write(k.x.Request.Body.Data)
	}
}

func (r *recorded) stream() *stream {
	x := r.rec.Whole()
	return newStream(&x)
}

var thousands = strings.NewReplacer(",", "")

// gapIn finds how many items a table says are not kept.
func gapIn(t *testing.T, rows string) (n int) {
	t.Helper()
	m := regexp.MustCompile(`([\d,]+) (?:event|frame)s? not kept \(edge's --capture-body\)`).FindAllStringSubmatch(rows, -1)
	if len(m) != 1 {
		t.Fatalf("%d gaps, want one:\n%s", len(m), rows)
	}
	_, _ = fmt.Sscan(thousands.Replace(m[0][1]), &n)
	return n
}

// TestEventsGoOn: past what is kept the newest events still come, and a row says
// how many are missing before them.
func TestEventsGoOn(t *testing.T) {
	r := record(t, inspector.SSE, 4<<10)
	const all = 10_000
	for i := range all {
		r.event(i)
	}
	s := r.stream()
	table := table1(s, sieve{})
	rows := strings.Split(rowsIn(table), "\n")
	gap := slices.IndexFunc(rows, func(s string) bool { return strings.Contains(s, "not kept") })
	if !strings.HasSuffix(rows[len(rows)-1], `{"n":9999}`) || !strings.HasSuffix(rows[0], `{"n":0}`) || gap < 0 || s.lastID != "9999" {
		t.Fatalf("rows = %s\n…\n%s, the gap at %d, last id %s", rows[0], rows[len(rows)-1], gap, s.lastID)
	}
	// The one before the gap may be cut.
	before := gap - b2i(s.items[gap-1].lack != "")
	if n, want := gapIn(t, rowsIn(table)), all-before-(len(rows)-gap-1); n != want {
		t.Errorf("%d events are said to be gone, want %d", n, want)
	}
	// Those after it are without a hole.
	for i, row := range rows[gap+1:] {
		if want := fmt.Sprintf(`{"n":%d}`, all-(len(rows)-gap-1)+i); !strings.HasSuffix(row, want) {
			t.Fatalf("row %d is %s, want %s", gap+1+i, row, want)
		}
	}
	if s.blind || !s.full || len(s.notes) != 0 {
		t.Errorf("blind %v, full %v, notes %q; want a stream that is followed", s.blind, s.full, s.notes)
	}
	name, _, data, _ := table.open(gap)
	if want := "and the last "; name != "gap" || !strings.Contains(string(data), want) {
		t.Errorf("opened, the gap is %s: %s", name, data)
	}
	// A filter lets the gap stand: what is in it is not known.
	if got := rowsIn(table1(s, sieve{query: `"n":9999`})); len(strings.Split(got, "\n")) != 2 || !strings.Contains(got, "not kept") {
		t.Errorf("filtered:\n%s", got)
	}
}

// TestCursorStaysOnItsEvent while others are let go of before it; when it goes
// itself, it is where it was.
func TestCursorStaysOnItsEvent(t *testing.T) {
	r := record(t, inspector.SSE, 4<<10)
	for i := range 1000 {
		r.event(i)
	}
	had := r.stream()
	for i := range 20 {
		r.event(1000 + i)
	}
	next := r.stream()
	kept, gone := 0, 0
	for n := range had.items {
		at := next.find(had, int32(n))
		switch a, b := &had.items[n], &next.items[at]; {
		case a.gap || b.gap:
			if !b.gap {
				t.Fatalf("the gap became %q", b.data)
			}
			gone++
		case string(a.data) != string(b.data):
			t.Fatalf("item %d, %q, became %q", n, a.data, b.data)
		default:
			kept++
		}
	}
	if kept < 100 || gone < 2 {
		t.Errorf("%d items stayed and %d went, want some of each", kept, gone)
	}
}

// TestConversationGoesOn: one side says little and is kept whole, the other much.
func TestConversationGoesOn(t *testing.T) {
	r := record(t, inspector.WebSocket, 4<<10)
	r.frame(false, 0x81, "subscribe")
	const all = 3000
	for i := range all {
		r.frame(true, 0x81, fmt.Sprintf("tick %d", i))
		if i == all-5 {
			r.frame(false, 0x81, "unsubscribe")
		}
	}
	r.frame(true, 0x88, "\x03\xe8")
	s := r.stream()
	rows := rowsIn(table1(s, sieve{}))
	order := []string{"▲", "subscribe", "tick 0", "tick 1", "▼ ─── ", " not kept", "unsubscribe", "tick 2999", "close"}
	at := 0
	for _, want := range order {
		n := strings.Index(rows[at:], want)
		if n < 0 {
			t.Fatalf("no %q after %d:\n%s", want, at, rows)
		}
		at += n
	}
	if n := gapIn(t, rows); int64(n)+s.sides[1] != all+1 || s.sides[0] != 2 {
		t.Errorf("%d frames are gone and %d kept of %d, %d of the client", n, s.sides[1], all+1, s.sides[0])
	}
	if s.closing != "1000 normal" || s.blind {
		t.Errorf("closing = %q, blind %v", s.closing, s.blind)
	}
}

// TestCompressedAfterAGap: what refers to messages that are gone is said to, and
// never put together from others.
func TestCompressedAfterAGap(t *testing.T) {
	for _, takeover := range []bool{true, false} {
		agreed := "permessage-deflate"
		if !takeover {
			agreed += "; server_no_context_takeover"
		}
		r := record(t, inspector.WebSocket, 8<<10, "Sec-WebSocket-Extensions", agreed)
		k := newTalk(frozen)
		said := map[string]bool{}
		const all = 4000
		for i := range all {
			m := fmt.Sprintf(`{"order":"A-%d","status":"paid","amount":%d}`, i, i*7919)
			if said[m] = true; !takeover {
				k.zips[1].w.Reset(&k.zips[1].b)
			}
			r.frame(true, 0xc1, k.zip(true, m))
		}
		s := r.stream()
		gap := slices.IndexFunc(s.items, func(it item) bool { return it.gap })
		if gap < 0 || gap == len(s.items)-1 {
			t.Fatalf("takeover %v: the gap is at %d of %d", takeover, gap, len(s.items))
		}
		lost := 0
		for i, it := range s.items {
			switch {
			case it.gap:
			case it.note != "":
				lost++
				if i < gap-1 || i > gap && it.note != "compressed: it refers to earlier messages, which are missing" {
					t.Fatalf("takeover %v: item %d: %s", takeover, i, it.note)
				}
			case it.lack == "" && !said[string(it.data)]:
				t.Fatalf("takeover %v: item %d is %q, which was never said", takeover, i, it.data)
			}
		}
		if takeover != (lost > 10) {
			t.Errorf("takeover %v: %d messages of %d cannot be read", takeover, lost, len(s.items))
		}
	}
}

// TestManyInTheLastPart shows the newest, whatever their number.
func TestManyInTheLastPart(t *testing.T) {
	r := record(t, inspector.SSE, 4<<20)
	one := []byte("data:1\n\n")
	many := bytes.Repeat(one, 1000)
	for range 1000 {
		_, _ = r.rec.ResponseBody().Write(many)
	}
	_, _ = r.rec.ResponseBody().Write([]byte("data:last\n\n"))
	s := r.stream()
	if n := len(s.items); n != 2*format.MaxEvents+1 || string(s.items[n-1].data) != "last" {
		t.Fatalf("%d items, the last one %q", n, s.items[n-1].data)
	}
	if n := gapIn(t, s.items[format.MaxEvents].note); n < 1_000_000-2<<20/len(one)-format.MaxEvents {
		t.Errorf("%d events are said not to be there", n)
	}
	r = record(t, inspector.WebSocket, 1<<20)
	frames := bytes.Repeat([]byte{0x81, 1, 'x'}, 1000)
	for range 1000 {
		_, _ = r.rec.ResponseBody().Write(frames)
	}
	_, _ = r.rec.ResponseBody().Write([]byte{0x81, 1, 'y'})
	s = r.stream()
	if n := len(s.items); n != 2*format.MaxFrames+1 || string(s.items[n-1].data) != "y" {
		t.Fatalf("%d items, the last one %q", n, s.items[n-1].data)
	}
}
