package forward

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

// TestWhoEndedAnUpgrade: the capture of an upgraded connection says who ended it.
func TestWhoEndedAnUpgrade(t *testing.T) {
	const fin, rst = "fin", "rst"
	leave := func(c net.Conn, how string) {
		if how == rst {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
	for _, test := range []struct {
		name            string
		service, client string // how they leave; the service only after the client said x
		by, code        string
		detail          string // "" for any
	}{
		{"the client", "", fin, "", "", "ended by the client (FIN)"},
		{"the service", fin, "", "", "", "ended by the service (FIN)"},
		{"a reset of the client", "", rst, "client", tunnel.CodeClientAborted, ""},
		{"a reset of the service", rst, "", "upstream", tunnel.CodeUpstreamAborted, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
				if _, err := br.ReadByte(); err == nil && test.service != "" {
					leave(c, test.service)
					return
				}
				_, _ = io.Copy(io.Discard, br)
			}))
			c, br := r.dial(t)
			_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: a.tun.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			if _, err := http.ReadResponse(br, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(br, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, "x")
			if test.client != "" {
				leave(c, test.client)
			} else {
				_, _ = io.Copy(io.Discard, br)
				_ = c.Close()
			}
			x := r.last(t)
			if x.EndedBy != test.by || x.Error != test.code || test.detail != "" && x.Detail != test.detail {
				t.Errorf("ended by %q, %q, %q, want %q, %q, %q", x.EndedBy, x.Error, x.Detail, test.by, test.code, test.detail)
			}
		})
	}
}
