package stats

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lrok-dev/lrok/tunnel"
)

// Sources are what the metrics show besides the tunnels' counters: functions
// that read what is there anyway. A nil one leaves its metrics out.
type Sources struct {
	Agents  func() int // connected
	Streams func() int // to agents, open now
	Bulk    func() int // further connections of agents, open now
	Public  func() Public

	// HandshakesRefused counts TLS handshakes for which no certificate was there.
	HandshakesRefused func() int64
	Certificates      func() []Certificate

	// ControlRefused counts agents that were turned away, by the code they were
	// told or another word for why.
	ControlRefused func() map[string]int64
	KeysRefused    func() int64

	CaptureMemory func() (used, limit int64)
	Store         func() error // nil while it can be written
	Draining      func() bool
}

// Public is what the public listeners have seen.
type Public struct {
	Open        int   // connections, now
	Opened      int64 // connections
	TurnedAway  int64 // connections for which there was no room
	Shed        int64 // idle connections that made room
	Denied      int64 // requests that a tunnel's rules refused
	Misdirected int64 // requests for another host than the connection was made to
	Cookies     int64 // cookies for the whole domain that were not passed on
}

// A Certificate of the edge's own.
type Certificate struct {
	Names    []string
	Source   string // where it is from
	NotAfter time.Time
}

// exposeTypes makes the library write the types of metrics, which it does for
// the whole process or not at all.
var exposeTypes = sync.OnceFunc(func() { metrics.ExposeMetadata(true) })

// Metrics answers Prometheus. It is for the internal listener. No tunnel, user
// or visitor is named in it.
func (s *Stats) Metrics() http.Handler {
	exposeTypes()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var b bytes.Buffer
		s.gather().WritePrometheus(&b)
		metrics.WriteProcessMetrics(&b)
		metrics.WriteFDMetrics(&b)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(helped(b.Bytes()))
	})
}

// helps says what each metric means, as docs/metrics.md does.
var helps = map[string]string{
	"lrok_agents":                           "Agents connected.",
	"lrok_agents_refused_total":             "Agents turned away, by the code they were told; crowded: too many without a key, stranger: no agent at all.",
	"lrok_keys_refused_total":               "Keys that were not accepted, from agents and over the API.",
	"lrok_streams_open":                     "Streams to agents: requests and connections in flight, and those kept for the next.",
	"lrok_bulk_connections":                 "Further connections of agents, which large bodies pass over, and those kept for the next.",
	"lrok_users":                            "Users.",
	"lrok_tunnels":                          "Tunnels, also those whose agent is away.",
	"lrok_tunnels_online":                   "Tunnels whose agent is there.",
	"lrok_tunnels_opened_total":             "Tunnels that were opened.",
	"lrok_requests_total":                   "Requests through tunnels.",
	"lrok_connections_total":                "Connections through tunnels of kind tcp and tls.",
	"lrok_connections_open":                 "Open connections through tunnels of kind tcp and tls.",
	"lrok_bytes_in_total":                   "Bytes towards local services.",
	"lrok_bytes_out_total":                  "Bytes towards the public side.",
	"lrok_public_connections_open":          "Connections to the public listeners.",
	"lrok_public_connections_total":         "Connections that came to the public listeners.",
	"lrok_public_connections_refused_total": "Connections to the public listeners for which there was no room.",
	"lrok_public_connections_shed_total":    "Idle connections to the public listeners that were closed to make room.",
	"lrok_requests_refused_total":           "Requests that a tunnel's own rules refused (denied), or that were for another host than their connection (misdirected).",
	"lrok_cookies_dropped_total":            "Cookies for the whole domain that were not passed on.",
	"lrok_tls_handshakes_refused_total":     "TLS connections for a name without a certificate.",
	"lrok_certificate_expiry_seconds":       "When a certificate for the edge's own hosts runs out, in Unix time.",
	"lrok_capture_bytes":                    "Memory that captures take.",
	"lrok_capture_limit_bytes":              "Memory that captures may take.",
	"lrok_store_healthy":                    "1 while the store can be written.",
	"lrok_draining":                         "1 while the edge is starting or ending.",
	"lrok_start_time_seconds":               "When the edge started, in Unix time.",
	"lrok_build_info":                       "1; the labels say what runs.",
}

// helped gives the HELP lines their texts, which the library leaves out, and
// takes away those that have none.
func helped(text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/2)
	for line := range bytes.Lines(text) {
		name, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("# HELP "))
		if help := helps[string(name)]; !ok {
			out = append(out, line...)
		} else if help != "" {
			out = fmt.Appendf(out, "# HELP %s %s\n", name, help)
		}
	}
	return out
}

// kinds are shown also while there is no tunnel of them.
var kinds = []tunnel.Kind{tunnel.HTTP, tunnel.TCP, tunnel.TLS}

// gather reads everything into a set that lives for one answer: what is read
// exists elsewhere, and series come and go with certificates.
func (s *Stats) gather() *metrics.Set {
	set := metrics.NewSet()
	gauge := func(name string, v float64, labels ...string) {
		set.GetOrCreateGauge(series(name, labels), nil).Set(v)
	}
	counter := func(name string, v int64, labels ...string) {
		set.GetOrCreateCounter(series(name, labels)).Set(uint64(max(v, 0)))
	}
	word := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}

	live := make(map[tunnel.Kind]int64)
	online := make(map[tunnel.Kind]int64)
	open := make(map[tunnel.Kind]int64)
	ts := s.cfg.Tunnels("")
	for _, t := range ts {
		live[t.Kind]++
		if t.Online() {
			online[t.Kind]++
		}
	}
	s.mu.Lock()
	for _, t := range ts {
		s.see(t)
	}
	total := make(map[tunnel.Kind]counts)
	opened := make(map[tunnel.Kind]int64)
	for _, kind := range kinds {
		total[kind], opened[kind] = s.gone[kind], s.opened[kind]
	}
	for c, k := range s.known {
		total[k.kind] = total[k.kind].plus(read(c))
		open[k.kind] += c.Open.Load()
	}
	s.mu.Unlock()
	for _, kind := range kinds {
		label := []string{"kind", string(kind)}
		c := total[kind]
		gauge("lrok_tunnels", float64(live[kind]), label...)
		gauge("lrok_tunnels_online", float64(online[kind]), label...)
		counter("lrok_tunnels_opened_total", opened[kind], label...)
		counter("lrok_requests_total", c.requests, label...)
		counter("lrok_connections_total", c.connections, label...)
		gauge("lrok_connections_open", float64(open[kind]), label...)
		counter("lrok_bytes_in_total", c.in, label...)
		counter("lrok_bytes_out_total", c.out, label...)
	}
	gauge("lrok_users", float64(len(s.cfg.Store.Users())))
	gauge("lrok_start_time_seconds", float64(s.started.Unix()))
	gauge("lrok_build_info", 1, "software", s.cfg.Software, "go", runtime.Version())

	src := s.cfg.Sources
	if src.Agents != nil {
		gauge("lrok_agents", float64(src.Agents()))
	}
	if src.Streams != nil {
		gauge("lrok_streams_open", float64(src.Streams()))
	}
	if src.Bulk != nil {
		gauge("lrok_bulk_connections", float64(src.Bulk()))
	}
	if src.Public != nil {
		p := src.Public()
		gauge("lrok_public_connections_open", float64(p.Open))
		counter("lrok_public_connections_total", p.Opened)
		counter("lrok_public_connections_refused_total", p.TurnedAway)
		counter("lrok_public_connections_shed_total", p.Shed)
		counter("lrok_requests_refused_total", p.Denied, "reason", "denied")
		counter("lrok_requests_refused_total", p.Misdirected, "reason", "misdirected")
		counter("lrok_cookies_dropped_total", p.Cookies)
	}
	if src.HandshakesRefused != nil {
		counter("lrok_tls_handshakes_refused_total", src.HandshakesRefused(), "reason", "no_certificate")
	}
	if src.Certificates != nil {
		for i, c := range src.Certificates() {
			name := ""
			if len(c.Names) > 0 {
				name = c.Names[0]
			}
			gauge("lrok_certificate_expiry_seconds", float64(c.NotAfter.Unix()), "index", strconv.Itoa(i), "name", name, "source", c.Source)
		}
	}
	if src.ControlRefused != nil {
		for reason, n := range src.ControlRefused() {
			counter("lrok_agents_refused_total", n, "reason", reason)
		}
	}
	if src.KeysRefused != nil {
		counter("lrok_keys_refused_total", src.KeysRefused())
	}
	if src.CaptureMemory != nil {
		used, limit := src.CaptureMemory()
		gauge("lrok_capture_bytes", float64(used))
		gauge("lrok_capture_limit_bytes", float64(limit))
	}
	if src.Store != nil {
		gauge("lrok_store_healthy", word(src.Store() == nil))
	}
	if src.Draining != nil {
		gauge("lrok_draining", word(src.Draining()))
	}
	return set
}

// series is a metric's name with its labels, pairs of a name and a value. The
// library panics at a name that is none, and checks no value.
func series(name string, labels []string) string {
	if len(labels) == 0 {
		return name
	}
	var b strings.Builder
	b.WriteString(name)
	for pair := range slices.Chunk(labels, 2) {
		sep := byte(',')
		if b.Len() == len(name) {
			sep = '{'
		}
		fmt.Fprintf(&b, "%c%s=\"%s\"", sep, pair[0], escape.Replace(strings.ToValidUTF8(pair[1], "?")))
	}
	b.WriteByte('}')
	return b.String()
}

var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
