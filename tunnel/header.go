package tunnel

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Each stream but the control stream starts with a header:
//
//	2 bytes   length of what follows, big-endian
//	1 byte    kind
//	1 byte    length of the name, then the tunnel's name
//	1 byte    length of the address, then the public client's address
//	          more, which a reader that does not know it skips
//
// The opener sends it with its first bytes, so opening costs no round trip.
const (
	kindHTTP  byte = 1
	kindTCP   byte = 2
	kindTLS   byte = 3
	kindProbe byte = 4
	kindAPI   byte = 5
)

// maxHeader is the longest header a reader takes.
const maxHeader = 1 << 10

type header struct {
	kind byte
	peer Peer
}

func kindByte(k Kind) byte {
	switch k {
	case TCP:
		return kindTCP
	case TLS:
		return kindTLS
	default:
		return kindHTTP
	}
}

func kindOf(b byte) Kind {
	switch b {
	case kindHTTP:
		return HTTP
	case kindTCP:
		return TCP
	case kindTLS:
		return TLS
	default:
		return ""
	}
}

func appendHeader(b []byte, h header) []byte {
	name, addr := short(h.peer.Tunnel), short(h.peer.Addr)
	b = binary.BigEndian.AppendUint16(b, uint16(3+len(name)+len(addr)))
	b = append(b, h.kind, byte(len(name)))
	b = append(b, name...)
	b = append(b, byte(len(addr)))
	return append(b, addr...)
}

// short cuts a text whose length must fit a byte. Names and addresses do.
func short(s string) string { return s[:min(len(s), 255)] }

func readHeader(r io.Reader) (header, error) {
	var h header
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return h, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < 3 || n > maxHeader {
		return h, fmt.Errorf("stream header of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return h, noEOF(err)
	}
	h.kind, b = b[0], b[1:]
	var ok bool
	if h.peer.Tunnel, b, ok = cutText(b); !ok {
		return h, fmt.Errorf("stream header: the name is cut")
	}
	if h.peer.Addr, _, ok = cutText(b); !ok {
		return h, fmt.Errorf("stream header: the address is cut")
	}
	h.peer.Kind = kindOf(h.kind)
	return h, nil
}

func cutText(b []byte) (text string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}

// The agent answers the header of a stream with a status before anything else:
//
//	1 byte    0 when the local service is connected, else what went wrong
//	4 bytes   how long that took, in microseconds, big-endian
//	2 bytes   length of the message, big-endian, then the message
//
// After a status other than 0 the stream carries nothing more.
const (
	statusOK       byte = 0
	statusRefused  byte = 1 // dial failed
	statusTimeout  byte = 2 // dial took too long
	statusNotFound byte = 3 // no such tunnel at this agent
	statusInternal byte = 4
)

const (
	statusSize = 7
	// maxMessage is the longest message of a status.
	maxMessage = 1 << 10
)

type status struct {
	code    byte
	took    time.Duration
	message string
}

func appendStatus(b []byte, s status) []byte {
	m := s.message[:min(len(s.message), maxMessage)]
	micros := min(max(s.took.Microseconds(), 0), 1<<32-1)
	b = append(b, s.code)
	b = binary.BigEndian.AppendUint32(b, uint32(micros))
	b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
	return append(b, m...)
}

// parseStatus returns how many bytes more it needs, 0 when s is whole.
func parseStatus(b []byte) (s status, more int, err error) {
	if len(b) < statusSize {
		return s, statusSize - len(b), nil
	}
	n := int(binary.BigEndian.Uint16(b[5:]))
	if n > maxMessage {
		return s, 0, fmt.Errorf("status with a message of %d bytes", n)
	}
	if len(b) < statusSize+n {
		return s, statusSize + n - len(b), nil
	}
	s.code = b[0]
	s.took = time.Duration(binary.BigEndian.Uint32(b[1:])) * time.Microsecond
	s.message = string(b[statusSize : statusSize+n])
	return s, 0, nil
}

func (s status) err() error {
	switch s.code {
	case statusOK:
		return nil
	case statusRefused:
		return &Error{Code: CodeUpstreamRefused, Message: s.message}
	case statusTimeout:
		return &Error{Code: CodeUpstreamTimeout, Message: s.message}
	case statusNotFound:
		return &Error{Code: CodeTunnelNotFound, Message: s.message}
	default:
		return &Error{Code: CodeInternal, Message: s.message}
	}
}

func statusFor(e *Error, took time.Duration) status {
	s := status{code: statusInternal, took: took, message: e.Message}
	switch e.Code {
	case CodeUpstreamRefused:
		s.code = statusRefused
	case CodeUpstreamTimeout:
		s.code = statusTimeout
	case CodeTunnelNotFound:
		s.code = statusNotFound
	}
	return s
}
