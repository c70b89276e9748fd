package http1

// A Response is the head of a response. ParseResponse fills it; its slices
// alias the parsed buffer (or the Response's own memory where a sloppy head had
// to be put straight) until the next parse.
type Response struct {
	Raw    []byte // the head as it came, status line to blank line
	Minor  int
	Status int
	Reason []byte // verbatim, may be empty

	Fields []Field // in order; reused by the next parse

	Framing Framing
	Length  int64 // what Content-Length says, also where no body follows (HEAD, 304); -1 without

	Close bool // the local service ends the connection after this response
	// KeepAlive is how many seconds the service keeps the idle connection
	// (Keep-Alive: timeout=N), 0 when it does not say.
	KeepAlive   int
	Upgrade     []byte // value of Upgrade in a 101, else nil
	EventStream bool   // Content-Type is text/event-stream
	// Pinned is set when WWW-Authenticate offers NTLM or Negotiate.
	Pinned bool

	scan  scan
	fixed []byte
}

// Interim reports whether another response follows this one to the same
// request: every 1xx but 101.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }
