package forward

import (
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

// TestSlowAnswerIsShown: what has come of an answer is told while the rest of it
// takes its time, over HTTP/1 and HTTP/2.
func TestSlowAnswerIsShown(t *testing.T) {
	for _, path := range []string{"/download", "/events"} {
		for name, h2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
			t.Run(name+path, func(t *testing.T) {
				local, begun := endless(t, false)
				r := start(t, local)
				addr := r.secure(t)
				seen := r.tunnel.Ring.Version()
				c := over2(t, addr, "a.tun.test", h2)
				res, err := c.Get("https://a.tun.test" + path)
				if err != nil {
					t.Fatal(err)
				}
				within(t, "the service has answered", begun)
				waitFor(t, func() bool { // as a watcher does
					xs, _ := r.tunnel.Ring.Since(seen)
					if len(xs) != 1 {
						return false
					}
					seen = xs[0].Version
					return xs[0].State == inspector.Open && xs[0].Status == 200 && xs[0].Response.Body.Size > 0
				})
				_ = res.Body.Close()
				r.last(t) // it ends with its client
			})
		}
	}
}
