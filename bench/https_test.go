package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestH2Client holds the HTTP/2 load client to a real server: every request
// counts once, bodies arrive whole, and an answer other than 200 is an error.
func TestH2Client(t *testing.T) {
	var served, short atomic.Int64
	status := atomic.Int64{}
	status.Store(200)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		b, _ := io.ReadAll(r.Body)
		if r.ProtoMajor != 2 || r.URL.Path != "/small" || r.Method == "POST" && len(b) != 1024 {
			short.Add(1)
		}
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, "an answer")
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	r := &running{sys: system{HTTPS: strings.TrimPrefix(srv.URL, "https://")}, t: target{host: "t0.tun.test"}}
	for _, method := range []string{"GET", "POST"} {
		served.Store(0)
		body := 0
		if method == "POST" {
			body = 1024
		}
		m, err := http2Load(r, opts{dur: time.Second}, 2, 8, body, method)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		if got, want := m["req/s"], float64(served.Load()); want < 16 || got < want-.5 || got > want+.5 {
			t.Errorf("%s: %v requests counted, %v served", method, got, want)
		}
	}
	if short.Load() > 0 {
		t.Errorf("%d requests did not arrive as they were meant", short.Load())
	}
	status.Store(502)
	if _, err := http2Load(r, opts{dur: 50 * time.Millisecond}, 1, 1, 0, "GET"); err == nil || !strings.Contains(err.Error(), "not 200") {
		t.Errorf("answers of 502: error %v, want one that says so", err)
	}
}
