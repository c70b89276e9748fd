package tunnel

import (
	"fmt"
	"io"
	"testing"
)

var frameSizes = []int{64, 1 << 10, 32 << 10}

// benchPair has an agent that serves each stream with f, and no connection
// besides that of the session.
func benchPair(b *testing.B, f func(*Stream)) *pair {
	return newPair(b, &EdgeConfig{Bulk: -1}, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		if st.Connected(0) == nil {
			f(st)
		}
	}})
}

func benchOpen(b *testing.B, p *pair) Conn {
	c, err := p.edge.Open(Peer{Tunnel: "a", Kind: HTTP})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkWrite is one frame that the edge writes, while the agent takes what
// comes.
func BenchmarkWrite(b *testing.B) {
	for _, size := range frameSizes {
		b.Run(fmt.Sprintf("frame=%dB", size), func(b *testing.B) {
			c := benchOpen(b, benchPair(b, func(st *Stream) {
				_, _ = io.Copy(io.Discard, st)
				_ = st.CloseWrite()
			}))
			defer c.Close()
			frame := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(frame); err != nil {
					b.Fatal(err)
				}
			}
			// What is still on its way counts too.
			_ = c.CloseWrite()
			if _, err := io.Copy(io.Discard, c); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkRead is the bytes of one frame that the edge reads, while the agent
// writes as fast as it can.
func BenchmarkRead(b *testing.B) {
	for _, size := range frameSizes {
		b.Run(fmt.Sprintf("frame=%dB", size), func(b *testing.B) {
			c := benchOpen(b, benchPair(b, func(st *Stream) {
				for frame := make([]byte, size); ; {
					if _, err := st.Write(frame); err != nil {
						return
					}
				}
			}))
			defer c.Close()
			buf := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEcho is one frame there and back.
func BenchmarkEcho(b *testing.B) {
	for _, size := range frameSizes {
		b.Run(fmt.Sprintf("frame=%dB", size), func(b *testing.B) {
			c := benchOpen(b, benchPair(b, func(st *Stream) { _, _ = io.Copy(struct{ io.Writer }{st}, st) }))
			defer c.Close()
			frame := make([]byte, size)
			b.SetBytes(2 * int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(frame); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen is a stream that carries one small frame each way.
func BenchmarkOpen(b *testing.B) {
	p := benchPair(b, func(st *Stream) {
		_, _ = io.Copy(struct{ io.Writer }{st}, st)
		_ = st.CloseWrite()
	})
	frame := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		c := benchOpen(b, p)
		if _, err := c.Write(frame); err != nil {
			b.Fatal(err)
		}
		_ = c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || len(got) != len(frame) {
			b.Fatal(len(got), err)
		}
		_ = c.Close()
	}
}
