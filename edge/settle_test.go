package edge

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var agents, trims atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go settle(ctx, func() int { return int(agents.Load()) }, func() { trims.Add(1) })
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		want := func(n int64, when string) {
			t.Helper()
			if got := trims.Load(); got != n {
				t.Errorf("given back %d times %s, want %d", got, when, n)
			}
		}
		wait(10 * time.Second)
		want(1, "after the start")
		agents.Add(burst - 1)
		wait(10 * time.Second)
		want(1, "after a few agents")
		for range 20 {
			agents.Add(10)
			wait(calm / 2)
		}
		want(1, "while agents come")
		wait(3 * calm)
		want(2, "when no more come")
		for range 20 {
			agents.Add(1)
			wait(3 * calm)
		}
		want(2, "while a tenth comes anew, one by one")
	})
}
