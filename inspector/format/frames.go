package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"
)

// A Frame is one WebSocket frame (RFC 6455, section 5.2).
type Frame struct {
	Offset int64 // of its first byte among what its side sent
	Final  bool
	Packed bool // the message that it begins is compressed (RFC 7692)
	Opcode byte
	Size   uint64 // of the payload on the wire
	// Data is the payload, unmasked; shorter than Size where the capture ends.
	Data []byte
}

// The opcodes of frames.
const (
	FrameMore   = 0
	FrameText   = 1
	FrameBinary = 2
	FrameClose  = 8
	FramePing   = 9
	FramePong   = 10
)

// MaxFrames bounds what Frames returns.
const MaxFrames = 20_000

// Frames splits what one side sent after the upgrade, at most [MaxFrames]
// frames. It returns how many bytes at the end do not make the head of one, or
// were not looked at.
func Frames(data []byte) (frames []Frame, rest int) {
	at := int64(0)
	for len(data) >= 2 && len(frames) < MaxFrames {
		f := Frame{Offset: at, Final: data[0]&0x80 != 0, Packed: data[0]&0x40 != 0, Opcode: data[0] & 0x0f, Size: uint64(data[1] & 0x7f)}
		masked := data[1]&0x80 != 0
		head := 2
		switch f.Size {
		case 126:
			head = 4
		case 127:
			head = 10
		}
		whole := head
		if masked {
			whole += 4
		}
		if len(data) < whole {
			break
		}
		switch head {
		case 4:
			f.Size = uint64(binary.BigEndian.Uint16(data[2:]))
		case 10:
			f.Size = binary.BigEndian.Uint64(data[2:])
		}
		n := int(min(f.Size, uint64(len(data)-whole)))
		f.Data = data[whole : whole+n : whole+n]
		if masked {
			mask := data[head:whole]
			f.Data = append(make([]byte, 0, n), f.Data...)
			for i := range f.Data {
				f.Data[i] ^= mask[i&3]
			}
		}
		frames = append(frames, f)
		data = data[whole+n:]
		at += int64(whole + n)
	}
	return frames, len(data)
}

// An Inflater decompresses the messages of one side of a WebSocket, in their
// order (permessage-deflate, RFC 7692).
type Inflater struct {
	fresh bool // each message stands for itself
	left  int
	dict  []byte // the latest messages, without a gap
	lost  bool   // those before dict
	r     io.ReadCloser
}

// NewInflater returns an Inflater for the side that sends requests, or answers,
// after what the answer's Sec-WebSocket-Extensions agreed on; nil if that is no
// compression. It yields limit bytes in all.
func NewInflater(extensions string, response bool, limit int) *Inflater {
	for ext := range strings.SplitSeq(extensions, ",") {
		name, params, _ := strings.Cut(ext, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "permessage-deflate") {
			continue
		}
		side := "client_no_context_takeover"
		if response {
			side = "server_no_context_takeover"
		}
		return &Inflater{fresh: strings.Contains(strings.ToLower(params), side), left: limit}
	}
	return nil
}

var errContext = errors.New("it refers to earlier messages, which are missing")

// window is how far back a message may refer to those before it.
const window = 32 << 10

// Forget says that messages are missing before the next one.
func (f *Inflater) Forget() {
	f.dict, f.lost = nil, true
}

// Message decompresses the next message. One that refers to what is missing, or
// could not be decompressed, fails.
func (f *Inflater) Message(data []byte) ([]byte, error) {
	// The sender leaves the last four bytes out; an empty last block ends the
	// reading.
	in := io.MultiReader(bytes.NewReader(data), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))
	dict := f.dict[max(len(f.dict)-window, 0):]
	if f.r == nil {
		f.r = flate.NewReaderDict(in, dict)
	} else if err := f.r.(flate.Resetter).Reset(in, dict); err != nil {
		return nil, err
	}
	most := min(f.left, max(maxRatio*len(data), ratioFloor))
	out, err := io.ReadAll(io.LimitReader(f.r, int64(most)+1))
	if len(out) > most {
		out, err = nil, ErrTooLarge
	}
	f.left -= len(out)
	if err != nil {
		// What goes back beyond dict is no deflate, so that nothing is ever put
		// together from the wrong bytes.
		if f.lost && !f.fresh && !errors.Is(err, ErrTooLarge) && len(f.dict) < window {
			err = errContext
		}
		f.Forget()
		return nil, err
	}
	if !f.fresh {
		if f.dict = append(f.dict, out...); len(f.dict) > 4*window {
			f.dict = f.dict[:copy(f.dict, f.dict[len(f.dict)-window:])]
		}
	}
	return out, nil
}
