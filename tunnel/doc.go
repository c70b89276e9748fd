// Package tunnel is the protocol between an agent and an edge: both halves of
// it, the nouns they share, and the rules for names. docs/protocol.md tells the
// same to somebody who writes another agent.
//
// # Flow
//
//	agent                                         edge
//	  | -- TCP, TLS 1.3, ALPN "lrok/1" ------------> |
//	  | -- first byte, Hello (with the last flight)-> |  5 s, at most 4 KiB
//	  | <- Welcome: grants, or an Error -------------- |
//	  |            yamux from here on                 |
//	  | == stream 1, opened by the agent: control === |
//	  | <= probe stream, answered by the agent ====== |
//	  | <- live ------------------------------------- |
//	  | <= a stream for each request or connection == |
//	  | => api streams, eight at most =============== |
//
// # First frame
//
//	1 byte    kind of the connection: 1, a session
//	4 bytes   length of the hello, big-endian
//	          Hello, as JSON
//
// The answer has no first byte: four bytes of length and a Welcome as JSON, at
// most 64 KiB. With an error in it, the edge closes. Kind 2 is a bulk connection,
// see bulk.go; an edge answers a kind that it does not know with CodeUnsupported.
//
// Both sides speak the lower of the two versions that they have said.
//
// # Session
//
// After the welcome the connection carries yamux; the agent is its client. Its
// keepalive is off, a yamux ping ends the session. The window of a stream grows
// to 1 MiB, more for few on a long link, less for hundreds. Nobody acknowledges a stream late: the edge has at most 256 on
// the way.
//
// The agent opens the control stream first. Messages on it are four bytes of
// length, big-endian, and JSON (see control.go). Each side sends a ping every
// 10 seconds and answers the other's; any byte counts as life, and a link that
// was silent for 19 seconds is dead.
//
// # Streams
//
// Every other stream starts with a header that names its kind and, from the
// edge, the tunnel and the public client (see header.go). The opener sends it
// together with its first bytes. On a stream of the edge the agent answers with
// a status before anything else: connected, and how long the dial took, or what
// went wrong. The bytes in both directions are the local service's.
//
// A stream of kind HTTP may carry one request after the other. One of kind TCP or
// TLS is one public connection, TLS still closed: with a claim's ProxyProtocol its
// first bytes are a PROXY protocol header that the edge writes.
//
// A stream of kind probe gets its status without the local service being
// touched. A tunnel is live once one came back.
//
// The end of a direction is FIN; the other direction goes on for as long as
// somebody wants. Giving up is RST. A receiver of RST still delivers what
// arrived before it, then an error: a transfer that was cut never looks like one
// that ended.
//
// # Bulk
//
// A direction of a stream that moves much goes on over a further connection of
// the session, without yamux, and comes back after it. The edge asks for such a
// connection with a one-time token on the control stream, keeps those that nobody
// uses for a while, and begins every transfer. A start says after how many bytes
// of the session its frames come; nothing follows in the session before the
// reader has said done. Detour.go moves the streams, bulk.go has the connections.
//
// # How it moves bytes
//
// yamux opens and ends streams. Their bytes go past it: a Write puts its frame
// into the queue of the link, which gathers what is ready into one flush above
// TLS, and a wire the records of a flush into one system call below. A flush
// never waits for more with a timer. While frames come one at a time, whoever
// writes one flushes it. Those that find the queue full are let in in turn, the
// ones of streams that sent little lately first.
//
// The link's reader looks at each header and hands bytes to the Read that waits
// for them. That gives what yamux does not have: resets, ends that can be
// trusted, counts, and limits for a hostile peer.
package tunnel
