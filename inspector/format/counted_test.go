package format

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// TestEventsAreCounted holds the count of a capture, made as bytes pass, against the
// reading of the whole stream.
func TestEventsAreCounted(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	ring := inspector.NewRing("a", 0, inspector.Limits{}, nil)
	defer ring.Close()
	lines := []string{"data: x", "data:", "data", "datum: x", "dat", "id: 7", "event: tick", ": still here", "", "", "retry: 10", "xdata: no"}
	for range 500 {
		var data []byte
		for range r.IntN(60) {
			data = append(data, lines[r.IntN(len(lines))]...)
			data = append(data, []string{"\n", "\r\n", "\r"}[r.IntN(3)]...)
		}
		// An event without data is none; one with an empty line of data is.
		want := int64(0)
		for _, e := range EventStream(data) {
			if !e.Open && hasData(data[e.Offset:]) {
				want++
			}
		}
		rec := ring.Begin(inspector.Start{Method: "GET", Path: "/", Accepted: time.Now()})
		rec.Answered(inspector.Answer{Status: 200, Kind: inspector.SSE})
		for most, rest := 1+r.IntN(20), data; len(rest) > 0; {
			n := min(1+r.IntN(most), len(rest))
			_, _ = rec.ResponseBody().Write(rest[:n])
			rest = rest[n:]
		}
		if got := rec.Whole().Response.Body.Items; got != want {
			t.Fatalf("%d events were counted in %q, want %d", got, data, want)
		}
	}
}

// hasData reports whether the event that begins at data has a data field.
func hasData(data []byte) bool {
	for len(data) > 0 {
		n := bytes.IndexAny(data, "\r\n")
		if n <= 0 {
			return false
		}
		name, _, _ := bytes.Cut(data[:n], []byte(":"))
		if string(name) == "data" {
			return true
		}
		second := data[n] == '\r' && n+1 < len(data) && data[n+1] == '\n'
		data = data[n+1:]
		if second {
			data = data[1:]
		}
	}
	return false
}
