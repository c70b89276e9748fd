package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// BenchmarkExchange is a small request over a real session: client, edge, agent
// and service in one process, of which client and service allocate nothing.
func BenchmarkExchange(b *testing.B) {
	const (
		end    = "{\"ok\":\"yes\"}\n"
		answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"done\":1}\n"
	)
	local := tcpService(b, func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Time{})
		buf, out, n := make([]byte, 4<<10), []byte(answer), 0
		for {
			k, err := c.Read(buf[n:])
			if n += k; err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte(end)) {
				n = 0
				if _, err := c.Write(out); err != nil {
					return
				}
			}
		}
	})
	for _, capture := range []bool{true, false} {
		for _, connections := range []int{1, 16} {
			b.Run(fmt.Sprintf("capture=%t/connections=%d", capture, connections), func(b *testing.B) {
				r := start(b, local, func(c *rigConfig) { c.claim = tunnel.Claim{NoInspect: !capture} })
				request := fmt.Sprintf("POST /webhooks/x HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", r.host, len(end), end)
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for range connections {
					wg.Go(func() {
						c, err := net.Dial("tcp", r.edge.HTTPAddr())
						if err != nil {
							b.Error(err)
							return
						}
						defer func() { _ = c.Close() }()
						out, in := []byte(request), make([]byte, len(answer))
						for left.Add(-1) >= 0 {
							if _, err := c.Write(out); err != nil {
								b.Error(err)
								return
							}
							if _, err := io.ReadFull(c, in); err != nil || !bytes.HasSuffix(in, []byte("{\"done\":1}\n")) {
								b.Errorf("read %q, %v", in, err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
			})
		}
	}
}
