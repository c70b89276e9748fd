package inspector

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
)

// grpcCodes are the names of the codes with which a call ends.
var grpcCodes = [...]string{
	"ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
	"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range",
	"unimplemented", "internal", "unavailable", "data_loss", "unauthenticated",
}

// GRPCCodes lists the names of the codes with which a gRPC call ends, by number.
func GRPCCodes() []string { return grpcCodes[:] }

// A GRPCStatus is how a gRPC call ended.
type GRPCStatus struct {
	Code    int
	Message string // from outside: not safe on a terminal
}

// Name is the code in letters, as "not_found"; a number where it has no name.
func (s GRPCStatus) Name() string {
	if s.Code >= 0 && s.Code < len(grpcCodes) {
		return grpcCodes[s.Code]
	}
	return strconv.Itoa(s.Code)
}

// String is the status in words, as "not found: no such user".
func (s GRPCStatus) String() string {
	name := strings.ReplaceAll(s.Name(), "_", " ")
	if s.Code < 0 || s.Code >= len(grpcCodes) {
		name = "code " + name
	}
	if s.Message != "" {
		name += ": " + s.Message
	}
	return name
}

// IsGRPC reports whether x is a call of gRPC or gRPC-Web.
func (x *Exchange) IsGRPC() bool {
	return x.Kind == GRPC || x.Kind == HTTP && (x.IsGRPCWeb() || isGRPC(x.Request.Get("Content-Type")))
}

// IsGRPCWeb reports whether x is a call of gRPC-Web, which has its trailers in the
// body.
func (x *Exchange) IsGRPCWeb() bool {
	return x.Kind == HTTP && (isGRPCWeb(x.Request.Get("Content-Type")) || isGRPCWeb(x.Response.Get("Content-Type")))
}

func isGRPC(contentType string) bool {
	const media = "application/grpc"
	return len(contentType) >= len(media) && strings.EqualFold(contentType[:len(media)], media)
}

func isGRPCWeb(contentType string) bool {
	const media = "application/grpc-web"
	return len(contentType) >= len(media) && strings.EqualFold(contentType[:len(media)], media)
}

// GRPC returns how a gRPC call ended. Not ok means that x is none, or that nothing
// says how: it goes on, it was cut short, or its trailers were not captured.
func (x *Exchange) GRPC() (s GRPCStatus, ok bool) {
	if x.Status == 0 || x.Kind != GRPC && x.Kind != HTTP {
		return s, false
	}
	// Without messages the trailers are the header.
	for _, list := range [...][]Field{x.Response.Trailer, x.Response.Header} {
		code, found := grpcField(list, "grpc-status")
		if !found {
			continue
		}
		n, err := strconv.Atoi(code)
		if err != nil || n < 0 || x.Kind != GRPC && !isGRPC(x.Response.Get("Content-Type")) {
			return s, false
		}
		message, _ := grpcField(list, "grpc-message")
		return GRPCStatus{n, unescapeGRPC(message)}, true
	}
	return s, false
}

func grpcField(list []Field, name string) (value string, ok bool) {
	for i := range list {
		if f := &list[i]; len(f.Name) == len(name) && strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// unescapeGRPC undoes the percent-encoding of grpc-message. What is none stays, as
// the specification asks.
func unescapeGRPC(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(c))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return strings.ToValidUTF8(string(out), "\ufffd")
}

// Erred reports whether x went wrong: it failed, the status is 5xx, or a gRPC call
// ended with another code than ok.
func (x *Exchange) Erred() bool {
	if x.Status >= 500 || x.Failed() {
		return true
	}
	s, ok := x.GRPC()
	return ok && s.Code != 0
}

// maxTrailer bounds the trailers of gRPC-Web that are looked for.
const maxTrailer = 16 << 10

// webTrailer returns the trailers at the end of a gRPC-Web body, nil if there are
// none or the body is not whole.
func webTrailer(contentType string, body []byte) []Field {
	const text = "application/grpc-web-text"
	if len(contentType) >= len(text) && strings.EqualFold(contentType[:len(text)], text) {
		body, _ = GRPCWebText(body)
	}
	for len(body) >= 5 {
		flags, size := body[0], binary.BigEndian.Uint32(body[1:])
		if int64(size) > int64(len(body)-5) {
			return nil
		}
		n := int(size)
		if flags&0x80 != 0 {
			if flags&1 != 0 || n > maxTrailer {
				return nil
			}
			return fields("\n" + string(body[5:5+n]))
		}
		body = body[5+n:]
	}
	return nil
}

// GRPCWebText decodes a body in the text form of gRPC-Web: pieces of base64, each of
// which may be padded. It returns how many bytes at the end are none.
func GRPCWebText(data []byte) (out []byte, rest int) {
	data = bytes.TrimRight(data, " \r\n")
	out = make([]byte, 0, len(data)/4*3)
	for len(data) >= 4 {
		n := len(data)
		if i := bytes.IndexByte(data, '='); i >= 0 {
			n = min(i&^3+4, n)
		}
		n &^= 3
		k := len(out)
		got, err := base64.StdEncoding.Decode(out[k:cap(out)], data[:n])
		if out = out[:k+got]; err != nil {
			return out, len(data) - got/3*4
		}
		data = data[n:]
	}
	return out, len(data)
}
