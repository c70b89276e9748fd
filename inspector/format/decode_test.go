package format

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// encode applies codings in their order.
func encode(t testing.TB, data []byte, codings ...string) []byte {
	t.Helper()
	for _, c := range codings {
		var b bytes.Buffer
		var w io.WriteCloser
		var err error
		switch c {
		case "gzip", "x-gzip":
			w = gzip.NewWriter(&b)
		case "zlib":
			w = zlib.NewWriter(&b)
		case "flate":
			w, err = flate.NewWriter(&b, 6)
		case "br":
			w = brotli.NewWriter(&b)
		case "zstd":
			w, err = zstd.NewWriter(&b)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		data = b.Bytes()
	}
	return data
}

// words is text that compresses about as well as real text does.
func words(n int) []byte {
	var b strings.Builder
	state := uint32(1)
	for b.Len() < n {
		state = state*1664525 + 1013904223
		b.WriteString(strings.Split("the quick brown fox jumps over a lazy dog while seven others sleep", " ")[state>>16%13])
		b.WriteString(" ")
		b.WriteByte("0123456789abcdef"[state>>28])
	}
	return []byte(b.String()[:n])
}

func TestDecode(t *testing.T) {
	text := words(100_000)
	for _, tt := range []struct {
		encoding string
		codings  []string
	}{
		{"", nil},
		{"identity", nil},
		{"gzip", []string{"gzip"}},
		{" GZip ", []string{"gzip"}},
		{"x-gzip", []string{"gzip"}},
		{"deflate", []string{"zlib"}},
		{"deflate", []string{"flate"}},
		{"br", []string{"br"}},
		{"zstd", []string{"zstd"}},
		{"gzip, br", []string{"gzip", "br"}},
		{"deflate,gzip,identity", []string{"flate", "gzip"}},
		{"deflate, zstd", []string{"zlib", "zstd"}},
	} {
		got, err := Decode(tt.encoding, encode(t, text, tt.codings...), 0)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("Decode(%q of %q) = %d bytes, %v, want %d bytes", tt.encoding, tt.codings, len(got), err, len(text))
		}
	}
	if got, err := Decode("gzip", nil, 0); len(got) != 0 || err != nil {
		t.Errorf("Decode of nothing = %q, %v", got, err)
	}
}

func TestDecodeTruncated(t *testing.T) {
	text := words(400_000)
	for _, tt := range []struct {
		encoding string
		codings  []string
	}{
		{"gzip", []string{"gzip"}},
		{"deflate", []string{"zlib"}},
		{"deflate", []string{"flate"}},
		{"br", []string{"br"}},
		{"zstd", []string{"zstd"}},
		{"gzip, br", []string{"gzip", "br"}},
	} {
		whole := encode(t, text, tt.codings...)
		got, err := Decode(tt.encoding, whole[:len(whole)/2], 0)
		if !errors.Is(err, ErrTruncated) {
			t.Errorf("Decode(half of %q) gave %v, want ErrTruncated", tt.codings, err)
		}
		if len(got) < len(text)/10 || !bytes.HasPrefix(text, got) {
			t.Errorf("Decode(half of %q) gave %d bytes, want a good part of the first %d", tt.codings, len(got), len(text)/2)
		}
		for n := range 20 {
			if _, err := Decode(tt.encoding, whole[:n+1], 0); !errors.Is(err, ErrTruncated) {
				t.Errorf("Decode(first %d bytes of %q) gave %v, want ErrTruncated", n+1, tt.codings, err)
			}
		}
	}
}

func TestDecodeLimits(t *testing.T) {
	text := words(1 << 20)
	for _, encoding := range []string{"gzip", "br", "zstd"} {
		coded := encode(t, text, encoding)
		got, err := Decode(encoding, coded, 100_000)
		if !errors.Is(err, ErrTooLarge) || !bytes.Equal(got, text[:100_000]) {
			t.Errorf("Decode(%s, limit 100,000) = %d bytes, %v, want 100,000 bytes and ErrTooLarge", encoding, len(got), err)
		}
		if got, err := Decode(encoding, coded, int64(len(text))); err != nil || len(got) != len(text) {
			t.Errorf("Decode(%s, limit at the size) = %d bytes, %v", encoding, len(got), err)
		}
	}
	if _, err := Decode("rot13", []byte("x"), 0); !errors.Is(err, ErrCoding) {
		t.Errorf("Decode(rot13) gave %v, want ErrCoding", err)
	}
	if _, err := Decode("gzip,gzip,gzip,gzip,gzip", []byte("x"), 0); !errors.Is(err, ErrCoding) {
		t.Errorf("Decode of five codings gave %v, want ErrCoding", err)
	}
	for _, encoding := range []string{"gzip", "br", "zstd", "deflate"} {
		if got, err := Decode(encoding, []byte("this was never compressed"), 0); !errors.Is(err, ErrCorrupt) || len(got) > 0 {
			t.Errorf("Decode(%s of plain text) = %q, %v, want ErrCorrupt", encoding, got, err)
		}
	}
}

func TestDecodeBombs(t *testing.T) {
	zeros := make([]byte, 8<<20)
	for _, codings := range [][]string{{"gzip"}, {"br"}, {"zstd"}, {"zlib"}, {"gzip", "gzip"}, {"zstd", "br"}} {
		bomb := encode(t, zeros, codings...)
		encoding := strings.ReplaceAll(strings.Join(codings, ","), "zlib", "deflate")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := Decode(encoding, bomb, MaxLimit)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrBomb) {
			t.Errorf("Decode(%s bomb of %d bytes) gave %v, want ErrBomb", encoding, len(bomb), err)
		}
		if most := max(maxRatio*len(bomb), ratioFloor); len(got) > most {
			t.Errorf("Decode(%s bomb of %d bytes) gave %d bytes, want at most %d", encoding, len(bomb), len(got), most)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
			t.Errorf("Decode(%s bomb) allocated %d MiB", encoding, n>>20)
		}
	}

	// An inner stage that swallows everything and gives nothing out.
	var empty bytes.Buffer
	for range 1 << 20 {
		empty.Write([]byte{0, 0, 0, 0xff, 0xff}) // an empty stored block
	}
	if _, err := Decode("deflate, gzip", encode(t, empty.Bytes(), "gzip"), 0); !errors.Is(err, ErrBomb) {
		t.Errorf("Decode of a hollow bomb gave %v, want ErrBomb", err)
	}
}

func FuzzDecode(f *testing.F) {
	text := words(2000)
	for i, c := range []string{"gzip", "zlib", "flate", "br", "zstd"} {
		f.Add(uint8(i), encode(f, text, c))
	}
	f.Add(uint8(5), encode(f, text, "gzip", "br"))
	encodings := []string{"gzip", "deflate", "deflate", "br", "zstd", "gzip, br", "deflate, zstd"}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		encoding := encodings[int(which)%len(encodings)]
		out, err := Decode(encoding, data, 1<<20)
		if most := max(min(1<<20, maxRatio*len(data)), ratioFloor); len(out) > most {
			t.Fatalf("Decode(%s) of %d bytes gave %d", encoding, len(data), len(out))
		}
		for _, known := range []error{ErrTruncated, ErrTooLarge, ErrBomb, ErrCorrupt} {
			if err == nil || errors.Is(err, known) {
				return
			}
		}
		t.Fatalf("Decode(%s) gave %v", encoding, err)
	})
}

func BenchmarkDecode(b *testing.B) {
	text := words(1 << 20)
	for _, encoding := range []string{"gzip", "br", "zstd"} {
		coded := encode(b, text, encoding)
		b.Run(encoding, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(encoding, coded, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
