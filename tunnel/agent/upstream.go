package agent

import (
	"context"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/internal/crash"
)

// dialed notes how the last dial of a tunnel's local service ended.
func (a *Agent) dialed(name, local string, err error) {
	a.mu.Lock()
	for i := range a.status.Upstreams {
		u := &a.status.Upstreams[i]
		if u.Local != local || name != "" && u.Tunnel != name {
			continue
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if u.Down == (err != nil) && u.Err == text {
			continue
		}
		if u.Down != (err != nil) {
			u.Since = time.Now()
		}
		u.Down, u.Err = err != nil, text
		if err == nil {
			u.Nearby = nil
		}
		select {
		case a.changed <- struct{}{}:
		default:
		}
	}
	a.mu.Unlock()
}

// watchUpstreams dials every local service once, so that a screen can say at
// the start that one is down, and those that are down until they are back. One
// that was chosen since is dialed at once, too.
func (a *Agent) watchUpstreams(ctx context.Context) {
	all := true
	rounds := 0 // since something was down without a look around
	t := time.NewTicker(a.config.recheck)
	defer t.Stop()
	for {
		a.mu.Lock()
		var check []Target
		for i, target := range a.targets {
			if all || a.status.Upstreams[i].Down {
				check = append(check, target)
			}
		}
		a.mu.Unlock()
		all = false
		var group sync.WaitGroup
		for _, target := range check {
			crash.Go(&group, func() {
				ctx, cancel := context.WithTimeout(ctx, dialTimeout)
				defer cancel()
				conn, err := target.reach(ctx)
				if err == nil {
					conn.Close()
				}
				if ctx.Err() != context.Canceled {
					a.dialed("", target.String(), err)
				}
			})
		}
		group.Wait()
		switch {
		case len(check) == 0:
			rounds = 0
		case rounds%nearbyEvery == 0:
			a.lookNearby(ctx)
			fallthrough
		default:
			rounds++
		}
		select {
		case <-t.C:
		case <-a.checks:
			all, rounds = true, 0
		case <-ctx.Done():
			return
		}
	}
}
