package diff

import (
	"slices"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

// Messages of gRPC are compared by their values, however they came.
func TestGRPCBodies(t *testing.T) {
	call := func(code string, messages ...string) *inspector.Exchange {
		body := ""
		for _, m := range messages {
			body += "\x00\x00\x00\x00" + string(rune(len(m))) + m
		}
		n := int64(len(body))
		return &inspector.Exchange{Kind: inspector.GRPC, Status: 200, Response: inspector.Message{
			Header:  []inspector.Field{{Name: "content-type", Value: "application/grpc"}},
			Trailer: []inspector.Field{{Name: "grpc-status", Value: code}},
			Body:    inspector.Body{Size: n, Captured: n, Data: []byte(body)},
		}}
	}
	paths := func(r Report) string {
		var out []string
		for _, c := range slices.Concat(r.Response.Start, r.Response.Body.Changes) {
			out = append(out, string(c.Op)+" "+c.Path+" "+string(c.A)+" "+string(c.B))
		}
		return strings.Join(out, "; ")
	}
	for _, tt := range []struct {
		name  string
		a, b  *inspector.Exchange
		want  string
		equal bool
		notes string
	}{
		{"equal", call("0", "\x08\x07"), call("0", "\x08\x07"), "", true, ""},
		{"one value", call("0", "\x08\x07\x12\x01a"), call("0", "\x08\x07\x12\x01b"), `replace .["2"] "a" "b"`, false, ""},
		{"written in another order", call("0", "\x08\x07\x12\x01a"), call("0", "\x12\x01a\x08\x07"), "", true, "the values are equal, the bytes are not"},
		{"one more message", call("0", "\x08\x07"), call("0", "\x08\x07", "\x08\x08"), `add .[1]  {"1":8}`, false, ""},
		{"status", call("0", "\x08\x07"), call("14"), `replace grpc "ok" "unavailable"; remove . {"1":7} `, false, ""},
		{"not to be read", call("0", "\x08\x07\x0f"), call("0", "\x08\x07\x0f\x0f"), "", false, "A: not all of it can be read: at byte 2: wire types 6 and 7 do not exist; B: not all of it can be read: at byte 2: wire types 6 and 7 do not exist; the bodies differ beyond what was captured"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Exchanges(tt.a, tt.b, Response, Options{})
			if got := paths(r); got != tt.want || r.Equal() != tt.equal || r.Response.Body.Kind != "protobuf" {
				t.Errorf("%q, equal %v, as %s; want %q, %v", got, r.Equal(), r.Response.Body.Kind, tt.want, tt.equal)
			}
			if got := strings.Join(r.Response.Body.Notes, "; "); got != tt.notes {
				t.Errorf("notes = %q, want %q", got, tt.notes)
			}
		})
	}
	// What is no gRPC in spite of its label is compared as bytes.
	html := call("0")
	html.Response.Body = inspector.Body{Size: 6, Captured: 6, Data: []byte("<html>")}
	if r := Exchanges(call("0", "\x08\x07"), html, Response, Options{}); r.Response.Body.Kind != "binary" || r.Equal() {
		t.Errorf("compared as %s", r.Response.Body.Kind)
	}
}
