package tunnel

import (
	"net"
	"sync"
	"sync/atomic"
)

const (
	wireSmall = 4 << 10   // reads of at most this many bytes are a quiet link's
	wireLarge = 128 << 10 // read buffer of a busy one, and the most a flush gathers
)

// A wire is the connection below TLS. It merges the records of one flush into
// one system call and, while there is much to read, reads it with one. A quiet
// wire has no buffer of its own: TLS has one.
type wire struct {
	net.Conn

	buf   []byte // nil on a quiet wire; bytes r to w are read and not yet taken
	r, w  int
	small int // reads in a row that did not need buf

	// greeting is true until the first uncork: a Read first sends what was
	// written, so that each flight of the handshake is one call.
	greeting atomic.Bool

	mu     sync.Mutex
	corked bool // keep what is written
	out    []byte
}

// A block is a pooled buffer; its slack holds the record headers of a flush.
type block [wireLarge + 4<<10]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

func takeBlock() []byte { return blocks.Get().(*block)[:0] }

// giveBlock takes back what takeBlock gave, whatever its length is now.
func giveBlock(b []byte) { blocks.Put((*block)(b[:cap(b)])) }

func newWire(conn net.Conn) *wire {
	limitUnsent(conn, unsentFast)
	w := &wire{Conn: conn, corked: true}
	w.greeting.Store(true)
	return w
}

// Read is called by one goroutine at a time, which TLS sees to.
func (c *wire) Read(p []byte) (int, error) {
	// Later a Read must not touch mu: a flush holds it for as long as the other
	// side does not read, which may be until we do.
	if c.greeting.Load() {
		c.mu.Lock()
		err := c.flush()
		c.mu.Unlock()
		if err != nil {
			return 0, err
		}
	}
	if c.r == c.w && c.buf != nil && c.small >= 8 {
		// A few in a row, because traffic comes in bursts; an idle link gets
		// there with its pings.
		giveBlock(c.buf)
		c.buf = nil
	}
	if c.buf == nil {
		n, err := c.Conn.Read(p)
		if n == len(p) && !c.greeting.Load() {
			c.buf, c.r, c.w, c.small = takeBlock()[:wireLarge], 0, 0, 0
		}
		return n, err
	}
	if c.r == c.w {
		n, err := c.Conn.Read(c.buf)
		if n <= 0 {
			return 0, err
		}
		if c.r, c.w = 0, n; n <= wireSmall {
			c.small++
		} else {
			c.small = 0
		}
	}
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	return n, nil
}

func (c *wire) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.corked {
		return c.Conn.Write(p)
	}
	if len(c.out)+len(p) > wireLarge {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if c.out == nil {
		c.out = takeBlock()
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

// cork starts a flush: what TLS writes is kept until uncork. TLS itself may
// write at other times (a key update, an alert), which then goes out at once.
func (c *wire) cork() {
	c.mu.Lock()
	c.corked = true
	c.mu.Unlock()
}

func (c *wire) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked = false
	c.greeting.Store(false)
	return c.flush()
}

// flush is called with mu held.
func (c *wire) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.out)
	giveBlock(c.out)
	c.out = nil
	return err
}

// Close does not wait for a Write that hangs: closing the connection ends it.
func (c *wire) Close() error {
	if c.mu.TryLock() {
		if c.greeting.Load() {
			// The alert of a handshake that failed.
			c.flush()
		}
		c.mu.Unlock()
	}
	return c.Conn.Close()
}
