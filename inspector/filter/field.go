package filter

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// A field is a name that queries may use. Help and completion are made from
// this table.
type field struct {
	name    string
	kind    kind
	side    side
	help    string
	example string
	parse   func(p *parser, f *field, v value) (*term, *Error)
}

type kind uint8

const (
	kindWord kind = iota
	kindStatus
	kindMethod
	kindPath
	kindEvent
	kindHost
	kindTunnel
	kindID
	kindCode
	kindDuration
	kindSize
	kindAge
	kindType
	kindProto
	kindHeader
	kindIP
	kindBody
	kindJSON
	kindIs
	kindGRPC
)

type side uint8

const (
	either side = iota
	request
	response
)

var fields []field

func init() { // not a literal: the parse functions refer to the table
	fields = []field{
		{"status", kindStatus, either, "status code, class or range", "status:5xx", parseStatus},
		{"method", kindMethod, either, "request method", "method:POST", parseNames},
		{"path", kindPath, either, "part of the path and query, * for anything", "path:/webhooks", parseText},
		{"event", kindEvent, either, "part of a webhook's event, * for anything", "event:invoice.*", parseText},
		{"host", kindHost, either, "part of the host name", "host:acme", parseText},
		{"dur", kindDuration, either, "how long it took", "dur>500ms", parseDuration},
		{"size", kindSize, either, "bytes in the larger body", "size>10k", parseSize},
		{"req.size", kindSize, request, "bytes in the request body", "req.size>10k", parseSize},
		{"resp.size", kindSize, response, "bytes in the response body", "resp.size>10k", parseSize},
		{"age", kindAge, either, "how long ago it came", "age<5m", parseDuration},
		{"type", kindType, either, "content type of either body", "type:json", parseNames},
		{"req.type", kindType, request, "content type of the request", "req.type:form", parseNames},
		{"resp.type", kindType, response, "content type of the response", "resp.type:html", parseNames},
		{"header", kindHeader, either, "a header of either side, or a part of its value", "header:x-id=abc", parseHeader},
		{"req.header", kindHeader, request, "a request header", "req.header:authorization", parseHeader},
		{"resp.header", kindHeader, response, "a response header", "resp.header:location=/login", parseHeader},
		{"ip", kindIP, either, "client address or network", "ip:203.0.113.0/24", parseIP},
		{"body", kindBody, either, "text in either body", `body:"card_declined"`, parseBody},
		{"req.body", kindBody, request, "text in the request body", "req.body:refund", parseBody},
		{"resp.body", kindBody, response, "text in the response body", "resp.body:error", parseBody},
		{"json", kindJSON, either, "a value in a JSON body", `json:.data.status=="open"`, parseJSON},
		{"req.json", kindJSON, request, "a value in a JSON request", "req.json:.type~^invoice", parseJSON},
		{"resp.json", kindJSON, response, "a value in a JSON response", "resp.json:.ok==false", parseJSON},
		{"is", kindIs, either, "replay, marked, inflight, ws, sse, grpc, error, new, truncated", "is:error", parseNames},
		{"grpc", kindGRPC, either, "how a gRPC call ended: a code by name or number", "grpc:unavailable", parseNames},
		{"proto", kindProto, either, "protocol of the client", "proto:h2", parseNames},
		{"tunnel", kindTunnel, either, "part of the tunnel's name", "tunnel:acme", parseText},
		{"id", kindID, either, "part of the id", "id:req_01", parseText},
		{"code", kindCode, either, "why lrok answered or cut it short", "code:upstream_refused", parseText},
	}
}

func fieldNamed(name string) *field {
	for i := range fields {
		if strings.EqualFold(fields[i].name, name) {
			return &fields[i]
		}
	}
	return nil
}

func fieldNames() []string {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].name
	}
	return names
}

// A term is one condition.
type term struct {
	kind   kind
	side   side
	negate bool // !=, for the kinds that have it
	text   string

	ranges   []span       // status, gRPC status, duration, size, age
	patterns []pattern    // one of them must match; a header's value
	header   *pattern     // the header's name
	exists   bool         // the header's name is enough
	prefix   netip.Prefix // ip
	json     jsonTerm
	flags    []flag
}

// A span holds the numbers from lo to hi, both included.
type span struct{ lo, hi int64 }

type flag uint8

const (
	flagReplay flag = iota
	flagMarked
	flagInflight
	flagWS
	flagSSE
	flagGRPC
	flagError
	flagNew
	flagTruncated
)

var flagNames = []string{"replay", "marked", "inflight", "ws", "sse", "grpc", "error", "new", "truncated"}

var protoNames = []string{"h1", "h2", "h3", "grpc", "http/1.0", "http/1.1", "http/2.0", "http/3.0"}

// canonical writes a term back; the pieces keep their quotes where these mean
// something.
func canonical(name, operator string, v value) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteString(operator)
	if operator == "=" && len(v.pieces) > 0 && !v.pieces[0].quoted && strings.HasPrefix(v.pieces[0].text, "=") {
		b.WriteByte('=') // or the value's own would be taken for the operator's
	}
	if v.regexp != "" {
		b.WriteByte('~')
		// Only the escapes that hide a ~ were resolved when it was read.
		esc := false
		for i := range len(v.regexp) {
			c := v.regexp[i]
			if c == '~' && !esc {
				b.WriteByte('\\')
			}
			esc = c == '\\' && !esc
			b.WriteByte(c)
		}
		b.WriteByte('~')
		return b.String()
	}
	for _, pc := range v.pieces {
		switch {
		case !pc.quoted:
			b.WriteString(pc.text)
		case len(v.pieces) == 1:
			b.WriteString(quote(pc.text))
		default:
			b.WriteString(alwaysQuote(pc.text))
		}
	}
	return b.String()
}

func alwaysQuote(s string) string {
	if bareWord(s) || s == "" || strings.EqualFold(s, "and") || strings.EqualFold(s, "or") || strings.EqualFold(s, "not") {
		return `"` + s + `"`
	}
	return quote(s)
}

// word is a free word or a ~regular expression~.
func (p *parser) word(v value) (*term, *Error) {
	pt, err := p.pattern(v, false)
	if err != nil {
		return nil, err
	}
	return &term{kind: kindWord, patterns: []pattern{pt}, text: canonical("", "", v)}, nil
}

// operators checks v's operator and says which there are.
func (p *parser) operators(f *field, v value, allowed ...string) *Error {
	if slices.Contains(allowed, v.operator) {
		return nil
	}
	return p.fail(v.pos-len(v.operator), "%s cannot be compared with %s, write %s", f.name, v.operator, f.example)
}

// parseText is for substrings (:), whole values (=) and their negation (!=).
func parseText(p *parser, f *field, v value) (*term, *Error) {
	if err := p.operators(f, v, ":", "=", "==", "!="); err != nil {
		return nil, err
	}
	if v.operator == "==" {
		v.operator = "="
	}
	pt, err := p.pattern(v, v.operator != ":")
	if err != nil {
		return nil, err
	}
	return &term{
		kind: f.kind, patterns: []pattern{pt}, negate: v.operator == "!=",
		text: canonical(f.name, v.operator, v),
	}, nil
}

// list splits v at its commas and takes a leading ! for negation.
func (p *parser) list(f *field, v value) (items []string, negate bool, err *Error) {
	if v.regexp != "" {
		return nil, false, p.fail(v.pos, "%s takes no regular expression, write %s", f.name, f.example)
	}
	text := lower(v.text())
	negate = v.operator == "!="
	if strings.HasPrefix(text, "!") {
		negate = !negate
		text = text[1:]
	}
	for _, item := range strings.Split(text, ",") {
		if item == "" || item[0] == '!' {
			return nil, false, p.fail(v.pos, "%s needs a value, such as %s", f.name, f.example)
		}
		items = append(items, item)
	}
	return items, negate, nil
}

func listText(f *field, items []string, negate bool) string {
	bang := ""
	if negate {
		bang = "!"
	}
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = s
		if !bareWord(s) {
			quoted[i] = alwaysQuote(s)
		}
	}
	return f.name + ":" + bang + strings.Join(quoted, ",")
}

// parseNames is for fields whose value is one or several of a few words.
func parseNames(p *parser, f *field, v value) (*term, *Error) {
	if err := p.operators(f, v, ":", "=", "==", "!="); err != nil {
		return nil, err
	}
	items, negate, err := p.list(f, v)
	if err != nil {
		return nil, err
	}
	t := &term{kind: f.kind, side: f.side, negate: negate}
	for i, s := range items {
		switch f.kind {
		case kindMethod:
			if ascii(s) {
				items[i] = strings.ToUpper(s)
			}
			t.patterns = append(t.patterns, newPattern(strings.Split(s, "*"), true))
		case kindType:
			t.patterns = append(t.patterns, newPattern(strings.Split(mediaType(s), "*"), false))
		case kindProto:
			if !slices.Contains(protoNames, s) {
				e := p.fail(v.pos, "there is no protocol %s", quote(s))
				e.Nearest = nearest(s, protoNames)
				return nil, e
			}
			t.patterns = append(t.patterns, newPattern([]string{protoText(s)}, false))
		case kindIs:
			k := slices.Index(flagNames, s)
			if k < 0 {
				e := p.fail(v.pos, "is: does not know %s", quote(s))
				if e.Nearest = nearest(s, flagNames); e.Nearest == "" {
					e.Message += ", but " + strings.Join(flagNames, ", ")
				}
				return nil, e
			}
			t.flags = append(t.flags, flag(k))
		case kindGRPC:
			code, ok := grpcCode(s)
			if !ok {
				e := p.fail(v.pos, "gRPC has no code %s", quote(s))
				e.Nearest = nearest(s, inspector.GRPCCodes())
				return nil, e
			}
			t.ranges = append(t.ranges, span{code, code})
			items[i] = inspector.GRPCStatus{Code: int(code)}.Name()
		}
	}
	t.text = listText(f, items, negate)
	return t, nil
}

// grpcCode reads unavailable, not_found, Not-Found and 14.
func grpcCode(s string) (int64, bool) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return int64(n), true
	}
	letters := strings.NewReplacer("_", "", "-", "", " ", "")
	s = letters.Replace(s)
	if s == "canceled" {
		s = "cancelled"
	}
	for i, name := range inspector.GRPCCodes() {
		if letters.Replace(name) == s {
			return int64(i), true
		}
	}
	return 0, false
}

// mediaType turns the short names that people use into a part of the media type.
func mediaType(s string) string {
	switch s {
	case "form":
		return "x-www-form-urlencoded"
	case "js":
		return "javascript"
	case "sse":
		return "event-stream"
	case "text":
		return "text/"
	case "binary":
		return "octet-stream"
	}
	return s
}

func protoText(s string) string {
	switch s {
	case "h1":
		return "http/1"
	case "h2":
		return "http/2"
	case "h3":
		return "http/3"
	}
	return s
}

func parseStatus(p *parser, f *field, v value) (*term, *Error) {
	items, negate, err := p.list(f, v)
	if err != nil {
		return nil, err
	}
	t := &term{kind: kindStatus, negate: negate}
	if len(items) > 1 || v.operator == ":" || v.operator == "=" || v.operator == "==" || v.operator == "!=" {
		if err := p.operators(f, v, ":", "=", "==", "!="); err != nil {
			return nil, err
		}
		for _, s := range items {
			lo, hi, dash := strings.Cut(strings.Replace(s, "..", "-", 1), "-")
			a, ok := statusSpan(lo)
			if dash && ok {
				var b span
				b, ok = statusSpan(hi)
				ok = ok && a.lo <= b.hi
				a.hi = b.hi
			}
			if !ok {
				return nil, p.fail(v.pos, "%s is no status, write %s or status:200-299", quote(s), f.example)
			}
			t.ranges = append(t.ranges, a)
		}
		t.text = listText(f, items, negate)
		return t, nil
	}
	r, ok := statusSpan(items[0])
	if !ok || negate {
		return nil, p.fail(v.pos, "%s is no status to compare with, write status%s400", quote(v.text()), v.operator)
	}
	t.ranges = []span{compare(v.operator, r)}
	t.text = f.name + v.operator + items[0]
	return t, nil
}

// statusSpan reads 404, 40x, 4xx and 4.
func statusSpan(s string) (span, bool) {
	if len(s) != 3 || s[0] < '1' || s[0] > '9' {
		return span{}, false
	}
	var r span
	wild := false
	for i := range 3 {
		r.lo, r.hi = r.lo*10, r.hi*10
		switch c := s[i]; {
		case c == 'x':
			wild = true
			r.hi += 9
		case '0' <= c && c <= '9' && !wild:
			r.lo += int64(c - '0')
			r.hi += int64(c - '0')
		default:
			return span{}, false
		}
	}
	return r, true
}

// compare turns an operator and its right side into the numbers that pass.
func compare(operator string, r span) span {
	switch operator {
	case ">":
		return span{min(r.hi, math.MaxInt64-1) + 1, math.MaxInt64}
	case ">=":
		return span{r.lo, math.MaxInt64}
	case "<":
		return span{0, r.lo - 1}
	case "<=":
		return span{0, r.hi}
	}
	return r
}

func parseDuration(p *parser, f *field, v value) (*term, *Error) {
	return parseQuantity(p, f, v, duration)
}

func parseSize(p *parser, f *field, v value) (*term, *Error) {
	return parseQuantity(p, f, v, size)
}

// parseQuantity reads one number to compare with, or a range from..to.
func parseQuantity(p *parser, f *field, v value, number func(string) (int64, bool)) (*term, *Error) {
	if v.regexp != "" {
		return nil, p.fail(v.pos, "%s takes no regular expression, write %s", f.name, f.example)
	}
	text := lower(v.text())
	t := &term{kind: f.kind, side: f.side}
	if lo, hi, ok := strings.Cut(text, ".."); ok {
		if err := p.operators(f, v, ":", "=", "=="); err != nil {
			return nil, err
		}
		a, okA := number(lo)
		b, okB := number(hi)
		if !okA || !okB || a > b {
			return nil, p.fail(v.pos, "%s is no range, write one like %s:%s..%s", quote(text), f.name, sample(f, 0), sample(f, 1))
		}
		t.ranges = []span{{a, b}}
		t.text = f.name + ":" + text
		return t, nil
	}
	if err := p.operators(f, v, ">", ">=", "<", "<="); err != nil {
		return nil, err
	}
	n, ok := number(text)
	if !ok {
		return nil, p.fail(v.pos, "%s is no %s, write %s", quote(text), noun(f), f.example)
	}
	t.ranges = []span{compare(v.operator, span{n, n})}
	t.text = f.name + v.operator + text
	return t, nil
}

func noun(f *field) string {
	if f.kind == kindSize {
		return "size"
	}
	return "duration"
}

func sample(f *field, i int) string {
	if f.kind == kindSize {
		return [...]string{"1k", "10k"}[i]
	}
	return [...]string{"100ms", "2s"}[i]
}

// duration reads 500ms, 1.5s, 1m30s, 2d; a bare number counts milliseconds.
func duration(s string) (int64, bool) {
	if n, ok := decimal(s, float64(time.Millisecond)); ok {
		return n, true
	}
	if d, ok := strings.CutSuffix(s, "d"); ok {
		return decimal(d, float64(24*time.Hour))
	}
	d, err := time.ParseDuration(s)
	return int64(d), err == nil && d >= 0
}

// size reads 300, 10k, 1.5mb, 2GiB, all in powers of 1024 as the screen shows
// them.
func size(s string) (int64, bool) {
	s = strings.TrimSuffix(s, "b")
	s = strings.TrimSuffix(s, "i")
	unit := 1.0
	if s != "" {
		if k := strings.IndexByte("kmgt", s[len(s)-1]); k >= 0 {
			unit = math.Pow(1024, float64(k+1))
			s = s[:len(s)-1]
		}
	}
	return decimal(s, unit)
}

// decimal is for plain numbers only: strconv alone would take 1e9, 0x10 and inf.
func decimal(s string, unit float64) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if f *= unit; err != nil || f > math.MaxInt64/2 {
		return 0, false
	}
	return int64(math.Round(f)), true
}

func parseIP(p *parser, f *field, v value) (*term, *Error) {
	if err := p.operators(f, v, ":", "=", "==", "!="); err != nil {
		return nil, err
	}
	s := v.text()
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil || v.regexp != "" || addr.Zone() != "" {
			return nil, p.fail(v.pos, "%s is no address or network, write ip:203.0.113.7 or %s", quote(s), f.example)
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if a := prefix.Addr(); a.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96)
	}
	prefix = prefix.Masked()
	t := &term{kind: kindIP, prefix: prefix, negate: v.operator == "!="}
	operator := ":"
	if t.negate {
		operator = "!="
	}
	t.text = f.name + operator + prefix.String()
	if prefix.IsSingleIP() {
		t.text = f.name + operator + prefix.Addr().String()
	}
	return t, nil
}

func parseBody(p *parser, f *field, v value) (*term, *Error) {
	if err := p.operators(f, v, ":"); err != nil {
		return nil, err
	}
	if err := p.readsBody(v.pos); err != nil {
		return nil, err
	}
	pt, err := p.pattern(v, false)
	if err != nil {
		return nil, err
	}
	return &term{kind: kindBody, side: f.side, patterns: []pattern{pt}, text: canonical(f.name, ":", v)}, nil
}

func (p *parser) readsBody(pos int) *Error {
	if p.bodies++; p.bodies > maxBodyTerms {
		return p.fail(pos, "more than %d terms look into bodies", maxBodyTerms)
	}
	return nil
}

// parseHeader reads NAME, NAME=part, NAME==whole, NAME!=part and NAME~regexp.
func parseHeader(p *parser, f *field, v value) (*term, *Error) {
	if err := p.operators(f, v, ":"); err != nil {
		return nil, err
	}
	if v.regexp != "" {
		return nil, p.fail(v.pos, "the name of a header comes first, write %s", f.example)
	}
	name, operator, val := v.split("!=", "=~", "==", "=", "~")
	if operator == "=~" {
		operator = "~"
	}
	if len(name.pieces) == 0 || name.text() == "" {
		return nil, p.fail(v.pos, "the name of a header comes first, write %s", f.example)
	}
	np, err := p.pattern(name, true)
	if err != nil {
		return nil, err
	}
	t := &term{kind: kindHeader, side: f.side, header: &np, negate: operator == "!="}
	t.text = canonical(f.name, ":", name)
	if operator == "" {
		t.exists = true
		return t, nil
	}
	var vp pattern
	if operator == "~" {
		re, err := p.regexp(val.text(), v.pos)
		if err != nil {
			return nil, err
		}
		vp = pattern{re: re}
	} else {
		vp, err = p.pattern(val, operator == "==")
		if err != nil {
			return nil, err
		}
	}
	t.patterns = []pattern{vp}
	t.text = canonical(t.text, operator, val)
	return t, nil
}

// split cuts v at the first of the operators that stands outside of quotes,
// parentheses and brackets.
func (v value) split(operators ...string) (left value, operator string, right value) {
	depth := 0
	for i, pc := range v.pieces {
		if pc.quoted {
			continue
		}
		for k := range len(pc.text) {
			switch pc.text[k] {
			case '(', '[':
				depth++
			case ')', ']':
				depth--
			}
			if depth > 0 {
				continue
			}
			for _, o := range operators {
				if !strings.HasPrefix(pc.text[k:], o) {
					continue
				}
				left.pieces = append(left.pieces, v.pieces[:i]...)
				if k > 0 {
					left.pieces = append(left.pieces, piece{text: pc.text[:k], pos: pc.pos})
				}
				if rest := pc.text[k+len(o):]; rest != "" {
					right.pieces = append(right.pieces, piece{text: rest, pos: pc.pos + k + len(o)})
				}
				right.pieces = append(right.pieces, v.pieces[i+1:]...)
				left.pos, right.pos = v.pos, pc.pos+k+len(o)
				return left, o, right
			}
		}
	}
	return v, "", value{}
}

// match tells whether x meets the condition.
func (t *term) match(x *inspector.Exchange, e *Env) bool {
	switch t.kind {
	case kindWord:
		return t.word(x)
	case kindStatus:
		return x.Status != 0 && t.within(int64(x.Status)) != t.negate
	case kindMethod:
		return t.any(x.Method) != t.negate
	case kindPath:
		if p := &t.patterns[0]; p.whole && p.match(pathOnly(x.Path)) {
			return !t.negate
		}
		return t.any(x.Path) != t.negate
	case kindHost:
		if p := &t.patterns[0]; p.whole && p.match(hostOnly(x.Host)) {
			return !t.negate
		}
		return t.any(x.Host) != t.negate
	case kindEvent:
		return t.any(x.Event) != t.negate
	case kindTunnel:
		return t.any(x.Tunnel) != t.negate
	case kindID:
		return t.any(x.ID) != t.negate
	case kindCode:
		return t.any(x.Error) != t.negate
	case kindDuration:
		return t.within(int64(x.Duration(e.now())))
	case kindAge:
		return t.within(int64(max(0, e.now().Sub(x.Timing.Accepted))))
	case kindSize:
		switch t.side {
		case request:
			return t.within(x.Request.Body.Size)
		case response:
			return t.within(x.Response.Body.Size)
		}
		return t.within(max(x.Request.Body.Size, x.Response.Body.Size))
	case kindType:
		return (t.side != request && t.any(mediaTypeOf(&x.Response)) ||
			t.side != response && t.any(mediaTypeOf(&x.Request))) != t.negate
	case kindProto:
		found := t.any(x.Proto)
		if x.IsGRPC() {
			found = found || t.any("grpc")
		}
		return found != t.negate
	case kindGRPC:
		s, ok := x.GRPC()
		return ok && t.within(int64(s.Code)) != t.negate
	case kindHeader:
		return t.headers(x)
	case kindIP:
		return t.prefix.Contains(address(x.Remote)) != t.negate
	case kindBody:
		req, resp := e.body(x)
		return t.side != request && t.any(view(resp)) || t.side != response && t.any(view(req))
	case kindJSON:
		req, resp := e.body(x)
		return t.side != request && t.json.match(view(resp)) || t.side != response && t.json.match(view(req))
	case kindIs:
		for _, f := range t.flags {
			if is(f, x, e) {
				return !t.negate
			}
		}
		return t.negate
	}
	return false
}

func (e *Env) now() time.Time {
	if e.Now.IsZero() {
		return time.Now()
	}
	return e.Now
}

func (e *Env) body(x *inspector.Exchange) (req, resp []byte) {
	if e.Body != nil {
		return e.Body(x)
	}
	return x.Request.Body.Data, x.Response.Body.Data
}

// any reports whether one of the patterns is found in s.
func (t *term) any(s string) bool {
	for i := range t.patterns {
		if t.patterns[i].match(s) {
			return true
		}
	}
	return false
}

func (t *term) within(n int64) bool {
	for _, r := range t.ranges {
		if r.lo <= n && n <= r.hi {
			return true
		}
	}
	return false
}

// word looks through method, path and status. A quoted phrase may reach from
// one into the next: "post /webhooks". Of a connection without HTTP it looks
// through the client's address, the host and how it ended.
func (t *term) word(x *inspector.Exchange) bool {
	p := &t.patterns[0]
	if x.Kind == inspector.TCP || x.Kind == inspector.TLS {
		return p.match(x.Remote) || p.match(x.Host) || p.match(x.Detail)
	}
	if p.re == nil && len(p.parts) == 1 && strings.IndexByte(p.parts[0], ' ') < 0 {
		if p.match(x.Path) || p.match(x.Method) || x.Event != "" && p.match(x.Event) {
			return true
		}
		if class := p.parts[0]; len(class) == 3 && class[1:] == "xx" && x.Status != 0 && x.Status/100 == int(class[0]-'0') {
			return true
		}
		return x.Status != 0 && digits(p.parts[0]) && p.match(strconv.Itoa(x.Status))
	}
	line := x.Method + " " + x.Path
	if x.Event != "" {
		line += " " + x.Event
	}
	if x.Status != 0 {
		line += " " + strconv.Itoa(x.Status)
	}
	return p.match(line)
}

// digits keeps words that cannot be part of a status from making it a string.
func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func (t *term) headers(x *inspector.Exchange) bool {
	named, matched := false, false
	look := func(fields []inspector.Field) {
		for i := range fields {
			if !t.header.match(fields[i].Name) {
				continue
			}
			named = true
			matched = matched || !t.exists && t.any(fields[i].Value)
		}
	}
	if t.side != response {
		look(x.Request.Header)
		look(x.Request.Trailer)
	}
	if t.side != request {
		look(x.Response.Header)
		look(x.Response.Trailer)
	}
	if t.exists {
		return named
	}
	return named && matched != t.negate
}

func is(f flag, x *inspector.Exchange, e *Env) bool {
	switch f {
	case flagReplay:
		return x.ReplayOf != ""
	case flagMarked:
		return e.Marked != nil && e.Marked(x.ID)
	case flagInflight:
		return x.State == inspector.Open
	case flagWS:
		return x.Kind == inspector.WebSocket
	case flagSSE:
		return x.Kind == inspector.SSE
	case flagGRPC:
		return x.IsGRPC()
	case flagError:
		return x.Erred()
	case flagNew:
		return e.Unseen != nil && e.Unseen(x.ID)
	case flagTruncated:
		return x.Request.Body.Truncated() || x.Response.Body.Truncated()
	}
	return false
}

func pathOnly(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}

func mediaTypeOf(m *inspector.Message) string {
	for i := range m.Header {
		if strings.EqualFold(m.Header[i].Name, "content-type") {
			t, _, _ := strings.Cut(m.Header[i].Value, ";")
			return t
		}
	}
	return ""
}

func address(remote string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, _ := netip.ParseAddr(remote)
	return a.Unmap().WithZone("")
}
