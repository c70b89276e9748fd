package format

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

// A proto writes a message as a program would.
type proto []byte

func (p proto) tag(number, wire int) proto {
	return binary.AppendUvarint(p, uint64(number)<<3|uint64(wire))
}

func (p proto) varint(number int, v uint64) proto {
	return binary.AppendUvarint(p.tag(number, wireVarint), v)
}

func (p proto) text(number int, s string) proto {
	return append(binary.AppendUvarint(p.tag(number, wireBytes), uint64(len(s))), s...)
}

func (p proto) in(number int, m proto) proto { return p.text(number, string(m)) }

func (p proto) fixed32(number int, v uint32) proto {
	return binary.LittleEndian.AppendUint32(p.tag(number, wireFixed32), v)
}

func (p proto) fixed64(number int, v uint64) proto {
	return binary.LittleEndian.AppendUint64(p.tag(number, wireFixed64), v)
}

func (p proto) group(number int, m proto) proto {
	return append(append(p.tag(number, wireGroup), m...), proto(nil).tag(number, wireEnd)...)
}

func floats(list ...float32) (p string) {
	for _, f := range list {
		p += string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(f)))
	}
	return p
}

func TestProtobuf(t *testing.T) {
	uuid := "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
	digest := sha256.Sum256([]byte("x"))
	long := bytes.Repeat([]byte{0xff, 0, 1}, 700)
	deep := proto(nil).text(1, "end")
	for range 300 {
		deep = proto(nil).in(1, deep)
	}
	for _, tt := range []struct {
		name    string
		data    proto
		want    string
		remarks string // joined by ;
	}{
		{"nothing", nil, `{}`, ""},
		{"number and text", proto(nil).varint(1, 150).text(2, "testing"), `{"1":150,"2":"testing"}`, ""},
		{"numbers in the order they came", proto(nil).varint(9, 1).varint(3, 2).varint(1, 3), `{"9":1,"3":2,"1":3}`, ""},
		{"a large field number", proto(nil).varint(1<<29-1, 1), `{"536870911":1}`, ""},
		{"negative", proto(nil).varint(1, math.MaxUint64), `{"1":-1}`, "unsigned 18446744073709551615"},
		{"zigzag of the smallest sint32", proto(nil).varint(1, math.MaxUint32), `{"1":4294967295}`, "as a zigzag number -2147483648"},
		{"a time", proto(nil).varint(1, 1735689600), `{"1":1735689600}`, "as a time 2025-01-01 00:00:00Z"},
		{"a time in milliseconds", proto(nil).varint(1, 1735689600123), `{"1":1735689600123}`, "as a time 2025-01-01 00:00:00Z"},
		{"text with line ends", proto(nil).text(1, "a\n\"b\"\t\\"), `{"1":"a\n\"b\"\t\\"}`, ""},
		{"text in Greek", proto(nil).text(1, "ἀρχή"), `{"1":"ἀρχή"}`, ""},
		{"five letters are no float", proto(nil).text(1, "error"), `{"1":"error"}`, ""},
		{"nine letters are no double", proto(nil).text(1, "important"), `{"1":"important"}`, ""},
		{"a message", proto(nil).in(1, proto(nil).varint(1, 7).text(2, "x")), `{"1":{"1":7,"2":"x"}}`, ""},
		{"a message that is valid text", proto(nil).in(5, proto(nil).text(1, uuid)), `{"5":{"1":"` + uuid + `"}}`, ""},
		{"a line end and a line", proto(nil).text(5, "\nhello"), `{"5":"\nhello"}`, ""},
		{"empty", proto(nil).text(1, ""), `{"1":""}`, "empty: text, bytes or a message"},
		{"repeated", proto(nil).text(1, "a").varint(2, 1).text(1, "b"), `{"1":["a","b"],"2":1}`, ""},
		{
			"repeated messages, one empty and one like text",
			proto(nil).in(1, proto(nil).varint(1, 7)).in(1, nil).in(1, proto(nil).text(4, strings.Repeat("x", 40))),
			`{"1":[{"1":7},{},{"4":"` + strings.Repeat("x", 40) + `"}]}`, "",
		},
		{"texts, one with a control", proto(nil).text(1, "plain").text(1, "bell\aring it again, it is a long text"), `{"1":["plain","bell\u0007ring it again, it is a long text"]}`, "text with control characters, or bytes"},
		{"float", proto(nil).fixed32(1, math.Float32bits(1.5)), `{"1":1.5}`, "float, or 1069547520"},
		{"whole float", proto(nil).fixed32(1, math.Float32bits(3)), `{"1":3.0}`, "float, or 1077936128"},
		{"double", proto(nil).fixed64(1, math.Float64bits(-0.1)), `{"1":-0.1}`, "double, or 13815242216921733530"},
		{"fixed", proto(nil).fixed32(1, 42).fixed64(2, 1735689600000), `{"1":42,"2":1735689600000}`, "fixed32;fixed64"},
		{"sfixed", proto(nil).fixed32(1, math.MaxUint32), `{"1":4294967295}`, "fixed32, signed -1"},
		{"not a number", proto(nil).fixed64(1, math.Float64bits(math.Inf(1))), `{"1":9218868437227405312}`, "fixed64"},
		{"packed", proto(nil).text(1, "\x01\x02\xac\x02"), `{"1":[1,2,300]}`, "packed varints, or 4 bytes"},
		{"packed floats", proto(nil).text(1, floats(1, 0.5, 0, -2)), `{"1":[1.0,0.5,0.0,-2.0]}`, "packed floats, or 16 bytes"},
		{"packed doubles", proto(nil).text(1, string(proto(nil).fixed64(1, math.Float64bits(2.5))[1:])+"\x00\x00\x00\x00\x00\x00\x00\x00"), `{"1":[2.5,0.0]}`, "packed doubles, or 16 bytes"},
		{"zeros", proto(nil).text(1, "\x00\x00\x00\x00"), `{"1":"0x00000000"}`, "4 bytes"},
		{"a digest", proto(nil).text(1, string(digest[:])), `{"1":"0x` + hex.EncodeToString(digest[:]) + `"}`, "32 bytes"},
		{"long bytes", proto(nil).text(1, string(long)), `{"1":"0x` + hex.EncodeToString(long[:64]) + `… (2.1 KiB, sha256 ` + hexDigest(long) + `)"}`, "2,100 bytes"},
		{"a picture", proto(nil).text(1, "%PDF-1.7\xff\xff\xff\xff\xff"), `{"1":"0x255044462d312e37ffffffffff"}`, "13 bytes, pdf"},
		{"group", proto(nil).group(3, proto(nil).varint(1, 5)), `{"3":{"1":5}}`, "group"},
		{"groups in a group", proto(nil).group(3, proto(nil).group(3, nil).group(4, nil)), `{"3":{"3":{},"4":{}}}`, "group;group;group"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Protobuf(tt.data, false)
			if p.Err != nil || string(p.JSON) != tt.want {
				t.Errorf("JSON = %s, %v\nwant   %s", p.JSON, p.Err, tt.want)
			}
			var remarks []string
			for _, r := range p.Remarks {
				remarks = append(remarks, r.Text)
			}
			if got := strings.Join(remarks, ";"); got != tt.remarks {
				t.Errorf("remarks = %q, want %q", got, tt.remarks)
			}
			checkProto(t, p)
		})
	}
	p := Protobuf(deep, false)
	checkProto(t, p)
	if n := bytes.Count(p.JSON, []byte("{")); p.Err != nil || n != maxNested {
		t.Errorf("%d messages in each other, %v; want %d", n, p.Err, maxNested)
	}
}

func hexDigest(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

func TestProtobufBroken(t *testing.T) {
	whole := proto(nil).varint(1, 7).text(2, "some text")
	for _, tt := range []struct {
		name string
		data proto
		cut  bool
		want string
		err  string
	}{
		{"within a text", whole[:8], false, `{"1":7,"2":"some"}`, "at byte 2: it ends within a field"},
		{"within a text of what is cut", whole[:8], true, `{"1":7,"2":"some"}`, ""},
		{"within a letter of what is cut", proto(nil).text(1, "aé")[:4], true, `{"1":"a"}`, ""},
		{"within a message of what is cut", proto(nil).in(1, whole)[:10], true, `{"1":{"1":7,"2":"some"}}`, ""},
		{"within a tag in a message of what is cut", append(binary.AppendUvarint(proto(nil).tag(1, wireBytes), 9), 8, 7, 0x80), true, `{"1":{"1":7}}`, ""},
		{"within bytes of what is cut", proto(nil).text(1, "\xff\xfe\xfd")[:4], true, `{"1":"0xfffe…"}`, ""},
		{"within a group", proto(nil).group(1, whole)[:4], false, `{"1":{"1":7}}`, "at byte 0: it ends within a field"},
		{"field 0", proto{8, 7, 0}, false, `{"1":7}`, "at byte 2: no field has the number 0"},
		{"wire type 7", proto{8, 7, 15}, false, `{"1":7}`, "at byte 2: wire types 6 and 7 do not exist"},
		{"a number without end", append(proto{8}, bytes.Repeat([]byte{0xff}, 12)...), false, `{}`, "at byte 0: a number of more than ten bytes"},
		{"a field number too large", proto{0x80, 0x80, 0x80, 0x80, 0x10, 1}, false, `{}`, "at byte 0: a field number over 536,870,911"},
		{"the end of no group", proto{8, 7, 12}, false, `{"1":7}`, "at byte 2: the end of a group that did not begin"},
		{"the end of another group", proto{11, 20}, false, `{}`, "at byte 0: the end of a group that did not begin"},
		{"groups without end", bytes.Repeat(proto{11}, 500), false, `{}`, "at byte 0: groups nested too deeply"},
		{"JSON", proto(`{"a":1}`), false, `{"15":{"4":"\":1}"}}`, "at byte 0: it ends within a field"},
		{"too many fields", bytes.Repeat(proto{8, 1}, maxFields+1), false, "", "more than 200,000 fields"},
		{"too much", bytes.Repeat(proto(nil).text(1, strings.Repeat("x", 1<<20)), 9), false, "", "more than 7.9 MiB as JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Protobuf(tt.data, tt.cut)
			if got := string(p.JSON); tt.want != "" && got != tt.want {
				t.Errorf("JSON = %s, want %s", got, tt.want)
			}
			if got := message(p.Err); got != tt.err {
				t.Errorf("error %q, want %q", got, tt.err)
			}
			checkProto(t, p)
			if len(p.JSON) > MaxDocument {
				t.Errorf("%d bytes, more than Pretty takes", len(p.JSON))
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// checkProto says what holds of any message.
func checkProto(t *testing.T, p Proto) {
	t.Helper()
	if !json.Valid(p.JSON) {
		t.Fatalf("not JSON: %q", p.JSON[:min(len(p.JSON), 4096)])
	}
	at := -1
	for _, r := range p.Remarks {
		if r.At < at || r.At >= len(p.JSON) || r.Text == "" {
			t.Fatalf("a remark %q at %d after %d in %d bytes", r.Text, r.At, at, len(p.JSON))
		}
		at = r.At
	}
}

// TestProtobufNoise looks how seldom bytes that mean nothing are taken for
// something.
func TestProtobufNoise(t *testing.T) {
	wrong := map[int]int{}
	for i := range 2_000 {
		sum := sha256.Sum256(binary.AppendUvarint(nil, uint64(i)))
		for _, n := range []int{16, 20, 32} {
			if p := Protobuf(proto(nil).text(1, string(sum[:n])), false); !bytes.HasPrefix(p.JSON, []byte(`{"1":"0x`)) {
				wrong[n]++
			}
		}
	}
	for n, most := range map[int]int{16: 24, 20: 18, 32: 10} {
		if wrong[n] > most {
			t.Errorf("%d of 2,000 ids of %d bytes are not shown as bytes, want at most %d", wrong[n], n, most)
		}
	}
}

func TestDocumentRemarks(t *testing.T) {
	m := proto(nil).text(1, "a").in(2, proto(nil).fixed32(1, 42)).fixed32(3, 1).fixed32(3, 2)
	p := Protobuf(m, false)
	d, err := Pretty(context.Background(), p.JSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.Remark(p.Remarks)
	var got []string
	for i := range d.Count() {
		line, spans := d.AppendLine([]byte("before "), nil, i)
		line = line[len("before "):]
		got = append(got, string(line))
		if last := spans[len(spans)-1]; strings.Contains(string(line), "fixed") != (last.Role == Note && last.End == len(line)) {
			t.Errorf("%q ends with a %v to %d", line, last.Role, last.End)
		}
	}
	want := []string{`{`, `  "1": "a",`, `  "2": {`, `    "1": 42  fixed32`, `  },`, `  "3": [`, `    1,  fixed32`, `    2  fixed32`, `  ]`, `}`}
	if !slices.Equal(got, want) {
		t.Errorf("lines = %q\nwant    %q", got, want)
	}
	if path := d.Path(3); path != `.["2"]["1"]` {
		t.Errorf("path = %s", path)
	}
}

func FuzzProtobuf(f *testing.F) {
	m := proto(nil).varint(1, 150).text(2, "testing").in(3, proto(nil).fixed32(1, 42).fixed64(2, 1).text(3, "\x01\x02\x03"))
	f.Add([]byte(m), false)
	f.Add([]byte(m[:len(m)-3]), true)
	f.Add([]byte(proto(nil).group(3, proto(nil).group(3, m)).text(4, floats(1, 2, 3, 4))), false)
	f.Add(bytes.Repeat([]byte(proto(nil).text(20, "é\n\x00")), 3), true)
	f.Add(bytes.Repeat([]byte{11}, 200), false)
	f.Fuzz(func(t *testing.T, data []byte, cut bool) {
		p := Protobuf(data, cut)
		checkProto(t, p)
		if p.Err == nil && !cut && !readable(data) {
			t.Fatal("it reads as no message, and nothing is said of that")
		}
		d, err := Pretty(context.Background(), p.JSON, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.Remark(p.Remarks)
		lines := 0
		for i := range d.Count() {
			line, _ := d.AppendLine(nil, nil, i)
			if bytes.ContainsAny(line, "\x1b\r\n") {
				t.Fatalf("line %q", line)
			}
			lines += len(line)
		}
		small := protobuf(data, true, 64)
		checkProto(t, small)
	})
}

// readable reports whether data is fields from end to end.
func readable(data []byte) bool {
	for at := 0; at < len(data); {
		_, next, err := nextField(data, at, 0)
		if err != nil {
			return false
		}
		at = next
	}
	return true
}
