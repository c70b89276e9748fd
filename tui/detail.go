package tui

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

// The tabs of the detail.
const (
	tabRequest = iota
	tabResponse
	tabHeaders
	tabTiming
	tabDiff
	tabRaw
	tabCount
)

var (
	tabNames = [tabCount]string{"Request", "Response", "Headers", "Timing", "Diff", "Raw"}
	tabShort = [tabCount]string{"Req", "Resp", "Head", "Time", "Diff", "Raw"}
)

// So many captures keep their bodies on this screen, if these have no more bytes
// than that.
const (
	keepOpened = 10
	keepBytes  = 64 << 20
)

// An opened is a capture with everything the edge has of it.
type opened struct {
	x      inspector.Exchange
	sides  [2]*body // request, response
	firsts [2]*body // what their first bytes show, while sides are more than that
	most   int64    // what of its bodies is decoded at most, 0 for the default
}

// size is how many bytes its bodies have.
func (o *opened) size() int { return len(o.x.Request.Body.Data) + len(o.x.Response.Body.Data) }

// rest lets go of what laying the bodies out as a whole took, which may be a
// multiple of them. It takes a moment to make it again.
func (o *opened) rest() {
	for side, b := range o.firsts {
		if b != nil {
			b.takeOver(o.sides[side])
			o.sides[side], o.firsts[side] = b, nil
		}
	}
}

// part reports whether only a first screen of it is laid out.
func (o *opened) part() bool { return o.sides[0].part || o.sides[1].part }

// detail shows one capture.
type detail struct {
	id                 string
	tab                int
	whole              *opened
	first              *opened // what the first bytes of its bodies show, while there is no whole
	pages              [tabCount]pager
	diff               diffPane // of the Diff tab
	raw                int      // the side of the Raw tab
	hex                bool     // of the Raw tab
	masked             bool     // the Raw tab hides secrets
	rawAsked, rawShown rawKey
	err                string
	asked              struct { // the load that is under way
		id      string
		version uint64
		at      time.Time
		took    time.Duration // of the last one
	}
	wait    time.Duration // before it is loaded
	landed  bool          // its stream was brought to the front,
	turned  bool          // and for that the tab was changed
	stale   bool          // the tables have to be made anew
	streams [2]*streamDoc // the tables of a stream, which go on
	sieve   sieve
	find    finder
	// What is under way for this capture ends when another one is looked at.
	cancels []context.CancelFunc
	loading bool
	laying  *layingOut
}

// A layingOut is the work on bodies that are not on the screen as a whole.
type layingOut struct {
	id      string
	version uint64
	word    string          // what is done
	of      [2]int64        // how many bytes of each side, 0 where that is not known
	done    [2]atomic.Int64 // how many so far
	slow    bool            // it takes so long that its progress shows
}

// The results of loading and of laying out.
type (
	loadedMsg struct {
		id    string
		x     inspector.Exchange
		sides [2]*body
		err   error
	}
	// A beganMsg is a capture with the first bytes of its bodies. The rest is to be
	// fetched.
	beganMsg struct {
		ctx   context.Context
		x     inspector.Exchange
		sides [2]*body
	}
	laidOutMsg struct {
		*layingOut
		sides [2]*body
	}
	// An openedMsg is a body made from another one, to lie over it.
	openedMsg struct{ under, b *body }
	// A slowMsg comes while bodies are laid out.
	slowMsg struct{ *layingOut }
)

// What the selection only passes over, as when a key is held down or the list
// follows a flood, is not loaded: after less than rested on what was chosen before
// a capture has to stay chosen for passing.
const (
	rested  = 100 * time.Millisecond
	passing = 50 * time.Millisecond
)

// shown is what there is to draw of the capture, nil for nothing yet.
func (d *detail) shown() *opened {
	if d.whole != nil {
		return d.whole
	}
	return d.first
}

// sync makes the detail show x.
func (d *detail) sync(m *model, x *capture) tea.Cmd {
	if x == nil {
		d.leave()
		d.id, d.whole, d.first = "", nil, nil
		return nil
	}
	var cmds []tea.Cmd
	now := m.c.Now()
	if d.id != x.ID {
		wait := passing
		switch {
		case m.rush && m.tab().list.follow:
			wait = 2 * hurriedly // the next one comes before that
		case now.Sub(m.chosen) >= rested:
			wait = 0
		}
		m.chosen = now
		d.leave()
		tab, raw, find := d.tab, d.raw, d.find
		if d.turned && tab == tabResponse {
			tab = tabRequest // where it was before the stream
		}
		*d = detail{id: x.ID, tab: tab, raw: raw, wait: wait, find: finder{query: find.query, search: find.search}}
		if d.whole = m.find(x.ID); d.whole != nil {
			m.keep(d.whole)
		}
		d.stale = true
	}
	if x.Kind == inspector.SSE && !d.landed {
		d.landed = true
		if d.turned = d.tab == tabRequest; d.turned {
			d.tab = tabResponse // what one opens a stream for
		}
	}
	fresh := d.whole != nil && (d.whole.x.Version >= x.Version || nothingNew(&d.whole.x, &x.Exchange))
	due := d.asked.id != x.ID || d.asked.version < x.Version && !d.loading && now.Sub(d.asked.at) > max(300*time.Millisecond, 8*d.asked.took)
	if !fresh && due {
		d.asked.id, d.asked.version, d.asked.at, d.loading = x.ID, x.Version, now, true
		cmds = append(cmds, m.load(d.begin(m), x.ID, d.wait))
	}
	if d.whole != nil && d.whole.part() && (d.laying == nil || d.laying.version != d.whole.x.Version) {
		cmds = append(cmds, m.layWhole(d.whole))
	}
	cmds = append(cmds, d.flow(m))
	if d.stale {
		d.stale = false
		d.fill(m, x)
	}
	d.fit(m, x)
	switch {
	case d.tab != tabDiff:
		d.diff.stop() // nobody waits for it any more
		d.diff.halted = pair{}
	case d.whole != nil:
		cmds = append(cmds, d.compare(m, x))
	}
	if d.tab == tabRaw && d.whole != nil {
		cmds = append(cmds, d.showRaw(m))
	}
	return tea.Batch(append(cmds, d.find.sync(m, d))...)
}

// nothingNew reports whether x, which is newer, has nothing that is not in the
// whole of it: a stream that goes on when no more of it is kept.
func nothingNew(whole, x *inspector.Exchange) bool {
	same := func(had, b *inspector.Body) bool {
		return had.Captured == b.Captured && had.Missing == b.Missing && (had.Tail == nil || had.Size == b.Size)
	}
	return x.State == inspector.Open && whole.State == x.State && whole.Kind == x.Kind && whole.Status == x.Status && goesOn(x) &&
		same(&whole.Request.Body, &x.Request.Body) && same(&whole.Response.Body, &x.Response.Body)
}

// flows reports whether x is read as a stream, piece by piece.
func flows(x *inspector.Exchange) bool {
	return x.Kind == inspector.SSE || x.Kind == inspector.WebSocket
}

// begin is the context of something done for the capture in front.
func (d *detail) begin(m *model) context.Context {
	ctx, cancel := context.WithCancel(m.ctx)
	d.cancels = append(d.cancels, cancel)
	return ctx
}

// leave ends all that is under way for the capture in front.
func (d *detail) leave() {
	for _, cancel := range d.cancels {
		cancel()
	}
	d.cancels, d.loading, d.laying = nil, false, nil
	d.find.stop()
	d.diff.stop()
}

// compare fills the Diff tab.
func (d *detail) compare(m *model, x *capture) tea.Cmd {
	other := m.counterpart(x)
	if other == nil {
		d.diff.stop()
		d.diff = diffPane{width: d.diff.width, height: d.diff.height, empty: "nothing to compare with: this is the first request on its route. Mark one with m and press d."}
		return nil
	}
	return d.diff.set(m, other.ID, x.ID)
}

// fill puts what is known of x into the pagers.
func (d *detail) fill(m *model, x *capture) {
	d.pages[tabHeaders].show(headerTable(m, &x.Exchange))
	d.pages[tabTiming].show(timingTable(m, &x.Exchange))
	o := d.shown()
	if o == nil {
		return
	}
	for side := range 2 {
		if b := o.sides[side]; b != nil && d.pages[side].c != b.view() {
			d.pages[side].show(b.view())
			d.pages[side].live = o.x.State == inspector.Open
		}
	}
}

// A rawKey says what the Raw tab is to show.
type rawKey struct {
	id      string
	version uint64
	side    int
	hex     bool
	reveal  bool
}

// A rawMsg is what the Raw tab shows, laid out.
type rawMsg struct {
	key    rawKey
	c      content
	masked bool
}

// showRaw lays the bytes of one side out, if that is not what shows already.
func (d *detail) showRaw(m *model) tea.Cmd {
	k := rawKey{d.id, d.whole.x.Version, d.raw, d.hex, m.reveal}
	if k == d.rawAsked {
		return nil
	}
	d.rawAsked = k
	x := d.whole.x
	return func() tea.Msg {
		msg := &x.Request
		if k.side == 1 {
			msg = &x.Response
		}
		top, masked := head(&x, k.side == 1), false
		if !k.reveal {
			hide, target := format.MaskHeader, format.MaskTarget
			if k.hex {
				hide, target = format.RedactHeader, format.RedactTarget
			}
			top, masked = maskHead(top, hide, target)
		}
		data := make([]byte, 0, len(top)+len(msg.Body.Data))
		data = append(append(data, top...), msg.Body.Data...)
		if k.hex {
			return rawMsg{k, &hexDoc{data: data}, masked}
		}
		lines := format.NewLines(data)
		lines.Index(m.ctx, 0)
		return rawMsg{k, &textDoc{lines}, masked}
	}
}

func (d *detail) raws(msg rawMsg) {
	if msg.key != d.rawAsked {
		return
	}
	p := &d.pages[tabRaw]
	if d.rawShown.side != msg.key.side || d.rawShown.hex != msg.key.hex {
		p.cur, p.top = spot{}, spot{}
	}
	d.rawShown, d.masked = msg.key, msg.masked
	p.show(msg.c)
}

// maskHead hides the values of secret headers and parameters in a head, and
// reports whether there were any. Every other byte stays.
func maskHead(head []byte, hide func(name, value string) string, target func(string) string) (out []byte, any bool) {
	first := true
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		switch {
		case first:
			if method, rest, ok := bytes.Cut(line, []byte(" ")); ok && bytes.IndexByte(rest, '?') >= 0 {
				address, proto, _ := bytes.Cut(rest, []byte(" "))
				shown := target(string(address))
				any = any || shown != string(address)
				out = append(append(append(out, method...), ' '), shown...)
				if len(proto) > 0 {
					out = append(append(out, ' '), proto...)
				}
			} else {
				out = append(out, line...)
			}
		case ok:
			v := string(bytes.TrimSpace(value))
			shown := hide(string(name), v)
			if shown == v {
				out = append(out, line...)
				break
			}
			any = true
			out = append(append(out, name...), ": "...)
			out = append(out, shown...)
			out = append(out, value[len(bytes.TrimRight(value, "\r\n")):]...)
		default:
			out = append(out, line...)
		}
		first = false
	}
	return out, any
}

// head is the message's head as it came, or, where there is none on the wire as
// in HTTP/2, written in the manner of HTTP/1.
func head(x *inspector.Exchange, response bool) []byte {
	msg := &x.Request
	if response {
		msg = &x.Response
	}
	if len(msg.Head) > 0 {
		return msg.Head
	}
	var b strings.Builder
	if response {
		if x.Status == 0 {
			return nil
		}
		b.WriteString(sprintf("%s %d %s\r\n", x.Proto, x.Status, x.Reason))
	} else {
		b.WriteString(sprintf("%s %s %s\r\n", x.Method, x.Path, x.Proto))
	}
	for _, f := range msg.Header {
		b.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

func (d *detail) pager() *pager { return &d.pages[d.tab] }

// move, home and end go through the tab in front.
func (d *detail) move(n int) {
	if d.tab == tabDiff {
		d.diff.move(n)
	} else {
		d.pager().move(n)
	}
}

func (d *detail) home() {
	if d.tab == tabDiff {
		d.diff.move(-1 << 20)
	} else {
		d.pager().home()
	}
}

func (d *detail) end() {
	if d.tab == tabDiff {
		d.diff.move(1 << 20)
	} else {
		d.pager().end()
	}
}

func (d *detail) rows() int {
	if d.tab == tabDiff {
		return d.diff.height
	}
	return d.pages[d.tab].height
}

func (d *detail) turn(n int) {
	d.turned = false
	d.tab = (d.tab + n + tabCount) % tabCount
}

func (d *detail) otherSide() {
	d.turned = false
	switch d.tab {
	case tabRequest:
		d.tab = tabResponse
	case tabResponse:
		d.tab = tabRequest
	case tabRaw:
		d.raw = 1 - d.raw
	case tabDiff:
		d.diff.otherSide()
	}
}

func (d *detail) toggleHex() {
	if d.whole == nil {
		return
	}
	switch d.tab {
	case tabRequest, tabResponse:
		b := d.whole.sides[d.tab].front()
		if b.hex == nil {
			return
		}
		b.asHex = !b.asHex
		d.pages[d.tab].cur, d.pages[d.tab].top = spot{}, spot{}
		d.pages[d.tab].show(b.view())
	case tabRaw:
		d.hex = !d.hex
	}
}

// load fetches a capture and lays its bodies out, large ones in two steps: what
// their first bytes show does not wait for the rest. The wait lets go by what the
// selection only passes over.
func (m *model) load(ctx context.Context, id string, wait time.Duration) tea.Cmd {
	var had *inspector.Exchange
	if o := m.find(id); o != nil {
		x := o.x // what is found may be brought up to date meanwhile
		had = &x
	}
	return func() tea.Msg {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		if had != nil && had.State == inspector.Open && flows(had) {
			x := *had
			err := m.c.API.Follow(ctx, &x)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return loadedMsg{id: id, err: err}
			}
			return loadedMsg{id: id, x: x, sides: [2]*body{layOut(ctx, &x, false, true), layOut(ctx, &x, true, true)}}
		}
		x, err := m.c.API.Beginning(ctx, id)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return loadedMsg{id: id, err: err}
		}
		if had != nil { // what was captured since is enough
			extend(&x.Request.Body, &had.Request.Body)
			extend(&x.Response.Body, &had.Response.Body)
		}
		sides := [2]*body{layOut(ctx, &x, false, true), layOut(ctx, &x, true, true)}
		if begins(&x.Request.Body) || begins(&x.Response.Body) {
			return beganMsg{ctx, x, sides}
		}
		return loadedMsg{id: id, x: x, sides: sides}
	}
}

// begins reports whether there is more of b than its first bytes.
func begins(b *inspector.Body) bool {
	return int64(len(b.Data)) < b.Captured || b.Tail != nil && int64(len(b.Tail.Data)) < b.Tail.Size
}

// extend gives b the bytes of an earlier state of it, where those are more.
func extend(b, had *inspector.Body) {
	if n := len(had.Data); n > len(b.Data) && int64(n) <= b.Captured {
		b.Data = had.Data
	}
}

// arrive shows what there is and fetches the rest.
func (msg beganMsg) arrive(m *model) tea.Cmd {
	d := &m.detail
	if msg.ctx.Err() != nil {
		return nil
	}
	ctx, x := msg.ctx, msg.x
	l := &layingOut{id: x.ID, version: x.Version, word: "loading", of: [2]int64{x.Request.Body.Captured, x.Response.Body.Captured}}
	// The first bytes of a stream are no view of it, and what stands there whole
	// goes on standing.
	if d.whole == nil && !goesOn(&x) {
		d.first, d.stale, d.laying = &opened{x: x, sides: msg.sides}, true, l
	}
	return tea.Batch(func() tea.Msg {
		err := m.c.API.Complete(ctx, &x, func(response bool, n int) { l.done[b2i(response)].Store(int64(n)) })
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return loadedMsg{id: x.ID, err: err}
		}
		return loadedMsg{id: x.ID, x: x, sides: [2]*body{
			layOut(ctx, &x, false, true), layOut(ctx, &x, true, true),
		}}
	}, l.wait())
}

func (m *model) loaded(msg loadedMsg) tea.Cmd {
	d := &m.detail
	if msg.id == d.id {
		d.loading = false
		d.asked.took = m.c.Now().Sub(d.asked.at)
	}
	if msg.err != nil {
		if msg.id == d.id {
			if d.whole == nil {
				d.laying = nil
			}
			d.err = m.because(msg.id, msg.err)
		}
		return nil
	}
	o := m.find(msg.id)
	if o == nil {
		o = &opened{}
	}
	if o.x.ID != "" && o.x.Version > msg.x.Version {
		return nil
	}
	for side := range 2 {
		if old := o.sides[side]; old != nil {
			msg.sides[side].takeOver(old)
		}
	}
	o.x, o.sides, o.firsts = msg.x, msg.sides, [2]*body{}
	m.keep(o)
	if msg.id != d.id {
		return nil
	}
	d.err = ""
	d.whole, d.first, d.laying, d.stale = o, nil, nil, true
	return nil
}

// takeOver makes b stand in the place of old, with what was done to that.
func (b *body) takeOver(old *body) {
	b.asHex, b.over, b.cur, b.top = old.asHex, old.over, old.cur, old.top
	if j, ok := b.pretty.(*jsonDoc); ok {
		if was, ok := old.pretty.(*jsonDoc); ok {
			j.folds.Adopt(was.folds)
		}
	}
}

// layWhole lays out what is not on the screen as a whole.
func (m *model) layWhole(o *opened) tea.Cmd {
	d := &m.detail
	l := &layingOut{id: o.x.ID, version: o.x.Version, word: "formatting"}
	for side, msg := range []*inspector.Message{&o.x.Request, &o.x.Response} {
		if msg.Get("Content-Encoding") == "" { // how much comes out of it is not known before
			l.of[side] = int64(len(msg.Body.Data))
		}
	}
	d.laying = l
	ctx, x, most := d.begin(m), o.x, o.most
	lay := func(side int) *body {
		return laying{most: most, done: func(n int) { l.done[side].Store(int64(n)) }}.body(ctx, &x, side == 1)
	}
	return tea.Batch(func() tea.Msg {
		msg := laidOutMsg{l, [2]*body{lay(0), lay(1)}}
		if ctx.Err() != nil {
			return nil
		}
		return msg
	}, l.wait())
}

// wait looks in a moment whether the work is still going on.
func (l *layingOut) wait() tea.Cmd {
	return tea.Tick(100*time.Millisecond, func(time.Time) tea.Msg { return slowMsg{l} })
}

func (msg slowMsg) arrive(m *model) tea.Cmd {
	if m.detail.laying != msg.layingOut {
		return nil
	}
	msg.slow = true
	return msg.wait()
}

func (m *model) laidOut(msg laidOutMsg) tea.Cmd {
	if m.detail.laying == msg.layingOut {
		m.detail.laying = nil
	}
	o := m.find(msg.id)
	if o == nil || o.x.Version != msg.version {
		return nil
	}
	for side := range 2 {
		msg.sides[side].takeOver(o.sides[side])
		if o.sides[side].part {
			o.firsts[side] = o.sides[side]
		}
	}
	o.sides = msg.sides
	if m.detail.id == msg.id {
		m.detail.stale = true
	}
	return nil
}

// decodeMore decodes as much as there may ever be of the body in front.
func (m *model) decodeMore() tea.Cmd {
	d := &m.detail
	b := d.body()
	if b == nil || !b.more {
		m.say(warn, "this body is decoded as far as it goes")
		return nil
	}
	b.more = false
	d.whole.most = format.MaxLimit
	return m.layWhole(d.whole)
}

// side is the one whose body is in front, -1 on the other tabs.
func (d *detail) side() int {
	if d.tab <= tabResponse {
		return d.tab
	}
	return -1
}

// body is the one in front, nil on the other tabs.
func (d *detail) body() *body {
	if d.whole == nil || d.side() < 0 {
		return nil
	}
	return d.whole.sides[d.side()]
}

// enter opens what is at the cursor: a part of the body, or a fold.
func (m *model) enter() tea.Cmd {
	d := &m.detail
	if d.tab == tabDiff {
		return m.startDiff() // which has room for both values in full
	}
	p := d.pager()
	if o, ok := p.c.(opener); ok && d.body() != nil {
		name, contentType, data, ok := o.open(p.cur.line)
		if !ok {
			return nil
		}
		about := ""
		if t, ok := o.(*streamDoc); ok {
			about = t.about(p.cur.line)
		}
		under, ctx := d.body().front(), d.begin(m)
		return func() tea.Msg {
			b := &body{name: name, about: about, data: data, size: format.Bytes(int64(len(data)))}
			whole := inspector.Body{Size: int64(len(data)), Captured: int64(len(data)), Data: data}
			laying{}.fill(ctx, b, contentType, whole, false)
			if ctx.Err() != nil {
				return nil
			}
			b.label = name + "  " + b.label
			return openedMsg{under, b}
		}
	}
	p.fold()
	return nil
}

func (msg openedMsg) arrive(m *model) tea.Cmd {
	d := &m.detail
	if d.whole == nil {
		return nil
	}
	for side, b := range d.whole.sides {
		if b.front() == msg.under || msg.b.query != "" && b.asked() == msg.under {
			p := &d.pages[side]
			if msg.under.over == nil {
				msg.under.cur, msg.under.top = p.cur, p.top
			}
			msg.under.over = msg.b
			p.cur, p.top = spot{}, spot{}
			p.show(b.view())
			m.note = note{}
		}
	}
	return nil
}

// retreat goes one step back within the detail: it stops a comparison that takes
// its time, ends the search, or shows what lies under the body in front. Not ok
// means that there was none of these.
func (d *detail) retreat(m *model) (ok bool) {
	if d.tab == tabDiff && d.diff.busy != nil && d.diff.busy.long(m) {
		d.diff.halt(m)
		return true
	}
	if d.find.search != nil {
		d.find.set("")
		return true
	}
	b := d.body()
	if b == nil || b.over == nil {
		return false
	}
	for b.over.over != nil {
		b = b.over
	}
	b.over = nil
	p := d.pager()
	p.show(b.view())
	p.cur, p.top = b.cur, b.top
	p.settle()
	return true
}

// find looks a capture up among those last opened.
func (m *model) find(id string) *opened {
	for _, o := range m.opened {
		if o.x.ID == id {
			return o
		}
	}
	return nil
}

// keep makes o the one opened last.
func (m *model) keep(o *opened) {
	list, size := []*opened{o}, o.size()
	for _, p := range m.opened {
		if p.x.ID == o.x.ID {
			continue
		}
		if size += p.size(); len(list) == keepOpened || size > keepBytes {
			break
		}
		p.rest()
		list = append(list, p)
	}
	m.opened = list
}

// message is an error in words for the status line.
func message(err error) string {
	if err == nil {
		return ""
	}
	var e *tunnel.Error
	if errors.As(err, &e) {
		if e.Hint != "" {
			return e.Message + " (" + e.Hint + ")"
		}
		return e.Message
	}
	return err.Error()
}

// isGone reports whether the edge has let go of what was asked for.
func isGone(err error) bool {
	var e *tunnel.Error
	return errors.As(err, &e) && e.Code == tunnel.CodeNotFound
}

// because is what went wrong with the capture of that id. A row may be older than
// what the edge keeps.
func (m *model) because(id string, err error) string {
	if isGone(err) {
		for _, t := range m.tabs {
			if x := t.byID[id]; x != nil && t.restarted(x, m.ring()) {
				return sprintf("the edge no longer has %s: it was started anew since, or its memory is short", number(&x.Exchange))
			} else if x != nil {
				return sprintf("the edge has let go of %s: it keeps the last %s, fewer when memory is short", number(&x.Exchange), format.Count(int64(m.ring())))
			}
		}
	}
	return message(err)
}

// ring is how many exchanges of a tunnel the edge keeps.
func (m *model) ring() int {
	if n := m.link().status.Welcome.Limits.Ring; n > 0 {
		return n
	}
	return 100
}

// fit gives the pagers their room.
func (d *detail) fit(m *model, x *capture) {
	r := m.lay.detail
	h := max(r.h-d.headRows(m), 1)
	for i := range d.pages {
		rows := h
		if i <= tabResponse {
			rows = max(h-len(d.bodyHead(m, x, i)), 1)
		}
		if i == tabRaw {
			rows = max(h-1, 1)
		}
		d.pages[i].resize(r.w-2, rows)
	}
	d.diff.resize(r.w-2, h)
}

// headRows is the title, the tabs and the rule below.
func (d *detail) headRows(m *model) int {
	if m.lay.rules {
		return 3
	}
	return 2
}

// detailRule is the row of the detail with the rule below its title, -1 for none.
func (m *model) detailRule() int {
	x := m.selected()
	switch {
	case x == nil || !m.lay.rules:
		return -1
	case isRaw(&x.Exchange):
		return 1
	}
	return m.detail.headRows(m) - 1
}

func (m *model) drawDetail(out []string) []string {
	d := &m.detail
	r := m.lay.detail
	x := m.selected()
	if x == nil {
		for range r.h {
			out = append(out, "")
		}
		return out
	}
	if isRaw(&x.Exchange) {
		return m.drawConnDetail(out, x)
	}
	out = append(out, m.detailTitle(x, r.w), m.detailTabs(r))
	if m.lay.rules {
		l := m.th.line(r.w)
		l.fill(border, m.th.g.rule, r.w)
		out = append(out, l.String())
	}
	focused := m.focus == inDetail
	inner := r.h - d.headRows(m)
	var rows []string
	from, to := 0, 0 // the rows with the cursor
	switch {
	case d.tab == tabDiff:
		rows = d.diff.draw(m, nil, focused)
	default:
		if d.tab <= tabResponse {
			rows = d.bodyHead(m, x, d.tab)
		}
		if d.tab == tabRaw {
			rows = append(rows, m.rawHead(r.w-2))
		}
		if len(rows) > max(inner-1, 0) {
			rows = rows[:max(inner-1, 0)]
		}
		head := len(rows)
		rows = append(rows, m.drawPage(d, x, focused)...)
		if p := d.pager(); p.c != nil && focused {
			from, to = head+p.on[0], head+p.on[1]
		}
	}
	for len(rows) < inner {
		rows = append(rows, "")
	}
	bar := m.th.line(1)
	bar.put(accent, m.th.g.bar)
	cursor := bar.String()
	for i, s := range rows[:inner] {
		switch {
		case i >= from && i < to:
			out = append(out, cursor+s)
		case s == "":
			out = append(out, s)
		default:
			out = append(out, " "+s)
		}
	}
	return out
}

// drawPage draws the pager of the tab in front, or why there is none.
func (m *model) drawPage(d *detail, x *capture, focused bool) []string {
	p := d.pager()
	say := func(r role, s string) []string {
		var rows []string
		for _, s := range wrapWords(s, p.width) {
			l := m.th.line(p.width)
			l.put(r, s)
			rows = append(rows, l.String())
		}
		return rows
	}
	if p.c == nil {
		switch {
		case d.err != "":
			return say(bad, d.err)
		case m.c.Now().Sub(d.asked.at) > 100*time.Millisecond:
			return say(dim, "loading"+m.th.g.ellipsis)
		}
		return nil
	}
	return p.draw(m.th, nil, focused)
}

func (m *model) detailTitle(x *capture, width int) string {
	now := m.c.Now()
	l := m.th.line(width)
	l.put(dim, " "+number(&x.Exchange)+" ")
	l.put(strong, x.Method+" ")
	right, r := outcome(&x.Exchange, &m.th.g), status(x.Status)
	if call, ok := x.GRPC(); ok && call.Code != 0 {
		r = bad
	} else if x.Reason != "" && width > 70 {
		right += " " + x.Reason
	}
	took, size := took(&x.Exchange, now), ""
	if width >= 70 {
		size = "  " + sizeOf(&x.Exchange, &m.th.g)
	}
	n := m.th.width(right) + len(took) + m.th.width(size) + 5
	fit := m.th.shortPath
	if x.IsGRPC() {
		fit = m.th.shortCall
	}
	l.put(strong, fit(m.target(x.Path), max(l.room()-n-1, 1)))
	l.to(width - n)
	l.put(text, "  ")
	l.put(r, right)
	l.put(text, "  "+took)
	l.put(dim, size)
	return l.String()
}

func (m *model) detailTabs(r rect) string {
	l := m.th.line(r.w)
	names := tabNames
	count := m.detail.find.count(m.detail.tab)
	if r.w < 50 || count != "" && r.w < 52+len(count) {
		names = tabShort
	}
	l.gap(1)
	for i, name := range names {
		x := r.x + l.w
		if i == m.detail.tab {
			b := badge
			if m.focus != inDetail {
				b = strong
			}
			l.put(b, " "+name+" ")
		} else {
			l.put(dim, " "+name+" ")
		}
		m.hits = append(m.hits, hit{rect{x, r.y + 1, len(name) + 2, 1}, func(m *model) tea.Cmd {
			m.detail.tab, m.detail.turned = i, false
			return m.open()
		}})
	}
	if count != "" {
		if l.room() < len("/ ")+len(count) {
			count = strings.Replace(count, " of ", "/", 1)
		}
		if n := len(count) + 3; l.room() > n {
			l.to(r.w - n)
		}
		l.put(hotkey, "/ ")
		l.put(text, count)
	}
	return l.String()
}

func (m *model) rawHead(width int) string {
	l := m.th.line(width)
	name, other := "request", "response"
	if m.detail.raw == 1 {
		name, other = other, name
	}
	l.put(strong, name)
	said := ""
	if w := m.detail.whole; w != nil {
		msg := &w.x.Request
		if m.detail.raw == 1 {
			msg = &w.x.Response
		}
		switch {
		case len(msg.Head) == 0:
			said = w.x.Proto + ", written out"
		case msg.Get("Transfer-Encoding") != "":
			said = "as it came, chunks joined" // how it was cut is not kept
		default:
			said = "as it came"
		}
	}
	// The keys stay; what is said before them gives way.
	keys, says := "  s "+other+"  x hex", []string{said, ""}
	if m.detail.masked {
		keys += "  S show"
		says = []string{said + ", secrets hidden", "secrets hidden", ""}
	}
	for _, s := range says {
		if s != "" && 2+m.th.width(s)+m.th.width(keys) <= l.room() {
			l.put(dim, "  "+s)
			break
		}
	}
	if m.detail.masked {
		l.put(hotkey, "  S")
		l.put(dim, " show")
	}
	l.put(hotkey, "  s")
	l.put(dim, " "+other)
	l.put(hotkey, "  x")
	l.put(dim, " hex")
	return l.String()
}

// telling are the headers that a glance should not miss, in this order; the
// rest is a tab away.
var telling = []string{"content-type", "content-encoding", "location", "event", "signature", "authorization", "cookie", "topic", "delivery", "user-agent", "retry-after", "accept", "cache-control"}

// bodyHead draws what stands above a body: where it came from, the headers that
// tell most, what the body is.
func (d *detail) bodyHead(m *model, x *capture, side int) []string {
	w := m.lay.detail.w - 2
	roomy := m.lay.detail.h >= 16
	msg := &x.Request
	var out []string
	add := func(f func(*line)) {
		l := m.th.line(w)
		f(&l)
		out = append(out, l.String())
	}
	if side == 0 {
		if roomy {
			add(func(l *line) {
				l.put(dim, "from ")
				l.put(text, remote(x.Remote))
				l.put(dim, "  "+x.Proto)
				if x.TLS != "" {
					l.put(dim, "  "+x.TLS)
				}
				l.put(dim, "  "+x.Host)
			})
		}
		if x.ReplayOf != "" && roomy {
			add(func(l *line) {
				l.put(accent, m.th.g.replay+" replay")
				if o := m.tab().byID[x.ReplayOf]; o != nil {
					l.put(text, " of "+number(&o.Exchange))
					l.put(dim, "  answered "+statusText(&o.Exchange, &m.th.g)+"  ")
					l.put(hotkey, "d")
					l.put(dim, " compares")
				} else {
					l.put(dim, " of a request that is gone from the list")
				}
			})
		}
		out = append(out, m.verdictRows(x, w)...)
	} else {
		msg = &x.Response
		if x.Error != "" && x.Failed() {
			add(func(l *line) {
				l.put(bad, m.th.g.fail+" "+words(x.Error))
				if x.Detail != "" {
					l.put(text, "  "+x.Detail)
				}
			})
		}
		if x.Failed() && x.EndedBy != "" && !strings.HasPrefix(x.Error, x.EndedBy) {
			add(func(l *line) { l.put(warn, "cut short by the "+x.EndedBy) })
		}
		if call, ok := x.GRPC(); ok && call.Code != 0 {
			out = append(out, m.callRows(call, w, roomy)...)
		}
		if x.State == unwatched {
			add(func(l *line) { l.put(warn, "its end was not seen: the edge let go of it first") })
		}
		if x.Status == 0 && x.State == inspector.Open {
			add(func(l *line) {
				l.put(dim, "no answer yet, "+format.Duration(x.Duration(m.c.Now()))+" so far")
			})
			return out
		}
	}
	limit := 0
	switch h := m.lay.detail.h; {
	case h >= 28:
		limit = 6
	case h >= 22:
		limit = 4
	case h >= 17:
		limit = 2
	case h >= 12:
		limit = 1
	}
	shown := pickHeaders(msg.Header, limit)
	name := 0
	for _, f := range shown {
		name = max(name, len(f.Name))
	}
	name = min(name, 26)
	for _, f := range shown {
		add(func(l *line) {
			l.cell(dim, f.Name, name)
			l.gap(2)
			l.put(text, m.value(f))
		})
	}
	if roomy {
		add(func(l *line) {
			if more := len(msg.Header) - len(shown); more > 0 {
				l.fill(border, m.th.g.rule, 2)
				l.put(dim, sprintf(" %d more in Headers ", more))
			}
			l.fill(border, m.th.g.rule, w)
		})
	}
	var b *body
	if o := d.shown(); o != nil {
		b = o.sides[side].front()
	}
	if doc, ok := d.pages[side].c.(*streamDoc); ok {
		most := 1
		if roomy {
			most = 3
		}
		out = append(out, m.streamHead(doc, x, side, w, most)...)
		return append(out, m.noteRows(b, w)...)
	}
	add(func(l *line) {
		if b == nil || b.name == "" { // not a part of it, or what jq found in it
			l.put(strong, "body ")
		}
		if b == nil {
			l.put(dim, format.Bytes(msg.Body.Size))
			return
		}
		l.put(accent, b.label)
		if msg.Body.Size > 0 || b.name != "" {
			l.put(text, "  "+b.size)
		}
		if w := d.laying; b.part && w != nil && w.slow {
			done := format.Bytes(w.done[side].Load())
			if w.of[side] > 0 {
				done = megabytes(w.done[side].Load()) + " of " + format.Bytes(w.of[side])
			}
			l.put(warn, "  "+w.word+m.th.g.ellipsis+" "+done)
		}
		p := &d.pages[side]
		end := l.max
		if b.name != "" {
			l.max -= min(len("   esc goes back"), max(l.room(), 0))
		}
		// Half of where one is says nothing: it comes as a whole or not at all.
		whole := func(r role, s string) {
			if m.th.width(s) <= l.room() {
				l.put(r, s)
			}
		}
		if b.asHex {
			whole(dim, "  hex")
		} else if p.c != nil && p.c.count() > p.height {
			whole(dim, sprintf("  line %s of %s", format.Count(int64(p.cur.line+1)), format.Count(int64(p.c.count()))))
			if p.live && p.cur.line == p.c.count()-1 && b.name == "" {
				whole(good, "  "+m.th.g.live+" following")
			}
		}
		if j, ok := p.c.(*jsonDoc); ok && m.focus == inDetail && j.count() > 0 {
			if at := j.doc.Path(j.folds.Line(p.cur.line)); at != "." && l.room() >= len("  at ")+min(m.th.width(at), 12) {
				l.put(dim, "  at ")
				l.put(accent, at)
			}
		}
		if l.max = end; b.name != "" && l.room() >= len("   esc goes back") {
			l.put(hotkey, "   esc")
			l.put(dim, " goes back")
		}
		if s := "  no schema: types are guessed"; b.guessed && !b.asHex && l.room() >= len(s) {
			l.put(dim, s)
		}
	})
	if b != nil && b.about != "" && m.lay.detail.h >= 12 {
		add(func(l *line) { l.put(dim, b.about) })
	}
	out = append(out, m.noteRows(b, w)...)
	if b != nil && d.whole == nil && d.err != "" && b.part {
		add(func(l *line) { l.put(warn, m.th.g.warn+" only its beginning: "+d.err) })
	}
	return out
}

// noteRows are what has to be said of a body.
func (m *model) noteRows(b *body, width int) (out []string) {
	if b == nil {
		return nil
	}
	for _, n := range b.notes {
		parts := []string{n}
		if m.lay.detail.h >= 16 {
			parts = wrapWords(n, max(width-2, 8))
		}
		for i, part := range parts {
			l := m.th.line(width)
			if i == 0 {
				l.put(warn, m.th.g.warn)
			}
			l.to(2)
			l.put(warn, part)
			out = append(out, l.String())
		}
	}
	return out
}

// megabytes is a number of bytes in the unit of a larger one beside it.
func megabytes(n int64) string { return sprintf("%.1f", float64(n)/(1<<20)) }

// pickHeaders chooses at most n headers to show beside the body.
func pickHeaders(fields []inspector.Field, n int) []inspector.Field {
	var out []inspector.Field
	for _, want := range telling {
		for _, f := range fields {
			if len(out) >= n {
				return out
			}
			if strings.Contains(strings.ToLower(f.Name), want) && !contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

func contains(list []inspector.Field, f inspector.Field) bool {
	for _, g := range list {
		if g == f {
			return true
		}
	}
	return false
}

// value is a header line's value as it is shown: secrets are, when asked for.
func (m *model) value(f inspector.Field) string {
	if m.reveal {
		return f.Value
	}
	return format.MaskHeader(f.Name, f.Value)
}

// target is a request's target as it is shown.
func (m *model) target(path string) string {
	if m.reveal || !strings.Contains(path, "=") {
		return path
	}
	return format.MaskTarget(path)
}

func remote(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return s
}

// words makes a sentence's beginning of an error code.
func words(code string) string { return strings.ReplaceAll(code, "_", " ") }

// headerTable is the Headers tab: both sides, in their order, repeats included.
func headerTable(m *model, x *inspector.Exchange) content {
	t := &table{}
	side := func(title string, msg *inspector.Message) {
		if len(t.rows) > 0 {
			t.add(text, "")
		}
		lines := "  " + plural(len(msg.Header), "line")
		if m.w < 60 {
			lines = ""
		}
		t.add(strong, title, dim, lines)
		fields(m, t, msg.Header)
		if len(msg.Trailer) > 0 {
			t.add(dim, "trailers")
			fields(m, t, msg.Trailer)
		}
	}
	side(x.Method+" "+m.target(x.Path)+" "+x.Proto, &x.Request)
	if x.Status != 0 {
		for _, code := range x.Interim {
			t.add(text, "")
			t.add(info, sprintf("%d", code), dim, "  sent before the answer")
		}
		side(strings.TrimSpace(sprintf("%d %s", x.Status, x.Reason)), &x.Response)
	}
	return t
}

func fields(m *model, t *table, list []inspector.Field) {
	w := 0
	for _, f := range list {
		w = max(w, min(len(f.Name), 30))
	}
	for _, f := range list {
		t.add(jsonKey, pad(f.Name, w), text, "  ", text, m.value(f))
		t.rows[len(t.rows)-1].hang = w + 2
	}
}

// timing is the Timing tab: each step as a bar, all on one scale.
type timing struct {
	table
	x     *inspector.Exchange
	now   time.Time
	block string
}

func timingTable(m *model, x *inspector.Exchange) content {
	t := &timing{x: x, now: m.c.Now(), block: m.th.g.full}
	t.fit(60)
	return t
}

// fit makes the bars as long as there is room for.
func (t *timing) fit(width int) {
	t.rows = nil
	tm := t.x.Timing
	total := t.x.Duration(t.now)
	if t.x.State == unwatched {
		total = max(t.x.Timing.FirstByte, t.x.Timing.StreamOpen+t.x.Timing.Dial) // as far as it is known
	}
	const names, figures, notes = 15, 8, 22
	bars := min(width-names-figures, 60)
	noted := bars-notes >= 12
	if noted {
		bars -= notes
	}
	bars = max(bars, 4)
	scale := max(total, 1)
	step := func(name string, from, to time.Duration, note string, r role) {
		to = max(to, from)
		a := int(int64(bars) * int64(from) / int64(scale))
		b := int(int64(bars) * int64(to) / int64(scale))
		a = min(a, bars-1)
		b = min(max(b, a+1), bars)
		if !noted {
			note = ""
		}
		if note != "" {
			note = "  " + note
		}
		t.add(dim, pad(name, names), dim, strings.Repeat(" ", a), r, strings.Repeat(t.block, b-a),
			dim, strings.Repeat(" ", bars-b), text, sprintf("%*s", figures, format.Duration(to-from)), dim, note)
	}
	t.add(dim, pad("accepted", names), text, tm.Accepted.In(t.now.Location()).Format("2006-01-02 15:04:05.000"))
	t.add(text, "")
	note := "new stream"
	if tm.Reused {
		note = "kept stream"
	}
	if tm.StreamOpen > 0 {
		step("edge", 0, tm.StreamOpen, note, accent)
	}
	if tm.Dial > 0 {
		step("dial service", tm.StreamOpen, tm.StreamOpen+tm.Dial, "", warn)
	}
	if tm.FirstByte > 0 {
		step("waiting", tm.StreamOpen+tm.Dial, tm.FirstByte, "for the head", good)
	}
	if tm.FirstByte > 0 && t.x.State != unwatched {
		step("body", tm.FirstByte, total, format.Bytes(t.x.Response.Body.Size), info)
	}
	what := "total"
	if t.x.State == inspector.Open {
		what = "so far"
	}
	t.add(text, "")
	if t.x.State == unwatched {
		t.add(warn, "its end was not seen: the edge let go of it first")
		return
	}
	t.add(strong, pad(what, names), strong, strings.Repeat(" ", bars)+sprintf("%*s", figures, format.Duration(total)))
	switch {
	case t.x.Failed() && t.x.EndedBy != "":
		t.add(warn, "cut short by the "+t.x.EndedBy)
	case t.x.EndedBy != "":
		t.add(dim, "ended by the "+t.x.EndedBy)
	}
}
