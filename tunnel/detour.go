package tunnel

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// What becomes of the connection that a stream sends over. Once its frames have
// ended the edge may give it to another stream before we know, so whoever cuts
// the stream leaves it alone then; the edge, which knows, does not use it again.
const (
	laneOpen = iota
	laneEnded
	laneCut
)

// An asking is a connection that the agent was told to send a stream's bytes
// over.
type asking struct {
	bulk     *bulk
	answered chan struct{}
}

// An arrival is what a stream reads from a bulk connection.
type arrival struct {
	bulk   *bulk
	offset uint64 // bytes of the session that come first
	head   [4]byte
	have   int // bytes of head
	left   int // bytes of the frame to come
}

// errFrames ends the frames of an arrival: the stream goes on in the session.
var errFrames = errors.New("the frames have ended")

// read returns errFrames or io.EOF after the last frame.
func (a *arrival) read(p []byte) (int, error) {
	b := a.bulk
	for a.left == 0 {
		n, err := b.tls.Read(a.head[a.have:])
		a.have += n
		if a.have < len(a.head) {
			if err != nil {
				return 0, noEOF(err)
			}
			continue
		}
		a.have = 0
		switch v := binary.BigEndian.Uint32(a.head[:]); {
		case v == 0:
			return 0, errFrames
		case v == lastFrame:
			return 0, io.EOF
		case v > 2*maxFrame:
			return 0, errors.New("a frame too long")
		default:
			a.left = int(v)
		}
		b.moved.Store(time.Now().UnixNano())
	}
	p = p[:min(len(p), a.left)]
	n, err := b.tls.Read(p)
	for n > 0 && n < len(p) && err == nil && b.wire.w-b.wire.r > 0 {
		var m int
		m, err = b.tls.Read(p[n:])
		n += m
	}
	a.left -= n
	if n > 0 {
		return n, nil
	}
	return 0, noEOF(err)
}

// A volume is what the edge knows of a body that passes a stream in one
// direction. Whoever moves the body is the only one to touch it.
type volume struct {
	left  int64 // to come, -1 when that is not known
	moved int64
	since time.Time   // of the window, zero while no body is expected
	early atomic.Bool // a connection has been wished for
}

// again makes a body that came back to the session one that may go over once more.
func (v *volume) again() {
	if v.left < 0 || v.left >= bulkMin+bulkLeft {
		v.moved, v.since = 0, time.Now()
	}
}

// over counts n bytes that passed a bulk connection.
func (v *volume) over(n int) {
	if v.left > 0 {
		v.left = max(v.left-int64(n), 0)
	}
}

// add counts n bytes and reports whether the rest should go over now.
func (v *volume) add(n int) (early, now bool) {
	if v.since.IsZero() {
		return false, false
	}
	v.moved += int64(n)
	if v.left >= 0 {
		v.left -= int64(n)
		if v.left < bulkLeft {
			v.since = time.Time{}
			return false, false
		}
	}
	if v.moved < bulkEarly {
		return false, false
	}
	took := time.Since(v.since)
	if took > bulkWindow && v.moved < bulkMin {
		v.moved, v.since = 0, time.Now()
		return false, false
	}
	return true, v.moved >= bulkMin && (v.left >= bulkLarge || v.moved >= bulkSure || took >= bulkAfter)
}

// ExpectRead says that a body of n more bytes is to be read, or with -1 one of
// unknown length. If that turns out to be much, it may come over a connection
// of its own; nothing else changes. It is called by whoever reads. Edge only.
func (s *Stream) ExpectRead(n int64) { s.expect(&s.down, n) }

// ExpectWrite is like ExpectRead, for what is to be written.
func (s *Stream) ExpectWrite(n int64) {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.expect(&s.up, n)
}

func (s *Stream) expect(v *volume, n int64) {
	s.wishLess(v)
	v.left, v.since = n, time.Time{}
	v.again()
}

func (s *Stream) wishLess(v *volume) {
	if v.early.Load() && v.early.Swap(false) {
		s.session.bulks.wish(s.session, -1)
	}
}

// passed counts n bytes of a body that passed the session, and takes a bulk
// connection once that is worth it.
func (s *Stream) passed(v *volume, n int) *bulk {
	if v.since.IsZero() {
		return nil
	}
	early, now := v.add(n)
	switch {
	case !early:
		s.wishLess(v)
		return nil
	case !v.early.Load():
		v.early.Store(true)
		s.session.bulks.wish(s.session, 1)
		if s.closed.Load() {
			s.wishLess(v)
		}
	}
	// A stream that the agent has not acknowledged it may not know of yet.
	if !now || s.settling.Load() || !s.acked.Load() || v == &s.down && !s.settledDown() {
		return nil
	}
	b := s.session.bulks.take(s, v == &s.down)
	if b != nil {
		s.wishLess(v)
		v.since = time.Time{}
	}
	return b
}

// read reads from wherever the next bytes come.
func (s *Stream) read(p []byte) (int, error) {
	for {
		a := s.in.Load()
		if s.last.Load() {
			return 0, io.EOF
		}
		if a != nil && s.taken.Load() == a.offset {
			n, err := a.read(p)
			switch {
			case n > 0:
				s.down.over(n)
				return n, nil
			case err == errFrames:
				s.down.again()
				s.arrived(a, false)
				continue
			case err == io.EOF:
				s.arrived(a, true)
				continue
			}
			return 0, s.bulkError(a.bulk, err)
		}
		q := p
		if a != nil {
			q = p[:min(uint64(len(p)), a.offset-s.taken.Load())]
		}
		n, err := s.mux.Read(q)
		s.taken.Add(uint64(n))
		switch {
		case n > 0:
			if b := s.passed(&s.down, n); b != nil {
				s.askFor(b)
			}
			return n, nil
		case err == nil:
			return 0, nil
		case s.called():
			continue
		case a != nil && err == io.EOF:
			return 0, ErrReset // an end before bytes that were promised
		}
		return 0, s.readError(err)
	}
}

// askFor tells the agent to go on over b. The answer, whenever it comes, is run's.
func (s *Stream) askFor(b *bulk) {
	s.asked.Store(&asking{b, make(chan struct{})})
	if s.closed.Load() || b.send(bulkWant, s.id) != nil {
		b.close()
		s.unasked(b) // it may have been removed before it was asked
	}
}

// attach makes what comes over b the stream's, once offset bytes have come over
// the session. It reports whether the stream is there to read it, and calls
// whoever reads from the session.
func (s *Stream) attach(b *bulk, offset uint64) bool {
	s.deadlines.Lock()
	defer s.deadlines.Unlock()
	if offset < s.taken.Load() || s.last.Load() || !s.in.CompareAndSwap(nil, &arrival{bulk: b, offset: offset}) {
		return false
	}
	b.tls.SetReadDeadline(s.readBy)
	s.summoned = true
	s.mux.SetReadDeadline(past)
	s.unasked(b)
	return !s.closed.Load()
}

// called reports whether a read from the session ended only for the reader to
// look around.
func (s *Stream) called() bool {
	s.deadlines.Lock()
	defer s.deadlines.Unlock()
	if !s.summoned {
		return false
	}
	return s.dismiss()
}

// dismiss gives the session its deadline back, and reports whether the stream is
// open. It is called with deadlines held.
func (s *Stream) dismiss() bool {
	s.summoned = false
	s.mux.SetReadDeadline(s.readBy)
	if s.closed.Load() {
		s.mux.SetReadDeadline(past)
		return false
	}
	return true
}

// arrived ends an arrival whose last frame has been read.
func (s *Stream) arrived(a *arrival, last bool) {
	b := a.bulk
	s.deadlines.Lock()
	s.dismiss()
	b.tls.SetReadDeadline(time.Time{})
	if last {
		s.last.Store(true)
	}
	s.in.Store(nil)
	s.deadlines.Unlock()
	if b.send(bulkDone, s.id) != nil {
		b.close()
	}
	b.session.bulks.park(b)
	b.lent <- struct{}{}
}

// unasked ends the wait for an answer on b, and reports whether there was one.
func (s *Stream) unasked(b *bulk) bool {
	a := s.asked.Load()
	if a == nil || a.bulk != b || !s.asked.CompareAndSwap(a, nil) {
		return false
	}
	close(a.answered)
	return true
}

// want notes that the edge wants what comes next over b. The next Write does it.
// It reports whether there may be one.
func (s *Stream) want(b *bulk) bool {
	if s.ended.Load() || s.closed.Load() || s.out.Load() != nil {
		return false
	}
	s.wanted.Store(b)
	if s.ended.Load() || s.closed.Load() {
		return !s.wanted.CompareAndSwap(b, nil)
	}
	return true
}

// unwant ends what want began.
func (s *Stream) unwant(b *bulk) error {
	if s.wanted.CompareAndSwap(b, nil) {
		return b.send(bulkNo, s.id)
	}
	if b.stops.Add(1) > maxStops {
		return errors.New("too many orders to stop")
	}
	s.session.group.Go(func() {
		defer b.stops.Add(-1)
		s.goBack(b)
	})
	return nil
}

// write writes to wherever the next bytes go.
func (s *Stream) write(p []byte) (int, error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	switch {
	case s.closed.Load():
		return 0, net.ErrClosed
	case s.rst.Load():
		return 0, ErrReset
	}
	if s.wanted.Load() != nil {
		if b := s.wanted.Swap(nil); b != nil && s.goOver(b) {
			return s.sendOver(b, p, s)
		}
	}
	if b := s.out.Load(); b != nil {
		s.up.over(len(p))
		return s.sendOver(b, p, nil)
	}
	n, err := s.mux.Write(p)
	s.sent += uint64(n)
	if err != nil {
		return n, s.writeError(err)
	}
	if b := s.passed(&s.up, n); b != nil && s.goOver(b) {
		_, err = s.sendOver(b, nil, s)
	}
	return n, err
}

// goOver makes b what the next bytes go over, unless it has ended already. It is
// called with sending held.
func (s *Stream) goOver(b *bulk) bool {
	s.deadlines.Lock()
	s.out.Store(b)
	b.tls.SetWriteDeadline(s.writeBy)
	s.deadlines.Unlock()
	b.sender.Store(s)
	if s.closed.Load() || s.rst.Load() {
		b.close()
	}
	if b.gone() && b.sender.CompareAndSwap(s, nil) {
		s.out.Store(nil) // nothing was sent over it
		return false
	}
	return true
}

// sendOver sends p over b.
func (s *Stream) sendOver(b *bulk, p []byte, start *Stream) (int, error) {
	n, err := b.sendFrames(p, start)
	if err != nil {
		b.close() // TLS sends nothing after half a record
		err = s.bulkError(b, err)
	}
	return n, err
}

// goBack ends the frames that go over b and waits until they have been read, so
// that what follows can go over the session. A Write waits for it.
func (s *Stream) goBack(b *bulk) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.out.Load() != b {
		return nil
	}
	if err := s.finish(b, false); err != nil {
		return err
	}
	s.up.again()
	return nil
}

// finish ends the frames that go over b, and our direction with them if last, and
// returns when the peer has read all.
func (s *Stream) finish(b *bulk, last bool) error {
	if !s.lane.CompareAndSwap(laneOpen, laneEnded) {
		b.close()
		return s.bulkError(b, net.ErrClosed)
	}
	err := b.sendEnd(last)
	if err == nil {
		err = b.awaitDone()
	}
	if err != nil {
		b.close()
		return s.bulkError(b, err)
	}
	if !s.lane.CompareAndSwap(laneEnded, laneOpen) {
		b.close()
		return nil
	}
	s.session.bulks.park(b)
	return nil
}

// cutSending closes the connection that the stream sends over, while it is the
// stream's.
func (s *Stream) cutSending() {
	if s.lane.CompareAndSwap(laneOpen, laneCut) || s.session.edge != nil && s.lane.CompareAndSwap(laneEnded, laneCut) {
		if b := s.out.Load(); b != nil {
			b.close()
		}
	}
}

// left is called when the peer has read all that went over b, before b carries
// anything else.
func (s *Stream) left(b *bulk) {
	s.deadlines.Lock()
	s.out.CompareAndSwap(b, nil)
	s.deadlines.Unlock()
}

// endOver ends our direction where it goes over a bulk connection, and returns
// when the peer has read it all.
func (s *Stream) endOver() error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if b := s.wanted.Swap(nil); b != nil && b.send(bulkNo, s.id) != nil {
		b.close()
	}
	b := s.out.Load()
	if b == nil {
		return nil
	}
	err := s.finish(b, true)
	if err != nil {
		s.Close()
	}
	return err
}

// comeBack brings a stream that rests on b back to its session. Edge only.
func (s *Stream) comeBack(b *bulk) {
	if s.out.Load() == b {
		s.goBack(b)
		return
	}
	b.stop(s) // whoever reads sees the end
}

// Settled reports whether all of the stream is in its session.
func (s *Stream) Settled() bool { return s.settledDown() && s.out.Load() == nil }

func (s *Stream) settledDown() bool { return s.asked.Load() == nil && s.in.Load() == nil }

// Settle brings a stream whose bodies have passed back to its session, so that
// it can be used again. It fails when there is more to read, and when the agent
// takes too long. Nobody may read or write meanwhile. Edge only.
func (s *Stream) Settle() error {
	t := time.AfterFunc(bulkTimeout, s.cutOver)
	defer t.Stop()
	s.ExpectRead(0)
	s.ExpectWrite(0)
	if b := s.out.Load(); b != nil {
		if err := s.goBack(b); err != nil {
			return err
		}
	}
	if a := s.asked.Load(); a != nil {
		a.bulk.stop(s)
		<-a.answered // it may have begun before it read that it was to stop
	} else if a := s.in.Load(); a != nil {
		a.bulk.stop(s)
	}
	a := s.in.Load()
	if a == nil {
		return nil
	}
	if s.taken.Load() != a.offset {
		return errSurplus
	}
	var p [1]byte
	switch n, err := a.read(p[:]); {
	case n > 0:
		return errSurplus
	case err == errFrames:
		s.arrived(a, false)
		return nil
	case err == io.EOF:
		s.arrived(a, true)
		return io.EOF
	default:
		return s.bulkError(a.bulk, err)
	}
}

var errSurplus = errors.New("more came than the body")

// cutOver closes the bulk connections that the stream uses, whose bytes nobody
// wants any more.
func (s *Stream) cutOver() {
	if b := s.wanted.Swap(nil); b != nil {
		b.close()
	}
	if a := s.asked.Load(); a != nil && s.unasked(a.bulk) {
		a.bulk.close()
	}
	s.deadlines.Lock() // it is another's after arrived
	if a := s.in.Load(); a != nil {
		a.bulk.close()
	}
	s.deadlines.Unlock()
	s.cutSending()
}

// cutOut is called when the peer has given the stream up: it takes no more. What
// it sent before ends with the connection that it has closed.
func (s *Stream) cutOut() {
	if b := s.wanted.Swap(nil); b != nil {
		b.close()
	}
	s.cutSending()
}

// bulkError is the error of a stream whose bulk connection has failed: what
// was on its way is lost.
func (s *Stream) bulkError(b *bulk, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !s.closed.Load() {
		return os.ErrDeadlineExceeded
	}
	b.close()
	switch {
	case s.closed.Load():
		return net.ErrClosed
	case s.session.over():
		return s.session.ended()
	}
	return ErrReset
}
