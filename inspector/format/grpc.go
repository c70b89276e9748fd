package format

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
)

// A GRPCMessage is one message of a gRPC body, which has a length before it.
type GRPCMessage struct {
	Offset  int64  // of its first byte among what its side sent
	Size    int64  // on the wire, as its head says
	Packed  bool   // it came compressed
	Trailer bool   // it holds the trailers of gRPC-Web, as header lines
	Cut     bool   // Data is only its beginning
	Data    []byte // decompressed
	Err     error  // why Data is less than the message, or none of it
}

// A GRPCBody is what one side of a call said.
type GRPCBody struct {
	Messages []GRPCMessage // at most [MaxFrames]
	JSON     bool          // they are JSON and not protocol buffers
	Rest     int           // how many bytes at the end are no message
	Err      error         // why they are not
}

// errGRPCFlags is what stands before a body that is no gRPC, mostly.
var errGRPCFlags = errors.New("what should begin a message begins none of gRPC's")

// GRPC splits a body whose Content-Type is gRPC's or gRPC-Web's and decompresses
// the messages that came compressed as the coding says, the value of Grpc-Encoding;
// up to most bytes in all, 0 means [DefaultLimit].
func GRPC(contentType, coding string, data []byte, most int64) GRPCBody {
	if most <= 0 {
		most = DefaultLimit
	}
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	media = strings.TrimSpace(media)
	b := GRPCBody{JSON: strings.HasSuffix(media, "+json")}
	web := strings.HasPrefix(media, "application/grpc-web")
	if strings.HasPrefix(media, "application/grpc-web-text") {
		var rest int
		if data, rest = inspector.GRPCWebText(data); rest > 0 {
			b.Rest, b.Err = rest, errors.New("not base64")
		}
	}
	at := int64(0)
	for len(data) > 0 {
		flags := data[0]
		if flags&^0x81 != 0 || flags&0x80 != 0 && !web {
			b.Rest, b.Err = len(data), errGRPCFlags
			return b
		}
		if len(data) < 5 || len(b.Messages) == MaxFrames {
			b.Rest = len(data)
			if b.Err = errors.New("not the whole of a message's length"); len(data) >= 5 {
				b.Err = errors.New("more than " + Count(MaxFrames) + " messages")
			}
			return b
		}
		f := GRPCMessage{Offset: at, Size: int64(binary.BigEndian.Uint32(data[1:])), Packed: flags&1 != 0, Trailer: flags&0x80 != 0}
		n := int(min(f.Size, int64(len(data)-5)))
		f.Data = data[5 : 5+n : 5+n]
		if f.Cut = int64(n) < f.Size; f.Cut {
			f.Err = fmt.Errorf("the first %s of %s", Bytes(int64(n)), Bytes(f.Size))
		}
		if f.Packed {
			f.unpack(coding, most)
			most -= int64(len(f.Data))
		}
		b.Messages = append(b.Messages, f)
		data = data[5+n:]
		at += int64(5 + n)
	}
	return b
}

// unpack decompresses f.
func (f *GRPCMessage) unpack(coding string, most int64) {
	if coding == "" || strings.EqualFold(coding, "identity") {
		f.Data, f.Err = nil, errors.New("compressed, and grpc-encoding does not say how")
		return
	}
	if most <= 0 {
		f.Data, f.Err = nil, fmt.Errorf("%s: %w", Sanitize(coding), ErrTooLarge)
		return
	}
	out, err := Decode(coding, f.Data, most)
	switch {
	case f.Cut && errors.Is(err, ErrTruncated):
		err = nil // as its size tells
	case err != nil:
		f.Cut, f.Err = true, fmt.Errorf("%s: %w", Sanitize(coding), err)
	}
	f.Data = out
}

// ProtoJSON returns what a body says as JSON, if it is protocol buffers, plain or
// in gRPC's messages: what filters, jq and comparisons look into. The body is
// without content coding; coding is the value of Grpc-Encoding, and cut says that
// data is only the beginning. Several messages, or none, are an array; list asks
// for one in any case. Not ok means that the body is something else, or that
// nothing of it could be read. With an error it is not the whole.
func ProtoJSON(contentType, coding string, data []byte, cut, list bool) (json []byte, messages int, ok bool, err error) {
	switch Sniff(contentType, data) {
	case KindProtobuf:
		p := Protobuf(data, cut)
		return p.JSON, 1, len(p.JSON) > 2, p.Err
	case KindGRPC:
	default:
		return nil, 0, false, nil
	}
	b := GRPC(contentType, coding, data, 0)
	err = b.Err
	json = []byte{'['}
	for i := range b.Messages {
		f := &b.Messages[i]
		if f.Trailer { // the trailers of the capture tell
			continue
		}
		if len(json) > maxProto {
			err = errProtoLarge
			break
		}
		if f.Err != nil && err == nil {
			err = f.Err
		}
		text, failed := f.json(b.JSON, maxProto-len(json))
		if failed != nil && err == nil {
			err = failed
		}
		if messages++; messages > 1 {
			json = append(json, ',')
		}
		json = append(json, text...)
	}
	json = append(json, ']')
	if messages == 1 && !list {
		json = json[1 : len(json)-1]
	}
	return json, messages, len(b.Messages) > 0, err
}

// json is the message as JSON, at least as much as could be read.
func (f *GRPCMessage) json(already bool, most int) ([]byte, error) {
	if !already {
		p := protobuf(f.Data, f.Cut, most)
		return p.JSON, p.Err
	}
	if d, err := Pretty(context.Background(), f.Data, nil); err == nil && !d.Truncated() && d.Values() == 1 {
		return f.Data, nil
	}
	w := protoWriter{most: most}
	w.bytes(f.Data, f.Cut)
	return w.out, ErrNotJSON
}
