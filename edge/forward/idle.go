package forward

import "github.com/lrok-dev/lrok/edge/http1"

// An idle connection has no buffer: one of 16 KiB each is what thousands of
// clients that do nothing would cost most. On plain TCP the wait is for the
// first bytes to be there, which are then read into a buffer from the pool, with
// as many system calls as a read that waits. Elsewhere, with TLS above all, a
// small buffer takes the first bytes.

// firstSize holds the head of most requests.
const firstSize = 2 << 10

// await waits for the first bytes of a request and reads them to the beginning
// of c.buf, which is there if n > 0.
func (c *conn) await() (n int, err error) {
	c.release()
	if c.raw != nil {
		return c.awaitRaw()
	}
	if c.small == nil {
		c.small = make([]byte, firstSize)
	}
	n, err = c.nc.Read(c.small)
	if n > 0 {
		c.acquire(readBufs.Get().(*[]byte))
		copy(c.buf, c.small[:n])
	}
	return n, err
}

func (c *conn) acquire(pooled *[]byte) { c.pooled, c.buf = pooled, *pooled }

// release gives the buffer back, with all that was read into it. What was parsed
// is forgotten as well: it would keep alive the buffers that it lies in, also
// where these serve others by now.
func (c *conn) release() {
	request, response := c.req.Fields, c.resp.Fields
	clear(request[:cap(request)])
	clear(response[:cap(response)])
	c.req, c.resp = http1.Request{Fields: request[:0]}, http1.Response{Fields: response[:0]}
	if c.pooled != nil {
		readBufs.Put(c.pooled)
	}
	c.pooled, c.buf = nil, nil
}
