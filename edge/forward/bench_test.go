package forward

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

const (
	benchRequest = "POST /webhooks/orders?source=shop HTTP/1.1\r\nHost: a.tun.test\r\nUser-Agent: Shop-Hookshot/3f6c1d2\r\n" +
		"Accept: */*\r\nContent-Type: application/json\r\nX-Shop-Event: order.paid\r\nX-Shop-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958\r\n" +
		"X-Request-Id: 01JGFJJZ00DKWPB8F1N6SC9B5W\r\nContent-Length: 13\r\n\r\n{\"ok\":\"yes\"}\n"
	benchAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n" +
		"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: keep-alive\r\nContent-Length: 11\r\n\r\n{\"done\":1}\n"
)

// A benchSession has a connection of its own to the service for each stream,
// and trusts it to be quiet.
type benchSession struct {
	*direct
}

type benchConn struct{ *net.TCPConn }

func (benchConn) Quiet() bool { return true }

func (s benchSession) Open(tunnel.Peer) (tunnel.Conn, error) {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	return benchConn{c.(*net.TCPConn)}, nil
}

// benchEdge serves a.tun.test, with claim, to the service at local.
func benchEdge(t testing.TB, local string, claim tunnel.Claim) (f *Forwarder, tn *registry.Tunnel, public string) {
	t.Helper()
	reg := registry.New(registry.Config{Domain: "tun.test"})
	claim.Kind, claim.Name, claim.Local = tunnel.HTTP, "a", "http://"+local
	if _, err := reg.Claim(t.Context(), benchSession{&direct{addr: local}}, "u", "i", "m", []tunnel.Claim{claim}); err != nil {
		t.Fatal(err)
	}
	f = New(Config{Registry: reg, Domain: "tun.test", API: http.NotFoundHandler()})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.Run(ctx) })
	wg.Go(func() { _ = f.Serve(l, nil) })
	t.Cleanup(func() {
		stop, done := context.WithTimeout(context.Background(), 2*time.Second)
		defer done()
		_ = f.Shutdown(stop)
		reg.CloseTunnel("u", "a")
		cancel()
		wg.Wait()
	})
	tn, _ = reg.Tunnel("a")
	return f, tn, l.Addr().String()
}

// benchService gives the same answer to each request, which ends with end.
func benchService(t testing.TB, end string, answer []byte) string {
	return tcpService(t, func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Time{})
		buf, n := make([]byte, 4<<10), 0
		for {
			k, err := c.Read(buf[n:])
			if n += k; err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte(end)) {
				n = 0
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}
	})
}

// benchHeads is a connection that has read benchRequest and its answer.
func benchHeads(t testing.TB, f *Forwarder) *conn {
	t.Helper()
	near, far := newPipe(addr("203.0.113.7:4321"))
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	c := newConn(f, far, nil)
	c.peerIP = netip.MustParseAddr("203.0.113.7")
	if _, err := http1.ParseRequest(&c.req, []byte(benchRequest), f.cfg.Limits); err != nil {
		t.Fatal(err)
	}
	if _, err := http1.ParseResponse(&c.resp, []byte(benchAnswer), f.cfg.Limits, c.req.Method); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNoAllocations holds what happens at each request, besides its capture, to
// no memory at all.
func TestNoAllocations(t *testing.T) {
	f, tn, _ := benchEdge(t, "127.0.0.1:1", tunnel.Claim{Allow: []string{"203.0.113.0/24"}, Deny: []string{"203.0.113.9"}, HostHeader: "rewrite"})
	c := benchHeads(t, f)
	out, host := make([]byte, 0, 4<<10), []byte("a.tun.test")
	for name, call := range map[string]func(){
		"appendHead":   func() { out = c.appendHead(out[:0], tn) },
		"appendAnswer": func() { out = c.appendAnswer(out[:0], false) },
		"route": func() {
			if f.route(host, c.req.Path).tunnel != tn {
				t.Fatal("the tunnel is not found")
			}
		},
		"refusal": func() {
			_, ip := c.client()
			if f.refusal(tn, ip, c.authorization()) != nil {
				t.Fatal("the client is refused")
			}
		},
	} {
		if n := testing.AllocsPerRun(100, call); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkAppendHead(b *testing.B) {
	for _, rewrite := range []string{"", "rewrite"} {
		b.Run("host="+rewrite, func(b *testing.B) {
			f, tn, _ := benchEdge(b, "127.0.0.1:1", tunnel.Claim{HostHeader: rewrite})
			c := benchHeads(b, f)
			out := make([]byte, 0, 4<<10)
			b.ReportAllocs()
			for b.Loop() {
				out = c.appendHead(out[:0], tn)
			}
		})
	}
}

func BenchmarkAppendAnswer(b *testing.B) {
	f, _, _ := benchEdge(b, "127.0.0.1:1", tunnel.Claim{})
	c := benchHeads(b, f)
	out := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		out = c.appendAnswer(out[:0], false)
	}
}

func BenchmarkRoute(b *testing.B) {
	f, _, _ := benchEdge(b, "127.0.0.1:1", tunnel.Claim{})
	for _, host := range []string{"a.tun.test", "api.tun.test", "nobody.tun.test"} {
		b.Run("host="+host, func(b *testing.B) {
			host, path := []byte(host), []byte("/webhooks")
			b.ReportAllocs()
			for b.Loop() {
				f.route(host, path)
			}
		})
	}
}

// BenchmarkRefusal asks the rules of a tunnel about a client that they let in.
func BenchmarkRefusal(b *testing.B) {
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte("ada:correct horse"))
	for _, rules := range []struct {
		name          string
		claim         tunnel.Claim
		authorization []string
	}{
		{"address", tunnel.Claim{Allow: []string{"203.0.113.0/24"}}, nil},
		{"login", tunnel.Claim{BasicUser: "ada", BasicPassword: "correct horse"}, []string{login}},
	} {
		b.Run(rules.name, func(b *testing.B) {
			f, tn, _ := benchEdge(b, "127.0.0.1:1", rules.claim)
			ip := netip.MustParseAddr("203.0.113.7")
			b.ReportAllocs()
			for b.Loop() {
				if f.refusal(tn, ip, rules.authorization) != nil {
					b.Fatal("the client is refused")
				}
			}
		})
	}
}

// BenchmarkExchange is a small request on a connection that is kept, without a
// session between edge and service.
func BenchmarkExchange(b *testing.B) {
	for _, capture := range []bool{true, false} {
		b.Run(fmt.Sprintf("capture=%t", capture), func(b *testing.B) {
			_, _, public := benchEdge(b, benchService(b, "\"yes\"}\n", []byte(benchAnswer)), tunnel.Claim{NoInspect: !capture})
			c, err := net.Dial("tcp", public)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			request, answer := []byte(benchRequest), make([]byte, len(benchAnswer)-len("Connection: keep-alive\r\n"))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.Write(request)
				if _, err := io.ReadFull(c, answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBody is 1 MiB of an answer, as long as it says or in chunks of 16
// KiB, without a session between edge and service.
func BenchmarkBody(b *testing.B) {
	const size = 1 << 20
	chunked := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range size / (16 << 10) {
		chunked = append(http1.AppendChunkHeader(chunked, 16<<10), make([]byte, 16<<10)...)
		chunked = append(chunked, "\r\n"...)
	}
	chunked = append(chunked, http1.LastChunk...)
	for _, body := range []struct {
		name   string
		answer []byte
	}{
		{"length", append([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"), make([]byte, size)...)},
		{"chunked", chunked},
	} {
		for _, capture := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/capture=%t", body.name, capture), func(b *testing.B) {
				request := []byte("GET /big HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
				_, _, public := benchEdge(b, benchService(b, "\r\n\r\n", body.answer), tunnel.Claim{NoInspect: !capture})
				c, err := net.Dial("tcp", public)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				buf := make([]byte, 64<<10)
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					_, _ = c.Write(request)
					for left := len(body.answer); left > 0; {
						n, err := c.Read(buf[:min(left, len(buf))])
						if err != nil {
							b.Fatal(err)
						}
						left -= n
					}
				}
			})
		}
	}
}
