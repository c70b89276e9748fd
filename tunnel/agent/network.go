package agent

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"
)

// networkTick is how often the addresses of this machine are looked at. Systems
// can tell of changes themselves, each in its own way; a look is cheap and the
// same everywhere.
const networkTick = 2 * time.Second

// networkAnswer is how long the edge has to answer after the network changed.
const networkAnswer = 1500 * time.Millisecond

// watchNetwork nudges after the addresses of this machine have changed, as when
// a laptop leaves one network for another: connections from an address that is
// gone hang without a word.
func (a *Agent) watchNetwork(ctx context.Context, nudges chan<- nudge) {
	tick := a.config.netTick
	if tick == nil {
		t := time.NewTicker(networkTick)
		defer t.Stop()
		tick = t.C
	}
	last, known := addresses(a.config.addrs)
	for {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		now, ok := addresses(a.config.addrs)
		if !ok || known && now == last {
			continue
		}
		if known {
			a.config.Logger.Debug("the network changed", "addresses", now)
			poke(nudges, nudge{"a change of the network", networkAnswer})
		}
		last, known = now, true
	}
}

// addresses returns the set of addresses as a text that can be compared.
func addresses(list func() ([]net.Addr, error)) (set string, ok bool) {
	addrs, err := list()
	if err != nil {
		return "", false // perhaps in the middle of the change
	}
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), " "), true
}
