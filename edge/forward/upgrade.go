package forward

import (
	"errors"
	"io"
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
	c.begin(x.up, x.started)
	c.mu.Lock()
	c.streaming = true
	c.mu.Unlock()

	var clientErr, upErr error
	done := make(chan struct{})
	x.wg.Go(func() {
		defer close(done)
		ahead := c.buf[c.r:c.w]
		clientErr = x.relay(x.up, c.nc, ahead, x.rec.RequestBody())
		if clientErr != nil {
			_ = x.up.Close()
		}
	})
	upErr = x.relay(c.nc, x.up, buf[m:n], x.rec.ResponseBody())
	if upErr != nil {
		_ = c.nc.Close()
	}
	<-done
	_ = x.up.Close()
	c.end()
	end := inspector.Ending{}
	switch {
	case clientErr != nil:
		end = inspector.Ending{By: "client", Code: tunnel.CodeClientAborted, Detail: clientErr.Error()}
	case upErr != nil:
		end = inspector.Ending{By: "upstream", Code: tunnel.CodeUpstreamAborted, Detail: upErr.Error()}
	}
	x.rec.End(end)
}

// relay copies ahead and then src to dst, each piece at once, and passes the
// end on.
func (x *flight) relay(dst io.Writer, src io.Reader, ahead []byte, rec *inspector.BodyRecord) error {
	if len(ahead) > 0 {
		_, _ = rec.Write(ahead)
		if _, err := dst.Write(ahead); err != nil {
			return err
		}
	}
	buf := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(buf)
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			_, _ = rec.Write((*buf)[:n])
			if _, err := dst.Write((*buf)[:n]); err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			if cw, ok := dst.(interface{ CloseWrite() error }); ok {
				return cw.CloseWrite()
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}
