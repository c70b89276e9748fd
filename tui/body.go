package tui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// preview is how much of a large body is laid out for the first screen.
const preview = 64 << 10

// A body is one side's body, decoded and laid out. Once made it belongs to the
// screen's loop.
type body struct {
	label   string // "json", "png 640x480"
	size    string // "6.7 KiB", "br 2,114 bytes, 6.7 KiB decoded"
	notes   []string
	data    []byte // decoded; of protocol buffers what they say as JSON
	raw     []byte // the protocol buffers, nil of anything else
	pretty  content
	hex     *hexDoc
	asHex   bool
	guessed bool   // it was read without its schema
	part    bool   // a first screen: the rest is on its way
	more    bool   // more can be decoded, when asked for
	cut     string // how much was captured of how much, "" for all

	// What was opened from it lies over it: a part, an event, what jq made of it.
	over     *body
	name     string // of what lies over another body
	about    string // and what else is known of it
	query    string // the jq expression that made it, if one did
	cur, top spot   // where its pager stood when that was opened
}

// front is the body in front.
func (b *body) front() *body {
	for b.over != nil {
		b = b.over
	}
	return b
}

// asked is the body that jq looks at: the one in front, or what lies under it where
// that is the result of jq.
func (b *body) asked() *body {
	for b.over != nil && b.over.query == "" {
		b = b.over
	}
	return b
}

// view is what the body's pager shows.
func (b *body) view() content {
	b = b.front()
	if b.asHex && b.hex != nil {
		return b.hex
	}
	return b.pretty
}

// A laying says how bodies are laid out. Of one whose first bytes alone are there it
// makes no more than a first screen.
type laying struct {
	first bool  // no more than the first screen needs
	most  int64 // what is decoded at most, 0 for the default
	// done hears how many bytes are laid out, when it is not nil.
	done func(n int)
}

// layOut makes a body of what was captured of m. With first it does no more
// than the first screen needs.
func layOut(ctx context.Context, x *inspector.Exchange, response, first bool) *body {
	return laying{first: first}.body(ctx, x, response)
}

func (o laying) body(ctx context.Context, x *inspector.Exchange, response bool) *body {
	m := &x.Request
	if response {
		m = &x.Response
	}
	if response || x.Kind != inspector.SSE {
		if s := newStream(x); s != nil {
			return s.body(x, response)
		}
	}
	b := &body{}
	raw := m.Body.Data
	b.size = format.Bytes(m.Body.Size)
	if why := missing(x, response); why != "" {
		b.notes = append(b.notes, why)
	}
	if m.Body.Truncated() {
		b.cut = partOf(m.Body.Captured, m.Body.Size)
	}
	if len(raw) == 0 {
		b.label = "no body"
		if m.Body.Size > 0 {
			b.label = "not captured"
		}
		b.pretty = &table{}
		return b
	}
	b.data = raw
	b.part = begins(&m.Body)
	if b.part || o.first {
		o.first, o.most = true, preview
	}
	if coding := m.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		out, err := format.Decode(coding, raw, o.most)
		if o.first && errors.Is(err, format.ErrTooLarge) {
			b.part = true
		}
		switch {
		case b.part && err != nil && !errors.Is(err, format.ErrCoding):
			if b.data, b.size = out, coding+" "+b.size; len(out) == 0 {
				b.label, b.pretty = "", &table{}
				return b
			}
		case errors.Is(err, format.ErrCoding):
			b.notes = append(b.notes, fmt.Sprintf("content-encoding %q is unknown: shown as it came", coding))
		case err != nil && len(out) == 0:
			b.notes = append(b.notes, coding+": "+err.Error()+": shown as it came")
		default:
			b.data = out
			b.size = fmt.Sprintf("%s %s, %s decoded", coding, format.Bytes(m.Body.Size), format.Bytes(int64(len(out))))
			switch b.more = errors.Is(err, format.ErrTooLarge) && o.most < format.MaxLimit; {
			case b.more:
				b.notes = append(b.notes, fmt.Sprintf("the first %s: Z decodes up to %s", format.Bytes(int64(len(out))), format.Bytes(format.MaxLimit)))
			case errors.Is(err, format.ErrTooLarge):
				b.notes = append(b.notes, fmt.Sprintf("the first %s: w saves all of it as it came", format.Bytes(int64(len(out)))))
			case err != nil && !(errors.Is(err, format.ErrTruncated) && m.Body.Truncated()):
				b.notes = append(b.notes, err.Error())
			}
		}
	}
	live := x.State == inspector.Open
	if format.Sniff(m.Get("Content-Type"), b.data) == format.KindGRPC {
		o.call(ctx, b, m, live)
	} else {
		o.fill(ctx, b, m.Get("Content-Type"), m.Body, live)
	}
	return b
}

// fill lays the data of b out.
func (o laying) fill(ctx context.Context, b *body, contentType string, whole inspector.Body, live bool) {
	kind := format.Sniff(contentType, b.data)
	b.label = format.Label(kind, contentType, b.data)
	b.hex = &hexDoc{data: b.data}
	data := b.data
	if o.first && len(data) > preview {
		data, b.part = data[:preview], true
	}
	switch kind {
	case format.KindJSON, format.KindNDJSON:
		if d, err := format.Pretty(ctx, data, o.done); err == nil {
			b.pretty = newJSONDoc(d)
			return
		} else if errors.Is(err, format.ErrDocument) {
			why := "over 8 MiB"
			if len(data) <= format.MaxDocument {
				why = "nested too deeply, or too many lines"
			}
			b.notes = append(b.notes, why+": as it came; w saves it, | pages it")
		}
	case format.KindForm:
		b.pretty = formTable(format.Form(data))
		return
	case format.KindMultipart:
		if parts, err := format.Multipart(contentType, data); err == nil {
			b.pretty = newPartList(parts)
			return
		}
	case format.KindProtobuf:
		if o.message(ctx, b, b.data, b.part || whole.Truncated()) {
			return
		}
	case format.KindEventStream:
		b.pretty = eventTable(format.EventStream(data), live)
		return
	}
	if kind != format.KindNDJSON && whole.Captured == whole.Size && !b.part && len(b.notes) == 0 {
		if why := notJSON(contentType, data); why != "" {
			b.notes = append(b.notes, why)
		}
	}
	if kind.IsText() || kind == format.KindJSON || kind == format.KindNDJSON || kind == format.KindForm {
		lines := format.NewLines(data)
		lines.Index(ctx, 0)
		b.pretty = &textDoc{lines}
		return
	}
	total := int64(len(b.data))
	if b.part {
		total = max(total, whole.Captured)
	}
	b.pretty = binaryTable(kind, whole, b.data, total)
}

// notJSON says what keeps a body from being the JSON that it is called, "" when it
// is called nothing like that.
func notJSON(contentType string, data []byte) string {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	if !strings.Contains(media, "json") {
		return ""
	}
	var v json.RawMessage
	var at *json.SyntaxError
	if !errors.As(json.Unmarshal(data, &v), &at) {
		return ""
	}
	where := sprintf("byte %s", format.Count(at.Offset))
	if line := 1 + bytes.Count(data[:min(at.Offset, int64(len(data)))], []byte("\n")); line > 1 {
		where = sprintf("line %s, ", format.Count(int64(line))) + where
	}
	return sprintf("called JSON, but it is not: %s (%s)", at.Error(), where)
}

// missing says in words why a capture holds less of a message than what passed,
// or less than was meant to pass; "" where nothing is missing.
func missing(x *inspector.Exchange, response bool) string {
	b := bodyOf(x, response)
	kept := fmt.Sprintf("captured %s of %s", format.Bytes(b.Captured), format.Bytes(b.Size))
	switch {
	case b.Missing == "aborted":
		why := "its sender left before its end"
		switch {
		case x.EndedBy == "upstream" && !response:
			why = "the local service closed the connection"
		case x.EndedBy == "" && !response && x.Status != 0:
			why = "the answer came before its end, and nobody waited for the rest"
		case x.EndedBy != "":
			why = "the " + x.EndedBy + " left before its end"
		}
		s := fmt.Sprintf("aborted after %s: %s", format.Bytes(b.Size), why)
		if b.Truncated() {
			s += "; " + format.Bytes(b.Captured) + " captured"
		}
		return s
	case !b.Truncated():
		return ""
	case b.Missing == "evicted" && b.Captured == 0:
		return "no longer captured: given up for newer requests"
	case b.Missing == "evicted":
		return kept + ": the rest was given up for newer requests"
	case b.Missing == "memory":
		return kept + ": the edge had no more memory for captures then"
	}
	return kept + " (edge's --capture-body)"
}

// partOf says how much is there of how much: "1.0 of 5.2 MiB".
func partOf(some, all int64) string {
	s, of := format.Bytes(some), format.Bytes(all)
	if i := strings.LastIndexByte(of, ' '); i > 0 {
		s = strings.TrimSuffix(s, of[i:])
	}
	return s + " of " + of
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return format.Count(int64(n)) + " " + what + "s"
}

func formTable(pairs []format.Pair) content {
	t := &table{}
	w := 0
	for _, p := range pairs {
		w = max(w, len(p.Name))
	}
	for _, p := range pairs {
		t.add(jsonKey, pad(p.Name, min(w, 24)), dim, " = ", jsonString, p.Value)
	}
	return t
}

// An opener is a content with lines that open as bodies of their own.
type opener interface {
	content
	// open returns what line i stands for: what to call it and its bytes.
	open(i int) (name, contentType string, data []byte, ok bool)
}

// A partList is the parts of a multipart body, each with a look into it.
type partList struct {
	table
	parts []format.Part
	of    []int // the part that a row belongs to
}

func newPartList(parts []format.Part) *partList {
	t := &partList{parts: parts}
	for i, p := range parts {
		kind := format.Sniff(p.Type, p.Data)
		what := p.Type
		if what == "" {
			what = kind.String()
		}
		t.add(jsonKey, pad(partName(parts, i), 20), text, "  ", strong, p.Filename, text, "  ", dim, what, text, "  ", text, format.Bytes(int64(len(p.Data))))
		t.rows[len(t.rows)-1].hang = 24
		if kind.IsText() && len(p.Data) > 0 {
			show := p.Data
			if len(show) > 512 {
				show = show[:512]
			}
			for s := range strings.Lines(format.SanitizeLines(string(show))) {
				t.add(dim, "    ", text, strings.TrimRight(s, "\n"))
			}
		} else if len(p.Data) > 0 {
			t.add(dim, "    "+format.Label(kind, p.Type, p.Data))
		}
		if p.Truncated {
			t.add(warn, "    cut: the capture ends in this part")
		}
		for len(t.of) < len(t.rows) {
			t.of = append(t.of, i)
		}
	}
	return t
}

func partName(parts []format.Part, i int) string {
	if name := parts[i].Name; name != "" {
		return name
	}
	return fmt.Sprintf("part %d", i+1)
}

func (t *partList) open(i int) (name, contentType string, data []byte, ok bool) {
	if i >= len(t.of) {
		return "", "", nil, false
	}
	p := &t.parts[t.of[i]]
	name = p.Filename
	if name == "" {
		name = partName(t.parts, t.of[i])
	}
	return name, p.Type, p.Data, true
}

func eventTable(events []format.SSEEvent, live bool) content {
	t := &table{live: live}
	for i, e := range events {
		n := fmt.Sprintf("%4d  ", i+1)
		switch {
		case e.Data == "" && e.Comment != "":
			t.add(dim, n+": "+e.Comment)
			continue
		case e.Data == "" && e.Retry > 0:
			t.add(dim, n+"retry "+format.Duration(e.Retry))
			continue
		}
		id := ""
		if e.ID != "" {
			id = "id " + e.ID + "  "
		}
		t.add(dim, n, accent, pad(e.Event, 8)+"  ", dim, id, text, e.Data)
	}
	return t
}

func binaryTable(kind format.Kind, whole inspector.Body, data []byte, total int64) content {
	b := &binary{head: hexDoc{data: data[:min(len(data), 256)]}}
	fact := func(name, value string) { b.facts = append(b.facts, [2]string{name, value}) }
	if name, w, h, ok := format.Image(data); ok {
		fact("image", fmt.Sprintf("%s, %d x %d pixels", name, w, h))
	} else {
		fact("type", kind.String())
	}
	fact("size", fmt.Sprintf("%s bytes", format.Count(whole.Size)))
	if whole.SHA256 != "" {
		fact("sha256", whole.SHA256)
	}
	if bits, word := format.Entropy(data); word != "" {
		fact("entropy", fmt.Sprintf("%.1f bits a byte, %s", bits, word))
	}
	if total > 256 {
		b.more.add(dim, fmt.Sprintf("%s more, x shows them all", format.Bytes(total-256)))
	}
	b.fit(80)
	return b
}

// A binary is the facts of a body that is no text, and its first bytes.
type binary struct {
	facts [][2]string // name and value
	rows  []tableRow  // of the facts
	head  hexDoc
	more  table
}

// fit breaks the facts between words, and a digest where it has to be.
func (b *binary) fit(width int) {
	const names = 10
	room := max(width-names, 8)
	t := &table{}
	for _, f := range b.facts {
		name := f[0]
		for _, s := range wrapWords(f[1], room) {
			for ; s != ""; name = "" {
				n := min(len(s), room)
				t.add(dim, pad(name, names), text, s[:n])
				s = s[n:]
			}
		}
	}
	t.add(text, "")
	b.rows = t.rows
	b.head.fit(width)
}

func (b *binary) count() int { return len(b.rows) + b.head.count() + len(b.more.rows) }

func (b *binary) line(dst []byte, spans []span, i int) ([]byte, []span) {
	r := b.rows
	if i >= len(r) {
		i -= len(r)
		if i < b.head.count() {
			return b.head.line(dst, spans, i)
		}
		i -= b.head.count()
		r = b.more.rows
	}
	return append(dst, r[i].text...), append(spans, r[i].spans...)
}

// pad fills s up with blanks; what is longer stays.
func pad(s string, n int) string {
	if len(s) >= n {
		return s
	}
	return s + blanks[:n-len(s)]
}
