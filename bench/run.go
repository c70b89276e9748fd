package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

type env struct {
	bindir, work string
	up, upTCP    int
	self         string
	cert, key    string
	keep         bool
	base         int // first port; 1300 ports a system
}

// vars is what the templates of a system see.
type vars struct {
	e                         *env
	Dir                       string
	Pub, PubI, Ctl, Link, TCP int
	TLS                       int
	Aux, AuxI, Up, UpTCP, I   int
	Cert, Key, Self           string
	Big, Bodies               bool
}

func (v vars) Bin(name string) (string, error) { return v.e.bin(name) }

func (e *env) bin(name string) (string, error) {
	k := "PEER_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
	if p := os.Getenv(k); p != "" {
		return p, nil
	}
	p := filepath.Join(e.bindir, name)
	if _, err := os.Stat(p); err == nil {
		return p, nil
	}
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	return "", fmt.Errorf("no %s (set %s or put it into %s)", name, k, e.bindir)
}

func (v vars) expand(s string) string {
	t, err := template.New("").Parse(s)
	if err != nil {
		panic(fmt.Sprintf("%q: %v", s, err))
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		panic(fmt.Sprintf("%q: %v", s, err))
	}
	return b.String()
}

func (v vars) argv(a []string) (out []string) {
	for _, s := range a {
		if s = v.expand(s); s != "" {
			out = append(out, s)
		}
	}
	return
}

// running is a started system.
type running struct {
	sys    system
	v      vars
	edge   *proc
	agents []*proc
	delay  io.Closer
	t      target
	tcp    string
}

// freeBase looks for the ports of a system. They are odd: where the kernel takes
// ports for connections from the same range it takes even ones first, and each is
// then taken for a minute.
func (e *env) freeBase(s system, slot int) (base int, err error) {
	for base = e.base + slot*1300; base < e.base+slot*1300+160; base += 16 {
		for _, p := range []int{1, 3, 5, 7, 9, 11} {
			var l net.Listener
			if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+p)); err != nil {
				break
			}
			l.Close()
		}
		if err == nil || len(s.Edge) == 0 {
			return base, nil
		}
	}
	return 0, fmt.Errorf("%s: ports taken (another run? see -base): %w", s.Name, err)
}

// booting says how a system is to be started.
type booting struct {
	rtt     time.Duration // of the link between agent and edge
	rate    float64       // of that link, in bytes a second; 0 for no limit
	noAgent bool
	tcp     bool // with a raw TCP tunnel, where there is one
	big     bool // with the limits raised that would stop 10,000 requests
	bodies  bool // with bodies of many MiB captured whole
}

// boot starts the edge (and, unless noAgent, one agent) and waits until it answers.
func (e *env) boot(s system, slot int, b booting) (r *running, err error) {
	base, err := e.freeBase(s, slot)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(e.work, s.Name+"-")
	if err != nil {
		return nil, err
	}
	v := vars{e: e, Dir: dir, Ctl: base + 1, Aux: base + 3, Pub: base + 11, PubI: base + 11, Link: base + 1, TCP: base + 5, Up: e.up, UpTCP: e.upTCP, Cert: e.cert, Key: e.key, Self: e.self, AuxI: base + 1100, TLS: base + 7}
	if s.NoTCP || !b.tcp {
		v.TCP = 0
	}
	v.Big, v.Bodies = b.big, b.bodies
	r = &running{sys: s, v: v}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	if s.Links > 0 {
		v.Link = base + 9
		r.v = v
		if r.delay, err = relay(fmt.Sprintf("127.0.0.1:%d", v.Link), fmt.Sprintf("127.0.0.1:%d", v.Ctl), s.Links); err != nil {
			return
		}
	}
	if b.rtt > 0 {
		v.Link = base + 9
		r.v = v
		if r.delay, err = delayProxy(fmt.Sprintf("127.0.0.1:%d", v.Link), fmt.Sprintf("127.0.0.1:%d", v.Ctl), b.rtt, b.rate); err != nil {
			return
		}
	}
	if err = v.write(s.Files); err != nil {
		return
	}
	if len(s.Setup) > 0 {
		a := v.argv(s.Setup)
		if out, err2 := exec.Command(a[0], a[1:]...).CombinedOutput(); err2 != nil {
			return r, fmt.Errorf("%s: set-up: %v %s", s.Name, err2, out)
		}
	}
	if len(s.Edge) > 0 {
		if r.edge, err = startProc(v.argv(s.Edge), dir, filepath.Join(dir, "edge.log"), v.argv(s.EdgeEnv), nil); err != nil {
			return
		}
		p := v.Pub
		if len(s.Agent) > 0 && !s.NoRTT {
			p = v.Ctl
		}
		if err = waitPort(p, 20*time.Second); err != nil {
			return r, fmt.Errorf("%s: edge: %v\n%s", s.Name, err, tail(filepath.Join(dir, "edge.log"), 600))
		}
		if len(s.AfterEdge) > 0 {
			a := v.argv(s.AfterEdge)
			if out, err2 := exec.Command(a[0], a[1:]...).CombinedOutput(); err2 != nil {
				return r, fmt.Errorf("%s: after edge: %v %s", s.Name, err2, out)
			}
		}
	}
	r.t, r.tcp = r.at(0)
	if len(s.Agent) > 0 && !b.noAgent {
		if _, err = r.addAgent(0); err != nil {
			return
		}
	}
	if !b.noAgent {
		_, err = waitReady(r.t, 20*time.Second)
		if err == nil && r.tcp != "" {
			err = waitTCP(r.tcp, 10*time.Second)
		}
		if err != nil {
			err = fmt.Errorf("%s: %v\nedge: %s\nagent: %s", s.Name, err, tail(filepath.Join(dir, "edge.log"), 800), tail(filepath.Join(dir, "agent0.log"), 800))
		}
	}
	return
}

func (r *running) forAgent(i int) vars {
	v := r.v
	v.I, v.PubI, v.AuxI = i, v.Pub+i, v.Ctl+1100+i
	if i > 0 {
		v.TCP = 0
	}
	return v
}

func (r *running) at(i int) (target, string) {
	v := r.forAgent(i)
	t := target{addr: fmt.Sprintf("127.0.0.1:%d", v.Pub), host: fmt.Sprintf("t%d.tun.test", i)}
	if r.sys.HTTP != "" {
		t.addr = v.expand(r.sys.HTTP)
	}
	if r.sys.Host != "" {
		t.host = v.expand(r.sys.Host)
	}
	tcp := ""
	if v.TCP != 0 {
		tcp = fmt.Sprintf("127.0.0.1:%d", v.TCP)
	}
	if r.sys.Kind == "direct" {
		tcp = fmt.Sprintf("127.0.0.1:%d", v.UpTCP)
	}
	return t, tcp
}

func (r *running) addAgent(i int) (*proc, error) {
	v := r.forAgent(i)
	if err := v.write(r.sys.AgentFiles); err != nil {
		return nil, err
	}
	var t *terminal
	if r.sys.Screen {
		var err error
		if t, err = newTerminal(); err != nil {
			return nil, err
		}
	}
	p, err := startProc(v.argv(r.sys.Agent), v.Dir, filepath.Join(v.Dir, fmt.Sprintf("agent%d.log", i)), v.argv(r.sys.AgentEnv), t)
	if err == nil {
		r.agents = append(r.agents, p)
	}
	return p, err
}

func (v vars) write(files map[string]string) error {
	for n, c := range files {
		p := filepath.Join(v.Dir, v.expand(n))
		if err := os.WriteFile(p, []byte(v.expand(c)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (r *running) stop() {
	for _, a := range r.agents {
		a.ask()
	}
	for _, a := range r.agents {
		a.stop()
	}
	r.agents = nil
	r.edge.stop()
	r.edge = nil
	if r.delay != nil {
		r.delay.Close()
	}
	if !r.v.e.keep {
		os.RemoveAll(r.v.Dir)
	}
}

func waitPort(port int, d time.Duration) error {
	var err error
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var c net.Conn
		if c, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return nil
		}
	}
	return err
}

// waitReady polls until a public request succeeds; it returns how long that took.
func waitReady(t target, d time.Duration) (time.Duration, error) {
	t0 := time.Now()
	req := t.req("GET", "/small", 0, true)
	err := fmt.Errorf("no answer")
	for time.Since(t0) < d {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", t.addr, time.Second); err == nil {
			c.SetDeadline(time.Now().Add(3 * time.Second))
			c.Write(req)
			var h respHead
			h, _, err = readResp(newReader(c))
			c.Close()
			if err == nil && h.status == 200 {
				return time.Since(t0), nil
			}
			if err == nil {
				err = fmt.Errorf("status %d", h.status)
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, fmt.Errorf("not ready after %v: %v", d, err)
}

func waitTCP(addr string, d time.Duration) (err error) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err = pingPong(dialEcho(addr), time.Millisecond); err == nil {
			return nil
		}
	}
	return fmt.Errorf("tcp tunnel: %w", err)
}

func (e *env) makeCert() error {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tm := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tun.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		DNSNames: []string{"tun.test", "*.tun.test", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tm, tm, &k.PublicKey, k)
	if err != nil {
		return err
	}
	kb, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return err
	}
	e.cert, e.key = filepath.Join(e.work, "cert.pem"), filepath.Join(e.work, "key.pem")
	os.WriteFile(e.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	return os.WriteFile(e.key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kb}), 0o600)
}
