package http1

import "strconv"

// AppendRequestLine appends the request line of an HTTP/1.1 request to an origin
// server. Method and target may come from anywhere: it refuses what ParseRequest
// would. HTTP/2 in particular lets both hold spaces, with which a client writes
// a request line of its own.
func AppendRequestLine[M, T []byte | string](dst []byte, method M, target T) ([]byte, error) {
	// The copies are what is looked at: strings need not become slices for it.
	out := append(dst, method...)
	m := out[len(dst):]
	out = append(out, ' ')
	at := len(out)
	out = append(out, target...)
	t := out[at:]
	switch {
	case !token(m):
		return dst, ErrMethod
	case !visible(t):
		return dst, ErrTargetByte
	case len(t) == 0, t[0] != '/' && (string(t) != "*" || string(m) != "OPTIONS"):
		return dst, ErrTarget
	}
	return append(out, " HTTP/1.1\r\n"...), nil
}

// AppendField appends a header or trailer line. Name and value may come from
// anywhere: it refuses what could be taken for more than one line.
func AppendField[N, V []byte | string](dst []byte, name N, value V) ([]byte, error) {
	out := append(dst, name...)
	colon := len(out)
	out = append(out, ": "...)
	out = append(out, value...)
	switch {
	case !token(out[len(dst):colon]):
		return dst, ErrFieldName
	case !plain(out[colon+2:], true):
		return dst, ErrFieldValue
	}
	return append(out, '\r', '\n'), nil
}

// LastChunk ends a chunked body that has no trailers.
const LastChunk = "0\r\n\r\n"

// AppendChunkHeader appends what stands before n bytes of chunk data; CR LF
// follows them. An n of 0 would end the body and appends nothing.
func AppendChunkHeader(dst []byte, n int) []byte {
	if n <= 0 {
		return dst
	}
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the end of a chunked body with its trailer lines,
// each of which ends in CR LF.
func AppendLastChunk(dst, trailer []byte) []byte {
	dst = append(dst, "0\r\n"...)
	dst = append(dst, trailer...)
	return append(dst, '\r', '\n')
}
