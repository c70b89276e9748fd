package tunnel

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
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

	// crowded is how many flushes of a single frame it takes until a writer
	// flushes by itself again: while several write, each does better to leave
	// it to the flusher, which gathers what they have.
	crowded = 8
	// crowdGone is how long there was no flush when the crowd is over.
	crowdGone = time.Second

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

// Every heavyTurn-th flush begins with a frame of somebody who moves bulk, if one
// waits: small frames of many could keep him waiting for ever.
const heavyTurn = 4

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

func (f *frame) setLength(n int) { binary.BigEndian.PutUint32(f[8:], uint32(n)) }

func (f *frame) setFlags(v uint16) { binary.BigEndian.PutUint16(f[2:], v) }

func (f *frame) body() int {
	if f.kind() == frameData {
		return int(f.length())
	}
	return 0
}

func newFrame(kind byte, flags uint16, id uint32, length int) (f frame) {
	f[1] = kind
	f.setFlags(flags)
	binary.BigEndian.PutUint32(f[4:], id)
	binary.BigEndian.PutUint32(f[8:], uint32(length))
	return f
}

func resetFrame(id uint32, flags uint16) frame {
	return newFrame(frameWindow, flags|flagRST, id, 0)
}

// A link is the frames above TLS. It merges those that are ready into one flush.
// The bytes of streams go through it to and from their flows; the frames that
// open and end a stream are yamux's, which reads and writes the link for them.
// Because the link sees each frame it can do what yamux cannot: reset a stream,
// tell a stream that ended from one that was cut, and refuse what a hostile peer
// sends.
type link struct {
	tls  *tls.Conn
	wire *wire

	// in and out see every frame before the other side of the link does. in may
	// change the frame's flags, and knows whose the bytes of a frame are, nil
	// when nobody's. down is called when the link ends.
	in   func(*frame) (*flow, error)
	out  func(*frame)
	down func()

	heard atomic.Int64 // when a byte last arrived, as time since start
	since atomic.Int64 // when the running flush began, 0 while none runs
	start time.Time

	window atomic.Int64 // how much of a stream may be on its way or unread

	slow atomic.Bool // flushes wait for the line
	sure int         // how much speaks for that; whoever flushes

	// Reading, by one goroutine.
	part frame  // an incomplete header
	have int    // bytes of it
	to   *flow  // who gets the current body, may be nil
	left int    // bytes of it to come
	size int    // bytes of all of it
	last frame  // what its header said of the end of the stream, for after it
	mine []byte // our own frames for yamux

	resets struct {
		sync.Mutex
		frames []frame // for our own yamux
		any    atomic.Bool
	}

	mu       sync.Mutex
	working  bool      // there is a flusher
	ready    sync.Cond // the flusher waits
	room     sync.Cond // yamux waits
	queue    []byte
	gathered int     // frames in it
	held     int     // bytes of queue that may wait for others
	frames   int     // of them
	light    []*flow // who waits for room: those that wrote little lately
	heavy    []*flow // and the others
	flushing bool    // somebody flushes
	crowd    int     // above 0 while frames come faster than one at a time
	turns    uint    // flushes so far
	calming  bool    // calm is about to be called
	ending   bool    // no more writes; flush what is there and stop
	err      error
	done     chan struct{} // the last flusher has ended
}

func newLink(conn *tls.Conn, w *wire) *link {
	l := &link{tls: conn, wire: w, start: time.Now(), done: make(chan struct{}), down: func() {}}
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

// Read gives yamux whole headers only, and none that has a body.
func (l *link) Read(p []byte) (int, error) {
	if len(p) < frameSize {
		// Not yamux: it reads through 4 KiB.
		return 0, io.ErrShortBuffer
	}
	for {
		if l.resets.any.Load() {
			l.takeResets()
		}
		if len(l.mine) > 0 {
			n := copy(p, l.mine)
			if l.mine = l.mine[n:]; len(l.mine) == 0 {
				l.mine = nil
			}
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

// look walks the frames in p, gives bodies to their flows and leaves the rest for
// yamux at the beginning of p. It returns how much that is.
func (l *link) look(p []byte) (int, error) {
	l.have = 0
	kept := 0
	for i := 0; ; {
		if l.left > 0 {
			n := min(l.left, len(p)-i)
			whole := n == l.left && n == l.size
			l.left -= n
			if l.to != nil && n > 0 {
				l.to.deliver(p[i:i+n], whole, l.left == 0)
			}
			if i += n; l.left > 0 {
				return kept, nil
			}
			if l.last.flags() != 0 {
				f := l.last
				if _, err := l.see(&f); err != nil {
					return kept, err
				}
				l.mine = append(l.mine, f[:]...)
			}
			l.to = nil
		}
		if len(p)-i < frameSize {
			l.have = copy(l.part[:], p[i:])
			return kept, nil
		}
		f := *(*frame)(p[i : i+frameSize])
		if f[0] != 0 {
			return kept, fmt.Errorf("frame of version %d", f[0])
		}
		i += frameSize
		if f.kind() == frameData && f.length() > math.MaxInt32 {
			return kept, fmt.Errorf("stream %d exceeds its window", f.id())
		}
		n := f.body()
		if n > 0 {
			// To yamux a frame with bytes is what its flags say. The end of the
			// stream comes after the bytes.
			flags := f.flags()
			l.last = newFrame(frameWindow, flags&(flagFIN|flagRST), f.id(), 0)
			f.setFlags(flags &^ (flagFIN | flagRST))
		}
		to, err := l.see(&f)
		if err != nil {
			return kept, err
		}
		l.to, l.left, l.size = to, n, n
		if n > 0 || f.kind() == frameWindow {
			if f.flags() == 0 {
				continue
			}
			f = newFrame(frameWindow, f.flags(), f.id(), 0)
		}
		kept += copy(p[kept:], f[:])
	}
}

// see shows a frame to in and tells the flow what it means.
func (l *link) see(f *frame) (*flow, error) {
	to, err := l.in(f)
	if to == nil || err != nil {
		return nil, err
	}
	if f.kind() == frameWindow && f.length() > 0 {
		to.grant(f.length())
	}
	if n := f.body(); n > 0 && !to.expect(n) {
		return nil, fmt.Errorf("stream %d exceeds its window", f.id())
	}
	if f.flags()&flagFIN != 0 {
		to.end(io.EOF)
	}
	return to, nil
}

func (l *link) takeResets() {
	l.resets.Lock()
	defer l.resets.Unlock()
	for i := range l.resets.frames {
		l.mine = append(l.mine, l.resets.frames[i][:]...)
	}
	l.resets.frames = nil
	l.resets.any.Store(false)
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

	l.post(resetFrame(id, 0))
}

// post queues a frame without a body. It never waits: that there are few is the
// caller's business.
func (l *link) post(f frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return
	}
	l.append(f[:])
	l.rouse()
}

// Write takes one header, as yamux's send loop writes them.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.ending && len(l.queue) >= l.limit()+pieceSlow {
		l.room.Wait() // what opens and ends streams has room that bytes do not have
	}
	if l.err != nil {
		return 0, l.err
	}
	if l.ending {
		// An error would make yamux close the connection under the last flush.
		return len(p), nil
	}
	f := (*frame)(p)
	l.out(f)
	l.append(p)
	if f.kind() == frameWindow && f.flags()&(flagSYN|flagACK) != 0 && l.frames < heldFrames {
		// The header of the stream and its first bytes follow at once,
		// or its status does: one flight for all.
		l.held += len(p)
		l.frames++
	} else {
		l.rouse()
	}
	return len(p), nil
}

// limit is how much the queue takes while there is something in it.
func (l *link) limit() int {
	if l.slow.Load() {
		return queueSlow
	}
	return queueFast
}

// errWait is what put returns when the bytes have to wait for their turn.
var errWait = errors.New("wait")

// put queues a frame with the bytes of f's turn, or has them wait for room: then
// it returns errWait, and waited is to be called after a wake of f.out.
func (l *link) put(f *flow) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &f.out.turn
	t.taken, t.err = false, nil
	alone := len(l.light)+len(l.heavy) == 0
	switch {
	case l.err != nil:
		return l.err
	case l.ending:
		return nil
	case l.fits(t) && (alone || len(l.light) == 0 && t.light(f.out.sent, l.turns)):
		l.take(f)
		// A flush waits for the line, whatever deadline there is.
		if l.crowd > 0 || l.flushing || l.slow.Load() || len(l.queue) > pieceSlow || !f.writeBy().IsZero() {
			l.rouse()
			return nil
		}
		return l.flushNow()
	}
	if t.light(f.out.sent, l.turns) {
		l.light = append(l.light, f)
	} else {
		l.heavy = append(l.heavy, f)
	}
	// What is in the way may be frames that wait for others.
	l.held, l.frames = 0, 0
	l.rouse()
	return errWait
}

// waited returns nil when the bytes that waited are in the queue, and errWait
// when they still wait. Unless goOn is set they then wait no longer.
func (l *link) waited(f *flow, goOn bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &f.out.turn
	switch {
	case t.taken:
		return t.err
	case goOn:
		return errWait
	}
	drop := func(g *flow) bool { return g == f }
	l.light, l.heavy = slices.DeleteFunc(l.light, drop), slices.DeleteFunc(l.heavy, drop)
	return yamux.ErrTimeout
}

func (l *link) fits(t *turn) bool {
	return len(l.queue) == 0 || len(l.queue)+frameSize+len(t.body) <= l.limit()
}

// take puts the bytes of f's turn into the queue.
func (l *link) take(f *flow) {
	h := newFrame(frameData, 0, f.id, len(f.out.turn.body))
	l.append(h[:])
	l.queue = append(l.queue, f.out.turn.body...)
}

// admit lets those who wait into the queue, while there is room: small answers
// first, but not for ever.
func (l *link) admit() {
	if l.turns%heavyTurn == 0 && len(l.heavy) > 0 && l.fits(&l.heavy[0].out.turn) {
		l.let(&l.heavy)
	}
	for _, line := range []*[]*flow{&l.light, &l.heavy} {
		for len(*line) > 0 {
			if !l.fits(&(*line)[0].out.turn) {
				return
			}
			l.let(line)
		}
	}
}

// let takes the first of those who wait in a line.
func (l *link) let(line *[]*flow) {
	f := (*line)[0]
	l.take(f)
	*line = slices.Delete(*line, 0, 1)
	f.out.turn.taken = true
	wake(f.out.wake)
}

// refuse tells those who wait that their turn will not come.
func (l *link) refuse(err error) {
	for _, line := range []*[]*flow{&l.light, &l.heavy} {
		for _, f := range *line {
			f.out.turn.taken, f.out.turn.err = true, err
			wake(f.out.wake)
		}
		*line = nil
	}
}

func (l *link) append(p []byte) {
	if l.queue == nil {
		l.queue = takeBlock()
	}
	l.queue = append(l.queue, p...)
	l.gathered++
}

// push flushes frames that are held back.
func (l *link) push() {
	l.mu.Lock()
	l.held, l.frames = 0, 0
	if len(l.queue) > 0 {
		l.rouse()
	}
	l.mu.Unlock()
}

// rouse has the flusher look at the queue. It is called with mu held.
func (l *link) rouse() {
	if l.working {
		l.ready.Signal()
		return
	}
	select {
	case <-l.done:
	default:
		l.working = true
		go l.flusher()
	}
}

// flusher writes the queue until the frames come one at a time, finish or an
// error. It flushes when there is something, never on a timer: what arrives during
// a flush is the next one. The link of an idle session has none: its pings flush
// themselves.
func (l *link) flusher() {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		if l.working = false; l.ending {
			close(l.done)
		}
	}()
	for {
		for l.flushing || len(l.queue) <= l.held && !l.ending {
			if !l.flushing && l.crowd == 0 {
				return
			}
			if !l.calming {
				l.calming = true
				turns := l.turns
				time.AfterFunc(crowdGone, func() { l.calm(turns) })
			}
			l.ready.Wait()
		}
		if len(l.queue) < queueSlow && !l.ending {
			// Whoever is ready to run may have a frame for this flush.
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
			if l.flushing || len(l.queue) == 0 {
				continue // a writer did it
			}
		}
		if len(l.queue) == 0 || l.flushNow() != nil {
			return
		}
	}
}

// calm ends a crowd that nobody has been in since the flush called turns.
func (l *link) calm(turns uint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calming = false
	if l.turns == turns {
		l.crowd = 0
	}
	l.ready.Signal() // ends the flusher, or has it ask for the next look
}

// flushNow flushes what is in the queue, without mu meanwhile.
func (l *link) flushNow() error {
	b, n := l.queue, l.gathered
	l.queue, l.gathered, l.held, l.frames = nil, 0, 0, 0
	l.turns++
	l.flushing = true
	l.admit()
	l.mu.Unlock()
	err := l.flush(b)
	giveBlock(b)
	if err != nil {
		l.wire.Close() // who reads is to know
	}
	l.mu.Lock()
	l.flushing = false
	l.room.Broadcast()
	if err != nil {
		l.fail(err)
	}
	if n > 1 || l.gathered > 0 {
		l.crowd = crowded
	} else if l.crowd > 0 {
		l.crowd--
	}
	if len(l.queue) > l.held || l.ending {
		l.rouse()
	}
	return err
}

// fail ends the writing of a link that cannot any more.
func (l *link) fail(err error) {
	l.ending = true
	if l.err == nil {
		l.err = err
	}
	if l.queue != nil {
		giveBlock(l.queue)
		l.queue = nil
	}
	l.refuse(l.err)
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
	l.refuse(nil)
	l.rouse()
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
	l.refuse(l.err)
	l.rouse()
	l.room.Broadcast()
	l.mu.Unlock()
	err := l.wire.Close()
	<-l.done
	l.down()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (l *link) LocalAddr() net.Addr  { return l.wire.LocalAddr() }
func (l *link) RemoteAddr() net.Addr { return l.wire.RemoteAddr() }
