package tui

import (
	"context"
	"errors"
	"image/color"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A tab is one tunnel on the screen.
type tab struct {
	Tunnel
	*captures
	link    *link
	list    list
	dropped int
	looked  int // how much of what was seen was in front
}

// A question waits for one key: what destroys something asks first. Its last
// choice is no, and any other key means the same.
type question struct {
	text    string
	brief   string // the text where there is little room, "" for the same
	pass    bool   // keys that move keep their meaning
	enter   string // what enter is told; "" where it is as good as any other key
	nudged  bool   // enter was pressed
	choices []choice
}

// A choice is a key that answers a question or follows a prefix.
type choice struct {
	key, word string
	run       func(*model) tea.Cmd
}

// A note is what the status line says for a while.
type note struct {
	text  string
	role  role
	until time.Time
	// a and b are a pair to compare, offered with the note; more says in short
	// how they differ.
	a, b, more string
}

type model struct {
	ctx     context.Context
	c       Config
	feed    *feed
	keys    []action
	th      *theme
	noColor bool
	ground  color.Color
	profile colorprofile.Profile // what the terminal can show, Unknown at first
	method  ansi.Method          // how the renderer counts columns

	w, h   int
	share  int
	zoomed bool
	lay    layout

	tabs  []*tab
	cur   int
	home  *home // the list of tunnels, when the screen started there
	main  *link // the first
	links []*link
	ended map[string]string // why nothing more comes of a tunnel, by its key
	lost  map[string]string

	focus   place // inHome, inList, inDetail or inDiff
	from    place // where the diff was started
	detail  detail
	diff    diffPane
	bar     filterBar
	over    overlay
	ask     *question
	note    note
	log     []logEntry
	touched int // keys and clicks so far
	count   int
	counted int     // generation of the count's timer
	prefix  *prefix // the next key belongs to it
	prompt  *prompt
	past    map[string]*[]string // what was entered at the prompts, by their name
	hits    []hit
	chosen  time.Time  // when the capture in the detail was
	opened  []*opened  // most recent first
	kept    firstBytes // of the connection in the detail
	judging judgedMsg  // on the capture in the detail

	rules      ruling        // what comparisons ignore
	comparison chan struct{} // held by the comparison that is being made
	drafts     drafts        // of edits
	fetching   *fetching     // to be edited, nil for none
	stops      *stops        // how a shell asks for the terminal

	browser []string // the command that shows an address, nil for none

	paused   bool
	reveal   bool
	mouseOff bool
	tmuxTold atomic.Bool // what tmux needs was said; commands say it
	dragTold bool        // how to select text was said
	blurred  bool
	woke     time.Time // when the feed had news last
	rush     bool      // and whether they were many
	frame    struct {  // the last that was drawn
		tea.View
		at time.Time
	}
	quitting  bool
	dropped   int
	rowsOf    []int // what each row of the list shows, -1 for a gap
	testing   bool
	outside   *outside // the last answer from elsewhere
	sent      int      // of them so far
	lastClick struct {
		at   time.Time
		x, y int
	}
}

func newModel(ctx context.Context, c Config, f *feed) *model {
	m := &model{ctx: ctx, c: c, feed: f, share: 54, focus: inList, keys: actions(), comparison: make(chan struct{}, 1)}
	m.noColor = env(c.Environ, "NO_COLOR") != "" || c.Theme == "mono"
	m.w, m.h = c.Width, c.Height
	m.rules = ruling{list: c.Ignore, strict: c.Strict}
	m.browser = browser(c.Environ)
	if !m.c.ASCII {
		for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
			if v := env(c.Environ, name); v != "" {
				u := strings.ToLower(v)
				m.c.ASCII = !strings.Contains(u, "utf-8") && !strings.Contains(u, "utf8")
				break
			}
		}
	}
	m.paint()
	m.main = newLink(&Edge{API: c.API, LocalOnly: c.LocalOnly}, c.Agent, c.Tunnels...)
	m.links = []*link{m.main}
	f.alone = c.Agent == nil
	for _, t := range c.Tunnels {
		m.tabs = append(m.tabs, newTab(t, m.main))
	}
	m.adopt(m.main, m.main.live)
	if len(c.Tunnels) == 0 && c.Agent == nil {
		m.home, m.focus = newHome(m), inHome
	}
	m.arrange()
	return m
}

func newTab(t Tunnel, l *link) *tab {
	return &tab{Tunnel: t, link: l, captures: newCaptures(), list: list{follow: true}}
}

// paint makes the theme anew.
func (m *model) paint() {
	name := m.c.Theme
	if name == "" || name == "auto" {
		name = fromEnviron(m.c.Environ)
	}
	ground, none := m.ground, m.noColor
	switch m.profile {
	case colorprofile.NoTTY, colorprofile.ASCII:
		none = true
	case colorprofile.ANSI256:
		// Among 256 colours the nearest to a dark blue is a bright one: the hue
		// counts there, not how dark it is. So the shade goes without a hue.
		if ground != nil {
			ground = color.GrayModel.Convert(ground)
		}
	case colorprofile.ANSI:
		// A shade of the background comes out as one of sixteen colours there,
		// as likely as not the background itself.
		ground = nil
		if name == "dark" || name == "light" {
			name = "auto"
		}
	}
	m.th = newTheme(name, m.c.ASCII, none, ground)
	m.th.method = m.method
}

// fromEnviron guesses the background from COLORFGBG ("15;0"), which counts until
// the terminal tells, if it does.
func fromEnviron(environ []string) string {
	v := env(environ, "COLORFGBG")
	switch n, err := strconv.Atoi(v[strings.LastIndexByte(v, ';')+1:]); {
	case err != nil:
		return "auto"
	case n < 7 || n == 8:
		return "dark"
	}
	return "light"
}

func (m *model) arrange() {
	m.lay = arrange(m.w, m.h, m.share, m.zoomed, m.focus == inDetail)
}

// tab is the tunnel in front, nil on the home screen.
func (m *model) tab() *tab {
	if m.home != nil && m.focus == inHome || m.cur >= len(m.tabs) {
		return nil
	}
	return m.tabs[m.cur]
}

// selected is the capture at the cursor.
func (m *model) selected() *capture {
	if t := m.tab(); t != nil {
		return t.list.selected(t.captures)
	}
	return nil
}

func (m *model) summary() Summary {
	s := Summary{Dropped: m.dropped}
	for _, t := range m.tabs {
		if isHTTP(t) {
			s.Seen += t.seen
		} else {
			s.Connections += t.seen
		}
		s.Tunnels = append(s.Tunnels, t.Tunnel)
		s.Own += b2i(t.link.stop != nil)
	}
	return s
}

// The messages of the model.
type (
	wakeMsg  struct{} // the feed has news
	tickMsg  struct{} // a second has passed
	countMsg int      // a digit stood alone
	failMsg  struct { // what a command could not do, with the capture of that id
		id  string
		err error
	}
	forgotMsg struct{ tunnel string }

	// A result is what a command brings back and knows itself what to do
	// with. It is how a part of the screen adds messages of its own.
	result interface{ arrive(m *model) tea.Cmd }
)

func (m *model) Init() tea.Cmd {
	cmds := []tea.Cmd{m.await(), m.awaitStop(), m.tick()}
	if m.c.Theme == "" || m.c.Theme == "auto" {
		cmds = append(cmds, tea.RequestBackgroundColor)
	}
	if m.home != nil {
		cmds = append(cmds, m.loadTunnels())
	}
	return tea.Batch(cmds...)
}

// await is the one command that waits for the feed.
func (m *model) await() tea.Cmd {
	apart, woke := soonest, m.woke
	switch {
	case m.calm():
		apart = calmly
	case m.rush:
		apart = hurriedly
	}
	return func() tea.Msg {
		select {
		case <-m.feed.poke:
		case <-m.ctx.Done():
			return nil
		}
		// News come in bursts: one frame shows them all.
		t := time.NewTimer(max(soonest, apart-time.Since(woke)))
		defer t.Stop()
		select {
		case <-t.C:
		case <-m.ctx.Done():
		}
		return wakeMsg{}
	}
}

const (
	soonest = 33 * time.Millisecond
	// hurriedly is the time between two frames while more comes in than anybody
	// can read: half of them are as good, and drawing is what a busy screen costs.
	hurriedly = 66 * time.Millisecond
	// calmly is the time between two frames that nobody asked for, while nobody
	// looks or who looks wants no motion.
	calmly = 500 * time.Millisecond

	// rush is how much news at once is more than anybody can read.
	rush = 16
)

func (m *model) calm() bool { return m.blurred || m.c.ReduceMotion }

// tick redraws what runs with the clock: quickly while tenths of a second show,
// every second otherwise.
func (m *model) tick() tea.Cmd {
	d := time.Second
	if !m.calm() {
		t := m.tab()
		if t != nil && t.open > 0 && m.c.Now().Sub(t.fresh) < 10*time.Second || m.link().agent != nil && m.link().status.State == agent.Connecting {
			d = 250 * time.Millisecond
		}
	}
	return tea.Tick(d, func(time.Time) tea.Msg { return tickMsg{} })
}

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg.(type) {
	case wakeMsg, tickMsg, trafficMsg:
	case tea.KeyPressMsg, tea.PasteMsg, tea.MouseMsg, tea.WindowSizeMsg, tea.FocusMsg:
		m.frame.at = time.Time{}
	default:
		if !m.blurred {
			m.frame.at = time.Time{} // somebody waits for what this does
		}
	}
	cmd := m.update(msg)
	m.arrange()
	return m, tea.Batch(cmd, m.sync())
}

func (m *model) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
	case tea.BackgroundColorMsg:
		if m.c.Theme == "" || m.c.Theme == "auto" {
			m.ground = msg.Color
			m.paint()
		}
	case tea.ColorProfileMsg:
		m.profile = msg.Profile
		m.paint()
	case tea.ModeReportMsg:
		// The renderer hears the same and decides in the same way.
		if msg.Mode == ansi.ModeUnicodeCore && (msg.Value == ansi.ModeReset || msg.Value == ansi.ModeSet || msg.Value == ansi.ModePermanentlySet) {
			m.method = ansi.GraphemeWidth
			m.paint()
		}
	case tea.FocusMsg:
		m.blurred = false
		m.drain()
	case tea.BlurMsg:
		m.blurred = true
	case tea.InterruptMsg:
		return tea.Quit
	case tea.KeyPressMsg:
		m.blurred = false // whatever the terminal said: somebody is there
		m.touched++
		return m.press(msg)
	case tea.PasteMsg:
		return m.paste(msg)
	case tea.MouseClickMsg:
		m.touched++
		return m.click(msg)
	case tea.MouseMotionMsg:
		m.drag(msg)
	case tea.MouseWheelMsg:
		m.touched++
		return m.wheel(msg)
	case wakeMsg:
		m.woke = time.Now()
		m.drain()
		return tea.Batch(m.await(), m.askTraffic())
	case tickMsg:
		m.expire()
		cmds := []tea.Cmd{m.tick(), m.askTraffic()}
		if m.home != nil && m.focus == inHome {
			cmds = append(cmds, m.refreshTunnels())
		}
		return tea.Batch(cmds...)
	case countMsg:
		if int(msg) == m.counted && m.count > 0 {
			n := m.count
			m.count = 0
			m.toTab(n - 1)
		}
	case failMsg:
		m.say(bad, "%s", m.because(msg.id, msg.err))
	case forgotMsg:
		for _, t := range m.tabs {
			if t.key() == msg.tunnel {
				t.forgotten = t.seen - len(t.all)
			}
		}
		m.say(text, "cleared, here and at the edge")
	case loadedMsg:
		return m.loaded(msg)
	case laidOutMsg:
		return m.laidOut(msg)
	case rawMsg:
		m.detail.raws(msg)
	case replayedMsg:
		return m.replayed(msg)
	case editingMsg:
		return m.editing(msg)
	case editedMsg:
		return m.edited(msg)
	case comparedMsg:
		return m.compared(msg)
	case copiedMsg:
		m.say(msg.role, "%s", msg.text)
		if msg.osc == nil && msg.role == warn {
			m.note.until = m.c.Now().Add(30 * time.Second) // long enough to type the name of a file
		}
		return msg.osc
	case copyReadyMsg:
		return m.putClipboard(msg.what, msg.text)
	case testedMsg:
		m.testing = false
		if msg.err != nil {
			m.say(bad, "test request: %s", message(msg.err))
		} else {
			m.say(good, "test request sent")
		}
	case trafficMsg:
		m.traffic(msg)
	case result:
		return msg.arrive(m)
	}
	return nil
}

// paste gives text to whoever is asking for some.
func (m *model) paste(msg tea.PasteMsg) tea.Cmd {
	if o, ok := m.over.(interface {
		paste(*model, tea.PasteMsg) tea.Cmd
	}); ok && m.ask == nil {
		return o.paste(m, msg)
	}
	switch {
	case m.ask != nil || m.over != nil:
	case m.prompt != nil:
		return m.prompt.update(m, msg)
	case m.bar.editing:
		return m.bar.update(m, msg)
	}
	return nil
}

// drain takes the news of the feed.
func (m *model) drain() {
	now := m.c.Now()
	for _, l := range slices.Clone(m.links) {
		if s, live := m.feed.of(l); l.agent != nil {
			m.follow(l, s)
			m.adopt(l, live)
			if l.stop != nil && s.State == agent.Closed && s.Err != nil && len(s.Welcome.Grants) == 0 {
				m.refuse(l)
			}
		}
	}
	ended, lost := m.feed.state()
	for _, t := range m.tabs {
		switch was, is := m.lost[t.key()], lost[t.key()]; {
		case was == "" && is != "":
			m.record(warn, "%s: the event stream broke: %s", t.Name, is)
		case was != "" && is == "":
			m.record(good, "%s: the event stream is back", t.Name)
		}
		if m.ended[t.key()] != "" && ended[t.key()] == "" {
			m.record(good, "%s: the tunnel is back", t.Name)
		}
	}
	m.ended, m.lost = ended, lost
	m.rush = false
	for _, n := range m.feed.drain(m.paused) {
		m.rush = m.rush || len(n.list) >= rush
		for _, t := range m.tabs {
			if t.key() != n.tunnel {
				continue
			}
			if n.gap {
				t.lose(now)
				m.detail.stale = true
			}
			for i := range n.list {
				t.put(*n.list[i], now)
			}
			t.summary()
			t.list.settle(t.captures)
			if n.dropped > 0 {
				t.dropped += n.dropped
				m.dropped += n.dropped
				m.record(warn, "%s: %s came and went while the screen was away", t.Name, t.things(n.dropped))
			}
		}
	}
	if m.home != nil {
		m.home.settle(m)
	}
}

// adopt brings the tabs of l in line with the tunnels that the edge granted.
func (m *model) adopt(l *link, tunnels []Tunnel) {
	i := 0
	for _, t := range m.tabs {
		if t.link != l || i >= len(tunnels) {
			continue
		}
		t.Tunnel = tunnels[i]
		if u := l.status.Upstreams; i < len(u) && u[i].Local != "" {
			t.Local = u[i].Local // it can be changed live
		}
		i++
	}
}

// An offline is a stretch of time without a connection.
type offline struct{ from, to time.Time }

// A leaving is the end of an edge that said so.
type leaving struct {
	at  time.Time
	why string
}

// follow notes what became of the connection.
func (m *model) follow(l *link, s agent.Status) {
	was := l.status
	l.status = s
	which := ""
	if len(m.links) > 1 && len(l.live) > 0 {
		which = l.live[0].Name + ": "
	}
	if e := (*tunnel.Error)(nil); s.State == agent.Reconnecting && l.away == nil && errors.As(s.Err, &e) && e.Code == tunnel.CodeDraining {
		at := s.OfflineSince
		if at.IsZero() {
			at = m.c.Now()
		}
		_, why, _ := strings.Cut(e.Message, ": ")
		l.away = &leaving{at, why}
		m.record(warn, "%sthe edge left: %s", which, e.Message)
	}
	if s.State == agent.Online {
		l.away = nil
	}
	if was.State == s.State && was.Attempt == s.Attempt {
		m.upstreams(l, was.Upstreams, s.Upstreams)
		return
	}
	switch s.State {
	case agent.Online:
		if !was.OfflineSince.IsZero() && was.State == agent.Reconnecting {
			gap := offline{was.OfflineSince, m.c.Now()}
			l.gaps = append(l.gaps, gap)
			l.gaps = l.gaps[max(len(l.gaps)-3, 0):]
			m.say(good, "%sonline again after %s", which, span2(gap.to.Sub(gap.from)))
			m.record(good, "%sonline again after %s", which, span2(gap.to.Sub(gap.from)))
		} else {
			m.record(good, "%sonline", which)
		}
	case agent.Reconnecting:
		since := ""
		if was.State != agent.Reconnecting && !s.OfflineSince.IsZero() && m.c.Now().Sub(s.OfflineSince) >= time.Second {
			// It took a while to be sure: the gap in the list begins before this entry.
			since = "; nothing came since " + s.OfflineSince.In(m.c.Now().Location()).Format("15:04:05")
		}
		m.record(warn, "%sreconnecting, attempt %d: %s%s", which, s.Attempt, message(s.Err), since)
	case agent.Closed:
		m.record(bad, "%sclosed: %s", which, message(s.Err))
	}
	m.upstreams(l, was.Upstreams, s.Upstreams)
}

func (m *model) upstreams(l *link, was, now []agent.Upstream) {
	for i, u := range now { // in the order of the claims
		before, dropped := false, false
		if i < len(was) {
			before, dropped = was[i].Down, was[i].Dropped != nil
		}
		if u.Dropped != nil && !dropped {
			name := u.Tunnel
			if name == "" {
				name = u.Local
			}
			if t := m.tab(); t == nil || t.link != l || m.claim(t) != i {
				m.say(bad, "%s: %s", name, message(u.Dropped)) // of the one in front it is said anyway
			}
			m.record(bad, "%s: %s", name, message(u.Dropped))
		}
		if u.Dropped == nil && dropped {
			m.say(good, "%s: the edge has it now", u.Tunnel)
			m.record(good, "%s: the edge has it now", u.Tunnel)
		}
		switch {
		case u.Down && !before:
			m.record(bad, "%s: the local service is down: %s", u.Local, u.Err)
		case !u.Down && before:
			m.record(good, "%s: the local service is back", u.Local)
		}
	}
}

// sync starts what the state of the screen calls for: the capture in the detail
// has to be loaded, and once more when it has changed.
func (m *model) sync() tea.Cmd {
	if m.focus != inDiff {
		m.diff.stop() // nobody waits for it any more
	}
	if t := m.tab(); t != nil {
		t.looked = t.seen
		t.list.height = max(m.listRows()-len(t.link.gaps), 1) // whatever of them is in view
		t.list.settle(t.captures)
	}
	look := m.look()
	if t := m.tab(); t != nil && !isHTTP(t) && m.lay.detail.w > 0 {
		return m.firstBytes(m.selected())
	}
	if m.lay.detail.w == 0 || m.focus == inHome || m.tab() != nil && !isHTTP(m.tab()) || m.focus == inDiff && m.from == inList && m.lay.shape < stacked {
		return look
	}
	return tea.Batch(look, m.detail.sync(m, m.selected()), m.judge())
}

func (m *model) say(r role, f string, args ...any) {
	m.note = note{text: sprintf(f, args...), role: r, until: m.c.Now().Add(6 * time.Second)}
}

// expire lets old notes go.
func (m *model) expire() {
	if m.note.text != "" && m.c.Now().After(m.note.until) {
		m.note = note{}
	}
}

// place is where keys go now.
func (m *model) place() place {
	t := m.tab()
	if t == nil || m.focus != inList && m.focus != inDetail {
		return m.focus
	}
	switch empty := len(t.all) == 0 && m.focus == inList; {
	case isHTTP(t) && empty:
		return inEmpty
	case isHTTP(t):
		return m.focus
	case empty:
		return inQuiet
	case m.focus == inDetail:
		return inConn
	}
	return inConns
}

func (m *model) press(k tea.KeyPressMsg) tea.Cmd {
	s := k.String()
	if s == "ctrl+c" {
		if m.quitting {
			return tea.Quit
		}
		return m.quit()
	}
	switch {
	case m.ask != nil:
		q := m.ask
		for _, c := range q.choices {
			if c.key == s {
				m.ask, m.quitting = nil, false
				return c.run(m)
			}
		}
		if !q.pass {
			m.ask, m.quitting = nil, false
			return q.choices[len(q.choices)-1].run(m)
		}
		if q.nudged = s == "enter" && q.enter != ""; q.nudged {
			return nil
		}
		return m.browse(k)
	case m.over != nil:
		return m.over.press(m, k)
	case m.prompt != nil:
		return m.prompt.update(m, k)
	case m.bar.editing:
		return m.bar.update(m, k)
	case m.prefix != nil:
		return m.prefix.press(m, s)
	}
	if len(s) == 1 && (s[0] >= '1' && s[0] <= '9' || s[0] == '0' && m.count > 0) {
		m.count = min(m.count*10+int(s[0]-'0'), 100)
		m.counted++
		gen := m.counted
		if n := m.count; m.focus == inHome && n*10 > len(m.tabs) { // it can only be that one
			m.count = 0
			m.toTab(n - 1)
			return nil
		}
		if len(m.tabs) > 1 {
			return tea.Tick(400*time.Millisecond, func(time.Time) tea.Msg { return countMsg(gen) })
		}
		return nil
	}
	if s == "esc" && m.fetching != nil {
		number := m.fetching.number
		m.stopFetching()
		m.say(text, "%s: nothing was opened", number)
		return nil
	}
	a := m.does(k)
	if a == nil {
		m.count = 0
		if m.place()&connecting != 0 {
			m.notForConnections(k)
		} else {
			m.elsewhere(k)
		}
		return nil
	}
	cmd := m.start(a)
	m.count = 0
	return cmd
}

// elsewhere says where a key means something that means nothing here.
func (m *model) elsewhere(k tea.KeyPressMsg) {
	at := m.place()
	for i := range m.keys {
		a := &m.keys[i]
		if a.group == "" || a.in&at != 0 || at != inHome && a.in&(capturing|inDiff) == 0 || !key.Matches(k, a.bind) {
			continue
		}
		m.say(text, "not here: %s (%s)", a.bind.Help().Desc, a.in.words())
		return
	}
}

// browse lets a person look around while a question waits.
func (m *model) browse(k tea.KeyPressMsg) tea.Cmd {
	if a := m.does(k); a != nil && a.looks {
		return m.start(a)
	}
	return nil
}

// page is how many rows the pane with the focus has.
func (m *model) page() int {
	switch m.focus {
	case inHome:
		return max(m.home.rows.h, 2)
	case inDetail:
		if m.place() == inConn {
			break
		}
		return max(m.detail.rows(), 2)
	case inDiff:
		return max(m.diff.height-1, 2)
	}
	return max(m.listRows(), 2)
}

func (m *model) move(n int) tea.Cmd {
	if m.count > 0 && (n == 1 || n == -1) {
		n *= m.count
	}
	switch m.place() {
	case inHome:
		m.home.move(n)
	case inDetail:
		m.detail.move(n)
	case inDiff:
		m.diff.move(n)
	default:
		if t := m.tab(); t != nil {
			t.list.move(t.captures, n)
		}
	}
	return nil
}

// first goes to the top of what is in front. Where that is a list, news may come in
// there.
func (m *model) first() tea.Cmd {
	switch m.place() {
	case inHome:
		m.home.move(-1 << 20)
	case inDetail:
		m.detail.home()
	case inDiff:
		m.diff.move(-1 << 20)
	default:
		if t := m.tab(); t != nil {
			t.list.end(t.captures, !t.list.newestLast)
		}
	}
	return nil
}

func (m *model) last() tea.Cmd {
	switch m.place() {
	case inHome:
		m.home.move(1 << 20)
	case inDetail:
		m.detail.end()
	case inDiff:
		m.diff.move(1 << 20)
	default:
		if t := m.tab(); t != nil {
			t.list.end(t.captures, t.list.newestLast)
		}
	}
	return nil
}

func (m *model) open() tea.Cmd {
	t := m.tab()
	if x := m.selected(); x != nil {
		t.list.choose(t.captures, x) // what one reads stays, whatever comes in
		m.focus = inDetail
	}
	return nil
}

func (m *model) back() tea.Cmd {
	switch {
	case m.focus == inDiff:
		m.focus = m.from
	case m.focus == inDetail && isHTTP(m.tab()) && m.detail.retreat(m):
	case m.focus == inDetail:
		m.focus = inList
		m.zoomed = false
	case m.focus == inList && m.tab() != nil && m.tab().query != "":
		return m.setFilter("")
	case m.focus == inList && m.home != nil:
		return m.toHome()
	}
	return nil
}

// turn goes to the next tab of the detail, from the list as well.
func (m *model) turn(n int) tea.Cmd {
	if m.selected() == nil {
		return nil
	}
	if m.focus == inList && m.lay.detail.w == 0 {
		return m.open()
	}
	m.detail.turn(n)
	return nil
}

func (m *model) toTab(i int) {
	if i >= 0 && i < len(m.tabs) {
		m.cur, m.focus, m.zoomed = i, inList, false
		m.bar.set(m.tabs[i].query)
	}
}

func (m *model) mark() tea.Cmd {
	t, x := m.tab(), m.selected()
	switch {
	case x == nil:
	case t.marked == x.ID:
		t.marked = ""
		m.say(text, "mark removed")
	default:
		t.marked = x.ID
		m.say(accent, "#%d is A; go to another request and press d", x.Number)
	}
	return nil
}

func (m *model) toMark() tea.Cmd {
	t := m.tab()
	if x := t.byID[t.marked]; x != nil && t.shows(x) {
		t.list.choose(t.captures, x)
	} else {
		m.say(warn, "nothing is marked; m marks a request")
	}
	return nil
}

func (m *model) pause() tea.Cmd {
	m.paused = !m.paused
	if !m.paused {
		m.drain()
	}
	return nil
}

func (m *model) clear() tea.Cmd {
	t := m.tab()
	if t == nil || len(t.all) == 0 {
		return nil
	}
	m.ask = &question{
		text:  sprintf("clear %s from this screen?", t.things(len(t.all))),
		brief: sprintf("clear %s?", t.things(len(t.all))),
		choices: []choice{
			{"y", "clear", func(m *model) tea.Cmd {
				t.clear()
				t.list.follow = true
				m.say(text, "cleared; the edge still has its captures")
				return nil
			}},
			{"f", "at the edge too", func(m *model) tea.Cmd {
				t.clear()
				t.list.follow = true
				name, key, api := t.Name, t.key(), t.link.edge.API
				return func() tea.Msg {
					if err := api.Forget(m.ctx, name); err != nil {
						return failMsg{err: err}
					}
					return forgotMsg{key}
				}
			}},
			{"esc", "cancel", func(*model) tea.Cmd { return nil }},
		},
	}
	return nil
}

func (m *model) reverse() tea.Cmd {
	for _, t := range m.tabs {
		t.list.newestLast = !t.list.newestLast
	}
	return nil
}

func (m *model) secrets() tea.Cmd {
	m.reveal = !m.reveal
	m.detail.stale = true
	if m.reveal {
		m.say(warn, "secrets are shown, and copied; S hides them")
	} else {
		m.say(text, "secrets are hidden")
	}
	return nil
}

func (m *model) zoom() tea.Cmd {
	m.zoomed = !m.zoomed
	return nil
}

func (m *model) toggleMouse() tea.Cmd {
	m.mouseOff = !m.mouseOff
	if m.mouseOff {
		m.say(text, "mouse released: drag selects text; M takes it back")
	} else {
		m.say(text, "mouse captured: click and wheel work")
	}
	return nil
}

func (m *model) folds() []choice {
	fold := func(key, word string, f func(*pager)) choice {
		return choice{key, word, func(m *model) tea.Cmd { f(m.detail.pager()); return nil }}
	}
	return []choice{
		fold("a", "this one", (*pager).fold),
		fold("M", "close all", func(p *pager) { p.foldAll(true) }),
		fold("R", "open all", func(p *pager) { p.foldAll(false) }),
	}
}

func (m *model) toggleHex() tea.Cmd {
	m.detail.toggleHex()
	return nil
}

func (m *model) otherSide() tea.Cmd {
	if m.focus == inDiff {
		m.diff.otherSide()
	} else {
		m.detail.otherSide()
	}
	return nil
}

func (m *model) quit() tea.Cmd {
	if n := m.own(); n > 0 {
		m.quitting = true
		was := m.ask
		m.ask = &question{
			text: sprintf("%s started here would end. Quit?", plural(n, "tunnel")),
			choices: []choice{
				{"y", "quit", func(*model) tea.Cmd { return tea.Quit }},
				{"n", "stay", func(m *model) tea.Cmd { m.ask = was; return nil }},
			},
		}
		return nil
	}
	requests, conns := 0, 0
	for _, t := range m.tabs {
		if isHTTP(t) {
			requests += t.open
		} else {
			conns += t.opened(m.ring())
		}
	}
	if requests+conns == 0 || m.main.agent == nil {
		return tea.Quit
	}
	m.quitting = true
	was := m.ask
	is := "are"
	if requests+conns == 1 {
		is = "is"
	}
	what := plural(requests, "request") + " " + is + " in flight"
	switch {
	case conns > 0 && requests > 0:
		what = plural(requests, "request") + " and " + plural(conns, "connection") + " are open"
	case conns > 0:
		what = plural(conns, "connection") + " " + is + " open"
	}
	m.ask = &question{
		text:  what + " and would be cut. Quit?",
		brief: what + ". Quit?",
		choices: []choice{
			{"y", "quit", func(*model) tea.Cmd { return tea.Quit }},
			{"n", "stay", func(m *model) tea.Cmd { m.ask = was; return nil }},
		},
	}
	return nil
}

type testedMsg struct{ err error }

func (m *model) test() tea.Cmd {
	t := m.tab()
	if m.c.SendTest == nil || t == nil {
		m.say(warn, "no test request from here: call %s", urlOf(t))
		return nil
	}
	if m.testing {
		return nil
	}
	m.testing = true
	m.say(text, "sending a test request to %s", t.URL)
	target := t.Tunnel
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, 30*time.Second)
		defer cancel()
		return testedMsg{m.c.SendTest(ctx, target)}
	}
}

func urlOf(t *tab) string {
	if t == nil {
		return ""
	}
	return t.URL
}

// down is the local service of the tunnel in front, if it is known to be down.
func (m *model) down() *agent.Upstream {
	t := m.tab()
	if t == nil || t.link.status.State != agent.Online {
		return nil
	}
	if u := m.upstream(t); u != nil && u.Down {
		return u
	}
	return nil
}

// fate is why nothing more comes of a tunnel, "" while something may.
func (m *model) fate(t *tab) string {
	if why := m.ended[t.key()]; why != "" || t.link.agent == nil {
		return why
	}
	if u := m.upstream(t); u != nil && u.Dropped != nil {
		return message(u.Dropped)
	}
	if s := &t.link.status; s.State == agent.Closed {
		if s.Err == nil {
			return "the tunnel was closed"
		}
		return message(s.Err)
	}
	return ""
}

func isHTTP(t *tab) bool { return t.Kind == "" || t.Kind == tunnel.HTTP }

func number(x *inspector.Exchange) string { return "#" + strconv.FormatUint(x.Number, 10) }
