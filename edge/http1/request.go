package http1

// A TargetForm is one of the four shapes of a request target (RFC 9112, 3.2).
type TargetForm uint8

const (
	Origin    TargetForm = iota // /path?query
	Absolute                    // http://host/path?query
	Authority                   // host:port, with CONNECT only
	Asterisk                    // *, with OPTIONS only
)

// A Request is the head of a request. ParseRequest fills it; its slices alias
// the parsed buffer. A Request is used again for the next head, and then costs
// no memory.
type Request struct {
	Raw    []byte // the head as it came, request line to blank line
	Method []byte
	Target []byte // byte for byte
	Minor  int    // of the version: 0 or 1, or more for a client from the future

	Fields []Field // in order; reused by the next parse

	Form   TargetForm
	Scheme []byte // of an absolute target, as it came
	// Path is the target to send to an origin server: Target itself, or the part
	// of an absolute target after the authority ("/" when empty, "*" for
	// OPTIONS). It is nil with CONNECT.
	Path []byte

	// Host is whom the request is for: the authority of an absolute target, else
	// the Host field; with port, as it came, and not yet canonical (see
	// AppendHost). It is empty only for HTTP/1.0 without Host.
	Host []byte
	// HostField is the Host line's value. When Form is Absolute it may differ
	// from Host; what is passed on must then say Host (RFC 9112, 3.2.2).
	HostField []byte

	Framing Framing
	Length  int64 // of a Fixed body; 0 for None, -1 for Chunked

	Close     bool   // the client wants no further exchange on this connection
	Expect100 bool   // the client waits for 100 Continue before it sends the body
	Trailers  bool   // TE says that the client accepts trailers
	Upgrade   []byte // value of Upgrade when Connection lists it, else nil
	// Pinned is set when Authorization speaks NTLM or Negotiate, which
	// authenticate a connection and not a request.
	Pinned bool

	scan scan
	path []byte
}
