package tunnel

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// A flow is a stream of yamux whose bytes do not pass through yamux: they go
// from Write into the link's queue, and from the link's reader into Read, with no
// goroutine in between. Opening and ending a stream stay with yamux.
type flow struct {
	*yamux.Stream
	link *link
	id   uint32
	in   inflow
	out  outflow
}

type inflow struct {
	reading sync.Mutex // one Read at a time
	wake    chan struct{}

	sync.Mutex
	buf      []byte // what has arrived; buf[r:] was not read
	r        int
	dst      []byte // of a Read that waits; its first n bytes are there
	n        int
	pass     func([]byte) int // see PassTo
	room     int              // what the peer may send yet
	first    int              // what it could send to begin with
	fixed    bool             // the window stays as it is
	coming   int              // of a frame that has begun to arrive
	deadline time.Time
	err      error // nothing more comes: io.EOF, or why not
}

type outflow struct {
	sync.Mutex // one Write at a time
	wake       chan struct{}

	window   atomic.Int64
	deadline atomic.Pointer[time.Time]
	ended    atomic.Bool
	sent     uint // bytes
	turn     turn
}

// A turn is the bytes of one frame on their way into the link's queue. What is
// in it is the link's, under its lock, while they wait.
type turn struct {
	body  []byte
	taken bool // they are in the queue, or never will be
	err   error

	mark, when uint // what the stream had sent at that flush
}

// A stream that sent no more than lightBytes since a flush that is not more than
// lightFlushes back moves no bulk.
const (
	lightBytes   = 16 << 10
	lightFlushes = 8
)

// light reports whether the stream has sent little lately.
func (t *turn) light(sent, flushes uint) bool {
	if flushes-t.when > lightFlushes {
		t.mark, t.when = sent-uint(len(t.body)), flushes
	}
	return sent-t.mark <= lightBytes
}

// firstWindow is the window of a stream in yamux before an update.
const firstWindow = 256 << 10

// newFlow returns a flow whose peer may send room bytes before it is told more.
// How much that is later depends on the link, unless it is fixed.
func newFlow(l *link, id uint32, room int, fixed bool) *flow {
	f := &flow{link: l, id: id}
	f.in.first, f.in.room, f.in.fixed = room, room, fixed
	f.in.wake = make(chan struct{}, 1)
	f.out.window.Store(firstWindow)
	f.out.wake = make(chan struct{}, 1)
	return f
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sleep waits for a wake until the deadline. It reports false when that has
// passed.
func sleep(c chan struct{}, deadline time.Time) bool {
	if deadline.IsZero() {
		<-c
		return true
	}
	d := time.Until(deadline)
	if d <= 0 {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// Read returns what has arrived, or waits for it. Its errors are yamux's.
func (f *flow) Read(p []byte) (int, error) {
	in := &f.in
	in.reading.Lock()
	defer in.reading.Unlock()
	in.Lock()
	for {
		n := in.n
		if in.dst = nil; n > 0 {
			in.n = 0
		} else if n = copy(p, in.buf[in.r:]); n > 0 {
			if in.r += n; in.r == len(in.buf) {
				in.buf, in.r = in.buf[:0], 0
			}
		}
		if n > 0 {
			more := f.more()
			in.Unlock()
			f.allow(more)
			return n, nil
		}
		if err := in.err; err != nil {
			in.Unlock()
			return 0, err
		}
		in.dst = p
		deadline := in.deadline
		in.Unlock()
		awake := sleep(in.wake, deadline)
		in.Lock()
		if !awake && in.n == 0 && in.r == len(in.buf) && in.err == nil {
			in.dst = nil
			in.Unlock()
			return 0, yamux.ErrTimeout
		}
	}
}

// more returns how many bytes the peer may send beyond what it knows of. It is
// told seldom. The caller holds in.
func (f *flow) more() int {
	in := &f.in
	size := window
	if !in.fixed {
		size = int(f.link.window.Load())
	}
	n := size - in.room - in.coming - (len(in.buf) - in.r) - in.n
	if n < size/2 || in.err != nil {
		return 0
	}
	in.room += n
	return n
}

// allow tells the peer that it may send n bytes more.
func (f *flow) allow(n int) {
	if n > 0 {
		f.link.post(newFrame(frameWindow, 0, f.id, n))
	}
}

// expect notes the header of a frame with n bytes. It reports false when the
// peer may not send that much.
func (f *flow) expect(n int) bool {
	f.in.Lock()
	defer f.in.Unlock()
	f.in.room -= n
	f.in.coming = n
	return f.in.room >= 0
}

// deliver takes the next bytes of a frame, which is whole or ends with them: a
// Read that waits is woken once a frame, or when it has all that it asked for.
func (f *flow) deliver(p []byte, whole, last bool) {
	in := &f.in
	in.Lock()
	in.coming -= len(p)
	if in.pass != nil && whole && in.dst != nil && in.n == 0 && in.r == len(in.buf) {
		n := in.pass(p)
		if p = p[n:]; len(p) == 0 {
			more := f.more()
			in.Unlock()
			f.allow(more)
			return
		}
	}
	if in.dst != nil && in.r == len(in.buf) {
		n := copy(in.dst[in.n:], p)
		in.n += n
		p = p[n:]
	}
	if len(p) > 0 {
		if need := len(in.buf) + len(p); need > cap(in.buf) {
			in.grow(need - in.r)
		}
		in.buf = append(in.buf, p...)
	}
	ready := in.dst != nil && (last || in.n == len(in.dst))
	in.Unlock()
	if ready {
		wake(in.wake)
	}
}

// grow makes room for need bytes that are unread.
func (in *inflow) grow(need int) {
	unread := in.buf[in.r:]
	if need > cap(in.buf) {
		in.buf = make([]byte, 0, max(need, min(2*cap(in.buf), len(in.buf)-in.r+in.room)))
	}
	in.buf, in.r = append(in.buf[:0], unread...), 0
}

func (f *flow) passTo(pass func([]byte) int) {
	f.in.Lock()
	f.in.pass = pass
	f.in.Unlock()
}

// end has Read return err after what has arrived. Only the first end counts.
func (f *flow) end(err error) {
	f.in.Lock()
	if f.in.err == nil {
		f.in.err = err
	}
	f.in.Unlock()
	wake(f.in.wake)
}

// down wakes whoever waits: the link has ended.
func (f *flow) down() {
	f.end(yamux.ErrSessionShutdown)
	f.out.ended.Store(true)
	wake(f.out.wake)
}

// Write puts p into the link's queue. It waits for room there and for the peer's
// window. Its errors are yamux's.
func (f *flow) Write(p []byte) (int, error) {
	f.out.Lock()
	defer f.out.Unlock()
	total := 0
	for total < len(p) {
		if f.out.ended.Load() {
			return total, yamux.ErrStreamClosed
		}
		n := int(min(f.out.window.Load(), pieceSize, int64(len(p)-total)))
		if n <= 0 {
			if !sleep(f.out.wake, f.writeBy()) {
				return total, yamux.ErrTimeout
			}
			continue
		}
		if err := f.put(p[total : total+n]); err != nil {
			return total, err
		}
		f.out.window.Add(-int64(n))
		total += n
	}
	return total, nil
}

func (f *flow) put(p []byte) error {
	t := &f.out.turn
	t.body = p
	f.out.sent += uint(len(p))
	err := f.link.put(f)
	for err == errWait {
		awake := sleep(f.out.wake, f.writeBy())
		err = f.link.waited(f, awake && !f.out.ended.Load())
	}
	t.body = nil
	if err == yamux.ErrTimeout && f.out.ended.Load() {
		return yamux.ErrStreamClosed
	}
	return err
}

// grant lets us send n bytes more.
func (f *flow) grant(n uint32) {
	if f.out.window.Load() < 1<<32 {
		f.out.window.Add(int64(n))
	}
	wake(f.out.wake)
}

func (f *flow) writeBy() time.Time {
	if t := f.out.deadline.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// Close ends our direction.
func (f *flow) Close() error {
	f.out.ended.Store(true)
	return f.Stream.Close()
}

func (f *flow) SetReadDeadline(t time.Time) error {
	f.in.Lock()
	f.in.deadline = t
	f.in.Unlock()
	wake(f.in.wake)
	return nil
}

func (f *flow) SetWriteDeadline(t time.Time) error {
	f.out.deadline.Store(&t)
	wake(f.out.wake)
	return nil
}

func (f *flow) SetDeadline(t time.Time) error {
	f.SetReadDeadline(t)
	return f.SetWriteDeadline(t)
}

// Shrink gives back the buffer of a stream that has none of its bytes unread.
func (f *flow) Shrink() {
	f.in.Lock()
	if f.in.r == len(f.in.buf) {
		f.in.buf, f.in.r = nil, 0
	}
	f.in.Unlock()
}
