package tui

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// gRPC has messages for bodies. A call with one each way reads as a request and its
// answer, laid out as JSON is; of more than that there is a table as of a
// WebSocket's frames.

// goesOn reports whether x may be a conversation, which is no view as long as only
// its beginning is there.
func goesOn(x *inspector.Exchange) bool {
	return x.Kind == inspector.WebSocket || x.Kind == inspector.SSE || x.IsGRPC()
}

// calls puts the messages of both sides of a call in order. It reports false where
// there is no more than one each way.
func (s *stream) calls(x *inspector.Exchange) bool {
	var sides [2]format.GRPCBody
	several := false
	for side, m := range [...]*inspector.Message{&x.Request, &x.Response} {
		if format.Sniff(m.Get("Content-Type"), m.Body.Data) != format.KindGRPC {
			continue
		}
		sides[side] = format.GRPC(m.Get("Content-Type"), m.Get("Grpc-Encoding"), m.Body.Data, inflateLimit/2)
		n := 0
		for i := range sides[side].Messages {
			n += b2i(!sides[side].Messages[i].Trailer)
		}
		several = several || n > 1
	}
	if !several {
		return false
	}
	s.kind = inspector.GRPC
	var all []placed
	for side := range sides {
		b := &sides[side]
		times := timeline{x.Marks, side == 1, -1}
		for i := range b.Messages {
			f := &b.Messages[i]
			order, at := times.find(f.Offset)
			it := item{up: side == 0, at: at, word: "message", size: int64(len(f.Data)), wire: f.Size, frames: 1, data: f.Data, json: b.JSON}
			if f.Err != nil {
				it.lack = f.Err.Error()
			}
			if f.Cut && !f.Packed {
				it.size = f.Size
			}
			switch {
			case f.Trailer:
				it.word = "trailers"
				it.text = bytes.ReplaceAll(bytes.TrimSpace(f.Data), []byte("\r\n"), []byte("  "))
			case b.JSON:
				it.text = f.Data[:min(len(f.Data), shownText)]
			default:
				head := f.Data[:min(len(f.Data), shownText)]
				p := format.Protobuf(head, f.Cut || len(head) < len(f.Data))
				it.text = p.JSON[:min(len(p.JSON), shownText)]
				nothing := len(p.JSON) == len("{}") && len(head) > 0
				switch {
				case nothing && it.lack == "":
					it.lack = "it does not read as a message"
				case p.Err != nil && it.lack == "":
					it.lack = "not all of it reads as a message"
				}
				if nothing || len(head) == 0 && f.Err != nil {
					it.text, it.size = []byte{}, f.Size
				}
			}
			all = append(all, placed{it, order})
		}
		if b.Rest > 0 && !s.live {
			s.notes = append(s.notes, fmt.Sprintf("%s of %s are not shown: %v", format.Bytes(int64(b.Rest)), [...]string{"the client", "the service"}[side], b.Err))
		}
	}
	s.arrange(all)
	return true
}

// call lays out a body of gRPC that is one message, or none.
func (o laying) call(ctx context.Context, b *body, m *inspector.Message, live bool) {
	contentType, coding := m.Get("Content-Type"), strings.TrimSpace(m.Get("Grpc-Encoding"))
	raw := b.data
	g := format.GRPC(contentType, coding, raw, o.most)
	b.hex, b.raw = &hexDoc{data: raw}, raw
	if g.Rest > 0 && !live && !m.Body.Truncated() {
		b.notes = append(b.notes, fmt.Sprintf("%s at the end are no message: %v", format.Bytes(int64(g.Rest)), g.Err))
	}
	var message *format.GRPCMessage
	for i := range g.Messages {
		if f := &g.Messages[i]; !f.Trailer {
			message = f
			break
		}
	}
	if message == nil {
		if b.label = "grpc, no message"; g.Rest > 0 {
			b.pretty = binaryTable(format.KindGRPC, m.Body, raw, m.Body.Size)
		} else {
			b.pretty = &table{}
		}
		return
	}
	b.label = "grpc message"
	b.size = format.Bytes(message.Size)
	if message.Packed {
		b.size = fmt.Sprintf("%s %s, %s decoded", coding, format.Bytes(message.Size), format.Bytes(int64(len(message.Data))))
	}
	// What is missing of the body was said of it already.
	if message.Err != nil && !(message.Cut && (m.Body.Truncated() || b.part)) {
		b.notes = append(b.notes, message.Err.Error())
	}
	if g.JSON {
		b.label, b.data = "json, grpc message", message.Data
		o.fill(ctx, b, "application/json", m.Body, live)
		b.label, b.hex = "grpc message, json", &hexDoc{data: raw}
		return
	}
	if !o.message(ctx, b, message.Data, message.Cut) {
		b.pretty = binaryTable(format.KindGRPC, m.Body, raw, m.Body.Size)
	}
}

// message lays out a protocol buffers message. It reports false, and notes why,
// where nothing of it can be read.
func (o laying) message(ctx context.Context, b *body, data []byte, cut bool) bool {
	if b.raw == nil {
		b.raw = b.data
	}
	b.guessed = true
	if o.first && len(data) > preview {
		data, cut, b.part = data[:preview], true, true
	}
	p := format.Protobuf(data, cut)
	if p.Err != nil && len(data) > 0 {
		why := "not all of it reads as a message: "
		if len(p.JSON) == len("{}") {
			why = "it does not read as a message: "
		}
		b.notes = append(b.notes, why+p.Err.Error())
	}
	if len(p.JSON) == len("{}") && len(data) > 0 {
		return false
	}
	d, err := format.Pretty(ctx, p.JSON, o.done)
	if err != nil {
		return false
	}
	d.Remark(p.Remarks)
	b.data, b.pretty = p.JSON, newJSONDoc(d)
	return true
}

// callRows say how a call failed, in a few rows where there is room.
func (m *model) callRows(call inspector.GRPCStatus, width int, roomy bool) (out []string) {
	name := inspector.GRPCStatus{Code: call.Code}.String()
	const most = 4
	said := []string{call.Message}
	if indent := len(name) + 4; roomy {
		said = wrapWords(format.Sanitize(call.Message[:min(len(call.Message), most*width)]), max(width-indent, 8))
		said = said[:min(len(said), most)]
	}
	for i, s := range append(said, "")[:max(len(said), 1)] {
		l := m.th.line(width)
		if i == 0 {
			l.put(bad, m.th.g.fail+" "+name)
		}
		l.to(len(name) + 4)
		l.put(text, s)
		out = append(out, l.String())
	}
	return out
}

// callTag is the badge of a gRPC call in n columns: how it failed, if it did.
func callTag(x *inspector.Exchange, n int) (tag string, failed bool) {
	s, ok := x.GRPC()
	if !ok || s.Code == 0 {
		return "gRPC", false
	}
	if tag = strings.ReplaceAll(s.Name(), "_", " "); len(tag) > n || tag[0] <= '9' {
		tag = fmt.Sprintf("gRPC %d", s.Code)
	}
	return tag, true
}

// shortCall fits the target of a gRPC call into n columns: the package is the first
// that goes, then the beginning of the service.
func (t *theme) shortCall(target string, n int) string {
	s, w := t.clean(target[:min(len(target), 4096)])
	if w <= n {
		return s
	}
	if i := strings.LastIndexByte(s, '/'); i > 0 && n > 6 {
		service := s[strings.LastIndexByte(s[:i], '.')+1:]
		return t.g.ellipsis + t.last(service, n-t.columns(t.g.ellipsis))
	}
	return t.shortPath(target, n)
}
