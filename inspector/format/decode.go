package format

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// How much Decode gives out: by default, and at most.
const (
	DefaultLimit = 8 << 20
	MaxLimit     = 32 << 20
)

// What Decode may return beside what it could decode. Test with errors.Is.
var (
	ErrTruncated = errors.New("the compressed data ends early")
	ErrTooLarge  = errors.New("the decoded data is over the limit")
	ErrBomb      = errors.New("the decoded data is more than 100 times the size of the compressed data")
	ErrCoding    = errors.New("unknown content coding")
	ErrCorrupt   = errors.New("the compressed data is damaged")
)

const (
	maxRatio = 100
	// ratioFloor may always come out: a page of zeros is small either way.
	ratioFloor = 64 << 10
	maxCodings = 4
	// maxWindow bounds what a zstd frame makes its decoder remember; RFC 9659
	// asks senders of HTTP bodies for no more.
	maxWindow = 8 << 20
)

// Decode undoes the content codings of a body. The encoding is the value of its
// Content-Encoding header, several codings separated by commas in the order they
// were applied: gzip, x-gzip, deflate (zlib or raw), br, zstd, identity.
//
// It gives out no more bytes than most; 0 means [DefaultLimit], and [MaxLimit] is
// the utmost. When it cannot decode everything it returns the bytes up to there and
// one of this package's errors, so that a body captured in part still shows.
// Without a coding the result is data itself, whatever its size.
func Decode(encoding string, data []byte, most int64) (out []byte, err error) {
	codings, err := parseCodings(encoding)
	if err != nil {
		return nil, err
	}
	if len(codings) == 0 || len(data) == 0 {
		return data, nil
	}
	if most <= 0 {
		most = DefaultLimit
	}
	limit, over := min(most, MaxLimit), ErrTooLarge
	if ratio := max(int64(len(data))*maxRatio, ratioFloor); ratio < limit {
		limit, over = ratio, ErrBomb
	}
	out, err = decodeChain(codings, data, limit, over, zlibOrRaw(data))
	if len(out) == 0 && errors.Is(err, ErrCorrupt) && codings[len(codings)-1] == "deflate" {
		// A raw stream may begin with two bytes that pass for zlib's header.
		if raw, rawErr := decodeChain(codings, data, limit, over, "raw"); len(raw) > 0 {
			return raw, rawErr
		}
	}
	return out, err
}

func parseCodings(encoding string) ([]string, error) {
	var codings []string
	for c := range strings.SplitSeq(encoding, ",") {
		switch c = strings.ToLower(strings.TrimSpace(c)); c {
		case "", "identity":
		case "gzip", "x-gzip", "deflate", "br", "zstd":
			codings = append(codings, c)
		default:
			return nil, fmt.Errorf("%w %q", ErrCoding, Sanitize(c))
		}
	}
	if len(codings) > maxCodings {
		return nil, fmt.Errorf("%w: %d codings on one body", ErrCoding, len(codings))
	}
	return codings, nil
}

// decodeChain undoes codings from the last to the first. What one step hands to
// the next is bounded as the result is: a step can swallow any amount without
// giving anything out.
func decodeChain(codings []string, data []byte, limit int64, over error, deflate string) ([]byte, error) {
	var r io.Reader = bytes.NewReader(data)
	for i := len(codings) - 1; i >= 0; i-- {
		next, err := newDecoder(codings[i], r, deflate)
		if err != nil {
			return nil, decodeError(err)
		}
		if c, ok := next.(io.Closer); ok {
			defer c.Close()
		}
		r, deflate = &capped{r: next, left: limit, over: over}, ""
	}
	out := bytes.NewBuffer(make([]byte, 0, min(limit, 4*int64(len(data))+512)))
	_, err := out.ReadFrom(r)
	return out.Bytes(), decodeError(err)
}

func newDecoder(coding string, r io.Reader, deflate string) (io.Reader, error) {
	switch coding {
	case "gzip", "x-gzip":
		return gzip.NewReader(r)
	case "deflate":
		if deflate == "" { // an inner step: look at what comes out of the outer one
			head := make([]byte, 2)
			n, err := io.ReadFull(r, head)
			if n == 0 {
				return nil, err
			}
			deflate = zlibOrRaw(head[:n])
			r = io.MultiReader(bytes.NewReader(head[:n]), r)
		}
		if deflate == "raw" {
			return flate.NewReader(r), nil
		}
		return zlib.NewReader(r)
	case "br":
		return brotli.NewReader(r), nil
	default: // zstd
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(MaxLimit))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
}

// zlibOrRaw tells the two things that "deflate" has come to mean apart.
func zlibOrRaw(data []byte) string {
	if len(data) >= 2 && data[0]&15 == 8 && (int(data[0])<<8|int(data[1]))%31 == 0 {
		return "zlib"
	}
	return "raw"
}

func decodeError(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrTooLarge), errors.Is(err, ErrBomb):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return ErrTruncated
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// capped gives out what r does, and over once that is more than left.
type capped struct {
	r    io.Reader
	left int64
	over error
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left == 0 {
		// Only one more byte tells an end at the limit from an excess.
		var b [1]byte
		n, err := io.ReadFull(c.r, b[:])
		if n > 0 {
			return 0, c.over
		}
		return 0, err
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	return n, err
}
