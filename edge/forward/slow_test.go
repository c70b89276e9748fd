package forward

import (
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

// TestSlowAnswerIsShown: what has come of an answer is told while the rest of it
// takes its time, over HTTP/1 and HTTP/2.
func TestSlowAnswerIsShown(t *testing.T) {
	for _, test := range []struct {
		path   string
		events uint64 // the request, the head of a stream, what came of the body
	}{{"/download", 2}, {"/events", 3}} {
		for name, h2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
			t.Run(name+test.path, func(t *testing.T) {
				local, begun := endless(t, false)
				r := start(t, local)
				addr := r.secure(t)
				before := r.tunnel.Ring.Version()
				c := over2(t, addr, "a.tun.test", h2)
				res, err := c.Get("https://a.tun.test" + test.path)
				if err != nil {
					t.Fatal(err)
				}
				within(t, "the service has answered", begun)
				waitFor(t, func() bool { return r.tunnel.Ring.Version() >= before+test.events })
				x := r.tunnel.Ring.List(1, 0)[0]
				if x.State != inspector.Open || x.Status != 200 || x.Response.Body.Size == 0 {
					t.Errorf("exchange = %+v, want one that is open and has a status and a part of the body", x)
				}
				_ = res.Body.Close()
				r.last(t) // it ends with its client
			})
		}
	}
}
