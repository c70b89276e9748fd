package agent

import (
	"context"
	"sync"
	"time"
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
		select {
		case a.changed <- struct{}{}:
		default:
		}
	}
	a.mu.Unlock()
}

// watchUpstreams dials every local service once, so that a screen can say at
// the start that one is down, and those that are down until they are back.
func (a *Agent) watchUpstreams(ctx context.Context) {
	all := true
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
			group.Go(func() {
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
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
