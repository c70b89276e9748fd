package grpc

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestThroughTunnel runs the suite through a real edge and a real agent: over TLS
// as the public does, and over HTTP/2 without TLS as a proxy in front does.
func TestThroughTunnel(t *testing.T) {
	lrok := filepath.Join(dir, "lrok")
	if out, err := exec.Command("go", "-C", "../../..", "build", "-o", lrok, "./cmd/lrok").CombinedOutput(); err != nil {
		t.Fatalf("build lrok: %v\n%s", err, out)
	}
	home := t.TempDir()
	env := append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "XDG_STATE_HOME="+home, "XDG_RUNTIME_DIR="+home,
		"LROK_API_KEY_FILE="+filepath.Join(home, "data", "admin.key"))

	edge := exec.Command(lrok, "serve", "--domain", "tun.test", "--data-dir", filepath.Join(home, "data"),
		"--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--control", "127.0.0.1:0", "--internal", "", "--trusted-proxies", "127.0.0.1")
	edge.Env = env
	at := listeners(t, edge)
	ca := filepath.Join(home, "data", "ca.pem")

	agent := exec.Command(lrok, "http", serve(t), "--hint", "grpc", "--upstream-proto", "h2c", "--plain", "--edge", at["agents"], "--edge-ca", ca)
	agent.Env = env
	if url := firstLine(t, agent); !strings.Contains(url, "grpc.tun.test") {
		t.Fatalf("agent said %q, want the tunnel's URL", url)
	}

	t.Run("TLS", func(t *testing.T) {
		runSuite(t, "-addr", at["public HTTPS"], "-authority", "grpc.tun.test", "-ca", ca)
	})
	t.Run("h2c", func(t *testing.T) {
		runSuite(t, "-addr", at["public HTTP"], "-authority", "grpc.tun.test")
	})
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		cmd := exec.Command(lrok, append(args, "--edge", at["agents"], "--edge-ca", ca)...)
		cmd.Env = env
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1 && args[0] == "diff") {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
		return string(out)
	}
	// captured are those that the filter finds, newest last.
	captured := func(t *testing.T, filter string) (list []capture) {
		t.Helper()
		for line := range strings.Lines(run(t, "logs", "grpc", "--json", "--filter", filter)) {
			var x capture
			if err := json.Unmarshal([]byte(line), &x); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			list = append(list, x)
		}
		return list
	}
	t.Run("captured", func(t *testing.T) {
		kinds := map[string]int{}
		for _, x := range captured(t, "path:/grpc.testing.") {
			kinds[x.Kind]++
		}
		if kinds["grpc"] < 20 || len(kinds) != 1 {
			t.Errorf("captures of the suite by kind = %v, want grpc for all", kinds)
		}
	})
	t.Run("status", func(t *testing.T) {
		// Each of the two runs has three calls that fail by request, two methods and
		// a service that there are not.
		for filter, least := range map[string]int{
			"grpc:unknown": 6, "grpc:unimplemented": 4, "grpc:ok": 12, "is:error grpc:!ok": 10, "is:error grpc:ok": 0,
			"is:error status:200 grpc:unknown": 6,
		} {
			if list := captured(t, filter); len(list) < least || least == 0 && len(list) > 0 {
				t.Errorf("%s finds %d captures, want at least %d", filter, len(list), least)
			}
		}
		for line := range strings.Lines(run(t, "logs", "grpc", "--filter", "grpc:unimplemented path:/TestService/")) {
			if !strings.Contains(line, "failed, grpc unimplemented: ") {
				t.Errorf("line = %q, want the status in words", line)
			}
		}
		if out := run(t, "logs", "grpc", "--filter", "grpc:ok path:/EmptyCall"); !strings.Contains(out, "/grpc.testing.TestService/EmptyCall  grpc ok\n") {
			t.Errorf("lines of calls that went well = %q", out)
		}
	})
	t.Run("messages", func(t *testing.T) {
		// Of a SimpleRequest 7 is the status that is asked for, with 1 for its code.
		if list := captured(t, `req.json:.["7"]["1"]==2 path:/UnaryCall`); len(list) < 4 {
			t.Errorf("%d requests ask for status 2, want at least 4", len(list))
		}
		// Ping-pong is four messages each way. Of a StreamingOutputCallRequest 2 says
		// how large an answer is to be.
		list := captured(t, `path:/FullDuplexCall req.json:.[0]["2"]["1"]==31415 grpc:ok`)
		if len(list) < 2 {
			t.Fatalf("%d conversations, want at least 2", len(list))
		}
		for _, x := range list {
			if x.Request.Body.Items != 4 || x.Response.Body.Items != 4 {
				t.Errorf("%d messages up and %d down, want 4 each", x.Request.Body.Items, x.Response.Body.Items)
			}
		}
	})
	t.Run("diff", func(t *testing.T) {
		list := captured(t, `path:/UnaryCall req.json:.["7"]["1"]==2`)
		out := run(t, "diff", list[0].ID, list[1].ID, "--side", "request", "--json")
		var r struct {
			Request struct{ Body struct{ Kind string } }
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Request.Body.Kind != "protobuf" {
			t.Errorf("compared as %q, %v", r.Request.Body.Kind, err)
		}
		if out := run(t, "diff", list[0].ID, list[1].ID, "--side", "request"); !strings.Contains(out, `.["7"]["2"]`) {
			t.Errorf("two messages that ask for other words differ by\n%s", out)
		}
	})
}

// A capture is what is looked at of one.
type capture struct {
	ID, Kind          string
	Request, Response struct{ Body struct{ Items int } }
}

// listeners starts an edge and returns its addresses by what they are for.
func listeners(t *testing.T, edge *exec.Cmd) map[string]string {
	t.Helper()
	stderr, err := edge.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := edge.Start(); err != nil {
		t.Fatal(err)
	}
	at, all := map[string]string{}, &strings.Builder{}
	up, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		listener := regexp.MustCompile(`^ +(public HTTPS?|agents) +(127\.0\.0\.1:\d+)$`)
		ready := false
		for sc := bufio.NewScanner(stderr); sc.Scan(); {
			all.WriteString(sc.Text() + "\n")
			if m := listener.FindStringSubmatch(sc.Text()); m != nil && !ready {
				at[m[1]] = m[2]
			}
			if strings.HasPrefix(sc.Text(), "Open a tunnel") && !ready {
				ready = true
				close(up)
			}
		}
	}()
	t.Cleanup(func() {
		_ = edge.Process.Signal(os.Interrupt)
		<-drained
		if err := edge.Wait(); err != nil {
			t.Errorf("edge ended with %v", err)
		}
		if t.Failed() {
			t.Logf("edge:\n%s", all)
		}
	})
	select {
	case <-up:
	case <-drained:
		t.Fatalf("the edge ended at once:\n%s", all)
	case <-time.After(30 * time.Second):
		_ = edge.Process.Kill()
		t.Fatal("the edge did not come up")
	}
	if len(at) != 3 {
		t.Fatalf("listeners = %v, want three", at)
	}
	return at
}
