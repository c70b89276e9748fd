package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/internal/e2e/node"
)

// behindShop puts a script behind the tunnel shop.
func behindShop(t *testing.T, e *edgeProcess, s *node.Script) {
	t.Helper()
	p := lrok(t, e.reach(""), "http", fmt.Sprint(s.Port()), "--plain", "--hint", "shop")
	p.stdout.await(t, "https://shop.tun.test")
}

// Every delivery that GitHub, Stripe and Standard Webhooks' own libraries make
// verifies with those libraries behind the tunnel, and once more after lrok
// replay.
func TestWebhooksVerifyDirectlyAndReplayed(t *testing.T) {
	e := serve(t, nil)
	receiver := node.Start(t, "receiver.mjs")
	behindShop(t, e, receiver)
	api := e.api(t)

	// A ring keeps 100; replays are captured as well, and push out the oldest.
	const batch = 80
	var replayed uint64 // number of the newest capture so far
	kinds := map[string]int{}
	for skip := 0; ; skip += batch {
		sent := node.Send(t, "http://"+e.http+"/hooks?from=e2e", "shop.tun.test", "--skip", fmt.Sprint(skip), "--limit", fmt.Sprint(batch))
		if len(sent) == 0 {
			break
		}
		arrived := deliveries(t, receiver, len(sent))
		for _, s := range sent {
			a := arrived[s.ID]
			if s.Status != 200 || !a.OK || a.Kind != s.Kind || a.Event != s.Event || a.SHA256 != s.SHA256 || a.Path != "/hooks?from=e2e" {
				t.Errorf("sent %+v\narrived %+v", s, a)
			}
			kinds[s.Kind]++
		}

		xs, err := api.Requests(t.Context(), "shop", client.Query{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{"replay"}
		newest := replayed
		for _, x := range slices.Backward(xs) { // the oldest first
			if x.Number <= replayed {
				continue
			}
			ids = append(ids, x.ID)
			newest = max(newest, x.Number)
		}
		if len(ids)-1 != len(sent) {
			t.Fatalf("%d captures of %d deliveries", len(ids)-1, len(sent))
		}
		p := lrok(t, e.reach(""), ids...)
		if code := p.wait(); code != 0 {
			t.Fatalf("lrok replay exits %d, want 0", code)
		}
		replayed = newest + uint64(len(sent))
		again := deliveries(t, receiver, len(sent))
		for _, s := range sent {
			if a := again[s.ID]; !a.OK || a.Event != s.Event || a.SHA256 != s.SHA256 || a.Path != "/hooks?from=e2e" {
				t.Errorf("sent %+v\nreplayed %+v", s, a)
			}
			if was, is := arrived[s.ID].Headers, again[s.ID].Headers; !slices.Equal(was, is) {
				t.Errorf("%s: headers of the replay\n%q, want\n%q", s.ID, is, was)
			}
		}
	}
	if kinds["github"] < 300 || kinds["stripe"] < 5 || kinds["standard"] < 4 {
		t.Errorf("kinds = %v, want every payload of the npm package (over 300) and some of the others", kinds)
	}
}

func deliveries(t *testing.T, receiver *node.Script, n int) map[string]node.Delivery {
	t.Helper()
	by := map[string]node.Delivery{}
	for range n {
		var d node.Delivery
		if !receiver.Next(&d) {
			t.Fatal(receiver.Wait())
		}
		by[d.ID] = d
	}
	if len(by) != n {
		t.Errorf("%d deliveries with an id of their own, want %d", len(by), n)
	}
	return by
}

func TestNpmWebSocket(t *testing.T) {
	e := serve(t, nil)
	echo := node.Start(t, "ws-echo.mjs")
	behindShop(t, e, echo)
	url := "ws://" + e.http + "/room?x=1"
	node.WebSocket(t, url, "shop.tun.test")
	var c struct{ Connected, Host, Protocol string }
	if !echo.Next(&c) || c.Connected != "/room?x=1" || c.Host != "shop.tun.test" || c.Protocol != "lrok.v2" {
		t.Errorf("first connection = %+v", c)
	}
	node.WebSocket(t, url, "shop.tun.test", "--deflate", "1")

	// The codes with which either side closed arrive at the server as well.
	want := map[int]bool{4001: true, 4002: true}
	for len(want) > 0 {
		var line struct {
			Closed int
			Reason string
		}
		if !echo.Next(&line) {
			t.Fatalf("the server never saw close codes %v: %v", want, echo.Wait())
		}
		delete(want, line.Closed)
	}
}

func TestNpmEventSourceResumes(t *testing.T) {
	e := serve(t, nil)
	server := node.Start(t, "sse-server.mjs")
	behindShop(t, e, server)
	ticks, opened := node.Events(t, "http://"+e.http+"/events?n=10&ms=5&drop=4", "shop.tun.test", 10)
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
		if o.LastEventID != want || o.Host != "shop.tun.test" {
			t.Errorf("connection = %+v, want Last-Event-ID %q", o, want)
		}
	}
}
