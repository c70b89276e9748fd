package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/filter"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

// requests answers a page of a tunnel's captures.
func (a *api) requests(w http.ResponseWriter, r *http.Request, c call) error {
	t, err := a.tunnel(r, c)
	if err != nil {
		return err
	}
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	before, err := number(r, "before")
	if err != nil {
		return err
	}
	match, err := a.match(r, t.Ring)
	if err != nil {
		return err
	}
	// The version comes first: what changes between the two is told twice, and
	// not never.
	page := client.Requests{Version: t.Ring.Version(), Requests: []inspector.Exchange{}}
	for _, x := range t.Ring.List(0, before) {
		if match != nil && !match(&x) {
			continue
		}
		if limit > 0 && uint64(len(page.Requests)) == limit {
			page.Next = page.Requests[limit-1].Number
			break
		}
		page.Requests = append(page.Requests, x)
	}
	answer(w, page)
	return nil
}

// stream tells of changes until the client leaves.
func (a *api) stream(w http.ResponseWriter, r *http.Request, c call) error {
	t, err := a.tunnel(r, c)
	if err != nil {
		return err
	}
	match, err := a.match(r, t.Ring)
	if err != nil {
		return err
	}
	ctx, stop := a.whileWorking(w, r, c)
	defer stop()
	// The tunnel of a key that was revoked goes with it. Who watched it hears of the
	// key, whichever of the two is seen first.
	inspector.ServeEvents(w, r.WithContext(ctx), t.Ring, match, func() bool { return a.cfg.Store.Working(c.key.ID) })
	return nil
}

func (a *api) forget(w http.ResponseWriter, r *http.Request, c call) error {
	t, err := a.tunnel(r, c)
	if err != nil {
		return err
	}
	t.Ring.Clear()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) exchange(w http.ResponseWriter, r *http.Request, c call) error {
	most, err := number(r, "bytes")
	if err != nil {
		return err
	}
	var since [2]uint64
	for side, name := range []string{"requestSince", "responseSince"} {
		if since[side], err = number(r, name); err != nil {
			return err
		}
	}
	_, x, err := a.find(r, c)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	for side, b := range []*inspector.Body{&x.Request.Body, &x.Response.Body} {
		if q.Has("requestSince") || q.Has("responseSince") {
			b.Since(int64(since[side]))
		} else if q.Has("bytes") {
			b.Data = b.Data[:min(uint64(len(b.Data)), most)]
			if t := b.Tail; t != nil {
				t.Data = t.Data[:min(uint64(len(t.Data)), most-uint64(len(b.Data)))]
			}
		}
	}
	answer(w, x)
	return nil
}

// body answers with the captured bytes of one side from the first one on, or a
// range of them. They come from anybody at all, so a browser must not take
// them for a page.
func (a *api) body(side string) func(http.ResponseWriter, *http.Request, call) error {
	return func(w http.ResponseWriter, r *http.Request, c call) error {
		_, x, err := a.find(r, c)
		if err != nil {
			return err
		}
		m := x.Request
		if side == "response" {
			m = x.Response
		}
		h := w.Header()
		contentType, ext := "application/octet-stream", ".bin"
		if isText(m) {
			contentType, ext = "text/plain; charset=utf-8", ".txt"
		}
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": x.ID + "-" + side + ext}))
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Lrok-Body-Size", strconv.FormatInt(m.Body.Size, 10))
		if m.Body.Missing != "" {
			h.Set("Lrok-Body-Missing", m.Body.Missing)
		}
		if t := m.Body.Tail; t != nil && t.Size > 0 {
			h.Set("Lrok-Body-Tail", fmt.Sprintf("%d-%d", t.Offset, t.Offset+t.Size-1))
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.Body.Data))
		return nil
	}
}

// isText reports whether all of a captured body can be shown as text. A body
// cut in the middle of a letter still can.
func isText(m inspector.Message) bool {
	if m.Get("Content-Encoding") != "" && !strings.EqualFold(m.Get("Content-Encoding"), "identity") {
		return false
	}
	data := m.Body.Data
	if m.Body.Truncated() {
		for i := 1; i < utf8.UTFMax && i <= len(data); i++ {
			if last := data[len(data)-i:]; utf8.RuneStart(last[0]) {
				if !utf8.FullRune(last) {
					data = data[:len(data)-i]
				}
				break
			}
		}
	}
	return utf8.Valid(data) && bytes.IndexByte(data, 0) < 0
}

// maxChanges bounds the changes of a replay: a body of 16 MiB in base64, and
// heads.
const maxChanges = 24 << 20

func (a *api) replay(w http.ResponseWriter, r *http.Request, c call) error {
	t, x, err := a.find(r, c)
	if err != nil {
		return err
	}
	changes, err := readChanges(w, r)
	if err != nil {
		return err
	}
	if a.cfg.Replayer == nil {
		return unsupported("replays")
	}
	working, stop := a.whileWorking(w, r, c)
	defer stop()
	ctx, cancel := context.WithTimeout(working, a.cfg.ReplayWait)
	defer cancel()
	watcher := t.Ring.Watch()
	defer watcher.Close()
	id, err := a.cfg.Replayer.Replay(ctx, t, x, changes)
	if context.Cause(working) == error(errEnded) {
		return errEnded
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil:
		return &tunnel.Error{
			Code:    tunnel.CodeUpstreamTimeout,
			Message: fmt.Sprintf("the request could not be sent within %v", a.cfg.ReplayWait),
			Hint:    "see whether the agent's machine is busy or its connection slow",
		}
	case err != nil:
		return err
	}
	awaitEnd(ctx, t.Ring, watcher, id)
	switch {
	case context.Cause(working) == error(errEnded):
		return errEnded
	case r.Context().Err() != nil:
		return nil // the caller has left; the replay goes on
	}
	w.Header().Set("Location", c.base+"/me/requests/"+id)
	x, ok := t.Ring.Find(id)
	if !ok {
		return &tunnel.Error{
			Code:    tunnel.CodeNotFound,
			Message: "the request was replayed as " + id + ", and its capture is gone already",
			Hint:    "the tunnel keeps its last requests only",
		}
	}
	answer(w, x)
	return nil
}

// looksApart is the least time between two looks at a ring, which may change
// thousands of times a second.
const looksApart = 10 * time.Millisecond

// awaitEnd returns when the exchange with the given id is over, the ring has let
// go of it, or ctx ends.
func awaitEnd(ctx context.Context, ring *inspector.Ring, watcher *inspector.Watcher, id string) {
	pace := time.NewTimer(looksApart)
	defer pace.Stop()
	for open(ring, id) {
		select {
		case <-watcher.C():
		case <-ring.Done():
			return
		case <-ctx.Done():
			return
		}
		select {
		case <-pace.C:
			pace.Reset(looksApart)
		case <-ctx.Done():
			return
		}
	}
}

func open(ring *inspector.Ring, id string) bool {
	for _, x := range ring.List(0, 0) {
		if x.ID == id {
			return x.State != inspector.Done
		}
	}
	return false
}

// readChanges reads a request's body. An empty one changes nothing.
func readChanges(w http.ResponseWriter, r *http.Request) (inspector.Changes, error) {
	if r.ContentLength == 0 {
		return inspector.Changes{}, nil
	}
	c, err := read[inspector.Changes](w, r, maxChanges)
	if err != nil {
		if e := (*tunnel.Error)(nil); errors.As(err, &e) && e.Code == codeTooLarge {
			e.Hint = "send it with curl: lrok export <id> --as curl"
		}
		return c, err
	}
	if c, err = c.FromJSON(); err != nil {
		return c, badRequest(err.Error(), "leave latin1 out: texts are UTF-8 then")
	}
	return c, valid(c)
}

// valid refuses changes that would make another request than the one they
// describe: a line break in a header is a second header.
func valid(c inspector.Changes) error {
	if strings.ContainsFunc(c.Method, func(r rune) bool { return !tokenRune(r) }) {
		return badRequest(fmt.Sprintf("%q is not a method", c.Method), "")
	}
	if strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return badRequest(fmt.Sprintf("%q is not a request target", c.Path), "write spaces as %20")
	}
	for _, fields := range [][]inspector.Field{c.Header, c.Set} {
		for _, f := range fields {
			if f.Name == "" || strings.ContainsFunc(f.Name, func(r rune) bool { return !tokenRune(r) }) {
				return badRequest(fmt.Sprintf("%q is not a header name", f.Name), "")
			}
			if strings.ContainsAny(f.Value, "\r\n\x00") {
				return badRequest(fmt.Sprintf("the value of %s has a line break in it", f.Name), "")
			}
		}
	}
	return nil
}

func tokenRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// find returns the capture that the path names, if it is the caller's.
func (a *api) find(r *http.Request, c call) (*registry.Tunnel, inspector.Exchange, error) {
	id := r.PathValue("id")
	tunnels := a.cfg.Registry.Tunnels(c.user.ID)
	if r.PathValue("sub") != "" {
		t, err := a.tunnel(r, c)
		if err != nil {
			return nil, inspector.Exchange{}, err
		}
		tunnels = []*registry.Tunnel{t}
	}
	for _, t := range tunnels {
		if x, ok := t.Ring.Find(id); ok {
			return t, x, nil
		}
	}
	return nil, inspector.Exchange{}, &tunnel.Error{
		Code:    tunnel.CodeNotFound,
		Message: "there is no request " + quote(id),
		Hint:    "a tunnel keeps its last requests only; lrok logs lists them",
	}
}

// match returns the filter of the query, nil when there is none.
func (a *api) match(r *http.Request, ring *inspector.Ring) (func(*inspector.Exchange) bool, error) {
	q := r.URL.Query().Get("filter")
	if strings.TrimSpace(q) == "" {
		return nil, nil
	}
	f, err := filter.Parse(q)
	if err != nil {
		e := &tunnel.Error{Code: codeFilter, Message: err.Error()}
		if fe := (*filter.Error)(nil); errors.As(err, &fe) {
			e.Message = fmt.Sprintf("filter, at character %d: %s", utf8.RuneCountInString(q[:min(max(fe.Pos, 0), len(q))])+1, fe.Message)
			if fe.Nearest != "" {
				e.Hint = "did you mean " + fe.Nearest + "?"
			}
		}
		return nil, e
	}
	env := filter.Env{}
	if f.NeedsBody() {
		env.Body = func(x *inspector.Exchange) (req, resp []byte) {
			whole, ok := ring.Find(x.ID)
			if !ok {
				return nil, nil
			}
			return decoded(whole.Request), decoded(whole.Response)
		}
	}
	return func(x *inspector.Exchange) bool {
		env := env
		env.Now = a.cfg.Now()
		return f.Match(x, env)
	}, nil
}

// decoded returns a captured body without its content coding, as far as that
// can be undone, and protocol buffers as JSON.
func decoded(m inspector.Message) []byte {
	data := m.Body.Data
	if coding := m.Get("Content-Encoding"); coding != "" {
		if out, err := format.Decode(coding, data, format.DefaultLimit); err == nil || len(out) > 0 {
			data = out
		}
	}
	if out, _, ok, _ := format.ProtoJSON(m.Get("Content-Type"), m.Get("Grpc-Encoding"), data, m.Body.Truncated(), false); ok {
		return out
	}
	return data
}
