package forward

import (
	"cmp"
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
	c.begin(x.up, x.tunnel, x.started)
	c.mu.Lock()
	c.streaming = true
	c.mu.Unlock()

	var in, out *atomic.Int64
	if x.tunnel != nil {
		in, out = &x.tunnel.Counters.BytesIn, &x.tunnel.Counters.BytesOut
	} else {
		in, out = new(atomic.Int64), new(atomic.Int64)
	}
	var clientErr, upErr error
	done := make(chan struct{})
	x.wg.Go(func() {
		defer close(done)
		ahead := c.buf[c.r:c.w]
		rec := x.rec.RequestBody()
		expectWrite(x.up, -1)
		clientErr = cmp.Or(relay(x.up, c.nc, ahead, func(p []byte) {
			in.Add(int64(len(p)))
			_, _ = rec.Write(p)
		}))
		if clientErr != nil {
			_ = x.up.Close()
		}
	})
	rec := x.rec.ResponseBody()
	expectRead(x.up, -1)
	upErr = cmp.Or(relay(c.nc, x.up, buf[m:n], func(p []byte) {
		out.Add(int64(len(p)))
		_, _ = rec.Write(p)
	}))
	if upErr != nil {
		_ = c.nc.Close()
	}
	<-done
	_ = x.up.Close()
	c.end()
	end := inspector.Ending{}
	switch {
	case closed(x.tunnel):
		end = wasClosed
	case clientErr != nil:
		end = inspector.Ending{By: "client", Code: tunnel.CodeClientAborted, Detail: clientErr.Error()}
	case upErr != nil:
		end = inspector.Ending{By: "upstream", Code: tunnel.CodeUpstreamAborted, Detail: upErr.Error()}
	}
	x.rec.End(end)
}
