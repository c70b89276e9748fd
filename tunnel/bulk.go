package tunnel

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A bulk connection is a further connection of a session: TLS without yamux. It
// carries one direction of one stream at a time, past the queue that all
// streams share and with the windows of the kernel. The edge decides what goes
// over it. Both sides send messages of 13 bytes:
//
//	1 byte    type
//	4 bytes   id of the stream, big-endian
//	8 bytes   offset, big-endian
//
// After a start the sender of the stream sends frames instead: four bytes of
// length, big-endian, and as many bytes of the stream. Length 0 ends them, and
// the stream goes on in the session; lastFrame ends them and the direction.
// Then both are back to messages.
//
// A start says how many bytes of the stream's direction went over the session:
// the receiver takes those first. Nothing follows them in the session before the
// receiver has said done, so the order of the bytes never depends on which
// connection is faster.
const (
	bulkWant  byte = 1 // edge: send what comes next of this stream here
	bulkStop  byte = 2 // edge: no more of it
	bulkNo    byte = 3 // agent: nothing of it was sent here, nor will be
	bulkStart byte = 4 // frames follow
	bulkDone  byte = 5 // the end of the frames has been read
)

const (
	bulkMessage = 13
	lastFrame   = 1<<32 - 1
	// maxFrame is the longest frame that is sent, and twice the longest is
	// taken for nonsense.
	maxFrame = 256 << 10
)

// When a body goes over: it has moved bulkMin, and that took bulkAfter or it has
// moved bulkSure, and bulkLeft is still to come where that is known, or bulkLarge,
// which is worth it at once. Medium bodies cost more that way than they would
// gain, and who is slow does not need it: bulkMin takes bulkWindow at most.
const (
	bulkMin    = 256 << 10
	bulkAfter  = 100 * time.Millisecond
	bulkSure   = 2 << 20
	bulkLeft   = 1 << 20
	bulkLarge  = 8 << 20
	bulkWindow = 4 * time.Second
	// bulkEarly is when a connection is asked for, so that it is there in time.
	bulkEarly = 64 << 10
)

const (
	// DefaultBulk is how many bulk connections a session may have.
	DefaultBulk = 8
	// maxJoins is how many an agent makes at most, whatever its edge wants.
	maxJoins = 64
	// maxStops is how many orders to stop an agent obeys at once.
	maxStops = 16

	// bulkHoldMax is the longest that none is asked for.
	bulkHoldMax = 5 * time.Minute
)

// Variables only for tests.
var (
	bulkIdle    = 30 * time.Second // that an unused one is kept
	bulkTimeout = 10 * time.Second // to connect, and to bring a stream back that is to be used again
	joinTimeout = 15 * time.Second // that a token is good for
	// bulkHold is how long none is asked for after one could not be had, doubled
	// with each further one up to bulkHoldMax.
	bulkHold = time.Second
	// bulkQuiet is how long a stream may rest on a connection that another one
	// could use.
	bulkQuiet = 5 * time.Second
)

// A bulkToken lets its bearer join a session, once.
type bulkToken [16]byte

type bulk struct {
	session *Session
	tls     net.Conn
	wire    *wire

	writing sync.Mutex

	// lent is given a value when a stream has read its last frame and the
	// messages go on; done when the peer has.
	lent chan struct{}
	done chan struct{}

	sender atomic.Pointer[Stream] // whose bytes we send over it
	ending atomic.Bool            // we have ended the frames, and done is to come
	stops  atomic.Int32           // orders to stop that are being obeyed; an agent's
	moved  atomic.Int64           // when a frame last passed, in Unix nanoseconds

	end    sync.Once
	closed chan struct{}

	// The session's bulks guard the rest, which is the edge's.
	idle    *time.Timer // runs while nobody uses it
	user    *Stream     // whose bytes it carries
	asked   bool        // the agent was told to send them here and did not answer
	stopped bool        // and was told to send no more
}

func newBulk(s *Session, c net.Conn, w *wire) *bulk {
	return &bulk{
		session: s, tls: c, wire: w,
		lent: make(chan struct{}, 1), done: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

// close cuts what is on its way. It does not wait.
func (b *bulk) close() {
	b.end.Do(func() {
		close(b.closed)
		b.wire.Close()
	})
}

func (b *bulk) gone() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}

// send writes a message.
func (b *bulk) send(kind byte, id uint32) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.say(kind, id)
}

// stop tells the agent, once, to send no more of st here. Who uses the connection
// may change at any time, and a message among the frames of the next one would be
// taken for one of them.
func (b *bulk) stop(st *Stream) {
	b.writing.Lock()
	defer b.writing.Unlock()
	l := &b.session.bulks
	l.mu.Lock()
	tell := b.user == st && !b.stopped
	if tell {
		b.stopped = true
	}
	l.mu.Unlock()
	if tell && b.say(bulkStop, st.id) != nil {
		b.close()
	}
}

// say is called with writing held. Whoever sends frames sets a deadline of their
// own.
func (b *bulk) say(kind byte, id uint32) error {
	b.wire.SetWriteDeadline(time.Now().Add(bulkTimeout))
	b.wire.cork()
	err := b.put(kind, id, 0)
	if e := b.wire.uncork(); err == nil {
		err = e
	}
	return err
}

// put is called while the wire is corked.
func (b *bulk) put(kind byte, id uint32, offset uint64) error {
	m := make([]byte, bulkMessage)
	m[0] = kind
	binary.BigEndian.PutUint32(m[1:], id)
	binary.BigEndian.PutUint64(m[5:], offset)
	_, err := b.tls.Write(m)
	return err
}

// sendFrames writes p in frames, and a start before them if start is set.
func (b *bulk) sendFrames(p []byte, start *Stream) (n int, err error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.moved.Store(time.Now().UnixNano())
	b.wire.cork()
	if start != nil {
		err = b.put(bulkStart, start.id, start.sent)
	}
	for n < len(p) && err == nil {
		q := p[n:min(len(p), n+maxFrame)]
		if err = b.length(uint32(len(q))); err == nil {
			_, err = b.tls.Write(q)
			n += len(q)
		}
	}
	if e := b.wire.uncork(); err == nil {
		err = e
	}
	return n, err
}

// sendEnd ends the frames.
func (b *bulk) sendEnd(last bool) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.wire.cork()
	var v uint32
	if last {
		v = lastFrame
	}
	b.ending.Store(true)
	err := b.length(v)
	if e := b.wire.uncork(); err == nil {
		err = e
	}
	return err
}

func (b *bulk) length(v uint32) error {
	var h [4]byte
	binary.BigEndian.PutUint32(h[:], v)
	_, err := b.tls.Write(h[:])
	return err
}

// awaitDone waits until the peer has read the end of the frames, for as long as
// that takes: what was sent before may be much, and its reader slow.
func (b *bulk) awaitDone() error {
	select {
	case <-b.done:
		return nil
	case <-b.closed:
	}
	select {
	case <-b.done: // it was closed after that
		return nil
	default:
		return net.ErrClosed
	}
}

// run reads messages until the connection ends.
func (b *bulk) run() {
	defer b.session.bulks.remove(b)
	var m [bulkMessage]byte
	for {
		_, err := io.ReadFull(b.tls, m[:])
		if err == nil {
			err = b.heed(m[0], binary.BigEndian.Uint32(m[1:]), binary.BigEndian.Uint64(m[5:]))
		}
		if err != nil {
			if !b.gone() {
				b.session.log.Debug("bulk connection", "err", err)
			}
			return
		}
	}
}

func (b *bulk) heed(kind byte, id uint32, offset uint64) error {
	s := b.session
	edge := s.edge != nil
	switch {
	case kind == bulkStart:
		st, ok := s.bulks.answered(b, id)
		if !edge {
			st = s.carried(id)
			ok = st != nil
		}
		if !ok || !st.attach(b, offset) {
			if ok {
				st.unasked(b)
			}
			return fmt.Errorf("frames of stream %d, which nobody waits for", id)
		}
		select {
		case <-b.lent:
		case <-b.closed:
			return net.ErrClosed
		}
	case kind == bulkDone:
		if !b.ending.Swap(false) {
			return errors.New("done, but with what")
		}
		if st := b.sender.Swap(nil); st != nil {
			st.left(b)
		}
		b.done <- struct{}{}
	case kind == bulkNo && edge:
		st, ok := s.bulks.answered(b, id)
		if !ok {
			return fmt.Errorf("no to stream %d, which nobody asked for", id)
		}
		if !st.unasked(b) {
			return net.ErrClosed // who gave the stream up closes it
		}
		s.bulks.park(b)
	case kind == bulkWant && !edge:
		if st := s.carried(id); st == nil || !st.want(b) {
			return b.send(bulkNo, id)
		}
	case kind == bulkStop && !edge:
		if st := s.carried(id); st != nil {
			return st.unwant(b)
		}
	default:
		return fmt.Errorf("message of type %d", kind)
	}
	return nil
}

// bulks are the bulk connections of a session.
type bulks struct {
	mu    sync.Mutex
	all   map[*bulk]struct{}
	joins int // that an agent is making
	ended bool

	// The edge's.
	parked []*bulk // that nobody uses, the one used last at the end
	tokens map[bulkToken]*time.Timer
	demand int // streams that could use one
	hold   time.Duration
	until  time.Time    // none is asked for before
	warmed atomic.Int64 // when one was asked for in advance, as time since the link's start
}

// add makes b one of the session's, unless that has ended.
func (l *bulks) add(b *bulk) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	if l.all == nil {
		l.all = make(map[*bulk]struct{})
	}
	l.all[b] = struct{}{}
	return true
}

// remove closes b and forgets it. A stream that was to come over goes on in the
// session, and one whose bytes were on their way is broken.
func (l *bulks) remove(b *bulk) {
	b.close()
	l.mu.Lock()
	delete(l.all, b)
	l.unpark(b)
	st := b.user
	asked := b.asked
	b.user, b.asked = nil, false
	l.mu.Unlock()
	if asked {
		st.unasked(b)
	}
	if st := b.sender.Swap(nil); st != nil {
		st.lost()
	}
}

// close ends all connections, now and later.
func (l *bulks) close(s *Session) {
	l.mu.Lock()
	l.ended = true
	for token := range l.tokens {
		l.forget(s, token)
	}
	all := slices.Collect(maps.Keys(l.all))
	l.mu.Unlock()
	for _, b := range all {
		b.close()
	}
}

// take returns a connection for what comes from the agent (down) or goes to it,
// nil while there is none.
func (l *bulks) take(st *Stream, down bool) *bulk {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.parked) > 0 {
		b := l.parked[len(l.parked)-1]
		l.unpark(b)
		if b.gone() {
			continue // run is about to remove it
		}
		b.user, b.asked, b.stopped = st, down, false
		b.moved.Store(time.Now().UnixNano())
		l.ask(st.session)
		return b
	}
	l.ask(st.session)
	l.reclaim()
	return nil
}

// answered ends the wait for the agent's answer and reports whether it was
// awaited.
func (l *bulks) answered(b *bulk, id uint32) (st *Stream, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !b.asked || b.user.id != id {
		return nil, false
	}
	b.asked = false
	return b.user, true
}

// park keeps a connection that nobody uses any more, for a while.
func (l *bulks) park(b *bulk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.all[b]; !ok || b.session.edge == nil {
		return
	}
	b.user = nil
	l.parked = append(l.parked, b)
	b.idle = time.AfterFunc(bulkIdle, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case b.user != nil:
		case len(l.parked) == 1 && b.session.far() && b.session.open.Load() > 0:
			b.idle.Reset(bulkIdle) // the one that is kept while there is traffic
		default:
			l.unpark(b)
			b.close() // run removes it
		}
	})
}

// unpark is called with mu held.
func (l *bulks) unpark(b *bulk) {
	if i := slices.Index(l.parked, b); i >= 0 {
		l.parked = slices.Delete(l.parked, i, i+1)
		b.idle.Stop()
	}
}

// reclaim takes a connection from a stream that rests. It is called with mu
// held.
func (l *bulks) reclaim() {
	old := time.Now().Add(-bulkQuiet).UnixNano()
	for b := range l.all {
		if st := b.user; st != nil && !b.stopped && b.moved.Load() < old && !st.settling.Swap(true) {
			b.moved.Store(time.Now().UnixNano())
			b.session.group.Go(func() {
				defer st.settling.Store(false)
				st.comeBack(b)
			})
			return
		}
	}
}

// wish counts a stream that could use a connection, or with -1 does not any
// more.
func (l *bulks) wish(s *Session, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.demand += n; n > 0 {
		l.ask(s)
	}
}

// warm asks for a connection before anybody needs it, where making one takes
// long.
func (l *bulks) warm(s *Session) {
	now := time.Since(s.link.start)
	last := l.warmed.Load()
	if s.far() && (last == 0 || now-time.Duration(last) > bulkTimeout) && l.warmed.CompareAndSwap(last, int64(now)) {
		l.mu.Lock()
		l.ask(s)
		l.mu.Unlock()
	}
}

// far reports whether a round trip takes long.
func (s *Session) far() bool { return s.RTT() >= longRTT }

// ask asks the agent for one more connection, if there are streams for it or
// no other is spare. It is called with mu held.
func (l *bulks) ask(s *Session) {
	spare := len(l.parked) + len(l.tokens)
	if l.ended || spare >= max(l.demand, 1) || len(l.all)+len(l.tokens) >= s.edge.bulkLimit() || time.Now().Before(l.until) {
		return
	}
	var token bulkToken
	rand.Read(token[:])
	s.edge.joins.Store(token, s)
	if l.tokens == nil {
		l.tokens = make(map[bulkToken]*time.Timer)
	}
	l.tokens[token] = time.AfterFunc(joinTimeout, func() { l.refused(s, token) })
	started := s.group.Go(func() {
		if s.tell(message{Type: msgBulk, Token: hex.EncodeToString(token[:])}) != nil {
			l.refused(s, token)
		}
	})
	if !started {
		l.forget(s, token)
	}
}

// refused notes that no connection came of token.
func (l *bulks) refused(s *Session, token bulkToken) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forget(s, token) {
		l.hold = min(max(2*l.hold, bulkHold), bulkHoldMax)
		l.until = time.Now().Add(l.hold)
	}
}

// forget is called with mu held.
func (l *bulks) forget(s *Session, token bulkToken) bool {
	t, ok := l.tokens[token]
	if ok {
		t.Stop()
		delete(l.tokens, token)
		s.edge.joins.Delete(token)
	}
	return ok
}

// joined makes b, which came with token, one of the session's.
func (l *bulks) joined(b *bulk, token bulkToken) bool {
	l.mu.Lock()
	ok := l.forget(b.session, token)
	l.hold = 0
	l.mu.Unlock()
	if !ok || !l.add(b) {
		return false
	}
	l.park(b)
	return true
}

func (c *EdgeConfig) bulkLimit() int {
	switch {
	case c.Bulk == 0:
		return DefaultBulk
	case c.Bulk < 0:
		return 0
	}
	return c.Bulk
}

// readToken is called when the first byte of a connection was firstBulk.
func (p *Pending) readToken() error {
	var token bulkToken
	if _, err := io.ReadFull(p.tls, token[:]); err != nil {
		return noEOF(err)
	}
	// Who takes it is the only one: a token is good for once.
	if s, ok := p.config.joins.LoadAndDelete(token); ok {
		p.bulk, p.token = newBulk(s.(*Session), p.tls, p.wire), token
		return nil
	}
	return errors.New("a bulk connection with a token that is not good")
}

// Bulk reports whether this is a further connection of a session, which said no
// hello. Then ServeBulk is called, not Accept.
func (p *Pending) Bulk() bool { return p.bulk != nil }

// ServeBulk serves a further connection of a session until it ends. It closes it.
func (p *Pending) ServeBulk() error {
	b := p.bulk
	l := &b.session.bulks
	// Nothing is sent over it before the agent knows that it is wanted.
	p.wire.SetWriteDeadline(time.Now().Add(HelloTimeout))
	p.wire.cork()
	_, err := p.tls.Write([]byte{bulkWelcome})
	if e := p.wire.uncork(); err == nil {
		err = e
	}
	p.wire.SetWriteDeadline(time.Time{})
	if err == nil && !l.joined(b, p.token) {
		err = ErrEnded
	}
	if err != nil {
		b.session.bulks.refused(b.session, p.token)
		b.close()
		return err
	}
	b.run()
	return nil
}

// bulkWelcome is the edge's answer to a token.
const bulkWelcome byte = 0

// join makes a bulk connection and serves it in a goroutine of its own. Agent
// only. The reader of the control stream calls it.
func (s *Session) join(text string) {
	var err error
	switch {
	case s.agent.Dial == nil:
		err = errors.New("nothing to dial with")
	case !s.bulks.joining(1):
		err = errors.New("too many connections")
	default:
		s.group.Go(func() {
			b, err := s.dialBulk(text)
			s.bulks.joining(-1)
			if err != nil {
				s.noJoin(text, err)
				return
			}
			b.run()
		})
		return
	}
	s.noJoin(text, err)
}

func (s *Session) noJoin(text string, err error) {
	s.log.Debug("no bulk connection", "err", err)
	s.tell(message{Type: msgNoBulk, Token: text})
}

func (s *Session) dialBulk(text string) (*bulk, error) {
	token, err := hex.DecodeString(text)
	if err != nil || len(token) != len(bulkToken{}) {
		return nil, errors.New("not a token")
	}
	ctx, cancel := context.WithTimeout(context.Background(), bulkTimeout)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	s.group.Go(func() {
		select {
		case <-s.done:
			cancel()
		case <-ended:
		}
	})
	conn, err := s.agent.Dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
	defer stop()
	w := newWire(conn)
	c := tls.Client(w, agentTLS(s.agent.TLS))
	err = c.HandshakeContext(ctx)
	if err == nil {
		_, err = c.Write(append([]byte{firstBulk}, token...))
	}
	var answer [1]byte
	if err == nil {
		_, err = io.ReadFull(c, answer[:])
	}
	if err == nil && answer[0] != bulkWelcome {
		err = errors.New("the edge did not want it")
	}
	b := newBulk(s, c, w)
	if err == nil {
		w.cork()
		err = w.uncork()
	}
	if err == nil && (!stop() || !s.bulks.add(b)) {
		err = ErrEnded
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return b, nil
}

// joining counts the connections that an agent makes: an edge that asks for
// very many is hostile or broken.
func (l *bulks) joining(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n > 0 && (l.ended || l.joins+len(l.all) >= maxJoins) {
		return false
	}
	l.joins += n
	return true
}
