package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
)

// lrokBinary is lrok as users have it: built once for a run of the tests, without
// the race detector. TestMain takes it away.
var lrokBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lrok-e2e-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "lrok")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", path, "github.com/lrok-dev/lrok/cmd/lrok")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build lrok: %w\n%s", err, out)
	}
	return path, nil
})

var binaryDir string

// A process is a running lrok.
type process struct {
	t      testing.TB
	args   []string
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	done   chan struct{}
}

// lrok starts the binary with a home of its own and nothing of ours in its
// environment but env. The test's end ends it.
func lrok(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	path, err := lrokBinary()
	if err != nil {
		t.Fatal(err)
	}
	return run(t, env, path, args...)
}

// run does the same with any program.
func run(t testing.TB, env []string, path string, args ...string) *process {
	t.Helper()
	done := make(chan struct{})
	p := &process{t: t, args: args, stdout: newOutput(done), stderr: newOutput(done), done: done}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(cleanEnv(t), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %s\n%s%s", filepath.Base(path), strings.Join(args, " "), p.stdout, p.stderr)
		}
	})
	return p
}

func cleanEnv(t testing.TB) []string {
	home := t.TempDir()
	env := []string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_RUNTIME_DIR=" + home, "USERPROFILE=" + home}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name == "PATH" || name == "TMPDIR" || name == "SYSTEMROOT" {
			env = append(env, kv)
		}
	}
	return env
}

// kill ends p as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// term asks p to end and returns its exit code.
func (p *process) term() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	return p.wait()
}

// wait returns the exit code of p.
func (p *process) wait() int {
	p.t.Helper()
	return p.waitFor(patience)
}

func (p *process) waitFor(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("lrok %s does not end\n%s%s", strings.Join(p.args, " "), p.stdout, p.stderr)
		return -1
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// An output keeps what a process writes.
type output struct {
	ended <-chan struct{} // closed when nothing more comes
	mu    sync.Mutex
	buf   bytes.Buffer
	more  chan struct{} // closed and replaced when something was written
}

func newOutput(ended <-chan struct{}) *output {
	return &output{ended: ended, more: make(chan struct{})}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until text is in o and returns the whole line that holds it.
func (o *output) await(t testing.TB, text string) string {
	t.Helper()
	return o.awaitIn(t, text, patience)
}

func (o *output) awaitIn(t testing.TB, text string, limit time.Duration) string {
	t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for last := false; ; {
		o.mu.Lock()
		all, more := o.buf.String(), o.more
		o.mu.Unlock()
		for line := range strings.Lines(all) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return strings.TrimSuffix(line, "\n")
			}
		}
		if last {
			t.Fatalf("lrok has ended, and no line held %q:\n%s", text, all)
		}
		select {
		case <-more:
		case <-o.ended:
			last = true
		case <-timeout.C:
			t.Fatalf("no line holds %q after %v:\n%s", text, limit, all)
		}
	}
}

// An edgeProcess is `lrok serve` with its domain tun.test.
type edgeProcess struct {
	*process
	dir                  string
	http, https, control string
}

// serve starts an edge on free ports, or, with again, one in the place of an
// earlier one that has ended.
func serve(t testing.TB, again *edgeProcess, flags ...string) *edgeProcess {
	t.Helper()
	path, err := lrokBinary()
	if err != nil {
		t.Fatal(err)
	}
	return serveBy(t, path, again, flags...)
}

// serveBy is serve for a program that stands for lrok.
func serveBy(t testing.TB, path string, again *edgeProcess, flags ...string) *edgeProcess {
	t.Helper()
	e := &edgeProcess{http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0"}
	if again != nil {
		*e = *again
	} else {
		e.dir = t.TempDir()
	}
	args := append([]string{"serve", "--domain", "tun.test", "--data-dir", e.dir, "--internal", "", "--http", e.http, "--https", e.https, "--control", e.control}, flags...)
	e.process = run(t, nil, path, args...)
	address := func(what string) string {
		f := strings.Fields(e.stderr.await(t, what))
		return f[len(f)-1]
	}
	e.http, e.https, e.control = address("public HTTP "), address("public HTTPS"), address("agents ")
	return e
}

func (e *edgeProcess) ca() string { return filepath.Join(e.dir, "ca.pem") }

func (e *edgeProcess) keyFile() string { return filepath.Join(e.dir, store.KeyFile) }

// reach are the variables that lead a lrok to e, by way of addr when that is
// not empty.
func (e *edgeProcess) reach(addr string) []string {
	if addr == "" {
		addr = e.control
	}
	return []string{"LROK_EDGE=" + addr, "LROK_EDGE_CA=" + e.ca(), "LROK_API_KEY_FILE=" + e.keyFile()}
}

// tunnel starts `lrok http` for the service at local under the name shop and
// waits until it is live.
func (e *edgeProcess) tunnel(t testing.TB, addr, local string, flags ...string) *process {
	t.Helper()
	p := lrok(t, e.reach(addr), append([]string{"http", local, "--plain", "--hint", "shop"}, flags...)...)
	p.stdout.await(t, "https://shop.tun.test")
	return p
}

// api returns a client of e's API through its control port.
func (e *edgeProcess) api(t testing.TB) *client.Client {
	t.Helper()
	key, err := store.ReadKeyFile(e.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(e.ca())
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.DialControl(t.Context(), client.ControlConfig{Edge: e.control, TLS: trust(t, pem), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.Client()
}

// get asks the tunnel shop for path on the public HTTP side.
func (e *edgeProcess) get(t testing.TB, path string) (int, http.Header, string) {
	t.Helper()
	status, header, body, err := tryGet(e.http, path)
	if err != nil {
		t.Fatal(err)
	}
	return status, header, body
}

func tryGet(addr, path string) (int, http.Header, string, error) {
	return tryGetHost(addr, "shop.tun.test", path)
}

// tryGetHost asks on a connection of its own, so that no test waits for
// another's.
func tryGetHost(addr, host, path string) (int, http.Header, string, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host); err != nil {
		return 0, nil, "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, nil, "", err
	}
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

// answers waits until the tunnel shop answers 200 with want.
func (e *edgeProcess) answers(t testing.TB, path, want string) {
	t.Helper()
	eventually(t, "the tunnel answers "+path, func() bool {
		status, _, body, err := tryGet(e.http, path)
		return err == nil && status == http.StatusOK && body == want
	})
}

func trust(t testing.TB, pem []byte) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "tunnel.tun.test"}
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %q", pem)
	}
	return c
}
