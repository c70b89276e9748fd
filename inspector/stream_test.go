package inspector

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// frame is a WebSocket frame with n bytes of payload.
func frame(opcode byte, masked bool, n int) []byte {
	var m byte
	if masked {
		m = 0x80
	}
	out := []byte{0x80 | opcode}
	switch {
	case n < 126:
		out = append(out, m|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, m|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, m|127), uint64(n))
	}
	if masked {
		out = append(out, 1, 2, 3, 4)
	}
	return append(out, bytes.Repeat([]byte{0x81}, n)...)
}

// pieces cuts data at random places.
func pieces(r *rand.Rand, data []byte, most int) (out [][]byte) {
	for len(data) > 0 {
		n := min(1+r.IntN(most), len(data))
		out = append(out, data[:n])
		data = data[n:]
	}
	return out
}

func upgraded(r *Ring, kind Kind, header ...Field) *Record {
	rec := r.Begin(Start{Method: "GET", Path: "/", Accepted: time.Now(), Header: []Field{{"Host", "a.test"}}})
	rec.Answered(Answer{Status: 101, Kind: kind, Header: append([]Field{{"Connection", "upgrade"}}, header...)})
	return rec
}

func TestFramesAreCounted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	ring := NewRing("a", 0, Limits{Body: 1000}, nil)
	defer ring.Close()
	for range 50 {
		rec := upgraded(ring, WebSocket)
		var data []byte
		n := r.IntN(40)
		for range n {
			data = append(data, frame(1, r.IntN(2) == 0, []int{0, 1, 125, 126, 300, 70_000}[r.IntN(6)])...)
		}
		for _, p := range pieces(r, data, 1+r.IntN(5000)) {
			_, _ = rec.RequestBody().Write(p)
		}
		// The head of one more has not come whole.
		_, _ = rec.RequestBody().Write(frame(2, true, 70_000)[:13])
		x := rec.Whole()
		if x.Request.Body.Items != int64(n) || x.Response.Body.Items != 0 {
			t.Fatalf("%d frames up and %d down were counted, want %d and 0", x.Request.Body.Items, x.Response.Body.Items, n)
		}
		if n > 0 && x.Request.Body.Last <= 0 {
			t.Fatal("it is not known when the last frame came")
		}
	}
}

func TestCompressedEventsAreNotCounted(t *testing.T) {
	ring := NewRing("a", 0, Limits{}, nil)
	defer ring.Close()
	rec := upgraded(ring, SSE, Field{"Content-Encoding", "gzip"})
	_, _ = rec.ResponseBody().Write([]byte("data: x\n\n"))
	if x := rec.Whole(); x.Response.Body.Items != 0 || len(x.Marks) != 1 {
		t.Errorf("%d events and %d marks, want none and one", x.Response.Body.Items, len(x.Marks))
	}
}

// TestMarks: the order of what two sides said is kept, and times as far as they
// tell apart.
func TestMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := NewRing("a", 0, Limits{Body: 100}, NewBudget(1<<20))
		defer ring.Close()
		rec := upgraded(ring, WebSocket)
		say := func(b *BodyRecord, n int, wait time.Duration) {
			_, _ = b.Write(make([]byte, n))
			time.Sleep(wait)
		}
		ms := time.Millisecond
		up, down := rec.RequestBody(), rec.ResponseBody()
		say(up, 10, ms)
		say(up, 10, ms) // too soon after the first
		say(down, 5, 0)
		say(up, 10, 0)
		say(down, 5, ms)
		say(down, 5, 10*ms)
		say(down, 5, ms)
		say(down, 200, 10*ms) // too soon as well
		say(down, 5, ms)      // past what is kept of the beginning
		say(up, 5, 0)
		want := []Mark{
			{0, false, 0},
			{2 * ms, true, 0},
			{2 * ms, false, 20},
			{2 * ms, true, 5},
			{13 * ms, true, 15},
			{24 * ms, true, 220},
			{25 * ms, false, 30},
		}
		got := rec.Whole().Marks
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("marks = %v\nwant    %v", got, want)
		}
		if x := rec.Whole().Light(); x.Marks != nil {
			t.Errorf("a list has %d marks, want none", len(x.Marks))
		}
	})
}

// TestMarksAreBounded: neither their number nor their memory grows for ever.
func TestMarksAreBounded(t *testing.T) {
	budget := NewBudget(10 << 20)
	ring := NewRing("a", 0, Limits{}, budget)
	defer ring.Close()
	rec := upgraded(ring, Upgraded)
	talk := func() {
		for range maxMarks {
			_, _ = rec.RequestBody().Write([]byte{1})
			_, _ = rec.ResponseBody().Write([]byte{1})
		}
	}
	talk()
	talk()
	marks := rec.Whole().Marks
	if n := len(marks); n != maxMarks+2 {
		t.Fatalf("%d marks, want %d and where they are missing", n, maxMarks)
	}
	// Both sides take turns, byte by byte.
	for i, m := range marks {
		want, turn := Mark{marks[i].At, i%2 == 1, int64(i / 2)}, i
		switch {
		case i == maxMarks/2 || i == maxMarks/2+1:
			want.At = -1
		case i > maxMarks/2:
			turn = 4*maxMarks - maxMarks - 2 + i
			want.Response, want.Offset = turn%2 == 1, int64(turn/2)
		}
		if m != want || m.At < 0 != (want.At < 0) {
			t.Fatalf("mark %d = %v, want %v", i, m, want)
		}
	}
	if n := budget.Used(); n < maxMarks*markSize {
		t.Errorf("%d bytes of the budget are taken, want at least those of %d marks", n, maxMarks)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = rec.RequestBody().Write(nil) }); n != 0 {
		t.Errorf("what a stream says takes %v allocations, want 0", n)
	}
	rec.End(Ending{})
	rec.dropBodies("evicted")
	if n := len(rec.Whole().Marks); n != 0 {
		t.Errorf("%d marks of bodies that are gone, want none", n)
	}
	ring.Clear()
	if n := budget.Used(); n != 0 {
		t.Errorf("%d bytes of the budget are taken after all, want 0", n)
	}

	ring = NewRing("b", 0, Limits{}, NewBudget(200))
	defer ring.Close()
	rec = upgraded(ring, WebSocket)
	_, _ = rec.RequestBody().Write([]byte{1})
	if x := rec.Whole(); len(x.Marks) != 0 {
		t.Errorf("%d marks without memory for them, want none", len(x.Marks))
	}
}

// A page that is left or loaded anew closes its event streams.
func TestLeavingAnEventStreamIsNoFailure(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		by   string
		want bool
	}{
		{HTTP, "client", true},
		{SSE, "client", false},
		{SSE, "upstream", true},
		{SSE, "edge", true},
		{GRPC, "client", true},
		{WebSocket, "client", true},
		{HTTP, "", false},
	} {
		x := Exchange{Kind: c.kind, EndedBy: c.by}
		if c.by != "" {
			x.Error = c.by + "_aborted"
		}
		if got := x.Failed(); got != c.want {
			t.Errorf("%s that was ended by %q failed: %t, want %t", c.kind, c.by, got, c.want)
		}
	}
}
