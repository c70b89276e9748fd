package tui

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A talk makes the capture of a WebSocket, frame by frame.
type talk struct {
	x    inspector.Exchange
	zips [2]*zipper
}

type zipper struct {
	b bytes.Buffer
	w *flate.Writer
}

func newTalk(now time.Time) *talk {
	t := &talk{x: inspector.Exchange{
		ID: "req_00000000000000000000000042", Number: 1290, Kind: inspector.WebSocket, State: inspector.Open,
		Method: "GET", Path: "/socket", Scheme: "https", Host: "acme.lrok.example", Proto: "HTTP/1.1", Remote: "203.0.113.7:51512",
		Status: 101, Reason: "Switching Protocols",
		Request:  message1("Host", "acme.lrok.example", "Upgrade", "websocket"),
		Response: message1("Upgrade", "websocket", "Sec-WebSocket-Extensions", "permessage-deflate"),
	}}
	t.x.Timing = inspector.Timing{Accepted: now.Add(-125 * time.Second), FirstByte: 3 * time.Millisecond}
	for i := range t.zips {
		t.zips[i] = &zipper{}
		t.zips[i].w, _ = flate.NewWriter(&t.zips[i].b, 9)
	}
	return t
}

// zip compresses a message for the side that says it.
func (t *talk) zip(down bool, s string) string {
	z := t.zips[b2i(down)]
	z.b.Reset()
	_, _ = z.w.Write([]byte(s))
	_ = z.w.Flush()
	return strings.TrimSuffix(z.b.String(), "\x00\x00\xff\xff")
}

// say adds a frame that came so long after the beginning.
func (t *talk) say(down bool, at time.Duration, first byte, payload string) {
	b := &t.x.Request.Body
	if down {
		b = &t.x.Response.Body
	}
	t.x.Marks = append(t.x.Marks, inspector.Mark{At: at, Response: down, Offset: b.Size})
	mask := byte(0x80)
	if down {
		mask = 0
	}
	head := []byte{first, mask | byte(len(payload))}
	if len(payload) > 125 {
		head = []byte{first, mask | 126, byte(len(payload) >> 8), byte(len(payload))}
	}
	if !down {
		head = append(head, 0, 0, 0, 0)
	}
	b.Data = append(append(b.Data, head...), payload...)
	b.Size = int64(len(b.Data))
	b.Captured, b.Items, b.Last = b.Size, b.Items+1, at
}

func demoTalk(now time.Time) *talk {
	t := newTalk(now)
	s := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	t.say(false, s(0.1), 0x81, `{"subscribe":"orders","since":1763819001}`)
	t.say(true, s(0.12), 0x81, `{"subscribed":"orders"}`)
	t.say(true, s(1.5), 0xc1, t.zip(true, `{"order":"A-1042","status":"paid","amount":4200,"currency":"eur"}`))
	t.say(true, s(2.5), 0xc1, t.zip(true, `{"order":"A-1043","status":"paid","amount":1200,"currency":"eur"}`))
	t.say(true, s(30), 0x89, "")
	t.say(false, s(30.02), 0x8a, "")
	t.say(false, s(31), 0x82, "\x00\x01\x02\x03\xfe\xff")
	t.say(false, s(40), 0x01, "the first half, ")
	t.say(true, s(40.5), 0x89, "")
	t.say(false, s(41), 0x80, "and the second")
	t.say(true, s(122), 0xc1, t.zip(true, `{"order":"A-1044","status":"refunded","items":[{"sku":"a"},{"sku":"b"}]}`))
	return t
}

// rowsIn are the rows of a table.
func rowsIn(d *streamDoc) string {
	var out []string
	for i := range d.count() {
		b, _ := d.line(nil, nil, i)
		out = append(out, strings.Join(strings.Fields(string(b)), " "))
	}
	return strings.Join(out, "\n")
}

func table1(s *stream, k sieve) *streamDoc {
	return &streamDoc{s: s, shown: s.sift(k), key: k, th: newTheme("dark", false, false, nil), loc: time.UTC, width: 100}
}

func TestConversation(t *testing.T) {
	talk := demoTalk(time.Date(2026, 11, 22, 14, 2, 5, 0, time.UTC))
	talk.say(true, 123*time.Second, 0x88, "\x03\xe9bye")
	got := rowsIn(table1(newStream(&talk.x), sieve{control: true}))
	want := `▲ 14:00:00.100 text 41 {"subscribe":"orders","since":1763819001}
▼ 14:00:00.120 text 23 {"subscribed":"orders"}
▼ 14:00:01.500 text 66 {"order":"A-1042","status":"paid","amount":4200,"currency":"eur"}
▼ 14:00:02.500 text 19 {"order":"A-1043","status":"paid","amount":1200,"currency":"eur"}
▼ 14:00:30.000 ping 0
▲ 14:00:30.020 pong 0
▲ 14:00:31.000 binary 6 00 01 02 03 fe ff
▲ 14:00:40.000 text 30 the first half, and the second
▼ 14:00:40.500 ping 0
▲ 14:00:41.000 more 14 more of the message before
▼ 14:02:02.000 text 51 {"order":"A-1044","status":"refunded","items":[{"sku":"a"},{"sku":"b"}]}
▼ 14:02:03.000 close 5 1001 going away: bye`
	sizes := func(s string) string { // what deflate makes of it is its own affair
		for _, n := range []string{" 66 ", " 19 ", " 51 "} {
			s = strings.ReplaceAll(s, "text"+n, "text ")
		}
		return s
	}
	fields := strings.Split(got, "\n")
	for _, i := range []int{2, 3, 10} {
		if i < len(fields) {
			f := strings.Fields(fields[i])
			fields[i] = strings.Join(append(f[:3:3], f[4:]...), " ")
		}
	}
	if got = strings.Join(fields, "\n"); got != sizes(want) {
		t.Errorf("the conversation reads\n%s\nwant\n%s", got, sizes(want))
	}
}

// Without marks, as an older edge leaves them out, nothing is said of times.
func TestConversationWithoutMarks(t *testing.T) {
	talk := demoTalk(frozen)
	talk.x.Marks = nil
	s := newStream(&talk.x)
	for i, it := range s.items {
		if it.at >= 0 || i > 0 && it.up && !s.items[i-1].up {
			t.Errorf("item %d came at %v, up %v; want no times, and the client's first", i, it.at, it.up)
		}
	}
	// Where marks were let go of, it is the same, and the place of these is known.
	talk = newTalk(frozen)
	for i := range 60 {
		talk.say(i%2 == 1, time.Duration(i)*time.Millisecond, 0x81, fmt.Sprint(i))
	}
	marks := talk.x.Marks
	gone := []inspector.Mark{marks[20], marks[21]}
	gone[0].At, gone[1].At = -1, -1
	talk.x.Marks = slices.Concat(marks[:20], gone, marks[40:])
	s = newStream(&talk.x)
	for i, it := range s.items {
		known := i < 20 || i >= 40
		if known != (it.at >= 0) || known && string(it.data) != fmt.Sprint(i) {
			t.Errorf("item %d is %q at %v", i, it.data, it.at)
		}
	}
	if len(s.notes) != 1 || !strings.Contains(s.notes[0], "without a time") {
		t.Errorf("notes = %q, want one on the order", s.notes)
	}
}

func TestBrokenConversations(t *testing.T) {
	for name, change := range map[string]func(*talk){
		"cut in a compressed message": func(k *talk) {
			b := &k.x.Response.Body
			b.Data = b.Data[:len(b.Data)-5]
			b.Captured, b.Missing = int64(len(b.Data)), "limit"
		},
		"compressed without agreement": func(k *talk) { k.x.Response.Header = nil },
		"damaged":                      func(k *talk) { k.x.Response.Body.Data[30] ^= 0xff },
		"only noise": func(k *talk) {
			k.x.Request.Body.Data = bytes.Repeat([]byte("\xff\x7f"), 500)
		},
		"a frame larger than anything": func(k *talk) {
			k.x.Request.Body.Data = append([]byte{0x81, 0xff}, bytes.Repeat([]byte{0xff}, 50)...)
		},
	} {
		k := demoTalk(frozen)
		change(k)
		s := newStream(&k.x)
		d := table1(s, sieve{control: true})
		if got := rowsIn(d); strings.Contains(got, "\x1b") || d.count() != len(s.items) || !strings.Contains(name+got, "o") {
			t.Errorf("%s: %s", name, got)
		}
		if name != "only noise" && name != "a frame larger than anything" && !strings.Contains(rowsIn(d), "compressed") {
			t.Errorf("%s: nothing is said of it:\n%s", name, rowsIn(d))
		}
		for i := range d.count() {
			if _, _, _, ok := d.open(i); !ok {
				t.Errorf("%s: row %d does not open", name, i)
			}
		}
	}
}

func TestSieve(t *testing.T) {
	s := newStream(&demoTalk(frozen).x)
	for _, c := range []struct {
		key  sieve
		want int
	}{
		{sieve{}, 7},
		{sieve{control: true}, 11},
		{sieve{query: "A-104"}, 3},
		{sieve{query: "PAID"}, 2},
		{sieve{query: "pong"}, 0},
		{sieve{query: "pong", control: true}, 1},
		{sieve{query: "second"}, 1},
		{sieve{query: "~order.*(paid|refunded)~"}, 3},
		{sieve{query: "~order("}, 0},
		{sieve{query: "absent"}, 0},
	} {
		if n := len(s.sift(c.key)); n != c.want {
			t.Errorf("%+v lets %d items through, want %d", c.key, n, c.want)
		}
	}
}

// demoEvents is an event stream that was resumed.
func demoEvents(now time.Time) inspector.Exchange {
	x := inspector.Exchange{
		ID: "req_00000000000000000000000043", Number: 1291, Kind: inspector.SSE, State: inspector.Open,
		Method: "GET", Path: "/events", Scheme: "https", Host: "acme.lrok.example", Proto: "HTTP/1.1", Remote: "203.0.113.7:51513",
		Status: 200, Reason: "OK",
		Request:  message1("Host", "acme.lrok.example", "Accept", "text/event-stream", "Last-Event-ID", "41"),
		Response: message1("Content-Type", "text/event-stream"),
	}
	x.Timing = inspector.Timing{Accepted: now.Add(-72 * time.Second), FirstByte: 3 * time.Millisecond}
	b := &x.Response.Body
	say := func(at time.Duration, s string) {
		x.Marks = append(x.Marks, inspector.Mark{At: at, Response: true, Offset: b.Size})
		b.Data = append(b.Data, s...)
		b.Size = int64(len(b.Data))
		b.Captured = b.Size
		if strings.Contains(s, "data:") {
			b.Items++
			b.Last = at
		}
	}
	say(10*time.Millisecond, "retry: 3000\n\n")
	say(20*time.Millisecond, ": connected\n\n")
	for i := range 30 {
		kind := "tick"
		if i%7 == 3 {
			kind = "invoice.paid"
		}
		say(time.Duration(i+1)*2*time.Second, fmt.Sprintf("id: %d\nevent: %s\ndata: {\"n\":%d,\n", 42+i, kind, i)+"data: \"note\":\"in two lines\"}\n\n")
		if i%10 == 9 {
			say(time.Duration(i+1)*2*time.Second+time.Millisecond, ": still here\n\n")
		}
	}
	return x
}

func streamDemo(t *testing.T, w, h int, change ...func(*Config, *agent.Status, *demoEdge)) (*screen, *demoEdge) {
	t.Helper()
	s, e, _ := demo(t, w, h, append(change, func(_ *Config, _ *agent.Status, e *demoEdge) {
		e.list = e.list[:4]
		e.add(demoTalk(frozen).x)
		e.add(demoEvents(frozen))
	})...)
	return s, e
}

// TestStreamGoesOn: at its end a table follows what comes; elsewhere, and while
// the screen is paused, it stays.
func TestStreamGoesOn(t *testing.T) {
	t.Parallel()
	at := &clock{now: frozen}
	s, e := streamDemo(t, 80, 24, func(c *Config, _ *agent.Status, _ *demoEdge) { c.Now = at.Now })
	s.waitText(t, "11fr")
	s.keys("j\r]")
	s.waitText(t, "following")
	k := demoTalk(frozen)
	more := func(n int) {
		for range n {
			k.say(true, 124*time.Second, 0x81, fmt.Sprintf("news %d", k.x.Response.Body.Items))
		}
		at.add(time.Second)
		e.add(k.x)
	}
	more(30)
	s.waitText(t, "news 35")
	s.waitText(t, "following")
	s.keys("g")
	s.waitText(t, "subscribe")
	more(30)
	s.waitText(t, "71 frames")
	s.keys("fnews 6\r") // finds news 6, 60 to 66
	s.waitText(t, "7 of 67 shown")
	more(1)
	s.waitText(t, "8 of 68 shown")
	if strings.Contains(s.text(), "subscribe") {
		t.Errorf("the filter lets everything through for the news:\n%s", s.text())
	}
	// What was opened stays in front of what comes, and esc goes back to the row.
	s.keys("\r")
	s.waitText(t, "text #")
	more(1)
	s.waitText(t, "text #")
	s.keys("\x1b")
	s.waitText(t, "9 of 69 shown")
}

// TestLargeStream: what the loop does with a stream does not grow with it.
func TestLargeStream(t *testing.T) {
	k := newTalk(frozen)
	for i := range 30_000 {
		k.say(i%2 == 1, time.Duration(i)*time.Millisecond, 0x81, "x")
	}
	s := newStream(&k.x)
	if len(s.items) != 30_000 || len(s.notes) != 0 {
		t.Fatalf("%d items, notes %q", len(s.items), s.notes)
	}
	d := table1(s, sieve{})
	p := &pager{}
	p.show(d)
	p.resize(100, 30)
	th := newTheme("dark", false, false, nil)
	p.end()
	if n := testing.AllocsPerRun(20, func() { p.draw(th, nil, true) }); n > 30*40 {
		t.Errorf("a screen of it takes %v allocations", n)
	}
	if got := len(p.draw(th, nil, true)); got != 30 {
		t.Errorf("%d rows, want 30", got)
	}
	for range format.MaxFrames {
		k.say(false, time.Hour, 0x81, "")
	}
	if s := newStream(&k.x); len(s.items) > 2*format.MaxFrames || len(s.notes) != 1 {
		t.Errorf("%d items, notes %q; want a bound and a word of it", len(s.items), s.notes)
	}
}

// TestStreamLands: an event stream comes to the front on its table, and what one
// looks at after it on the tab from before.
func TestStreamLands(t *testing.T) {
	t.Parallel()
	s, _ := streamDemo(t, 120, 36)
	s.waitText(t, "30ev")
	s.waitText(t, "resumed after 41")
	s.keys("[") // to the request
	s.waitText(t, "no body")
	s.keys("jjk")
	s.waitText(t, "11 frames")
	s.keys("k")
	s.waitText(t, "resumed after 41")
	s.keys("jj")
	s.waitText(t, "body png")
	if !strings.Contains(s.text(), "from 203.0.113.7") {
		t.Errorf("the request is not in front:\n%s", s.text())
	}
}

// TestStreamFromItsBeginning: a table that was there before its first row follows,
// is held by a pause, which counts what waits, and goes on after it.
func TestStreamFromItsBeginning(t *testing.T) {
	t.Parallel()
	at := &clock{now: frozen}
	k := newTalk(frozen)
	s, e, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, e *demoEdge) {
		c.Now = at.Now
		e.list = nil
		e.add(k.x)
	})
	s.waitText(t, "/socket")
	s.keys("\r")
	s.waitText(t, "0 frames")
	more := func(n int) {
		for range n {
			k.say(true, time.Second, 0x81, fmt.Sprintf("news %d", k.x.Response.Body.Items))
		}
		at.add(time.Second)
		e.add(k.x)
	}
	more(1)
	s.waitText(t, "news 0")
	more(50)
	s.waitText(t, "news 50")
	s.keys("p")
	s.waitText(t, "paused")
	more(7)
	s.waitText(t, "7 waiting")
	if strings.Contains(s.text(), "news 51") {
		t.Errorf("the table goes on although it is paused:\n%s", s.text())
	}
	s.keys("p")
	s.waitText(t, "news 57")
	s.waitText(t, "following")
}

// TestStreamSearch: a search and the pager go through all of a table.
func TestStreamSearch(t *testing.T) {
	k := newTalk(frozen)
	for i := range 6000 {
		k.say(true, time.Duration(i)*time.Millisecond, 0x81, fmt.Sprintf("row %d", i))
	}
	k.say(true, time.Minute, 0x81, strings.Repeat("x", 2*shownText)+" far off")
	d := table1(newStream(&k.x), sieve{})
	for text, want := range map[string]int{"row 5999": 5999, "far off": 6000, "row 3": 1111} {
		src, line := sourceOf(d)()
		at, _ := format.NewSearch(text).All(t.Context(), src, mostMatches)
		if text == "row 3" {
			if len(at) != want {
				t.Errorf("%q is found %d times, want %d", text, len(at), want)
			}
			continue
		}
		if len(at) != 1 || line(at[0][0]) != want {
			t.Errorf("%q is found at %v, want row %d", text, at, want)
		}
	}
	if n := strings.Count(string(paged(d, nil)), "\n"); n != 6001 {
		t.Errorf("the pager gets %d rows, want 6,001", n)
	}
}

// TestWhatIsWrongWithAFrame: a row says so, and so does what enter opens.
func TestWhatIsWrongWithAFrame(t *testing.T) {
	for _, c := range []struct {
		name  string
		say   func(*talk)
		row   string // of the last item
		about string
	}{
		{"not text", func(k *talk) { k.say(false, time.Second, 0x81, "hi\xff\x1b[31m") }, `▲ 14:02:31.000 text 8 not UTF-8 hi\xff␛[31m`, "not UTF-8"},
		{"text in a binary frame", func(k *talk) { k.say(false, time.Second, 0x82, `{"a":1}`) }, `▲ 14:02:31.000 binary 7 {"a":1}`, "from the client"},
		{"larger than the capture", func(k *talk) {
			k.say(true, time.Second, 0x81, strings.Repeat("y", 3000))
			b := &k.x.Response.Body
			b.Data = b.Data[:1004]
			b.Captured, b.Missing = 1004, "limit"
		}, `▼ 14:02:31.000 text 2.9k the first 1.0 KiB of 2.9 KiB yyyy`, "the first 1.0 KiB of 2.9 KiB"},
		{"without its end", func(k *talk) { k.say(true, time.Second, 0x01, "half") }, `▼ 14:02:31.000 text 4 not complete half`, "not complete"},
		{"without its beginning", func(k *talk) { k.say(true, time.Second, 0x80, "half") }, `▼ 14:02:31.000 more 4 its beginning is missing half`, "its beginning"},
		{"in three frames", func(k *talk) {
			k.say(true, time.Second, 0x01, "one ")
			k.say(true, time.Second, 0x89, "")
			k.say(true, time.Second, 0x00, "two ")
			k.say(true, time.Second, 0x80, "three")
		}, `▼ 14:02:31.000 text 13 one two three`, "3 frames"},
		{"compressed", func(k *talk) { k.say(true, time.Second, 0xc1, k.zip(true, strings.Repeat("z", 500))) }, `▼ 14:02:31.000 text 500 zzzz`, "on the wire"},
	} {
		k := newTalk(frozen)
		k.x.Timing.Accepted = time.Date(2026, 11, 22, 14, 2, 30, 0, time.UTC)
		c.say(k)
		d := table1(newStream(&k.x), sieve{})
		if got := rowsIn(d); !strings.HasPrefix(got, c.row) || d.count() != 1 {
			t.Errorf("%s: %q, want %q", c.name, got[:min(len(got), 200)], c.row)
			continue
		}
		if got := d.about(0); !strings.Contains(got, c.about) {
			t.Errorf("%s: about it %q, want %q", c.name, got, c.about)
		}
	}
}

// TestManyFragments: a message in very many frames is joined in good time.
func TestManyFragments(t *testing.T) {
	k := newTalk(frozen)
	k.say(false, 0, 0x01, "x")
	for range format.MaxFrames - 2 {
		k.say(false, 0, 0x00, "twenty bytes or more.")
	}
	k.say(false, 0, 0x80, "y")
	s := newStream(&k.x)
	if n := len(s.items[0].data); n != 2+21*(format.MaxFrames-2) || len(s.plain) != 1 {
		t.Errorf("%d bytes in %d messages", n, len(s.plain))
	}
}

// TestGrowingBodyIsFollowed: at the end of an answer that goes on the pager stays
// at its end, elsewhere where it is.
func TestGrowingBodyIsFollowed(t *testing.T) {
	t.Parallel()
	at := &clock{now: frozen}
	x := inspector.Exchange{
		ID: "req_00000000000000000000000044", Number: 1292, Kind: inspector.HTTP, State: inspector.Open,
		Method: "GET", Path: "/poll", Scheme: "https", Host: "acme.lrok.example", Proto: "HTTP/1.1", Remote: "203.0.113.7:51513",
		Status: 200, Reason: "OK",
		Request: message1("Host", "acme.lrok.example"), Response: message1("Content-Type", "application/x-ndjson"),
	}
	x.Timing = inspector.Timing{Accepted: frozen.Add(-time.Second), FirstByte: time.Millisecond}
	s, e, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, e *demoEdge) {
		c.Now = at.Now
		e.list = nil
		e.add(x)
	})
	said := 0
	more := func(n int) {
		b := &x.Response.Body
		for range n {
			said++
			b.Data = fmt.Appendf(b.Data, "{\"n\":%d}\n", said)
		}
		b.Size = int64(len(b.Data))
		b.Captured = b.Size
		at.add(time.Second)
		e.add(x)
	}
	more(20)
	s.waitText(t, "/poll")
	s.keys("\r]")
	s.waitText(t, "line 1 of 60")
	s.keys("G")
	s.waitText(t, "following")
	more(20)
	s.waitText(t, `"n": 40`)
	s.waitText(t, "following")
	s.keys("g")
	s.waitText(t, `"n": 1`)
	more(1)
	s.waitText(t, "line 1 of 123")
	s.keys("G")
	s.waitText(t, `"n": 41`)
	x.State = inspector.Done
	more(1)
	s.waitText(t, `"n": 42`)
}
