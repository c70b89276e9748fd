package inspector

import (
	"encoding/base64"
	"testing"
	"time"
)

func TestGRPCStatus(t *testing.T) {
	grpc := []Field{{"content-type", "application/grpc"}}
	for _, tt := range []struct {
		name  string
		x     Exchange
		want  string
		ok    bool
		erred bool
	}{
		{"fine", Exchange{Kind: GRPC, Status: 200, Response: Message{Header: grpc, Trailer: []Field{{"Grpc-Status", "0"}}}}, "ok", true, false},
		{"in trailers", Exchange{Kind: GRPC, Status: 200, Response: Message{Header: grpc, Trailer: []Field{{"grpc-message", "no%20such \u00fcser%2"}, {"grpc-status", "5"}}}}, "not found: no such \u00fcser%2", true, true},
		{"in the header", Exchange{Kind: GRPC, Status: 200, Response: Message{Header: []Field{{"grpc-status", "14"}}}}, "unavailable", true, true},
		{"of the web", Exchange{Kind: HTTP, Status: 200, Response: Message{Header: []Field{{"Content-Type", "application/grpc-web+proto"}, {"grpc-status", "16"}}}}, "unauthenticated", true, true},
		{"no known code", Exchange{Kind: GRPC, Status: 200, Response: Message{Trailer: []Field{{"grpc-status", "99"}}}}, "code 99", true, true},
		{"no number", Exchange{Kind: GRPC, Status: 200, Response: Message{Trailer: []Field{{"grpc-status", "x"}}}}, "ok", false, false},
		{"none", Exchange{Kind: GRPC, Status: 200, Response: Message{Header: grpc}}, "ok", false, false},
		{"no gRPC", Exchange{Kind: HTTP, Status: 200, Response: Message{Header: []Field{{"grpc-status", "3"}}}}, "ok", false, false},
		{"an answer of the edge", Exchange{Kind: GRPC, Status: 502, Error: "upstream_refused"}, "ok", false, true},
		{"bytes that are no text", Exchange{Kind: GRPC, Status: 200, Response: Message{Trailer: []Field{{"grpc-status", "2"}, {"grpc-message", "%ff%41"}}}}, "unknown: \ufffdA", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, ok := tt.x.GRPC()
			if s.String() != tt.want || ok != tt.ok || tt.x.Erred() != tt.erred {
				t.Errorf("status %q, %v, erred %v; want %q, %v, %v", s, ok, tt.x.Erred(), tt.want, tt.ok, tt.erred)
			}
		})
	}
}

// TestRecordGRPC counts the messages of both sides, from before the answer on, and
// in whatever pieces they come.
func TestRecordGRPC(t *testing.T) {
	r := NewRing("t", 0, Limits{}, nil)
	rec := r.Begin(Start{Kind: GRPC, Method: "POST", Path: "/a.B/C", Header: []Field{{"content-type", "application/grpc"}}, Accepted: time.Now()})
	message := "\x00\x00\x00\x00\x03abc"
	for _, c := range message + message + message[:5] {
		_, _ = rec.RequestBody().Write([]byte(string(c)))
	}
	if x := rec.Whole(); x.Kind != GRPC || x.Request.Body.Items != 3 || len(x.Marks) == 0 {
		t.Errorf("before the answer kind %s, %d messages, %d marks", x.Kind, x.Request.Body.Items, len(x.Marks))
	}
	rec.Answered(Answer{Status: 200, Kind: GRPC, Header: []Field{{"content-type", "application/grpc"}}})
	_, _ = rec.ResponseBody().Write([]byte(message + message))
	rec.Trailers(nil, []Field{{"grpc-status", "0"}})
	rec.End(Ending{})
	x := rec.Whole()
	if x.Request.Body.Items != 3 || x.Response.Body.Items != 2 || !x.Marks[len(x.Marks)-1].Response {
		t.Errorf("%d and %d messages, marks %v", x.Request.Body.Items, x.Response.Body.Items, x.Marks)
	}
}

// TestRecordGRPCWeb finds the trailers in the body.
func TestRecordGRPCWeb(t *testing.T) {
	body := "\x00\x00\x00\x00\x03abc\x80\x00\x00\x00\x20grpc-status: 5\r\ngrpc-message: x\r\n"
	for contentType, body := range map[string]string{
		"application/grpc-web+proto": body,
		"application/grpc-web-text":  base64.StdEncoding.EncodeToString([]byte(body[:8])) + base64.StdEncoding.EncodeToString([]byte(body[8:])) + "\n",
	} {
		t.Run(contentType, func(t *testing.T) {
			r := NewRing("t", 0, Limits{}, nil)
			rec := r.Begin(Start{Method: "POST", Accepted: time.Now()})
			rec.Answered(Answer{Status: 200, Header: []Field{{"content-type", contentType}}})
			_, _ = rec.ResponseBody().Write([]byte(body))
			rec.End(Ending{})
			for range 2 {
				x := rec.Whole()
				if s, ok := x.GRPC(); !ok || s.String() != "not found: x" || !x.Erred() || !x.IsGRPC() {
					t.Errorf("status %q, %v", s, ok)
				}
			}
		})
	}
	for _, body := range []string{"", "\x80", "\x80\xff\xff\xff\xff", "\x00\x00\x00\x00\x09abc", "\x81\x00\x00\x00\x01x"} {
		if got := webTrailer("application/grpc-web", []byte(body)); got != nil {
			t.Errorf("trailers of %q = %v", body, got)
		}
	}
}
