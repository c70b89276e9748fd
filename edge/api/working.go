package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// lookAgain is how often the key of a call that lasts is looked at.
const lookAgain = time.Second

var errEnded = &tunnel.Error{
	Code:    tunnel.CodeKey,
	Message: "the key was revoked or has expired",
	Hint:    "log in with another: lrok login",
}

var past = time.Unix(1, 0)

// whileWorking returns a context for a call that lasts. When the caller's key is
// revoked or expires it ends, with the refusal as its cause, and what is still
// being written to the caller fails. The caller calls stop before it returns.
func (a *api) whileWorking(w http.ResponseWriter, r *http.Request, c call) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(lookAgain)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			switch {
			case ctx.Err() == nil:
				if !a.cfg.Store.Working(c.key.ID) {
					cancel(errEnded)
				}
			case context.Cause(ctx) == error(errEnded):
				// The handler has not heard it: a caller who does not read keeps a
				// write waiting. It is said at each look, since a deadline that
				// was just being set may come after this one.
				_ = http.NewResponseController(w).SetWriteDeadline(past)
			}
		}
	})
	return ctx, func() {
		close(done)
		wg.Wait()
		cancel(nil)
	}
}
