package tunnel

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what must come: a busy machine is slow, and
// what does not come at all fails a little later.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate makes one for localhost, and the pool that trusts it.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{"localhost"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
})

func edgeTestTLS() *tls.Config {
	c, _ := certificate()
	return &tls.Config{Certificates: []tls.Certificate{c}}
}

func agentTestTLS() *tls.Config {
	_, pool := certificate()
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// A pair is both halves of one session over loopback TCP and TLS.
type pair struct {
	edge, agent *Session
	edgeErr     chan error
	agentErr    chan error
	agentConn   net.Conn // below TLS
	edgeConn    net.Conn
}

func newPair(t testing.TB, edge *EdgeConfig, agent *AgentConfig) *pair {
	t.Helper()
	if edge == nil {
		edge = &EdgeConfig{}
	}
	if agent == nil {
		agent = &AgentConfig{}
	}
	edge.TLS, agent.TLS = edgeTestTLS(), agentTestTLS()
	if edge.Hello == 0 {
		edge.Hello = patience
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := &pair{edgeErr: make(chan error, 1), agentErr: make(chan error, 1)}
	accepted := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			accepted <- err
			return
		}
		p.edgeConn = c
		pending, err := Accept(c, edge)
		if err == nil {
			p.edge, err = pending.Accept(Welcome{Session: "s1"})
		}
		accepted <- err
	}()
	if p.agentConn, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	p.agent, err = Connect(t.Context(), p.agentConn, agent, Hello{Software: "test", Instance: "i1", Key: "k"})
	if e := <-accepted; e != nil {
		t.Fatalf("Accept: %v", e)
	}
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	go func() { p.edgeErr <- p.edge.Run(context.Background()) }()
	go func() { p.agentErr <- p.agent.Run(context.Background()) }()
	t.Cleanup(func() {
		p.edge.Close()
		p.agent.Close()
		<-p.edge.Done()
		<-p.agent.Done()
		for _, c := range []chan error{p.edgeErr, p.agentErr} {
			select {
			case <-c:
			case <-time.After(patience):
				t.Error("Run still runs after Close")
			}
		}
	})
	return p
}

// within fails the test when f takes too long.
func within(t testing.TB, what string, d time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s: not done after %v", what, d)
	}
}

// eventually polls for what no event announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}
