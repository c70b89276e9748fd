package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// maxAnswer bounds an answer in JSON: two bodies of the largest capture in
// base64, their heads, and as much again to be sure.
const maxAnswer = 128 << 20

// beginning is how much of each body comes within the JSON of an exchange. What
// is longer comes as it is, apart: base64 in JSON takes ten times as long.
const beginning = 64 << 10

// maxBody bounds a body. An edge keeps no more than 16 MiB of one.
const maxBody = 64 << 20

// maxList bounds what the pages of a list may add up to.
const maxList = 1_000_000

// A Client speaks to an edge's API with one key. Errors that the edge explained
// are of type *[tunnel.Error].
type Client struct {
	http *http.Client
	base string // without /api/v1
	key  string
}

// New returns a client of the API at base, such as https://api.example.com. The
// key is sent over plain HTTP to loopback addresses only, unless hc brings a
// DialContext of its own: that is how requests travel through an agent's
// connection, and whoever dials answers for the way.
func New(hc *http.Client, base, key string) *Client {
	c := http.Client{}
	if hc != nil {
		c = *hc
	}
	// The API does not redirect; what does is not the API and gets no key.
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	base = strings.TrimSuffix(strings.TrimSuffix(base, "/"), "/api/v1")
	return &Client{http: &c, base: base, key: key}
}

// Over returns a client whose requests travel over connections that dial makes,
// such as an agent's DialAPI. Call [Client.Close] to let go of those that are
// kept.
//
// An agent may have eight streams of this kind, and watch more tunnels than
// that. So the requests share connections, as HTTP/2 has it; the server at the
// other end speaks [Protocols].
func Over(dial func(context.Context) (net.Conn, error), key string) *Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return New(&http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		Protocols:          p,
		DisableCompression: true,
		// A connection that died without a word would take every request after
		// that as well. This finds it before a stream is given up for silence.
		HTTP2: &http.HTTP2Config{SendPingTimeout: silence / 3, PingTimeout: silence / 3},
	}}, overBase, key)
}

// Protocols is what a server is to speak on connections of [Over]: HTTP/2 and,
// for agents that are not ours, HTTP/1.1.
func Protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

const overBase = "http://api.lrok.internal"

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Me returns whose key the client has.
func (c *Client) Me(ctx context.Context) (Me, error) {
	return answer[Me](ctx, c, http.MethodGet, "/me", nil)
}

// Plan returns the limits of the key's user.
func (c *Client) Plan(ctx context.Context) (Plan, error) {
	return answer[Plan](ctx, c, http.MethodGet, "/me/plan", nil)
}

// Tunnels returns the user's tunnels, sorted by name.
func (c *Client) Tunnels(ctx context.Context) ([]Tunnel, error) {
	return list[Tunnel](ctx, c, "/me/tunnels", nil)
}

// CloseTunnel closes the tunnel called name and forgets its captures.
func (c *Client) CloseTunnel(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/me/tunnels/"+url.PathEscape(name), nil, nil)
}

// CloseConnections closes all open connections of a tunnel without HTTP and
// returns how many those were.
func (c *Client) CloseConnections(ctx context.Context, name string) (int, error) {
	closed, err := answer[Closed](ctx, c, http.MethodDelete, "/me/tunnels/"+url.PathEscape(name)+"/connections", nil)
	return closed.Connections, err
}

// CloseConnection closes the open connection of a tunnel that was captured under
// that id.
func (c *Client) CloseConnection(ctx context.Context, name, id string) error {
	return c.call(ctx, http.MethodDelete, "/me/tunnels/"+url.PathEscape(name)+"/connections/"+url.PathEscape(id), nil, nil)
}

// Requests returns captures of a tunnel without heads and bodies, newest first.
func (c *Client) Requests(ctx context.Context, name string, q Query) ([]inspector.Exchange, error) {
	page, err := c.Page(ctx, name, q)
	return page.Requests, err
}

// Page is [Client.Requests] with the way to the next page.
func (c *Client) Page(ctx context.Context, name string, q Query) (Requests, error) {
	v := url.Values{}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatUint(q.Before, 10))
	}
	if q.Filter != "" {
		v.Set("filter", q.Filter)
	}
	return answer[Requests](ctx, c, http.MethodGet, withQuery("/me/tunnels/"+url.PathEscape(name)+"/requests", v), nil)
}

// Forget drops all captures of a tunnel.
func (c *Client) Forget(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/me/tunnels/"+url.PathEscape(name)+"/requests", nil, nil)
}

// Exchange returns the capture with the given id, heads and bodies included.
func (c *Client) Exchange(ctx context.Context, id string) (inspector.Exchange, error) {
	x, err := c.Beginning(ctx, id)
	if err == nil {
		err = c.Complete(ctx, &x, nil)
	}
	return x, err
}

// Beginning is [Client.Exchange] with no more than the first 64 KiB of each body.
// [Client.Complete] reads the rest, and the last part of a stream.
func (c *Client) Beginning(ctx context.Context, id string) (inspector.Exchange, error) {
	q := url.Values{"bytes": {strconv.Itoa(beginning)}}
	x, err := answer[inspector.Exchange](ctx, c, http.MethodGet, withQuery("/me/requests/"+url.PathEscape(id), q), nil)
	x.Restore()
	return x, err
}

// Complete reads what is left of the bodies of x, and says there what the edge has
// let go of meanwhile. The bytes that x has are not written to. Progress, when not
// nil, hears how many bytes of a body are there.
func (c *Client) Complete(ctx context.Context, x *inspector.Exchange, progress func(response bool, n int)) error {
	for _, response := range []bool{false, true} {
		side, b := "request", &x.Request.Body
		if response {
			side, b = "response", &x.Response.Body
		}
		if int64(len(b.Data)) >= b.Captured {
			continue
		}
		if err := c.rest(ctx, x.ID, side, b, func(n int) {
			if progress != nil {
				progress(response, n)
			}
		}); err != nil {
			return err
		}
	}
	for _, b := range []*inspector.Body{&x.Request.Body, &x.Response.Body} {
		if t := b.Tail; t != nil && int64(len(t.Data)) < t.Size {
			return c.Follow(ctx, x)
		}
	}
	return nil
}

// Follow brings the capture of a stream up to date. It reads only what came since
// x did. The bytes that x has are not written to.
func (c *Client) Follow(ctx context.Context, x *inspector.Exchange) error {
	q := url.Values{
		"requestSince":  {strconv.FormatInt(x.Request.Body.End(), 10)},
		"responseSince": {strconv.FormatInt(x.Response.Body.End(), 10)},
	}
	next, err := answer[inspector.Exchange](ctx, c, http.MethodGet, withQuery("/me/requests/"+url.PathEscape(x.ID), q), nil)
	if err != nil {
		return err
	}
	next.Restore()
	if !next.Request.Body.Extend(&x.Request.Body) || !next.Response.Body.Extend(&x.Response.Body) {
		return errors.New("the edge's answer does not continue what came before")
	}
	*x = next
	// What was whole before may be more than its beginning now.
	sides := [...]string{"request", "response"}
	for i, b := range []*inspector.Body{&x.Request.Body, &x.Response.Body} {
		if int64(len(b.Data)) >= b.Captured {
			continue
		}
		if err := c.rest(ctx, x.ID, sides[i], b, func(int) {}); err != nil {
			return err
		}
	}
	return nil
}

// rest reads what is left of b.
func (c *Client) rest(ctx context.Context, id, side string, b *inspector.Body, progress func(n int)) error {
	if b.Captured > maxBody {
		return fmt.Errorf("the edge's capture is larger than %d MiB", maxBody>>20)
	}
	had := len(b.Data)
	h := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", had, b.Captured-1)}}
	resp, err := c.do(ctx, http.MethodGet, "/me/requests/"+url.PathEscape(id)+"/"+side+"/body", h, nil)
	if shorter := (*refusal)(nil); errors.As(err, &shorter) && shorter.status == http.StatusRequestedRangeNotSatisfiable {
		// Of a stream less is kept of the beginning once more came than can be kept.
		b.Captured, b.Missing = int64(had), "limit"
		return nil
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// A body that is gone is answered whole, with nothing in it.
	at := 0
	if resp.StatusCode == http.StatusPartialContent {
		if at = had; !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", had)) {
			return errors.New("the edge's answer is another part of the body")
		}
	}
	data := make([]byte, b.Captured)
	copy(data, b.Data)
	for at < len(data) {
		n, err := resp.Body.Read(data[at:min(at+256<<10, len(data))])
		at += n
		progress(at)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the edge's answer: %w", err)
		}
	}
	if at < len(data) {
		if b.Missing = resp.Header.Get("Lrok-Body-Missing"); b.Missing == "" {
			return fmt.Errorf("read the edge's answer: %w", io.ErrUnexpectedEOF)
		}
		data = data[:max(at, had)]
	}
	b.Data, b.Captured = data, int64(len(data))
	return nil
}

// Body returns the captured bytes of one side, "request" or "response", of an
// exchange. The caller closes it.
func (c *Client) Body(ctx context.Context, id, side string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, "/me/requests/"+url.PathEscape(id)+"/"+url.PathEscape(side)+"/body", nil, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Replay sends a captured request again, through its tunnel to the local
// service, and returns the new exchange. It is still open if it took longer
// than the edge waits.
func (c *Client) Replay(ctx context.Context, id string, changes inspector.Changes) (inspector.Exchange, error) {
	return answer[inspector.Exchange](ctx, c, http.MethodPost, "/me/requests/"+url.PathEscape(id)+"/replay", changes.ForJSON())
}

// answer sends body as JSON, unless it is nil, and decodes the answer.
func answer[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var v T
	err := c.call(ctx, method, path, body, &v)
	return v, err
}

// list reads all pages of a list.
func list[T any](ctx context.Context, c *Client, path string, q url.Values) ([]T, error) {
	all := []T{}
	next := withQuery(path, q)
	for {
		var page []T
		resp, err := c.ask(ctx, http.MethodGet, next, nil, &page)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(all) > maxList {
			return nil, fmt.Errorf("the edge's list has more than %d entries", maxList)
		}
		after := nextPage(resp.Header)
		// A page that brings nothing would bring nothing for ever.
		if after == "" || len(page) == 0 {
			return all, nil
		}
		if q == nil {
			q = url.Values{}
		}
		q.Set("after", after)
		next = withQuery(path, q)
	}
}

// nextPage returns where the next page of a list begins: the query's after in a
// link of the relation next. The rest of that link is not followed, since the
// key goes along.
func nextPage(h http.Header) string {
	for _, line := range h["Link"] {
		target, params, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "<"), ">")
		if !ok || !strings.Contains(params, `rel="next"`) {
			continue
		}
		if u, err := url.Parse(target); err == nil {
			return u.Query().Get("after")
		}
	}
	return ""
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// call sends body as JSON, unless it is nil, and decodes the answer, unless
// that is nil.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	_, err := c.ask(ctx, method, path, body, answer)
	return err
}

// ask is call for those who want to know more of the answer. Its body has been
// read.
func (c *Client) ask(ctx context.Context, method, path string, body, answer any) (*http.Response, error) {
	var r io.Reader
	h := http.Header{"Accept": {"application/json"}}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", method, path, err)
		}
		r = bytes.NewReader(data)
		h.Set("Content-Type", "application/json")
	}
	resp, err := c.do(ctx, method, path, h, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if answer == nil {
		return resp, nil
	}
	bounded := &io.LimitedReader{R: resp.Body, N: maxAnswer}
	if err := json.NewDecoder(bounded).Decode(answer); err != nil {
		if bounded.N <= 0 {
			return nil, fmt.Errorf("the edge's answer is larger than %d MiB", maxAnswer>>20)
		}
		return nil, fmt.Errorf("read the edge's answer: %w", err)
	}
	return resp, nil
}

// A refusal is an answer that is an error. It unwraps to what the edge said.
type refusal struct {
	status int
	err    *tunnel.Error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// do sends a request and returns its answer if that is a 2xx.
func (c *Client) do(ctx context.Context, method, path string, h http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("reach the edge: %w", err)
	}
	if err := c.safe(req.URL); err != nil {
		return nil, err
	}
	for name, values := range h {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := c.http.Do(req)
	if err != nil {
		// The URL in a *url.Error repeats what the caller knows.
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("reach the edge: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, &refusal{resp.StatusCode, explain(resp)}
}

// explain reads what went wrong out of an answer, which may be from anybody: it
// is made fit for a terminal.
func explain(resp *http.Response) *tunnel.Error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	var p Problem
	if kind == "application/problem+json" && json.Unmarshal(text, &p) == nil && p.Code != "" {
		return &tunnel.Error{Code: readable(p.Code), Message: readable(cmp.Or(p.Detail, p.Title, p.Code)), Hint: readable(p.Hint)}
	}
	e := &tunnel.Error{
		Code:    tunnel.CodeInternal,
		Message: "the address answered " + readable(resp.Status) + ", which is not how an edge's API answers",
		Hint:    "check the edge's address",
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n"); kind == "text/plain" && line != "" {
		e.Message += ": " + readable(line) // what a proxy says of itself
	}
	return e
}

const (
	maxProblem = 64 << 10
	maxWords   = 500
)

// readable leaves out what is not for printing, and what is too much.
func readable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > maxWords {
		return string(r[:maxWords]) + "…"
	}
	return s
}

// safe refuses to send the key where others could read it.
func (c *Client) safe(u *url.URL) error {
	if u.Scheme == "https" {
		return nil
	}
	if t, ok := c.http.Transport.(*http.Transport); ok && t.DialContext != nil {
		return nil
	}
	if tunnel.Loopback(u.Hostname()) {
		return nil
	}
	return &tunnel.Error{
		Code:    tunnel.CodeKey,
		Message: "the key is not sent to " + u.Scheme + "://" + u.Host + " without encryption",
		Hint:    "use https",
	}
}
