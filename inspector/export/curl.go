package export

import "github.com/lrok-dev/lrok/inspector"

// Curl writes the request of x as a command for a POSIX shell. It sends the
// captured method, target, header lines in their order, and body, byte for byte;
// what curl would add by itself is turned off.
func Curl(x *inspector.Exchange, o Options) string { return "" }
