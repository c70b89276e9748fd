package forward

import (
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

// bulkSize is the buffer of a body that has a connection of its own.
const bulkSize = 256 << 10

var bulkBufs = sync.Pool{New: func() any { b := make([]byte, bulkSize); return &b }}

// giveBuf gives a buffer back to the pool it is from.
func giveBuf(b *[]byte) {
	if len(*b) == bulkSize {
		bulkBufs.Put(b)
	} else {
		copyBufs.Put(b)
	}
}

// A bulkConn is a stream that can move what is much over a connection of its own.
type bulkConn interface {
	ExpectRead(n int64)
	ExpectWrite(n int64)
	Settled() bool
	Settle() error
}

func expectRead(up tunnel.Conn, n int64) {
	if b, ok := up.(bulkConn); ok {
		b.ExpectRead(n)
	}
}

func expectWrite(up tunnel.Conn, n int64) {
	if b, ok := up.(bulkConn); ok {
		b.ExpectWrite(n)
	}
}

func settled(up any) bool {
	b, ok := up.(bulkConn)
	return !ok || b.Settled()
}

// lengthOf is the whole length of a body that is being read, -1 when it is not
// known.
func lengthOf(b *http1.Body) int64 {
	if left := b.Left(); left >= 0 {
		return b.Size() + left
	}
	return -1
}

// release gives a stream whose exchange is over back to its tunnel, or closes it.
// One that has a connection of its own first leaves it to others.
func (f *Forwarder) release(up tunnel.Conn, t *registry.Tunnel, keep bool, keepAlive time.Duration) {
	done := func() {
		if keep {
			t.Pool.Put(up, time.Now(), keepAlive)
		} else {
			_ = up.Close()
		}
	}
	if settled(up) {
		done()
		return
	}
	f.wg.Go(func() {
		keep = up.(bulkConn).Settle() == nil && keep
		done()
	})
}
