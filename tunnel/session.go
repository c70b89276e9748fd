package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/lrok-dev/lrok/internal/crash"
)

// Defaults of both halves.
const (
	DefaultStreams = 2048             // that the edge opens at once in a session
	PingEvery      = 10 * time.Second // between pings
	DeadAfter      = 19 * time.Second // without a byte, so that it is noticed within 20 s
)

const (
	// window is how much of a stream may be on its way or unread. Where a round
	// trip takes less than nearRTT it is nearWindow, where it takes longRTT that of
	// up to longStreams is longWindow, and many share allWindows, in which each has
	// firstWindow at least.
	window      = 1 << 20
	allWindows  = 128 << 20
	longWindow  = 4 << 20
	longStreams = 16
	longRTT     = 5 * time.Millisecond
	nearWindow  = 512 << 10
	nearRTT     = time.Millisecond
	// writeTimeout is how long a frame waits for its turn. A link that takes
	// nothing at all is found dead long before; this is for many streams that
	// share a slow one.
	writeTimeout = time.Minute
	// apiStreams is how many streams an agent may have open besides the
	// control stream.
	apiStreams = 8
	// strayStreams is how many more it may have opened, refused and not yet
	// forgotten. Beyond that it is hostile.
	strayStreams = 64
	// headerTimeout is how long the header of a stream may take.
	headerTimeout = 10 * time.Second
)

// A Session is one agent connection, either half of it.
type Session struct {
	link *link
	mux  *yamux.Session
	log  *slog.Logger

	edge  *EdgeConfig  // set on the edge's half
	agent *AgentConfig // set on the agent's half

	hello   Hello
	welcome Welcome
	streams int // most that the edge opens at once
	ping    time.Duration
	dead    time.Duration

	open   atomic.Int64 // streams that we opened and did not close
	api    atomic.Int64 // streams of kind api that the agent has open
	claims atomic.Int64
	rtt    atomic.Int64
	wished time.Time // until when the claims and releases so far are paid for

	table struct {
		sync.Mutex
		m      map[uint32]*Stream
		theirs int
		first  uint32 // of theirs, 0 before it
		spare  int    // goroutines that wait for a stream which yamux has reset
	}

	control    *Stream
	controlled chan struct{} // closed when control is set
	running    chan struct{} // closed when Run begins
	telling    sync.Mutex    // one message at a time

	asks struct {
		sync.Mutex
		last uint64
		open map[uint64]chan message
	}

	bulks bulks // further connections

	group group // what Run waits for

	leaving atomic.Bool // we said so; that the peer then leaves is no error

	end  sync.Once
	done chan struct{} // closed when the session has ended
	err  error         // why, set before done is closed; nil after Close
}

func newSession(l *link, logger *slog.Logger) *Session {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Session{
		link:       l,
		log:        logger,
		streams:    DefaultStreams,
		ping:       PingEvery,
		dead:       DeadAfter,
		controlled: make(chan struct{}),
		running:    make(chan struct{}),
		done:       make(chan struct{}),
	}
	s.table.m = make(map[uint32]*Stream)
	l.window.Store(window)
	l.in, l.out, l.down = s.arrives, s.leaves, s.down
	return s
}

func (s *Session) muxConfig(backlog int) *yamux.Config {
	return &yamux.Config{
		AcceptBacklog:          backlog,
		KeepAliveInterval:      time.Hour, // off, but it must be set
		ConnectionWriteTimeout: writeTimeout,
		MaxStreamWindowSize:    window,
		Logger:                 muxLog{s.log},
	}
}

// Run serves the session until it ends or ctx is done, waits for everything
// it started and returns why it ended: nil after Close or ctx. It is called
// once.
func (s *Session) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	pings := s.pings()
	defer pings.Stop()
	watch := s.watch()
	defer watch.Stop()
	close(s.running)
	select {
	case <-s.controlled:
	case <-s.mux.CloseChan():
	}
	select {
	case <-s.controlled:
		err := s.listen()
		// On a connection that has ended, the last message may have said more.
		if e := (*Error)(nil); errors.As(err, &e) || !s.mux.IsClosed() {
			s.stop(err, 0)
		}
	default:
	}
	<-s.mux.CloseChan()
	s.stop(s.broken(), 0)
	s.group.wait()
	return s.Err()
}

// broken is why yamux has ended.
func (s *Session) broken() error {
	for {
		if _, err := s.mux.AcceptStream(); err != nil {
			return err
		}
	}
}

// A group starts goroutines until somebody waits for them. A sync.WaitGroup
// could not be added to and waited for at the same time.
type group struct {
	mu     sync.Mutex
	idle   sync.Cond
	n      int
	closed bool
}

// Go reports whether f was started.
func (g *group) Go(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	go func() {
		defer func() {
			g.mu.Lock()
			if g.n--; g.n == 0 && g.idle.L != nil {
				g.idle.Broadcast()
			}
			g.mu.Unlock()
		}()
		defer crash.Guard()
		f()
	}()
	return true
}

// wait returns when all have ended. They may start others until then.
func (g *group) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle.L = &g.mu
	for g.n > 0 {
		g.idle.Wait()
	}
	g.closed = true
}

// pings pings until the session ends, without a goroutine while it waits. The
// first ping, at once, also opens the agent's control stream.
func (s *Session) pings() *time.Timer {
	var t *time.Timer
	ready := make(chan struct{})
	t = time.AfterFunc(0, func() {
		s.group.Go(func() {
			<-ready
			ctx, cancel := context.WithTimeout(context.Background(), s.dead)
			defer cancel()
			if _, err := s.Ping(ctx); err != nil {
				s.log.Debug("ping", "err", err)
			}
			if !s.over() {
				t.Reset(s.ping)
			}
		})
	})
	close(ready)
	return t
}

// watch ends the session when its link is dead. It needs no goroutine while
// there is nothing to do.
func (s *Session) watch() *time.Timer {
	var t *time.Timer
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	t = time.AfterFunc(s.dead, func() {
		mu.Lock()
		defer mu.Unlock()
		quiet := max(s.link.silence(), s.link.stalled())
		if quiet >= s.dead {
			s.stop(fmt.Errorf("the link is dead: nothing in %v", s.dead), 0)
			return
		}
		t.Reset(s.dead - quiet)
	})
	return t
}

// take accepts a stream that the other side has announced, and serves it. While
// there are none, no goroutine waits for them.
func (s *Session) take() {
	select {
	case <-s.running:
	case <-s.done:
		return
	}
	m, err := s.mux.AcceptStream()
	if err != nil {
		if !s.mux.IsClosed() { // which Run sees
			s.stop(err, 0)
		}
		return
	}
	s.table.Lock()
	st := s.table.m[m.StreamID()]
	first := s.table.first == m.StreamID()
	if st != nil {
		st.mux.Stream = m
	}
	s.table.Unlock()
	switch {
	case st == nil:
		s.stop(fmt.Errorf("stream %d was not announced", m.StreamID()), 0)
	case first && s.edge != nil:
		s.control = st
		close(s.controlled)
	default:
		s.serve(st)
	}
}

// serve answers a stream that the other side opened.
func (s *Session) serve(st *Stream) {
	if s.edge != nil {
		// Nothing of ours follows soon that could take the acknowledgement along.
		s.link.push()
	}
	st.SetReadDeadline(time.Now().Add(headerTimeout))
	h, err := readHeader(st)
	if err != nil {
		s.log.Debug("stream header", "err", err)
		st.Close()
		return
	}
	st.SetReadDeadline(time.Time{})
	st.header = h
	if s.edge != nil {
		s.serveAgent(st)
		return
	}
	s.serveEdge(st)
}

func (s *Session) serveAgent(st *Stream) {
	if st.header.kind != kindAPI || s.edge.API == nil {
		st.Close()
		return
	}
	if s.api.Add(1) > apiStreams {
		s.api.Add(-1)
		st.Close()
		return
	}
	s.edge.API(s, &apiConn{Stream: st})
}

// An apiConn gives its place back when it is closed.
type apiConn struct {
	*Stream
	once sync.Once
}

func (c *apiConn) Close() error {
	c.once.Do(func() { c.session.api.Add(-1) })
	return c.Stream.Close()
}

func (s *Session) serveEdge(st *Stream) {
	switch {
	case st.header.kind == kindProbe:
		st.Connected(0)
		st.CloseWrite()
		// The edge ends it; until then the status may be on its way.
		st.SetReadDeadline(time.Now().Add(headerTimeout))
		io.Copy(io.Discard, st)
		st.Close()
	case st.header.peer.Kind == "" || s.agent.Serve == nil:
		st.Refuse(&Error{Code: CodeUnsupported, Message: "this agent does not know such streams; update it"}, 0)
		st.Close()
	default:
		s.agent.Serve(st)
	}
}

// Open returns a stream to the local service of peer.Tunnel, without waiting
// for the agent. The Conn is a *Stream. Edge only.
func (s *Session) Open(peer Peer) (Conn, error) {
	st, err := s.openStream(header{kind: kindByte(peer.Kind), peer: peer})
	if err != nil {
		return nil, err
	}
	return st, nil
}

// Probe sends a stream of kind probe through the agent and back. Edge only.
func (s *Session) Probe(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	st, err := s.openStream(header{kind: kindProbe})
	if err != nil {
		return 0, err
	}
	defer st.Close()
	stop := context.AfterFunc(ctx, func() { st.SetReadDeadline(past) })
	defer stop()
	if err := st.await(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return 0, fmt.Errorf("probe: %w", err)
	}
	return time.Since(began), nil
}

// OpenAPI returns a stream to the edge's API. Agent only.
func (s *Session) OpenAPI() (net.Conn, error) {
	st, err := s.openStream(header{kind: kindAPI})
	if err != nil {
		return nil, err
	}
	st.answered.Store(true)
	return &apiStream{st}, nil
}

// An apiStream sends its header with the first bytes, whoever comes first.
type apiStream struct{ *Stream }

func (c *apiStream) Read(p []byte) (int, error) {
	if err := c.start(nil); err != nil {
		return 0, err
	}
	return c.Stream.Read(p)
}

func (s *Session) openStream(h header) (*Stream, error) {
	if s.over() {
		return nil, s.offline()
	}
	limit := s.streams
	if s.agent != nil {
		limit = apiStreams
	}
	if s.open.Add(1) > int64(limit) {
		s.open.Add(-1)
		return nil, &Error{
			Code:    CodeTooManyStreams,
			Message: fmt.Sprintf("%d requests are open in this tunnel's session already", limit),
			Hint:    "try again, or raise the edge's limit on streams",
		}
	}
	if !s.quota().take() {
		s.open.Add(-1)
		return nil, &Error{
			Code:    CodeTooManyStreams,
			Message: "as many requests are open on this edge already as it takes at once",
			Hint:    "try again, or raise the edge's limit on all streams",
		}
	}
	m, err := s.mux.OpenStream()
	if err != nil {
		s.open.Add(-1)
		s.quota().give()
		if errors.Is(err, yamux.ErrConnectionWriteTimeout) {
			// yamux keeps such a stream for ever.
			s.stop(err, 0)
		}
		return nil, s.offline()
	}
	s.table.Lock()
	st := s.table.m[m.StreamID()]
	if st != nil {
		st.mux.Stream, st.header = m, h
	}
	s.table.Unlock()
	if st == nil { // the link was ending, and has told nobody of the stream
		s.open.Add(-1)
		s.quota().give()
		return nil, s.offline()
	}
	if s.edge != nil && h.kind != kindProbe {
		s.bulks.warm(s)
	}
	return st, nil
}

func (s *Session) offline() error {
	return &Error{Code: CodeAgentOffline, Message: "the agent is not connected", Hint: "it comes back by itself"}
}

// leaves sees a frame on its way out, before the peer can answer it.
func (s *Session) leaves(f *frame) {
	flags := f.flags()
	if f.kind() > frameWindow || flags&(flagSYN|flagACK|flagRST) == 0 {
		return
	}
	s.table.Lock()
	defer s.table.Unlock()
	id := f.id()
	if flags&flagSYN != 0 {
		st := s.newStream(id, s.edge != nil)
		st.ours = true
		s.table.m[id] = st
	}
	if st := s.table.m[id]; st != nil && flags&(flagSYN|flagACK) != 0 && f.length() > 0 {
		// What opens a stream, or accepts it, also says how large its window is.
		f.setLength(st.mux.in.first - firstWindow)
	}
	if flags&flagRST != 0 {
		// yamux resets what its backlog does not hold, which nobody accepts.
		if st := s.table.m[id]; st != nil && !st.ours && st.mux.Stream == nil {
			s.table.spare++
		}
		s.remove(id)
	}
}

// arrives sees a frame before yamux does, and may change its flags. It returns
// whose bytes come with it, or nil.
func (s *Session) arrives(f *frame) (*flow, error) {
	if f.kind() == framePing {
		// yamux starts a goroutine for each.
		return nil, errors.New("a yamux ping, which this protocol does not use")
	}
	flags := f.flags()
	if f.kind() > frameWindow {
		return nil, nil
	}
	id := f.id()
	s.table.Lock()
	defer s.table.Unlock()
	if flags&flagSYN != 0 {
		if err := s.announce(id); err != nil {
			return nil, err
		}
	}
	st := s.table.m[id]
	if st == nil {
		// Closed by us, but yamux may not know yet, and an end that it does
		// not expect would end the session.
		f.setFlags(flags &^ (flagFIN | flagRST))
		return nil, nil
	}
	st.got.Add(uint64(f.body()))
	if flags&flagACK != 0 {
		st.acked.Store(true)
	}
	if st.rst.Load() {
		// A reset overtakes what the peer had queued; nothing of that counts.
		f.setFlags(flags &^ (flagFIN | flagRST))
		return nil, nil
	}
	switch {
	case flags&flagRST != 0 && st.fin.Load():
		f.setFlags(flags &^ (flagFIN | flagRST))
	case flags&flagRST != 0:
		// yamux would throw away what has arrived and was not read yet, such
		// as the answer of a service that then closed in anger. To yamux it
		// is the end; Read knows better.
		st.cut.Store(true)
		f.setFlags(flags&^flagRST | flagFIN)
	case flags&flagFIN != 0:
		st.fin.Store(true)
	}
	if flags&flagRST != 0 {
		st.rst.Store(true)
		st.mux.SetWriteDeadline(past)
		st.cutOut()
		st.gone()
	}
	return st.mux, nil
}

// down is called when the link has ended.
func (s *Session) down() {
	s.table.Lock()
	defer s.table.Unlock()
	for _, st := range s.table.m {
		st.mux.down()
	}
}

// announce is called with the table locked.
func (s *Session) announce(id uint32) error {
	// The agent is yamux's client and opens odd streams, the edge even ones.
	limit := strayStreams
	odd := uint32(1)
	if s.agent != nil {
		limit, odd = 4*s.streams+strayStreams, 0
	}
	switch {
	case id == 0 || id&1 != odd:
		return fmt.Errorf("stream %d is not the peer's to open", id)
	case s.table.m[id] != nil:
		return fmt.Errorf("stream %d was opened twice", id)
	case s.table.theirs >= limit:
		return fmt.Errorf("the peer opened more than %d streams", limit)
	}
	st := s.newStream(id, s.agent != nil)
	st.started.Store(true)
	st.answered.Store(true)
	s.table.m[id] = st
	s.table.theirs++
	if s.table.first == 0 {
		s.table.first = id
	}
	if s.table.spare > 0 {
		s.table.spare--
		return nil
	}
	s.group.Go(s.take)
	return nil
}

func (s *Session) forget(st *Stream) {
	s.table.Lock()
	s.remove(st.id)
	s.table.Unlock()
	if st.ours {
		s.open.Add(-1)
		s.quota().give()
	}
}

// quota is what the edge's sessions share, nil on an agent.
func (s *Session) quota() *Quota {
	if s.edge == nil {
		return nil
	}
	return s.edge.Quota
}

// carried returns the open stream of an edge whose bytes may pass elsewhere, or
// nil. Agent only.
func (s *Session) carried(id uint32) *Stream {
	s.table.Lock()
	defer s.table.Unlock()
	if st := s.table.m[id]; st != nil && !st.ours {
		return st
	}
	return nil
}

// newStream is called with the table locked. A stream to a local service, unlike
// the others, has a window that depends on the link.
func (s *Session) newStream(id uint32, service bool) *Stream {
	s.resize(len(s.table.m) + 1)
	room := window
	if service {
		room = int(s.link.window.Load())
	}
	return &Stream{session: s, id: id, mux: newFlow(s.link, id, room, !service)}
}

// resize makes the windows fit n streams. It is called with the table locked.
func (s *Session) resize(n int) {
	size := window
	switch {
	case s.RTT() < nearRTT:
		size = nearWindow
	case n <= longStreams && s.far():
		size = longWindow
	}
	s.link.window.Store(int64(max(min(size, allWindows/n), firstWindow)))
}

// remove is called with the table locked.
func (s *Session) remove(id uint32) {
	st := s.table.m[id]
	if st == nil {
		return
	}
	delete(s.table.m, id)
	s.resize(len(s.table.m) + 1) // for the next one
	if !st.ours {
		s.table.theirs--
	}
}

// stop ends the session, once, and returns when it has ended. With linger it
// first flushes what was written and gives the peer that long to read it.
func (s *Session) stop(err error, linger time.Duration) {
	s.end.Do(func() {
		s.err = s.reason(err)
		close(s.done)
		if linger > 0 {
			s.link.finish(linger)
			t := time.NewTimer(linger)
			select {
			case <-s.mux.CloseChan():
			case <-t.C:
			}
			t.Stop()
		}
		s.mux.Close()
		s.bulks.close(s)
		s.table.Lock()
		defer s.table.Unlock()
		for _, st := range s.table.m {
			st.gone()
		}
	})
}

func (s *Session) reason(err error) error {
	switch {
	case err == nil, s.leaving.Load():
		return nil
	case errors.Is(err, io.EOF):
		return ErrLeft
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return fmt.Errorf("%w: %w", ErrEnded, err)
}

// lingering is how long Close waits for the peer to take the last bytes.
const lingering = 500 * time.Millisecond

// Close flushes what was written and ends the session and all its streams. It
// returns when they have ended; Run may still wait for handlers.
func (s *Session) Close() error {
	s.stop(nil, lingering)
	return nil
}

// Abort ends the session at once, without a word to the peer. Err returns err.
func (s *Session) Abort(err error) { s.stop(err, 0) }

// Done is closed when the session ends.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why the session ended: nil while it lives and after Close.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

func (s *Session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// ended is the error of a stream whose session has ended, or is about to.
func (s *Session) ended() error {
	if err := s.Err(); err != nil {
		return err
	}
	return ErrEnded
}

func (s *Session) Hello() Hello         { return s.hello }
func (s *Session) Welcome() Welcome     { return s.welcome }
func (s *Session) RemoteAddr() net.Addr { return s.link.RemoteAddr() }

// Silence is how long ago the last byte arrived.
func (s *Session) Silence() time.Duration { return s.link.silence() }

// BulkConnections is how many further connections the session has.
func (s *Session) BulkConnections() int {
	s.bulks.mu.Lock()
	defer s.bulks.mu.Unlock()
	return len(s.bulks.all)
}

// Streams is how many streams we opened that are not closed.
func (s *Session) Streams() int { return int(s.open.Load()) }

// muxLog is yamux's logger. It warns of frames for streams that were reset,
// which here is how it should be, so it speaks to developers only.
type muxLog struct{ log *slog.Logger }

func (l muxLog) Printf(format string, v ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(strings.TrimSuffix(fmt.Sprintf(format, v...), "\n"))
	}
}

func (l muxLog) Print(v ...any)   { l.Printf("%s", fmt.Sprint(v...)) }
func (l muxLog) Println(v ...any) { l.Printf("%s", fmt.Sprintln(v...)) }
