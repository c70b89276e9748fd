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
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A stream is what passed on a WebSocket, an event stream or in a gRPC call, one
// item for each frame, event or message, of both sides in the order in which they
// came. It is made away
// from the screen's loop and does not change.
type stream struct {
	kind     inspector.Kind
	items    []item
	plain    []int32  // without control frames and comments
	sides    [2]int64 // how many items each side sent
	timed    bool     // it is known when
	accepted time.Time
	live     bool
	full     bool // more has passed than is kept
	blind    bool // and what comes now is not
	gaps     int  // items that stand for what is not kept
	notes    []string
	closing  string // why it was closed, in words
	closer   string // who said so first, "" where that is not known
	resumed  string // the client's Last-Event-ID
	lastID   string
	parts    int // items that are more of a message before
	words    int // the longest name of an event, 0 if none tells anything
	ids      int // the longest id
}

// An item is a frame, an event or a message.
type item struct {
	up      bool          // the client sent it
	at      time.Duration // after the exchange was accepted, below 0 where that is not known
	word    string        // the opcode, or the name of the event
	id      string
	size    int64 // of the whole message where it begins one, decompressed
	wire    int64 // what it took to send that
	frames  int   // in how many
	data    []byte
	text    []byte // what a row says of data that is no text
	json    bool   // data of a gRPC message is JSON
	binary  bool
	control bool   // hidden unless asked for
	gap     bool   // it stands for what is not kept
	open    bool   // its end has not come
	offset  int64  // where it begins in what its side sent
	note    string // instead of the data
	lack    string // what is wrong with the data
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
	case !x.IsGRPC() || !s.calls(x):
		return nil
	}
	for i := range s.items {
		it := &s.items[i]
		if it.gap {
			s.gaps++
			s.plain = append(s.plain, int32(i))
			continue
		}
		if s.sides[b2i(!it.up)]++; it.id != "" {
			s.lastID = it.id
		}
		s.timed = s.timed || it.at >= 0
		s.ids = max(s.ids, len(it.id))
		if it.control {
			s.parts += b2i(it.word == "more")
			continue
		}
		s.plain = append(s.plain, int32(i))
		if it.word != "message" { // the name of an event that has none
			s.words = max(s.words, utf8.RuneCountInString(it.word))
		}
	}
	in, out := &x.Request.Body, &x.Response.Body
	switch {
	case s.kind == inspector.SSE:
		s.unkept(out, "")
	case in.Truncated() && out.Truncated() && in.Missing == out.Missing && in.Captured == out.Captured && (in.Tail == nil) == (out.Tail == nil):
		s.unkept(in, " each way")
	default:
		s.unkept(in, " of the client")
		s.unkept(out, " of the service")
	}
	return s
}

// unkept notes why the capture of one side holds less than what it sent.
func (s *stream) unkept(b *inspector.Body, who string) {
	if !b.Truncated() {
		return
	}
	s.full = true
	if b.Missing == "evicted" {
		s.blind = true
		s.notes = append(s.notes, "no longer captured: the edge gave the memory of "+format.Bytes(b.Size)+who+" to newer requests")
		return
	}
	if b.Tail != nil { // a row says so where it is
		return
	}
	s.blind = true
	s.notes = append(s.notes, "the first "+format.Bytes(b.Captured)+who+" are kept"+unkeptWhy(b))
}

func unkeptWhy(b *inspector.Body) string {
	if b.Missing == "memory" {
		return ": the edge had no memory for more"
	}
	return " (edge's --capture-body)"
}

// unshown notes that there are too many of what is kept.
func (s *stream) unshown(n int64, what string) {
	s.notes = append(s.notes, "the first "+format.Count(n)+" "+what+" that are kept are not shown")
}

// between is the item that stands for what is not kept of one side, and for those
// of its last part that are not shown.
func (s *stream) between(b *inspector.Body, up bool, unshown int64) item {
	what := "event"
	if s.kind == inspector.WebSocket {
		what = "frame"
	}
	t := b.Tail
	n := t.Skipped + unshown
	note := "1 " + what
	switch {
	case n > 1:
		note = format.Count(n) + " " + what + "s"
	case n < 1: // only a part of the one before it
		note = format.Bytes(t.Offset - b.Captured)
	}
	note += " not kept" + unkeptWhy(b)
	return item{
		up: up, at: -1, gap: true, note: note, offset: b.Captured, size: t.Offset - b.Captured,
		data: fmt.Appendf(nil, "%s\n\nThe first %s and the last %s of %s are kept.\nFrom byte %s to %s nothing is.\n",
			note, format.Bytes(b.Captured), format.Bytes(t.Size), format.Bytes(b.Size), format.Count(b.Captured), format.Count(t.Offset-1)),
	}
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

// placed is an item and the mark that it came at.
type placed struct {
	item
	order int
}

// arrange puts the items of both sides in order.
func (s *stream) arrange(all []placed) {
	slices.SortStableFunc(all, func(a, b placed) int { return a.order - b.order })
	untimed := false
	for i := range all {
		it := &all[i].item
		untimed = untimed || !it.gap && it.at < 0 && all[i].order >= 0 // its mark was let go of
		s.items = append(s.items, *it)
	}
	if untimed {
		s.notes = append(s.notes, "the order of what is without a time is not known either: there were too many turns")
	}
}

// frames reads the frames of both sides.
func (s *stream) frames(x *inspector.Exchange) {
	var all []placed
	extensions := x.Response.Get("Sec-WebSocket-Extensions")
	for side, m := range []*inspector.Message{&x.Request, &x.Response} {
		who := [...]string{"the client", "the service"}[side]
		times := timeline{x.Marks, side == 1, -1}
		inflate := format.NewInflater(extensions, side == 1, inflateLimit/2)
		put := func(it item) {
			order, at := times.find(it.offset)
			if !it.gap {
				it.at = at
			}
			all = append(all, placed{it, order})
		}
		add := func(frames []format.Frame, base int64) {
			whole := messages(frames, inflate)
			for i := range frames {
				put(newFrame(&frames[i], &whole[i], side == 0, base))
			}
		}
		frames, before, rest := lastFrames(m.Body.Data)
		if before > 0 {
			s.unshown(before, "frames of "+who)
			if inflate != nil {
				inflate.Forget()
			}
		}
		add(frames, 0)
		if t := m.Body.Tail; t != nil {
			var unshown int64
			frames, unshown, rest = lastFrames(t.Data)
			if inflate != nil {
				inflate.Forget()
			}
			gap := s.between(&m.Body, side == 0, unshown)
			gap.offset = t.Offset // among what the other side said it belongs there
			put(gap)
			add(frames, t.Offset)
		}
		if rest > 0 {
			s.notes = append(s.notes, fmt.Sprintf("%s of %s are not shown: not the whole of a frame", format.Bytes(int64(rest)), who))
		}
	}
	s.arrange(all)
	for i := range s.items {
		if it := &s.items[i]; it.word == "close" && s.closing == "" {
			s.closing = it.note
			if it.at >= 0 {
				s.closer = [...]string{"service", "client"}[b2i(it.up)]
			}
		}
	}
}

// lastFrames are the last of the frames in data, how many came before them, and
// how many bytes at the end are none.
func lastFrames(data []byte) (frames []format.Frame, before int64, rest int) {
	base := int64(0)
	for {
		more, left := format.Frames(data)
		for i := range more {
			more[i].Offset += base
		}
		if frames = append(frames, more...); len(frames) > format.MaxFrames {
			n := len(frames) - format.MaxFrames
			before += int64(n)
			frames = frames[n:]
		}
		if left == 0 || len(more) < format.MaxFrames {
			return frames, before, left
		}
		base += int64(len(data) - left)
		data = data[len(data)-left:]
	}
}

// newFrame is the item of a frame, and of the message if it begins one. The first
// frame there begins at base.
func newFrame(f *format.Frame, w *whole, up bool, base int64) item {
	it := item{up: up, word: opcode(f.Opcode), size: int64(min(f.Size, 1<<62)), frames: 1, data: f.Data, offset: base + f.Offset}
	it.wire = it.size
	switch {
	case f.Opcode == format.FrameClose:
		it.note = closing(f.Data)
	case f.Opcode > format.FrameClose:
		it.control = true
	case w.frames == 0:
		it.control, it.note = true, "more of the message before"
	default:
		it.data, it.size, it.wire, it.frames, it.note, it.lack = w.data, w.size, w.wire, w.frames, w.note, w.lack
		if it.binary = f.Opcode == format.FrameBinary; !it.binary && it.lack == "" && !utf8.Valid(it.data) {
			it.lack = "not UTF-8"
		}
	}
	return it
}

// A whole is all of the message that a frame begins; without frames it begins
// none.
type whole struct {
	frames     int
	data       []byte
	size, wire int64
	note, lack string
}

// messages joins and decompresses the messages that the frames of one side make.
func messages(frames []format.Frame, inflate *format.Inflater) []whole {
	out := make([]whole, len(frames))
	first := -1  // the frame that began the message at hand
	own := false // its data is a copy
	for i, f := range frames {
		if f.Opcode >= format.FrameClose { // between the frames of any message
			continue
		}
		switch {
		case f.Opcode != format.FrameMore:
			first, own = i, false
			out[i].data, out[i].lack = f.Data, "not complete"
		case first < 0:
			out[i] = whole{frames: 1, data: f.Data, size: int64(len(f.Data)), wire: int64(len(f.Data)), lack: "its beginning is missing"}
			continue
		case own:
			out[first].data = append(out[first].data, f.Data...)
		default:
			own = true
			out[first].data = append(append(make([]byte, 0, 2*(len(out[first].data)+len(f.Data))), out[first].data...), f.Data...)
		}
		w := &out[first]
		w.frames++
		w.wire += int64(min(f.Size, 1<<40)) // 20,000 of these still fit
		w.size = w.wire
		packed := frames[first].Packed
		switch {
		case uint64(len(f.Data)) < f.Size && packed:
			w.note = "compressed, and cut by the capture"
		case uint64(len(f.Data)) < f.Size:
			w.lack = "the first " + format.Bytes(int64(len(w.data))) + " of " + format.Bytes(w.size)
		case packed && inflate == nil:
			w.note = "compressed in a way that was not agreed on"
		case !f.Final && packed:
			w.note = "compressed, not complete"
		case !f.Final:
		case packed:
			data, err := inflate.Message(w.data)
			if w.note, w.lack = "", ""; err != nil {
				w.note = "compressed: " + err.Error()
			}
			w.data, w.size = data, int64(len(data))
		default:
			w.lack = ""
		}
		if f.Final {
			first = -1
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
	reason := strings.ToValidUTF8(string(data[2:]), "\ufffd")
	word := closeReasons[code]
	switch {
	case word != "":
	case reason != "":
		return fmt.Sprintf("%d %s", code, reason)
	case code >= 4000 && code < 5000:
		word = "the application's own"
	case code >= 3000 && code < 4000:
		word = "registered"
	default:
		word = "unknown"
	}
	if reason != "" {
		word += ": " + reason
	}
	return fmt.Sprintf("%d %s", code, word)
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
	var before int64
	if s.items, before = lastEvents(data, 0, &times); before > 0 {
		s.unshown(before, "events")
	}
	if t := m.Body.Tail; t != nil {
		if n := len(s.items); n > 0 && s.items[n-1].open {
			s.items[n-1].lack = "not complete"
		}
		last, unshown := lastEvents(t.Data, t.Offset, &times)
		s.items = append(append(s.items, s.between(&m.Body, false, unshown)), last...)
	}
	if n := len(s.items); n > 0 && s.items[n-1].open && !s.live {
		s.items[n-1].lack = "not complete"
	}
}

// lastEvents are the last of the events in data, which begins at base, and how
// many came before them.
func lastEvents(data []byte, base int64, times *timeline) (items []item, before int64) {
	for {
		events := format.EventStream(data)
		full := len(events) == format.MaxEvents
		next := 0
		if full { // and the last one may not be whole
			next = events[len(events)-1].Offset
			events = events[:len(events)-1]
		}
		for i := range events {
			items = append(items, newEvent(&events[i], base, times))
		}
		for ; len(items) > format.MaxEvents; items = items[1:] {
			before += int64(b2i(!items[0].control))
		}
		if !full {
			return items, before
		}
		base += int64(next)
		data = data[next:]
	}
}

// newEvent is the item of an event.
func newEvent(e *format.SSEEvent, base int64, times *timeline) item {
	it := item{word: e.Event, id: e.ID, size: int64(len(e.Data)), data: []byte(e.Data), offset: base + int64(e.Offset), open: e.Open}
	_, it.at = times.find(it.offset)
	if it.wire = it.size; !utf8.Valid(it.data) {
		it.lack = "not UTF-8"
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
	return it
}

// body is the stream as a body of one side.
func (s *stream) body(x *inspector.Exchange, response bool) *body {
	m := &x.Request
	if response {
		m = &x.Response
	}
	b := &body{label: "event stream", data: m.Body.Data, size: format.Bytes(m.Body.Size), notes: s.notes}
	switch s.kind {
	case inspector.WebSocket:
		b.label = "websocket"
	case inspector.GRPC:
		b.label = "grpc"
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
	query   string // as in a search
	control bool
}

// sift finds the items that k lets through. It looks at all of them: not for the
// screen's loop.
func (s *stream) sift(k sieve) []int32 {
	if k == (sieve{}) {
		return s.plain
	}
	search, err := newSearch(k.query)
	if err != nil { // half a pattern
		search = format.NewSearch(k.query)
	}
	shown := []int32{}
	for i := range s.items {
		it := &s.items[i]
		if it.control && !k.control {
			continue
		}
		if it.gap || k.query == "" || occurs(search, it.data) || occurs(search, it.text) || occurs(search, []byte(it.word+" "+it.id+" "+it.note+" "+it.lack)) {
			shown = append(shown, int32(i))
		}
	}
	return shown
}

// occurs reports whether data holds what is searched for.
func occurs(s *format.Search, data []byte) bool {
	for at := 0; ; {
		h := s.Next(data, at, 0)
		if h.Found || h.Done {
			return h.Found
		}
		at = h.Resume
	}
}

// A streamDoc is the table of a stream, a row for each item. It stays while the
// stream goes on: the screen puts what has come since into it.
type streamDoc struct {
	s     *stream
	shown []int32
	key   sieve // that made shown
	asked *stream
	want  sieve // what asked is being sifted for
	th    *theme
	loc   *time.Location
	width int
}

func (d *streamDoc) fit(width int) { d.width = width }

func (d *streamDoc) tail() bool { return d.s.live }

func (d *streamDoc) count() int { return len(d.shown) }

// oneRow says that lines are cut at the edge of the screen and not wrapped.
func (d *streamDoc) oneRow() {}

// source tells the text of the rows, all of it. What comes later is looked
// through when it is there.
func (d *streamDoc) source() func() ([]byte, func(int) int) {
	s, shown := d.s, d.shown
	return func() ([]byte, func(int) int) {
		var text []byte
		starts := make([]int, len(shown))
		for i, n := range shown {
			starts[i] = len(text)
			it := &s.items[n]
			text = append(append(text, it.word...), ' ')
			text = append(append(text, it.id...), ' ')
			text = append(append(text, it.lack...), ' ')
			text = append(append(text, it.note...), ' ')
			text = append(text, it.text...)
			if it.note == "" {
				text = append(text, it.data...)
			}
			text = append(text, '\n')
		}
		return text, func(offset int) int { return sort.SearchInts(starts, offset+1) - 1 }
	}
}

// shownText is how much of an item a row is made of.
const shownText = 1024

// A streamLayout is how wide the columns of the table are, 0 for those there is
// no room for.
type streamLayout struct{ time, word, id, size int }

func (d *streamDoc) layout() streamLayout {
	w, s := d.width, d.s
	l := streamLayout{size: 6}
	if s.timed && w >= 40 {
		if l.time = 9; w >= 70 {
			l.time = 13
		}
	}
	switch s.kind {
	case inspector.WebSocket:
		l.word = 7
		return l
	case inspector.GRPC: // they are all messages
		return l
	}
	n := s.words
	if d.key.control {
		n = max(n, len("comment"))
	}
	if n > 0 {
		l.word = min(n, max(w/4, 6)) + 1
	}
	if s.ids > 0 && w >= 44 {
		l.id = min(s.ids, w/8) + 1
	}
	if w < 60 {
		l.size = 0 // what an event says tells more
	}
	return l
}

func (d *streamDoc) line(dst []byte, spans []span, i int) ([]byte, []span) {
	it := &d.s.items[d.shown[i]]
	put := func(r role, s string) {
		start := len(dst)
		dst = append(dst, s...)
		spans = append(spans, span{start, len(dst), r})
	}
	if it.gap {
		rule := strings.Repeat(d.th.g.rule, 3)
		switch {
		case d.s.kind != inspector.WebSocket:
		case it.up:
			put(accent, d.th.g.up+" ")
		default:
			put(good, d.th.g.down+" ")
		}
		put(warn, rule+" "+it.note+" "+rule)
		return dst, spans
	}
	r := text
	switch {
	case it.control:
		r = dim
	case it.word == "close" && d.s.kind == inspector.WebSocket:
		r = warn
	case d.s.kind == inspector.SSE:
		r = accent
	}
	if d.s.kind != inspector.SSE {
		if it.up {
			put(accent, d.th.g.up+" ")
		} else {
			put(good, d.th.g.down+" ")
		}
	}
	l := d.layout()
	switch {
	case l.time == 0:
	case it.at < 0 || d.loc == nil:
		put(dim, pad("", l.time))
	case l.time < 13:
		put(dim, d.s.accepted.Add(it.at).In(d.loc).Format("15:04:05 "))
	default:
		put(dim, d.s.accepted.Add(it.at).In(d.loc).Format("15:04:05.000 "))
	}
	cell := func(r role, s string, n int) {
		if n == 0 {
			return
		}
		s, w := d.th.clean(s[:min(len(s), 256)])
		if w > n-1 {
			s = d.th.cut(s, n-1, d.th.g.ellipsis)
			w = d.th.columns(s)
		}
		put(r, s+blanks[:n-w])
	}
	cell(r, it.word, l.word)
	cell(dim, it.id, l.id)
	if l.size > 0 {
		put(dim, fmt.Sprintf("%*s  ", l.size, format.Size(it.size)))
	}
	if it.lack != "" {
		put(warn, it.lack+"  ")
	}
	show := it.data[:min(len(it.data), shownText)]
	switch {
	case it.note != "":
		put(r, format.Sanitize(it.note[:min(len(it.note), shownText)]))
	case it.text != nil:
		start := len(dst)
		dst = format.AppendSanitized(dst, it.text)
		spans = append(spans, span{start, len(dst), text})
	case it.binary && !readable(show):
		put(text, fmt.Sprintf("% x", show[:min(len(show), 128)]))
	default:
		start := len(dst)
		dst = format.AppendSanitized(dst, bytes.ReplaceAll(bytes.TrimSpace(show), []byte("\n"), []byte(" ")))
		spans = append(spans, span{start, len(dst), text})
	}
	return dst, spans
}

// readable reports whether p is text that a person reads, the last letter of
// which may be cut.
func readable(p []byte) bool {
	for i := 0; i < utf8.UTFMax && !utf8.Valid(p) && len(p) > 0; i++ {
		p = p[:len(p)-1]
	}
	for _, c := range p {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
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
	name = it.word
	if !slices.ContainsFunc(d.s.items[:n], func(it item) bool { return it.gap }) { // how many it is of all, not of those kept
		// Among those that show unless others are asked for.
		nth := sort.Search(len(d.s.plain), func(i int) bool { return d.s.plain[i] >= n })
		name = fmt.Sprintf("%s #%d", it.word, nth+b2i(!it.control))
	}
	switch {
	case it.word == "trailers":
		name = it.word
	case d.s.kind == inspector.GRPC && it.json:
		contentType = "application/json"
	case d.s.kind == inspector.GRPC:
		contentType = "application/x-protobuf"
	case it.word == "close" && d.s.kind == inspector.WebSocket:
		if name = "close"; len(data) >= 2 {
			data = data[2:]
		}
	case it.gap:
		name = "gap"
	case it.control && len(data) == 0:
		name = it.word
		data = []byte(it.note)
	case it.note != "" && len(data) == 0:
		data = []byte(it.note)
	}
	return name, contentType, data, true
}

// about tells of line i what its data do not.
func (d *streamDoc) about(i int) string {
	it := &d.s.items[d.shown[i]]
	var list []string
	add := func(s string) { list = append(list, s) }
	if it.at >= 0 && d.loc != nil {
		add(d.s.accepted.Add(it.at).In(d.loc).Format("15:04:05.000"))
	}
	if d.s.kind != inspector.SSE {
		add([...]string{"from the service", "from the client"}[b2i(it.up)])
	}
	if it.id != "" {
		add("id " + it.id[:min(len(it.id), 256)])
	}
	if it.wire != it.size && !it.gap {
		add(format.Bytes(it.wire) + " on the wire")
	}
	if it.frames > 1 {
		add(plural(it.frames, "frame"))
	}
	if it.lack != "" {
		add(it.lack)
	}
	if it.note != "" && len(it.data) > 0 && !it.gap {
		add(it.note[:min(len(it.note), 256)])
	}
	return strings.Join(list, "  ")
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
		doc.th, doc.loc = m.th, m.c.Now().Location()
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
	follows := doc.s.live && at >= len(doc.shown)-1
	n := int32(0)
	if at < len(doc.shown) {
		n = s.find(doc.s, doc.shown[at])
	}
	doc.s, doc.shown, doc.key = s, shown, d.sieve
	if !front {
		return
	}
	if p.cur = (spot{line: doc.row(n)}); follows {
		p.cur.line = max(len(shown)-1, 0)
	} else { // it stays in its row of the screen
		p.top.line = max(p.top.line+p.cur.line-at, 0)
	}
	p.settle()
}

// find returns where item n of an earlier state of s is: its place shifts when
// more is let go of before it. One that is gone itself is where the gap is.
func (s *stream) find(had *stream, n int32) int32 {
	if had == s || int(n) >= len(had.items) {
		return n
	}
	it := &had.items[n]
	same := func(o *item) bool { return o.up == it.up && o.offset == it.offset && !o.gap }
	if int(n) < len(s.items) && same(&s.items[n]) {
		return n
	}
	gap := n
	for i := range s.items {
		switch o := &s.items[i]; {
		case !it.gap && same(o):
			return int32(i)
		case o.gap && o.up == it.up:
			gap = int32(i)
		}
	}
	return gap
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

// A phrase is a few words in their roles that stay together.
type phrase []any // role, text, role, text

// phrases lays phrases out in rows, at most so many. One for which there is no
// room left is left out, and the last one begins no row.
func (t *theme) phrases(list []phrase, width, most int) []string {
	var rows []string
	l := t.line(width)
	for k, p := range list {
		n := 0
		for i := 1; i < len(p); i += 2 {
			n += t.width(p[i].(string))
		}
		if l.w > 0 && l.w+2+n > width {
			if len(rows)+1 >= most || k == len(list)-1 {
				continue
			}
			rows = append(rows, l.String())
			l = t.line(width)
		}
		if l.w > 0 {
			l.gap(2)
		}
		for i := 0; i+1 < len(p); i += 2 {
			l.put(p[i].(role), p[i+1].(string))
		}
	}
	return append(rows, l.String())
}

// streamHead says how a stream stands, above its table, in at most so many rows.
func (m *model) streamHead(doc *streamDoc, x *capture, side, width, most int) []string {
	s, g := doc.s, &m.th.g
	// The edge counts what it does not keep as well; one that does not count, or a
	// stream that is compressed, leaves what is kept.
	up, down := max(x.Request.Body.Items, s.sides[0]), max(x.Response.Body.Items, s.sides[1])
	last := max(x.Request.Body.Last, x.Response.Body.Last)
	open := x.State == inspector.Open
	both := s.kind != inspector.SSE
	what, n := "frame", up+down
	switch s.kind {
	case inspector.SSE:
		what = "event"
		n = max(x.Response.Body.Items, int64(len(s.plain)-s.gaps))
	case inspector.GRPC:
		what = "message"
	}
	list := []phrase{{strong, plural(int(n), what)}}
	add := func(p ...any) { list = append(list, p) }
	if kept := s.sides[0] + s.sides[1]; s.full && both && kept < n {
		add(warn, format.Count(kept)+" kept")
	} else if kept := int64(len(s.plain) - s.gaps); s.full && !both && kept < n {
		add(warn, format.Count(kept)+" kept")
	}
	if both {
		add(accent, g.up+" ", text, format.Count(up)+" up")
		add(good, g.down+" ", text, format.Count(down)+" down")
	}
	if k := doc.key; k.query != "" {
		of := len(s.plain) - s.gaps
		if k.control {
			of = len(s.items) - s.gaps
		}
		add(accent, quoted(k.query), text, sprintf(" %s of %s shown", format.Count(int64(len(doc.shown)-s.gaps)), format.Count(int64(of))))
	}
	below := len(doc.shown) - 1 - m.detail.pages[side].cur.line
	t := m.tab()
	switch {
	case x.State == unwatched && side == 0: // the other side has said so above
		add(warn, "its end was not seen")
	case !open:
	case m.lost[t.key()] != "" || t.link.agent != nil && t.link.status.State == agent.Reconnecting:
		add(warn, g.offline+" not connected")
	case m.paused:
		p := phrase{warn, g.paused + " paused"}
		if y, ok := m.feed.newest(t.key(), x.ID); ok {
			if n := y.Request.Body.Items + y.Response.Body.Items - x.Request.Body.Items - x.Response.Body.Items; n > 0 {
				p = append(p, warn, ", "+format.Count(n)+" waiting")
			}
		}
		add(append(p, hotkey, "  p", dim, " resumes")...)
	case below > 0:
		add(dim, sprintf("%s %s more ", g.down, format.Count(int64(below))), hotkey, "G")
	case !s.blind && s.closing == "":
		add(good, g.live+" following")
	}
	if last > 0 && open {
		add(dim, "last "+ago(m.c.Now().Sub(x.Timing.Accepted.Add(last))))
	}
	switch {
	case s.closing != "" && s.closer != "":
		add(warn, "closed by the "+s.closer+": "+s.closing)
	case s.closing != "":
		add(warn, "closed: "+s.closing)
	case s.kind == inspector.GRPC:
		switch call, ok := x.GRPC(); {
		case ok && call.Code == 0:
			add(good, "ok")
		case ok:
			add(bad, strings.ReplaceAll(call.Name(), "_", " "))
		case x.State == inspector.Done && x.Error == "":
			add(warn, "ended without a status")
		}
	case x.State == inspector.Done && x.EndedBy != "" && !x.Failed():
		add(dim, "ended by the "+x.EndedBy)
	case x.State == inspector.Done && x.Error == "":
		who, ok := closedBy(&x.Exchange)
		switch {
		case ok && both && !s.blind:
			add(warn, "ended by the "+who+", without a close frame")
		case ok:
			add(dim, "ended by the "+who)
		case !both:
			add(dim, "ended by the service")
		}
	}
	if s.resumed != "" {
		add(dim, "resumed after ", text, s.resumed)
	}
	if s.lastID != "" {
		add(dim, "last id ", text, s.lastID)
	}
	if n := len(s.items) - len(s.plain); n > 0 && !doc.key.control {
		what := plural(n, "comment")
		if both {
			what = format.Count(int64(n-s.parts)) + " ping/pong"
			if parts := plural(s.parts, "part"); n == s.parts {
				what = parts
			} else if s.parts > 0 {
				what += ", " + parts
			}
		}
		add(dim, what+" hidden ", hotkey, "c")
	}
	size := x.Response.Body.Size
	if both {
		size += x.Request.Body.Size
	}
	add(dim, format.Bytes(size))
	return m.th.phrases(list, width, most)
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

// passed counts the items of a stream for the list: "44ev", "318fr", "12msg".
func passed(x *inspector.Exchange) string {
	up, down := x.Request.Body.Items, x.Response.Body.Items
	n := up + down
	unit := "ev"
	switch x.Kind {
	case inspector.WebSocket:
		unit = "fr"
	case inspector.GRPC:
		if unit = "msg"; up <= 1 && down <= 1 { // a request and its answer
			return ""
		}
	}
	switch {
	case n == 0:
		return ""
	case n < 1000, n < 10_000 && len(unit) == 2:
		return sprintf("%d%s", n, unit)
	case n < 1_000_000:
		return sprintf("%dk%s", n/1000, unit)
	}
	return sprintf("%dM%s", n/1_000_000, unit)
}

// streamActions are the keys of the tables of streams.
func streamActions() []action {
	on := func(m *model) bool { return m.detail.streamed() != nil }
	controls := func(m *model) bool { // of gRPC there are none
		doc := m.detail.streamed()
		return doc != nil && doc.s.kind != inspector.GRPC
	}
	return []action{
		{name: "frame-hint", in: inDetail, when: on, bind: bind("enter", "open the frame, event or message", "enter"), hint: "open", rank: 1, run: (*model).enter},
		{
			name: "frames", in: inDetail, when: on, bind: bind("f", "only frames, events or messages with a text in them", "f"), group: "Body",
			hint: "filter rows", rank: 4, run: (*model).startSieve,
		},
		{
			name: "control", in: inDetail, when: controls, bind: bind("c", "show or hide ping and pong, or comments", "c"), group: "Body",
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
	} else if doc != nil && doc.s.kind == inspector.GRPC {
		title = "messages with"
	}
	return m.request("stream", was, prompt{
		title: title, enter: "keep the filter", hint: "a text or ~pattern~; empty shows all",
		typed: set, done: set,
		esc: func(m *model) tea.Cmd { return set(m, was) },
	})
}
