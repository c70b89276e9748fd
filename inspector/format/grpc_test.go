package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// framed is data with gRPC's head before it.
func framed(flags byte, data string) string {
	return string(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(data)))) + data
}

func packed(t testing.TB, coding, s string) string {
	t.Helper()
	var b bytes.Buffer
	switch coding {
	case "gzip":
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
	case "deflate":
		w := zlib.NewWriter(&b)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
	case "zstd":
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(s))
		_ = w.Close()
	}
	return b.String()
}

func TestGRPC(t *testing.T) {
	hello := string(proto(nil).text(1, "hello"))
	long := string(proto(nil).text(1, strings.Repeat("hello ", 1000)))
	web := framed(0, hello) + framed(0, "") + framed(0x80, "grpc-status: 5\r\ngrpc-message: no such user\r\n")
	b64 := base64.StdEncoding.EncodeToString
	for _, tt := range []struct {
		name, contentType, coding, body string
		want                            string // of ReadableJSON as a list
		rest                            int
		err                             string
	}{
		{name: "nothing", contentType: "application/grpc", want: `[]`},
		{name: "one", contentType: "application/grpc", body: framed(0, hello), want: `[{"1":"hello"}]`},
		{name: "two, one empty", contentType: "application/grpc+proto; x", body: framed(0, "") + framed(0, hello), want: `[{},{"1":"hello"}]`},
		{name: "json", contentType: "application/grpc+json", body: framed(0, `{"a": 1}`) + framed(0, `{`), want: `[{"a": 1},"0x7b"]`, err: "not JSON"},
		{name: "gzip", contentType: "application/grpc", coding: "gzip", body: framed(1, packed(t, "gzip", long)) + framed(0, hello), want: `[{"1":"` + strings.Repeat("hello ", 1000) + `"},{"1":"hello"}]`},
		{name: "deflate", contentType: "application/grpc", coding: "deflate", body: framed(1, packed(t, "deflate", hello)), want: `[{"1":"hello"}]`},
		{name: "zstd", contentType: "application/grpc", coding: "zstd", body: framed(1, packed(t, "zstd", hello)), want: `[{"1":"hello"}]`},
		{name: "snappy", contentType: "application/grpc", coding: "snappy", body: framed(1, hello), want: `[{}]`, err: `snappy: unknown content coding "snappy"`},
		{name: "compressed without saying how", contentType: "application/grpc", body: framed(1, hello), want: `[{}]`, err: "compressed, and grpc-encoding does not say how"},
		{name: "damaged gzip", contentType: "application/grpc", coding: "gzip", body: framed(1, hello), want: `[{}]`, err: "gzip: the compressed data ends early"},
		{name: "a bomb", contentType: "application/grpc", coding: "gzip", body: framed(1, packed(t, "gzip", string(make([]byte, 16<<20)))), want: `[{}]`, err: "gzip: " + ErrBomb.Error()},
		{name: "cut in a message", contentType: "application/grpc", body: framed(0, hello)[:9], want: `[{"1":"he"}]`, err: "the first 4 bytes of 7 bytes"},
		{name: "cut in a head", contentType: "application/grpc", body: framed(0, hello) + "\x00\x00", want: `[{"1":"hello"}]`, rest: 2, err: "not the whole of a message's length"},
		{name: "html", contentType: "application/grpc", body: "<html>", want: `[]`, rest: 6, err: errGRPCFlags.Error()},
		{name: "web", contentType: "application/grpc-web+proto", body: web, want: `[{"1":"hello"},{}]`},
		{name: "trailers where there are none", contentType: "application/grpc", body: web, want: `[{"1":"hello"},{}]`, rest: 49, err: errGRPCFlags.Error()},
		{name: "web text", contentType: "application/grpc-web-text+proto", body: b64([]byte(web[:7])) + b64([]byte(web[7:20])) + b64([]byte(web[20:])), want: `[{"1":"hello"},{}]`},
		{name: "web text, cut", contentType: "application/grpc-web-text", body: b64([]byte(framed(0, hello))) + "AA", want: `[{"1":"hello"}]`, rest: 2, err: "not base64"},
		{name: "no base64", contentType: "application/grpc-web-text", body: b64([]byte(framed(0, hello))) + "????", want: `[{"1":"hello"}]`, rest: 4, err: "not base64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, ok, err := ProtoJSON(tt.contentType, tt.coding, []byte(tt.body), false, true)
			if len(tt.body) > 0 && string(got) != tt.want || message(err) != tt.err {
				t.Errorf("%s, %v\nwant %s, %s", got, err, tt.want, tt.err)
			}
			b := GRPC(tt.contentType, tt.coding, []byte(tt.body), 0)
			if b.Rest != tt.rest || (b.Err != nil) != (tt.rest > 0) {
				t.Errorf("%d bytes are left, %v, want %d", b.Rest, b.Err, tt.rest)
			}
			if want := len(b.Messages) > 0; ok != want {
				t.Errorf("ok = %v, want %v", ok, want)
			}
		})
	}
	b := GRPC("application/grpc-web", "", []byte(web), 0)
	if last := b.Messages[len(b.Messages)-1]; !last.Trailer || !strings.HasPrefix(string(last.Data), "grpc-status: 5") {
		t.Errorf("trailers = %q", last.Data)
	}
	if one, n, ok, err := ProtoJSON("application/grpc", "", []byte(framed(0, hello)), false, false); string(one) != `{"1":"hello"}` || n != 1 || !ok || err != nil {
		t.Errorf("one message = %s, %d, %v, %v", one, n, ok, err)
	}
	if plain, _, ok, err := ProtoJSON("application/x-protobuf", "", []byte(hello), false, false); string(plain) != `{"1":"hello"}` || !ok || err != nil {
		t.Errorf("plain = %s, %v, %v", plain, ok, err)
	}
	if _, _, ok, _ := ProtoJSON("text/plain", "", []byte(hello), false, false); ok {
		t.Error("text is read as protobuf")
	}
}

// TestGRPCBudget has many messages that come to more than what may be
// decompressed.
func TestGRPCBudget(t *testing.T) {
	var text []byte // that does not compress a hundred times
	for i := range 1500 {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		text = hex.AppendEncode(text, sum[:])
	}
	one := framed(1, packed(t, "gzip", string(text)))
	b := GRPC("application/grpc", "gzip", []byte(strings.Repeat(one, 10)), 250_000)
	total, failed := 0, 0
	for _, m := range b.Messages {
		total += len(m.Data)
		if errors.Is(m.Err, ErrTooLarge) {
			failed++
		}
	}
	if len(b.Messages) != 10 || total != 250_000 || failed != 8 {
		t.Errorf("%d messages, %d bytes, %d of them without all", len(b.Messages), total, failed)
	}
	many := GRPC("application/grpc", "", []byte(strings.Repeat(framed(0, ""), MaxFrames+1)), 0)
	if len(many.Messages) != MaxFrames || many.Rest != 5 {
		t.Errorf("%d messages, %d left", len(many.Messages), many.Rest)
	}
}

func FuzzGRPC(f *testing.F) {
	hello := string(proto(nil).text(1, "hello"))
	f.Add("application/grpc", "gzip", []byte(framed(1, packed(f, "gzip", hello))+framed(0, hello)))
	f.Add("application/grpc+json", "zstd", []byte(framed(1, packed(f, "zstd", "{}"))))
	f.Add("application/grpc-web", "", []byte(framed(0, hello)+framed(0x80, "grpc-status:0\r\n")))
	f.Add("application/grpc-web-text", "deflate", []byte(base64.StdEncoding.EncodeToString([]byte(framed(0, hello)))+"AAAA"))
	f.Add("application/x-protobuf", "", []byte(hello))
	f.Fuzz(func(t *testing.T, contentType, coding string, body []byte) {
		b := GRPC(contentType, coding, body, 1<<20)
		total := int64(0)
		for _, f := range b.Messages {
			if total += int64(len(f.Data)); f.Packed {
				total -= int64(len(f.Data))
			} else if int64(len(f.Data)) > f.Size {
				t.Fatalf("%d bytes of %d", len(f.Data), f.Size)
			}
		}
		if total > int64(len(body)) || b.Rest > len(body) || (b.Rest > 0) != (b.Err != nil) {
			t.Fatalf("%d bytes in messages and %d left of %d, %v", total, b.Rest, len(body), b.Err)
		}
		for _, list := range []bool{false, true} {
			if out, n, ok, _ := ProtoJSON(contentType, coding, body, false, list); ok && !json.Valid(out) || ok && list && n > 1 && out[0] != '[' {
				t.Fatalf("%d messages: %q", n, out)
			}
		}
	})
}
