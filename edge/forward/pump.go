package forward

import (
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/tunnel"
)

// A pump copies the body of an HTTP/2 request to the local service. The head
// leaves together with the first piece of the body if that is there already, and
// does not wait for it.
type pump struct {
	x       *request
	up      tunnel.Conn
	head    []byte
	taken   atomic.Bool   // somebody sends the head
	sent    chan struct{} // closed when begin has sent it
	arrived atomic.Bool   // the last byte has come and is about to be sent
	done    chan struct{} // closed when the pump has ended
	err     error         // why it ended early, to read after done
}

func newPump(x *request, up tunnel.Conn, head []byte) *pump {
	return &pump{x: x, up: up, head: head, sent: make(chan struct{}), done: make(chan struct{})}
}

// begin starts the pump. When it returns the head has been sent, or the pump
// sends it.
func (p *pump) begin() (err error) {
	head := p.head // the pump's from now on
	go func() {
		defer close(p.done)
		if p.err = p.run(); p.err != nil {
			p.x.rec.RequestBody().Cut()
		}
	}()
	runtime.Gosched() // clients send the first piece right behind the head
	if p.taken.CompareAndSwap(false, true) {
		_, err = p.up.Write(head)
		close(p.sent)
	}
	return err
}

// arriving reports whether the body is still being passed on. As with
// [flight.arriving], its last write may be done before the pump knows.
func (p *pump) arriving() bool {
	if p == nil || isClosed(p.done) {
		return false
	}
	if !p.arrived.Load() {
		return true
	}
	t := time.NewTimer(lastWrite)
	defer t.Stop()
	select {
	case <-p.done:
		return false
	case <-t.C:
		return true
	}
}

// chunkRoom is what a chunk's size takes at most.
const chunkRoom = 8

func (p *pump) run() error {
	x := p.x
	pooled := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(pooled)
	buf := *pooled
	left := x.r.ContentLength // below zero: chunked
	expectWrite(p.up, left)
	x.rec.RequestBody().Expect(left)
	for {
		n, err := x.r.Body.Read(buf[chunkRoom : len(buf)-2])
		if n > 0 {
			piece := buf[chunkRoom : chunkRoom+n]
			_, _ = x.rec.RequestBody().Write(piece)
			x.count(&x.tunnel.Counters.BytesIn, n)
			if left < 0 {
				piece = chunk(buf, n)
			} else if left -= int64(n); left == 0 {
				p.arrived.Store(true)
			}
			if err := p.send(piece); err != nil {
				return err
			}
			if left == 0 { // net/http takes no byte more
				return nil
			}
			x.moved()
		}
		if errors.Is(err, io.EOF) && left < 0 {
			last, err := p.lastChunk()
			if err != nil {
				return err
			}
			p.arrived.Store(true)
			return p.send(last)
		}
		if err != nil {
			_ = p.up.Close()
			return err
		}
	}
}

// chunk makes a chunk of the n bytes from chunkRoom on.
func chunk(buf []byte, n int) []byte {
	var size [chunkRoom]byte
	head := http1.AppendChunkHeader(size[:0], n)
	from := chunkRoom - len(head)
	copy(buf[from:], head)
	copy(buf[chunkRoom+n:], "\r\n")
	return buf[from : chunkRoom+n+2]
}

// lastChunk ends a chunked body, with its trailers.
func (p *pump) lastChunk() ([]byte, error) {
	var trailer []byte
	fields := headerFields(p.x.r.Trailer)
	for _, f := range fields {
		if !http1.KindOf(f.Name).Trails() {
			continue
		}
		var err error
		if trailer, err = http1.AppendField(trailer, f.Name, f.Value); err != nil {
			return nil, err
		}
	}
	p.x.rec.Trailers(fields, nil)
	return http1.AppendLastChunk(nil, trailer), nil
}

// send passes a piece on, behind the head.
func (p *pump) send(piece []byte) error {
	if head := p.head; head != nil {
		p.head = nil
		switch {
		case !p.taken.CompareAndSwap(false, true):
			<-p.sent
		case len(head)+len(piece) <= cap(head):
			piece = append(head, piece...)
		default:
			if _, err := p.up.Write(head); err != nil {
				return err
			}
		}
	}
	_, err := p.up.Write(piece)
	return err
}
