package tui

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

const upload = "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello there\r\n" +
	"--B\r\nContent-Disposition: form-data; name=\"order\"; filename=\"order.json\"\r\nContent-Type: application/json\r\n\r\n" + orders + "\r\n--B--\r\n"

func TestPartsOpen(t *testing.T) {
	m := detailOf(t, 100, 30, "multipart/form-data; boundary=B", upload)
	m.do("j", "j", "enter")
	s := m.shows()
	if !strings.Contains(s, "order.json  json") || !strings.Contains(s, `"name": "Grace"`) {
		t.Fatalf("enter opens the part at the cursor:\n%s", s)
	}
	m.do("j", "j", "=")
	m.typed(".total")
	if s := m.shows(); !strings.Contains(s, "jq .total") {
		t.Errorf("jq works on a part:\n%s", s)
	}
	m.do("esc", "esc")
	if s := m.shows(); !strings.Contains(s, "hello there") || m.detail.pager().cur.line != 2 {
		t.Errorf("esc goes back to the parts:\n%s", s)
	}
	m.do("esc")
	if m.focus != inList {
		t.Error("the last esc leaves the detail")
	}
}

func TestCopyValueAndPath(t *testing.T) {
	m := detailOf(t, 100, 30, "application/json", orders)
	m.do("/")
	m.typed("grace")
	m.do("y")
	if s := m.shows(); !strings.Contains(s, "j value") || !strings.Contains(s, "p path") {
		t.Errorf("want value and path to be offered:\n%s", s)
	}
	m.do("p")
	if s := m.shows(); !strings.Contains(s, "copied the path .orders[1].name (15 bytes") {
		t.Errorf("want the path to be copied:\n%s", s)
	}
	m.do("y", "j")
	if s := m.shows(); !strings.Contains(s, "copied the value at .orders[1].name (7 bytes") {
		t.Errorf("want the value to be copied:\n%s", s)
	}
}

func TestDecodeMoreOnRequest(t *testing.T) {
	noise := make([]byte, 1<<20) // without it, it would pass for a bomb
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	plain := hex.EncodeToString(noise) + strings.Repeat("more of it\n", 8<<20/11)
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	_, _ = w.Write([]byte(plain))
	_ = w.Close()
	m := modelWith(t, 120, 40, 3)
	x := demoList(frozen)[0]
	x.Request = message1("Content-Type", "text/plain", "Content-Encoding", "gzip", packed.String())
	m.whole(x)
	m.do("l")
	m.detail.tab = tabRequest
	m.do("j")
	if s := m.shows(); !strings.Contains(s, "the first 8.0 MiB: Z decodes up to 32 MiB") {
		t.Fatalf("want to be told that there is more:\n%s", s)
	}
	m.do("Z")
	if s := m.shows(); strings.Contains(s, "Z decodes") || len(m.detail.body().data) != len(plain) {
		t.Errorf("%d bytes are decoded, want %d:\n%s", len(m.detail.body().data), len(plain), s)
	}
}

// The progress of formatting shows when it takes long, and not before.
func TestFormattingShowsItsProgress(t *testing.T) {
	m := modelWith(t, 100, 30, 3)
	x := demoList(frozen)[0]
	x.Request = message1("Content-Type", "application/json", largeJSON(5<<20))
	sel := m.selected()
	x.ID, x.Version = sel.ID, sel.Version
	m.msg(loadedMsg{id: x.ID, x: x, sides: [2]*body{layOut(t.Context(), &x, false, true), layOut(t.Context(), &x, true, true)}})
	m.key("l")
	m.detail.tab = tabRequest
	l := m.detail.laying
	if s := m.shows(); l == nil || strings.Contains(s, "formatting") {
		t.Fatalf("want it to be formatted, and nothing to be said at first:\n%s", s)
	}
	l.done[0].Store(3250586)
	m.msg(slowMsg{l})
	if s := m.shows(); !strings.Contains(s, "formatting… 3.1 of 5.0 MiB") {
		t.Errorf("want the progress:\n%s", s)
	}
	m.msg(laidOutMsg{l, [2]*body{layOut(t.Context(), &x, false, false), layOut(t.Context(), &x, true, false)}})
	if s := m.shows(); strings.Contains(s, "formatting") || m.detail.laying != nil {
		t.Errorf("want it to be over:\n%s", s)
	}
	if cmd := (slowMsg{l}).arrive(m.model); cmd != nil {
		t.Error("it is still waited for")
	}
}

// A slowAPI keeps the rest of bodies back until it is let go.
type slowAPI struct {
	*demoEdge
	halfway chan struct{}
	rest    chan error
}

func (a *slowAPI) Beginning(ctx context.Context, id string) (inspector.Exchange, error) {
	x, err := a.Exchange(ctx, id)
	x.Response.Body.Data = x.Response.Body.Data[:min(len(x.Response.Body.Data), 64<<10)]
	return x, err
}

func (a *slowAPI) Complete(ctx context.Context, x *inspector.Exchange, progress func(response bool, n int)) error {
	progress(true, 3250586)
	close(a.halfway)
	if err := <-a.rest; err != nil {
		return err
	}
	return a.demoEdge.Complete(ctx, x, progress)
}

// slowly opens a capture with that answer and returns once its first bytes are
// there.
func slowly(t *testing.T, answer inspector.Message) (m testModel, api *slowAPI, rest func(error)) {
	t.Helper()
	m = modelWith(t, 140, 30, 3)
	api = &slowAPI{m.c.API.(*demoEdge), make(chan struct{}), make(chan error)}
	m.c.API = api
	x := m.selected().Exchange
	x.Response = answer
	x = api.add(x)
	m.feed.put("acme", x)
	m.drain()
	m.detail.leave()
	m.detail.id, m.detail.tab = "", tabResponse
	m.detail.sync(m.model, m.selected())
	began, ok := m.load(m.detail.begin(m.model), x.ID, 0)().(beganMsg)
	if !ok {
		t.Fatal("want the first bytes of the bodies apart")
	}
	if m.detail.whole != nil {
		t.Fatal("want nothing whole yet")
	}
	loaded := make(chan any, 1)
	cmds := began.arrive(m.model)().(tea.BatchMsg)
	m.msg(wakeMsg{})
	go func() { loaded <- cmds[0]() }()
	<-api.halfway
	return m, api, func(err error) {
		t.Helper()
		api.rest <- err
		m.msg(<-loaded)
	}
}

// The first rows of a large body do not wait for the rest of it.
func TestFirstRowsBeforeTheRest(t *testing.T) {
	m, _, rest := slowly(t, message1("Content-Type", "application/json", largeJSON(5<<20)))
	if s := m.shows(); !strings.Contains(s, `"id": 42`) || !strings.Contains(s, "5.0 MiB") || strings.Contains(s, "loading") {
		t.Errorf("want the first rows:\n%s", s)
	}
	m.msg(slowMsg{m.detail.laying})
	if s := m.shows(); !strings.Contains(s, "loading… 3.1 of 5.0 MiB") {
		t.Errorf("want to be told how much is there:\n%s", s)
	}
	rest(nil)
	o := m.detail.whole
	if o == nil || int64(len(o.x.Response.Body.Data)) != o.x.Response.Body.Captured || m.detail.first != nil {
		t.Fatal("want the whole of it")
	}
	if s := m.shows(); !strings.Contains(s, `"id": 42`) || strings.Contains(s, "loading") {
		t.Errorf("want the rows to stay:\n%s", s)
	}
}

// What was shown of a body stays when the edge lets go of the rest.
func TestFirstRowsWithoutTheRest(t *testing.T) {
	m, _, rest := slowly(t, message1("Content-Type", "application/json", largeJSON(5<<20)))
	rest(&tunnel.Error{Code: tunnel.CodeNotFound, Message: "there is no such request"})
	if s := m.shows(); !strings.Contains(s, `"id": 42`) || !strings.Contains(s, "only its beginning: the edge has let go of #3") {
		t.Errorf("want the first rows, and why there are no more:\n%s", s)
	}
}

// A compressed body is decoded as far as its first bytes go, and nothing is said
// of damage.
func TestFirstRowsOfCompressed(t *testing.T) {
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte("the first line\n" + hex.EncodeToString(noise)))
	_ = w.Close()
	m, _, rest := slowly(t, message1("Content-Type", "text/plain", "Content-Encoding", "gzip", packed.String()))
	if s := m.shows(); !strings.Contains(s, "the first line") || strings.Contains(s, "ends early") {
		t.Errorf("want the first line:\n%s", s)
	}
	rest(nil)
	m.layWholeNow()
	if s := m.shows(); !strings.Contains(s, "the first line") || !strings.Contains(s, "decoded") {
		t.Errorf("want all of it:\n%s", s)
	}
}

// What goes on is not fetched again from its first byte on.
func TestRestOfWhatGoesOn(t *testing.T) {
	m, api, rest := slowly(t, message1("Content-Type", "text/plain", strings.Repeat("a line\n", 10_000)))
	rest(nil)
	had := m.detail.whole.x.Response.Body.Data
	x := m.detail.whole.x
	x.Response = message1("Content-Type", "text/plain", strings.Repeat("a line\n", 20_000))
	x = api.add(x)
	began, ok := m.load(t.Context(), x.ID, 0)().(beganMsg)
	if got := began.x.Response.Body.Data; !ok || len(got) != len(had) || &got[0] != &had[0] {
		t.Errorf("%d bytes are there, want the %d from before", len(got), len(had))
	}
}

// open loads the selected capture with that body and lays it out as a whole.
func (m testModel) open(json string) *opened {
	x := m.selected().Exchange
	x.Response = message1("Content-Type", "application/json", json)
	m.msg(loadedMsg{id: x.ID, x: x, sides: [2]*body{layOut(m.ctx, &x, false, true), layOut(m.ctx, &x, true, true)}})
	m.layWholeNow()
	return m.detail.whole
}

// layWholeNow is what the command does that lays the capture in front out.
func (m testModel) layWholeNow() {
	o, l := m.detail.whole, m.detail.laying
	m.msg(laidOutMsg{l, [2]*body{layOut(m.ctx, &o.x, false, false), layOut(m.ctx, &o.x, true, false)}})
}

// Only the capture in front has its bodies laid out as a whole, and what was folded
// there is again when one comes back.
func TestLayoutsOfOneCapture(t *testing.T) {
	m := modelWith(t, 140, 40, 3)
	m.detail.tab = tabResponse
	first := m.open(largeJSON(1 << 20))
	if first.part() {
		t.Fatal("want all of it laid out")
	}
	lines := first.sides[1].pretty.count()
	m.key("l", "j")
	m.detail.pager().fold() // "rows"
	shown := m.detail.pager().c.count()
	if shown >= lines {
		t.Fatalf("%d rows show, want fewer than %d", shown, lines)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	m.key("j")
	second := m.open(largeJSON(1 << 20))
	if !first.part() || second.part() || first.sides[1].pretty.count() >= lines {
		t.Errorf("want the first one's layout gone, and the second one's there")
	}
	if first.x.Response.Body.Captured != int64(len(first.x.Response.Body.Data)) {
		t.Error("want all bytes of the first one to stay")
	}
	m.key("k")
	if m.detail.whole != first || m.opened[0] != first || !second.part() {
		t.Fatal("want the first one in front")
	}
	m.layWholeNow()
	if n := m.detail.pager().c.count(); first.part() || n != shown {
		t.Errorf("%d rows show, want %d as before", n, shown)
	}
}

// Large bodies stay for fewer captures.
func TestKeptBodiesAreBounded(t *testing.T) {
	m := modelWith(t, 140, 40, 3)
	for i := range 20 {
		o := &opened{sides: [2]*body{{}, {}}}
		o.x.ID = strings.Repeat("x", i+1)
		o.x.Response.Body.Data = make([]byte, keepBytes/4)
		if i < 12 {
			o.x.Response.Body.Data = nil
		}
		m.keep(o)
		if want := min(i+1, keepOpened); i < 12 && len(m.opened) != want {
			t.Errorf("%d small ones are kept, want %d", len(m.opened), want)
		}
	}
	if len(m.opened) != 4 {
		t.Errorf("%d large ones are kept, want 4", len(m.opened))
	}
	o := &opened{sides: [2]*body{{}, {}}}
	o.x.ID, o.x.Request.Body.Data = "huge", make([]byte, keepBytes+1)
	if m.keep(o); len(m.opened) != 1 || m.find("huge") != o {
		t.Errorf("%d are kept, want the one in front, whatever its size", len(m.opened))
	}
}

// What is loaded for a request that is left ends.
func TestLoadsEndWhenLeft(t *testing.T) {
	m := modelWith(t, 120, 36, 3)
	m.c.API.(*demoEdge).stalled = true
	m.detail.leave()
	ctx := m.detail.begin(m.model)
	load := m.load(ctx, m.selected().ID, 0)
	done := make(chan any)
	go func() { done <- load() }()
	m.key("j")
	select {
	case msg := <-done:
		if msg != nil {
			t.Errorf("it brings %v, want nothing", msg)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}

func TestMissingInWords(t *testing.T) {
	const whole, kept = 44355584, 1 << 20
	for _, tt := range []struct {
		x        inspector.Exchange
		captured int64
		why      string
		want     string
	}{
		{captured: whole},
		{captured: kept, why: "limit", want: "captured 1.0 MiB of 42 MiB (edge's --capture-body)"},
		{captured: kept, why: "memory", want: "captured 1.0 MiB of 42 MiB: the edge had no more memory for captures then"},
		{captured: 0, why: "memory", want: "captured 0 bytes of 42 MiB: the edge had no more memory for captures then"},
		{captured: kept, why: "evicted", want: "captured 1.0 MiB of 42 MiB: the rest was given up for newer requests"},
		{captured: 0, why: "evicted", want: "no longer captured: given up for newer requests"},
		{captured: whole, why: "aborted", want: "aborted after 42 MiB: its sender left before its end"},
		{captured: whole, why: "aborted", x: inspector.Exchange{EndedBy: "client"}, want: "aborted after 42 MiB: the client left before its end"},
		{captured: kept, why: "aborted", x: inspector.Exchange{EndedBy: "client"}, want: "aborted after 42 MiB: the client left before its end; 1.0 MiB captured"},
		{captured: whole, why: "aborted", x: inspector.Exchange{EndedBy: "upstream", Status: 502}, want: "aborted after 42 MiB: the local service closed the connection"},
		{captured: whole, why: "aborted", x: inspector.Exchange{Status: 413}, want: "aborted after 42 MiB: the answer came before its end, and nobody waited for the rest"},
	} {
		tt.x.Request.Body = inspector.Body{Size: whole, Captured: tt.captured, Missing: tt.why}
		if got := missing(&tt.x, false); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.x.Request.Body, got, tt.want)
		}
	}
}

func TestSecretsInURLsStayHidden(t *testing.T) {
	m := modelWith(t, 120, 36, 0)
	edge := m.c.API.(*demoEdge)
	x := demoList(frozen)[0]
	x.Path = "/cb?code=verysecretcode01&n=1"
	x.Request = message1("Referer", "https://u.example/?token=verysecretcode02", "Content-Type", "text/plain", "hi")
	x.Request.Head = []byte("GET /cb?code=verysecretcode01&n=1 HTTP/1.1\r\nReferer: https://u.example/?token=verysecretcode02\r\n\r\n")
	x = edge.add(x)
	m.feed.put("acme", x)
	m.drain()
	m.whole(x)
	m.do("l")
	for tab := range tabCount {
		m.detail.tab = tab
		m.do("j")
		if s := m.shows(); strings.Contains(s, "verysecret") || !strings.Contains(s, "code=very") {
			t.Errorf("tab %s shows a secret of the URL, or nothing of it:\n%s", tabNames[tab], s)
		}
	}
	for _, k := range []string{"u", "c", "r", "h"} {
		_, s := extract(&x, k, false, false)
		if k == "u" {
			s = ""
			m.copyWhat("u")
		}
		if strings.Contains(s, "verysecret") {
			t.Errorf("y %s copies %q", k, s)
		}
	}
	m.do("S")
	m.detail.tab = tabHeaders
	m.do("j")
	if s := m.shows(); !strings.Contains(s, "code=verysecretcode01") || !strings.Contains(s, "token=verysecret") {
		t.Errorf("S shows them:\n%s", s)
	}
}

func TestOffersAreNamed(t *testing.T) {
	m := modelWith(t, 120, 36, 5)
	m.do("/", "s")
	if s := m.shows(); !strings.Contains(s, "status:") || !strings.Contains(s, " or ") || !strings.Contains(s, "size") {
		t.Errorf("want several offers:\n%s", s)
	}
}

// There is nothing to move over in an empty body, and nothing to fall over.
func TestKeysInAnEmptyBody(t *testing.T) {
	m := detailOf(t, 100, 30, "text/plain", "")
	m.do("j", "k", "G", "g", " ", "b", "o", "x", "enter", "n", "N", "|", "=", "Z", "/")
	m.typed("x")
	m.do("n", "w", "esc")
	m.msg(tea.MouseWheelMsg{Button: tea.MouseWheelDown, X: 70, Y: 15})
	m.detail.tab = tabRequest
	m.do("esc", "j")
	if s := m.shows(); !strings.Contains(s, "no body") {
		t.Errorf("want it to be said:\n%s", s)
	}
}

// Why something cannot be sent again is said as the screen says it, not as a
// command would.
func TestNotReplayedInWords(t *testing.T) {
	m := modelWith(t, 120, 36, 13)
	x := m.selected()
	err := &tunnel.Error{Code: "replay_truncated", Message: "no", Hint: "give a body with --body @file"}
	for _, tt := range []struct {
		body inspector.Body
		want string
	}{
		{inspector.Body{Size: 2000, Captured: 1000, Missing: "limit"}, "cannot be sent again: captured 1.0 KiB of 2.0 KiB (edge's --capture-body)"},
		{inspector.Body{Size: 5, Captured: 5, Missing: "aborted"}, "cannot be sent again: aborted after 5 bytes: its sender left before its end; e sends what came"},
	} {
		y := x.Exchange
		y.Request.Body, y.Status, y.EndedBy = tt.body, 0, ""
		m.msg(replayedMsg{tunnel: "acme", id: x.ID, x: y, err: err})
		if want := number(&x.Exchange) + " " + tt.want; m.note.text != want {
			t.Errorf("it says %q, want %q", m.note.text, want)
		}
	}
}

// What is said of a binary body breaks between words.
func TestBinaryFactsBreakBetweenWords(t *testing.T) {
	data := make([]byte, 4096)
	for i, r := 0, uint32(1); i < len(data); i++ {
		r = r*1664525 + 1013904223
		data[i] = byte(r >> 24)
	}
	x := answered("application/octet-stream", string(data))
	x.Response.Body.SHA256 = strings.Repeat("0123456789abcdef", 4)
	b := layOut(context.Background(), &x, true, false)
	for _, width := range []int{43, 52, 76, 118} {
		b.pretty.(fitter).fit(width)
		var text []string
		for i := range b.pretty.count() {
			line, _ := b.pretty.line(nil, nil, i)
			if len(line) > width {
				t.Errorf("at %d columns a row is %q", width, line)
			}
			text = append(text, string(line))
		}
		words := strings.Fields(strings.Join(text, " "))
		for _, w := range []string{"compressed", "or", "encrypted", "bits", "4,096"} {
			if !slices.Contains(words, w) {
				t.Errorf("at %d columns %q is broken:\n%s", width, w, strings.Join(text, "\n"))
			}
		}
		if !strings.Contains(strings.ReplaceAll(strings.Join(text, ""), " ", ""), x.Response.Body.SHA256) {
			t.Errorf("at %d columns the digest is cut:\n%s", width, strings.Join(text, "\n"))
		}
	}
}
