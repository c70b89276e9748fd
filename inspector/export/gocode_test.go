package export

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

// TestGoSendsTheSameBytes vets, builds and runs the programs.
func TestGoSendsTheSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("go is not installed")
	}
	every := post(strings.Join(nasty[:23], "|"))
	for _, v := range nasty[:23] {
		if !strings.ContainsAny(v, "\r\n\x00\x01\x02\x07\x1b") {
			every.Request.Header = append(every.Request.Header, inspector.Field{Name: "x-Nasty", Value: strings.Trim(v, " \t")})
		}
	}
	odd := inspector.Exchange{Method: "M$`'", Path: "/a/../b#c?d[]=é%zz"}
	chunked := post("chunk")
	chunked.Request.Header = append(chunked.Request.Header, inspector.Field{Name: "Transfer-Encoding", Value: "chunked"})
	bare := inspector.Exchange{Method: "GET", Path: "/"}
	requests := map[string]inspector.Exchange{"every": every, "odd": odd, "chunked": chunked, "bare": bare}

	dir := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module request\n\ngo 1.24\n")
	arrived := map[string]<-chan received{}
	for name, x := range requests {
		base, got := receive(t)
		arrived[name] = got
		x.Proto = "HTTP/1.1"
		write(filepath.Join(name, "main.go"), Go(&x, Options{URL: base}))
	}
	for _, args := range [][]string{{"vet", "./..."}, {"build", "-o", "bin/", "./..."}} {
		cmd := exec.Command(tool, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}
	for name, x := range requests {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(filepath.Join(dir, "bin", name))
			cmd.Env = append(os.Environ(), "http_proxy=", "HTTP_PROXY=", "NO_PROXY=*")
			out, err := cmd.CombinedOutput()
			if err != nil || !bytes.HasPrefix(out, []byte("HTTP/1.1 200 OK\n")) {
				t.Fatalf("the program printed %q, %v", out, err)
			}
			r := <-arrived[name]
			r.check(t, &x, false)
		})
	}
}

func TestGoText(t *testing.T) {
	x := post(`{"id": 1}`)
	x.Request.Body.Size = 2000
	source := Go(&x, Options{Redact: true})
	for _, want := range []string{
		"// Mind: the body is captured in part only: the first 9 bytes of 2.0 KiB.\n",
		`const body = "{\"id\": 1}"`,
		`http.NewRequest("POST", "https://acme.lrok.example/webhooks/stripe?a=1&b=%20", strings.NewReader(body))`,
		`"Stripe-Signature": {"t=1763819345,v1=REDACTED"}`,
	} {
		if !strings.Contains(source, want) {
			t.Errorf("%s is not in\n%s", want, source)
		}
	}
}
