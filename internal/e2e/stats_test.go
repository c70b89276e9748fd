package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/client"
)

// TestCountersOutliveTheEdge sends requests of known size, compares what the
// operator sees over the API and in the metrics, and looks again after a restart
// that came before the minute was over.
func TestCountersOutliveTheEdge(t *testing.T) {
	const requests, up, down = 20, 1000, 3000
	answer := strings.Repeat("d", down)
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", strconv.Itoa(down))
		_, _ = io.WriteString(w, answer)
	})
	dir := t.TempDir()
	r := start(t, local, func(c *rigConfig) { c.edge.DataDir = dir })
	before, err := r.api.AdminStats(t.Context(), 24)
	if err != nil {
		t.Fatal(err)
	}
	if before.Agents != 1 || before.Tunnels != 1 || before.Users != 1 || before.Total != (client.Usage{}) {
		t.Errorf("before any request: %+v, want an agent, a tunnel, a user and no usage", before)
	}
	body := strings.Repeat("u", up)
	for range requests {
		got := r.exchange(t, fmt.Sprintf("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", up, body))
		if bodyOf(got) != answer {
			t.Fatalf("answer = %s", statusLine(got))
		}
	}
	r.last(t)
	want := func(what string, s client.Stats) {
		t.Helper()
		u := s.Total
		// Heads count as well, which have no fixed size.
		if u.Requests != requests || u.BytesIn < requests*up || u.BytesIn > requests*(up+1000) || u.BytesOut < requests*down || u.BytesOut > requests*(down+1000) {
			t.Errorf("%s: total = %+v, want %d requests with %d bytes in and %d out, and heads", what, u, requests, requests*up, requests*down)
		}
		if len(s.ByTunnel) != 1 || s.ByTunnel[0].Tunnel != "shop" || s.ByTunnel[0].Usage != u || len(s.ByUser) != 1 || s.ByUser[0].Usage != u {
			t.Errorf("%s: by user %+v, by tunnel %+v, want all of it shop's", what, s.ByUser, s.ByTunnel)
		}
		if len(s.Hours) == 0 || len(s.Hours) > 2 {
			t.Errorf("%s: %d hours, want one or two", what, len(s.Hours))
		}
	}
	after, err := r.api.AdminStats(t.Context(), 24)
	if err != nil {
		t.Fatal(err)
	}
	want("at once", after)
	m := metricsOf(t, r)
	for name, value := range map[string]string{
		`lrok_requests_total{kind="http"}`:  fmt.Sprint(requests),
		`lrok_bytes_in_total{kind="http"}`:  fmt.Sprint(after.Total.BytesIn),
		`lrok_bytes_out_total{kind="http"}`: fmt.Sprint(after.Total.BytesOut),
		`lrok_tunnels_online{kind="http"}`:  "1",
		`lrok_agents`:                       "1",
		`lrok_users`:                        "1",
		`lrok_store_healthy`:                "1",
		`lrok_draining`:                     "0",
	} {
		if m[name] != value {
			t.Errorf("%s = %q, want %q", name, m[name], value)
		}
	}

	r.stopEdge()
	again := start(t, local, func(c *rigConfig) { c.edge.DataDir, c.claim.Name = dir, "other" })
	later, err := again.api.AdminStats(t.Context(), 24)
	if err != nil {
		t.Fatal(err)
	}
	want("after a restart", later)
	if m := metricsOf(t, again); m[`lrok_requests_total{kind="http"}`] != "0" {
		t.Errorf("requests of the new process = %s, want 0: Prometheus adds them up itself", m[`lrok_requests_total{kind="http"}`])
	}
}

// metricsOf reads an edge's metrics as Prometheus does.
func metricsOf(t testing.TB, r *rig) map[string]string {
	t.Helper()
	resp, err := http.Get("http://" + r.edge.InternalAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	m := make(map[string]string)
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		if series, value, ok := strings.Cut(sc.Text(), " "); ok && !strings.HasPrefix(series, "#") {
			m[series] = value
		}
	}
	http.DefaultClient.CloseIdleConnections()
	return m
}
