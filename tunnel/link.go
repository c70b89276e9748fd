package tunnel

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// What waits in the queue or unsent in the kernel cannot be overtaken by a small
// answer, so both are short, and shorter on a line that a flush waits for: there
// a full queue is not what keeps it busy.
const (
	queueFast, queueSlow   = 64 << 10, 16 << 10
	unsentFast, unsentSlow = 128 << 10, 32 << 10

	// pieceSize is the most that one frame of a stream holds: a frame blocks
	// everybody behind it.
	pieceSize, pieceSlow = 32 << 10, 16 << 10

	// A flush that takes this long, at less than this many bytes a second, has
	// waited for the line. Between two of them a few find room in the kernel,
	// and a busy machine makes one slow now and then: only many make a slow
	// line, and only many others a fast one.
	slowFlush  = 4 * time.Millisecond
	slowRate   = 8 << 20
	slowWeight = 4
	slowSure   = 16
)

// heldFrames is how many frames that need not hurry may wait for one that
// does.
const heldFrames = 16

// The frames of yamux: version, type, flags, stream id, length. Only those of
// type data have a body.
const (
	frameSize = 12

	frameData   = 0
	frameWindow = 1
	framePing   = 2

	flagSYN = 1
	flagACK = 2
	flagFIN = 4
	flagRST = 8
)

type frame [frameSize]byte

func (f *frame) kind() byte     { return f[1] }
func (f *frame) flags() uint16  { return binary.BigEndian.Uint16(f[2:]) }
func (f *frame) id() uint32     { return binary.BigEndian.Uint32(f[4:]) }
func (f *frame) length() uint32 { return binary.BigEndian.Uint32(f[8:]) }

func (f *frame) setFlags(v uint16) { binary.BigEndian.PutUint16(f[2:], v) }

func (f *frame) body() int {
	if f.kind() == frameData {
		return int(f.length())
	}
	return 0
}

func resetFrame(id uint32, flags uint16) (f frame) {
	f[1] = frameWindow
	f.setFlags(flags | flagRST)
	binary.BigEndian.PutUint32(f[4:], id)
	return f
}

// A link is what yamux reads and writes: frames above TLS. It merges the
// frames that are ready into one flush, and because it sees where each frame
// starts it can do what yamux cannot: reset a stream, tell a stream that ended
// from one that was cut, and refuse what a hostile peer sends.
type link struct {
	tls  *tls.Conn
	wire *wire

	// in and out see every frame before the other side of the link does. in
	// may change the frame's flags.
	in  func(*frame) error
	out func(*frame)

	heard atomic.Int64 // when a byte last arrived, as time since start
	since atomic.Int64 // when the running flush began, 0 while none runs
	start time.Time

	slow atomic.Bool // flushes wait for the line
	sure int         // how much speaks for that; the flusher's

	// Reading, by one goroutine.
	part frame  // an incomplete header
	have int    // bytes of it
	left int    // bytes of the current body to come
	rest []byte // read and not yet looked at
	mine []byte // our own frames for yamux, before rest

	resets struct {
		sync.Mutex
		frames []frame // for our own yamux, at the next boundary
		any    atomic.Bool
	}

	mu     sync.Mutex
	ready  sync.Cond // the flusher waits
	room   sync.Cond // a writer waits
	queue  []byte
	held   int // bytes of queue that may wait for others
	frames int // of them
	body   int // bytes of the current frame's body still to be written
	rsts   []frame
	ending bool // no more writes; flush what is there and stop
	err    error
	done   chan struct{} // the flusher has ended
}

func newLink(conn *tls.Conn, w *wire) *link {
	l := &link{tls: conn, wire: w, start: time.Now(), done: make(chan struct{})}
	l.ready.L, l.room.L = &l.mu, &l.mu
	l.touch()
	return l
}

func (l *link) touch() { l.heard.Store(int64(time.Since(l.start))) }

// silence is how long nothing has arrived, stalled how long the running flush
// has taken.
func (l *link) silence() time.Duration {
	return time.Since(l.start) - time.Duration(l.heard.Load())
}

func (l *link) stalled() time.Duration {
	t := l.since.Load()
	if t == 0 {
		return 0
	}
	return time.Since(l.start) - time.Duration(t)
}

// Read gives yamux whole headers only, because in may change them.
func (l *link) Read(p []byte) (int, error) {
	if len(p) < frameSize && l.left == 0 {
		// Not yamux: it reads through 4 KiB and around them only inside a body.
		return 0, io.ErrShortBuffer
	}
	for {
		if len(l.mine) > 0 {
			n := copy(p, l.mine)
			l.mine = l.mine[n:]
			return n, nil
		}
		n := copy(p, l.part[:l.have])
		m, err := l.next(p[n:])
		if m == 0 && err != nil {
			return 0, err
		}
		n, err = l.look(p[:n+m])
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (l *link) next(p []byte) (int, error) {
	if len(l.rest) > 0 {
		n := copy(p, l.rest)
		if l.rest = l.rest[n:]; len(l.rest) == 0 {
			l.rest = nil
		}
		return n, nil
	}
	n, err := l.tls.Read(p)
	if n > 0 {
		l.touch()
		return n, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// reset has something for us. Deadlines go before the look at it, so
		// that one more reset is not missed.
		l.wire.SetReadDeadline(time.Time{})
		err = nil
	}
	return n, err
}

// look walks the frames in p and returns how much of it yamux may have now.
// The remainder is kept.
func (l *link) look(p []byte) (int, error) {
	l.have = 0
	for i := 0; ; {
		n := min(l.left, len(p)-i)
		l.left -= n
		i += n
		if l.left > 0 {
			return i, nil
		}
		if l.resets.any.Load() {
			l.mine = l.takeResets()
			if i < len(p) {
				l.rest = append(append([]byte(nil), p[i:]...), l.rest...)
			}
			return i, nil
		}
		if len(p)-i < frameSize {
			l.have = copy(l.part[:], p[i:])
			return i, nil
		}
		f := (*frame)(p[i : i+frameSize])
		if err := l.in(f); err != nil {
			return i, err
		}
		l.left = f.body()
		i += frameSize
	}
}

func (l *link) takeResets() []byte {
	l.resets.Lock()
	defer l.resets.Unlock()
	var b []byte
	for i := range l.resets.frames {
		b = append(b, l.resets.frames[i][:]...)
	}
	l.resets.frames = nil
	l.resets.any.Store(false)
	return b
}

// reset makes our own yamux forget a stream, and the peer's if told. yamux has
// no such call, and its Close would tell the peer that the stream ended well.
// It never waits.
func (l *link) reset(id uint32, established, tell bool) {
	var local uint16
	if !established {
		// yamux counts streams that were opened and not acknowledged, and
		// forgets to uncount one that is reset.
		local = flagACK
	}
	l.resets.Lock()
	l.resets.frames = append(l.resets.frames, resetFrame(id, local))
	l.resets.any.Store(true)
	l.resets.Unlock()
	l.wire.SetReadDeadline(past)
	if !tell {
		return
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return
	}
	f := resetFrame(id, 0)
	if l.body > 0 {
		l.rsts = append(l.rsts, f)
		return
	}
	l.append(f[:])
	l.ready.Signal()
}

// Write takes one header or one whole body, as yamux's send loop writes them.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := queueFast
	if l.slow.Load() {
		limit = queueSlow
	}
	for !l.ending && len(l.queue) > 0 && len(l.queue)+len(p) > limit {
		l.ready.Signal()
		l.room.Wait()
	}
	if l.err != nil {
		return 0, l.err
	}
	if l.ending {
		// An error would make yamux close the connection under the last flush.
		return len(p), nil
	}
	if l.body > 0 {
		l.body -= len(p)
		l.append(p)
	} else {
		f := (*frame)(p)
		l.out(f)
		l.body = f.body()
		l.append(p)
		if f.kind() == frameWindow && f.flags()&(flagSYN|flagACK) != 0 && l.frames < heldFrames {
			// The header of the stream and its first bytes follow at once,
			// or its status does: one flight for all.
			l.held += len(p)
			l.frames++
		}
	}
	if l.body == 0 {
		for i := range l.rsts {
			l.append(l.rsts[i][:])
		}
		l.rsts = nil
		if len(l.queue) > l.held {
			l.ready.Signal()
		}
	}
	return len(p), nil
}

func (l *link) append(p []byte) {
	if l.queue == nil {
		l.queue = takeBlock()
	}
	l.queue = append(l.queue, p...)
}

// push flushes frames that are held back.
func (l *link) push() {
	l.mu.Lock()
	l.held, l.frames = 0, 0
	if len(l.queue) > 0 {
		l.ready.Signal()
	}
	l.mu.Unlock()
}

// flusher writes the queue until finish or an error. It flushes when there is
// something, never on a timer: what arrives during a flush is the next one.
func (l *link) flusher() {
	defer close(l.done)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.queue) <= l.held && !l.ending {
			l.ready.Wait()
		}
		if len(l.queue) < queueSlow && !l.ending {
			// Whoever is ready to run may have a frame for this flush.
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
		}
		if len(l.queue) == 0 {
			return
		}
		b := l.queue
		l.queue, l.held, l.frames = nil, 0, 0
		l.mu.Unlock()
		err := l.flush(b)
		giveBlock(b)
		l.mu.Lock()
		l.room.Broadcast()
		if err != nil {
			l.ending, l.err = true, err
			if l.queue != nil {
				giveBlock(l.queue)
				l.queue = nil
			}
			return
		}
	}
}

func (l *link) flush(b []byte) error {
	began := time.Since(l.start)
	l.since.Store(int64(began) | 1)
	l.wire.cork()
	_, err := l.tls.Write(b)
	if e := l.wire.uncork(); err == nil {
		err = e
	}
	l.since.Store(0)
	l.pace(len(b), time.Since(l.start)-began)
	return err
}

// pace notes how long a flush took.
func (l *link) pace(n int, took time.Duration) {
	if took >= slowFlush && float64(n) < slowRate*took.Seconds() {
		l.sure = min(l.sure+slowWeight, slowSure)
	} else {
		l.sure = max(l.sure-1, 0)
	}
	switch {
	case l.sure == slowSure && !l.slow.Load():
		l.slow.Store(true)
		limitUnsent(l.wire.Conn, unsentSlow)
	case l.sure == 0 && l.slow.Load():
		l.slow.Store(false)
		limitUnsent(l.wire.Conn, unsentFast)
	}
}

// piece is how much of a stream's bytes one frame takes.
func (l *link) piece() int {
	if l.slow.Load() {
		return pieceSlow
	}
	return pieceSize
}

// finish flushes what was written, for at most d, and takes no more.
func (l *link) finish(d time.Duration) {
	l.mu.Lock()
	l.ending = true
	l.ready.Broadcast()
	l.room.Broadcast()
	l.mu.Unlock()
	l.wire.SetWriteDeadline(time.Now().Add(d))
	<-l.done
	l.tls.CloseWrite()
}

// Close ends reads and writes at once; yamux waits for both with its lock held.
func (l *link) Close() error {
	l.mu.Lock()
	l.ending = true
	if l.err == nil {
		l.err = net.ErrClosed
	}
	l.ready.Broadcast()
	l.room.Broadcast()
	l.mu.Unlock()
	err := l.wire.Close()
	<-l.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (l *link) LocalAddr() net.Addr  { return l.wire.LocalAddr() }
func (l *link) RemoteAddr() net.Addr { return l.wire.RemoteAddr() }
