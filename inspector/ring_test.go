package inspector

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"
	"time"
)

func begin(r *Ring, path string) *Record {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nX-Odd:  two  \r\nx-odd: 2\r\n\r\n", path)
	return r.Begin(Start{Head: []byte(head), Method: "POST", Path: path, Host: "a.test", Accepted: time.Now()})
}

func TestRingKeepsTheNewest(t *testing.T) {
	r := NewRing("a", 3, Limits{}, nil)
	for i := range 5 {
		begin(r, fmt.Sprint("/", i)).End(Ending{})
	}
	xs := r.List(0, 0)
	if len(xs) != 3 || xs[0].Path != "/4" || xs[2].Path != "/2" || xs[0].Number != 5 {
		t.Fatalf("List = %+v, want /4 /3 /2 with number 5 first", xs)
	}
	if xs = r.List(1, 4); len(xs) != 1 || xs[0].Path != "/2" {
		t.Fatalf("List(1, 4) = %+v, want /2", xs)
	}
}

func TestRingEvictsEndedBeforeOpen(t *testing.T) {
	r := NewRing("a", 2, Limits{}, nil)
	stream := begin(r, "/events")
	begin(r, "/1").End(Ending{})
	begin(r, "/2").End(Ending{})
	if _, ok := r.Find(stream.ID()); !ok {
		t.Fatal("a stream that still runs was evicted before an ended exchange")
	}
}

func TestHeadersKeepOrderAndRepeats(t *testing.T) {
	r := NewRing("a", 2, Limits{}, nil)
	rec := begin(r, "/")
	x, _ := r.Find(rec.ID())
	want := []Field{{"Host", "a.test"}, {"X-Odd", "two"}, {"x-odd", "2"}}
	if fmt.Sprint(x.Request.Header) != fmt.Sprint(want) {
		t.Fatalf("Header = %v, want %v", x.Request.Header, want)
	}
}

func TestBodyLimits(t *testing.T) {
	for _, c := range []struct {
		name    string
		size    int
		kept    int64
		missing string
		digest  bool
	}{
		{"empty", 0, 0, "", false},
		{"small", 10, 10, "", true},
		{"at the limit", 1000, 1000, "", true},
		{"over it", 1001, 1000, "limit", true},
		{"far over it", 100_000, 1000, "limit", true},
		{"too large to hash", maxHashed + 1, 1000, "limit", false},
	} {
		for _, piece := range []int{7, 999, 1 << 20} {
			if c.size/piece > 1<<20 {
				continue
			}
			r := NewRing("a", 2, Limits{Body: 1000}, nil)
			rec := begin(r, "/")
			body := bytes.Repeat([]byte("0123456789abc"), c.size/13+1)[:c.size]
			// What was announced changes nothing, right or wrong.
			rec.ResponseBody().Expect(int64(c.size) * int64(piece%3+1))
			for b := body; len(b) > 0; {
				n := min(piece, len(b))
				_, _ = rec.ResponseBody().Write(b[:n])
				b = b[n:]
			}
			rec.End(Ending{})
			got := rec.Whole().Response.Body
			sum := ""
			if c.digest {
				s := sha256.Sum256(body)
				sum = hex.EncodeToString(s[:])
			}
			if got.Size != int64(c.size) || got.Captured != c.kept || got.Missing != c.missing || got.SHA256 != sum || !bytes.Equal(got.Data, body[:c.kept]) {
				t.Errorf("%s in pieces of %d: size %d captured %d missing %q sum %q, want %d %d %q %q", c.name, piece, got.Size, got.Captured, got.Missing, got.SHA256, c.size, c.kept, c.missing, sum)
			}
		}
	}
}

func TestBudgetsBoundMemory(t *testing.T) {
	edge := NewBudget(100 << 10)
	rings := []*Ring{NewRing("a", 100, Limits{Tunnel: 64 << 10}, edge), NewRing("b", 100, Limits{Tunnel: 64 << 10}, edge)}
	for range 50 {
		for _, r := range rings {
			rec := begin(r, "/")
			_, _ = rec.RequestBody().Write(make([]byte, 10<<10))
			rec.End(Ending{})
			if u := edge.Used(); u > 100<<10 {
				t.Fatalf("edge uses %d, want at most %d", u, 100<<10)
			}
			if u := r.own.Used(); u > 64<<10 {
				t.Fatalf("tunnel uses %d, want at most %d", u, 64<<10)
			}
		}
	}
	newest := rings[0].List(1, 0)[0]
	if newest.Request.Body.Captured != 10<<10 {
		t.Errorf("newest body captured %d, want all: old ones make room", newest.Request.Body.Captured)
	}
	oldest := rings[0].List(0, 0)[49]
	if oldest.Request.Body.Missing != "evicted" {
		t.Errorf("oldest body Missing = %q, want evicted", oldest.Request.Body.Missing)
	}
	for _, r := range rings {
		r.Close()
	}
	if u := edge.Used(); u != 0 {
		t.Errorf("after Close the budget holds %d, want 0", u)
	}
}

// Heads count: a hundred of 64 KiB would be more than a tunnel may take.
func TestLargeHeadsShortenTheRing(t *testing.T) {
	edge := NewBudget(1 << 20)
	r := NewRing("a", 100, Limits{}, edge)
	for range 100 {
		head := append([]byte("GET / HTTP/1.1\r\nX: "), make([]byte, 60<<10)...)
		r.Begin(Start{Head: head, Method: "GET", Path: "/", Accepted: time.Now()}).End(Ending{})
		if u := edge.Used(); u > 1<<20 {
			t.Fatalf("the heads take %d, want at most %d", u, 1<<20)
		}
	}
	if n := len(r.List(0, 0)); n < 4 || n > 8 {
		t.Errorf("%d exchanges are kept, want as many as fit", n)
	}
	r.Close()
	if u := edge.Used(); u != 0 {
		t.Errorf("after Close the budget holds %d, want 0", u)
	}
}

// A tunnel that takes most of the edge's memory makes room, not its neighbours.
func TestTheLargestRingMakesRoom(t *testing.T) {
	edge := NewBudget(1 << 20)
	small := NewRing("small", 100, Limits{}, edge)
	rec := begin(small, "/")
	_, _ = rec.RequestBody().Write(make([]byte, 10<<10))
	rec.End(Ending{})
	large := NewRing("large", 100, Limits{}, edge)
	for range 200 {
		rec := begin(large, "/")
		_, _ = rec.RequestBody().Write(make([]byte, 20<<10))
		rec.End(Ending{})
		if u := edge.Used(); u > 1<<20 {
			t.Fatalf("the edge uses %d, want at most %d", u, 1<<20)
		}
	}
	begin(small, "/2").End(Ending{})
	if b := small.List(0, 0)[1].Request.Body; b.Captured != 10<<10 {
		t.Errorf("the small tunnel keeps %d (%s) of its body, want all", b.Captured, b.Missing)
	}
	large.Close()
	small.Close()
	if u := edge.Used(); u != 0 {
		t.Errorf("after Close the budget holds %d, want 0", u)
	}
}

func TestBytesAfterTheEndTakeNothing(t *testing.T) {
	edge := NewBudget(1 << 20)
	r := NewRing("a", 100, Limits{}, edge)
	rec := begin(r, "/")
	rec.End(Ending{})
	r.Close()
	_, _ = rec.RequestBody().Write(make([]byte, 10_000))
	if u := edge.Used(); u != 0 {
		t.Errorf("the budget holds %d, want 0", u)
	}
}

// An exchange whose ring lets go of it while it runs gives its memory back when
// it ends.
func TestDetachedExchangeGivesMemoryBack(t *testing.T) {
	edge := NewBudget(1 << 20)
	r := NewRing("a", 100, Limits{}, edge)
	rec := begin(r, "/")
	_, _ = rec.RequestBody().Write(make([]byte, 1000))
	r.Clear()
	_, _ = rec.RequestBody().Write(make([]byte, 1000))
	rec.End(Ending{})
	if u := edge.Used(); u != 0 {
		t.Errorf("budget holds %d, want 0", u)
	}
}

func TestSinceTellsChangesAndGaps(t *testing.T) {
	r := NewRing("a", 3, Limits{}, nil)
	v := r.Version()
	a := begin(r, "/a")
	b := begin(r, "/b")
	a.End(Ending{})
	xs, gap := r.Since(v)
	if gap || len(xs) != 2 || xs[0].ID != b.ID() || xs[1].State != Done {
		t.Fatalf("Since = %v gap %v, want b then a (done), no gap", xs, gap)
	}
	b.End(Ending{})
	v = r.Version()
	for range 3 {
		begin(r, "/c").End(Ending{})
	}
	if _, gap = r.Since(v); gap {
		t.Error("gap although only exchanges seen before were evicted")
	}
	begin(r, "/d").End(Ending{})
	if xs, gap = r.Since(v); !gap || len(xs) != 3 {
		t.Errorf("Since = %d exchanges, gap %v, want 3 and a gap", len(xs), gap)
	}
}

// A service may answer before it has read the request, so both bodies, the end
// and the watchers meet at the same time.
func TestRecordingIsSafeFromAllSides(t *testing.T) {
	r := NewRing("a", 10, Limits{Body: 4 << 10, Tunnel: 32 << 10}, NewBudget(64<<10))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		w := r.Watch()
		defer w.Close()
		var v uint64
		for {
			select {
			case <-w.C():
			case <-stop:
				return
			}
			xs, _ := r.Since(v)
			for _, x := range xs {
				v = max(v, x.Version)
				if y, ok := r.Find(x.ID); ok && int64(len(y.Request.Body.Data)) > y.Request.Body.Size {
					t.Error("more captured than passed")
				}
			}
		}
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				rec := begin(r, "/")
				var two sync.WaitGroup
				two.Go(func() {
					for range 5 {
						_, _ = rec.RequestBody().Write(make([]byte, 700))
					}
				})
				rec.Answered(Answer{Head: []byte("HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), Status: 200})
				_, _ = rec.ResponseBody().Write(make([]byte, 5000))
				rec.End(Ending{})
				two.Wait()
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
}

func TestNilRecordRecordsNothing(t *testing.T) {
	var r *Ring
	rec := r.Begin(Start{})
	rec.Opened(true)
	rec.Answered(Answer{})
	_, _ = rec.RequestBody().Write([]byte("x"))
	rec.End(Ending{})
	if rec.ID() != "" {
		t.Errorf("ID = %q, want none", rec.ID())
	}
}
