package inspector

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRawConnection: of a connection that carries no HTTP the ring has sizes,
// the first bytes of each direction and an end.
func TestRawConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(1 << 20)
		ring := NewRing("db", 0, Limits{}, budget)
		defer ring.Close()
		rec := ring.Begin(Start{Kind: TCP, Scheme: "tcp", Host: "tcp.lrok.example:30007", Remote: "203.0.113.9:5000", Accepted: time.Now()})
		time.Sleep(3 * time.Millisecond)
		rec.Connected(2 * time.Millisecond)
		begun := ring.Version()
		rec.RequestBody().Pass(make([]byte, 10))
		rec.ResponseBody().Pass(make([]byte, 1<<20))
		if v := ring.Version(); v != begun {
			t.Errorf("%d events for bytes right after the last event, want none yet", v-begun)
		}
		rec.CatchUp()
		if v := ring.Version(); v != begun {
			t.Errorf("%d events from CatchUp within %v, want none", v-begun, progressEvery)
		}
		time.Sleep(progressEvery + time.Millisecond)
		rec.CatchUp()
		rec.CatchUp()
		if v := ring.Version(); v != begun+1 {
			t.Errorf("%d events after a pause, want one", v-begun)
		}
		time.Sleep(time.Hour)
		rec.CatchUp()
		if v := ring.Version(); v != begun+1 {
			t.Errorf("%d events for an idle connection, want none", v-begun-1)
		}
		rec.RequestBody().Pass(make([]byte, 1))
		if v := ring.Version(); v != begun+2 {
			t.Errorf("%d events for a byte after an hour, want one at once", v-begun-1)
		}

		rec.End(Ending{Detail: "ended by the client (FIN)"})
		x, ok := ring.Find(rec.ID())
		if !ok {
			t.Fatal("the connection is not in the ring")
		}
		if x.Kind != TCP || x.State != Done || x.Failed() || x.Detail != "ended by the client (FIN)" || x.Timing.Dial != 2*time.Millisecond {
			t.Errorf("exchange = %+v, want a TCP connection that ended well", x)
		}
		if got, want := x.URL(), "tcp://tcp.lrok.example:30007"; got != want {
			t.Errorf("URL = %q, want %q", got, want)
		}
		if b := x.Request.Body; b.Size != 11 || b.Captured != 11 || len(b.Data) != 11 || b.Missing != "" {
			t.Errorf("request = %+v, want all 11 bytes", b)
		}
		if b := x.Response.Body; b.Size != 1<<20 || b.Captured != firstBytes || len(b.Data) != firstBytes || b.SHA256 != "" || b.Missing != "limit" {
			t.Errorf("response = %+v, want the first %d bytes", b, firstBytes)
		}
		if n := budget.Used(); n < firstBytes || n > 4*firstBytes {
			t.Errorf("%d bytes of the budget are taken, want those that are kept", n)
		}
		ring.Clear()
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes of the budget are taken, want none", n)
		}
	})
}

func TestRawConnectionUnrecorded(t *testing.T) {
	var ring *Ring
	rec := ring.Begin(Start{Kind: TLS, Accepted: time.Now()})
	rec.Connected(time.Second)
	rec.RequestBody().Pass(make([]byte, 1))
	rec.CatchUp()
	rec.End(Ending{})
	if rec.ID() != "" {
		t.Errorf("ID = %q, want none", rec.ID())
	}
}

// Where there is no memory left for what a connection says, it is counted.
func TestRawConnectionWithoutMemory(t *testing.T) {
	ring := NewRing("db", 0, Limits{}, NewBudget(1))
	defer ring.Close()
	rec := ring.Begin(Start{Kind: TCP, Accepted: time.Now()})
	rec.RequestBody().Pass([]byte("hello"))
	rec.RequestBody().Pass([]byte("again"))
	if b := rec.Whole().Request.Body; b.Size != 10 || b.Captured != 0 || b.Missing != "memory" {
		t.Errorf("body = %+v, want 10 bytes counted and none kept for want of memory", b)
	}
}
