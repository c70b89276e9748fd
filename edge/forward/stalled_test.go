package forward

import (
	"context"
	"crypto/tls"
	"io"
	"testing"
	"time"
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
	began := time.Now()
	_ = r.f.Shutdown(ctx)
	if took := time.Since(began); took > 2*soon {
		t.Errorf("Shutdown took %v, want at most %v", took, 2*soon)
	}
}
