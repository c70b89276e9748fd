package agent

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A proxy stands in for the network; frozen, its open connections carry
// nothing more and do not end, and new ones work.
type proxy struct {
	addr  string
	mu    sync.Mutex
	conns []*net.TCPConn
	dead  map[*net.TCPConn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: ln.Addr().String(), dead: map[*net.TCPConn]bool{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in.(*net.TCPConn), out.(*net.TCPConn))
			p.mu.Unlock()
			group.Go(func() { p.copy(out.(*net.TCPConn), in.(*net.TCPConn)) })
			group.Go(func() { p.copy(in.(*net.TCPConn), out.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		group.Wait()
	})
	return p
}

func (p *proxy) copy(to, from *net.TCPConn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		dead := p.dead[from]
		p.mu.Unlock()
		if dead {
			io.Copy(io.Discard, from)
			return
		}
		if err != nil {
			to.Close()
			return
		}
		to.Write(b[:n])
	}
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		p.dead[c] = true
	}
}
