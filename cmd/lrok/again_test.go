package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
)

// What stays on the terminal says where, how much, and how to get it again.
func TestFarewell(t *testing.T) {
	shop := tui.Tunnel{Kind: tunnel.HTTP, Name: "shop", URL: "https://shop.tun.test", Local: "http://localhost:3000"}
	db := tui.Tunnel{Kind: tunnel.TCP, Name: "db", URL: "tcp://tun.test:30007", Local: "localhost:5432"}
	for _, tt := range []struct {
		name     string
		s        tui.Summary
		r        reach
		captures afterwards
		want     string
	}{
		{"a tunnel", tui.Summary{Seen: 1, Tunnels: []tui.Tunnel{shop}}, reach{}, capturesGone, `https://shop.tun.test -> http://localhost:3000
1 request seen; the captures were in memory and are gone with the tunnel
again: lrok start
`},
		{"on this machine", tui.Summary{Tunnels: []tui.Tunnel{shop}}, reach{Local: true}, capturesGone, `https://shop.tun.test -> http://localhost:3000
0 requests seen; the captures were in memory and are gone with the tunnel
again: lrok start
for a public URL: run lrok serve on a server, then add --edge HOST
`},
		{"elsewhere", tui.Summary{Seen: 12, Connections: 2, Tunnels: []tui.Tunnel{shop, db}}, reach{Local: true}, capturesStay, `https://shop.tun.test -> http://localhost:3000
tcp://tun.test:30007 -> localhost:5432
12 requests and 2 connections seen; the captures stay with the tunnel
again: lrok start
`},
		{"out of reach", tui.Summary{Seen: 12, Tunnels: []tui.Tunnel{shop}}, reach{}, capturesLeft, `https://shop.tun.test -> http://localhost:3000
12 requests seen; the edge may keep the captures for 10 minutes: lrok logs shop
again: lrok start
`},
		{"no HTTP", tui.Summary{Tunnels: []tui.Tunnel{db}}, reach{}, capturesGone, `tcp://tun.test:30007 -> localhost:5432
0 connections seen
again: lrok start
`},
		{"never live", tui.Summary{Tunnels: []tui.Tunnel{{Kind: tunnel.HTTP, Local: "http://localhost:3000"}}}, reach{}, capturesGone, "again: lrok start\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			(&options{stdout: &b}).farewell(tt.s, &tt.r, tt.captures, "lrok start")
			if b.String() != tt.want {
				t.Errorf("said\n%s\nwant\n%s", &b, tt.want)
			}
		})
	}
}

// Whatever the terminal's width, no line but an address or a command is broken.
func TestFarewellFits(t *testing.T) {
	far, near, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	defer func() { _, _ = near.Close(), far.Close() }()
	shop := tui.Tunnel{Kind: tunnel.HTTP, Name: "shop", URL: "https://golden-vicuna.tunnel.example.com", Local: "http://localhost:3000"}
	db := tui.Tunnel{Kind: tunnel.TCP, Name: "db", URL: "tcp://tunnel.example.com:30007", Local: "localhost:5432"}
	shown := bufio.NewReader(far)
	for _, width := range []uint16{120, 80, 40} {
		if err := pty.Setsize(far, &pty.Winsize{Cols: width, Rows: 24}); err != nil {
			t.Fatal(err)
		}
		for _, s := range []tui.Summary{
			{Tunnels: []tui.Tunnel{shop}},
			{Seen: 123456, Tunnels: []tui.Tunnel{shop}},
			{Seen: 12345, Connections: 1234, Tunnels: []tui.Tunnel{shop, db}},
			{Connections: 123456, Tunnels: []tui.Tunnel{db}},
		} {
			for _, captures := range []afterwards{capturesStay, capturesGone, capturesLeft} {
				(&options{stdout: near}).farewell(s, &reach{Local: true}, captures, "lrok http 3000")
				_, _ = io.WriteString(near, "(the end)\n")
				var lines []string
				for {
					line, err := shown.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					if line = strings.TrimRight(line, "\r\n"); line == "(the end)" {
						break
					}
					lines = append(lines, line)
					if len(line) > int(width) {
						t.Errorf("%q has %d columns of %d", line, len(line), width)
					}
				}
				text := strings.Join(lines, "\n")
				for _, must := range []string{s.Tunnels[0].URL, " seen", "again: lrok http 3000"} {
					if !strings.Contains(text, must) {
						t.Errorf("at %d columns %q is missing:\n%s", width, must, text)
					}
				}
			}
		}
	}
}

func TestCommandLine(t *testing.T) {
	was := os.Args
	defer func() { os.Args = was }()
	os.Args = []string{"/usr/bin/lrok", "http", "3000", "--hint", "shop-dev", "--host-header", "it's here", ""}
	if got, want := commandLine(), `lrok http 3000 --hint shop-dev --host-header 'it'\''s here' ''`; got != want {
		t.Errorf("commandLine() = %s, want %s", got, want)
	}
}
