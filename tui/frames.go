package tui

import (
	"bytes"
	be "encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// A stream is what passed on a WebSocket or an event stream, one item for each
// frame or event, of both sides in the order in which they came. It is made away
// from the screen's loop and does not change.
type stream struct {
	kind     inspector.Kind
	items    []item
	plain    []int32  // without control frames and comments
	sides    [2]int64 // how many items each side sent
	timed    bool     // it is known when
	accepted time.Time
	live     bool
	notes    []string
	closing  string // why it was closed, in words
	resumed  string // the client's Last-Event-ID
	lastID   string
}

// An item is a frame or an event.
type item struct {
	up      bool          // the client sent it
	at      time.Duration // after the exchange was accepted, below 0 where that is not known
	word    string        // the opcode, or the name of the event
	id      string
	size    int64
	data    []byte // of the whole message where it begins one
	binary  bool
	control bool
	note    string // instead of the data
}

// most of what is decompressed of one stream.
const inflateLimit = 8 << 20

// newStream reads x, nil if that is no stream.
func newStream(x *inspector.Exchange) *stream {
	s := &stream{kind: x.Kind, accepted: x.Timing.Accepted, live: x.State == inspector.Open}
	switch {
	case x.Kind == inspector.WebSocket && x.Status == 101:
		s.frames(x)
	case x.Kind == inspector.SSE && x.Status != 0:
		s.events(x)
	default:
		return nil
	}
	for i := range s.items {
		s.sides[b2i(!s.items[i].up)]++
		s.timed = s.timed || s.items[i].at >= 0
		if !s.items[i].control {
			s.plain = append(s.plain, int32(i))
		}
	}
	return s
}

// A timeline finds when one side said what is at an offset.
type timeline struct {
	marks    []inspector.Mark
	response bool
	at       int // index of the mark that holds, -1 before the first
}

// find returns the mark that holds at the offset, which grows from call to call,
// and the time of it.
func (t *timeline) find(offset int64) (order int, at time.Duration) {
	for i := t.at + 1; i < len(t.marks) && (t.marks[i].Response != t.response || t.marks[i].Offset <= offset); i++ {
		if t.marks[i].Response == t.response {
			t.at = i
		}
	}
	if t.at < 0 {
		return -1, -1
	}
	return t.at, t.marks[t.at].At
}

// maxMarks is how many marks an edge keeps of an exchange. After the last one it
// is not known when, and in which order, both sides spoke.
const maxMarks = 4096

// frames puts the frames of both sides in order.
func (s *stream) frames(x *inspector.Exchange) {
	type placed struct {
		item
		order int
	}
	var all []placed
	extensions := x.Response.Get("Sec-WebSocket-Extensions")
	lost := len(x.Marks) >= maxMarks
	for side, m := range []*inspector.Message{&x.Request, &x.Response} {
		frames, rest := format.Frames(m.Body.Data)
		times := timeline{x.Marks, side == 1, -1}
		inflate := format.NewInflater(extensions, side == 1, inflateLimit/2)
		whole := messages(frames, inflate)
		for i, f := range frames {
			order, at := times.find(f.Offset)
			if lost && order >= maxMarks-2 && f.Offset > x.Marks[order].Offset {
				order, at = maxMarks, -1
			}
			it := item{up: side == 0, at: at, word: opcode(f.Opcode), size: int64(min(f.Size, 1<<62)), data: f.Data, binary: f.Opcode == format.FrameBinary, control: f.Opcode == format.FramePing || f.Opcode == format.FramePong}
			switch w := whole[i]; {
			case f.Opcode == format.FrameClose:
				it.note = closing(f.Data)
				s.closing = it.note
			case w.note != "":
				it.note = w.note
			case w.data != nil:
				it.data, it.binary = w.data, w.binary
			}
			all = append(all, placed{it, order})
		}
		if rest > 0 {
			who := "the client"
			if side == 1 {
				who = "the service"
			}
			s.notes = append(s.notes, fmt.Sprintf("%s of %s are not shown: not the whole of a frame, or more than %s frames", format.Bytes(int64(rest)), who, format.Count(format.MaxFrames)))
		}
	}
	if lost {
		s.notes = append(s.notes, fmt.Sprintf("after %s turns times and order are not known", format.Count(maxMarks)))
	}
	slices.SortStableFunc(all, func(a, b placed) int { return a.order - b.order })
	for _, p := range all {
		s.items = append(s.items, p.item)
	}
}

// A whole is what a frame stands for: all of its message where it begins one.
type whole struct {
	data   []byte
	binary bool
	note   string
}

// messages joins and decompresses the messages that the frames of one side make.
func messages(frames []format.Frame, inflate *format.Inflater) []whole {
	out := make([]whole, len(frames))
	first := -1 // the frame that began the message at hand
	var data []byte
	for i, f := range frames {
		switch {
		case f.Opcode >= format.FrameClose: // between the frames of any message
			continue
		case f.Opcode != format.FrameMore:
			first, data = i, f.Data
		case first < 0:
			continue
		default:
			data = append(data[:len(data):len(data)], f.Data...)
			out[i].note = "more of the message before"
		}
		cut := uint64(len(f.Data)) < f.Size
		w := &out[first]
		w.binary = frames[first].Opcode == format.FrameBinary
		switch packed := frames[first].Packed && inflate != nil; {
		case packed && cut:
			w.note = "compressed, and cut by the capture"
		case packed && !f.Final:
			w.note = "compressed"
			continue
		case packed:
			got, err := inflate.Message(data)
			if w.note = ""; err != nil {
				w.note = "compressed: " + err.Error()
			}
			w.data = got
			if got == nil && err == nil {
				w.data = []byte{}
			}
		case frames[first].Packed:
			w.note = "compressed in a way that was not agreed on"
		default:
			w.data = data
		}
		if f.Final {
			first, data = -1, nil
		}
	}
	return out
}

func opcode(n byte) string {
	switch n {
	case format.FrameMore:
		return "more"
	case format.FrameText:
		return "text"
	case format.FrameBinary:
		return "binary"
	case format.FrameClose:
		return "close"
	case format.FramePing:
		return "ping"
	case format.FramePong:
		return "pong"
	}
	return fmt.Sprintf("op %d", n)
}

// closeReasons puts the codes of a close frame in words.
var closeReasons = map[uint16]string{
	1000: "normal", 1001: "going away", 1002: "protocol error", 1003: "unsupported data",
	1007: "invalid text", 1008: "policy violation", 1009: "message too big",
	1010: "extension missing", 1011: "internal error", 1012: "restarting", 1013: "try again later", 1014: "bad gateway",
}

func closing(data []byte) string {
	if len(data) < 2 {
		return "without a code"
	}
	code := be.BigEndian.Uint16(data)
	word := closeReasons[code]
	switch {
	case word != "":
	case code >= 4000 && code < 5000:
		word = "the application's own code"
	case code >= 3000 && code < 4000:
		word = "registered code"
	default:
		word = "unknown code"
	}
	out := fmt.Sprintf("%d %s", code, word)
	if len(data) > 2 {
		out += ": " + strings.ToValidUTF8(string(data[2:]), "\ufffd")
	}
	return out
}

// events are those of an event stream.
func (s *stream) events(x *inspector.Exchange) {
	m := &x.Response
	s.resumed = x.Request.Get("Last-Event-ID")
	data := m.Body.Data
	times := timeline{x.Marks, true, -1}
	if coding := m.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		times.marks = nil // they count compressed bytes
		out, err := format.Decode(coding, data, 0)
		if len(out) == 0 && err != nil {
			s.notes = append(s.notes, coding+": "+err.Error())
		}
		data = out
	}
	for _, e := range format.EventStream(data) {
		_, at := times.find(int64(e.Offset))
		it := item{at: at, word: e.Event, id: e.ID, size: int64(len(e.Data)), data: []byte(e.Data)}
		if e.ID != "" {
			s.lastID = e.ID
		}
		if e.Event == "" || e.Data == "" && e.Comment != "" {
			it.control, it.word = true, "comment"
			switch it.note = e.Comment; {
			case e.Retry > 0:
				it.word, it.note = "retry", "come back "+format.Duration(e.Retry)+" after the connection is lost"
			case e.ID != "":
				it.word = "id"
			}
		}
		if e.Open && !s.live {
			it.note = "not complete: " + string(it.data[:min(len(it.data), 512)])
		}
		s.items = append(s.items, it)
	}
	if len(s.items) == format.MaxEvents {
		s.notes = append(s.notes, fmt.Sprintf("the first %s events are shown", format.Count(format.MaxEvents)))
	}
}

// body is the stream as a body of one side.
func (s *stream) body(x *inspector.Exchange, response bool) *body {
	m := &x.Request
	if response {
		m = &x.Response
	}
	b := &body{label: "event stream", data: m.Body.Data, size: format.Bytes(m.Body.Size), notes: s.notes}
	if s.kind == inspector.WebSocket {
		b.label = "websocket"
	}
	if why := missing(x, response); why != "" && m.Body.Missing != "aborted" { // a stream ends when one side has had enough
		b.notes = append(b.notes[:len(b.notes):len(b.notes)], why)
	}
	b.pretty = &streamDoc{s: s, shown: s.plain}
	if len(b.data) > 0 {
		b.hex = &hexDoc{data: b.data}
	}
	return b
}

// A sieve says which items are shown: those with a text in them, and control
// frames only when they are asked for.
type sieve struct {
	query   string
	control bool
}

// sift finds the items that k lets through. It looks at all of them: not for the
// screen's loop.
func (s *stream) sift(k sieve) []int32 {
	if k == (sieve{}) {
		return s.plain
	}
	shown := []int32{}
	query := strings.ToLower(k.query)
	for i := range s.items {
		it := &s.items[i]
		if it.control && !k.control {
			continue
		}
		if query == "" || bytes.Contains(bytes.ToLower(it.data), []byte(query)) || strings.Contains(strings.ToLower(it.word+" "+it.id+" "+it.note), query) {
			shown = append(shown, int32(i))
		}
	}
	return shown
}

// A streamDoc is the table of a stream, a row for each item. It stays while the
// stream goes on: the screen puts what has come since into it.
type streamDoc struct {
	s     *stream
	shown []int32
	key   sieve // that made shown
	asked *stream
	want  sieve // what asked is being sifted for
	g     *glyphs
	loc   *time.Location
	width int
}

func (d *streamDoc) fit(width int) { d.width = width }

func (d *streamDoc) tail() bool { return d.s.live }

func (d *streamDoc) count() int { return len(d.shown) }

// oneRow says that lines are cut at the edge of the screen and not wrapped.
func (d *streamDoc) oneRow() {}

// shownText is how much of an item a row is made of.
const shownText = 1024

func (d *streamDoc) line(dst []byte, spans []span, i int) ([]byte, []span) {
	it := &d.s.items[d.shown[i]]
	g := d.g
	if g == nil {
		g = &unicodeGlyphs
	}
	put := func(r role, s string) {
		start := len(dst)
		dst = append(dst, s...)
		spans = append(spans, span{start, len(dst), r})
	}
	word := it.word
	r := text
	switch {
	case it.control:
		r = dim
	case word == "close":
		r = warn
	case d.s.kind == inspector.SSE:
		r = accent
	}
	if d.s.kind == inspector.WebSocket {
		if it.up {
			put(accent, g.up+" ")
		} else {
			put(good, g.down+" ")
		}
	}
	layout, room := "15:04:05.000", 13
	if d.width < 60 {
		layout, room = "15:04:05", 9
	}
	switch {
	case d.width < 40 || !d.s.timed:
	case it.at < 0 || d.loc == nil:
		put(dim, pad("", room))
	default:
		put(dim, pad(d.s.accepted.Add(it.at).In(d.loc).Format(layout), room))
	}
	cell := func(r role, s string, n int) {
		s = format.Sanitize(s[:min(len(s), 256)])
		if utf8.RuneCountInString(s) > n-1 {
			s = string([]rune(s)[:n-2]) + g.ellipsis
		}
		put(r, s+blanks[:max(n-utf8.RuneCountInString(s), 1)])
	}
	if d.s.kind == inspector.SSE {
		cell(r, word, 11+3*b2i(d.width >= 70))
		if d.width >= 60 {
			cell(dim, it.id, 9)
		}
	} else {
		cell(r, word, 7)
	}
	put(dim, fmt.Sprintf("%6s  ", format.Size(it.size)))
	show := it.data[:min(len(it.data), shownText)]
	switch {
	case it.note != "":
		put(r, format.Sanitize(it.note[:min(len(it.note), shownText)]))
	case it.binary || !readable(show):
		put(dim, fmt.Sprintf("% x", show[:min(len(show), 64)]))
	default:
		start := len(dst)
		dst = format.AppendSanitized(dst, bytes.ReplaceAll(bytes.TrimSpace(show), []byte("\n"), []byte(" ")))
		spans = append(spans, span{start, len(dst), text})
	}
	return dst, spans
}

// readable reports whether p is text, the last letter of which may be cut.
func readable(p []byte) bool {
	for i := 0; i < utf8.UTFMax && !utf8.Valid(p) && len(p) > 0; i++ {
		p = p[:len(p)-1]
	}
	return utf8.Valid(p)
}

// open is what enter opens.
func (d *streamDoc) open(i int) (name, contentType string, data []byte, ok bool) {
	if i < 0 || i >= len(d.shown) {
		return "", "", nil, false
	}
	n := d.shown[i]
	it := &d.s.items[n]
	data = it.data
	name = fmt.Sprintf("%s #%d", it.word, n+1)
	switch {
	case it.word == "close" && len(data) >= 2:
		data = data[2:]
		name = it.note[:min(len(it.note), 40)]
	case it.note != "" && len(data) == 0:
		data = []byte(it.note)
	}
	return name, contentType, data, true
}

// row is where item n is, or would be.
func (d *streamDoc) row(n int32) int {
	return sort.Search(len(d.shown), func(i int) bool { return d.shown[i] >= n })
}

// streamed is the table of the stream in front, nil for none.
func (d *detail) streamed() *streamDoc {
	if d.whole == nil || d.tab > tabResponse {
		return nil
	}
	doc, _ := d.pages[d.tab].c.(*streamDoc)
	return doc
}

// flow brings the tables in line with what has come and with what is to be shown.
// Until that is found the table stays as it was.
func (d *detail) flow(m *model) tea.Cmd {
	if d.whole == nil {
		return nil
	}
	var cmds []tea.Cmd
	for side, b := range d.whole.sides {
		if b == nil {
			continue
		}
		fresh, ok := b.pretty.(*streamDoc)
		if !ok {
			continue
		}
		doc := d.streams[side]
		if doc == nil {
			doc = fresh
			d.streams[side] = doc
			if p := &d.pages[side]; doc.s.live && p.c == nil {
				p.cur.line = max(doc.count()-1, 0) // where the news are
			}
		}
		doc.g, doc.loc = &m.th.g, m.c.Now().Location()
		next := doc.s
		if fresh != doc {
			next = fresh.s
			b.pretty = doc
		} else if doc.asked != nil {
			next = doc.asked
		}
		switch {
		case next == doc.s && doc.key == d.sieve, doc.asked == next && doc.want == d.sieve:
		case d.sieve == (sieve{}):
			doc.asked = nil
			d.turnTo(side, doc, next, next.plain)
		default:
			doc.asked, doc.want = next, d.sieve
			id, k := d.id, d.sieve
			cmds = append(cmds, func() tea.Msg { return siftedMsg{id, side, next, k, next.sift(k)} })
		}
	}
	return tea.Batch(cmds...)
}

// turnTo shows other items, and keeps the cursor on the one where it is. At the
// end of a stream that goes on it stays at the end.
func (d *detail) turnTo(side int, doc *streamDoc, s *stream, shown []int32) {
	p := &d.pages[side]
	front := p.c == content(doc)
	at := p.cur.line
	follows := s.live && doc.s.live && at >= len(doc.shown)-1 && len(doc.shown) > 1
	n := int32(0)
	if at < len(doc.shown) {
		n = doc.shown[at]
	}
	doc.s, doc.shown, doc.key = s, shown, d.sieve
	if !front {
		return
	}
	if p.cur = (spot{line: doc.row(n)}); follows {
		p.cur.line = max(len(shown)-1, 0)
	}
	p.settle()
}

// A siftedMsg is what a filter lets through of a stream.
type siftedMsg struct {
	id    string
	side  int
	s     *stream
	key   sieve
	shown []int32
}

func (msg siftedMsg) arrive(m *model) tea.Cmd {
	d := &m.detail
	doc := d.streams[msg.side]
	if d.id != msg.id || doc == nil || doc.asked != msg.s || doc.want != msg.key || d.sieve != msg.key {
		return nil
	}
	doc.asked = nil
	d.turnTo(msg.side, doc, msg.s, msg.shown)
	return nil
}

// streamHead says how a stream stands, above its table.
func (m *model) streamHead(x *capture, side, width int) string {
	d := &m.detail
	doc, ok := d.pages[side].c.(*streamDoc)
	if !ok {
		return ""
	}
	s, g := doc.s, &m.th.g
	// The edge counts what it does not keep as well; one that does not count, or a
	// stream that is compressed, leaves what is kept.
	up, down := max(x.Request.Body.Items, s.sides[0]), max(x.Response.Body.Items, s.sides[1])
	last := max(x.Request.Body.Last, x.Response.Body.Last)
	l := m.th.line(width)
	sep := "  "
	if s.kind == inspector.WebSocket {
		l.put(text, plural(int(up+down), "frame"))
		l.put(accent, sep+g.up+" ")
		l.put(text, format.Count(up)+" up")
		l.put(good, sep+g.down+" ")
		l.put(text, format.Count(down)+" down")
	} else {
		n := max(x.Response.Body.Items, int64(len(s.plain)))
		l.put(text, plural(int(n), "event"))
	}
	if k := doc.key; k.query != "" {
		l.put(accent, sep+`"`+k.query+`"`)
		l.put(text, sprintf(" %s of %s shown", format.Count(int64(len(doc.shown))), format.Count(int64(len(s.items)))))
	}
	if last > 0 && x.State == inspector.Open {
		l.put(dim, sep+"last "+ago(m.c.Now().Sub(x.Timing.Accepted.Add(last))))
	}
	switch {
	case s.closing != "":
		l.put(warn, sep+"closed "+s.closing)
	case m.paused:
		l.put(warn, sep+g.paused+" paused")
	case x.State == inspector.Open && d.pages[side].cur.line < len(doc.shown)-1:
		l.put(dim, sep+sprintf("%s %s more (G)", g.down, format.Count(int64(len(doc.shown)-1-d.pages[side].cur.line))))
	case x.State == inspector.Open:
		l.put(good, sep+g.live+" following")
	}
	if n := len(s.items) - len(s.plain); n > 0 && doc.key == (sieve{}) {
		what := "ping/pong"
		if s.kind == inspector.SSE {
			what = plural(n, "comment")
			n = 0
		}
		l.put(dim, sep)
		if n > 0 {
			l.put(dim, format.Count(int64(n))+" ")
		}
		l.put(dim, what+" hidden")
		l.put(hotkey, " c")
	}
	if s.resumed != "" {
		l.put(dim, sep+"resumed after ")
		l.put(text, s.resumed)
	}
	if s.lastID != "" {
		l.put(dim, sep+"last id ")
		l.put(text, s.lastID)
	}
	return l.String()
}

// ago is how long ago something was.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "just now"
	case d < time.Minute:
		return sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return sprintf("%d min ago", int(d.Minutes()))
	}
	return sprintf("%d h ago", int(d.Hours()))
}

// passed counts the items of a stream for the list: "44ev", "318fr".
func passed(x *inspector.Exchange) string {
	n := x.Request.Body.Items + x.Response.Body.Items
	unit := "ev"
	if x.Kind == inspector.WebSocket {
		unit = "fr"
	}
	switch {
	case n == 0:
		return ""
	case n < 10_000:
		return sprintf("%d%s", n, unit)
	case n < 1_000_000:
		return sprintf("%dk%s", n/1000, unit)
	}
	return sprintf("%dM%s", n/1_000_000, unit)
}

// streamActions are the keys of the tables of streams.
func streamActions() []action {
	on := func(m *model) bool { return m.detail.streamed() != nil }
	return []action{
		{
			name: "frames", in: inDetail, when: on, bind: bind("f", "only frames or events with a text in them", "f"), group: "Body",
			hint: "filter rows", rank: 4, run: (*model).startSieve,
		},
		{
			name: "control", in: inDetail, when: on, bind: bind("c", "show or hide ping and pong, or comments", "c"), group: "Body",
			hint: "ping/pong", rank: 8, run: func(m *model) tea.Cmd { m.detail.sieve.control = !m.detail.sieve.control; return nil },
			now: func(m *model, h hint) hint {
				if doc := m.detail.streamed(); doc != nil && doc.s.kind == inspector.SSE {
					h.word = "comments"
				}
				return h
			},
		},
	}
}

func (m *model) startSieve() tea.Cmd {
	was := m.detail.sieve.query
	set := func(m *model, s string) tea.Cmd {
		m.detail.sieve.query = strings.TrimSpace(s)
		return nil
	}
	title := "frames with"
	if doc := m.detail.streamed(); doc != nil && doc.s.kind == inspector.SSE {
		title = "events with"
	}
	return m.request("stream", was, prompt{
		title: title, enter: "keep the filter", hint: "a text; empty shows all",
		typed: set, done: set,
		esc: func(m *model) tea.Cmd { return set(m, was) },
	})
}
