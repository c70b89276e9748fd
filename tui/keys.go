package tui

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
)

// A place is where a key means something. Places are bits: an action may be at
// home in several.
type place uint16

const (
	inList place = 1 << iota
	inDetail
	inDiff
	inEmpty // the list before the first request
	inHome  // the list of tunnels
	inConns // the connections of a tunnel without HTTP
	inConn  // one of them in detail
	inQuiet // before the first of them

	capturing  = inList | inDetail
	connecting = inConns | inConn | inQuiet
	everywhere = inList | inDetail | inDiff | inEmpty | inHome | connecting
)

// An action is one thing a person can do: its keys, its words and the code. The
// table of actions is the only place where keys are named; keys, help, hint bar
// and palette are made from it.
type action struct {
	name  string // in the palette, and for the tests
	in    place
	when  func(*model) bool // whether it can be done now, nil for always; where not, the next action with that key has its turn
	bind  key.Binding
	group string // of the help, "" for an action that is only a hint
	// hint is the word in the hint bar, "" for none; rank orders the hints, the
	// lowest stay when there is little room.
	hint string
	rank int
	// now changes key, word and rank of the hint with what is going on; without
	// a word there is none.
	now   func(m *model, h hint) hint
	quiet place // where the hint is left out although the key works
	looks bool  // it only moves: it works while a question waits as well
	early bool  // its hint is there before the tunnel has its address

	run func(*model) tea.Cmd
	// then are the keys of which one has to follow, for an action without run.
	// The status row names them.
	then func(*model) []choice
}

// A hint is an action in the hint bar.
type hint struct {
	key, word string
	rank      int
}

// groups are those of the help, in its order: what one can do on the screen
// in front comes first.
func groups(at place) []string {
	if at == inDiff {
		return []string{"Compare", "Body", "Requests", "Move", "Screen"}
	}
	return []string{"Tunnels", "Requests", "Connections", "Body", "Compare", "Move", "Screen"}
}

// groupAt is the group of a on the screen in front: a list of connections has
// some keys in common with one of requests.
func (a *action) groupAt(at place) string {
	if a.group == "Requests" && at&connecting != 0 {
		return "Connections"
	}
	return a.group
}

// applies reports whether a does something here.
func (m *model) applies(a *action, at place) bool {
	return a.in&at != 0 && (a.when == nil || a.when(m))
}

// does is the action of key k here, nil for none.
func (m *model) does(k tea.KeyPressMsg) *action {
	at := m.place()
	for i := range m.keys {
		if a := &m.keys[i]; key.Matches(k, a.bind) && m.applies(a, at) {
			return a
		}
	}
	return nil
}

// start does a, or waits for the key that says how.
func (m *model) start(a *action) tea.Cmd {
	if a.run == nil {
		m.prefix = &prefix{title: a.bind.Help().Desc, choices: a.then(m)}
		return nil
	}
	return a.run(m)
}

// describe is what the help says about a.
func (m *model) describe(a *action) string {
	s := a.bind.Help().Desc
	if a.then == nil {
		return s
	}
	var list []string
	for _, c := range a.then(m) {
		list = append(list, c.key+" "+c.word)
	}
	return s + ": then " + strings.Join(list, ", ")
}

// A prefix is a key that waits for the next one.
type prefix struct {
	title   string
	choices []choice
	drawn   int // how many of them have room beside the title; the last row has the rest
}

// press takes the key after the prefix; one that means nothing ends it.
func (p *prefix) press(m *model, k string) tea.Cmd {
	m.prefix = nil
	for _, c := range p.choices {
		if c.key == k {
			return c.run(m)
		}
	}
	return nil
}

func bind(help, what string, keys ...string) key.Binding {
	return key.NewBinding(key.WithKeys(keys...), key.WithHelp(help, what))
}

// actions returns the table: every part of the screen brings its own. It is a
// function because the actions refer to the model, which refers to them.
func actions() []action {
	return slices.Concat(
		moves(),
		homeActions(),
		streamActions(),
		requestActions(),
		connectionActions(),
		closeActions(),
		bodyActions(),
		compareActions(),
		upstreamActions(),
		browserActions(),
		screenActions(),
	)
}

func moves() []action {
	by := func(n func(*model) int) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return m.move(n(m)) }
	}
	rows := func(m *model) bool { return m.place()&(inEmpty|inQuiet) == 0 }
	// The list goes down into the past, or up with the newest last.
	up := func(m *model) bool { return rows(m) && m.tab() != nil && m.tab().list.newestLast }
	down := func(m *model) bool { return rows(m) && !up(m) }
	const lists = inList | inConns | inConn
	return []action{
		{name: "down", in: everywhere, when: rows, looks: true, bind: bind("j ↓", "one row down", "j", "down"), group: "Move", run: by(func(*model) int { return 1 })},
		{name: "up", in: everywhere, when: rows, looks: true, bind: bind("k ↑", "one row up", "k", "up"), group: "Move", run: by(func(*model) int { return -1 })},
		{name: "half-down", in: everywhere &^ inConn, when: rows, looks: true, bind: bind("ctrl-d", "half a page down", "ctrl+d"), group: "Move", run: by(func(m *model) int { return m.page() / 2 })},
		{name: "half-up", in: everywhere &^ inConn, when: rows, looks: true, bind: bind("ctrl-u", "half a page up", "ctrl+u"), group: "Move", run: by(func(m *model) int { return -m.page() / 2 })},
		{name: "page-down", in: everywhere &^ inConn, when: rows, looks: true, bind: bind("space PgDn", "a page down", "space", "pgdown", "ctrl+f"), group: "Move", run: by(func(m *model) int { return m.page() })},
		{name: "page-up", in: everywhere &^ inConn, when: rows, looks: true, bind: bind("b PgUp", "a page up", "b", "pgup", "ctrl+b"), group: "Move", run: by(func(m *model) int { return -m.page() })},
		{name: "latest", in: lists, when: down, looks: true, bind: bind("g Home", "to the top: the latest, and follow", "g", "home"), group: "Move", run: (*model).first},
		{name: "oldest", in: lists, when: down, looks: true, bind: bind("G End", "to the end: the oldest", "G", "end"), group: "Move", run: (*model).last},
		{name: "first", in: lists, when: up, looks: true, bind: bind("g Home", "to the top: the oldest", "g", "home"), group: "Move", run: (*model).first},
		{name: "newest", in: lists, when: up, looks: true, bind: bind("G End", "to the end: the latest, and follow", "G", "end"), group: "Move", run: (*model).last},
		{name: "top", in: everywhere &^ lists, when: rows, looks: true, bind: bind("g Home", "to the top", "g", "home"), group: "Move", run: (*model).first},
		{name: "bottom", in: everywhere &^ lists, when: rows, looks: true, bind: bind("G End", "to the end", "G", "end"), group: "Move", run: (*model).last},
		{
			name: "back", in: everywhere &^ inHome, when: func(m *model) bool { return m.home != nil || rows(m) },
			bind: bind("esc h ←", "one level back, then clear the filter", "esc", "h", "left"), group: "Move", run: (*model).back,
		},
		{
			name: "back-hint", in: inDiff | inDetail | inConn, bind: bind("esc", "back", "esc"), hint: "back", rank: 9, run: (*model).back,
			now: func(m *model, h hint) hint {
				alone := m.place() == inDiff || m.lay.shape <= swap // there is no list to see that one came from
				switch {
				case m.place() == inDetail && m.detail.find.search != nil:
					h.word, h.rank = "end search", 1
				case alone && m.place() != inDiff:
					h.rank = 1
				case alone:
					h.rank = 5
				}
				if alone && m.w < 80 {
					h.rank = 0
				}
				if m.w < 60 && h.word == "end search" {
					h.word = "end"
				}
				return h
			},
		},
		{name: "next-tab", in: capturing, bind: bind("] tab", "next tab", "]", "tab"), group: "Move", run: func(m *model) tea.Cmd { return m.turn(1) }},
		{name: "previous-tab", in: capturing, bind: bind("[ shift-tab", "previous tab", "[", "shift+tab"), group: "Move", run: func(m *model) tea.Cmd { return m.turn(-1) }},
		{name: "pane", in: inConns | inConn, bind: bind("tab", "between the list and the connection", "tab", "shift+tab"), group: "Move", run: (*model).otherPane},
		{
			name: "tabs-hint", in: inDetail, bind: bind("[ ]", "tabs", "]"), hint: "tabs", rank: 6, run: func(m *model) tea.Cmd { return m.turn(1) },
			now: func(_ *model, h hint) hint { h.key = "[ ]"; return h },
		},
	}
}

func homeActions() []action {
	onRow := func(m *model) bool { return m.home != nil && m.home.selected() != nil }
	return []action{
		{name: "new-tunnel", in: inHome, when: func(m *model) bool { return m.c.Start != nil }, bind: bind("n", "start a tunnel, for as long as this screen is open", "n"), group: "Tunnels", hint: "new tunnel", rank: 2, run: (*model).newTunnel, now: func(m *model, h hint) hint {
			if m.w < 60 {
				h.word = "new"
			}
			return h
		}},
		{name: "open-tunnel", in: inHome, when: onRow, bind: bind("enter l →", "open the tunnel's inspector", "enter", "l", "right"), group: "Tunnels", hint: "open", rank: 1, run: (*model).openTunnel},
		{name: "copy-address", in: inHome, when: onRow, bind: bind("y", "copy the URL of the tunnel", "y"), group: "Tunnels", hint: "copy url", rank: 3, run: (*model).copyAddress},
		{name: "close-tunnel", in: inHome, when: onRow, bind: bind("x", "close the tunnel, wherever it runs", "x"), group: "Tunnels", hint: "close", rank: 4, run: (*model).closeTunnel},
		{
			name: "again", in: everywhere &^ inDiff, when: func(m *model) bool {
				return m.lacking() != nil || m.focus == inHome && m.home != nil && m.home.failed != nil
			},
			bind: bind("a", "ask the edge again for a tunnel that it refused", "a"), group: "Tunnels", hint: "again", rank: 1, early: true, run: (*model).askAgain,
		},
		{
			name: "home", in: everywhere &^ (inHome | inDetail | inDiff | inConn), when: func(m *model) bool { return m.home != nil && (m.tab() == nil || m.tab().query == "") },
			bind: bind("esc", "back to the list of tunnels; this one stays open", "esc"), group: "Tunnels", hint: "all tunnels", rank: 6, early: true, run: (*model).back,
		},
	}
}

func requestActions() []action {
	return []action{
		{name: "open", in: inList, bind: bind("enter l →", "open the request", "enter", "l", "right"), group: "Requests", hint: "open", rank: 1, run: (*model).open},
		{name: "replay", in: capturing, bind: bind("r", "replay now; 5r replays five times", "r"), group: "Requests", hint: "replay", rank: 2, run: (*model).replay, now: unlessUpgraded},
		{
			name: "replay-with", in: capturing, when: func(m *model) bool { return m.selected() != nil },
			bind: bind("R", "replay with options: signature, address, times", "R"), group: "Requests", run: (*model).startReplayDialog,
		},
		{name: "edit", in: capturing, bind: bind("e", "edit in $EDITOR, compare, send", "e"), group: "Requests", hint: "edit", rank: 3, run: (*model).edit, now: unlessUpgraded},
		{
			name: "test", in: inEmpty | inList, bind: bind("t", "send a test request to yourself", "t"), group: "Requests",
			hint: "test request", rank: 1, quiet: inList, run: (*model).test,
			now: func(m *model, h hint) hint {
				if m.w < 60 {
					h.word = "test"
				}
				return h
			},
		},
		{name: "copy-url", in: inEmpty, bind: bind("y", "copy the URL", "y"), group: "Requests", hint: "copy url", rank: 2, run: func(m *model) tea.Cmd { return m.copyWhat("u") }},
		{
			name: "copy", in: capturing, when: func(m *model) bool { return m.selected() != nil },
			bind: bind("y", "copy", "y"), group: "Requests", hint: "copy", rank: 7, then: (*model).copies,
		},
		{
			name: "pause", in: inList | inDetail | inEmpty | connecting, bind: bind("p", "pause the view; capture goes on", "p"), group: "Requests",
			hint: "pause", rank: 8, quiet: inEmpty, run: (*model).pause,
			now: func(m *model, h hint) hint {
				if doc := m.detail.streamed(); doc != nil && m.focus == inDetail && m.selected() != nil && m.selected().State == inspector.Open {
					h.rank = 3
				}
				if m.paused {
					h.word, h.rank = "resume", 0 // the way out
				}
				return h
			},
		},
		{name: "clear", in: inList | inConns, bind: bind("c", "clear the list", "c"), group: "Requests", run: (*model).clear},
		{name: "filter-here", in: inDetail, bind: bind("f", "filter the list", "f"), group: "Requests", hint: "filter", rank: 9, run: (*model).startFilter},
		{name: "filter", in: inList | inEmpty | inConns | inConn, bind: bind("/ f", "filter the list", "/", "f"), group: "Requests", hint: "filter", rank: 5, quiet: inEmpty, run: (*model).startFilter},
		{name: "reverse", in: inList | inConns, bind: bind("v", "newest at the top or at the bottom", "v"), group: "Requests", run: (*model).reverse},
	}
}

func connectionActions() []action {
	return []action{
		{name: "open-connection", in: inConns, bind: bind("enter l →", "open the connection", "enter", "l", "right"), group: "Connections", hint: "open", rank: 1, run: (*model).open},
		{
			name: "more-bytes", in: inConn, looks: true, bind: bind("space ctrl-d", "down to the rest of the first bytes", "space", "pgdown", "ctrl+f", "ctrl+d"), group: "Connections",
			hint: "more bytes", rank: 4, run: func(m *model) tea.Cmd { return m.scrollConnection(m.lay.detail.h / 2) },
			now: func(m *model, h hint) hint {
				if h.key = "space"; len(m.kept.data[0])+len(m.kept.data[1]) == 0 {
					h.word = ""
				}
				return h
			},
		},
		{name: "less-bytes", in: inConn, looks: true, bind: bind("b ctrl-u", "up again", "b", "pgup", "ctrl+b", "ctrl+u"), group: "Connections", run: func(m *model) tea.Cmd { return m.scrollConnection(-m.lay.detail.h / 2) }},
		{name: "copy-connection", in: connecting, bind: bind("y", "copy", "y"), group: "Connections", hint: "copy", rank: 7, then: (*model).copies},
	}
}

func bodyActions() []action {
	return []action{
		{name: "search", in: inDetail, bind: bind("/", "search in this tab, and the others", "/"), group: "Body", hint: "search", rank: 5, run: (*model).startSearch},
		{
			name: "next-match", in: inDetail, looks: true, bind: bind("n", "next match, or next change", "n"), group: "Body",
			hint: "next", rank: 0, now: searching, run: func(m *model) tea.Cmd { return m.nextMatch(1) },
		},
		{
			name: "previous-match", in: inDetail, looks: true, bind: bind("N", "previous match, or change", "N"), group: "Body",
			hint: "previous", rank: 0, now: searching, run: func(m *model) tea.Cmd { return m.nextMatch(-1) },
		},
		{name: "jq", in: inDetail, bind: bind("=", "run jq on this body", "="), group: "Body", hint: "jq", rank: 11, run: (*model).startJQ},
		{name: "write", in: capturing, when: func(m *model) bool { return m.selected() != nil }, bind: bind("w", "write to a file", "w"), group: "Body", hint: "write", rank: 12, then: (*model).save},
		{name: "pipe", in: inDetail, bind: bind("|", "give it to $PAGER", "|"), group: "Body", hint: "pager", rank: 13, run: (*model).pipe},
		{name: "decode-more", in: inDetail, bind: bind("Z", "decode up to 32 MiB of this body", "Z"), group: "Body", run: (*model).decodeMore},
		{name: "fold", in: inDetail, bind: bind("o enter", "open or close a fold, open a part", "o", "enter"), group: "Body", run: (*model).enter},
		{name: "folds", in: inDetail, bind: bind("z", "folds", "z"), group: "Body", then: (*model).folds},
		{name: "hex", in: inDetail, bind: bind("x", "bytes or text", "x"), group: "Body", hint: "hex", rank: 10, run: (*model).toggleHex},
		{
			name: "side", in: inDetail, bind: bind("s", "the other side: request or response", "s"), group: "Body",
			hint: "req/resp", rank: 1, run: (*model).otherSide,
			now: func(m *model, h hint) hint {
				if m.detail.tab != tabDiff { // the others name their sides, or s itself
					h.word = ""
				}
				return h
			},
		},
		{
			name: "secret", in: capturing, when: (*model).signed, bind: bind("K", "give the secret that signed it, to check and sign again", "K"),
			group: "Body", run: (*model).giveSecret,
		},
		{name: "secrets", in: capturing | inDiff, bind: bind("S", "show or hide secrets", "S"), group: "Body", run: (*model).secrets},
	}
}

// unlessUpgraded leaves a hint out for what cannot be sent again.
func unlessUpgraded(m *model, h hint) hint {
	if x := m.selected(); x != nil && (x.Kind == inspector.WebSocket || x.Kind == inspector.Upgraded) {
		h.word = ""
	}
	return h
}

// searching leaves a hint out where there is neither a search nor a comparison.
func searching(m *model, h hint) hint {
	if m.detail.tab != tabDiff && m.detail.find.search == nil {
		h.word = ""
	}
	return h
}

func screenActions() []action {
	return []action{
		{name: "help", in: everywhere, bind: bind("?", "help", "?"), group: "Screen", hint: "help", rank: 90, run: (*model).startHelp},
		{name: "palette", in: everywhere, bind: bind(": ctrl-p", "any action by its name", ":", "ctrl+p"), group: "Screen", run: (*model).startPalette},
		{name: "log", in: everywhere, bind: bind("L", "what happened to the connection", "L"), group: "Screen", run: (*model).startLog},
		{name: "qr", in: everywhere &^ (connecting | inHome), bind: bind("Q", "QR code of the URL", "Q"), group: "Screen", hint: "QR code", rank: 3, quiet: everywhere &^ inEmpty, run: (*model).startQR, now: func(m *model, h hint) hint {
			if m.onlyHere(m.tab()) {
				h.word = "" // Q says why there is none
			}
			return h
		}},
		{name: "layout", in: capturing | inConns | inConn, bind: bind("+ _", "more or less room for the detail", "+", "_"), group: "Screen", run: (*model).zoom},
		{name: "wider", in: capturing | inConns | inConn, bind: bind(">", "more room for the list", ">"), group: "Screen", run: func(m *model) tea.Cmd { m.share = min(m.share+4, 75); return nil }},
		{name: "narrower", in: capturing | inConns | inConn, bind: bind("<", "less room for the list", "<"), group: "Screen", run: func(m *model) tea.Cmd { m.share = max(m.share-4, 30); return nil }},
		{name: "mouse", in: everywhere, bind: bind("M", "release the mouse, to select text", "M"), group: "Screen", run: (*model).toggleMouse},
		{
			name: "tunnels", in: everywhere, when: func(m *model) bool { return len(m.tabs) > b2i(m.focus != inHome) }, early: true,
			bind: bind("1-9", "that tunnel, in the order of the tabs; 12 works as well"), group: "Screen", hint: "tunnel", rank: 4,
			run: func(m *model) tea.Cmd { m.toTab((m.cur + b2i(m.focus != inHome)) % len(m.tabs)); return nil },
			now: func(m *model, h hint) hint {
				if h.key = sprintf("1-%d", len(m.tabs)); len(m.tabs) == 1 {
					h.key = "1"
				}
				return h
			},
		},
		{name: "suspend", in: everywhere, bind: bind("ctrl-z", "suspend; fg resumes, bg lets the tunnel work on", "ctrl+z"), group: "Screen", run: (*model).suspend},
		{name: "redraw", in: everywhere, bind: bind("ctrl-l", "draw the screen anew", "ctrl+l"), group: "Screen", run: func(*model) tea.Cmd { return tea.ClearScreen }},
		{name: "quit", in: everywhere, bind: bind("q", "quit", "q"), group: "Screen", hint: "quit", rank: 91, run: (*model).quit},
	}
}
