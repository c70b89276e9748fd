package http1

import (
	"bytes"
	"io"
	"math"
)

// A Body follows the bytes of one body while they are passed on as they came,
// and finds its end. Reset it for each message; the zero Body is an empty one.
type Body struct {
	framing Framing
	state   bodyState
	digits  int8
	left    int64 // to come of the body (Fixed) or of the chunk
	size    int64
	line    int   // bytes of the chunk's size line so far
	excess  int64 // framing bytes beyond what their data justifies
	trailer []byte
	start   int // of the trailer line that is being read
	err     error
}

type bodyState uint8

const (
	bodyDone    bodyState = iota
	bodyData              // Fixed, UntilClose, or inside a chunk
	chunkSize             // in the digits
	chunkExt              // after the first ';'
	chunkSizeLF           // after the CR of the size line
	chunkCR               // after the data
	chunkLF               // after the CR after the data
	trailerLine           // where a trailer line or the end begins
	trailerText           // inside a trailer line
	trailerLF             // after the CR of the last line
)

const (
	maxChunkLine = 4<<10 - 16 // bytes of a size line with its extensions
	maxExcess    = 16 << 10
	maxTrailer   = 16 << 10
	maxChunk     = 1 << 60 // bytes; also keeps sums from overflowing
)

// Reset makes b ready for a body with the framing of a head. The length counts
// for Fixed only.
func (b *Body) Reset(f Framing, length int64) {
	*b = Body{framing: f, trailer: b.trailer[:0]}
	switch f {
	case Fixed:
		if b.left = length; length > 0 {
			b.state = bodyData
		}
	case Chunked:
		b.state = chunkSize
	case UntilClose:
		b.state = bodyData
	}
}

// Scan reads on in p and returns how many of its bytes belong to this body,
// chunk framing and trailers included, and whether the body ended with them.
// What it returns is safe to pass on. Bytes after the end are left alone.
//
// The data within, transfer coding removed, is written to data unless that is
// nil; its errors are ignored, since a capture must not hold up a body.
//
// After an error, which is an *Error and comes back on every further call, only
// n bytes may be passed on, and the message must be cut off there: a body that
// goes wrong must not arrive as one that ended.
func (b *Body) Scan(p []byte, data io.Writer) (n int, done bool, err error) {
	if b.err != nil {
		return 0, false, b.err
	}
	for n < len(p) && b.state != bodyDone {
		if b.state == bodyData {
			part := p[n:]
			if b.framing != UntilClose && int64(len(part)) > b.left {
				part = part[:b.left]
			}
			if data != nil {
				data.Write(part)
			}
			n += len(part)
			b.size += int64(len(part))
			if b.framing == UntilClose {
				continue
			}
			if b.left -= int64(len(part)); b.left > 0 {
				continue
			}
			b.state = bodyDone
			if b.framing == Chunked {
				b.state = chunkCR
			}
			continue
		}
		if b.state == trailerText {
			taken, err := b.trailerText(p[n:])
			n += taken
			if err != nil {
				b.err = err
				return n, false, err
			}
			continue
		}
		if err := b.step(p[n]); err != nil {
			b.err = err
			return n, false, err
		}
		n++
	}
	return n, b.state == bodyDone, nil
}

// step takes one byte of chunk framing.
func (b *Body) step(c byte) error {
	switch b.state {
	case chunkSize:
		b.line++
		switch {
		case class[c]&isHex != 0:
			if b.digits++; b.digits > 16 {
				return ErrChunkSize
			}
			if b.left = b.left<<4 | int64(unhex(c)); b.left < 0 || b.left > maxChunk {
				return ErrChunkSize
			}
		case b.digits == 0:
			return ErrChunkSize
		case c == ';':
			b.state = chunkExt
		case c == '\r':
			b.state = chunkSizeLF
		default:
			// Padding before ';' or CR, which some take for the end of the number
			// and others for its invalidity, counts among the default.
			return ErrChunkSize
		}
	case chunkExt:
		b.line++
		switch {
		case c == '\r':
			b.state = chunkSizeLF
		case c < ' ' && c != '\t' || c == 0x7f || b.line > maxChunkLine:
			return ErrChunkExt
		}
	case chunkSizeLF:
		if c != '\n' {
			return ErrChunkSize
		}
		return b.beginChunk()
	case chunkCR:
		if c != '\r' {
			return ErrChunkEnd
		}
		b.state = chunkLF
	case chunkLF:
		if c != '\n' {
			return ErrChunkEnd
		}
		b.state, b.digits, b.line, b.left = chunkSize, 0, 0, 0
	case trailerLine:
		b.state = trailerLF
		if c != '\r' {
			b.state, b.start = trailerText, len(b.trailer)
			return b.trailerByte(c)
		}
	case trailerLF:
		if c != '\n' {
			return ErrTrailer
		}
		b.state = bodyDone
	}
	return nil
}

func (b *Body) beginChunk() error {
	if b.left == 0 {
		b.state = trailerLine
		return nil
	}
	if b.left > math.MaxInt64-b.size {
		return ErrChunkSize
	}
	// Much framing for little data is an attack on whoever reads it; one byte a
	// chunk is not. The sums are those of net/http.
	b.excess = max(0, b.excess+int64(b.line)+3-16-2*min(b.left, maxExcess))
	if b.excess > maxExcess {
		return ErrChunkExt
	}
	b.state = bodyData
	return nil
}

func (b *Body) trailerByte(c byte) error {
	if c == '\n' {
		return ErrTrailer
	}
	if len(b.trailer) >= maxTrailer {
		return ErrTrailerLarge
	}
	b.trailer = append(b.trailer, c)
	return nil
}

// trailerText takes bytes up to the end of a trailer line.
func (b *Body) trailerText(p []byte) (n int, err error) {
	end := bytes.IndexByte(p, '\n') + 1
	n = end
	if end == 0 {
		n = len(p)
	}
	if len(b.trailer)+n > maxTrailer {
		return 0, ErrTrailerLarge
	}
	b.trailer = append(b.trailer, p[:n]...)
	if end == 0 {
		return n, nil
	}
	line := b.trailer[b.start:]
	if !bytes.HasSuffix(line, []byte("\r\n")) {
		return 0, ErrTrailer
	}
	x := Field{Line: line}
	if x.parse() != nil {
		return 0, ErrTrailer
	}
	if !x.Kind.Trails() {
		return 0, ErrTrailerName
	}
	b.state = trailerLine
	return n, nil
}

// EOF tells b that the connection ended. It returns io.ErrUnexpectedEOF when
// the body did not end with it.
func (b *Body) EOF() error {
	if b.err != nil {
		return b.err
	}
	if b.framing == UntilClose {
		b.state = bodyDone
	}
	if b.state != bodyDone {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Done reports whether the body ended.
func (b *Body) Done() bool { return b.state == bodyDone }

// Size is how many bytes of data were seen, transfer coding removed.
func (b *Body) Size() int64 { return b.size }

// Left is how many bytes are still to come, or -1 if that is not known.
func (b *Body) Left() int64 {
	switch {
	case b.state == bodyDone:
		return 0
	case b.framing == Fixed:
		return b.left
	}
	return -1
}

// Trailer returns the trailer lines read so far as they came, each with its
// CR LF, without the blank line. It is valid until the next Reset.
func (b *Body) Trailer() []byte { return b.trailer }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
