package tui

import (
	"context"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/signature"
)

func stripeSecret(value string) []signature.Source {
	return []signature.Source{{Name: "stripe", Provider: signature.Stripe, Secrets: []signature.Secret{{Value: value, From: "LROK_SECRET_STRIPE"}}}}
}

// signedModel has one capture in its detail, signed with whsec_1 and as old as
// that, and the secrets given.
func signedModel(t *testing.T, w, h int, age time.Duration, secrets []signature.Source) (testModel, inspector.Exchange) {
	t.Helper()
	e := newDemoEdge(func() time.Time { return frozen })
	x := demoList(frozen)[7]
	ch, err := signature.Sign(&x, inspector.Changes{}, stripeSecret("whsec_1")[0], x.Timing.Accepted.Add(-age))
	if err != nil {
		t.Fatal(err)
	}
	x = altered(&x, ch)
	x.ReplayOf = ""
	e.list = nil
	x = e.add(x)
	c := Config{API: e, Tunnels: demoAsked, Now: func() time.Time { return frozen }, Theme: "dark", Environ: []string{"LANG=C.UTF-8"}, Width: w, Height: h, Secrets: secrets}
	m := testModel{newModel(context.Background(), with(c, newDemoAgent(onlineStatus(frozen))), newFeed())}
	m.feed.put("acme", x)
	m.msg(wakeMsg{})
	m.key("l")
	m.whole(x)
	return m, x
}

func TestVerdictInTheDetail(t *testing.T) {
	for _, c := range []struct {
		secret string
		age    time.Duration
		want   string
	}{
		{"whsec_1", 0, "✓ stripe signature valid  with LROK_SECRET_STRIPE"},
		{"whsec_1", time.Hour, "✗ stripe signature: stale timestamp   signed 1h before it arrived; 5m at most."},
		{"whsec_2", 0, "✗ stripe signature: wrong secret   LROK_SECRET_STRIPE does not fit: the secret is"},
	} {
		m, _ := signedModel(t, 120, 36, c.age, stripeSecret(c.secret))
		m.obey(m.model.judge())
		m.judging = judgedMsg{} // whoever looks starts it
		m.obey(m.msg(tickMsg{}))
		if text := m.shows(); !strings.Contains(pane(text), c.want) {
			t.Errorf("want %q in\n%s", c.want, text)
		}
		m.key("]")
		if text := m.shows(); strings.Contains(text, "stripe signature") {
			t.Errorf("the response has a verdict\n%s", text)
		}
	}
	m, _ := signedModel(t, 120, 36, 0, nil)
	m.judging = judgedMsg{}
	m.obey(m.msg(tickMsg{}))
	if text := m.shows(); !strings.Contains(text, "stripe signature not checked: K takes the secret") {
		t.Errorf("without a secret nothing says so\n%s", text)
	}
}

// A secret given on the screen checks and signs, and is seen nowhere.
func TestSecretGivenOnTheScreen(t *testing.T) {
	m, _ := signedModel(t, 120, 36, 0, nil)
	m.key("K")
	m.msg(tea.PasteMsg{Content: "whsec_1"})
	if text := m.shows(); !strings.Contains(text, "stripe secret ●●●●●●●") || strings.Contains(text, "whsec_1") {
		t.Errorf("the prompt is\n%s", text)
	}
	m.obey(m.msg(tea.KeyPressMsg{Code: tea.KeyEnter}))
	if text := m.shows(); !strings.Contains(pane(text), "✓ stripe signature valid  with the secret you gave") {
		t.Errorf("after the secret\n%s", text)
	}
	for name, past := range m.past {
		if len(*past) > 0 {
			t.Errorf("%q remembers %q", name, *past)
		}
	}
	m.key("K")
	m.msg(tea.PasteMsg{Content: "whsec_2"})
	m.obey(m.msg(tea.KeyPressMsg{Code: tea.KeyEnter}))
	if text := m.shows(); !strings.Contains(pane(text), "✗ stripe signature: wrong secret") || len(m.c.Secrets) != 1 {
		t.Errorf("another secret does not take the place of the first: %d\n%s", len(m.c.Secrets), text)
	}
}

// Somebody who edits a signed request and has no secret set up is told, and can
// give it where it is missed.
func TestEditedRequestWantsASecret(t *testing.T) {
	m, x := signedModel(t, 80, 24, 0, nil)
	body := []byte(`{"type":"ping"}`)
	d := &rewritten{changes: inspector.Changes{Body: &body}, c: &comparison{}}
	m.msg(editedMsg{x: x, draft: d})
	if text := m.shows(); !strings.Contains(text, "Its stripe signature will not fit any more") {
		t.Errorf("nothing is said of the signature\n%s", text)
	}
	m.key("s")
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	if m.ask == nil || !strings.Contains(m.ask.text, "will not fit") {
		t.Fatal("without a secret the question is gone")
	}
	m.key("s")
	m.msg(tea.PasteMsg{Content: "whsec_9"}) // another one, by mistake
	m.obey(m.msg(tea.KeyPressMsg{Code: tea.KeyEnter}))
	if text := m.shows(); !strings.Contains(text, "the secret you gave is not the one it was signed with") || !strings.Contains(m.hints(), "K another secret") {
		t.Errorf("nothing is said of the wrong secret\n%s", text)
	}
	m.key("K")
	m.msg(tea.PasteMsg{Content: "whsec_1"})
	m.obey(m.msg(tea.KeyPressMsg{Code: tea.KeyEnter}))
	e := m.c.API.(*demoEdge)
	sent := e.list[len(e.list)-1]
	if v, ok := signature.Judge(&sent, stripeSecret("whsec_1"), "", nil); !ok || v.Cause == signature.WrongSecret || string(sent.Request.Body.Data) != string(body) {
		t.Errorf("sent %q with %q: %v", sent.Request.Body.Data, sent.Request.Get("Stripe-Signature"), v)
	}
	if len(m.c.Secrets) != 1 || m.ask != nil {
		t.Errorf("%d secrets, question %v", len(m.c.Secrets), m.ask)
	}
	m.key("e") // nothing is signed unasked
	d.changes = inspector.Changes{Set: []inspector.Field{{Name: "X-Debug", Value: "1"}}}
	m.msg(editedMsg{x: x, draft: d})
	if strings.Contains(m.ask.text, "signature") {
		t.Errorf("a header that is not signed: %q", m.ask.text)
	}
}

func TestReplayDialogTakesASecret(t *testing.T) {
	m, _ := signedModel(t, 80, 24, 0, nil)
	m.key("R")
	if text := m.shows(); !strings.Contains(text, "no; space takes the stripe secret") {
		t.Errorf("the dialog is\n%s", text)
	}
	m.key(" ")
	m.msg(tea.PasteMsg{Content: "whsec_1"})
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	if text := m.shows(); !strings.Contains(text, "< stripe >  with the secret you gave") {
		t.Errorf("after the secret\n%s", text)
	}
}

// pane is the text on the right, its rows joined.
func pane(screen string) string {
	var b strings.Builder
	for row := range strings.Lines(screen) {
		if _, right, ok := strings.Cut(row, "│"); ok {
			b.WriteString(strings.TrimRight(right, " \n"))
		}
	}
	return b.String()
}

// obey lets a command end and brings its messages back, all but ticks.
func (m testModel) obey(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	done := make(chan tea.Msg, 1)
	go func() { done <- cmd() }()
	select {
	case msg := <-done:
		switch msg := msg.(type) {
		case tea.BatchMsg:
			for _, c := range msg {
				m.obey(c)
			}
		case judgedMsg, elsewhereMsg, replayedMsg, comparedMsg:
			m.obey(m.msg(msg))
		}
	case <-time.After(300 * time.Millisecond): // a tick
	}
}

func TestReplayDialog(t *testing.T) {
	for _, size := range [][2]int{{120, 36}, {80, 24}, {40, 14}} {
		m, _ := signedModel(t, size[0], size[1], time.Hour, stripeSecret("whsec_1"))
		m.key("R")
		text := m.shows()
		for _, want := range []string{"Replay #1274 POST", "sign again", "< stripe >", "send to", "Host", "times", "delay"} {
			if !strings.Contains(text, want) {
				t.Errorf("at %v no %q in\n%s", size, want, text)
			}
		}
		if got := m.hints(); !strings.HasPrefix(got, "enter send  esc cancel") {
			t.Errorf("at %v hints = %q", size, got)
		}
		m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
		if m.over != nil {
			t.Errorf("at %v esc left it open", size)
		}
	}
}

func TestReplayDialogSignsAgain(t *testing.T) {
	m, x := signedModel(t, 120, 36, time.Hour, stripeSecret("whsec_1"))
	m.key("R")
	m.obey(m.msg(tea.KeyPressMsg{Code: tea.KeyEnter}))
	if m.over != nil || !strings.Contains(m.note.text, "#1275") {
		t.Errorf("it said %q", m.note.text)
	}
	e := m.c.API.(*demoEdge)
	y := e.list[len(e.list)-1]
	v, ok := signature.Judge(&y, m.c.Secrets, "", nil)
	if !ok || !v.Valid || y.ReplayOf != x.ID {
		t.Errorf("the replay is %+v", v)
	}
}

func TestReplayDialogElsewhereAsksFirst(t *testing.T) {
	m, _ := signedModel(t, 120, 36, time.Hour, stripeSecret("whsec_1"))
	type sent struct {
		to   string
		keep bool
		sig  signature.Verdict
	}
	var all []sent
	m.c.SendTo = func(_ context.Context, to string, x *inspector.Exchange, ch inspector.Changes, keep bool) (inspector.Exchange, error) {
		y := altered(x, ch)
		y.Timing.Accepted = frozen
		v, _ := signature.Judge(&y, m.c.Secrets, "", nil)
		all = append(all, sent{to, keep, v})
		y.Status, y.Scheme, y.Host = 202, "http", "127.0.0.1:4000"
		return y, nil
	}
	m.key("R")
	tab := tea.KeyPressMsg{Code: tea.KeyTab}
	enter := tea.KeyPressMsg{Code: tea.KeyEnter}
	m.msg(tab)
	m.msg(tea.PasteMsg{Content: "ftp://127.0.0.1"})
	m.msg(enter)
	if text := m.shows(); !strings.Contains(text, "say http://host:port") || m.ask != nil {
		t.Errorf("ftp is taken:\n%s", text)
	}
	m.msg(tea.KeyPressMsg{Code: 'u', Mod: tea.ModCtrl})
	m.msg(tea.PasteMsg{Content: "127.0.0.1:4000/x"})
	m.msg(tab)
	m.msg(tea.KeyPressMsg{Code: tea.KeySpace, Text: " "})
	m.msg(tab)
	m.key("0")
	m.msg(tea.KeyPressMsg{Code: tea.KeyBackspace})
	m.msg(tea.KeyPressMsg{Code: tea.KeyBackspace})
	m.key("2")
	if text := m.shows(); !strings.Contains(text, "< kept: acme.lrok.example >") && !strings.Contains(text, "kept: acme.lrok.example") {
		t.Errorf("Host:\n%s", text)
	}
	m.msg(enter)
	if m.ask == nil || !strings.Contains(m.shows(), "send #1274 from this machine to http://127.0.0.1:4000/x") || len(all) > 0 {
		t.Fatalf("nothing is asked:\n%s", m.shows())
	}
	m.msg(tea.KeyPressMsg{Code: 'e', Text: "e"}) // back, with all as it was
	m.msg(enter)
	m.msg(enter)
	if m.ask != nil || len(all) > 0 || !strings.Contains(m.note.text, "nothing was sent") {
		t.Fatalf("enter is no: %q, sent %v", m.note.text, all)
	}
	m.key("R")
	m.msg(tab)
	m.msg(tea.KeyPressMsg{Code: 'p', Mod: tea.ModCtrl}) // the address of before
	m.msg(tab)
	m.msg(tea.KeyPressMsg{Code: tea.KeySpace, Text: " "})
	m.msg(tab)
	m.msg(tea.KeyPressMsg{Code: tea.KeyBackspace})
	m.key("2")
	m.msg(enter)
	m.obey(m.msg(tea.KeyPressMsg{Code: 'y', Text: "y"}))
	if len(all) != 2 || all[0].to != "http://127.0.0.1:4000/x" || !all[0].keep || !all[1].sig.Valid {
		t.Errorf("sent %+v", all)
	}
	if !strings.Contains(m.note.text, "answered 2 times: 2 x 202") {
		t.Errorf("it said %q", m.note.text)
	}
}

// The answer from another address opens beside the first one, and can be looked
// at as that of a replay.
func TestAnswerFromElsewhereIsCompared(t *testing.T) {
	m, _ := signedModel(t, 120, 36, time.Hour, nil)
	sent := 0
	m.c.SendTo = func(_ context.Context, _ string, x *inspector.Exchange, ch inspector.Changes, _ bool) (inspector.Exchange, error) {
		sent++
		y := altered(x, ch)
		y.ID, y.Version, y.Status, y.Scheme, y.Host = "", 0, 202+sent, "http", "127.0.0.1:4000"
		y.Response = message1("Content-Type", "application/json", sprintf(`{"sent":%d}`, sent))
		return y, nil
	}
	enter := tea.KeyPressMsg{Code: tea.KeyEnter}
	m.key("R")
	m.msg(tea.KeyPressMsg{Code: tea.KeyTab})
	m.msg(tea.PasteMsg{Content: "127.0.0.1:4000"})
	m.msg(enter)
	m.obey(m.msg(tea.KeyPressMsg{Code: 'y', Text: "y"}))
	text := m.shows()
	for _, want := range []string{"A  #1274", "B  ↻ 127.0.0.1:4000", "→ 203", ".sent", "127.0.0.1:4000 answered 203"} {
		if !strings.Contains(text, want) {
			t.Fatalf("no %q in\n%s", want, text)
		}
	}
	// It is not at the edge: another look takes nothing from there.
	m.c.API.(*demoEdge).stalled = true
	for _, key := range []string{"=", "t", "X", "X"} {
		m.obey(m.msg(tea.KeyPressMsg{Code: rune(key[0]), Text: key}))
		if text := m.shows(); m.diff.c == nil || m.diff.empty != "" || !strings.Contains(text, "127.0.0.1:4000") {
			t.Errorf("after %s\n%s", key, text)
		}
	}
	m.c.API.(*demoEdge).stalled = false
	m.key("r")
	if m.ask == nil || !strings.Contains(m.shows(), "send #1274 from this machine to http://127.0.0.1:4000") || sent != 1 {
		t.Fatalf("r sends %d times without a question:\n%s", sent, m.shows())
	}
	m.obey(m.msg(tea.KeyPressMsg{Code: 'y', Text: "y"}))
	if text := m.shows(); sent != 2 || !strings.Contains(text, "→ 204") {
		t.Errorf("sent %d times:\n%s", sent, text)
	}
	// Who has moved on is offered the comparison.
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	m.key("R")
	m.msg(tea.KeyPressMsg{Code: tea.KeyTab})
	m.msg(tea.PasteMsg{Content: "127.0.0.1:4000"})
	m.msg(enter)
	cmd := m.msg(tea.KeyPressMsg{Code: 'y', Text: "y"})
	m.key("j")
	m.obey(cmd)
	if text := m.shows(); m.focus == inDiff || !strings.Contains(text, "d compare") {
		t.Errorf("who moved sees\n%s", text)
	}
	m.obey(m.msg(tea.KeyPressMsg{Code: 'd', Text: "d"}))
	if text := m.shows(); m.focus != inDiff || !strings.Contains(text, "→ 205") {
		t.Errorf("d shows\n%s", text)
	}
}

func TestEditedRequestIsSignedOnDemand(t *testing.T) {
	m, x := signedModel(t, 120, 36, time.Hour, stripeSecret("whsec_1"))
	body := []byte(`{"edited":true}`)
	ch := inspector.Changes{Body: &body}
	m.edited(editedMsg{x: x, file: t.TempDir() + "/edit/lrok-x.http", draft: &rewritten{changes: ch, c: &comparison{}}})
	if got := m.hints(); !strings.Contains(got, "s sign and send") {
		t.Fatalf("hints = %q", got)
	}
	m.obey(m.msg(tea.KeyPressMsg{Code: 's', Text: "s"}))
	e := m.c.API.(*demoEdge)
	y := e.list[len(e.list)-1]
	if v, ok := signature.Judge(&y, m.c.Secrets, "", nil); !ok || !v.Valid || string(y.Request.Body.Data) != string(body) {
		t.Errorf("the replay is %+v with %s", v, y.Request.Body.Data)
	}
}
