package inspector

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

var (
	benchHead   = []byte("POST /webhooks/stripe HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nUser-Agent: Stripe/1.0\r\nStripe-Signature: t=1,v1=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nContent-Length: 300\r\n\r\n")
	benchAnswer = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n")
)

// record is the capture of a small request, as the forwarder makes it.
func record(r *Ring, request, response []byte) {
	rec := r.Begin(Start{Head: benchHead, Method: "POST", Path: "/webhooks/stripe", Host: "a.test", Accepted: time.Now()})
	_, _ = rec.RequestBody().Write(request)
	rec.Opened(true)
	rec.Answered(Answer{Head: benchAnswer, Status: 200, Reason: "OK"})
	_, _ = rec.ResponseBody().Write(response)
	rec.End(Ending{})
}

// TestRecordAllocations holds the capture of a small request to what it keeps:
// the record, its id, two heads and two bodies. Telling watchers takes none.
func TestRecordAllocations(t *testing.T) {
	r := NewRing("a", 10, Limits{}, NewBudget(512<<20))
	for range 8 {
		w := r.Watch()
		defer w.Close()
	}
	request, response := make([]byte, 300), make([]byte, 20)
	for range 20 { // until there is one to let go for each that comes
		record(r, request, response)
	}
	if n := testing.AllocsPerRun(100, func() { record(r, request, response) }); n > 6 {
		t.Errorf("a captured exchange takes %v allocations, want 6", n)
	}
	rec := r.Begin(Start{Head: benchHead, Accepted: time.Now()})
	if n := testing.AllocsPerRun(100, rec.Show); n != 0 {
		t.Errorf("telling watchers takes %v allocations, want 0", n)
	}
	rec.RequestBody().Pass(make([]byte, 1))
	if n := testing.AllocsPerRun(100, func() { rec.RequestBody().Pass(make([]byte, 1000)) }); n != 0 {
		t.Errorf("counting bytes takes %v allocations, want 0", n)
	}
}

// BenchmarkRecord is the whole cost of capture for a small request.
func BenchmarkRecord(b *testing.B) {
	for _, watchers := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			r := NewRing("a", 100, Limits{}, NewBudget(512<<20))
			for range watchers {
				w := r.Watch()
				defer w.Close()
			}
			request, response := make([]byte, 300), make([]byte, 20)
			b.ReportAllocs()
			for b.Loop() {
				record(r, request, response)
			}
		})
	}
}

// BenchmarkRecordBody is 1 MiB of a body in writes of 32 KiB, of which all is
// kept, or nearly nothing and the digest computed as it passes.
func BenchmarkRecordBody(b *testing.B) {
	for _, kept := range []int64{1 << 20, 1 << 10} {
		b.Run(fmt.Sprintf("kept=%dKiB", kept>>10), func(b *testing.B) {
			r := NewRing("a", 4, Limits{Body: kept}, NewBudget(512<<20))
			p := make([]byte, 32<<10)
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for b.Loop() {
				rec := r.Begin(Start{Head: benchHead, Accepted: time.Now()})
				rec.ResponseBody().Expect(1 << 20)
				for range 1 << 20 / len(p) {
					_, _ = rec.ResponseBody().Write(p)
				}
				rec.End(Ending{})
			}
		})
	}
}

// BenchmarkRecordStream is a stream that goes on after what is kept of it is full,
// in writes of one small event or frame.
func BenchmarkRecordStream(b *testing.B) {
	for _, kind := range []Kind{SSE, WebSocket} {
		for _, many := range []int{1, 300} {
			name := string(kind) + "/small"
			if many > 1 {
				name = string(kind) + "/large"
			}
			b.Run(name, func(b *testing.B) {
				ring := NewRing("a", 0, Limits{}, NewBudget(512<<20))
				defer ring.Close()
				rec := upgraded(ring, kind)
				p := bytes.Repeat([]byte("id: 1279\ndata: {\"order\":\"A-1042\",\"status\":\"paid\",\"amount\":4200,\"currency\":\"eur\"}\n\n"), many)
				if kind == WebSocket {
					p = bytes.Repeat(frame(1, false, 80), many)
				}
				for range 2*maxHashed/len(p) + 1 {
					_, _ = rec.ResponseBody().Write(p)
				}
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					_, _ = rec.ResponseBody().Write(p)
				}
			})
		}
	}
}

// BenchmarkPublish is one change of an exchange, which wakes watchers that
// read at once.
func BenchmarkPublish(b *testing.B) {
	for _, watchers := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			r := NewRing("a", 100, Limits{}, nil)
			rec := r.Begin(Start{Head: benchHead, Accepted: time.Now()})
			all := make([]*Watcher, watchers)
			for i := range all {
				all[i] = r.Watch()
				defer all[i].Close()
			}
			b.ReportAllocs()
			for b.Loop() {
				rec.Show()
				for _, w := range all {
					<-w.C()
				}
			}
		})
	}
}

// BenchmarkSince is what a watcher does after it was woken: it asks a full
// ring for one change.
func BenchmarkSince(b *testing.B) {
	r := NewRing("a", 100, Limits{}, nil)
	for range 200 {
		record(r, make([]byte, 300), make([]byte, 20))
	}
	before := r.Version() - 1
	b.ReportAllocs()
	for b.Loop() {
		if xs, gap := r.Since(before); len(xs) != 1 || gap {
			b.Fatal(len(xs), gap)
		}
	}
}
