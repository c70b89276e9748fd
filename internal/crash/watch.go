package crash

import (
	"os"
	"sync"
)

// A process that is killed, that runs out of memory or that panics where no
// [Guard] is, in a goroutine of a library, cannot put its terminal right. So
// another process of the same program waits for its end: it is told when the
// terminal is drawn on, over a pipe that is also where the runtime writes its last
// words, and that ends with the process in any case.

// What the watcher is told. Nothing else on the pipe begins with these bytes: the
// rest is text.
const (
	drawing = 1 + iota
	away
	ended
)

// watching is the pipe to the watcher.
var watching struct {
	sync.Mutex
	pipe *os.File // nil without a watcher
}

// Drawing says whether the terminal is drawn on from now on, which is what the
// watcher takes back when this process is gone.
func Drawing(on bool) {
	word := byte(away)
	if on {
		word = drawing
	}
	watching.Lock()
	defer watching.Unlock()
	if watching.pipe != nil {
		_, _ = watching.pipe.Write([]byte{word})
	}
}
