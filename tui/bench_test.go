package tui

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// noAgent stands for no agent where a config without one is asked for.
type noAgent struct{ Agent }

var demoTunnels = []client.Tunnel{
	{Subdomain: "acme", Inspect: true, Machine: "laptop", RemoteAddr: "203.0.113.9:51840", Kind: tunnel.HTTP, PublicURL: "https://acme.lrok.example", Local: "http://localhost:3000", CreatedAt: frozen.Add(-time.Hour), Online: true, Requests: 1284},
	{Subdomain: "db", Inspect: true, Machine: "laptop", RemoteAddr: "203.0.113.9:51840", Kind: tunnel.TCP, PublicURL: "tcp://tcp.lrok.example:30007", Port: 30007, Local: "localhost:5432", CreatedAt: frozen.Add(-20 * time.Minute), Online: true, Open: 3, Connections: 41},
	{Subdomain: "vault", Inspect: true, Machine: "laptop", RemoteAddr: "203.0.113.9:51840", Kind: tunnel.TLS, PublicURL: "tls://vault.lrok.example:443", Local: "localhost:8443", CreatedAt: frozen.Add(-3 * time.Minute), Online: true, Connections: 1},
	{Subdomain: "docs", Inspect: true, Machine: "laptop", RemoteAddr: "203.0.113.9:51840", Kind: tunnel.HTTP, PublicURL: "https://docs.lrok.example", Local: "http://localhost:8080", CreatedAt: frozen.Add(-26 * time.Hour), Since: frozen.Add(-5 * time.Minute), Requests: 3},
}

// testModel is a model without a program around it.
type testModel struct{ *model }

// modelWith is a model of a w x h screen with n captures.
func modelWith(t testing.TB, w, h, n int) testModel {
	t.Helper()
	e := newDemoEdge(func() time.Time { return frozen })
	c := Config{API: e, Tunnels: demoAsked, Now: func() time.Time { return frozen }, Theme: "dark", Environ: []string{"LANG=C.UTF-8"}, Width: w, Height: h}
	m := testModel{newModel(context.Background(), with(c, newDemoAgent(onlineStatus(frozen))), newFeed())}
	list := demoList(frozen)
	for i := range n {
		x := list[i%len(list)]
		x.Number = uint64(i + 1)
		x.ID = fmt.Sprintf("req_%026d", i+1)
		m.feed.put("acme", x)
	}
	m.msg(wakeMsg{})
	return m
}

// msg handles a message and lets the commands go.
func (m testModel) msg(msg tea.Msg) tea.Cmd {
	_, cmd := m.Update(msg)
	return cmd
}

func (m testModel) key(keys ...string) {
	for _, k := range keys {
		r := []rune(k)
		m.msg(tea.KeyPressMsg{Code: r[0], Text: k})
	}
}

func (m testModel) size(w, h int) { m.msg(tea.WindowSizeMsg{Width: w, Height: h}) }

// whole puts the whole of the selected capture on the screen.
func (m testModel) whole(x inspector.Exchange) {
	sel := m.selected()
	x.ID, x.Version = sel.ID, sel.Version
	m.msg(loadedMsg{id: x.ID, x: x, sides: [2]*body{
		layOut(context.Background(), &x, false, false), layOut(context.Background(), &x, true, false),
	}})
}

// largeJSON is a body of about n bytes.
func largeJSON(n int) string {
	row := `{"id":42,"name":"Ada Lovelace","tags":["a","b"],"score":0.5,"ok":true},`
	return `{"rows":[` + strings.Repeat(row, n/len(row)) + `null]}`
}

var viewBudgets = []struct {
	w, h   int
	budget time.Duration
}{{120, 36, 1500 * time.Microsecond}, {240, 60, 4 * time.Millisecond}}

func bigModel(t testing.TB, w, h int) testModel {
	m := modelWith(t, w, h, heads)
	m.key("j", "j")
	x := demoList(frozen)[0]
	x.Request = message1("Content-Type", "application/json", largeJSON(5<<20))
	m.whole(x)
	m.key("l")
	m.key("G")
	return m
}

func BenchmarkView(b *testing.B) {
	for _, s := range viewBudgets {
		b.Run(fmt.Sprintf("%dx%d", s.w, s.h), func(b *testing.B) {
			m := bigModel(b, s.w, s.h)
			b.ReportAllocs()
			for b.Loop() {
				m.View()
			}
		})
	}
}

func TestViewBudget(t *testing.T) {
	for _, s := range viewBudgets {
		m := bigModel(t, s.w, s.h)
		best := time.Hour
		for range 30 {
			began := time.Now()
			m.View()
			best = min(best, time.Since(began))
		}
		if best > slack*s.budget {
			t.Errorf("View at %dx%d took %v at best, the budget is %v", s.w, s.h, best, s.budget)
		}
		t.Logf("View at %dx%d: %v", s.w, s.h, best)
	}
}

// A key must not wait for anything that grows with the data.
func TestUpdateBudget(t *testing.T) {
	m := bigModel(t, 120, 36)
	for _, k := range []string{"j", "k", " ", "b", "g", "G", "o", "]", "[", "h", "j", "g", "G", "m", "S"} {
		best := time.Hour
		for range 5 {
			began := time.Now()
			m.key(k)
			best = min(best, time.Since(began))
		}
		if best > slack*5*time.Millisecond {
			t.Errorf("key %q took %v at best", k, best)
		}
	}
}

// Nor does a letter of a filter: it is through with all of the captures by turns.
func TestFilterBudget(t *testing.T) {
	m := modelWith(t, 120, 36, heads)
	m.key("/")
	for i, q := range []string{"status:>=400 or method:GET", "hooks -graph", "path:~^/w.*e$~", "nothing"} {
		best := time.Hour
		var left tea.Cmd
		for range 5 {
			m.bar.in.set(q)
			began := time.Now()
			left = m.msg(tea.KeyPressMsg{Code: ' ', Text: " "})
			best = min(best, time.Since(began))
		}
		if best > slack*5*time.Millisecond {
			t.Errorf("a letter after %q took %v at best", q, best)
		}
		t.Logf("a letter after %q: %v", q, best)
		m.run(left)
		if got := len(m.tab().shown); m.tab().sift != nil || (got == 0) != (i == 3) {
			t.Errorf("%q shows %d", q, got)
		}
	}
}

// A screen that is stopped, or away in an editor, holds nobody up and keeps
// bounded memory: the oldest are dropped and counted.
func TestStoppedScreenBlocksNobody(t *testing.T) {
	f := newFeed()
	x := demoList(frozen)[0]
	const extra = 500
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range (heads + extra) / 4 {
					y := x
					y.ID = fmt.Sprintf("req_%d_%d", w, i)
					f.put("acme", y)
				}
			})
		}
		wg.Wait()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a writer waits for the screen")
	}
	if n := f.waiting("acme"); n != heads+extra {
		t.Errorf("waiting = %d, want %d", n, heads+extra)
	}
	got := f.drain(false)
	if len(got) != 1 || len(got[0].list) != heads || got[0].dropped != extra {
		t.Fatalf("drain = %d queues, want one with %d kept and %d dropped", len(got), heads, extra)
	}
}

func TestNewsOfTheSameExchangeReplaceEachOther(t *testing.T) {
	f := newFeed()
	x := demoList(frozen)[0]
	for v := range uint64(1000) {
		x.Version = v
		f.put("acme", x)
	}
	got := f.drain(false)
	if len(got[0].list) != 1 || got[0].list[0].Version != 999 {
		t.Errorf("drain = %d exchanges, want the newest alone", len(got[0].list))
	}
}

func TestOldestHeadsGo(t *testing.T) {
	m := modelWith(t, 80, 24, heads)
	x := demoList(frozen)[0]
	x.ID, x.Number = "req_new", heads+1
	m.feed.put("acme", x)
	m.msg(wakeMsg{})
	c := m.tab().captures
	if len(c.all) != heads || len(c.byID) != heads || len(c.shown) != heads || c.all[0].Number != 2 || c.seen != heads+1 {
		t.Errorf("kept %d of %d seen from #%d on, want %d from #2 on", len(c.all), c.seen, c.all[0].Number, heads)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *syncBuffer) wait(t *testing.T, sub string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(b.String(), sub) {
			return
		}
	}
	t.Fatalf("never wrote %q", sub)
}
