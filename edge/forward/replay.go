package forward

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// replayLimit is how long a replay may take: an event stream never ends by
// itself.
const replayLimit = 2 * time.Minute

// A replaying tells the loop that its client is a replay.
type replaying struct {
	tunnel *registry.Tunnel
	of     string
	remote string
	scheme string
	grpc   bool // the service speaks HTTP/2

	once   sync.Once
	record chan *inspector.Record // receives one, or is closed
}

func (r *replaying) began(rec *inspector.Record) {
	r.once.Do(func() { r.record <- rec })
}

// Replay sends x, changed by ch, to the local service of t and to nowhere else,
// whatever its host says. It returns the id of the new exchange as soon as that
// is in t's ring, while the answer is still awaited; without an error the
// exchange will end. It fails when x cannot be repeated: its body was not
// captured whole, or it was an upgrade.
func (f *Forwarder) Replay(ctx context.Context, t *registry.Tunnel, x inspector.Exchange, ch inspector.Changes) (id string, err error) {
	raw, err := replayRequest(&x, ch)
	if err != nil {
		return "", err
	}
	if !t.Online() {
		return "", &tunnel.Error{Code: tunnel.CodeAgentOffline, Message: "the tunnel's agent is not connected", Hint: "start it again, then replay"}
	}
	near, far := newPipe(addr(x.Remote))
	c := newConn(f, far, nil)
	c.replay = &replaying{tunnel: t, of: x.ID, remote: x.Remote, scheme: x.Scheme, grpc: x.Kind == inspector.GRPC, record: make(chan *inspector.Record, 1)}
	c.isTrusted = false
	c.peerIP, _ = netip.ParseAddr(x.Remote)
	if ap, err := netip.ParseAddrPort(x.Remote); err == nil {
		c.peerIP = ap.Addr()
	}
	c.scheme = x.Scheme

	deadline := time.Now().Add(replayLimit)
	_ = near.SetDeadline(deadline)
	f.wg.Go(func() {
		c.serve()
		c.replay.once.Do(func() { close(c.replay.record) })
	})
	f.wg.Go(func() {
		defer func() { _ = near.Close() }()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = near.Write(raw)
		})
		method, _, _ := bytes.Cut(raw, []byte(" "))
		discardAnswer(near, method, f.cfg.Limits)
		_ = near.Close()
		wg.Wait()
	})
	select {
	case rec, ok := <-c.replay.record:
		if !ok || rec == nil {
			return "", &tunnel.Error{Code: "replay_refused", Message: "the request could not be replayed: it is not valid HTTP/1.1 any more", Hint: "check the edited head"}
		}
		return rec.ID(), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// discardAnswer reads one response from r to its end.
func discardAnswer(r io.Reader, method []byte, limits http1.Limits) {
	buf := make([]byte, limits.Head+copySize)
	var resp http1.Response
	var body http1.Body
	var n int
	inBody := false
	for {
		k, err := r.Read(buf[n:])
		n += k
		for n > 0 {
			if !inBody {
				m, perr := http1.ParseResponse(&resp, buf[:n], limits, method)
				if perr != nil {
					return
				}
				if m == 0 {
					break
				}
				n = copy(buf, buf[m:n])
				if resp.Interim() {
					continue
				}
				inBody = true
				body.Reset(resp.Framing, resp.Length)
				if body.Done() {
					return
				}
				continue
			}
			_, done, serr := body.Scan(buf[:n], nil)
			if done || serr != nil {
				return
			}
			n = 0
		}
		if err != nil || n == len(buf) {
			return
		}
	}
}

// replayRequest makes the bytes of a replay.
func replayRequest(x *inspector.Exchange, ch inspector.Changes) ([]byte, error) {
	if x.Kind == inspector.WebSocket || x.Kind == inspector.Upgraded {
		return nil, &tunnel.Error{Code: "replay_refused", Message: "an upgraded connection cannot be replayed", Hint: "connect again with the client"}
	}
	if x.Kind == inspector.TCP || x.Kind == inspector.TLS {
		return nil, &tunnel.Error{Code: "replay_refused", Message: "a connection without HTTP holds no request to replay, and none of its bytes are kept", Hint: "connect again with the client"}
	}
	body := x.Request.Body.Data
	if ch.Body != nil {
		body = *ch.Body
	} else if x.Request.Body.Missing == "aborted" {
		return nil, &tunnel.Error{
			Code:    "replay_truncated",
			Message: "the request body did not arrive whole, so it cannot be sent again as it was",
			Hint:    "give a body with --body @file",
		}
	} else if b := &x.Request.Body; b.Truncated() {
		e := &tunnel.Error{
			Code:    "replay_truncated",
			Message: fmt.Sprintf("only %d of %d body bytes were captured, so this request cannot be sent again as it was", b.Captured, b.Size),
			Hint:    "give a body with --body @file",
		}
		switch b.Missing {
		case "limit":
			e.Hint += ", or raise --capture-body at the edge"
		case "evicted":
			e.Message = "the edge gave the memory of this body to newer requests, so this request cannot be sent again as it was"
		}
		return nil, e
	}
	unchanged := ch.None()
	ch = asCaptured(x, ch)
	method, path := x.Method, x.Path
	if ch.Method != "" {
		method = ch.Method
	}
	if ch.Path != "" {
		path = ch.Path
	}
	fields := slices.Clone(x.Request.Header)
	if ch.Header != nil {
		fields = slices.Clone(ch.Header)
	}
	is := func(name string) func(inspector.Field) bool {
		return func(f inspector.Field) bool { return strings.EqualFold(f.Name, name) }
	}
	for _, name := range ch.Remove {
		fields = slices.DeleteFunc(fields, is(name))
	}
	for _, s := range ch.Set {
		if i := slices.IndexFunc(fields, is(s.Name)); i >= 0 {
			fields[i].Value = s.Value
		} else {
			fields = append(fields, s)
		}
	}
	if !slices.ContainsFunc(fields, is("Host")) {
		fields = slices.Insert(fields, 0, inspector.Field{Name: "Host", Value: x.Host})
	}
	// The framing must be that of the body that is sent. It is left alone where
	// it already is.
	chunked := slices.ContainsFunc(fields, is("Transfer-Encoding"))
	length := strconv.Itoa(len(body))
	switch i := slices.IndexFunc(fields, is("Content-Length")); {
	case chunked && i >= 0:
		fields = slices.DeleteFunc(fields, is("Content-Length"))
	case chunked:
	case i >= 0:
		fields[i].Value = length
	case len(body) > 0:
		fields = append(fields, inspector.Field{Name: "Content-Length", Value: length})
	}

	var out []byte
	if unchanged && len(x.Request.Head) > 0 {
		out = append(out, x.Request.Head...)
	} else {
		if strings.ContainsAny(method+path, " \r\n\t") || method == "" || path == "" {
			return nil, &tunnel.Error{Code: "replay_refused", Message: "method or path is empty or holds white space", Hint: "escape it: %20"}
		}
		out = fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", method, path)
		lines := headerLines(x.Request.Head)
		for _, f := range fields {
			if strings.ContainsAny(f.Name+f.Value, "\r\n") {
				return nil, &tunnel.Error{Code: "replay_refused", Message: "a header line holds a line break"}
			}
			if line, ok := lines[f]; ok {
				out = append(append(out, line...), "\r\n"...)
			} else {
				out = fmt.Appendf(out, "%s: %s\r\n", f.Name, f.Value)
			}
		}
		out = append(out, "\r\n"...)
	}
	if !chunked {
		return append(out, body...), nil
	}
	if len(body) > 0 {
		out = http1.AppendChunkHeader(out, len(body))
		out = append(out, body...)
		out = append(out, "\r\n"...)
	}
	var trailer []byte
	for _, f := range x.Request.Trailer {
		trailer = fmt.Appendf(trailer, "%s: %s\r\n", f.Name, f.Value)
	}
	return http1.AppendLastChunk(out, trailer), nil
}

// asCaptured is ch with the bytes of x where it holds a text of x as JSON gave it
// to whoever made the changes: there bytes that are not UTF-8 have become
// replacement characters, which nobody means to send.
func asCaptured(x *inspector.Exchange, ch inspector.Changes) inspector.Changes {
	restore := func(fields []inspector.Field) []inspector.Field {
		fields = slices.Clone(fields)
		for i, f := range fields {
			if !strings.Contains(f.Value, string(utf8.RuneError)) {
				continue
			}
			for _, was := range x.Request.Header {
				if strings.EqualFold(was.Name, f.Name) && inspector.AsJSON(was.Value) == f.Value {
					fields[i].Value = was.Value
					break
				}
			}
		}
		return fields
	}
	if ch.Path == inspector.AsJSON(x.Path) {
		ch.Path = x.Path
	}
	ch.Header, ch.Set = restore(ch.Header), restore(ch.Set)
	return ch
}

// headerLines are the lines of a captured head, by what they say: a line that
// nobody changed goes out as it came, blanks and all.
func headerLines(head []byte) map[inspector.Field][]byte {
	lines := map[inspector.Field][]byte{}
	_, rest, _ := bytes.Cut(head, []byte("\n"))
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if name, value, ok := bytes.Cut(line, []byte(":")); ok {
			lines[inspector.Field{Name: string(name), Value: string(bytes.Trim(value, " \t"))}] = line
		}
	}
	return lines
}
