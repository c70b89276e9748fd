package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

// TestBulkChangesNothing: what clients and services get, what is captured and what
// is counted is the same whether large bodies have connections of their own or
// not.
func TestBulkChangesNothing(t *testing.T) {
	const size = 5 << 20
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(body)
	exchanges := []struct {
		name, method, path string
		chunked            bool
		trailer            bool
	}{
		{"download", "GET", "/length", false, false},
		{"chunked download with a trailer", "GET", "/chunked", false, false},
		{"upload", "POST", "/up", false, false},
		{"chunked upload with a trailer", "POST", "/up", true, true},
		{"both ways", "POST", "/echo", true, false},
		{"small", "GET", "/small", false, false},
	}
	serve := service(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = w.Write(body)
		case "/chunked":
			w.Header().Set("Trailer", "Sum")
			_, _ = w.Write(body[:size/2])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(body[size/2:])
			w.Header().Set("Sum", "12")
		case "/up":
			got, err := io.ReadAll(r.Body)
			_, _ = fmt.Fprint(w, bytes.Equal(got, body), err, r.Trailer)
		case "/echo":
			_ = http.NewResponseController(w).EnableFullDuplex()
			got, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("request: %v", err)
			}
			_, _ = w.Write(got)
		default:
			_, _ = io.WriteString(w, "small")
		}
	})
	type outcome struct {
		Status            int
		Body              bool // as it was sent
		Text              string
		Trailer           http.Header
		Request, Response inspector.Message
		EndedBy, Error    string
		In, Out           int64
	}
	run := func(t *testing.T, bulk int) (all []outcome, connections bool) {
		r := start(t, serve, func(c *rigConfig) { c.edge.Bulk = bulk })
		h := &http.Client{Transport: &http.Transport{}}
		defer h.CloseIdleConnections()
		for range 2 { // the second time on streams that have been elsewhere
			for _, x := range exchanges {
				var sent io.Reader
				if x.method == "POST" {
					sent = bytes.NewReader(body)
				}
				if x.chunked {
					sent = io.MultiReader(sent)
				}
				req, err := http.NewRequestWithContext(t.Context(), x.method, "http://"+r.edge.HTTPAddr()+x.path, sent)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = r.host
				if x.trailer {
					req.Trailer = http.Header{"Sum": {"7"}}
				}
				resp, err := h.Do(req)
				if err != nil {
					t.Fatalf("%s: %v", x.name, err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil {
					t.Fatalf("%s: after %d bytes: %v", x.name, len(got), err)
				}
				o := outcome{Status: resp.StatusCode, Body: bytes.Equal(got, body), Trailer: resp.Trailer}
				if len(got) < 1000 {
					o.Text = string(got)
				}
				last := r.last(t)
				o.Request, o.Response, o.EndedBy, o.Error = last.Request, last.Response, last.EndedBy, last.Error
				ts, err := r.api.Tunnels(t.Context())
				if err != nil || len(ts) != 1 {
					t.Fatalf("%d tunnels, %v", len(ts), err)
				}
				o.In, o.Out = ts[0].BytesIn, ts[0].BytesOut
				all = append(all, o)
			}
		}
		resp, err := http.Get("http://" + r.edge.InternalAddr() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(metrics)) {
			if strings.HasPrefix(line, "lrok_bulk_connections ") && line != "lrok_bulk_connections 0\n" {
				connections = true
			}
		}
		return all, connections
	}
	without, connections := run(t, -1)
	if connections {
		t.Error("the edge that is not to has bulk connections")
	}
	with, connections := run(t, 0)
	if !connections {
		t.Error("nothing went over")
	}
	for i, x := range without {
		if name := exchanges[i%len(exchanges)].name; !reflect.DeepEqual(x, with[i]) {
			t.Errorf("%s, with a connection of its own:\n%s\nwithout:\n%s", name, brief(with[i]), brief(x))
		}
	}
}

func brief(v any) string {
	s := fmt.Sprintf("%+v", v)
	return s[:min(len(s), 2000)]
}
