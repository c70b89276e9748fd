package inspector

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowBody: watchers hear of the head of an answer whose body takes long, and
// of one whose body does not they hear once, when it has ended.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := NewRing("shop", 0, Limits{}, nil)
		defer ring.Close()
		status := func(since uint64) []int {
			var out []int
			xs, _ := ring.Since(since)
			for _, x := range xs {
				out = append(out, x.Status)
			}
			return out
		}
		rec := ring.Begin(Start{Method: "GET", Path: "/", Accepted: time.Now()})
		begun := ring.Version()
		rec.Answered(Answer{Status: 200})
		rec.CatchUp()
		if got := status(begun); got != nil {
			t.Errorf("statuses = %v, want none yet", got)
		}
		time.Sleep(progressEvery + time.Millisecond)
		rec.CatchUp()
		rec.CatchUp()
		if got := status(begun); len(got) != 1 || got[0] != 200 || ring.Version() != begun+1 {
			t.Errorf("statuses = %v with %d events, want 200 once", got, ring.Version()-begun)
		}
		rec.End(Ending{})

		quick := ring.Begin(Start{Method: "GET", Path: "/", Accepted: time.Now()})
		begun = ring.Version()
		quick.Answered(Answer{Status: 204})
		quick.End(Ending{})
		if ring.Version() != begun+1 {
			t.Errorf("%d events for a quick answer, want one", ring.Version()-begun)
		}
	})
}
