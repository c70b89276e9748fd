package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
)

func noise(n int) []byte {
	var b []byte
	sum := sha256.Sum256(nil)
	for len(b) < n {
		sum = sha256.Sum256(sum[:])
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func TestSniff(t *testing.T) {
	var pic bytes.Buffer
	png.Encode(&pic, image.NewGray(image.Rect(0, 0, 640, 480)))
	multipart := "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n"
	for _, tt := range []struct {
		name, contentType, data string
		want                    Kind
		label                   string
	}{
		{"nothing", "application/json", "", KindEmpty, "empty"},
		{"json", "application/json; charset=utf-8", `{"a":1}`, KindJSON, "json"},
		{"json by its bytes", "text/plain", ` [{"a":1}]`, KindJSON, "json"},
		{"json without a label", "", `{"a":1}`, KindJSON, "json"},
		{"a json scalar", "application/problem+json", `"x"`, KindJSON, "json"},
		{"a cut json", "application/json", `{"a":[1,2,{"b`, KindJSON, "json"},
		{"json longer than the window", "application/json", `{"a":"` + strings.Repeat("é", 20_000) + `"}`, KindJSON, "json"},
		{"called json", "application/json", "Internal Server Error", KindText, "text"},
		{"a log line", "", "[info] started", KindText, "text"},
		{"a number", "text/plain", "42", KindText, "text"},
		{"ndjson", "application/x-ndjson", "{\"a\":1}\n{\"a\":2}\n", KindNDJSON, "ndjson"},
		{"ndjson without a label", "", "{\"a\":1}\n{\"a\":2}\n", KindNDJSON, "ndjson"},
		{"form", "application/x-www-form-urlencoded", "a=1&b=%20&c=", KindForm, "form, 3 fields"},
		{"called form", "application/x-www-form-urlencoded", `{"a":1}`, KindJSON, "json"},
		{"multipart", "multipart/form-data; boundary=x", multipart, KindMultipart, "multipart, 1 part"},
		{"multipart without its boundary", "multipart/form-data", multipart, KindText, "text"},
		{"html", "text/html; charset=utf-8", "<p>x", KindHTML, "html"},
		{"html by its bytes", "", "\n<!DOCTYPE html><p>", KindHTML, "html"},
		{"xml", "application/atom+xml", "<feed/>", KindXML, "xml"},
		{"xml by its bytes", "", "<?xml version='1.0'?><a/>", KindXML, "xml"},
		{"text", "text/plain", "hello\nworld", KindText, "text"},
		{"text with colours", "text/plain", "\x1b[31mred\x1b[0m text that goes on", KindText, "text"},
		{"latin-1", "text/plain; charset=iso-8859-1", "caf\xe9 \xe0 la cr\xe8me", KindText, "text"},
		{"events", "text/event-stream", "data: x\n\n", KindEventStream, "event stream"},
		{"png", "application/octet-stream", pic.String(), KindImage, "png 640x480"},
		{"protobuf", "application/x-protobuf", "\x08\x01", KindProtobuf, "protobuf"},
		{"grpc", "application/grpc+proto", "\x00\x00\x00\x00\x00", KindGRPC, "grpc"},
		{"pdf", "application/pdf", "%PDF-1.7\n\x00\xff", KindBinary, "pdf"},
		{"gzip", "", "\x1f\x8b\x08\x00\x00", KindBinary, "gzip"},
		{"called text", "text/plain", "\x00\x01\x02\x03", KindBinary, "binary, text-like"},
		{"noise", "", string(noise(5000)), KindBinary, "binary, looks compressed or encrypted"},
		{"short noise", "", string(noise(100)), KindBinary, "binary, looks compressed or encrypted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Sniff(tt.contentType, []byte(tt.data))
			if got != tt.want {
				t.Errorf("Sniff = %v, want %v", got, tt.want)
			}
			if label := Label(got, tt.contentType, []byte(tt.data)); label != tt.label {
				t.Errorf("Label = %q, want %q", label, tt.label)
			}
		})
	}
}

func TestImage(t *testing.T) {
	picture := image.NewPaletted(image.Rect(0, 0, 33, 44), color.Palette{color.Black, color.White})
	var p, j, g bytes.Buffer
	png.Encode(&p, picture)
	jpeg.Encode(&j, picture, nil)
	gif.Encode(&g, picture, nil)
	unhexed := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		format string
		data   []byte
	}{
		{"png", p.Bytes()},
		{"jpeg", j.Bytes()},
		{"gif", g.Bytes()},
		{"webp", unhexed("52494646 00000000 57454250 56503820 00000000 300100 9d012a 2100 2c00")},
		{"webp", unhexed("52494646 00000000 57454250 5650384c 00000000 2f 20c00a00 0000000000")},
		{"webp", unhexed("52494646 00000000 57454250 56503858 0a000000 00000000 200000 2b0000")},
		{"bmp", unhexed("424d 00000000 00000000 36000000 28000000 21000000 d4ffffff 01001800")},
	} {
		format, w, h, ok := Image(tt.data)
		if !ok || format != tt.format || w != 33 || h != 44 {
			t.Errorf("Image of a %s = %s %dx%d, %v, want 33x44", tt.format, format, w, h, ok)
		}
		for n := range min(len(tt.data), 26) {
			Image(tt.data[:n])
		}
	}
	if _, _, _, ok := Image([]byte("BM is how this text begins, and it goes on")); ok {
		t.Error("Image took text for a picture")
	}
}

func TestEntropy(t *testing.T) {
	for _, tt := range []struct {
		data []byte
		word string
	}{
		{nil, "empty"},
		{make([]byte, 1000), "mostly one byte"},
		{words(5000), "text-like"},
		{noise(5000), "looks compressed or encrypted"},
		{encode(t, words(100_000), "gzip"), "looks compressed or encrypted"},
	} {
		if bits, word := Entropy(tt.data); word != tt.word || bits < 0 || bits > 8 {
			t.Errorf("Entropy of %.20q = %.2f, %q, want %q", tt.data, bits, word, tt.word)
		}
	}
}

func FuzzSniff(f *testing.F) {
	f.Add("application/json", []byte(`{"a":1}`))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--"))
	f.Add("", []byte("RIFF\x00\x00\x00\x00WEBPVP8 "))
	f.Add("image/gif", []byte("GIF89a\x01\x00\x01\x00\x80"))
	f.Fuzz(func(t *testing.T, contentType string, data []byte) {
		k := Sniff(contentType, data)
		if (k == KindEmpty) != (len(data) == 0) {
			t.Fatalf("Sniff of %d bytes = %v", len(data), k)
		}
		checkSafe(t, Label(k, contentType, data), "")
		parts, _ := Multipart(contentType, data)
		size := 0
		for _, p := range parts {
			size += len(p.Data)
		}
		if size > len(data) {
			t.Fatalf("the parts of %d bytes hold %d", len(data), size)
		}
		Form(data)
		at := -1
		for _, e := range EventStream(data) {
			if e.Offset <= at || e.Offset > len(data) {
				t.Fatalf("an event at %d after one at %d of %d", e.Offset, at, len(data))
			}
			at = e.Offset
		}
		for _, row := range Hex(data, 0, 3) {
			if len(row) != 78 && !strings.HasSuffix(row, "|") {
				t.Fatalf("row %q", row)
			}
			checkSafe(t, row, "")
		}
	})
}
