package tui

import (
	"context"
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
	label  string // "json", "png 640x480"
	size   string // "6.7 KiB", "br 2,114 bytes, 6.7 KiB decoded"
	notes  []string
	data   []byte // decoded
	pretty content
	hex    *hexDoc
	asHex  bool
	part   bool // a first screen: the rest is on its way
}

// view is what the body's pager shows.
func (b *body) view() content {
	if b.asHex && b.hex != nil {
		return b.hex
	}
	return b.pretty
}

// layOut makes a body of what was captured of m. With first it does no more
// than the first screen needs.
func layOut(ctx context.Context, x *inspector.Exchange, response, first bool) *body {
	m := &x.Request
	if response {
		m = &x.Response
	}
	if response || x.Kind == inspector.WebSocket {
		if s := newStream(x); s != nil {
			return s.body(x, response)
		}
	}
	b := &body{}
	raw := m.Body.Data
	b.size = format.Bytes(m.Body.Size)
	if why := missing(m.Body); why != "" {
		b.notes = append(b.notes, why)
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
	if coding := m.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		out, err := format.Decode(coding, raw, 0)
		switch {
		case errors.Is(err, format.ErrCoding):
			b.notes = append(b.notes, fmt.Sprintf("content-encoding %q is unknown: shown as it came", coding))
		case err != nil && len(out) == 0:
			b.notes = append(b.notes, coding+": "+err.Error()+": shown as it came")
		default:
			b.data = out
			b.size = fmt.Sprintf("%s %s, %s decoded", coding, format.Bytes(m.Body.Size), format.Bytes(int64(len(out))))
			if err != nil && !(errors.Is(err, format.ErrTruncated) && m.Body.Truncated()) {
				b.notes = append(b.notes, err.Error())
			}
		}
	}
	contentType := m.Get("Content-Type")
	kind := format.Sniff(contentType, b.data)
	b.label = format.Label(kind, contentType, b.data)
	b.hex = &hexDoc{data: b.data}
	data := b.data
	if first && len(data) > preview {
		data, b.part = data[:preview], true
	}
	switch kind {
	case format.KindJSON, format.KindNDJSON:
		if d, err := format.Pretty(ctx, data, nil); err == nil {
			b.pretty = newJSONDoc(d)
			return b
		} else if errors.Is(err, format.ErrDocument) {
			b.notes = append(b.notes, "over 8 MiB: shown as it came")
		}
	case format.KindForm:
		b.pretty = formTable(format.Form(data))
		return b
	case format.KindMultipart:
		if parts, err := format.Multipart(contentType, data); err == nil {
			b.pretty = partTable(parts)
			return b
		}
	case format.KindEventStream:
		b.pretty = eventTable(format.EventStream(data), x.State == inspector.Open)
		return b
	}
	if kind.IsText() || kind == format.KindJSON || kind == format.KindNDJSON || kind == format.KindForm {
		lines := format.NewLines(data)
		lines.Index(ctx, 0)
		b.pretty = &textDoc{lines}
		return b
	}
	b.pretty = binaryTable(kind, m, b.data)
	return b
}

// missing says in words why a capture holds less than what passed.
func missing(b inspector.Body) string {
	if !b.Truncated() {
		return ""
	}
	switch b.Missing {
	case "off":
		return "bodies of this tunnel are not captured (--no-inspect)"
	case "evicted", "memory":
		return fmt.Sprintf("%s of %s kept: the edge ran out of capture memory", format.Bytes(b.Captured), format.Bytes(b.Size))
	}
	return fmt.Sprintf("captured %s of %s (limit --capture-body)", format.Bytes(b.Captured), format.Bytes(b.Size))
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

func partTable(parts []format.Part) content {
	t := &table{}
	for i, p := range parts {
		name := p.Name
		if name == "" {
			name = fmt.Sprintf("part %d", i+1)
		}
		t.add(jsonKey, pad(name, 20), text, "  ", strong, p.Filename, text, "  ", dim, p.Type, text, "  ", text, format.Bytes(int64(len(p.Data))))
		kind := format.Sniff(p.Type, p.Data)
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
	}
	return t
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

func binaryTable(kind format.Kind, m *inspector.Message, data []byte) content {
	t := &table{}
	fact := func(name, value string) { t.add(dim, pad(name, 10), text, value) }
	if name, w, h, ok := format.Image(data); ok {
		fact("image", fmt.Sprintf("%s, %d x %d pixels", name, w, h))
	} else {
		fact("type", kind.String())
	}
	fact("size", fmt.Sprintf("%s bytes", format.Count(m.Body.Size)))
	if m.Body.SHA256 != "" {
		fact("sha256", m.Body.SHA256)
	}
	if bits, word := format.Entropy(data); word != "" {
		fact("entropy", fmt.Sprintf("%.1f bits a byte, %s", bits, word))
	}
	t.add(text, "")
	b := &binary{facts: t.rows, head: hexDoc{data: data[:min(len(data), 256)]}}
	if len(data) > 256 {
		more := &table{}
		more.add(dim, fmt.Sprintf("%s more, x shows them all", format.Bytes(int64(len(data)-256))))
		b.more = more.rows
	}
	return b
}

// A binary is the facts of a body that is no text, and its first bytes.
type binary struct {
	facts []tableRow
	head  hexDoc
	more  []tableRow
}

func (b *binary) fit(width int) { b.head.fit(width) }

func (b *binary) count() int { return len(b.facts) + b.head.count() + len(b.more) }

func (b *binary) line(dst []byte, spans []span, i int) ([]byte, []span) {
	r := b.facts
	if i >= len(r) {
		i -= len(r)
		if i < b.head.count() {
			return b.head.line(dst, spans, i)
		}
		i -= b.head.count()
		r = b.more
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
