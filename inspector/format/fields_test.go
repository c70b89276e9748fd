package format

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestForm(t *testing.T) {
	got := Form([]byte("b=2&a=1&&b=%C3%A9+x&flag&bad=%zz%4&=v&e=a=b"))
	want := []Pair{{"b", "2"}, {"a", "1"}, {"b", "é x"}, {"flag", ""}, {"bad", "%zz%4"}, {"", "v"}, {"e", "a=b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Form (-want +got):\n%s", diff)
	}
	if got := len(Form([]byte(strings.Repeat("a&", 2*MaxPairs)))); got != MaxPairs {
		t.Errorf("Form of too many = %d pairs, want %d", got, MaxPairs)
	}
}

const upload = "preamble\r\n--b-1\r\n" +
	"Content-Disposition: form-data; name=\"title\"\r\n\r\nA title\r\n--b-1 \r\n" +
	"content-disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".bin\"\r\nContent-Type: application/octet-stream\r\n\r\n" +
	"\x00--b-1 is no boundary here\r\n--b-12\r\n\r\n--b-1\r\n" +
	"\r\nno head\r\n--b-1--\r\nepilogue"

func TestMultipart(t *testing.T) {
	got, err := Multipart(`multipart/form-data; charset=x; boundary="b-1"`, []byte(upload))
	if err != nil {
		t.Fatal(err)
	}
	want := []Part{
		{Name: "title", Header: []Pair{{"Content-Disposition", `form-data; name="title"`}}, Data: []byte("A title")},
		{
			Name: "file", Filename: `a "b".bin`, Type: "application/octet-stream",
			Header: []Pair{{"content-disposition", `form-data; name="file"; filename="a \"b\".bin"`}, {"Content-Type", "application/octet-stream"}},
			Data:   []byte("\x00--b-1 is no boundary here\r\n--b-12\r\n"),
		},
		{Data: []byte("no head")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Multipart (-want +got):\n%s", diff)
	}

	cut, err := Multipart("multipart/form-data; boundary=b-1", []byte(upload[:strings.Index(upload, "here")]))
	if err != nil || len(cut) != 2 || !cut[1].Truncated || string(cut[1].Data) != "\x00--b-1 is no boundary " {
		t.Errorf("Multipart of a part = %+v, %v", cut, err)
	}
	for _, contentType := range []string{"multipart/form-data", "", "multipart/form-data; boundary=other", "multipart/mixed; boundary=\"\""} {
		if got, err := Multipart(contentType, []byte(upload)); err == nil {
			t.Errorf("Multipart(%q) = %+v, want an error", contentType, got)
		}
	}
	many, err := Multipart("multipart/form-data; boundary=b", []byte(strings.Repeat("--b\n\n\n", 2*MaxParts)))
	if err != nil || len(many) != MaxParts {
		t.Errorf("Multipart of too many = %d, %v, want %d", len(many), err, MaxParts)
	}
}

func TestEventStream(t *testing.T) {
	const stream = "\ufeff: hello\n\nid: 1\nevent: tick\ndata: a\ndata:b\ndata\nretry: 1500\n\n\n\r\ndata: {\"x\": 1}\r\n\r\nid: 2\r\r: ping\rdata:  x\r\rdata: open"
	got := EventStream([]byte(stream))
	want := []SSEEvent{
		{Offset: 3, Comment: "hello"},
		{Offset: 12, ID: "1", Event: "tick", Data: "a\nb\n", Retry: 1500 * time.Millisecond},
		{Offset: 65, Event: "message", Data: `{"x": 1}`},
		{Offset: 83, ID: "2"},
		{Offset: 90, Event: "message", Data: " x"},
		{Offset: 107, Event: "message", Data: "open", Open: true},
	}
	for i := range got {
		if i < len(want) {
			if at := got[i].Offset; strings.ContainsAny(stream[at:at+1], "\r\n") {
				t.Errorf("event %d begins with a line end at %d", i, at)
			}
			want[i].Offset = got[i].Offset
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("EventStream (-want +got):\n%s", diff)
	}
}

func TestHex(t *testing.T) {
	data := []byte("\x00\x00\x00\x08\x04\xd2\x16\x2fGET / HTTP/1.1\r\n\x1b")
	want := []string{
		"00000000  00 00 00 08 04 d2 16 2f  47 45 54 20 2f 20 48 54  |......./GET / HT|",
		"00000010  54 50 2f 31 2e 31 0d 0a  1b                       |TP/1.1...|",
	}
	if diff := cmp.Diff(want, Hex(data, 0, 10)); diff != "" {
		t.Errorf("Hex (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], Hex(data, 16, 1)); diff != "" {
		t.Errorf("Hex from 16 (-want +got):\n%s", diff)
	}
	if got := Hex(data, 100, 5); len(got) != 0 {
		t.Errorf("Hex beyond the end = %q", got)
	}
	if got, want := string(AppendHexRow(nil, data, 8, 8)), "00000008  47 45 54 20 2f 20 48 54  |GET / HT|"; got != want {
		t.Errorf("AppendHexRow = %q, want %q", got, want)
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int64][2]string{
		-1: {"0", "0 bytes"}, 0: {"0", "0 bytes"}, 1: {"1", "1 byte"}, 19: {"19", "19 bytes"}, 999: {"999", "999 bytes"},
		1000: {"1.0k", "1.0 KiB"}, 2114: {"2.1k", "2.1 KiB"}, 6902: {"6.7k", "6.7 KiB"}, 14 << 10: {"14k", "14 KiB"},
		999 << 10: {"999k", "999 KiB"}, 1000 << 10: {"1.0M", "1.0 MiB"}, 1 << 20: {"1.0M", "1.0 MiB"}, 5 << 20: {"5.0M", "5.0 MiB"},
		44_350_000: {"42M", "42 MiB"}, 3 << 30: {"3.0G", "3.0 GiB"}, 1<<63 - 1: {"8.0E", "8.0 EiB"},
	} {
		if got := [2]string{Size(n), Bytes(n)}; got != want {
			t.Errorf("Size and Bytes of %d = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 12: "12", 999: "999", 1000: "1,000", 6902: "6,902", 1234567: "1,234,567", -1234: "-1,234", -123: "-123", 1234567890: "1,234,567,890"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0ms", 0: "0ms", 10 * time.Nanosecond: "0.1ms", 400 * time.Microsecond: "0.4ms", 960 * time.Microsecond: "1ms",
		38 * time.Millisecond: "38ms", 999 * time.Millisecond: "999ms", 999600 * time.Microsecond: "1.0s", 1240 * time.Millisecond: "1.2s",
		9990 * time.Millisecond: "10s", 59 * time.Second: "59s", 59600 * time.Millisecond: "1m00", 72 * time.Second: "1m12", 125 * time.Second: "2m05",
		time.Hour - time.Millisecond: "1h00", 125 * time.Minute: "2h05", 76 * time.Hour: "3d04", 24 * time.Hour * 400: "400d",
	} {
		got := Duration(d)
		if got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
		if len(got) > 5 {
			t.Errorf("Duration(%v) = %q takes more than five columns", d, got)
		}
	}
}
