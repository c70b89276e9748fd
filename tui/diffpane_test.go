package tui

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/export"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

func parsedRules(texts ...string) (list []diff.Rule) {
	for _, s := range texts {
		r, err := diff.ParseRule(s)
		if err != nil {
			panic(err)
		}
		list = append(list, r)
	}
	return list
}

// answered is a capture with an answer.
func answered(contentType, body string) inspector.Exchange {
	x := demoList(frozen)[8]
	x.Response = message1("Content-Type", contentType, body)
	return x
}

// comparing puts the comparison of two captures on the screen.
func comparingModel(t testing.TB, w, h int, a, b inspector.Exchange) testModel {
	m := modelWith(t, w, h, 13)
	m.focus, m.from = inDiff, inList
	m.draw()
	m.diff.side = diff.Response
	m.diff.put(layComparison(diff.Exchanges(&a, &b, diff.Both, diff.Options{}), false))
	return m
}

// first is the first command of a batch, which does the work.
func first(t *testing.T, cmd tea.Cmd) tea.Cmd {
	t.Helper()
	batch, ok := cmd().(tea.BatchMsg)
	if !ok || len(batch) == 0 {
		t.Fatal("no batch of commands")
	}
	return batch[0]
}

// A person who has gone on to something else is not torn away from it.
func TestReplayOffersItsDiffToWhoMoved(t *testing.T) {
	for _, moved := range []bool{false, true} {
		m := modelWith(t, 120, 36, 0)
		e := m.c.API.(*demoEdge)
		for _, x := range demoList(frozen) {
			m.feed.put("acme", e.add(x))
		}
		m.msg(wakeMsg{})
		m.key("j", "j", "j", "j", "j")
		cmd := m.replay()
		if moved {
			m.key("j")
		}
		m.msg(cmd())
		if got, want := m.focus == inDiff, !moved; got != want {
			t.Errorf("moved %t: the diff is open %t, want %t", moved, got, want)
		}
		if offered := m.note.a != ""; offered != moved {
			t.Errorf("moved %t: the diff is offered %t", moved, offered)
		}
	}
}

// esc ends the comparison itself, not only the wait for it.
func TestEscCancelsTheComparison(t *testing.T) {
	m := modelWith(t, 80, 24, 13)
	m.c.API.(*demoEdge).stalled = true
	cmd := first(t, m.startDiffOf(t))
	if text := m.shows(); !strings.Contains(text, "comparing") || !strings.Contains(text, "esc cancels") {
		t.Errorf("while it takes its time the screen says\n%s", text)
	}
	ended := make(chan tea.Msg, 1)
	go func() { ended <- cmd() }()
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	select {
	case msg := <-ended:
		if got, ok := msg.(comparedMsg); !ok || got.err == nil {
			t.Errorf("the command ended with %#v, want an error", msg)
		}
		m.msg(msg)
	case <-time.After(5 * time.Second):
		t.Fatal("the comparison goes on though nobody waits for it")
	}
	if m.focus != inList || m.diff.busy != nil || strings.Contains(m.shows(), "context canceled") {
		t.Errorf("after esc the focus is %v and the screen\n%s", m.focus, m.shows())
	}
	// And it can be asked for again.
	if m.startDiffOf(t); m.diff.busy == nil {
		t.Error("the same two cannot be compared again")
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
}

// startDiffOf opens the diff of the last two captures.
func (m testModel) startDiffOf(t *testing.T) tea.Cmd {
	t.Helper()
	list := m.tab().all
	cmd := m.openDiff(list[len(list)-2].ID, list[len(list)-1].ID)
	if cmd == nil {
		t.Fatal("nothing is compared")
	}
	return cmd
}

// A new comparison on the pane ends the one under way.
func TestOtherComparisonEndsTheFirst(t *testing.T) {
	m := modelWith(t, 80, 24, 13)
	m.c.API.(*demoEdge).stalled = true
	cmd := first(t, m.startDiffOf(t))
	ended := make(chan tea.Msg, 1)
	go func() { ended <- cmd() }()
	m.swap()
	select {
	case msg := <-ended:
		m.msg(msg)
	case <-time.After(5 * time.Second):
		t.Fatal("the first comparison goes on")
	}
	if m.diff.empty != "" {
		t.Errorf("its end shows as %q", m.diff.empty)
	}
	m.diff.stop()
}

func TestProgressIsTold(t *testing.T) {
	m := modelWith(t, 80, 24, 13)
	now := frozen
	m.c.Now = func() time.Time { return now }
	m.startDiffOf(t)
	if text := m.shows(); strings.Contains(text, " of ") && strings.Contains(text, "comparing… 0") {
		t.Errorf("amounts within the first 100 ms:\n%s", text)
	}
	body := "[" + strings.Repeat("[1],", 100_000) + "1]"
	a, b := answered("application/json", body), answered("application/json", body+" ")
	diff.Exchanges(&a, &b, diff.Response, diff.Options{Progress: m.diff.busy.progress})
	now = now.Add(time.Second)
	if text := m.shows(); !strings.Contains(text, "comparing… 781 KiB of 781 KiB") {
		t.Errorf("after a second the screen says\n%s", text)
	}
	m.diff.stop()
}

// The rules that Run is given count, and those of the screen come on top.
func TestRulesOfTheConfigurationCount(t *testing.T) {
	s, _, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, _ *demoEdge) { c.Ignore = parsedRules(".error", "status") })
	s.waitText(t, "favicon")
	s.keys("jjjjd")
	s.waitText(t, "change 1 of 3")
	s.keys("G")
	s.waitText(t, ".error   differs, ignored by rule")
	s.keys("I")
	s.waitText(t, "configuration file")
	s.keys("ddjj\r\x1b") // both away, and the built-in ones off
	s.waitText(t, "of 7")
	s.keys("Ia..status\r\x1b")
	s.waitText(t, "of 6")
	s.keys("Iastat\r")
	s.waitText(t, "is no path")
}

func TestStrictOfTheConfigurationCounts(t *testing.T) {
	s, _, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, _ *demoEdge) { c.Strict = true })
	s.waitText(t, "favicon")
	s.keys("jjjjd")
	s.waitText(t, "change 1 of 7")
}

// A path through an array can be ignored for all elements, or for one.
func TestIgnoreOneOrAll(t *testing.T) {
	a := answered("application/json", `{"items":[{"n":1},{"n":2}]}`)
	b := answered("application/json", `{"items":[{"n":3},{"n":4}]}`)
	for key, want := range map[string]string{"i": ".items[*].n", "o": ".items[0].n"} {
		m := comparingModel(t, 80, 24, a, b)
		m.key("i")
		if m.ask == nil || !strings.Contains(m.ask.text, ".items[*].n") {
			t.Fatalf("i asks nothing: %+v", m.ask)
		}
		m.key(key)
		if len(m.rules.list) != 1 || m.rules.list[0].String() != want {
			t.Errorf("after %s the rules are %v, want %s", key, m.rules.list, want)
		}
	}
}

func TestCopyChange(t *testing.T) {
	s, _, _ := demo(t, 80, 24, func(c *Config, _ *agent.Status, _ *demoEdge) {
		c.Environ = []string{"TERM=xterm-256color", "LANG=C.UTF-8", "SSH_TTY=x"}
	})
	s.waitText(t, "favicon")
	s.keys("jjjjd")
	s.waitText(t, "change 1 of 5")
	s.keys("nnn")
	s.waitText(t, "change 4 of 5")
	s.keys("yy")
	s.waitText(t, "copied the change at .status")
	s.waitRaw(t, base64.StdEncoding.EncodeToString([]byte(".status\nA: \"open\"\nB: \"paid\"\n")))
}

// What is secret is masked in a comparison, in what is copied of it, and in full.
func TestDiffMasksSecrets(t *testing.T) {
	a, b := answered("text/plain", "a"), answered("text/plain", "b")
	a.Path, b.Path = "/x?token=tok_aaaaaaaaaaaa", "/x?token=tok_bbbbbbbbbbbb"
	a.Request.Header = append(a.Request.Header, inspector.Field{Name: "Authorization", Value: "Bearer aaaaaaaaaaaaaaaaaaaa"})
	b.Request.Header = append(b.Request.Header, inspector.Field{Name: "Authorization", Value: "Bearer bbbbbbbbbbbbbbbbbbbb"})
	m := comparingModel(t, 120, 36, a, b)
	m.msg(tea.KeyPressMsg{Code: tea.KeyTab})
	secret := []string{"tok_a", "tok_b", "aaaaaaa", "bbbbbbb"}
	for i, r := range m.diff.rows().list {
		m.diff.cur = i
		text := m.shows()
		if r.kind == rowValue {
			doc := fullValues(context.Background(), &r, false)
			var buf []byte
			for k := range doc.count() {
				buf, _ = doc.line(buf, nil, k)
			}
			text += string(buf)
		}
		for _, s := range secret {
			if strings.Contains(text, s) {
				t.Errorf("row %d (%s) shows %s:\n%s", i, r.path(), s, text)
			}
		}
	}
	m.key("S")
	if text := m.shows(); !strings.Contains(text, "tok_b") {
		t.Errorf("S shows no secrets:\n%s", text)
	}
}

// The bytes of a binary body stand at their own offsets, all of each window.
func TestBinaryWindows(t *testing.T) {
	a := make([]byte, 4096)
	for i := range a {
		a[i] = byte(i * 7)
	}
	b := append([]byte(nil), a...)
	b[0x123], b[0x124], b[0x800], b[0xff0] = 1, 2, 3, 4
	for _, w := range []int{80, 120, 240} {
		m := comparingModel(t, w, 60, answered("application/octet-stream", string(a)), answered("application/octet-stream", string(b)))
		text := m.shows()
		for _, want := range []string{"first difference at byte 291 (00000123)", "00000120", "00000130", "00000140", "00000800", "00000820", "00000ff0"} {
			if !strings.Contains(text, want) {
				t.Errorf("at %d columns there is no %s:\n%s", w, want, text)
			}
		}
		if row := sprintf(" %02x %02x", a[0x123], a[0x124]); !strings.Contains(text, row) || !strings.Contains(text, " 01 02") {
			t.Errorf("at %d columns the bytes that differ are not both shown:\n%s", w, text)
		}
	}
}

// A change deep in a long string is in view, on its row and in the foot.
func TestLongStringsShowTheirWords(t *testing.T) {
	long := func(word string) string {
		return `{"text":"` + strings.Repeat("the same words again, ", 200) + word + strings.Repeat(" and on they go", 200) + `"}`
	}
	m := comparingModel(t, 80, 24, answered("application/json", long("before")), answered("application/json", long("after")))
	rows, _ := m.draw()
	text := plain(rows)
	n := 0
	for _, r := range text {
		n += strings.Count(r, "before") + strings.Count(r, "after")
	}
	if n < 4 {
		t.Errorf("the words that differ show %d times, want on the row and below:\n%s", n, strings.Join(text, "\n"))
	}
}

func TestPickerKnowsOtherTunnels(t *testing.T) {
	m := modelWith(t, 80, 24, 13)
	m.tabs = append(m.tabs, newTab(Tunnel{Kind: "http", Name: "docs"}, m.main), newTab(Tunnel{Kind: "tcp", Name: "db"}, m.main))
	x := demoList(frozen)[12]
	x.ID, x.Number, x.Tunnel = "req_other", 7, "docs"
	m.tabs[1].put(x, frozen)
	x.ID, x.Tunnel = "req_raw", "db"
	m.tabs[2].put(x, frozen)
	m.mark()
	m.startPick()
	p := m.over.(*picker)
	at, order := map[string]int{}, []string{}
	for i, c := range p.list {
		at[c.ID] = i
		order = append(order, c.why)
	}
	if i, ok := at["req_other"]; !ok || p.list[i].why != "in docs" {
		t.Errorf("the picker does not offer the capture of docs: %q", order)
	}
	if _, ok := at["req_raw"]; ok {
		t.Error("the picker offers a connection")
	}
	if p.list[0].why != "previous" {
		t.Errorf("the first is %q, want the previous on the route: %q", p.list[0].why, order)
	}
	p.cur = at["req_other"]
	if cmd := p.press(m.model, tea.KeyPressMsg{Code: tea.KeyEnter}); cmd == nil || m.diff.want.a != "req_other" {
		t.Errorf("enter compares with %q", m.diff.want.a)
	}
	m.diff.stop()
}

// A report as large as they come.
func manyChanges(n int) (a, b inspector.Exchange) {
	list := func(v int) string {
		var s strings.Builder
		s.WriteString(`{"rows":{`)
		for i := range n {
			fmt.Fprintf(&s, `"key%06d":%d,`, i, v+i)
		}
		return s.String() + `"end":0}}`
	}
	return answered("application/json", list(0)), answered("application/json", list(1))
}

// A frame and a key cost the same whatever the number of changes.
func TestDiffOfManyChangesIsCheap(t *testing.T) {
	a, b := manyChanges(90_000)
	m := comparingModel(t, 120, 36, a, b)
	if n := len(m.diff.rows().stops); n < 90_000 {
		t.Fatalf("there are %d changes", n)
	}
	few := comparingModel(t, 120, 36, answered("application/json", `{"a":1}`), answered("application/json", `{"a":2}`))
	few.draw()
	m.diff.move(45_000)
	best := time.Hour
	for range 30 {
		began := time.Now()
		m.diff.step(1)
		m.View()
		best = min(best, time.Since(began))
	}
	if budget := slack * viewBudgets[0].budget; best > budget {
		t.Errorf("a key and a frame with 90,000 changes took %v at best, the budget is %v", best, budget)
	}
	if many := testing.AllocsPerRun(20, func() { m.View() }); many > 1500 {
		t.Errorf("a frame with 90,000 changes allocates %.0f times", many)
	}
}

func BenchmarkCompare5MiB(b *testing.B) {
	left := largeJSON(5 << 20)
	right := strings.Replace(left, "Ada", "Eve", 1000)
	for name, pair := range map[string][2]string{
		"equal":   {left, strings.Clone(left)},
		"differs": {left, right},
		"lines":   {strings.ReplaceAll(left, "},", "},\n"), strings.ReplaceAll(right, "},", "},\n")},
	} {
		b.Run(name, func(b *testing.B) {
			contentType := "application/json"
			if name == "lines" {
				contentType = "text/plain"
			}
			x, y := answered(contentType, pair[0]), answered(contentType, pair[1])
			b.SetBytes(int64(len(pair[0]) + len(pair[1])))
			for b.Loop() {
				layComparison(diff.Exchanges(&x, &y, diff.Both, diff.Options{Plain: name == "lines"}), false)
			}
		})
	}
}

func BenchmarkDiffView(b *testing.B) {
	x, y := manyChanges(90_000)
	m := comparingModel(b, 120, 36, x, y)
	m.diff.move(45_000)
	b.ReportAllocs()
	for b.Loop() {
		m.View()
	}
}

// What is about to be sent has no answer: there is nothing on the other side.
func TestDraftHasOneSide(t *testing.T) {
	m := modelWith(t, 120, 36, 13)
	a := demoList(frozen)[7]
	b := a
	b.Method = "PUT"
	m.edited(editedMsg{x: a, file: t.TempDir() + "/edit/lrok-x.http", draft: &rewritten{c: layComparison(diff.Exchanges(&a, &b, diff.Request, diff.Options{Strict: true}), false)}})
	m.draw()
	m.msg(tea.KeyPressMsg{Code: tea.KeyTab})
	m.key("s", "n", "N", "t", "=", "i", "I", "X")
	if text := m.shows(); m.ask == nil || m.over != nil || !strings.Contains(text, `"PUT"`) {
		t.Errorf("after keys of a comparison the draft shows\n%s", text)
	}
}

// Comparisons wait for each other, unless nobody wants them any more, and one that
// was given up says nothing about the next of the same two.
func TestOneComparisonAtATime(t *testing.T) {
	m := modelWith(t, 80, 24, 0)
	for _, x := range demoList(frozen) {
		m.feed.put("acme", m.c.API.(*demoEdge).add(x))
	}
	m.msg(wakeMsg{})
	m.comparison <- struct{}{} // another is being made
	cmd := first(t, m.startDiffOf(t))
	ended := make(chan tea.Msg, 1)
	go func() { ended <- cmd() }()
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	var given tea.Msg
	select {
	case given = <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("it waits though nobody wants it any more")
	}
	again := first(t, m.startDiffOf(t))
	m.msg(given)
	if m.diff.busy == nil || strings.Contains(m.shows(), "canceled") {
		t.Errorf("the comparison that was given up ends the next:\n%s", m.shows())
	}
	<-m.comparison
	m.msg(again())
	if m.diff.c == nil || m.diff.busy != nil {
		t.Error("nothing was compared")
	}
	if len(m.comparison) > 0 {
		t.Error("it was not said that the next may begin")
	}
}

// Another look at the same two takes nothing from the edge, which may have let
// go of them.
func TestOtherLooksNeedNoEdge(t *testing.T) {
	m := modelWith(t, 120, 36, 0)
	e := m.c.API.(*demoEdge)
	for _, x := range demoList(frozen) {
		m.feed.put("acme", e.add(x))
	}
	m.msg(wakeMsg{})
	m.msg(first(t, m.startDiffOf(t))())
	if m.diff.c == nil {
		t.Fatal("nothing was compared")
	}
	e.stalled = true
	for _, key := range []func() tea.Cmd{m.showAll, m.plainText, m.swap} {
		msg := first(t, key())().(comparedMsg)
		if msg.err != nil {
			t.Errorf("another look asks the edge: %v", msg.err)
		}
		m.msg(msg)
	}
}

// The tab of a side and the place among its changes count the same.
func TestChangesAreCountedOnce(t *testing.T) {
	m := modelWith(t, 120, 36, 0)
	a, b := demoList(frozen)[0], demoList(frozen)[0]
	b.ID = "req_b"
	a.Response = message1("Content-Type", "text/plain", "1\n2\n3\n4\n5\n6\n7\n8\n9\n")
	b.Response = message1("Content-Type", "text/plain", "1\ntwo\nthree\nand more\n4\n5\n6\n7\neight\n9\n")
	m.focus = inDiff
	m.diff.put(layComparison(diff.Exchanges(&a, &b, diff.Both, diff.Options{}), false))
	m.diff.side = diff.Response
	for _, apart := range []bool{false, true} {
		m.diff.apart = apart
		m.diff.toFirst()
		if s := m.shows(); !strings.Contains(s, "Response 2") || !strings.Contains(s, "change 1 of 2") {
			t.Errorf("apart = %v: two places where lines differ are counted as\n%s", apart, s)
		}
	}
}

// A search in the picker finds what it does not offer, of any tunnel.
func TestPickerSearch(t *testing.T) {
	m := modelWith(t, 80, 24, 13)
	m.tabs = append(m.tabs, newTab(Tunnel{Kind: "http", Name: "docs"}, m.main))
	x := demoList(frozen)[12]
	for i := range maxCandidates + 50 {
		x.ID, x.Number, x.Tunnel, x.Path = sprintf("req_%d", i), uint64(i+1), "docs", sprintf("/page/%d", i)
		m.tabs[1].put(x, frozen)
	}
	m.startPick()
	p := m.over.(*picker)
	likely := len(p.list)
	m.key("/")
	for _, k := range "/page/7" {
		m.key(string(k))
	}
	if text := m.shows(); !strings.Contains(text, "/page/79") || !strings.Contains(text, "in docs") {
		t.Errorf("the search shows\n%s", text)
	}
	if n := len(p.list); n != 11 { // 7, 70 to 79: some of them beyond what was offered
		t.Errorf("%d are found, want 11", n)
	}
	for range "/page/7" {
		m.msg(tea.KeyPressMsg{Code: tea.KeyBackspace})
	}
	m.msg(tea.PasteMsg{Content: "#127"})
	for _, c := range p.list {
		if !strings.HasPrefix(number(&c.Exchange), "#127") {
			t.Errorf("#127 finds %s", number(&c.Exchange))
		}
	}
	if len(p.list) == 0 {
		t.Error("#127 finds nothing")
	}
	m.msg(tea.PasteMsg{Content: " staus:2xx"})
	if text := m.shows(); !strings.Contains(text, "no request is like that") {
		t.Errorf("a number and more finds\n%s", text)
	}
	m.msg(tea.KeyPressMsg{Code: 'u', Mod: tea.ModCtrl})
	m.msg(tea.PasteMsg{Content: "(status:2xx"})
	if text := m.shows(); p.wrong == "" || !strings.Contains(text, p.wrong) || len(p.list) != likely {
		t.Errorf("what cannot be read gives %q and\n%s", p.wrong, text)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	if m.over == nil || p.typing || len(p.list) != likely {
		t.Error("esc does not offer all again")
	}
	m.key("/")
	m.msg(tea.PasteMsg{Content: "/page/249"})
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	if m.diff.want.a != "req_249" {
		t.Errorf("enter compares with %q", m.diff.want.a)
	}
	m.diff.stop()
}

// esc stops the comparison of the Diff tab; it does not begin again by itself.
func TestEscCancelsTheComparisonOfTheTab(t *testing.T) {
	m := modelWith(t, 120, 36, 0)
	e := m.c.API.(*demoEdge)
	for _, x := range demoList(frozen) {
		m.feed.put("acme", e.add(x))
	}
	m.msg(wakeMsg{})
	now := frozen
	m.c.Now = func() time.Time { return now }
	m.key("j", "j", "j", "j")
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	m.whole(demoList(frozen)[8])
	e.stalled = true
	for m.detail.tab != tabDiff {
		m.key("]")
	}
	d := &m.detail.diff
	if d.busy == nil {
		t.Fatalf("nothing is compared:\n%s", m.shows())
	}
	now = now.Add(time.Second)
	if text := m.shows(); !strings.Contains(text, "esc cancels") {
		t.Errorf("while it takes its time the screen says\n%s", text)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	for range 3 {
		m.msg(tickMsg{})
	}
	if text := m.shows(); d.busy != nil || m.focus != inDetail || !strings.Contains(text, "The comparison was stopped") {
		t.Errorf("after esc the focus is %v and the screen\n%s", m.focus, text)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	if m.focus != inList {
		t.Error("the second esc does not lead back")
	}
	m.key("]", "[")
	if d.busy == nil {
		t.Error("the tab does not compare when it is looked at again")
	}
	m.detail.leave()
	if d.busy != nil {
		t.Error("the comparison goes on without the capture")
	}
}

// Who has an edited request of 5 MiB before them presses keys as ever.
func TestLargeDraftKeepsTheLoopFree(t *testing.T) {
	dir := t.TempDir() + "/edit"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a, b := manyChanges(90_000)
	x := demoList(frozen)[7]
	x.Request.Body = a.Response.Body
	file := dir + "/lrok-x.http"
	y := x
	y.Request.Body = b.Response.Body
	if err := os.WriteFile(file, export.HTTP(&y, export.Options{}), 0o600); err != nil {
		t.Fatal(err)
	}
	m := modelWith(t, 120, 36, 13)
	read := m.edited(editedMsg{x: x, file: file})
	msg := read().(editedMsg)
	if msg.draft == nil || len(msg.draft.c.request.together.stops) < 90_000 {
		t.Fatalf("the draft is %+v", msg)
	}
	best := time.Hour
	for range 5 {
		began := time.Now()
		m.edited(msg)
		best = min(best, time.Since(began))
	}
	if budget := slack * 2 * time.Millisecond; best > budget {
		t.Errorf("the draft took %v of the loop at best, the budget is %v", best, budget)
	}
}
