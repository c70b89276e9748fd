// Package http1 reads HTTP/1.1 heads in place and follows bodies, for an edge
// that passes messages on byte for byte and must never disagree with the server
// behind it about where one ends.
//
// The same [Request], [Response] and [Body] are used again for every message on
// a connection; then nothing here needs memory. Everything handed out aliases
// the caller's buffer.
//
// # What a client may send
//
// Requests are taken strictly (RFC 9112). Refused with 400 are: a line that
// ends in bare LF, a bare CR or any other control character, a folded line,
// space before a colon, an empty name or one that is not a token, a method that
// is not a token, a target with a space or control character or of no known
// form, a missing, repeated or malformed Host (also beside an absolute target),
// a repeated Content-Length, even with the same number, or one that is not
// plain digits below 2^63, Content-Length together with Transfer-Encoding,
// Transfer-Encoding in HTTP/1.0 or twice, two Upgrade lines, of which the second
// could go unseen, and more than one empty line before the request. A transfer coding other than chunked gets 501, a version other
// than 1.x gets 505, a request line over the limit 414 and a head over it 431.
//
// Taken as they come are: bytes from 0x80 on in values and targets, raw
// | [ ] " < > { } ^ \ and # in targets, which are opaque here, escapes that
// are none, names with underscores, a minor version above 1, HTTP/1.0 without
// Host. Where a target is absolute, its authority is the host (RFC 9112, 3.2.2),
// and only http and https are schemes.
//
// # What a local service may answer
//
// Whatever touches framing is as strict: Content-Length with Transfer-Encoding,
// two lengths that differ, a coding other than chunked, Transfer-Encoding in
// HTTP/1.0. Several equal lengths are one. Sloppiness that is safe is put
// straight: bare LF as line end, folded lines, a status line without reason.
// Such a head is copied, so that its lines are clean when they are passed on,
// and its connection is not used again. Content-Length and Transfer-Encoding in
// 1xx and 204 are dropped. How a body ends follows RFC 9112, 6.3.
//
// # Bodies
//
// [Body] passes on raw bytes, chunk framing included, once it has understood
// them: sizes are 1 to 16 hex digits up to 2^60 with no padding, extensions may
// be there within bounds (4 KiB a chunk, and no more than net/http stands in
// relation to the data), every line ends in CR LF, trailers are at most 16 KiB
// of well-formed lines (RFC 9112, 7.1). Trailers that frame, route,
// authenticate or describe the client are refused (RFC 9110, 6.5.1).
//
// # Lines that end here
//
// Field.Hop marks what RFC 9110, 7.6.1 ends at each hop: Connection and what it
// lists, Keep-Alive, Proxy-Connection, Upgrade, and TE unless it is exactly
// "trailers". Connection cannot drop Host, Content-Length, Transfer-Encoding or
// Expect, since then the next hop would see another message. Proxy-Authenticate
// and Proxy-Authorization pass: the edge is the origin to its clients, and
// these are between them and the local service.
//
// The package is fuzzed against net/http: what it accepts, net/http parses to
// the same message. The known differences are targets that net/url cannot
// parse.
package http1
