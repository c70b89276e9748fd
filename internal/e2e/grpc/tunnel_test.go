package grpc

import (
	"bufio"
	"encoding/json"
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
	t.Run("captured", func(t *testing.T) {
		logs := exec.Command(lrok, "logs", "grpc", "--json", "--edge", at["agents"], "--edge-ca", ca)
		logs.Env = env
		out, err := logs.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		kinds := map[string]int{}
		for line := range strings.Lines(string(out)) {
			var x struct {
				Kind, Path string
				Status     int
			}
			if err := json.Unmarshal([]byte(line), &x); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			// What the client gave up before an answer is not known to be gRPC.
			if strings.HasPrefix(x.Path, "/grpc.testing.") && x.Status != 0 {
				kinds[x.Kind]++
			}
		}
		if kinds["grpc"] < 20 || len(kinds) != 1 {
			t.Errorf("captures of the suite by kind = %v, want grpc for all", kinds)
		}
	})
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
