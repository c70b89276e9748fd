package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

// frameOf is a frame as a sender makes it.
func frameOf(first byte, masked bool, payload string) []byte {
	out := []byte{first}
	var m byte
	if masked {
		m = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		out = append(out, m|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, m|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, m|127), uint64(n))
	}
	if !masked {
		return append(out, payload...)
	}
	mask := []byte{0x37, 0xfa, 0x21, 0x3d}
	out = append(out, mask...)
	for i := range len(payload) {
		out = append(out, payload[i]^mask[i&3])
	}
	return out
}

func TestFrames(t *testing.T) {
	long, longer := strings.Repeat("l", 300), strings.Repeat("x", 70_000)
	var data []byte
	for i, p := range []string{"hello", "", long, longer} {
		data = append(data, frameOf(0x81, i%2 == 0, p)...)
	}
	data = append(data, frameOf(0xc2, true, "zip")...)
	data = append(data, frameOf(0x01, false, "a half")...)
	got, rest := Frames(append(data, frameOf(0x80, false, "whole")[:4]...))
	var words []string
	for _, f := range got {
		words = append(words, fmt.Sprintf("%d %d %v %v %d %.6s", f.Offset, f.Opcode, f.Final, f.Packed, f.Size, f.Data))
	}
	want := []string{"0 1 true false 5 hello", "11 1 true false 0 ", "13 1 true false 300 llllll", "321 1 true false 70000 xxxxxx", "70331 2 true true 3 zip", "70340 1 false false 6 a half", "70348 0 true false 5 wh"}
	if strings.Join(words, "\n") != strings.Join(want, "\n") || rest != 0 {
		t.Errorf("frames:\n%s\nand %d bytes, want\n%s", strings.Join(words, "\n"), rest, strings.Join(want, "\n"))
	}
	if _, rest := Frames(data[:1]); rest != 1 {
		t.Errorf("of one byte %d are left, want it", rest)
	}
	if got, _ := Frames(make([]byte, 4*MaxFrames)); len(got) != MaxFrames {
		t.Errorf("%d frames, want no more than %d", len(got), MaxFrames)
	}
}

// deflater packs messages as permessage-deflate has it.
type deflater struct {
	b bytes.Buffer
	w *flate.Writer
}

func newDeflater(t testing.TB) *deflater {
	d := &deflater{}
	var err error
	if d.w, err = flate.NewWriter(&d.b, 6); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *deflater) pack(s string) []byte {
	d.b.Reset()
	_, _ = d.w.Write([]byte(s))
	_ = d.w.Flush()
	return bytes.TrimSuffix(bytes.Clone(d.b.Bytes()), []byte{0, 0, 0xff, 0xff})
}

func TestInflater(t *testing.T) {
	if f := NewInflater("x-webkit-deflate-frame, foo; permessage-deflate", true, 100); f != nil {
		t.Error("an Inflater without agreement, want none")
	}
	long := strings.Repeat("0123456789abcdef", 4000) // more than refers back
	messages := []string{`{"tick":1}`, `{"tick":2}`, "", long, `{"tick":3}`, long[:100]}
	d, f := newDeflater(t), NewInflater("permessage-deflate; client_no_context_takeover", true, 1<<20)
	for i, m := range messages {
		if got, err := f.Message(d.pack(m)); err != nil || string(got) != m {
			t.Errorf("message %d = %.20q, %v, want %.20q", i, got, err, m)
		}
	}
	// A message that is lost takes those with it that refer to it, and no other.
	d, f = newDeflater(t), NewInflater("permessage-deflate", false, 1<<20)
	long = strings.Repeat(long[:16]+"QWERTZ", 200)
	lost := d.pack(long + "1}")
	if _, err := f.Message([]byte{0xff, 0xff}); err == nil {
		t.Error("damaged data is decompressed")
	}
	if _, err := f.Message(d.pack(long + "2}")); !errors.Is(err, errContext) {
		t.Errorf("what refers to %d bytes that are lost: %v, want %v", len(lost), err, errContext)
	}
	if got, err := f.Message(d.pack("QXZ")); err != nil || string(got) != "QXZ" {
		t.Errorf("what refers to nothing = %q, %v", got, err)
	}
	f = NewInflater("Permessage-Deflate; Client_No_Context_Takeover", false, 1<<20)
	_, _ = f.Message([]byte{0xff, 0xff})
	if got, err := f.Message(newDeflater(t).pack("x")); err != nil || string(got) != "x" {
		t.Errorf("where each message stands for itself: %q, %v, want x", got, err)
	}
}

func TestInflaterIsBounded(t *testing.T) {
	bomb := newDeflater(t).pack(strings.Repeat("0", 20<<20))
	f := NewInflater("permessage-deflate", true, 64<<20)
	if got, err := f.Message(bomb); !errors.Is(err, ErrTooLarge) || len(got) != 0 {
		t.Errorf("a bomb of %d bytes comes to %d, %v, want %v", len(bomb), len(got), err, ErrTooLarge)
	}
	f = NewInflater("permessage-deflate; server_no_context_takeover", true, 100_000)
	n := 0
	for range 10 {
		got, err := f.Message(newDeflater(t).pack(strings.Repeat("ab", 20_000)))
		if n += len(got); err != nil && !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
	}
	if n != 80_000 {
		t.Errorf("%d bytes in all, want the two messages that fit into 100,000", n)
	}
}

// TestInflaterAfterAGap: of what comes after messages that are missing nothing is
// ever put together from other bytes than those that were sent.
func TestInflaterAfterAGap(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	words := []string{
		`"customer":"cus_9s6XKzkNRiz8i3","description":"a subscription, renewed each month"`,
		`"order":"A-1042","status":"paid","amount":4200,"currency":"eur","live":false`,
		"order", "paid", "amount", "4200", "A-1042", "status", "refunded", "0123456789", strings.Repeat("ab", 300),
	}
	read, refused := 0, 0
	for range 300 {
		d, f := newDeflater(t), NewInflater("permessage-deflate", true, 64<<20)
		for range 60 {
			var m strings.Builder
			for range r.IntN(12) {
				m.WriteString(words[r.IntN(len(words))])
				m.WriteByte(byte(r.IntN(256)))
			}
			packed := d.pack(m.String())
			if r.IntN(10) == 0 {
				f.Forget()
				continue
			}
			switch got, err := f.Message(packed); {
			case err != nil:
				refused++
			case string(got) != m.String():
				t.Fatalf("a message reads %q, want %q", got, m.String())
			default:
				read++
			}
		}
	}
	if read < 1000 || refused < 1000 {
		t.Errorf("%d messages were read and %d were not, want many of both", read, refused)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frameOf(0x81, true, "hello"), true)
	f.Add(newDeflater(f).pack("hello"), false)
	f.Fuzz(func(t *testing.T, data []byte, fresh bool) {
		frames, rest := Frames(data)
		at := int64(0)
		in := NewInflater("permessage-deflate"+map[bool]string{true: "; server_no_context_takeover"}[fresh], true, 1<<20)
		for _, fr := range frames {
			if fr.Offset < at {
				t.Fatalf("frame at %d after %d", fr.Offset, at)
			}
			at = fr.Offset + int64(len(fr.Data))
			_, _ = in.Message(fr.Data)
		}
		if at+int64(rest) > int64(len(data)) {
			t.Fatalf("frames to %d and %d bytes of %d", at, rest, len(data))
		}
	})
}
