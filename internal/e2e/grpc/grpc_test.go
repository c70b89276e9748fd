// Package grpc runs gRPC's own interoperability suite through lrok. It is a
// module of its own because lrok itself has no use for gRPC.
package grpc

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// dir holds the binaries under test, built without the race detector.
var dir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if dir, err = os.MkdirTemp("", "lrok-grpc-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "interop"), "./interop").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build interop: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// serve starts the suite's server and returns its port.
func serve(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "interop"), "server")
	return firstLine(t, cmd)
}

// firstLine starts a program that says something and stays until its standard
// input ends or it is told to stop, and returns what it said.
func firstLine(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		close(drained)
	}()
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Signal(os.Interrupt)
		<-drained
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(cmd.Path), stderr.String())
		}
	})
	if err != nil {
		t.Fatalf("%s said nothing: %v", filepath.Base(cmd.Path), err)
	}
	return strings.TrimSpace(line)
}

// runSuite runs every case of the suite, each in a process of its own so that
// one failure does not hide another.
func runSuite(t *testing.T, client ...string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(dir, "interop"), "cases").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(out))
	if len(names) < 14 {
		t.Fatalf("cases = %q, want the suite's 14", names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command(filepath.Join(dir, "interop"), append(append([]string{"client"}, client...), name)...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "ok "+name) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestDirect has nothing between client and server: what fails through a tunnel
// and not here is the tunnel's.
func TestDirect(t *testing.T) {
	runSuite(t, "-addr", "127.0.0.1:"+serve(t))
}
