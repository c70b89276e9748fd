package tui

import (
	"encoding/base64"
	be "encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A proto writes a protocol buffers message.
type proto []byte

func (p proto) number(field int, v uint64) proto {
	return be.AppendUvarint(append(p, byte(field<<3)), v)
}

func (p proto) text(field int, s string) proto {
	return append(append(append(p, byte(field<<3|2)), byte(len(s))), s...)
}

func (p proto) float(field int, v float32) proto {
	return be.LittleEndian.AppendUint32(append(p, byte(field<<3|5)), math.Float32bits(v))
}

// grpcFrame puts gRPC's head before a message.
func grpcFrame(flags byte, message string) string {
	return string(be.BigEndian.AppendUint32([]byte{flags}, uint32(len(message)))) + message
}

// grpcCall makes the capture of a call.
func grpcCall(number uint64, method string, at time.Duration, in, out []string, code, message string) inspector.Exchange {
	side := func(list []string) (m inspector.Message) {
		m.Header = []inspector.Field{{Name: "content-type", Value: "application/grpc"}}
		m.Body.Data = []byte(strings.Join(list, ""))
		m.Body.Size = int64(len(m.Body.Data))
		m.Body.Captured, m.Body.Items = m.Body.Size, int64(len(list))
		return m
	}
	x := inspector.Exchange{
		ID: fmt.Sprintf("req_%026d", number), Number: number, Kind: inspector.GRPC, State: inspector.Done,
		Method: "POST", Path: "/shop.orders.v1.Orders/" + method, Scheme: "https", Host: "acme.lrok.example", Proto: "HTTP/2.0", TLS: "TLS 1.3",
		Remote: "203.0.113.7:51512", Status: 200, Reason: "OK", Request: side(in), Response: side(out),
	}
	x.Timing = inspector.Timing{Accepted: frozen.Add(-at), FirstByte: 3 * time.Millisecond, Done: 12 * time.Millisecond}
	if code != "" {
		x.Response.Trailer = []inspector.Field{{Name: "grpc-status", Value: code}}
	}
	if message != "" {
		x.Response.Trailer = append(x.Response.Trailer, inspector.Field{Name: "grpc-message", Value: message})
	}
	return x
}

// order is a message such as a shop would send.
func order(name, sku string) proto {
	item := func(sku string, n uint64) proto { return proto(nil).text(1, sku).number(2, n).float(3, 12.5) }
	return proto(nil).text(1, name).number(2, 4200).text(3, string(item(sku, 2))).text(3, string(item("sku-1", 1))).
		number(4, 1735689600).text(5, "\xde\xad\xbe\xef\xff")
}

// calls are captures: one that went well, one that failed, a conversation that goes
// on, and one from the web.
func calls(_ *Config, _ *agent.Status, e *demoEdge) {
	e.list = e.list[:4]
	e.add(grpcCall(1290, "GetOrder", 9*time.Second, []string{grpcFrame(0, string(order("A-1042", "sku-7")))}, []string{grpcFrame(0, string(proto(nil).number(1, 1)))}, "0", ""))
	e.add(grpcCall(1291, "GetOrder", 7*time.Second, []string{grpcFrame(0, string(proto(nil).text(1, "A-1043")))}, nil, "5", "no order A-1043 in shop%20north, and none in the archive of the years before%2c either"))
	e.add(demoChat())
	web := grpcCall(1293, "GetOrder", time.Second, nil, nil, "14", "the database is away")
	web.Kind = inspector.HTTP
	web.Request.Header[0].Value, web.Response.Header[0].Value = "application/grpc-web-text", "application/grpc-web-text"
	web.Request.Body = bodyOf64(grpcFrame(0, string(proto(nil).text(1, "A-1044"))))
	web.Response.Body = bodyOf64(grpcFrame(0, string(order("A-1044", "sku-8"))) + grpcFrame(0x80, "grpc-status: 14\r\ngrpc-message: the database is away\r\n"))
	e.add(web)
}

func bodyOf64(s string) inspector.Body {
	data := []byte(base64.StdEncoding.EncodeToString([]byte(s)))
	return inspector.Body{Size: int64(len(data)), Captured: int64(len(data)), Data: data}
}

// demoChat is a conversation that goes on.
func demoChat() inspector.Exchange {
	x := grpcCall(1292, "Chat", 5*time.Second, nil, nil, "", "")
	x.State, x.Timing.Done = inspector.Open, 0
	for i := range 7 {
		b := &x.Request.Body
		if i%2 == 1 {
			b = &x.Response.Body
		}
		at := time.Duration(i) * 400 * time.Millisecond
		x.Marks = append(x.Marks, inspector.Mark{At: at, Response: i%2 == 1, Offset: b.Size})
		b.Data = append(b.Data, grpcFrame(0, string(proto(nil).text(1, fmt.Sprintf("message %d", i)).number(2, uint64(i))))...)
		b.Size = int64(len(b.Data))
		b.Captured, b.Items, b.Last = b.Size, b.Items+1, at
	}
	return x
}

func TestCalls(t *testing.T) {
	x := demoChat()
	x.Marks = append(x.Marks, inspector.Mark{At: 3 * time.Second, Response: true, Offset: x.Response.Body.Size})
	x.Response.Body.Data = append(x.Response.Body.Data, grpcFrame(0, "\x0f")+grpcFrame(1, "x")+"\x00\x00\x00\x00\x09\x0a\x07mess"...)
	x.State = inspector.Done
	want := `▲ 14:02:26.000 13 {"1":"message 0","2":0}
▼ 14:02:26.400 13 {"1":"message 1","2":1}
▲ 14:02:26.800 13 {"1":"message 2","2":2}
▼ 14:02:27.200 13 {"1":"message 3","2":3}
▲ 14:02:27.600 13 {"1":"message 4","2":4}
▼ 14:02:28.000 13 {"1":"message 5","2":5}
▲ 14:02:28.400 13 {"1":"message 6","2":6}
▼ 14:02:29.000 1 it does not read as a message
▼ 14:02:29.000 1 compressed, and grpc-encoding does not say how
▼ 14:02:29.000 9 the first 6 bytes of 9 bytes {"1":"mess"}`
	doc := table1(newStream(&x), sieve{})
	got := rowsIn(doc)
	if got != want {
		t.Errorf("rows\n%s\nwant\n%s", got, want)
	}
	if name, contentType, data, ok := doc.open(1); name != "message #2" || contentType != "application/x-protobuf" || len(data) != 13 || !ok {
		t.Errorf("the second opens as %q, %q, %q", name, contentType, data)
	}
	// Without times, as of an older edge, they stand one side after the other.
	x.Marks = nil
	if s := newStream(&x); len(s.items) != 10 || !s.items[3].up || s.items[4].up || s.timed {
		t.Errorf("%d items, timed %v", len(s.items), s.timed)
	}
	// One message each way is no conversation.
	one := grpcCall(1, "GetOrder", 0, []string{grpcFrame(0, "")}, []string{grpcFrame(0, "")}, "0", "")
	if s := newStream(&one); s != nil {
		t.Errorf("%d items of a request and its answer", len(s.items))
	}
	b := layOut(t.Context(), &one, true, false)
	if rows := b.pretty.count(); b.label != "grpc message" || rows != 1 {
		t.Errorf("an empty message is %q in %d rows", b.label, rows)
	}
}

func TestShortCall(t *testing.T) {
	th := newTheme("dark", false, false, nil)
	const target = "/shop.orders.v1.Orders/GetOrder"
	for n, want := range map[int]string{31: target, 30: "…Orders/GetOrder", 16: "…Orders/GetOrder", 12: "…rs/GetOrder", 5: "/sho…"} {
		if got := th.shortCall(target, n); got != want {
			t.Errorf("%d columns: %q, want %q", n, got, want)
		}
	}
}

// TestCallKeys: a message is JSON to what works on JSON.
func TestCallKeys(t *testing.T) {
	t.Parallel()
	s, _, _ := demo(t, 80, 24, calls)
	s.waitText(t, "GetOrder")
	s.keys("jjj\r")
	s.waitText(t, `"3": [`)
	s.keys("=")
	s.waitText(t, "jq")
	s.keys(`.["3"] | length` + "\r")
	s.waitText(t, "1 result")
	s.keys("\x1b")
	s.waitText(t, `"3": [`)
	s.keys("/sku-1\r")
	s.waitText(t, `at .["3"][1]["1"]`)
	s.keys("yp")
	s.waitText(t, `copied the path .["3"][1]["1"]`)
	s.keys("yj")
	s.waitText(t, `copied the value at`)
	s.keys("x")
	s.waitText(t, "de ad be ef")
}
