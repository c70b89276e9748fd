package diff

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/lrok-dev/lrok/inspector"
)

// A body from an archive names the coding that it came in and is without it.
func TestDecodedBody(t *testing.T) {
	plain := []byte(`{"a": 1}`)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(plain)
	_ = w.Close()
	with := func(data []byte, decoded bool) *inspector.Exchange {
		n := int64(len(data))
		return &inspector.Exchange{Status: 200, Response: inspector.Message{
			Header: []inspector.Field{{Name: "Content-Encoding", Value: "gzip"}, {Name: "Content-Type", Value: "application/json"}},
			Body:   inspector.Body{Size: n, Captured: n, Data: data, Decoded: decoded},
		}}
	}
	r := Exchanges(with(plain, true), with(z.Bytes(), false), Response, Options{})
	if !r.Equal() || len(r.Response.Body.Notes) > 0 {
		t.Errorf("equal = %v, notes = %q, want equal without notes", r.Equal(), r.Response.Body.Notes)
	}
}
