package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
)

// A flow yields size bytes that are the same for each run and that no two
// places have in common: a block of noise again and again, numbered.
type flow struct {
	size, at int64
	block    []byte
}

const flowBlock = 256<<10 + 13 // no buffer on the way is a multiple of it

func newFlow(size int64) *flow {
	f := &flow{size: size, block: make([]byte, flowBlock)}
	_, _ = rand.NewChaCha8([32]byte{7}).Read(f.block) // never fails
	return f
}

func (f *flow) Read(p []byte) (int, error) {
	if f.at == f.size {
		return 0, io.EOF
	}
	part := f.next(int64(len(p)))
	return copy(p, part), nil
}

// next returns at most n of the bytes that come next, and passes them.
func (f *flow) next(n int64) []byte {
	i := f.at % flowBlock
	if i == 0 {
		binary.BigEndian.PutUint64(f.block, uint64(f.at))
	}
	n = min(n, flowBlock-i, f.size-f.at)
	f.at += n
	return f.block[i : i+n]
}

// Write compares p with what comes next. A flow is thus also its own check.
func (f *flow) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		at := f.at
		want := f.next(int64(len(rest)))
		if len(want) == 0 {
			return 0, fmt.Errorf("%d bytes too many", len(rest))
		}
		if !bytes.Equal(rest[:len(want)], want) {
			return 0, fmt.Errorf("other bytes than were sent in [%d, %d)", at, f.at)
		}
		rest = rest[len(want):]
	}
	return len(p), nil
}

func (f *flow) sum() string {
	h := sha256.New()
	_, _ = io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 64<<10))
	return hex.EncodeToString(h.Sum(nil))
}

// bulk is a local service: GET yields ?size= bytes of flow, PUT answers with the
// SHA-256 of what it got, PUT /check with how many bytes were right.
func bulk(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet:
		size, _ := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, newFlow(size), make([]byte, 64<<10))
	case r.URL.Path == "/check":
		f := newFlow(r.ContentLength)
		_, err := io.CopyBuffer(f, struct{ io.Reader }{r.Body}, make([]byte, 64<<10))
		_, _ = fmt.Fprintf(w, "%d right, %v", f.at, err)
	default:
		h := sha256.New()
		n, err := io.CopyBuffer(h, struct{ io.Reader }{r.Body}, make([]byte, 64<<10))
		_, _ = fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
	}
}

const gigabyte = 1 << 30

// TestCurl sends a gigabyte each way with the program that most people would
// try first.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatalf("%v\nhint: make deps", err)
	}
	e := serve(t, nil)
	e.tunnel(t, "", service(t, bulk))
	want := newFlow(gigabyte).sum()
	_, port, _ := net.SplitHostPort(e.https)
	base := "https://shop.tun.test:" + port
	for _, version := range []string{"--http1.1", "--http2"} {
		common := []string{
			"--silent", "--show-error", "--fail", version, "--cacert", e.ca(),
			"--resolve", "shop.tun.test:" + port + ":127.0.0.1", "--max-time", "900",
		}
		protocol := map[string]string{"--http1.1": "1.1", "--http2": "2"}[version]

		t.Run("download"+version, func(t *testing.T) {
			h := sha256.New()
			said := curl(t, nil, h, append(common, "--write-out", "%{stderr}%{http_version} %{size_download}", base+fmt.Sprintf("/?size=%d", gigabyte))...)
			if got, want := hex.EncodeToString(h.Sum(nil)), want; got != want {
				t.Errorf("SHA-256 = %s, want %s", got, want)
			}
			if want := fmt.Sprintf("%s %d", protocol, gigabyte); said != want {
				t.Errorf("curl says version and size %q, want %q", said, want)
			}
		})

		t.Run("upload"+version, func(t *testing.T) {
			var answer bytes.Buffer
			said := curl(t, newFlow(gigabyte), &answer, append(common, "--write-out", "%{stderr}%{http_version}", "--upload-file", "-", base+"/")...)
			if want := fmt.Sprintf("%d %s <nil>", gigabyte, want); answer.String() != want {
				t.Errorf("the service got %q, want %q", &answer, want)
			}
			if said != protocol {
				t.Errorf("curl says version %q, want %q", said, protocol)
			}
		})
	}
}

// curl runs curl to its end and returns what it wrote to its standard error.
func curl(t *testing.T, in io.Reader, out io.Writer, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 16*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "curl", args...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("curl %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	t.Logf("%.1f s", time.Since(began).Seconds())
	return stderr.String()
}

// The edge may take this much memory for one body of any size: 15 MiB for
// itself, a stream's window, the link's buffers and the captures of 1 MiB of
// either body are below 10 MiB, and the garbage collector lets the heap grow to
// twice what is in use.
const bulkMemory = 64 << 20

// TestThreeGigabytes sends more than fits into 31 bits, with a length, and
// watches how much memory the edge takes for it.
func TestThreeGigabytes(t *testing.T) {
	const size = 3 << 30
	e := serve(t, nil)
	agent := e.tunnel(t, "", service(t, bulk))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+e.http+"/check", struct{ io.Reader }{newFlow(size)})
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.ContentLength = "shop.tun.test", size
	tr := &http.Transport{WriteBufferSize: 64 << 10}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if want := fmt.Sprintf("%d right, <nil>", int64(size)); err != nil || string(b) != want {
		t.Errorf("the service got %q, %v; want %q", b, err, want)
	}

	api := e.api(t)
	xs, err := api.Requests(t.Context(), "shop", client.Query{Limit: 1})
	if err != nil || len(xs) != 1 {
		t.Fatalf("%d captures, %v", len(xs), err)
	}
	if body := xs[0].Request.Body; body.Size != size || body.Captured != 1<<20 || body.Missing != "limit" {
		t.Errorf("captured %d of %d bytes (missing: %q), want 1 MiB of all (limit)", body.Captured, body.Size, body.Missing)
	}
	for what, p := range map[string]*process{"edge": e.process, "agent": agent} {
		if peak := p.peakMemory(t); peak > bulkMemory {
			t.Errorf("the %s took %d MiB, want at most %d", what, peak>>20, bulkMemory>>20)
		} else {
			t.Logf("the %s took %d MiB at most", what, peak>>20)
		}
	}
}

// peakMemory is the most that p ever had resident, as Linux counts it; other
// systems do not tell of a running process.
func (p *process) peakMemory(t testing.TB) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal(errors.New("there is no VmHWM in " + string(status)))
	return 0
}
