package inspector

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// saying is what one side of a stream says: items, and where each of them ends.
type saying struct {
	data []byte
	ends []int
}

// sayEvents says n events of all shapes, and comments between them, which are none.
func sayEvents(r *rand.Rand, n int) (s saying) {
	for range n {
		end := []string{"\n", "\r\n", "\r"}[r.IntN(3)]
		if r.IntN(4) == 0 {
			s.data = append(s.data, ": still here"+end+end...)
		}
		if r.IntN(3) == 0 {
			s.data = append(s.data, "event: tick"+end+"id: 7"+end...)
		}
		s.data = append(s.data, "data: "+strings.Repeat("x", r.IntN(40))+end+end...)
		s.ends = append(s.ends, len(s.data))
	}
	return s
}

// sayFrames says n frames.
func sayFrames(r *rand.Rand, n int) (s saying) {
	for range n {
		s.data = append(s.data, frame(1, r.IntN(2) == 0, []int{0, 1, 20, 125, 126, 300}[r.IntN(6)])...)
		s.ends = append(s.ends, len(s.data))
	}
	return s
}

// before counts the items that have ended, or of which no more than the payload is
// missing, in the first n bytes.
func (s saying) before(kind Kind, n int) (count int64) {
	start := 0
	for _, end := range s.ends {
		whole := end <= n || end == n+1 && s.data[n-1] == '\r' && s.data[n] == '\n' // the line has ended, whatever comes
		if kind == WebSocket {
			_, head := payload(s.data[start:])
			whole = start+head <= n
		}
		if !whole {
			break
		}
		count++
		start = end
	}
	return count
}

// check holds what is captured of s against it.
func (s saying) check(t testing.TB, kind Kind, b *Body, most int64) {
	t.Helper()
	if b.Size != int64(len(s.data)) || b.Captured != int64(len(b.Data)) || !bytes.HasPrefix(s.data, b.Data) {
		t.Fatalf("captured = %d of %d, %d bytes, want a beginning of %d", b.Captured, b.Size, len(b.Data), len(s.data))
	}
	if b.Tail == nil {
		if b.Truncated() {
			t.Fatalf("%d of %d are captured, and no last part", b.Captured, b.Size)
		}
		return
	}
	tail := b.Tail
	if !b.Truncated() || b.Missing != "limit" || tail.Offset <= b.Captured || tail.Offset+tail.Size != b.Size || string(tail.Data) != string(s.data[tail.Offset:]) {
		t.Fatalf("tail = %d+%d, %d bytes, of %d, missing %q", tail.Offset, tail.Size, len(tail.Data), b.Size, b.Missing)
	}
	if kept := b.Captured + tail.Size; kept > most || b.Captured < most/2 {
		t.Fatalf("%d and %d bytes are kept, want half of %d and no more than that", b.Captured, tail.Size, most)
	}
	if tail.Size == 0 {
		return
	}
	// An item begins there, and those skipped are the rest.
	at := int(tail.Offset)
	items := s.before(kind, at)
	if kind == WebSocket && (items == 0 || s.ends[items-1] != at) {
		t.Fatalf("the tail begins at %d, where no frame does", at)
	}
	if kind == SSE && !blank(s.data[:at]) {
		t.Fatalf("the tail begins after %q, want after a blank line", s.data[max(0, at-20):at])
	}
	if want := items - s.before(kind, int(b.Captured)); tail.Skipped != want {
		t.Fatalf("%d items are skipped, want %d", tail.Skipped, want)
	}
}

// blank reports whether p ends with a blank line.
func blank(p []byte) bool {
	for _, end := range []string{"\n\n", "\r\r", "\n\r", "\r\n\r\n"} {
		if bytes.HasSuffix(p, []byte(end)) {
			return true
		}
	}
	return false
}

// TestTail holds what is kept of streams against what was said, whatever the
// pieces and the limits are.
func TestTail(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 400 {
		kind, say := SSE, sayEvents
		if i%2 == 0 {
			kind, say = WebSocket, sayFrames
		}
		limit := int64(32 + r.IntN(8000))
		budget := NewBudget(1 << 20)
		ring := NewRing("a", 0, Limits{Body: limit}, budget)
		rec := upgraded(ring, kind)
		s := say(r, r.IntN(400))
		heads := budget.Used()
		said := 0
		for _, p := range pieces(r, s.data, 1+r.IntN(3000)) {
			_, _ = rec.ResponseBody().Write(p)
			said += len(p)
			if r.IntN(20) == 0 {
				x := rec.Whole()
				saying{s.data[:said], s.ends}.check(t, kind, &x.Response.Body, limit)
			}
			// Marks are charged as well.
			if used := budget.Used() - heads - int64(maxMarks*markSize); used > limit {
				t.Fatalf("%d bytes are taken, want no more than %d", used, limit)
			}
		}
		rec.End(Ending{})
		x := rec.Whole()
		s.check(t, kind, &x.Response.Body, limit)
		sum := sha256.Sum256(s.data)
		if want := hex.EncodeToString(sum[:]); len(s.data) > 0 && x.Response.Body.SHA256 != want {
			t.Fatalf("digest = %s, want %s", x.Response.Body.SHA256, want)
		}
		if y := x.Light(); y.Response.Body.Tail != nil {
			t.Fatal("a list has the last part of a body")
		}
		ring.Close()
		if n := budget.Used(); n != 0 {
			t.Fatalf("%d bytes are taken after all, want 0", n)
		}
	}
}

// TestTailOfSmallLimit: what is too little to be shared out is a beginning.
func TestTailOfSmallLimit(t *testing.T) {
	ring := NewRing("a", 0, Limits{Body: 31}, nil)
	defer ring.Close()
	rec := upgraded(ring, SSE)
	_, _ = rec.ResponseBody().Write(bytes.Repeat([]byte("data: x\n\n"), 20))
	if b := rec.Whole().Response.Body; b.Captured != 31 || b.Tail != nil || b.Missing != "limit" || b.Items != 20 {
		t.Errorf("body = %+v, want the first 31 bytes", b)
	}
}

// TestTailOfOneItem: an item that is larger than all that is kept leaves nothing
// that begins with one, until the next one comes.
func TestTailOfOneItem(t *testing.T) {
	ring := NewRing("a", 0, Limits{Body: 1 << 10}, nil)
	defer ring.Close()
	for kind, item := range map[Kind][]byte{
		WebSocket: frame(1, true, 100_000),
		SSE:       []byte("data: " + strings.Repeat("x", 100_000) + "\n\n"),
	} {
		rec := upgraded(ring, kind)
		_, _ = rec.RequestBody().Write(item)
		_, _ = rec.ResponseBody().Write(item[:50_000])
		b := rec.Whole().Response.Body
		if b.Tail == nil || b.Tail.Offset != 50_000 || b.Tail.Size != 0 || b.Tail.Skipped != 0 {
			t.Errorf("%s: tail = %+v, want an empty one", kind, b.Tail)
		}
		_, _ = rec.ResponseBody().Write(item[50_000:])
		_, _ = rec.ResponseBody().Write(item[:100])
		b = rec.Whole().Response.Body
		if b.Tail.Offset != int64(len(item)) || b.Tail.Size != 100 || string(b.Tail.Data) != string(item[:100]) {
			t.Errorf("%s: tail = %d+%d, want the 100 bytes of the next item", kind, b.Tail.Offset, b.Tail.Size)
		}
	}
}

// TestTailWithoutMemory: a stream takes what the budgets have and lets its oldest
// piece go when they have no more. Others that need memory get it at its end.
func TestTailWithoutMemory(t *testing.T) {
	for _, room := range []int64{700, 3000, 20_000, 40_000} {
		budget := NewBudget(room)
		ring := NewRing("a", 0, Limits{Body: 64 << 10}, budget)
		rec := upgraded(ring, SSE)
		var all []byte
		for i := range 20_000 {
			e := fmt.Appendf(nil, "data: %d\n\n", i)
			all = append(all, e...)
			_, _ = rec.ResponseBody().Write(e)
		}
		if n := budget.Used(); n > room {
			t.Errorf("%d bytes are taken of %d", n, room)
		}
		b := rec.Whole().Response.Body
		if b.Missing != "memory" || !bytes.HasPrefix(all, b.Data) || b.Items != 20_000 {
			t.Errorf("room %d: %d bytes, missing %q, %d events, want a beginning", room, len(b.Data), b.Missing, b.Items)
		}
		if tail := b.Tail; room > 36_000 && tail == nil || tail != nil && string(all[tail.Offset:]) != string(tail.Data) {
			t.Errorf("room %d: tail = %v", room, tail)
		}
		rec.End(Ending{})
		rec.dropBodies("evicted")
		if b := rec.Whole().Response.Body; b.Tail != nil || b.Captured != 0 || b.Missing != "evicted" || len(b.SHA256) != 64 {
			t.Errorf("room %d: %d bytes and %v are left, missing %q, digest %q, want none but the digest", room, b.Captured, b.Tail, b.Missing, b.SHA256)
		}
		ring.Close()
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes are taken after all", n)
		}
	}
}

// TestTailIsSharedSafely reads snapshots while the stream goes on. What was handed
// out does not change.
func TestTailIsSharedSafely(t *testing.T) {
	ring := NewRing("a", 0, Limits{Body: 4 << 10}, nil)
	defer ring.Close()
	rec := upgraded(ring, SSE)
	var wait sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wait.Go(func() {
			for {
				b := rec.Whole().Response.Body
				kept := b.Data
				if b.Tail != nil {
					kept = b.Tail.Data
				}
				before := string(kept)
				select {
				case <-done:
					return
				default:
				}
				if string(kept) != before || before != "" && !strings.HasPrefix(before, "data: ") {
					t.Errorf("a snapshot begins with %.20q, then %.20q", before, kept)
					return
				}
			}
		})
	}
	for i := range 50_000 {
		_, _ = rec.ResponseBody().Write(fmt.Appendf(nil, "data: %d\n\n", i))
	}
	close(done)
	wait.Wait()
}

// TestTailAllocations: what goes past costs no allocation while nobody looks.
func TestTailAllocations(t *testing.T) {
	for _, kind := range []Kind{SSE, WebSocket} {
		ring := NewRing("a", 0, Limits{Body: 64 << 10}, NewBudget(1<<20))
		rec := upgraded(ring, kind)
		p := bytes.Repeat([]byte("data: hello, world\n\n"), 400)
		if kind == WebSocket {
			p = bytes.Repeat(frame(1, false, 18), 400)
		}
		rec.ResponseBody().Expect(1 << 40) // no digest of that
		for range 200 << 10 / len(p) {
			_, _ = rec.ResponseBody().Write(p)
		}
		if n := testing.AllocsPerRun(1000, func() { _, _ = rec.ResponseBody().Write(p) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", kind, n)
		}
		ring.Close()
	}
}

// FuzzTail gives the recorder any bytes in any pieces as a stream, and expects it
// to find the same borders, and to keep what was said.
func FuzzTail(f *testing.F) {
	f.Add([]byte("data: x\n\nevent: y\ndata: z\r\n\r\n: hm\n\n"), uint16(40), uint8(7), true)
	f.Add(bytes.Repeat(frame(1, true, 20), 20), uint16(64), uint8(3), false)
	f.Add(bytes.Repeat([]byte("data: 1\r\rdata\n\n"), 20), uint16(33), uint8(1), true)
	f.Fuzz(func(t *testing.T, data []byte, limit uint16, step uint8, sse bool) {
		kind := WebSocket
		if sse {
			kind = SSE
		}
		ring := NewRing("a", 0, Limits{Body: max(int64(limit), 1)}, nil)
		defer ring.Close()
		rec := upgraded(ring, kind)
		one := items{kind: kind} // is given byte after byte
		borders := map[int64]int64{}
		for i := range data {
			if at, n := one.pass(data[i:i+1], 0); at == 1 || kind == WebSocket && at == 0 {
				borders[int64(i+at)] = n
			}
		}
		for rest := data; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			_, _ = rec.ResponseBody().Write(rest[:n])
			rest = rest[n:]
		}
		b := rec.Whole().Response.Body
		if b.Size != int64(len(data)) || b.Items != one.n || !bytes.HasPrefix(data, b.Data) || b.Captured != int64(len(b.Data)) {
			t.Fatalf("%d items in %d bytes, %d kept, want %d in %d", b.Items, b.Size, b.Captured, one.n, len(data))
		}
		tail := b.Tail
		if tail == nil || tail.Size == 0 {
			return
		}
		if n, ok := borders[tail.Offset]; !ok || tail.Skipped > n || tail.Offset+tail.Size != b.Size || !bytes.Equal(tail.Data, data[tail.Offset:]) {
			t.Fatalf("the tail begins at %d with %d skipped, where an item begins: %v", tail.Offset, tail.Skipped, ok)
		}
		if b.Captured+tail.Size > int64(limit) {
			t.Fatalf("%d and %d bytes are kept, want at most %d", b.Captured, tail.Size, limit)
		}
	})
}

// follow brings a copy of what is captured up to date as a reader elsewhere does:
// it is told what came since the end of what it has, and of a beginning that it
// does not have whole the rest.
func follow(had, whole Body) (Body, bool) {
	next := whole
	next.Since(had.End())
	if !next.Extend(&had) {
		return next, false
	}
	if int64(len(next.Data)) < next.Captured {
		next.Data = whole.Data
	}
	return next, true
}

// TestFollow: who reads a stream as it comes, now and then, has what is kept of it
// each time.
func TestFollow(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for i := range 200 {
		kind, say := SSE, sayEvents
		if i%2 == 0 {
			kind, say = WebSocket, sayFrames
		}
		ring := NewRing("a", 0, Limits{Body: int64(40 + r.IntN(8000))}, nil)
		rec := upgraded(ring, kind)
		had := rec.Whole().Response.Body
		for _, p := range pieces(r, say(r, 300).data, 1+r.IntN(1000)) {
			_, _ = rec.ResponseBody().Write(p)
			if r.IntN(5) > 0 {
				continue
			}
			whole := rec.Whole().Response.Body
			before := string(had.Data)
			next, ok := follow(had, whole)
			if !ok {
				t.Fatalf("%d of %d bytes, a tail %v, do not continue %d of %d", whole.Captured, whole.Size, whole.Tail != nil, had.Captured, had.Size)
			}
			if string(next.Data) != string(whole.Data) || (next.Tail == nil) != (whole.Tail == nil) || next.Tail != nil && !reflect.DeepEqual(*next.Tail, *whole.Tail) && string(next.Tail.Data)+string(whole.Tail.Data) != "" {
				t.Fatalf("of %d bytes %d are there, want %d; tail %v, want %v", whole.Size, len(next.Data), len(whole.Data), next.Tail, whole.Tail)
			}
			if string(had.Data) != before {
				t.Fatal("what was read before has changed")
			}
			had = next
		}
		// The budgets take the stream back.
		rec.End(Ending{})
		rec.dropBodies("evicted")
		if b, ok := follow(had, rec.Whole().Response.Body); !ok || b.Captured != 0 || len(b.Data) != 0 || b.Tail != nil {
			t.Fatalf("what is gone comes to %d bytes, %v", len(b.Data), ok)
		}
		ring.Close()
	}
}

// FuzzExtend is about an answer from anywhere, which may not fit what came before.
func FuzzExtend(f *testing.F) {
	f.Add([]byte("abcdef"), int64(2), int64(4), []byte("abc"), int64(3), int64(5), int64(9))
	f.Add([]byte("abcdef"), int64(6), int64(3), []byte(""), int64(7), int64(2), int64(9))
	f.Add([]byte(""), int64(-1), int64(1<<62), []byte("x"), int64(1<<62), int64(1<<62), int64(-1<<63))
	f.Fuzz(func(t *testing.T, data []byte, at, captured int64, tail []byte, offset, size, total int64) {
		had := Body{Data: data, Size: int64(len(data)), Tail: &Tail{Offset: at, Size: int64(len(tail)), Data: tail}}
		for _, h := range []Body{had, {Data: data}} {
			b := Body{Size: total, Captured: captured, Tail: &Tail{Offset: offset, Size: size, Data: tail}}
			if !b.Extend(&h) {
				continue
			}
			if int64(len(b.Data)) > max(b.Captured, b.Size) || b.Tail != nil && int64(len(b.Tail.Data)) > b.Tail.Size {
				t.Fatalf("%+v extends %+v", b, h)
			}
		}
		b := Body{Data: data, Size: int64(len(data)), Captured: int64(len(data))}
		b.Since(at)
		if b.Tail.Offset+int64(len(b.Tail.Data)) != b.Size {
			t.Fatalf("since %d of %d: %+v", at, b.Size, b.Tail)
		}
	})
}
