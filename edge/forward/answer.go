package forward

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

var (
	errConnect     = &http1.Error{Status: 405, Code: "connect_refused", Message: "CONNECT is not served here"}
	errBodyTimeout = &http1.Error{Status: 408, Code: "request_timeout", Message: "the request body stopped arriving"}
	errUpgradeH2C  = &http1.Error{Status: 400, Code: "upgrade_refused", Message: "HTTP/2 cannot be reached through Upgrade"}
)

// statusOf is the HTTP status of an error of the edge.
func statusOf(code string) int {
	switch code {
	case tunnel.CodeTunnelNotFound, tunnel.CodeNotFound:
		return http.StatusNotFound
	case tunnel.CodeAgentOffline, tunnel.CodeTooManyStreams, tunnel.CodeDraining:
		return http.StatusServiceUnavailable
	case tunnel.CodeUpstreamTimeout:
		return http.StatusGatewayTimeout
	case tunnel.CodeUnauthorized:
		return http.StatusUnauthorized
	case tunnel.CodeAccessDenied:
		return http.StatusForbidden
	case tunnel.CodeLimit:
		return http.StatusTooManyRequests
	case tunnel.CodeMisdirected:
		return http.StatusMisdirectedRequest
	}
	return http.StatusBadGateway
}

// refuse answers a request that could not be understood and was not captured,
// and ends the connection.
func (c *conn) refuse(e *http1.Error) {
	c.out = appendOwn(c.out[:0], e.Status, &refusal{err: &tunnel.Error{Code: e.Code, Message: e.Message}}, false, false, false)
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.f.cfg.HeaderTimeout))
	if _, err := c.nc.Write(c.out); err == nil {
		c.linger()
	}
}

// answer gives the edge's own answer to x, records it, and ends the connection.
func (c *conn) answer(x *flight, e *tunnel.Error) { c.own(x, &refusal{err: e}, false) }

// own gives the edge's own answer to x and records it. Unless keep is set it
// ends the connection.
func (c *conn) own(x *flight, no *refusal, keep bool) {
	status := statusOf(no.err.Code)
	accept := ""
	for i := range c.req.Fields {
		if f := &c.req.Fields[i]; f.Kind == http1.KindAccept {
			accept = string(f.Value)
		}
	}
	head := string(c.req.Method) == "HEAD"
	c.out = appendOwn(c.out[:0], status, no, strings.Contains(accept, "text/html"), head, keep)
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.f.cfg.HeaderTimeout))
	_, err := c.nc.Write(c.out)
	recordOwn(x.rec, c.out, status, no.err)
	switch {
	case err == nil && keep:
		_ = c.nc.SetWriteDeadline(time.Time{})
	case err == nil:
		c.linger()
	}
}

// recordOwn captures an answer that the edge gave in the service's place.
func recordOwn(rec *inspector.Record, answer []byte, status int, e *tunnel.Error) {
	if rec == nil {
		return
	}
	head, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	rec.Answered(inspector.Answer{Head: append(head, "\r\n\r\n"...), Status: status, Reason: http.StatusText(status)})
	_, _ = rec.ResponseBody().Write(body)
	rec.End(inspector.Ending{By: blame(e.Code), Code: e.Code, Detail: e.Message})
}

// blame says who is behind an error of the edge.
func blame(code string) string {
	switch code {
	case tunnel.CodeAgentOffline, tunnel.CodeTunnelNotFound, tunnel.CodeTooManyStreams, tunnel.CodeDraining,
		tunnel.CodeUnauthorized, tunnel.CodeAccessDenied, tunnel.CodeLimit:
		return "edge"
	}
	return "upstream"
}

// appendOwn appends a whole response: a page for a browser, a problem document
// (RFC 9457) for everything else.
func appendOwn(out []byte, status int, no *refusal, html, headOnly, keep bool) []byte {
	kind, body := ownBody(status, no.err, html)
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, ' ')
	out = append(out, http.StatusText(status)...)
	out = append(out, "\r\n"...)
	for _, f := range ownFields(status, no, kind) {
		out = appendField(out, f[0], []byte(f[1]))
	}
	out = appendField(out, "Content-Length", strconv.AppendInt(nil, int64(len(body)), 10))
	if !keep {
		out = append(out, "Connection: close\r\n"...)
	}
	out = append(out, "\r\n"...)
	if !headOnly {
		out = append(out, body...)
	}
	return out
}

func ownFields(status int, no *refusal, kind string) [][2]string {
	fields := [][2]string{
		{"Content-Type", kind},
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
		{"Lrok-Error-Code", no.err.Code},
	}
	fields = append(fields, no.fields...)
	if status == http.StatusServiceUnavailable {
		fields = append(fields, [2]string{"Retry-After", "5"})
	}
	if strings.HasPrefix(kind, "text/html") {
		fields = append(fields, [2]string{"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"})
	}
	return fields
}

func ownBody(status int, e *tunnel.Error, browser bool) (kind string, body []byte) {
	message := e.Message
	// How the agent's machine put it is for the inspector, not for callers.
	if said, _, ok := strings.Cut(message, noAnswer+": "); ok {
		message = said + noAnswer
	}
	if browser {
		return "text/html; charset=utf-8", fillPage(status, e.Code, message, e.Hint)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
		Hint   string `json:"hint,omitempty"`
	}{"about:blank", http.StatusText(status), status, message, e.Code, e.Hint})
	return "application/problem+json", b.Bytes()
}

// page is for browsers. Its places are all between tags, where escaped text is
// only text. A template package would keep every exported method of the program
// in it, since a template may call any.
//
//go:embed page.html
var page string

func fillPage(status int, code, message, hint string) []byte {
	if hint != "" {
		hint = `<p class="hint">` + html.EscapeString(hint) + "</p>\n"
	}
	return []byte(strings.NewReplacer(
		"{{status}}", strconv.Itoa(status),
		"{{text}}", html.EscapeString(http.StatusText(status)),
		"{{code}}", html.EscapeString(code),
		"{{message}}", html.EscapeString(message),
		"{{hint}}", hint,
	).Replace(page))
}
