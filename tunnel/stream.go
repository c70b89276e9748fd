package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// ErrReset is what Read and Write return after the other side has given the
// stream up. Read returns it only after the bytes that came before.
var ErrReset = errors.New("stream reset by the other side")

// ErrEnded is what the streams of a session return when it has ended.
var ErrEnded = errors.New("session ended")

// ErrLeft is an [ErrEnded]: the peer closed the connection, on purpose or because
// its process ended.
var ErrLeft = fmt.Errorf("%w: the other side closed the connection", ErrEnded)

// A Stream is one stream of a session; it is the Conn that Open returns. As
// with any net.Conn one goroutine may read while another writes and a third
// closes.
type Stream struct {
	session *Session
	mux     *flow
	id      uint32
	ours    bool // we opened it
	header  header

	// What has passed the link, ahead of what yamux knows.
	got   atomic.Uint64 // bytes of data
	acked atomic.Bool
	fin   atomic.Bool // the peer ended its direction
	rst   atomic.Bool // the peer reset the stream
	cut   atomic.Bool // reset before fin: what was read is not all

	taken    atomic.Uint64 // bytes read from yamux
	ended    atomic.Bool   // we end our direction
	finished atomic.Bool   // and have
	closed   atomic.Bool

	// What goes over bulk connections; see detour.go.
	in       atomic.Pointer[arrival]
	last     atomic.Bool // the peer's direction ended there
	out      atomic.Pointer[bulk]
	wanted   atomic.Pointer[bulk]   // an agent's: where the next write goes
	asked    atomic.Pointer[asking] // an edge's
	lane     atomic.Int32           // what becomes of out
	settling atomic.Bool
	down, up volume // an edge's

	sending sync.Mutex // held by whoever writes
	sent    uint64     // bytes written to yamux

	deadlines       sync.Mutex
	readBy, writeBy time.Time
	summoned        bool // the deadline of yamux was set to the past for the reader to look around

	// started is false while our header has not gone out.
	started atomic.Bool
	starts  sync.Mutex

	// answered is false while the agent's status has not come in.
	answered atomic.Bool
	answers  sync.Mutex
	partial  []byte
	took     atomic.Int64
	refused  error

	resets  sync.Mutex
	onReset func()
}

// Read reads what the other side wrote. On a stream that the edge opened it
// returns an *Error when the agent could not reach the local service; a Read
// into nothing waits for that answer alone.
func (s *Stream) Read(p []byte) (int, error) {
	if !s.answered.Load() {
		if err := s.await(); err != nil {
			return 0, err
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	return s.read(p)
}

func (s *Stream) readError(err error) error {
	switch {
	case s.closed.Load():
		return net.ErrClosed
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case s.cut.Load():
		return ErrReset
	case err == io.EOF && s.fin.Load():
		return io.EOF
	case err == yamux.ErrConnectionWriteTimeout:
		s.Close()
		return os.ErrDeadlineExceeded
	default:
		// yamux calls the end of a session EOF, which would make a cut
		// transfer look whole.
		return s.session.ended()
	}
}

// await sends the header, if nothing did so yet, and takes the status.
func (s *Stream) await() error {
	if err := s.start(nil); err != nil {
		return err
	}
	s.answers.Lock()
	defer s.answers.Unlock()
	if s.answered.Load() || s.refused != nil {
		return s.refused
	}
	for {
		st, more, err := parseStatus(s.partial)
		if err != nil {
			s.refused = err
			return err
		}
		if more == 0 {
			s.took.Store(int64(st.took))
			s.partial = nil
			if s.refused = st.err(); s.refused == nil {
				s.answered.Store(true)
			}
			return s.refused
		}
		have := len(s.partial)
		s.partial = append(s.partial, make([]byte, more)...)
		n, err := s.read(s.partial[have:])
		s.partial = s.partial[:have+n]
		if err != nil {
			return noEOF(err)
		}
	}
}

// Dial is how long the agent took to reach the local service. It is known
// once a Read has returned bytes or the end.
func (s *Stream) Dial() time.Duration { return time.Duration(s.took.Load()) }

// Write sends p in pieces. It waits while the other side does not read.
func (s *Stream) Write(p []byte) (int, error) {
	total := 0
	if !s.started.Load() {
		first := p[:min(len(p), pieceSize-maxHeader)]
		sent, err := s.startWith(first)
		if err != nil {
			return 0, err
		}
		if sent {
			total = len(first)
		}
	}
	for total < len(p) {
		size := maxFrame
		if s.out.Load() == nil {
			size = s.session.link.piece()
		}
		n, err := s.write(p[total:min(len(p), total+size)])
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (s *Stream) writeError(err error) error {
	switch {
	case s.closed.Load():
		return net.ErrClosed
	case s.rst.Load():
		return ErrReset
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case s.ended.Load():
		return net.ErrClosed
	case err == yamux.ErrConnectionWriteTimeout:
		// The frame may go out yet or not, so the stream is of no use.
		s.Close()
		return os.ErrDeadlineExceeded
	default:
		return s.session.ended()
	}
}

func (s *Stream) start(p []byte) error {
	if s.started.Load() {
		return nil
	}
	_, err := s.startWith(p)
	return err
}

// startWith sends the header and p in one frame, unless another goroutine
// was first; then it has sent nothing.
func (s *Stream) startWith(p []byte) (sent bool, err error) {
	s.starts.Lock()
	defer s.starts.Unlock()
	if s.started.Load() {
		return false, nil
	}
	b := appendHeader(takePiece(), s.header)
	b = append(b, p...)
	n, err := s.write(b)
	givePiece(b)
	if n > 0 {
		s.started.Store(true)
	}
	return true, err
}

// CloseWrite ends our direction and leaves the other one open, for as long
// as the other side wants. Of a stream that has gone over to a connection of its
// own it returns when the other side has read everything.
func (s *Stream) CloseWrite() error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	if err := s.start(nil); err != nil {
		return err
	}
	if s.ended.Swap(true) {
		return nil
	}
	if err := s.endOver(); err != nil {
		return err
	}
	if s.closed.Load() {
		return net.ErrClosed
	}
	// yamux calls the half-close Close, and does not say when it gave up.
	began := time.Now()
	err := s.mux.Close()
	if time.Since(began) >= writeTimeout {
		s.Close()
		return os.ErrDeadlineExceeded
	}
	s.finished.Store(true)
	return err
}

// Close releases a stream whose two directions have ended, and resets any
// other: nothing more is delivered, and the other side's reads and writes
// return ErrReset. It does not wait.
func (s *Stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.session.forget(s)
	s.wishLess(&s.down)
	s.wishLess(&s.up)
	defer s.mux.SetDeadline(past)
	// An agent that was asked for what comes next and has ended instead says no
	// to that, whoever is still there to hear it.
	if s.finished.Load() && s.in.Load() == nil && s.out.Load() == nil && !s.rst.Load() {
		if s.fin.Load() {
			return nil
		}
		if s.last.Load() {
			// The end of the peer's direction in yamux is on its way, but with
			// the stream forgotten nobody would heed it.
			s.session.link.reset(s.id, true, false)
			return nil
		}
	}
	s.cutOver()
	s.session.link.reset(s.id, !s.ours || s.acked.Load(), !s.rst.Load())
	return nil
}

// lost is called when a connection has ended on which bytes that we sent were on
// their way: the stream is broken, as if the peer had reset it, and the peer is
// to know.
func (s *Stream) lost() {
	s.session.table.Lock()
	over := s.closed.Load() || s.rst.Load()
	if !over {
		if !s.fin.Load() && !s.last.Load() {
			s.cut.Store(true)
		}
		s.rst.Store(true)
	}
	s.session.table.Unlock()
	if over {
		return
	}
	s.session.link.post(resetFrame(s.id, 0))
	s.mux.SetWriteDeadline(past)
	s.mux.end(io.EOF)
	s.cutOut()
	s.gone()
}

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// Quiet reports whether neither a byte nor the end nor a reset is waiting. It
// does not block.
func (s *Stream) Quiet() bool {
	return s.answered.Load() && s.got.Load() == s.taken.Load() && s.Settled() &&
		!s.last.Load() && !s.fin.Load() && !s.rst.Load() && !s.closed.Load() && !s.session.over()
}

// Shrink gives back the receive buffer of a stream that is about to be idle.
func (s *Stream) Shrink() { s.mux.Shrink() }

// Peer is whom the stream serves.
func (s *Stream) Peer() Peer { return s.header.peer }

// Connected tells the edge that the local service was reached, which took d.
// The agent calls it, or Refuse, before it writes anything else.
func (s *Stream) Connected(d time.Duration) error {
	return s.answer(status{took: d})
}

// Refuse tells the edge why the local service was not reached. The caller
// closes the stream.
func (s *Stream) Refuse(e *Error, d time.Duration) error {
	return s.answer(statusFor(e, d))
}

func (s *Stream) answer(st status) error {
	_, err := s.write(appendStatus(make([]byte, 0, statusSize+len(st.message)), st))
	return err
}

// AfterReset calls f, once and in a goroutine of its own, when the other side
// resets the stream or the session ends. The session's Run waits for f.
func (s *Stream) AfterReset(f func()) {
	s.resets.Lock()
	s.onReset = f
	s.resets.Unlock()
	if s.rst.Load() || s.session.over() {
		s.gone()
	}
}

// gone is called after rst is set or the session is over.
func (s *Stream) gone() {
	s.resets.Lock()
	f := s.onReset
	s.onReset = nil
	s.resets.Unlock()
	if f != nil {
		s.session.group.Go(f)
	}
}

func (s *Stream) SetDeadline(t time.Time) error {
	s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *Stream) SetReadDeadline(t time.Time) error {
	s.deadlines.Lock()
	if s.readBy = t; !s.summoned { // who reads must look around first
		s.mux.SetReadDeadline(t)
	}
	if a := s.in.Load(); a != nil {
		a.bulk.tls.SetReadDeadline(t)
	}
	s.deadlines.Unlock()
	if s.closed.Load() {
		s.mux.SetReadDeadline(past)
	}
	return nil
}

func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.deadlines.Lock()
	s.writeBy = t
	s.mux.SetWriteDeadline(t)
	if b := s.out.Load(); b != nil {
		b.tls.SetWriteDeadline(t)
	}
	s.deadlines.Unlock()
	if s.closed.Load() || s.rst.Load() {
		s.mux.SetWriteDeadline(past)
	}
	return nil
}

func (s *Stream) LocalAddr() net.Addr  { return s.session.link.LocalAddr() }
func (s *Stream) RemoteAddr() net.Addr { return s.session.link.RemoteAddr() }

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

func takePiece() []byte  { return pieces.Get().(*[pieceSize]byte)[:0] }
func givePiece(b []byte) { pieces.Put((*[pieceSize]byte)(b[:pieceSize])) }
