package inspector

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// anExchange is one with everything that an event may tell of.
func anExchange() Exchange {
	return Exchange{
		ID: "req_01", Number: 7, Version: 1795443335379 << 10, Tunnel: "shop", ReplayOf: "req_00", State: Done, Kind: SSE,
		Method: "GET", Path: "/a?b=1&c=<é>\u2028\t\"\\", Scheme: "https", Host: "shop.lrok.example", Proto: "HTTP/1.1",
		Remote: "203.0.113.7:51512", TLS: "TLS 1.3", Status: 200, Reason: "OK",
		Request:  Message{Header: []Field{{"Host", "shop.lrok.example"}, {"", ""}}, Body: Body{Size: 5, Captured: 4, SHA256: "ab", Missing: "limit"}},
		Response: Message{Trailer: []Field{}, Body: Body{Items: 3, Last: -time.Second}},
		Timing:   Timing{Accepted: time.Date(2026, 11, 23, 14, 2, 31, 123456789, time.FixedZone("", 3600)), StreamOpen: 1, Reused: true, Dial: 2, FirstByte: 3, Done: 4},
		EndedBy:  "client", Error: "upstream_refused", Detail: "dial tcp: \u001b[31mrefused 😀",
	}
}

// What the edge writes is decoded as encoding/json does, without its help.
func TestDecodeWhatIsWritten(t *testing.T) {
	full := anExchange()
	for name, x := range map[string]Exchange{"full": full, "empty": {}, "begun": {ID: "req_1", State: Open, Request: Message{Header: []Field{}}}} {
		data, err := json.Marshal(&x)
		if err != nil {
			t.Fatal(err)
		}
		if name == "full" { // what looks like another letter, too
			data = []byte(strings.Replace(string(data), `"OK"`, `"\u004FK\/\n"`, 1))
		}
		var d decoder
		var want Exchange
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time with texts it has seen
			got, err := d.decode(data)
			if err != nil || !reflect.DeepEqual(*got, want) {
				t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, want)
			}
			if d.odd {
				t.Errorf("%s: was left to encoding/json at %d: %s", name, d.at, data[d.at:])
			}
		}
	}
}

// No field is left to encoding/json but those that events leave out.
func TestDecodeKnowsAllFields(t *testing.T) {
	var x Exchange
	fill(reflect.ValueOf(&x).Elem())
	x = x.Light()
	data, err := json.Marshal(&x)
	if err != nil {
		t.Fatal(err)
	}
	var d decoder
	got, err := d.decode(data)
	if err != nil || d.odd || !reflect.DeepEqual(*got, x) {
		t.Errorf("not decoded from byte %d on: %s\n%+v, %v\nwant %+v", d.at, data[min(d.at, len(data)):], *got, err, x)
	}
}

// fill sets everything in v that is written to something.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 14, 2, 31, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(7)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	}
}

// Of texts that come again one is kept, and no more of them than there is room for.
func TestDecodeKeepsTextsOnce(t *testing.T) {
	var d decoder
	data := []byte(`{"id":"req_1","method":"GET","path":"/a","host":"shop.lrok.example","request":{"header":[{"name":"Accept","value":"*/*"}],"body":{"size":0,"captured":0}}}`)
	n := testing.AllocsPerRun(100, func() {
		if _, err := d.decode(data); err != nil {
			t.Fatal(err)
		}
	})
	if n > 3 { // the exchange, its id and its header
		t.Errorf("%v allocations, want 3", n)
	}
	for i := range 3 * mostSeen {
		if _, err := d.decode(fmt.Appendf(nil, `{"path":"/%d"}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.seen) > mostSeen {
		t.Errorf("%d texts are remembered, want %d at most", len(d.seen), mostSeen)
	}
}

// FuzzDecode holds the decoder against encoding/json.
func FuzzDecode(f *testing.F) {
	x := anExchange()
	data, _ := json.Marshal(&x)
	f.Add(data)
	for _, s := range []string{
		`{}`, `{"id":"a","id":"b"}`, `{"request":{"header":[{"name":"a"}],"header":[{"value":"b"}]}}`, `{"status":-0,"number":01}`,
		`{"path":"\ud83d\ude00\u0000\x"}`, "{\"path\":\"\xff\"}", `{"ID":"a"}`, `{"request":null,"interim":[100]}`, ` {"id" : "a"} `,
		`{"timing":{"accepted":"2026-11-23T14:02:31Z","reused":false}}`, `{"timing":{"reused":tru`, `{"request":{"header":null,"trailer":[]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var d decoder
		var want Exchange
		wantErr := json.Unmarshal(data, &want)
		for range 2 {
			got, err := d.decode(data)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%v, want %v", err, wantErr)
			}
			if err == nil && !reflect.DeepEqual(*got, want) {
				t.Fatalf("%+v\nwant %+v", *got, want)
			}
		}
	})
}

func BenchmarkReadEvents(b *testing.B) {
	x := anExchange()
	x.Path, x.Detail = "/small?conn=1&x=2", ""
	data, _ := json.Marshal(&x)
	s := strings.Repeat(fmt.Sprintf("id: %d\nevent: request\ndata: %s\n\n", x.Version, data), 1000)
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := ReadEvents(strings.NewReader(s), func(Event) error { n++; return nil }); err != nil || n != 1000 {
			b.Fatal(n, err)
		}
	}
}
