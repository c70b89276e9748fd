package node

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

// The scripts face each other here, with nothing between: what fails in a test
// through a tunnel and not here is the tunnel's.

func TestDeliveriesVerify(t *testing.T) {
	receiver := Start(t, "receiver.mjs")
	url := fmt.Sprintf("http://127.0.0.1:%d/hooks?from=e2e", receiver.Port())
	sent := Send(t, url, "shop.localhost")

	arrived := map[string]Delivery{}
	kinds := map[string]int{}
	for range sent {
		var d Delivery
		if !receiver.Next(&d) {
			t.Fatal(receiver.Wait())
		}
		arrived[d.ID] = d
		kinds[d.Kind]++
	}
	for _, s := range sent {
		a, ok := arrived[s.ID]
		if !ok || s.Status != 200 || !a.OK || a.Kind != s.Kind || a.Event != s.Event || a.SHA256 != s.SHA256 {
			t.Errorf("sent %+v\narrived %+v", s, a)
		}
	}
	if kinds["github"] < 300 || kinds["stripe"] < 5 || kinds["standard"] < 4 || kinds["slack"] < 3 || kinds["shopify"] < 3 {
		t.Errorf("kinds = %v, want every payload of the npm package (over 300) and some of the others", kinds)
	}
}

func TestTamperedDeliveriesAreRefused(t *testing.T) {
	receiver := Start(t, "receiver.mjs")
	url := fmt.Sprintf("http://127.0.0.1:%d/", receiver.Port())
	for _, s := range Send(t, url, "", "--tamper", "1", "--limit", "3") {
		var d Delivery
		if !receiver.Next(&d) || d.OK || s.Status != 401 {
			t.Errorf("%s %s: status = %d, verified = %v, want 401 and false", s.Kind, s.Event, s.Status, d.OK)
		}
	}
}

func TestReceiverKeepsHeadersAsTheyCame(t *testing.T) {
	receiver := Start(t, "receiver.mjs")
	Send(t, fmt.Sprintf("http://127.0.0.1:%d/a%%2Fb?x", receiver.Port()), "shop.localhost:8080", "--kind", "stripe", "--limit", "1")
	var d Delivery
	receiver.Next(&d)
	if d.Path != "/a%2Fb?x" || len(d.Headers) < 4 || d.Headers[0] != "Host" || d.Headers[1] != "shop.localhost:8080" || d.Headers[2] != "Cache-Control" {
		t.Errorf("path = %q, headers = %q", d.Path, d.Headers)
	}
}

func TestWebSocketChecks(t *testing.T) {
	echo := Start(t, "ws-echo.mjs")
	url := fmt.Sprintf("ws://127.0.0.1:%d/room?x=1", echo.Port())
	WebSocket(t, url, "shop.localhost")
	var c struct{ Connected, Host, Protocol string }
	if !echo.Next(&c) || c.Connected != "/room?x=1" || c.Host != "shop.localhost" || c.Protocol != "lrok.v2" {
		t.Errorf("first connection = %+v", c)
	}
	WebSocket(t, url, "", "--deflate", "1")
}

func TestEventsResume(t *testing.T) {
	server := Start(t, "sse-server.mjs")
	url := fmt.Sprintf("http://127.0.0.1:%d/events?n=10&ms=2&drop=4", server.Port())
	ticks, opened := Events(t, url, "shop.localhost", 10)
	if len(ticks) != 10 || opened != 3 {
		t.Fatalf("%d events over %d connections, want 10 over 3", len(ticks), opened)
	}
	for i, k := range ticks {
		if k.N != i+1 || k.ID != fmt.Sprint(i+1) || k.Text != "Grüße 😀" {
			t.Errorf("event %d = %+v", i+1, k)
		}
	}
	for _, want := range []string{"", "4", "8"} {
		var o struct{ Opened, LastEventID, Host string }
		for o.Opened == "" && server.Next(&o) {
		}
		if o.LastEventID != want || o.Host != "shop.localhost" {
			t.Errorf("connection = %+v, want Last-Event-ID %q", o, want)
		}
	}
}

// The lock file names packages and digests, not the registry of whoever made it.
func TestLockFileNamesNoRegistry(t *testing.T) {
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(lock, []byte(`"integrity"`)) || bytes.Contains(lock, []byte(`"resolved"`)) {
		t.Error("package-lock.json: want integrity and no resolved; npm reads that from .npmrc here")
	}
}
