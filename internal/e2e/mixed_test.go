package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// piecemeal reads in pieces of all sizes. It has its own source of them: a client of
// HTTP/2 may still read the body of a request when its answer is already there.
type piecemeal struct {
	r io.Reader
	n *rand.Rand
}

func (p piecemeal) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), 1+p.n.IntN(40<<10))]) }

// TestMixedBodies: of many bodies that pass at once over one HTTP/2 connection,
// both ways and large ones over connections of their own, with clients that leave
// and a service that does not read, each one is what it was.
func TestMixedBodies(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2c"} {
		t.Run(proto, func(t *testing.T) { mixedBodies(t, strings.TrimPrefix(proto, "http/1.1")) })
	}
}

func mixedBodies(t *testing.T, proto string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(echoAndSum)}
	s.Protocols.SetHTTP1(proto == "")
	s.Protocols.SetUnencryptedHTTP2(proto != "")
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Close()
		serving.Wait()
	})
	r := start(t, l.Addr().String(), func(c *rigConfig) { c.claim.UpstreamProto = proto })
	h := r.h2(t)
	var clients sync.WaitGroup
	for client := range 10 {
		clients.Go(func() {
			n := rand.New(rand.NewPCG(7, uint64(client)))
			for range 8 {
				r.oneOfMany(t, h, n)
			}
		})
	}
	clients.Wait()
}

// oneOfMany sends a body and looks at what comes back.
func (r *rig) oneOfMany(t *testing.T, h *http.Client, n *rand.Rand) {
	size := n.IntN(1 << (2 + n.IntN(21)))
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(n.Uint32())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kind := n.IntN(10)
	refused, leaves := kind == 0, kind == 1 || kind == 2
	path := map[bool]string{false: "/echo", true: "/refuse"}[refused]
	req, err := http.NewRequestWithContext(ctx, "POST", r.grant.URL+path, piecemeal{strings.NewReader(string(body)), rand.New(rand.NewPCG(n.Uint64(), 0))})
	if err != nil {
		t.Error(err)
		return
	}
	req.Host, req.ContentLength = r.host, int64(size)
	mine := ""
	// net/http gives a whole connection up for a trailer that comes after an early
	// answer.
	if !refused && (size == 0 || n.IntN(2) == 0) {
		req.ContentLength, mine = -1, "mine"
		req.Trailer = http.Header{"Mine": {mine}}
	}
	res, err := h.Do(req)
	if err != nil {
		if !refused { // what was refused may be told or be cut
			t.Errorf("%d bytes: %v", size, err)
		}
		return
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case refused:
		if res.StatusCode != http.StatusRequestEntityTooLarge && res.StatusCode != http.StatusBadGateway {
			t.Errorf("the answer to %d bytes is %s, want the service's refusal", size, res.Status)
		}
	case leaves:
		_, _ = io.CopyN(io.Discard, res.Body, int64(size/3))
	default:
		got, err := io.ReadAll(res.Body)
		want := sha256.Sum256(body)
		if err != nil || sha256.Sum256(got) != want {
			t.Errorf("of %d bytes %d came back, and not as they were sent: %v", size, len(got), err)
		}
		if sum, want := res.Trailer.Get("Sum"), hex.EncodeToString(want[:])+mine; sum != want {
			t.Errorf("the trailer of %d bytes is %q, want %q", size, sum, want)
		}
	}
}

// echoAndSum is a service that sends back what it reads while it reads it, and then
// what it got in all.
func echoAndSum(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/refuse" {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	w.Header().Set("Trailer", "Sum")
	sum := sha256.New()
	buf := make([]byte, 20<<10)
	for {
		n, err := r.Body.Read(buf)
		_, _ = sum.Write(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return
		}
		if n < 1000 {
			_ = rc.Flush()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	w.Header().Set("Sum", hex.EncodeToString(sum.Sum(nil))+r.Trailer.Get("Mine"))
}
