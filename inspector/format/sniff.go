package format

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // for Image
	_ "image/jpeg" // for Image
	_ "image/png"  // for Image
	"math"
	"strings"
	"unicode/utf8"
)

// A Kind is what a body is, as far as its display goes.
type Kind uint8

// The kinds.
const (
	KindEmpty Kind = iota
	KindJSON
	KindNDJSON
	KindForm
	KindMultipart
	KindXML
	KindHTML
	KindText
	KindEventStream
	KindImage
	KindProtobuf
	KindGRPC
	KindBinary
)

var kindNames = [...]string{
	"empty", "json", "ndjson", "form", "multipart", "xml", "html", "text", "event stream", "image", "protobuf",
	"grpc", "binary",
}

// String names k in a word for people: "json", "form", "multipart".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "binary"
}

// IsText reports whether a body of kind k is shown as lines of text.
func (k Kind) IsText() bool {
	switch k {
	case KindJSON, KindNDJSON, KindForm, KindXML, KindHTML, KindText, KindEventStream:
		return true
	}
	return false
}

// sniffWindow is how much of a body Sniff looks at.
const sniffWindow = 16 << 10

// Sniff says what a body is from its Content-Type and its decoded bytes. The
// bytes win where the two disagree, since services label bodies wrongly.
func Sniff(contentType string, data []byte) Kind {
	if len(data) == 0 {
		return KindEmpty
	}
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	media = strings.TrimSpace(media)
	head := data[:min(len(data), sniffWindow)]
	if _, _, _, ok := Image(head); ok {
		return KindImage
	}
	switch {
	case strings.HasPrefix(media, "application/grpc"):
		return KindGRPC
	case media == "application/protobuf", media == "application/x-protobuf", media == "application/vnd.google.protobuf",
		media == "application/proto", strings.HasSuffix(media, "+proto"), strings.HasSuffix(media, "+protobuf"):
		// Only a message that begins with a group of the number 15 begins like this.
		if !bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte(`{"`)) {
			return KindProtobuf
		}
	case strings.HasPrefix(media, "multipart/"):
		if _, err := Multipart(contentType, data); err == nil {
			return KindMultipart
		}
	}
	if !looksLikeText(head, strings.HasPrefix(media, "text/")) {
		return KindBinary
	}
	switch {
	case media == "text/event-stream":
		return KindEventStream
	case strings.Contains(media, "ndjson"), strings.Contains(media, "jsonl"), strings.Contains(media, "json-seq"),
		strings.Contains(media, "jsonlines"):
		return KindNDJSON
	}
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n\x1e")
	if values, ok := sniffJSON(head, trimmed, strings.Contains(media, "json")); ok {
		if values > 1 {
			return KindNDJSON
		}
		return KindJSON
	}
	start := strings.ToLower(string(trimmed[:min(len(trimmed), 64)]))
	switch {
	case strings.HasPrefix(start, "<!doctype html"), strings.HasPrefix(start, "<html"):
		return KindHTML
	case strings.HasPrefix(start, "<?xml"):
		return KindXML
	case strings.Contains(media, "html") && strings.Contains(string(head), "<"):
		return KindHTML
	case (strings.HasSuffix(media, "/xml") || strings.HasSuffix(media, "+xml")) && strings.HasPrefix(start, "<"):
		return KindXML
	case media == "application/x-www-form-urlencoded" && looksLikeForm(head):
		return KindForm
	}
	return KindText
}

// sniffJSON reports whether head begins a JSON body. Without a label that says so
// only objects and arrays count: a lone word or number is text.
func sniffJSON(head, trimmed []byte, labelled bool) (values int, ok bool) {
	if len(trimmed) == 0 || !labelled && trimmed[0] != '{' && trimmed[0] != '[' {
		return 0, false
	}
	d, err := Pretty(context.Background(), head, nil)
	if err != nil {
		return 0, errors.Is(err, ErrDocument)
	}
	return d.Values(), true
}

// looksLikeText tolerates a few odd bytes: one stray control character does not
// make a log file binary, and text in Latin-1 is text if its label says so.
func looksLikeText(head []byte, labelled bool) bool {
	odd := 0
	for i := 0; i < len(head); {
		c := head[i]
		if c < utf8.RuneSelf {
			switch {
			case c == 0:
				return false
			case c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != '\f' && c != 0x1b && c != 0x1e, c == 0x7f:
				odd++
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(head[i:])
		if r == utf8.RuneError && n == 1 && utf8.FullRune(head[i:]) && !labelled {
			odd++
		}
		i += n
	}
	return odd*20 <= len(head)
}

func looksLikeForm(head []byte) bool {
	for _, c := range head {
		if c <= ' ' && c != '\n' && c != '\r' || c >= 0x7f {
			return false
		}
	}
	return true
}

// Label describes a body for people: "json", "form, 3 fields", "png 640x480",
// "binary, looks compressed or encrypted".
func Label(k Kind, contentType string, data []byte) string {
	switch k {
	case KindForm:
		return "form, " + plural(len(Form(data)), "field")
	case KindMultipart:
		if parts, err := Multipart(contentType, data); err == nil {
			return "multipart, " + plural(len(parts), "part")
		}
	case KindImage:
		if format, w, h, ok := Image(data); ok {
			return fmt.Sprintf("%s %dx%d", format, w, h)
		}
	case KindBinary:
		if name := magic(data); name != "" {
			return name
		}
		_, word := Entropy(data[:min(len(data), 64<<10)])
		return "binary, " + word
	}
	return k.String()
}

// magic names the file formats one meets in web traffic by their first bytes.
func magic(data []byte) string {
	for _, m := range []struct {
		at          int
		bytes, name string
	}{
		{0, "%PDF-", "pdf"},
		{0, "PK\x03\x04", "zip"},
		{0, "PK\x05\x06", "zip"},
		{0, "\x1f\x8b", "gzip"},
		{0, "\x28\xb5\x2f\xfd", "zstd"},
		{0, "BZh", "bzip2"},
		{0, "\xfd7zXZ\x00", "xz"},
		{0, "7z\xbc\xaf\x27\x1c", "7z"},
		{257, "ustar", "tar"},
		{0, "wOFF", "woff font"},
		{0, "wOF2", "woff2 font"},
		{0, "\x00\x01\x00\x00\x00", "truetype font"},
		{0, "OTTO", "opentype font"},
		{0, "\x00asm", "wasm"},
		{0, "\x7fELF", "elf"},
		{0, "SQLite format 3\x00", "sqlite"},
		{0, "OggS", "ogg"},
		{0, "ID3", "mp3"},
		{0, "fLaC", "flac"},
		{0, "\x1aE\xdf\xa3", "matroska"},
		{4, "ftypavif", "avif image"},
		{4, "ftypheic", "heic image"},
		{4, "ftyp", "mp4"},
		{8, "WAVE", "wav"},
		{0, "\x00\x00\x01\x00", "icon"},
	} {
		if len(data) >= m.at+len(m.bytes) && string(data[m.at:m.at+len(m.bytes)]) == m.bytes {
			return m.name
		}
	}
	return ""
}

// Image reads format and size of a picture from its first bytes: png, jpeg,
// gif, webp or bmp. Not ok means that it is none of these or is cut too short.
func Image(data []byte) (format string, width, height int, ok bool) {
	switch {
	case len(data) >= 30 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		width, height = webpSize(data)
		return "webp", width, height, width > 0 && height > 0
	case len(data) >= 26 && string(data[:2]) == "BM" && binary.LittleEndian.Uint32(data[14:]) >= 40 &&
		binary.LittleEndian.Uint32(data[14:]) <= 124:
		width = int(int32(binary.LittleEndian.Uint32(data[18:])))
		height = int(int32(binary.LittleEndian.Uint32(data[22:])))
		if height < 0 { // stored top down
			height = -height
		}
		return "bmp", width, height, width > 0 && height > 0
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return "", 0, 0, false
	}
	return format, c.Width, c.Height, true
}

// webpSize reads the size from the first chunk: lossy, lossless or extended.
func webpSize(data []byte) (width, height int) {
	u24 := func(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
	switch string(data[12:16]) {
	case "VP8 ":
		if string(data[23:26]) == "\x9d\x01\x2a" {
			return int(binary.LittleEndian.Uint16(data[26:]) & 0x3fff), int(binary.LittleEndian.Uint16(data[28:]) & 0x3fff)
		}
	case "VP8L":
		if data[20] == 0x2f {
			bits := binary.LittleEndian.Uint32(data[21:])
			return int(bits&0x3fff) + 1, int(bits>>14&0x3fff) + 1
		}
	case "VP8X":
		return u24(data[24:]) + 1, u24(data[27:]) + 1
	}
	return 0, 0
}

// Entropy describes how random data looks, in words: "text-like",
// "structured", "looks compressed or encrypted". Bits is Shannon's measure, 0
// to 8 bits a byte.
func Entropy(data []byte) (bits float64, word string) {
	if len(data) == 0 {
		return 0, "empty"
	}
	var counts [256]int
	for _, c := range data {
		counts[c]++
	}
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / float64(len(data))
			bits -= p * math.Log2(p)
		}
	}
	bits = max(bits, 0)
	// A short body cannot show eight bits a byte however random it is.
	most := min(8, math.Log2(float64(len(data)))) * 0.87
	if len(data) >= 1024 {
		most = 8 * 0.94
	}
	switch {
	case bits < 1:
		return bits, "mostly one byte"
	case len(data) >= 64 && bits > most:
		return bits, "looks compressed or encrypted"
	case bits < 5:
		return bits, "text-like"
	}
	return bits, "structured"
}
