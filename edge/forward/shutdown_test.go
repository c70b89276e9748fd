package forward

import (
	"net"
	"net/http"
	"testing"

	"github.com/lrok-dev/lrok/edge/registry"
)

// An edge that is ended while it starts must not go on listening.
func TestServeAfterShutdown(t *testing.T) {
	f := New(Config{Registry: registry.New(registry.Config{Domain: "test.example"}), Domain: "test.example", API: http.NotFoundHandler()})
	if err := f.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Serve(l, nil); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Errorf("%s still takes connections", l.Addr())
	}
}
