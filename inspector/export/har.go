package export

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// The HTTP archive as http://www.softwareishard.com/blog/har-12-spec/ has it.
// Names that begin with an underscore are ours, as the format allows.
type (
	archive struct {
		Log harLog `json:"log"`
	}
	harLog struct {
		Version string     `json:"version"`
		Creator harCreator `json:"creator"`
		Entries []harEntry `json:"entries"`
	}
	harCreator struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	harEntry struct {
		Started  time.Time   `json:"startedDateTime"`
		Time     float64     `json:"time"`
		Request  harRequest  `json:"request"`
		Response harResponse `json:"response"`
		Cache    struct{}    `json:"cache"`
		Timings  harTimings  `json:"timings"`
		Lrok     *harLrok    `json:"_lrok,omitempty"`
	}
	harRequest struct {
		Method      string    `json:"method"`
		URL         string    `json:"url"`
		Proto       string    `json:"httpVersion"`
		Cookies     []harPair `json:"cookies"`
		Headers     []harPair `json:"headers"`
		Query       []harPair `json:"queryString"`
		PostData    *harPost  `json:"postData,omitempty"`
		HeadersSize int64     `json:"headersSize"`
		BodySize    int64     `json:"bodySize"`
	}
	harPost struct {
		MimeType string    `json:"mimeType"`
		Text     string    `json:"text"`
		Params   []harPair `json:"params,omitempty"`
		Encoding string    `json:"_encoding,omitempty"`
	}
	harResponse struct {
		Status      int        `json:"status"`
		StatusText  string     `json:"statusText"`
		Proto       string     `json:"httpVersion"`
		Cookies     []harPair  `json:"cookies"`
		Headers     []harPair  `json:"headers"`
		Content     harContent `json:"content"`
		RedirectURL string     `json:"redirectURL"`
		HeadersSize int64      `json:"headersSize"`
		BodySize    int64      `json:"bodySize"`
	}
	harContent struct {
		Size        int64  `json:"size"`
		Compression int64  `json:"compression,omitempty"`
		MimeType    string `json:"mimeType"`
		Text        string `json:"text,omitempty"`
		Encoding    string `json:"encoding,omitempty"`
		Comment     string `json:"comment,omitempty"`
	}
	harPair struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	harTimings struct {
		Blocked float64 `json:"blocked"`
		DNS     float64 `json:"dns"`
		Connect float64 `json:"connect"`
		Send    float64 `json:"send"`
		Wait    float64 `json:"wait"`
		Receive float64 `json:"receive"`
		SSL     float64 `json:"ssl"`
	}
	// harLrok is what an archive has no field for. What is in Exchange is the
	// exchange without what the archive holds elsewhere.
	harLrok struct {
		ID       string         `json:"id,omitempty"`
		Number   uint64         `json:"number,omitempty"`
		Tunnel   string         `json:"tunnel,omitempty"`
		ReplayOf string         `json:"replayOf,omitempty"`
		Kind     inspector.Kind `json:"kind,omitempty"`
		Remote   string         `json:"remote,omitempty"`
		EndedBy  string         `json:"endedBy,omitempty"`
		Error    string         `json:"error,omitempty"`
		Detail   string         `json:"detail,omitempty"`
		Request  harBody        `json:"request"`
		Response harBody        `json:"response"`
	}
	harBody struct {
		Size     int64  `json:"size"`
		Captured int64  `json:"captured"`
		SHA256   string `json:"sha256,omitempty"`
		Missing  string `json:"missing,omitempty"`
	}
)

// HAR writes xs as an HTTP archive, version 1.2. Response bodies are decoded as
// browsers do; bodies that are not text are base64.
func HAR(xs []inspector.Exchange, o Options) ([]byte, error) {
	a := archive{Log: harLog{
		Version: "1.2",
		Creator: harCreator{Name: "lrok", Version: "1"},
		Entries: []harEntry{},
	}}
	for i := range xs {
		a.Log.Entries = append(a.Log.Entries, newEntry(&xs[i], o))
	}
	out, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write HTTP archive: %w", err)
	}
	return append(out, '\n'), nil
}

func newEntry(x *inspector.Exchange, o Options) harEntry {
	r := newRequest(x, o)
	e := harEntry{
		Started: x.Timing.Accepted,
		Timings: newTimings(x.Timing),
		Request: harRequest{
			Method: r.method, URL: r.url(), Proto: x.Proto,
			Cookies: []harPair{}, Headers: pairs(r.header), Query: []harPair{},
			HeadersSize: headSize(x.Request), BodySize: x.Request.Body.Size,
		},
		Lrok: &harLrok{
			ID: x.ID, Number: x.Number, Tunnel: x.Tunnel, ReplayOf: x.ReplayOf, Kind: x.Kind, Remote: x.Remote,
			EndedBy: x.EndedBy, Error: x.Error, Detail: x.Detail,
			Request: newHarBody(x.Request.Body), Response: newHarBody(x.Response.Body),
		},
	}
	for _, t := range []float64{e.Timings.Blocked, e.Timings.Connect, e.Timings.Send, e.Timings.Wait, e.Timings.Receive} {
		e.Time += max(t, 0)
	}
	e.Time = math.Round(e.Time*1e3) / 1e3 // whole microseconds, as its parts are
	for _, f := range r.header {
		if strings.EqualFold(f.Name, "Cookie") {
			for p := range strings.SplitSeq(f.Value, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
				e.Request.Cookies = append(e.Request.Cookies, harPair{Name: valid(name), Value: valid(value)})
			}
		}
	}
	if _, query, ok := strings.Cut(r.target, "?"); ok {
		query, _, _ = strings.Cut(query, "#")
		for _, p := range format.Form([]byte(query)) {
			e.Request.Query = append(e.Request.Query, harPair{Name: valid(p.Name), Value: valid(p.Value)})
		}
	}
	if len(r.body) > 0 {
		text, coded := bodyText(r.body)
		e.Request.PostData = &harPost{MimeType: valid(r.get("Content-Type")), Text: text, Encoding: coded}
	}
	e.Response = newResponse(x, o)
	return e
}

// notDecoded begins the comment on a body that is in the archive as it came.
const notDecoded = "not decoded: "

func newResponse(x *inspector.Exchange, o Options) harResponse {
	header := cleanHeader(x.Response.Header)
	if o.Redact {
		redactHeader(header)
	}
	get := inspector.Message{Header: header}.Get
	body := x.Response.Body
	resp := harResponse{
		Status: x.Status, StatusText: valid(x.Reason), Proto: x.Proto,
		Cookies: []harPair{}, Headers: pairs(header), RedirectURL: valid(get("Location")),
		HeadersSize: headSize(x.Response), BodySize: body.Size,
		Content: harContent{Size: body.Size, MimeType: valid(get("Content-Type")), Comment: cutNote(body)},
	}
	for _, f := range header {
		if strings.EqualFold(f.Name, "Set-Cookie") {
			pair, _, _ := strings.Cut(f.Value, ";")
			name, value, _ := strings.Cut(pair, "=")
			resp.Cookies = append(resp.Cookies, harPair{Name: valid(strings.TrimSpace(name)), Value: valid(value)})
		}
	}
	data := body.Data
	if coding := get("Content-Encoding"); coding != "" && len(data) > 0 && !body.Decoded {
		decoded, err := format.Decode(coding, data, format.MaxLimit)
		if err == nil {
			resp.Content.Compression = int64(len(decoded)) - body.Size
			resp.Content.Size = int64(len(decoded))
			data = decoded
		} else {
			resp.Content.Comment = strings.Trim(resp.Content.Comment+"; "+notDecoded+valid(format.Sanitize(err.Error())), "; ")
		}
	}
	resp.Content.Text, resp.Content.Encoding = bodyText(data)
	return resp
}

func newTimings(t inspector.Timing) harTimings {
	ms := func(d time.Duration) float64 { return float64(max(d, 0).Microseconds()) / 1e3 }
	first := t.FirstByte
	if first == 0 {
		first = t.Done
	}
	h := harTimings{DNS: -1, SSL: -1, Connect: -1, Blocked: ms(t.StreamOpen), Receive: ms(t.Done - first)}
	if t.Dial > 0 {
		h.Connect = ms(t.Dial)
	}
	h.Wait = ms(first - t.StreamOpen - t.Dial)
	return h
}

func newHarBody(b inspector.Body) harBody {
	return harBody{Size: b.Size, Captured: b.Captured, SHA256: b.SHA256, Missing: b.Missing}
}

func headSize(m inspector.Message) int64 {
	if len(m.Head) == 0 {
		return -1
	}
	return int64(len(m.Head))
}

func pairs(header []inspector.Field) []harPair {
	out := make([]harPair, 0, len(header))
	for _, f := range header {
		out = append(out, harPair{Name: f.Name, Value: valid(f.Value)})
	}
	return out
}

// valid makes s something that JSON can hold: bytes that are no UTF-8 are read
// as Latin-1, which is what an old header means by them.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}

// bodyText gives the text of a body and the coding it is in: none or base64.
func bodyText(data []byte) (text, coding string) {
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return base64.StdEncoding.EncodeToString(data), "base64"
	}
	return string(data), ""
}

// An Archive is an HTTP archive that was read.
type Archive struct{ entries []harEntry }

// ParseHAR reads an HTTP archive, one of ours or a browser's.
func ParseHAR(data []byte) (Archive, error) {
	var a archive
	if err := json.Unmarshal(data, &a); err != nil {
		return Archive{}, fmt.Errorf("read HTTP archive: %w", err)
	}
	if a.Log.Version == "" && len(a.Log.Entries) == 0 {
		return Archive{}, errors.New(`read HTTP archive: there is no "log" in it`)
	}
	return Archive{a.Log.Entries}, nil
}

// Len is the number of entries.
func (a Archive) Len() int { return len(a.entries) }

// Exchange is entry n, counted from 1. Browsers note what is no HTTP as well, data:
// URLs for one, so entries are read, and may be wrong, each by itself. A response
// body comes decoded, whatever its Content-Encoding says, because archives hold it
// so.
func (a Archive) Exchange(n int) (inspector.Exchange, error) {
	if n < 1 || n > len(a.entries) {
		return inspector.Exchange{}, fmt.Errorf("the archive has %d entries", len(a.entries))
	}
	x, err := a.entries[n-1].exchange(n)
	if err != nil {
		return x, fmt.Errorf("read HTTP archive: entry %d: %w", n, err)
	}
	return x, nil
}

func (e *harEntry) exchange(number int) (inspector.Exchange, error) {
	address, kind := e.Request.URL, inspector.HTTP
	if before, rest, ok := strings.Cut(address, "://"); ok && (strings.EqualFold(before, "ws") || strings.EqualFold(before, "wss")) {
		address, kind = "http"+before[2:]+"://"+rest, inspector.WebSocket
	}
	scheme, host, target := splitURL(address)
	if scheme == "" {
		url := format.Sanitize(e.Request.URL)
		if len(url) > 100 { // a data: URL is as long as its data
			url = url[:100] + "..."
		}
		return inspector.Exchange{}, fmt.Errorf("%q is not an http or https URL", url)
	}
	x := inspector.Exchange{
		ID: fmt.Sprintf("har_%d", number), Number: uint64(number), State: inspector.Done, Kind: kind,
		Method: e.Request.Method, Scheme: strings.ToLower(scheme), Host: host, Path: target, Proto: e.Request.Proto,
		Status: e.Response.Status, Reason: e.Response.StatusText,
	}
	x.Request.Header = fields(e.Request.Headers)
	x.Response.Header = fields(e.Response.Headers)
	if p := e.Request.PostData; p != nil {
		text := p.Text
		if text == "" && len(p.Params) > 0 {
			text = joinForm(p.Params)
		}
		body, err := bodyData(text, p.Encoding)
		if err != nil {
			return inspector.Exchange{}, fmt.Errorf("request body: %w", err)
		}
		x.Request.Body = newBody(body)
	}
	body, err := bodyData(e.Response.Content.Text, e.Response.Content.Encoding)
	if err != nil {
		return inspector.Exchange{}, fmt.Errorf("response body: %w", err)
	}
	x.Response.Body = newBody(body)
	x.Response.Body.Decoded = !strings.Contains(e.Response.Content.Comment, notDecoded)
	ms := func(f float64) time.Duration {
		// Durations of more than a year are nonsense in any archive.
		return time.Duration(min(max(f, 0), 3.2e10) * float64(time.Millisecond))
	}
	x.Timing = inspector.Timing{
		Accepted:   e.Started,
		StreamOpen: ms(e.Timings.Blocked),
		Dial:       ms(e.Timings.Connect),
		FirstByte:  ms(e.Time - max(e.Timings.Receive, 0)),
		Done:       ms(e.Time),
	}
	if l := e.Lrok; l != nil {
		x.Tunnel, x.ReplayOf, x.Remote = l.Tunnel, l.ReplayOf, l.Remote
		x.EndedBy, x.Error, x.Detail = l.EndedBy, l.Error, l.Detail
		if l.ID != "" {
			x.ID = l.ID
		}
		if l.Kind != "" {
			x.Kind = l.Kind
		}
		restoreBody(&x.Request.Body, l.Request)
		restoreBody(&x.Response.Body, l.Response)
	}
	return x, nil
}

func fields(pairs []harPair) []inspector.Field {
	var out []inspector.Field
	for _, p := range pairs {
		if strings.HasPrefix(p.Name, ":") {
			continue // browsers list HTTP/2's pseudo-headers
		}
		out = append(out, inspector.Field{Name: p.Name, Value: p.Value})
	}
	return out
}

func bodyData(text, coding string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	if coding == "base64" {
		return base64.StdEncoding.DecodeString(text)
	}
	return []byte(text), nil
}

func newBody(data []byte) inspector.Body {
	return inspector.Body{Size: int64(len(data)), Captured: int64(len(data)), Data: data}
}

// restoreBody takes over what our own archives say of a body that was not
// captured whole.
func restoreBody(b *inspector.Body, h harBody) {
	b.Missing = h.Missing
	if h.Size > h.Captured {
		b.Size = max(h.Size, b.Captured)
	}
}

func joinForm(params []harPair) string {
	var b strings.Builder
	for i, p := range params {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value))
	}
	return b.String()
}
