package agent

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

// benchSession is an edge's session to an agent with one local service, over
// loopback TLS.
func benchSession(b *testing.B, f func(net.Conn)) *tunnel.Session {
	b.Helper()
	cert, pool := certificate()
	up, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			c, err := up.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	sessions := make(chan *tunnel.Session, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		p, err := tunnel.Accept(c, &tunnel.EdgeConfig{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
		if err != nil {
			b.Error(err)
			return
		}
		s, err := p.Accept(tunnel.Welcome{Grants: []tunnel.Grant{{Name: "shop"}}})
		if err != nil {
			b.Error(err)
			return
		}
		go s.Run(context.Background())
		sessions <- s
	}()
	target, err := ParseTarget(up.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	a, err := New(Config{
		Edge:    ln.Addr().String(),
		TLS:     &tls.Config{RootCAs: pool},
		Claims:  []tunnel.Claim{{Kind: tunnel.HTTP}},
		Targets: []Target{target},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	s := <-sessions
	b.Cleanup(func() {
		cancel()
		<-done
		s.Abort(nil)
		ln.Close()
		up.Close()
	})
	return s
}

// answers is a service that takes requests of 200 bytes and answers with 300.
func answers(c net.Conn) {
	request, answer := make([]byte, 200), make([]byte, 300)
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// BenchmarkRequest is one small request and its answer on kept streams, edge,
// agent and local service together.
func BenchmarkRequest(b *testing.B) {
	for name, streams := range map[string]int{"streams=1": 1, "streams=16": 16, "streams=64": 64} {
		b.Run(name, func(b *testing.B) {
			s := benchSession(b, answers)
			b.ReportAllocs()
			cpu := startCPU()
			b.SetParallelism((streams + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				c, err := s.Open(tunnel.Peer{Tunnel: "shop"})
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				request, answer := make([]byte, 200), make([]byte, 300)
				for pb.Next() {
					c.Write(request)
					if _, err := io.ReadFull(c, answer); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			cpu.report(b)
		})
	}
}

// BenchmarkNewStream is a request on a stream and a local connection of its own.
func BenchmarkNewStream(b *testing.B) {
	s := benchSession(b, answers)
	b.ReportAllocs()
	cpu := startCPU()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		request, answer := make([]byte, 200), make([]byte, 300)
		for pb.Next() {
			c, err := s.Open(tunnel.Peer{Tunnel: "shop"})
			if err != nil {
				b.Error(err)
				return
			}
			c.Write(request)
			if _, err := io.ReadFull(c, answer); err != nil {
				b.Error(err)
			}
			c.Close()
		}
	})
	cpu.report(b)
}

// BenchmarkBulk is a MiB per operation, both ends together.
func BenchmarkBulk(b *testing.B) {
	const mib = 1 << 20
	for _, streams := range []int{1, 8} {
		b.Run(map[int]string{1: "down,streams=1", 8: "down,streams=8"}[streams], func(b *testing.B) {
			chunk := make([]byte, 256<<10)
			s := benchSession(b, func(c net.Conn) {
				for {
					if _, err := c.Write(chunk); err != nil {
						return
					}
				}
			})
			b.SetBytes(mib)
			cpu := startCPU()
			b.ResetTimer()
			var group sync.WaitGroup
			for i := range streams {
				group.Go(func() {
					c, err := s.Open(tunnel.Peer{Tunnel: "shop"})
					if err != nil {
						b.Error(err)
						return
					}
					defer c.Close()
					n := int64(b.N/streams) * mib
					if i == 0 {
						n = int64(b.N-b.N/streams*(streams-1)) * mib
					}
					buf := make([]byte, 64<<10)
					for n > 0 {
						m, err := c.Read(buf[:min(n, int64(len(buf)))])
						if err != nil {
							b.Error(err)
							return
						}
						n -= int64(m)
					}
				})
			}
			group.Wait()
			b.StopTimer()
			cpu.report(b)
		})
	}
}
