package diff

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// maxValue is how much of a part of a multipart body stands in a change; longer
// parts and binary ones are named by size and digest.
const maxValue = 64 << 10

// bodies compares the bodies of two messages.
func bodies(a, b *inspector.Message, o Options) Body {
	out := Body{Kind: "none", SizeA: a.Body.Size, SizeB: b.Body.Size}
	x, wholeX := out.decode("A", a)
	y, wholeY := out.decode("B", b)
	whole := wholeX && wholeY
	o.Progress.expect(len(x) + len(y) - len(a.Body.Data) - len(b.Body.Data)) // decoded it is more
	if p := o.Progress; p != nil {
		end := p.read.Load() + int64(len(x)+len(y))
		defer func() { p.read.Store(end) }()
	}
	ka, kb := format.Sniff(a.Get("Content-Type"), x), format.Sniff(b.Get("Content-Type"), y)
	if either(ka, kb, format.KindGRPC) || either(ka, kb, format.KindProtobuf) {
		if tx, ty, ok := out.messages(a, b, x, y, &whole); ok && out.json(tx, ty, o) {
			if out.Kind = "protobuf"; !out.Counts.Differ() && whole && !bytes.Equal(x, y) {
				out.Notes = append(out.Notes, "the values are equal, the bytes are not")
			}
			return out.settle(a, b, whole)
		}
	}
	switch {
	case len(x) == 0 && !wholeX, len(y) == 0 && !wholeY:
		out.Kind = "binary" // a body that is not at hand is not an empty one
	case len(x) == 0 && len(y) == 0:
	case o.Plain && (ka.IsText() || ka == format.KindEmpty) && (kb.IsText() || kb == format.KindEmpty):
		out.text(indented(ka, x, o), indented(kb, y, o), o)
	case either(ka, kb, format.KindJSON) && out.json(x, y, o):
	case either(ka, kb, format.KindForm):
		out.Kind = "form"
		out.fields(format.Form(x), format.Form(y), o)
	case either(ka, kb, format.KindMultipart) && out.multipart(a, b, x, y, o):
	case ka.IsText() && kb.IsText(), ka == format.KindEmpty && kb.IsText(), kb == format.KindEmpty && ka.IsText():
		out.text(x, y, o)
	default:
		out.binary(x, y)
	}
	if closed(o.Done) && !out.Counts.Differ() {
		out.Incomplete = true
		out.Notes = append(out.Notes, "the comparison was stopped")
	}
	return out.settle(a, b, whole)
}

// settle says what the comparison of what was captured is worth, unless that is
// whole.
func (out Body) settle(a, b *inspector.Message, whole bool) Body {
	if out.Counts.Differ() || whole {
		return out
	}
	// What was captured shows no difference. Size and digest of what passed may
	// still tell.
	sa, sb := a.Body.SHA256, b.Body.SHA256
	coding := a.Get("Content-Encoding")
	sameCoding := strings.EqualFold(coding, b.Get("Content-Encoding"))
	switch {
	case sa != "" && sa == sb && a.Body.Size == b.Body.Size && sameCoding:
		if out.Counts == (Counts{}) {
			out.Counts.Equal = 1
		}
	case sameCoding && coding == "" && (a.Body.Size != b.Body.Size || sa != "" && sb != "" && sa != sb):
		out.Binary = &Binary{SHA256A: sa, SHA256B: sb, Offset: -1}
		out.Counts.Changed++
		out.Notes = append(out.Notes, "the bodies differ beyond what was captured")
	default:
		out.Incomplete = true
		out.Notes = append(out.Notes, "what was captured is equal, the rest is unknown")
	}
	return out
}

// messages makes JSON of two bodies of protocol buffers, one of which may be
// empty. What cannot be read leaves the comparison not whole.
func (out *Body) messages(a, b *inspector.Message, x, y []byte, whole *bool) (tx, ty []byte, ok bool) {
	read := func(m *inspector.Message, data []byte, list bool) ([]byte, int, bool, error) {
		if len(data) == 0 {
			return nil, 1, true, nil
		}
		return format.ProtoJSON(m.Get("Content-Type"), m.Get("Grpc-Encoding"), data, m.Body.Truncated(), list)
	}
	tx, nx, okX, errX := read(a, x, false)
	ty, ny, okY, errY := read(b, y, false)
	if nx != 1 && ny == 1 && len(y) > 0 { // a list beside a single message
		ty, _, okY, errY = read(b, y, true)
	}
	if ny != 1 && nx == 1 && len(x) > 0 {
		tx, _, okX, errX = read(a, x, true)
	}
	if !okX || !okY {
		return nil, nil, false
	}
	unread := func(side string, err error) {
		if err != nil {
			*whole = false
			out.Notes = append(out.Notes, side+": not all of it can be read: "+err.Error())
		}
	}
	unread("A", errX)
	unread("B", errY)
	return tx, ty, true
}

func either(a, b, want format.Kind) bool {
	return a == want && (b == want || b == format.KindEmpty) || b == want && a == format.KindEmpty
}

// missing is why bytes are missing, in words.
func missing(why string) string {
	switch why {
	case "limit":
		return "the limit of what is captured"
	case "memory":
		return "the edge had no more memory for captures then"
	case "evicted":
		return "given up for newer requests"
	case "aborted":
		return "it did not come whole"
	}
	return why
}

// decode returns the captured bytes without content coding, and whether they
// are all of the body.
func (out *Body) decode(side string, m *inspector.Message) (data []byte, whole bool) {
	note := func(f string, args ...any) {
		out.Notes = append(out.Notes, side+": "+fmt.Sprintf(f, args...))
	}
	data, whole = m.Body.Data, int64(len(m.Body.Data)) == m.Body.Size
	switch {
	case !whole && m.Body.Missing != "":
		note("captured %s of %s: %s", format.Bytes(int64(len(data))), format.Bytes(m.Body.Size), missing(m.Body.Missing))
	case !whole:
		note("%s of %s at hand", format.Bytes(int64(len(data))), format.Bytes(m.Body.Size))
	}
	coding := m.Get("Content-Encoding")
	if coding == "" || len(data) == 0 || m.Body.Decoded {
		return data, whole
	}
	plain, err := format.Decode(coding, data, maxJSON)
	switch {
	case err == nil:
		return plain, whole
	case len(plain) > 0:
		if whole || !errors.Is(err, format.ErrTruncated) {
			note("decoded %s: %v", format.Bytes(int64(len(plain))), err)
		}
		return plain, false
	default:
		note("compared as it came: %v", err)
		return data, whole
	}
}

// json compares two JSON bodies, one of which may be empty. It reports false
// where they have to be compared as text.
func (out *Body) json(x, y []byte, o Options) bool {
	var changes []Change
	var equal int
	var err error
	if len(x) == 0 || len(y) == 0 {
		c := Change{Path: ".", Op: Add, B: y}
		side := y
		if len(y) == 0 {
			c, side = Change{Path: ".", Op: Remove, A: x}, x
		}
		if _, err = parse(side, o); err == nil {
			changes = []Change{c}
		}
	} else {
		changes, equal, err = compareJSON(x, y, o)
	}
	if err != nil {
		// No JSON after all, or too much of it: lines still tell something.
		out.Notes = append(out.Notes, "compared as text: "+err.Error())
		return false
	}
	out.Kind = "json"
	out.changes(changes, equal)
	return true
}

func (out *Body) changes(changes []Change, equal int) {
	out.Changes = append(out.Changes, changes...)
	out.Counts.Equal += equal
	listed := 0
	for i := range changes {
		out.Counts.differs(changes[i].Op, changes[i].Ignored)
		if listed += b2i(changes[i].Op == Equal); listed == maxEqual {
			listed = 0
			out.Notes = append(out.Notes, "equal values beyond the first "+format.Count(maxEqual)+" are not listed")
		}
		if n := changes[i].Note; n != "" {
			out.Notes = append(out.Notes, changes[i].Path+": "+n)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// differs counts what a list of differences holds. Equal values are counted
// where they are found: not all of them are listed.
func (c *Counts) differs(op Op, ignored bool) {
	if op != Equal {
		c.count(op, ignored)
	}
}

func (c *Counts) count(op Op, ignored bool) {
	switch {
	case ignored:
		c.Ignored++
	case op == Add:
		c.Added++
	case op == Remove:
		c.Removed++
	case op == Move:
		c.Moved++
	case op == Equal:
		c.Equal++
	default:
		c.Changed++
	}
}

func (out *Body) fields(x, y []format.Pair, o Options) {
	if len(x) == format.MaxPairs || len(y) == format.MaxPairs {
		out.Notes = append(out.Notes, "only the first "+format.Count(format.MaxPairs)+" fields were compared")
		out.Incomplete = true
	}
	out.changes(compareFields(x, y, "", o))
}

// compareFields compares names and values, the n-th of a name with the n-th.
// The order of different names does not count.
func compareFields(x, y []format.Pair, prefix string, o Options) (changes []Change, equal int) {
	type field struct {
		name string
		n    int
	}
	number := func(pairs []format.Pair) []field {
		seen := make(map[string]int, len(pairs))
		out := make([]field, len(pairs))
		for i, p := range pairs {
			out[i] = field{p.Name, seen[p.Name]}
			seen[p.Name]++
		}
		return out
	}
	fx, fy := number(x), number(y)
	inX, inY := make(map[field]bool, len(x)), make(map[field]int, len(y))
	for j, f := range fy {
		inY[f] = j
	}
	change := func(f field, op Op, a, b json.RawMessage) {
		c := Change{Op: op, A: a, B: b}
		if prefix != "" {
			c.Path = prefix + "." + string(fieldPath(f.name, f.n))
		} else {
			c.Path = string(appendKey(nil, []byte(f.name), f.n))
		}
		steps := []step{{key: []byte(f.name)}}
		ignores := func(r *Rule) bool {
			if prefix != "" {
				return r.matchStart(prefix + "." + string(fieldPath(f.name, 0)))
			}
			return r.matchPath(steps)
		}
		for i := range o.Ignore {
			if c.Rule == "" && op != Equal && ignores(&o.Ignore[i]) {
				c.Rule = o.Ignore[i].text
			}
		}
		if c.Rule == "" && !o.Strict && op == Replace {
			c.Rule = volatile([]byte(f.name), a, b, kindString, kindString)
		}
		c.Ignored = c.Rule != ""
		changes = append(changes, c)
	}
	for i, f := range fx {
		inX[f] = true
		j, ok := inY[f]
		switch {
		case !ok:
			change(f, Remove, quoteText(x[i].Value), nil)
		case x[i].Value != y[j].Value:
			change(f, Replace, quoteText(x[i].Value), quoteText(y[j].Value))
		default:
			equal++
			if o.Equal {
				change(f, Equal, quoteText(x[i].Value), quoteText(y[j].Value))
			}
		}
	}
	for j, f := range fy {
		if !inX[f] {
			change(f, Add, nil, quoteText(y[j].Value))
		}
	}
	return changes, equal
}

// fieldPath is the name of a query field as a step of a path, without its dot.
func fieldPath(name string, n int) []byte {
	return bytes.TrimPrefix(appendKey(nil, []byte(name), n), []byte("."))
}

// quoteText writes any text as a JSON string, bytes that are not UTF-8 as they
// are: two different texts stay different.
func quoteText(s string) json.RawMessage {
	dst := make([]byte, 0, len(s)+2)
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ':
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// multipart compares parts of the same name, the n-th with the n-th.
func (out *Body) multipart(a, b *inspector.Message, x, y []byte, o Options) bool {
	var px, py []format.Part
	var err error
	if len(x) > 0 {
		if px, err = format.Multipart(a.Get("Content-Type"), x); err != nil {
			return false
		}
	}
	if len(y) > 0 {
		if py, err = format.Multipart(b.Get("Content-Type"), y); err != nil {
			return false
		}
	}
	out.Kind = "multipart"
	if len(px) == format.MaxParts || len(py) == format.MaxParts {
		out.Notes = append(out.Notes, "only the first "+format.Count(format.MaxParts)+" parts were compared")
		out.Incomplete = true
	}
	for i := range px {
		if px[i].Name == "" {
			px[i].Name = "part"
		}
	}
	for i := range py {
		if py[i].Name == "" {
			py[i].Name = "part"
		}
	}
	type id struct {
		name string
		n    int
	}
	inY := make(map[id]*format.Part, len(py))
	seen := map[string]int{}
	for i := range py {
		inY[id{py[i].Name, seen[py[i].Name]}] = &py[i]
		seen[py[i].Name]++
	}
	clear(seen)
	for i := range px {
		at := id{px[i].Name, seen[px[i].Name]}
		seen[px[i].Name]++
		path := appendKey(nil, []byte(at.name), at.n)
		if q, ok := inY[at]; ok {
			out.part(path, &px[i], q, o)
			delete(inY, at)
		} else {
			out.changes([]Change{out.ruled(Change{Path: string(path), Op: Remove, A: partValue(&px[i])}, at.name, o)}, 0)
		}
	}
	clear(seen)
	for i := range py {
		at := id{py[i].Name, seen[py[i].Name]}
		seen[py[i].Name]++
		if _, ok := inY[at]; ok {
			path := appendKey(nil, []byte(at.name), at.n)
			out.changes([]Change{out.ruled(Change{Path: string(path), Op: Add, B: partValue(&py[i])}, at.name, o)}, 0)
		}
	}
	return true
}

func (out *Body) part(path []byte, p, q *format.Part, o Options) {
	for _, f := range []struct{ name, a, b string }{{"filename", p.Filename, q.Filename}, {"type", p.Type, q.Type}} {
		if f.a != f.b {
			c := Change{Path: string(path) + "." + f.name, Op: Replace, A: quoteText(f.a), B: quoteText(f.b)}
			out.changes([]Change{out.ruled(c, p.Name, o)}, 0)
		}
	}
	if bytes.Equal(p.Data, q.Data) {
		out.Counts.Equal++
		if o.Equal {
			out.Changes = append(out.Changes, Change{Path: string(path), Op: Equal, A: partValue(p), B: partValue(q)})
		}
		return
	}
	if format.Sniff(p.Type, p.Data) == format.KindJSON && format.Sniff(q.Type, q.Data) == format.KindJSON {
		if changes, equal, err := compareJSON(p.Data, q.Data, o); err == nil {
			for i := range changes {
				// Paths within the part go on where the part's own ends.
				inner := changes[i].Path
				if inner == "." || strings.HasPrefix(inner, ".[") {
					inner = inner[1:]
				}
				changes[i].Path = string(path) + inner
				changes[i].Pointer = ""
			}
			out.changes(changes, equal)
			return
		}
	}
	out.changes([]Change{out.ruled(Change{Path: string(path), Op: Replace, A: partValue(p), B: partValue(q)}, p.Name, o)}, 0)
}

func (out *Body) ruled(c Change, name string, o Options) Change {
	for i := range o.Ignore {
		if o.Ignore[i].matchPath([]step{{key: []byte(name)}}) {
			c.Rule, c.Ignored = o.Ignore[i].text, true
			return c
		}
	}
	if !o.Strict && c.Op == Replace {
		c.Rule = volatile([]byte(name), c.A, c.B, kindString, kindString)
		c.Ignored = c.Rule != ""
	}
	return c
}

func partValue(p *format.Part) json.RawMessage {
	if len(p.Data) <= maxValue && utf8.Valid(p.Data) && p.Filename == "" {
		return quoteText(string(p.Data))
	}
	return fmt.Appendf(nil, `{"bytes":%d,"sha256":%q}`, len(p.Data), digest(p.Data))
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// indented returns JSON with one value a line, anything else as it is.
func indented(kind format.Kind, data []byte, o Options) []byte {
	if kind != format.KindJSON || closed(o.Done) {
		return data
	}
	var b bytes.Buffer
	if json.Indent(&b, bytes.TrimSpace(data), "", "  ") != nil {
		return data
	}
	return b.Bytes()
}

func (out *Body) text(x, y []byte, o Options) {
	out.Kind = "text"
	t := texts{done: o.Done}
	out.Lines = t.compare(string(x), string(y))
	for i := range out.Lines {
		out.Counts.count(out.Lines[i].Op, false)
	}
	if len(out.Lines) > maxLines {
		out.Notes = append(out.Notes, "lines beyond "+format.Count(maxLines)+" are compared as one")
	}
}

func (out *Body) binary(x, y []byte) {
	out.Kind = "binary"
	if bytes.Equal(x, y) {
		out.Counts.Equal = 1
		return
	}
	out.Counts.Changed = 1
	bin := &Binary{SHA256A: digest(x), SHA256B: digest(y)}
	n := min(len(x), len(y))
	at := mismatch(x, y, 0)
	bin.Offset = int64(at)
	for len(bin.Windows) < 3 && (at < n || at < max(len(x), len(y)) && len(bin.Windows) == 0) {
		start := at &^ 15
		window := func(b []byte) []byte {
			return b[min(start, len(b)):min(start+48, len(b)):min(start+48, len(b))]
		}
		bin.Windows = append(bin.Windows, Window{Offset: int64(start), A: window(x), B: window(y)})
		at = mismatch(x, y, start+48)
	}
	out.Binary = bin
}

// mismatch returns the first index from on at which x and y differ, at most the
// length of the shorter.
func mismatch(x, y []byte, from int) int {
	n := min(len(x), len(y))
	const block = 4096
	for from+block <= n && bytes.Equal(x[from:from+block], y[from:from+block]) {
		from += block
	}
	for from < n && x[from] == y[from] {
		from++
	}
	return from
}
