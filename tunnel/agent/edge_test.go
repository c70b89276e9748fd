package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what must come: a busy machine is slow, and
// what does not come at all fails a little later.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

// A testEdge is the least an edge does: it grants what is asked, probes and
// says live.
type testEdge struct {
	t      *testing.T
	addr   string
	config tunnel.EdgeConfig
	refuse func(tunnel.Hello) *tunnel.Error // nil accepts all

	sessions chan *tunnel.Session
	hellos   chan tunnel.Hello

	mu    sync.Mutex
	conns map[net.Conn]bool
	ln    net.Listener
	group sync.WaitGroup
}

func newTestEdge(t *testing.T) *testEdge {
	cert, _ := certificate()
	e := &testEdge{
		t:        t,
		addr:     "127.0.0.1:0",
		config:   tunnel.EdgeConfig{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Hello: patience},
		sessions: make(chan *tunnel.Session, 100),
		hellos:   make(chan tunnel.Hello, 100),
		conns:    map[net.Conn]bool{},
	}
	return e
}

func (e *testEdge) start() {
	ln := listen(e.t, "tcp", e.addr)
	e.addr, e.ln = ln.Addr().String(), ln
	e.group.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.conns[c] = true
			e.mu.Unlock()
			e.group.Go(func() { e.serve(c) })
		}
	})
}

// listen listens where somebody listened before, perhaps. A connection of another
// process may have that port for a moment.
func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	for late := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		ln, err := net.Listen(network, addr)
		if err == nil {
			return ln
		}
		if time.Now().After(late) {
			t.Fatal(err)
		}
	}
}

func (e *testEdge) serve(c net.Conn) {
	defer c.Close()
	p, err := tunnel.Accept(c, &e.config)
	if err != nil {
		return
	}
	if p.Bulk() { // which the edge asks for when a round trip takes long
		p.ServeBulk()
		return
	}
	e.hellos <- p.Hello
	if e.refuse != nil {
		if err := e.refuse(p.Hello); err != nil {
			p.Refuse(err)
			return
		}
	}
	w := tunnel.Welcome{Session: "s"}
	for i, claim := range p.Hello.Claims {
		name := claim.Name
		if name == "" {
			name = fmt.Sprintf("chosen-%d", i)
		}
		w.Grants = append(w.Grants, tunnel.Grant{Kind: claim.Kind, Name: name, URL: "http://" + name + ".localhost"})
	}
	s, err := p.Accept(w)
	if err != nil {
		return
	}
	e.group.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := s.Probe(ctx); err == nil && s.Live() == nil {
			e.sessions <- s
		}
	})
	s.Run(context.Background())
}

// cut breaks every connection, stop also the listener.
func (e *testEdge) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		delete(e.conns, c)
	}
}

func (e *testEdge) stop() {
	e.ln.Close()
	e.cut()
	e.group.Wait()
}

// run starts an agent and ends it with the test.
func run(t *testing.T, e *testEdge, change func(*Config), targets ...string) (*Agent, <-chan error) {
	t.Helper()
	_, pool := certificate()
	c := Config{
		Edge:    e.addr,
		TLS:     &tls.Config{RootCAs: pool},
		Key:     "key",
		recheck: 10 * time.Millisecond,
	}
	for _, s := range targets {
		target, err := ParseTarget(s)
		if err != nil {
			t.Fatal(err)
		}
		c.Targets = append(c.Targets, target)
		c.Claims = append(c.Claims, tunnel.Claim{Kind: tunnel.HTTP, Local: target.String()})
	}
	if change != nil {
		change(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		done <- a.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("Run still runs after its context ended")
		}
		if e.ln != nil {
			e.stop()
		}
		if s := a.Status().State; s != Closed {
			t.Errorf("State = %v after Run, want closed", s)
		}
	})
	return a, done
}

// until waits for a status, as a screen does.
func until(t *testing.T, a *Agent, what string, ok func(Status) bool) Status {
	t.Helper()
	late := time.After(patience)
	for {
		if s := a.Status(); ok(s) {
			return s
		}
		select {
		case <-a.Changed():
		case <-late:
			t.Fatalf("%s: not so after %v, status %+v", what, patience, a.Status())
		}
	}
}

func isOnline(s Status) bool { return s.State == Online }

// service is a local service that handles connections with f.
func service(t *testing.T, network, addr string, f func(net.Conn)) string {
	t.Helper()
	ln := listen(t, network, addr)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); group.Wait() })
	return ln.Addr().String()
}

func echo(c net.Conn) {
	io.Copy(c, c)
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
}
