package api

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
)

// oneUser is a store that lets anybody in as the same user, and has nothing else.
type oneUser struct{ Store }

func (oneUser) Authenticate(context.Context, string) (store.User, store.Key, error) {
	return store.User{ID: "usr_1"}, store.Key{ID: "key_1"}, nil
}

// A single is a listener of one connection.
type single struct {
	conn chan net.Conn
	done chan struct{}
}

func (l *single) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *single) Close() error   { close(l.done); return nil }
func (l *single) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowBody is a caller who sends the first bytes of a body and then none,
// where one is read and where none is.
func TestSlowBody(t *testing.T) {
	for _, test := range []struct {
		head   string
		status int
	}{
		{"POST " + prefix + "/me/reservations HTTP/1.1\r\nAuthorization: Bearer k", 400},
		{"POST " + prefix + "/me/reservations HTTP/1.1", 401},
		{"GET " + prefix + "/openapi.json HTTP/1.1", 200},
		{"GET /nowhere HTTP/1.1", 404},
		{"PATCH " + prefix + "/me HTTP/1.1", 405},
	} {
		synctest.Test(t, func(t *testing.T) {
			ln := &single{make(chan net.Conn, 1), make(chan struct{})}
			srv := &http.Server{Handler: New(Config{Store: oneUser{}, Registry: registry.New(registry.Config{Domain: "lrok.example"})})}
			served := make(chan struct{})
			go func() {
				defer close(served)
				_ = srv.Serve(ln)
			}()
			near, far := net.Pipe()
			ln.conn <- far
			began := time.Now()
			if _, err := io.WriteString(near, test.head+"\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"sub"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(near), nil)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); resp.StatusCode != test.status || took > bodyTimeout+time.Second {
				t.Errorf("%s: %d after %v, want %d within %v", test.head, resp.StatusCode, took, test.status, bodyTimeout)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = near.Close()
			_ = srv.Close()
			<-served
		})
	}
}
