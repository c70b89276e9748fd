package stats

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// A Store keeps the usage of each hour.
type Store interface {
	AddUsage(ctx context.Context, us []store.Usage) error
	UsageSince(ctx context.Context, t time.Time) ([]store.Usage, error)
	TotalUsage(ctx context.Context) (store.Usage, error)
	Users() []store.User
}

// Config says what is counted and where it goes. Tunnels and Store are needed.
type Config struct {
	// Tunnels returns all tunnels: the registry's, with no user.
	Tunnels func(user string) []*registry.Tunnel
	Store   Store
	// Sources are what else the metrics show.
	Sources   Sources
	Analytics Analytics

	Software string        // "lrok 1.2.3"
	Every    time.Duration // between two collections; 0 means a minute

	Logger *slog.Logger
	Now    func() time.Time
}

// maxUnsaved is how many rows are kept for a store that cannot be written. What
// is more is kept as one row an hour, without saying whose.
const maxUnsaved = 50_000

// maxWrite is how many rows are written at once: whoever reserves a name should
// not have to wait for the usage of ten thousand tunnels.
const maxWrite = 1000

// Stats is made by [New]. Its methods may be called from any goroutine.
type Stats struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	posthog *posthogSink // nil unless analytics are on

	// saving is held while the store is written or summed up, so that nothing is
	// counted twice or not at all in between.
	saving sync.Mutex

	mu      sync.Mutex
	known   map[*registry.Counters]*known
	gone    map[tunnel.Kind]counts // what tunnels that are forgotten had counted
	opened  map[tunnel.Kind]int64
	unsaved map[row]store.Usage
}

// known is a tunnel that was seen, by its counters: those stay when its agent
// comes back.
type known struct {
	user, name string
	kind       tunnel.Kind
	created    time.Time
	last       counts // what was collected of it
	dropped    bool
	quiet      int // collections without anything new since it was dropped
}

type row struct {
	hour         int64
	user, tunnel string
}

// counts are what a tunnel counted until now.
type counts struct{ requests, connections, in, out int64 }

func read(c *registry.Counters) counts {
	return counts{c.Requests.Load(), c.Connections.Load(), c.BytesIn.Load(), c.BytesOut.Load()}
}

func (c counts) plus(o counts) counts {
	return counts{c.requests + o.requests, c.connections + o.connections, c.in + o.in, c.out + o.out}
}

func (c counts) minus(o counts) counts {
	return counts{c.requests - o.requests, c.connections - o.connections, c.in - o.in, c.out - o.out}
}

// New checks cfg. It starts nothing and connects to nothing.
func New(cfg Config) (*Stats, error) {
	cfg.Every = cmp.Or(cfg.Every, time.Minute)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	sink, err := newSink(cfg)
	if err != nil {
		return nil, err
	}
	return &Stats{
		cfg: cfg, log: cfg.Logger, started: cfg.Now(), posthog: sink,
		known:   make(map[*registry.Counters]*known),
		gone:    make(map[tunnel.Kind]counts),
		opened:  make(map[tunnel.Kind]int64),
		unsaved: make(map[row]store.Usage),
	}, nil
}

// Run collects each minute until ctx ends, and once more then: end ctx after
// the last request and before the store.
func (s *Stats) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.posthog != nil {
		// It ends later than the rest, which has something to say to the last.
		sending, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		wg.Go(func() { s.posthog.run(sending) })
		s.posthog.started()
	}
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	broken := false
	for {
		select {
		case <-tick.C:
			err := s.save(ctx)
			if err != nil && !broken {
				s.log.Error("write usage; it is kept until it can be", "err", err)
			}
			broken = err != nil
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			err := s.save(last)
			s.closeAll()
			if err != nil {
				return fmt.Errorf("write the last usage: %w", err)
			}
			return nil
		}
	}
}

// Dropped notes that t is gone: it is for [registry.Config]. It does not block.
func (s *Stats) Dropped(t *registry.Tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.see(t)
	s.take(k, t.Counters)
	if !k.dropped {
		k.dropped = true
		s.posthog.closed(k, s.cfg.Now())
	}
}

// closeAll counts the tunnels that are left as closed: with the edge they end,
// and the next one opens them anew.
func (s *Stats) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.known {
		if !k.dropped {
			k.dropped = true
			s.posthog.closed(k, s.cfg.Now())
		}
	}
}

// see returns what is known of t. The caller holds mu.
func (s *Stats) see(t *registry.Tunnel) *known {
	k := s.known[t.Counters]
	if k == nil {
		k = &known{user: t.Owner, name: t.Name, kind: t.Kind, created: t.Created}
		s.known[t.Counters] = k
		s.opened[k.kind]++
		s.posthog.opened(k)
	}
	return k
}

// take moves what c counted since the last time to what is to be saved, and
// reports whether that was anything. The caller holds mu.
func (s *Stats) take(k *known, c *registry.Counters) bool {
	now := read(c)
	delta := now.minus(k.last)
	if delta == (counts{}) {
		return false
	}
	k.last = now
	r := row{hour: s.cfg.Now().Truncate(time.Hour).Unix(), user: k.user, tunnel: k.name}
	if _, ok := s.unsaved[r]; !ok && len(s.unsaved) >= maxUnsaved {
		r.user, r.tunnel = "", ""
	}
	u := s.unsaved[r]
	u.Requests += delta.requests
	u.Connections += delta.connections
	u.BytesIn += delta.in
	u.BytesOut += delta.out
	s.unsaved[r] = u
	return true
}

// collect reads all counters. What a tunnel counts after it was dropped, by
// requests that were in flight, is read until nothing more comes.
func (s *Stats) collect() {
	ts := s.cfg.Tunnels("") // takes the registry's lock, under which Dropped takes ours
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range ts {
		s.take(s.see(t), t.Counters)
	}
	for c, k := range s.known {
		if !k.dropped {
			continue
		}
		if s.take(k, c) || c.Open.Load() > 0 {
			k.quiet = 0
			continue
		}
		if k.quiet++; k.quiet > 5 {
			s.gone[k.kind] = s.gone[k.kind].plus(k.last)
			delete(s.known, c)
		}
	}
}

// save collects and writes to the store what is not there yet.
func (s *Stats) save(ctx context.Context) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.collect()
	s.mu.Lock()
	rows := s.unsaved
	s.unsaved = make(map[row]store.Usage)
	s.mu.Unlock()
	for us := range slices.Chunk(usages(rows), maxWrite) {
		if err := s.cfg.Store.AddUsage(ctx, us); err != nil {
			s.mu.Lock()
			for r, u := range rows {
				s.unsaved[r] = sum(s.unsaved[r], u)
			}
			s.mu.Unlock()
			return err
		}
		for _, u := range us {
			delete(rows, rowOf(u))
		}
	}
	return nil
}

func rowOf(u store.Usage) row { return row{hour: u.Hour.Unix(), user: u.User, tunnel: u.Tunnel} }

func usages(rows map[row]store.Usage) []store.Usage {
	us := make([]store.Usage, 0, len(rows))
	for r, u := range rows {
		u.Hour, u.User, u.Tunnel = time.Unix(r.hour, 0).UTC(), r.user, r.tunnel
		us = append(us, u)
	}
	return us
}

func sum(a, b store.Usage) store.Usage {
	a.Requests += b.Requests
	a.Connections += b.Connections
	a.BytesIn += b.BytesIn
	a.BytesOut += b.BytesOut
	return a
}

// A Summary is what the operator sees of the usage.
type Summary struct {
	Started time.Time
	Agents  int
	Tunnels int
	Users   int
	Total   store.Usage // since the first start
	// Hours are those that were asked for and had any usage, the newest first.
	// ByUser and ByTunnel divide their sum, the most bytes first; a tunnel of each
	// user that had its name is one of its own.
	Hours    []store.Usage
	ByUser   []store.Usage
	ByTunnel []store.Usage
}

// Summary sums up the last hours, the one that is running included, to this
// moment.
func (s *Stats) Summary(ctx context.Context, hours int) (Summary, error) {
	s.saving.Lock()
	defer s.saving.Unlock()
	since := s.cfg.Now().UTC().Truncate(time.Hour).Add(-time.Duration(max(hours, 1)-1) * time.Hour)
	total, err := s.cfg.Store.TotalUsage(ctx)
	if err != nil {
		return Summary{}, err
	}
	kept, err := s.cfg.Store.UsageSince(ctx, since)
	if err != nil {
		return Summary{}, err
	}
	s.collect()
	s.mu.Lock()
	unsaved := usages(s.unsaved)
	s.mu.Unlock()

	byHour := make(map[row]store.Usage)
	byUser := make(map[row]store.Usage)
	byTunnel := make(map[row]store.Usage)
	for _, u := range unsaved {
		total = sum(total, u)
	}
	for _, u := range append(kept, unsaved...) {
		if u.Hour.Before(since) {
			continue
		}
		add := func(to map[row]store.Usage, r row) { to[r] = sum(to[r], u) }
		add(byHour, row{hour: u.Hour.Unix()})
		add(byUser, row{user: u.User})
		add(byTunnel, row{user: u.User, tunnel: u.Tunnel})
	}
	most := func(a, b store.Usage) int {
		return cmp.Or(cmp.Compare(b.BytesIn+b.BytesOut, a.BytesIn+a.BytesOut), cmp.Compare(b.Requests+b.Connections, a.Requests+a.Connections),
			cmp.Compare(a.User, b.User), cmp.Compare(a.Tunnel, b.Tunnel))
	}
	v := Summary{
		Started: s.started,
		Tunnels: len(s.cfg.Tunnels("")),
		Users:   len(s.cfg.Store.Users()),
		Total:   store.Usage{Requests: total.Requests, Connections: total.Connections, BytesIn: total.BytesIn, BytesOut: total.BytesOut},
		Hours:   slices.SortedFunc(slices.Values(usages(byHour)), func(a, b store.Usage) int { return b.Hour.Compare(a.Hour) }),
	}
	if s.cfg.Sources.Agents != nil {
		v.Agents = s.cfg.Sources.Agents()
	}
	v.ByUser = slices.SortedFunc(maps.Values(named(byUser)), most)
	v.ByTunnel = slices.SortedFunc(maps.Values(named(byTunnel)), most)
	return v, nil
}

// named writes into each sum whose it is.
func named(rows map[row]store.Usage) map[row]store.Usage {
	for r, u := range rows {
		u.User, u.Tunnel, u.Hour = r.user, r.tunnel, time.Time{}
		rows[r] = u
	}
	return rows
}
