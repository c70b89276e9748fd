package tui

import (
	be "encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/inspector/format"
)

// A frame is one WebSocket frame (RFC 6455, section 5.2) as it was captured.
type frame struct {
	final, packed bool // packed: the payload is compressed (RFC 7692)
	opcode        byte
	size          uint64
	payload       []byte // unmasked; shorter than size where the capture ends
}

// parseFrames splits what one side sent after the upgrade. It returns how many
// bytes at the end do not make a frame.
func parseFrames(data []byte) (frames []frame, rest int) {
	for len(data) >= 2 {
		f := frame{final: data[0]&0x80 != 0, packed: data[0]&0x40 != 0, opcode: data[0] & 0x0f}
		masked := data[1]&0x80 != 0
		f.size = uint64(data[1] & 0x7f)
		head := 2
		switch f.size {
		case 126:
			if len(data) < 4 {
				return frames, len(data)
			}
			f.size, head = uint64(be.BigEndian.Uint16(data[2:])), 4
		case 127:
			if len(data) < 10 {
				return frames, len(data)
			}
			f.size, head = be.BigEndian.Uint64(data[2:]), 10
		}
		var mask []byte
		if masked {
			if len(data) < head+4 {
				return frames, len(data)
			}
			mask, head = data[head:head+4], head+4
		}
		n := min(f.size, uint64(len(data)-head))
		f.payload = make([]byte, n)
		copy(f.payload, data[head:])
		for i := range f.payload {
			if mask != nil {
				f.payload[i] ^= mask[i&3]
			}
		}
		frames = append(frames, f)
		data = data[head+int(n):]
	}
	return frames, len(data)
}

var opcodes = map[byte]string{0: "more", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}

// closeReasons puts the codes of a close frame in words.
var closeReasons = map[uint16]string{
	1000: "normal", 1001: "going away", 1002: "protocol error", 1003: "unsupported data",
	1007: "invalid text", 1008: "policy violation", 1009: "message too big",
	1010: "extension missing", 1011: "internal error", 1012: "restarting", 1013: "try again later",
}

func frameTable(frames []frame, rest int, live bool) content {
	t := &table{live: live}
	for i, f := range frames {
		name := opcodes[f.opcode]
		if name == "" {
			name = fmt.Sprintf("op %d", f.opcode)
		}
		r := accent
		if f.opcode >= 8 {
			r = dim
		}
		head := fmt.Sprintf("%4d  ", i+1)
		size := fmt.Sprintf("%6s  ", format.Size(int64(min(f.size, 1<<62))))
		switch {
		case f.opcode == 8 && len(f.payload) >= 2:
			code := be.BigEndian.Uint16(f.payload)
			word := closeReasons[code]
			if word == "" {
				word = "code"
			}
			t.add(dim, head, warn, "close   ", dim, size, text, fmt.Sprintf("%d %s %s", code, word, f.payload[2:]))
		case f.packed:
			t.add(dim, head, r, pad(name, 8), dim, size, dim, "compressed")
		case utf8.Valid(f.payload) && f.opcode != 2:
			t.add(dim, head, r, pad(name, 8), dim, size, text, string(f.payload[:min(len(f.payload), 4096)]))
		default:
			t.add(dim, head, r, pad(name, 8), dim, size, dim, fmt.Sprintf("% x", f.payload[:min(len(f.payload), 32)]))
		}
	}
	if rest > 0 {
		t.add(dim, fmt.Sprintf("      %s of a frame that is not complete", format.Bytes(int64(rest))))
	}
	return t
}
