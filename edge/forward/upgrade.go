package forward

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// upgrade copies both ways after a 101 until both directions have ended.
func (x *flight) upgrade(buf []byte, m, n int) {
	c := x.conn
	c.out = c.appendAnswer(c.out[:0], false)
	if err := c.write(nil); err != nil {
		_ = x.up.Close()
		c.end()
		x.rec.End(inspector.Ending{By: "client", Code: tunnel.CodeClientAborted})
		return
	}
	c.end() // no watch: from here on the client's bytes go through
	_ = c.nc.SetReadDeadline(time.Time{})
	c.begin(x.up, x.tunnel, x.rec, x.started)
	c.mu.Lock()
	c.streaming = true
	c.mu.Unlock()

	var in, out *atomic.Int64
	if x.tunnel != nil {
		in, out = &x.tunnel.Counters.BytesIn, &x.tunnel.Counters.BytesOut
	} else {
		in, out = new(atomic.Int64), new(atomic.Int64)
	}
	h := &hangup{}
	done := make(chan struct{})
	x.wg.Go(func() {
		defer close(done)
		ahead := c.buf[c.r:c.w]
		rec := x.rec.RequestBody()
		expectWrite(x.up, -1)
		readErr, writeErr := relay(x.up, c.nc, ahead, func(p []byte) {
			if len(p) == 0 {
				h.end("client")
			}
			in.Add(int64(len(p)))
			_, _ = rec.Write(p)
		})
		if readErr != nil || writeErr != nil {
			h.fail("client", readErr)
			h.fail("service", writeErr)
			_ = x.up.Close()
		}
	})
	rec := x.rec.ResponseBody()
	expectRead(x.up, -1)
	readErr, writeErr := relay(c.nc, x.up, buf[m:n], func(p []byte) {
		if len(p) == 0 {
			h.end("service")
		}
		out.Add(int64(len(p)))
		_, _ = rec.Write(p)
	})
	if readErr != nil || writeErr != nil {
		h.fail("service", readErr)
		h.fail("client", writeErr)
		_ = c.nc.Close()
	}
	<-done
	_ = x.up.Close()
	c.end()
	if closed(x.tunnel) {
		x.rec.End(wasClosed)
		return
	}
	x.rec.End(h.ending())
}

// A hangup is how an upgraded connection ends: by whom it was ended first, and by
// whom it was broken off, if it was. What the other side does then follows from
// that.
type hangup struct {
	mu    sync.Mutex
	first string
	by    string
	err   error
}

// end notes that one side has ended its direction in order.
func (h *hangup) end(who string) {
	h.mu.Lock()
	if h.first == "" {
		h.first = who
	}
	h.mu.Unlock()
}

// fail notes that one side can be read or written no more. Of one that has ended
// its direction and then takes nothing, that was the end and not a failure.
func (h *hangup) fail(who string, err error) {
	h.mu.Lock()
	if err != nil && h.err == nil && h.first != who {
		h.by, h.err = who, err
	}
	h.mu.Unlock()
}

func (h *hangup) ending() inspector.Ending {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.err == nil:
		return inspector.Ending{Detail: "ended by the " + h.first + " (FIN)"}
	case h.by == "client":
		return inspector.Ending{By: "client", Code: tunnel.CodeClientAborted, Detail: h.err.Error()}
	}
	return inspector.Ending{By: "upstream", Code: tunnel.CodeUpstreamAborted, Detail: h.err.Error()}
}
