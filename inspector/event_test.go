package inspector

import (
	"strings"
	"testing"
	"time"
)

func TestEventOf(t *testing.T) {
	const stripe = `{"id":"evt_1","object":"event","data":{"object":{"type":"card"}},"type":"invoice.paid"}`
	for _, c := range []struct {
		method, header, body, want string
	}{
		{"POST", "Content-Type: application/json; charset=utf-8", stripe, "invoice.paid"},
		{"POST", "Content-Type: application/cloudevents+json", `{"type":"com.example.order.created"}`, "com.example.order.created"},
		{"POST", "X-GitHub-Event: push", "payload=x", "push"},
		{"POST", "x-github-event: issues\nContent-Type: application/json", `{"action":"opened","issue":{"action":"closed"}}`, "issues.opened"},
		{"POST", "X-GitHub-Event: push\nContent-Type: application/json", `{"ref":"main"}`, "push"},
		{"POST", "X-Shopify-Topic: orders/create\nContent-Type: application/json", `{"type":"a.b"}`, "orders/create"},
		{"POST", "X-Gitlab-Event: Merge Request Hook", "", "Merge Request Hook"},
		{"POST", "Content-Type: application/json", `{"type":"event_callback","event":{"type":"app_mention"}}`, "app_mention"},
		{"POST", "Content-Type: application/json", `{"type":"url_verification","challenge":"x"}`, "url_verification"},
		{"POST", "Content-Type: application/json", `{"event_type":"PAYMENT.SALE.COMPLETED"}`, "PAYMENT.SALE.COMPLETED"},
		{"POST", "Content-Type: application/json", `{"query":"query Me { me }","operationName":"Me"}`, "Me"},
		{"POST", "Content-Type: application/json", `{"type":"admin"}`, ""}, // of a user, not of an event
		{"POST", "Content-Type: application/json", `{"event":17,"type":null}`, ""},
		{"POST", "Content-Type: application/json", `[{"event":"a"}]`, ""},
		{"POST", "Content-Type: application/json", `{"event":"a`, ""},
		{"POST", "Content-Type: application/json\nContent-Encoding: gzip", stripe, ""},
		{"POST", "Content-Type: text/plain", stripe, ""},
		{"GET", "Content-Type: application/json", stripe, ""},
		{"POST", "X-GitHub-Event: a\x1b[2Jb", "", ""},
		{"POST", "X-Event-Key: " + strings.Repeat("x", 81), "", ""},
		{"POST", "Content-Type: application/json", `{"event":"late","pad":"` + strings.Repeat("x", eventSearch) + `"}`, ""},
	} {
		x := &Exchange{Method: c.method, Request: Message{Header: fields("POST / HTTP/1.1\n" + c.header)}}
		if got := eventOf(x, []byte(c.body)); got != c.want {
			t.Errorf("%s %q %.80q: %q, want %q", c.method, c.header, c.body, got, c.want)
		}
	}
}

// The event is known when the request has ended, to lists, watchers and whoever
// opens it, and what an open exchange has so far is no reason to give up.
func TestEventOfARecord(t *testing.T) {
	r := NewRing("acme", 10, Limits{}, NewBudget(1<<20))
	rec := r.Begin(Start{Method: "POST", Path: "/", Head: []byte("POST / HTTP/1.1\r\nContent-Type: application/json\r\n\r\n"), Accepted: time.Now()})
	_, _ = rec.Request.Write([]byte(`{"event":`))
	if x := r.List(0, 0)[0]; x.Event != "" {
		t.Errorf("half a body: %q", x.Event)
	}
	_, _ = rec.Request.Write([]byte(`"order.paid"}`))
	rec.End(Ending{})
	xs, _ := r.Since(1)
	whole, _ := r.Find(rec.ID())
	if len(xs) != 1 || xs[0].Event != "order.paid" || r.List(0, 0)[0].Event != "order.paid" || whole.Event != "order.paid" {
		t.Errorf("since %+v, whole %q", xs, whole.Event)
	}
	r.Clear()
}

func FuzzEventOf(f *testing.F) {
	f.Add("application/json", "push", []byte(`{"action":"opened","type":"a.b"}`))
	f.Add("application/json", "", []byte(`{"event":{"type":"a"},"type":"\u001b"}`))
	f.Add("application/json", "", []byte(`{"event":"`))
	f.Fuzz(func(t *testing.T, contentType, header string, body []byte) {
		x := &Exchange{Method: "POST", Request: Message{Header: []Field{{"Content-Type", contentType}, {"X-GitHub-Event", header}}}}
		for _, c := range []byte(eventOf(x, body)) {
			if c < ' ' || c > '~' {
				t.Fatalf("event %q", eventOf(x, body))
			}
		}
	})
}
