package tui

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// heads is how many captures of a tunnel the screen keeps, without bodies.
const heads = 10_000

// A feed is where those who follow the tunnels leave the news and the screen's
// loop picks them up. Leaving never waits: while the loop is away, in an editor
// say, news of the same capture replace each other, and past the limit the
// oldest are dropped and counted.
type feed struct {
	alone bool          // there is no agent whose end ends the screen
	poke  chan struct{} // holds one: there are news
	done  chan struct{} // closed when run has returned

	mu     sync.Mutex
	queues map[string]*queue
	ended  map[string]string // why nothing more comes of a tunnel, by its key
	lost   map[string]string // why the stream of a tunnel is broken for now

	more  chan *link         // to follow as well
	abort context.CancelFunc // ends the screen
	fatal error              // why it cannot go on, set before abort is called

	panicked any // what a follower fell over, set before run returns
}

// guard runs f and keeps its panic for whoever waits for the feed: it may only
// come out once the terminal is itself again.
func (f *feed) guard(abort func(), run func()) {
	defer func() {
		if r := recover(); r != nil {
			f.mu.Lock()
			f.panicked = fmt.Sprintf("%v\n\n%s", r, debug.Stack())
			f.mu.Unlock()
			abort()
		}
	}()
	run()
}

// refuse ends the screen when err says that the key works no more: nothing that
// could be shown is the person's any longer. It reports whether it did.
func (f *feed) refuse(err error) bool {
	var e *tunnel.Error
	if !f.alone || !errors.As(err, &e) || e.Code != tunnel.CodeKey {
		return false // an agent ends by itself, and says more about it
	}
	f.mu.Lock()
	f.fatal = err
	f.mu.Unlock()
	if f.abort != nil {
		f.abort()
	}
	return true
}

// A queue holds what is new of one tunnel, oldest first.
type queue struct {
	news    []*inspector.Exchange
	first   uint64            // the position of news[0], counted from the start of time
	at      map[string]uint64 // position by exchange id
	dropped int
	gap     bool // changes were lost: what is open here may long have ended
}

// lose notes that changes were lost. Of what is waiting, too, nobody knows any
// more that it is open; what still is comes again.
func (q *queue) lose() {
	q.gap = true
	for i := range q.news {
		if q.news[i].State == inspector.Open {
			q.news[i].State = unwatched
		}
	}
}

// put adds x, or replaces what is waiting of the same exchange.
func (q *queue) put(x *inspector.Exchange, limit int) {
	if p, ok := q.at[x.ID]; ok {
		if old := &q.news[p-q.first]; (*old).Version <= x.Version {
			*old = x
		}
		return
	}
	if len(q.news) >= limit {
		delete(q.at, q.news[0].ID)
		q.news[0] = nil
		q.news = q.news[1:]
		q.first++
		q.dropped++
	}
	q.at[x.ID] = q.first + uint64(len(q.news))
	q.news = append(q.news, x)
}

// News is what drain returns of one tunnel.
type news struct {
	tunnel  string
	list    []*inspector.Exchange
	dropped int
	gap     bool // before the list
}

func newFeed() *feed {
	return &feed{
		poke: make(chan struct{}, 1), done: make(chan struct{}),
		queues: map[string]*queue{}, ended: map[string]string{}, lost: map[string]string{},
		more: make(chan *link, 64),
	}
}

// also follows another link. It reports whether there is room for it.
func (f *feed) also(l *link) bool {
	select {
	case f.more <- l:
		return true
	default:
		return false
	}
}

// forget lets go of all that is known of a tunnel.
func (f *feed) forget(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.queues, key)
	delete(f.ended, key)
	delete(f.lost, key)
}

// put leaves x for the screen.
func (f *feed) put(name string, x inspector.Exchange) {
	f.mu.Lock()
	f.queue(name).put(&x, heads)
	f.mu.Unlock()
	f.wake()
}

// lose notes that changes of a tunnel were lost.
func (f *feed) lose(name string) {
	f.mu.Lock()
	f.queue(name).lose()
	f.mu.Unlock()
	f.wake()
}

func (f *feed) queue(name string) *queue {
	q := f.queues[name]
	if q == nil {
		q = &queue{at: map[string]uint64{}}
		f.queues[name] = q
	}
	return q
}

func (f *feed) wake() {
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

// drain takes what has come in. A paused screen leaves the exchanges where they
// are.
func (f *feed) drain(paused bool) []news {
	f.mu.Lock()
	defer f.mu.Unlock()
	if paused {
		return nil
	}
	var all []news
	for name, q := range f.queues {
		if len(q.news) > 0 || q.dropped > 0 || q.gap {
			all = append(all, news{name, q.news, q.dropped, q.gap})
			delete(f.queues, name)
		}
	}
	return all
}

// waiting counts the exchanges that drain would take.
func (f *feed) waiting(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q := f.queues[name]; q != nil {
		return len(q.news) + q.dropped
	}
	return 0
}

// newest is what waits of an exchange while the screen is paused.
func (f *feed) newest(name, id string) (x inspector.Exchange, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q := f.queues[name]; q != nil {
		if p, ok := q.at[id]; ok {
			return *q.news[p-q.first], true
		}
	}
	return x, false
}

// state returns what is wrong with tunnels, by their keys.
func (f *feed) state() (ended, lost map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.ended), maps.Clone(f.lost)
}

// of returns how the agent of l is, and its tunnels.
func (f *feed) of(l *link) (agent.Status, []Tunnel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.news, l.live
}

// run follows l, and those that are added, until ctx ends. It calls abort when it
// cannot go on.
func (f *feed) run(ctx context.Context, abort func(), l *link) {
	defer close(f.done)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		one := l
		wg.Go(func() { f.guard(abort, func() { f.watch(ctx, abort, one) }) })
		select {
		case l = <-f.more:
		case <-ctx.Done():
			return
		}
	}
}

// watch follows the agent of l, if it has one, and all its tunnels, until ctx
// ends or l is ended.
func (f *feed) watch(ctx context.Context, abort func(), l *link) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed := map[string]context.CancelFunc{}
	follow := func(name string) {
		if name == "" || followed[name] != nil {
			return
		}
		one, end := context.WithCancel(ctx)
		followed[name] = end
		wg.Go(func() {
			defer end()
			f.guard(abort, func() { f.follow(one, l, name) })
			if ctx.Err() == nil {
				f.lose(l.edge.key(name)) // what is open here is not seen to end
			}
		})
	}
	if l.agent == nil {
		f.mu.Lock()
		l.live = l.asked
		f.mu.Unlock()
		for _, t := range l.asked {
			follow(t.Name)
		}
		select {
		case <-l.ended:
		case <-ctx.Done():
		}
		return
	}
	for {
		s := l.agent.Status()
		live := granted(l.asked, s.Welcome.Grants)
		f.mu.Lock()
		l.news, l.live = s, live
		f.mu.Unlock()
		f.wake()
		for i, t := range live {
			dropped := i < len(s.Upstreams) && s.Upstreams[i].Dropped != nil
			switch end := followed[t.Name]; {
			case dropped && end != nil:
				end() // what comes through it from now on is another agent's
				delete(followed, t.Name)
			case !dropped && i < len(s.Welcome.Grants) && s.Welcome.Grants[i].Name != "":
				follow(t.Name)
			}
		}
		select {
		case <-l.agent.Changed():
		case <-l.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// granted is what was asked for with the names and addresses that the edge gave.
func granted(asked []Tunnel, grants []tunnel.Grant) []Tunnel {
	out := make([]Tunnel, len(asked))
	copy(out, asked)
	for i := range out {
		if i < len(grants) && grants[i].Name != "" { // else it was refused
			g := grants[i]
			out[i].Kind, out[i].Name, out[i].URL, out[i].Direct = g.Kind, g.Name, g.URL, g.Direct
		}
	}
	return out
}

// follow leaves every change of one tunnel of l in the feed until ctx ends. The
// client resumes a broken stream by itself; what makes it give up, such as a
// tunnel that the edge does not know yet or that was closed, is tried again.
func (f *feed) follow(ctx context.Context, l *link, name string) {
	key := l.edge.key(name)
	say := func(m map[string]string, why string) {
		f.mu.Lock()
		changed := m[key] != why
		if why == "" {
			delete(m, key)
		} else {
			m[key] = why
		}
		f.mu.Unlock()
		if changed {
			f.wake()
		}
	}
	var since uint64
	ended := false // it was closed, and has not come again
	wait := 200 * time.Millisecond
	for {
		closed := false
		err := l.edge.API.Stream(ctx, name, client.StreamOptions{
			Since: since,
			Begun: func() {
				say(f.lost, "")
				say(f.ended, "")
				ended = false
				wait = 200 * time.Millisecond
			},
			Lost: func(err error) { say(f.lost, err.Error()) },
		}, func(e inspector.Event) error {
			since = max(since, e.ID)
			switch {
			case e.Exchange != nil:
				f.put(key, *e.Exchange)
			case e.Type == "gap":
				since = e.ID
				f.lose(key)
			case e.Type == "closed":
				closed = true
				f.lose(key) // nothing passes through it any more
			}
			return nil
		})
		var refused *tunnel.Error
		switch {
		case ctx.Err() != nil || l.edge.ID == "" && f.refuse(err):
			return
		case l.agent != nil:
			if err != nil {
				say(f.lost, err.Error())
			}
		case closed:
			say(f.ended, "the tunnel was closed")
		case errors.As(err, &refused) && refused.Code == tunnel.CodeTunnelNotFound:
			if !ended {
				say(f.ended, refused.Message)
			}
			closed = true
		case err != nil:
			say(f.lost, err.Error())
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		wait = min(2*wait, 5*time.Second)
		if closed {
			since, ended = 0, true // a tunnel of that name, if it comes again, counts anew
		}
	}
}
