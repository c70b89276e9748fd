//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
)

// TestNothingLeavesTheEdge watches the system calls of an edge from its start to
// its end, with agents and visitors, and wants no connection from it to
// anywhere, and no datagram: nothing phones home, and nothing is looked up.
func TestNothingLeavesTheEdge(t *testing.T) {
	tests := map[string][]string{
		"default": nil,
		// Each of the two settings of analytics alone is as good as none.
		"only a key":   {"LROK_POSTHOG_KEY=phc_test"},
		"only a word":  {"LROK_ANALYTICS=on"},
		"key, and off": {"LROK_POSTHOG_KEY=phc_test", "LROK_ANALYTICS=off"},
	}
	for name, env := range tests {
		t.Run(name, func(t *testing.T) {
			if got := outbound(t, env...); len(got) > 0 {
				t.Errorf("the edge went out to %q, want nowhere", got)
			}
		})
	}
}

// TestAnalyticsWhereAsked is the counterpart: with both settings events go out,
// to the address that was given and nowhere else. It shows too that what the
// test above does not see is not there.
func TestAnalyticsWhereAsked(t *testing.T) {
	var events atomic.Int64
	collector := service(t, func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			t.Errorf("read events: %v", err)
		}
		for _, name := range []string{"edge_started", "tunnel_opened"} {
			events.Add(int64(strings.Count(string(b), `"`+name+`"`)))
		}
		for _, secret := range []string{"shop", "tun.test", "admin"} {
			if strings.Contains(string(b), secret) {
				t.Errorf("%q is in what was sent:\n%s", secret, b)
			}
		}
	})
	got := outbound(t, "LROK_POSTHOG_KEY=phc_test", "LROK_ANALYTICS=on", "LROK_POSTHOG_HOST=http://"+collector)
	if want := []string{collector}; !slices.Equal(got, want) {
		t.Errorf("the edge went out to %q, want %q", got, want)
	}
	if events.Load() < 2 {
		t.Errorf("%d events arrived, want edge_started and tunnel_opened", events.Load())
	}
}

// outbound runs `lrok serve` with its defaults, uses it as agents, visitors and
// operators do, ends it, and returns where it connected or sent to.
func outbound(t *testing.T, env ...string) []string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("strace is needed: apt-get install strace")
		}
		t.Skip("strace is needed: apt-get install strace")
	}
	binary, err := lrokBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	// With -D the edge is our child, and the tracer is not in between.
	e := &edgeProcess{process: run(t, env, strace, "-D", "-f", "-q", "-e", "trace=connect,sendto,sendmsg,sendmmsg,exit_group", "-e", "signal=none", "-o", trace,
		binary, "serve", "--domain", "tun.test", "--data-dir", dir,
		"--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--control", "127.0.0.1:0", "--internal", "127.0.0.1:0"), dir: dir}
	address := func(what string) string {
		f := strings.Fields(e.stderr.await(t, what))
		return f[len(f)-1]
	}
	e.http, e.https, e.control = address("public HTTP "), address("public HTTPS"), address("agents ")
	internal := address("health")

	local := service(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	agent := e.tunnel(t, "", local)
	e.answers(t, "/", "hello")
	for i := range 20 {
		if status, _, _ := e.get(t, fmt.Sprint("/", i)); status != http.StatusOK {
			t.Fatalf("request %d: status %d, want 200", i, status)
		}
	}
	api := e.api(t)
	kept, err := api.Requests(t.Context(), "shop", client.Query{Limit: 1})
	if err != nil || len(kept) == 0 {
		t.Fatalf("%d captures, %v, want some", len(kept), err)
	}
	if _, err := api.Replay(t.Context(), kept[0].ID, inspector.Changes{}); err != nil {
		t.Fatalf("replay: %v", err)
	}
	if _, err := api.AdminStats(t.Context(), 24); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/metrics", "/readyz", "/traefik.json"} {
		if status, _, _, err := tryGetHost(internal, internal, path); err != nil || status != http.StatusOK {
			t.Errorf("%s = %d, %v, want 200", path, status, err)
		}
	}
	if code := agent.term(); code != 0 {
		t.Errorf("the agent ends with %d, want 0", code)
	}
	if code := e.term(); code != 0 {
		t.Errorf("the edge ends with %d, want 0", code)
	}

	// The tracer writes its last line after the edge has ended, and a short
	// process id with more than one space behind it.
	ended := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +\+\+\+ exited with`, e.cmd.Process.Pid))
	var text string
	eventually(t, "the trace is whole", func() bool {
		b, err := os.ReadFile(trace)
		text = string(b)
		return err == nil && ended.MatchString(text)
	})
	if !strings.Contains(text, "exit_group(0") {
		t.Fatalf("the trace does not hold the edge's end: nothing was traced\n%s", text)
	}
	return destinations(text)
}

var (
	inet4 = regexp.MustCompile(`sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)`)
	inet6 = regexp.MustCompile(`sin6_port=htons\((\d+)\),.* inet_pton\(AF_INET6, "([^"]+)"`)
)

// destinations returns the addresses in a trace, each once. What goes to a
// socket of the file system stays on the machine.
func destinations(trace string) []string {
	var to []string
	for line := range strings.Lines(trace) {
		for _, re := range []*regexp.Regexp{inet4, inet6} {
			if m := re.FindStringSubmatch(line); m != nil {
				to = append(to, net.JoinHostPort(m[2], m[1]))
			}
		}
	}
	slices.Sort(to)
	return slices.Compact(to)
}

func TestDestinations(t *testing.T) {
	const trace = `7 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.53")}, 16) = 0
7 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 EINPROGRESS (Operation now in progress)
8 sendto(5, "..", 2, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.53")}, 16) = 2
8 connect(4, {sa_family=AF_UNIX, sun_path="/run/systemd/notify"}, 22) = 0
`
	want := []string{"192.0.2.53:53", "[2001:db8::1]:443"}
	if got := destinations(trace); !slices.Equal(got, want) {
		t.Errorf("destinations = %q, want %q", got, want)
	}
}
