package export

import "github.com/lrok-dev/lrok/inspector"

// Go writes the request of x as a Go program of one file that needs nothing but
// the standard library.
func Go(x *inspector.Exchange, o Options) string { return "" }
