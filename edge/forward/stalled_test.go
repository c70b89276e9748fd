package forward

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Clients that read nothing are cut with the others when the edge ends, and at
// once: the alert that ends TLS waits for nobody.
func TestShutdownCutsWhoReadsNothing(t *testing.T) {
	local, begun := endless(t, false)
	r := start(t, local)
	addr := r.secure(t)
	for range 3 {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "a.tun.test"}) //nolint:gosec // the certificate is not what is tested
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.NetConn().Close() }()
		_, _ = io.WriteString(c, "GET /flood HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
		within(t, "the service has the request", begun)
	}
	passed := int64(-1)
	waitFor(t, func() bool { // until nothing passes any more
		before := passed
		passed = r.tunnel.Counters.BytesOut.Load()
		<-time.After(200 * time.Millisecond)
		return passed == before
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	const alert = 5 * time.Second // that crypto/tls waits to write one
	began := time.Now()
	_ = r.f.Shutdown(ctx)
	if took := time.Since(began); took >= alert {
		t.Errorf("Shutdown took %v, want less than the %v of an alert", took, alert)
	}
}

// thin2 is HTTP/2 over TLS and a connection that holds nothing back: what the
// client does not read, the edge has.
func (r *rig) thin2(t *testing.T, version uint16) (f *flooder) {
	t.Helper()
	cert, pool := certificate(t, "a.tun.test")
	l := NewListener()
	var serving sync.WaitGroup
	serving.Go(func() { _ = r.f.Serve(l, &tls.Config{Certificates: []tls.Certificate{*cert}}) }) //nolint:gosec // the default is TLS 1.2 at least
	pipe, far := newPipe(addr("127.0.0.1:4711"))
	t.Cleanup(func() {
		_ = pipe.Close()
		_ = l.Close()
		serving.Wait()
	})
	_ = pipe.SetDeadline(time.Now().Add(patience))
	go func() { _ = l.hand(far) }()
	c := tls.Client(pipe, &tls.Config{RootCAs: pool, ServerName: "a.tun.test", NextProtos: []string{"h2"}, MaxVersion: version}) //nolint:gosec // the version is what is tested
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	f = &flooder{c: pipe, fr: http2.NewFramer(c, bufio.NewReader(c))}
	f.enc = hpack.NewEncoder(&f.block)
	_, err := io.WriteString(c, http2.ClientPreface)
	if err == nil {
		err = f.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	}
	if err == nil {
		err = f.fr.WriteWindowUpdate(0, 1<<30)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// An answer that is whole for the edge is still on its way to a client that reads
// slowly. The edge does not end before.
func TestShutdownWaitsForWhatIsGathered(t *testing.T) {
	const size = 30 << 10 // less than what is gathered
	r := start(t, service(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, size))
	}))
	f := r.thin2(t, tls.VersionTLS13)
	if _, err := f.request(); err != nil {
		t.Fatal(err)
	}
	r.last(t)
	waitFor(t, func() bool { return r.f.h2Finite.Load() == 0 })
	ended := make(chan error, 1)
	go func() { ended <- r.f.Shutdown(t.Context()) }()
	waitFor(t, func() bool { // until the server has closed the connection
		r.f.mu.Lock()
		defer r.f.mu.Unlock()
		for g := range r.f.gathers {
			return g.ending()
		}
		return false
	})
	select {
	case err := <-ended:
		t.Errorf("Shutdown = %v before the answer was read", err)
	case <-time.After(1200 * time.Millisecond): // longer than TLS and HTTP/2 wait
	}
	for n, ended := 0, false; !ended; {
		frame, err := f.fr.ReadFrame()
		if err != nil {
			t.Fatalf("%d bytes came, then %v, want %d and the stream's end", n, err, size)
		}
		if d, ok := frame.(*http2.DataFrame); ok {
			n += len(d.Data())
			if ended = d.StreamEnded(); ended && n != size {
				t.Errorf("%d bytes came, want %d", n, size)
			}
		}
	}
	_ = f.c.Close()
	if err := <-ended; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

// A client that asks for much over HTTP/2 and reads nothing is given up with its
// connection.
func TestNobodyReadsOverHTTP2(t *testing.T) {
	const timeout = 300 * time.Millisecond
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 64<<10))
		}
	}), func(c *Config) { c.BodyTimeout = timeout })
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		f := r.thin2(t, version)
		before := r.tunnel.Counters.BytesOut.Load()
		if _, err := f.request(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return r.tunnel.Counters.BytesOut.Load() > before })
		waitFor(t, func() bool { return r.f.Counts().Open == 0 })
	}
}
