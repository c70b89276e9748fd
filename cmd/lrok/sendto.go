package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

const (
	sendLimit = 2 * time.Minute
	maxAnswer = 16 << 20 // kept of an answer's body
	maxHead   = 256 << 10
)

// parseTo reads the address of lrok replay --to.
func parseTo(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, usage("%q is no address: %w", s, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, usage("%q is no address to send to: say http://host:port, with a path or without", s)
	}
	return u, nil
}

// sendTo sends x, changed by ch, from this machine to another address than the
// tunnel's, and returns what came of it. Head and body go out as they were
// captured; of the head Host is that of the address, unless it is kept, and the
// path that of the address, if that has one.
func sendTo(ctx context.Context, to *url.URL, x *inspector.Exchange, ch inspector.Changes, keepHost bool) (inspector.Exchange, error) {
	limit := errors.New("no whole answer in " + plural(int(sendLimit.Minutes()), "minute"))
	ctx, cancel := context.WithTimeoutCause(ctx, sendLimit, limit)
	defer cancel()
	y := inspector.Exchange{
		ReplayOf: x.ID, Number: x.Number, Tunnel: x.Tunnel, State: inspector.Done, Kind: inspector.HTTP, Scheme: to.Scheme, Host: to.Host, Proto: "HTTP/1.1",
		Timing: inspector.Timing{Accepted: time.Now()},
	}
	raw, err := rawRequest(to, x, ch, keepHost, &y)
	if err != nil {
		return y, err
	}
	conn, err := dialTo(ctx, to)
	if err != nil {
		return y, fmt.Errorf("send to %s: %w", to.Host, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	y.Timing.StreamOpen = time.Since(y.Timing.Accepted)
	// The answer may begin, and its sender stop reading, before all is written.
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(raw)
		written <- err
	}()
	err = readAnswer(ctx, conn, &y)
	_ = conn.Close()
	if werr := <-written; err != nil && werr != nil && y.Status == 0 {
		err = werr
	}
	y.Timing.Done = time.Since(y.Timing.Accepted)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return y, fmt.Errorf("send to %s: %w", to.Host, err)
	}
	return y, nil
}

// sendToAddress is [sendTo] for the screen.
func sendToAddress(ctx context.Context, to string, x *inspector.Exchange, ch inspector.Changes, keepHost bool) (inspector.Exchange, error) {
	u, err := parseTo(to)
	if err != nil {
		return inspector.Exchange{}, err
	}
	return sendTo(ctx, u, x, ch, keepHost)
}

func dialTo(ctx context.Context, to *url.URL) (net.Conn, error) {
	port := to.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[to.Scheme]
	}
	addr := net.JoinHostPort(to.Hostname(), port)
	if to.Scheme == "http" {
		return dial(ctx, "tcp", addr)
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	config := tlsTo(to.Hostname())
	config.ServerName = to.Hostname()
	tc := tls.Client(conn, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return tc, nil
}

// tlsTo is for a host that shows its certificate to this machine.
func tlsTo(host string) *tls.Config {
	return &tls.Config{
		NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: tunnel.Loopback(host), // a service here rarely has a certificate that anybody signed
	}
}

// dial connects to addr. All names below localhost are this machine (RFC 6761),
// which many systems do not know.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	host, port, err := net.SplitHostPort(addr)
	if _, number := netip.ParseAddr(host); err == nil && number != nil && tunnel.Loopback(host) {
		addr = net.JoinHostPort("localhost", port)
	}
	return d.DialContext(ctx, network, addr)
}

// rawRequest makes the bytes that are sent, and notes in y what they say.
func rawRequest(to *url.URL, x *inspector.Exchange, ch inspector.Changes, keepHost bool, y *inspector.Exchange) ([]byte, error) {
	refused := func(text, hint string) error {
		return &tunnel.Error{Code: "replay_refused", Message: text, Hint: hint}
	}
	body := x.Request.Body.Data
	switch b := x.Request.Body; {
	case raw(x):
		return nil, refused("a connection without HTTP holds no request", "")
	case x.Kind == inspector.WebSocket || x.Kind == inspector.Upgraded:
		return nil, refused("an upgraded connection cannot be replayed", "connect again with the client")
	case ch.Body != nil:
		body = *ch.Body
	case b.Truncated() || b.Missing != "":
		return nil, refused(fmt.Sprintf("only %s of the body's %s were captured", format.Bytes(b.Captured), format.Bytes(b.Size)), "give a body with --body @file")
	}
	method, path := x.Method, x.Path
	if ch.Method != "" {
		method = ch.Method
	}
	if ch.Path != "" {
		path = ch.Path
	}
	if to.EscapedPath() != "" && to.EscapedPath() != "/" {
		_, query, asked := strings.Cut(path, "?")
		path = to.EscapedPath()
		if asked && to.RawQuery == "" {
			path += "?" + query
		}
	}
	if to.RawQuery != "" {
		path, _, _ = strings.Cut(path, "?")
		path += "?" + to.RawQuery
	}
	fields := slices.Clone(x.Request.Header)
	if ch.Header != nil {
		fields = slices.Clone(ch.Header)
	}
	find := func(name string) int {
		return slices.IndexFunc(fields, func(f inspector.Field) bool { return strings.EqualFold(f.Name, name) })
	}
	remove := func(name string) {
		fields = slices.DeleteFunc(fields, func(f inspector.Field) bool { return strings.EqualFold(f.Name, name) })
	}
	set := func(f inspector.Field, at int) {
		if i := find(f.Name); i >= 0 {
			fields[i].Value = f.Value
		} else {
			fields = slices.Insert(fields, min(at, len(fields)), f)
		}
	}
	for _, name := range ch.Remove {
		remove(name)
	}
	for _, f := range ch.Set {
		set(f, len(fields))
	}
	if !keepHost {
		set(inspector.Field{Name: "Host", Value: to.Host}, 0)
	} else if find("Host") < 0 {
		set(inspector.Field{Name: "Host", Value: x.Host}, 0)
	}
	y.Method, y.Path, y.Host = method, path, fields[find("Host")].Value
	chunked := find("Transfer-Encoding") >= 0
	if chunked {
		remove("Content-Length")
	} else if length := strconv.Itoa(len(body)); find("Content-Length") >= 0 || len(body) > 0 {
		set(inspector.Field{Name: "Content-Length", Value: length}, len(fields))
	}
	if method == "" || path == "" || strings.ContainsAny(method+path, " \t\r\n") {
		return nil, refused("method or path is empty or holds white space", "escape it: %20")
	}
	out := fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", method, path)
	for _, f := range fields {
		if f.Name == "" || strings.ContainsAny(f.Name+f.Value, "\r\n\x00") {
			return nil, refused("a header line holds a line break", "")
		}
		out = fmt.Appendf(out, "%s: %s\r\n", f.Name, f.Value)
	}
	out = append(out, "\r\n"...)
	y.Request = inspector.Message{Header: fields, Head: bytes.Clone(out), Trailer: x.Request.Trailer, Body: inspector.Body{Size: int64(len(body)), Captured: int64(len(body)), Data: body}}
	if !chunked {
		return append(out, body...), nil
	}
	if len(body) > 0 {
		out = fmt.Appendf(out, "%x\r\n%s\r\n", len(body), body)
	}
	out = append(out, "0\r\n"...)
	for _, f := range x.Request.Trailer {
		out = fmt.Appendf(out, "%s: %s\r\n", f.Name, f.Value)
	}
	return append(out, "\r\n"...), nil
}

// readAnswer reads one answer, with its header lines in their order. Whoever ends
// ctx has conn fail.
func readAnswer(ctx context.Context, conn net.Conn, y *inspector.Exchange) error {
	br := bufio.NewReader(conn)
	var head []byte
	var resp *http.Response
	for {
		head = head[:0]
		for !bytes.HasSuffix(head, []byte("\n\r\n")) && !bytes.HasSuffix(head, []byte("\n\n")) {
			line, err := br.ReadSlice('\n')
			// A line longer than the reader's buffer comes in parts.
			if head = append(head, line...); err != nil && err != bufio.ErrBufferFull {
				if err == io.EOF && len(head) > 0 {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("read the answer: %w", err)
			}
			if len(head) > maxHead {
				return fmt.Errorf("the head of the answer has more than %s", format.Bytes(maxHead))
			}
		}
		var err error
		resp, err = http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(head), br)), &http.Request{Method: y.Method})
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
		y.Interim = append(y.Interim, resp.StatusCode)
	}
	y.Timing.FirstByte = time.Since(y.Timing.Accepted)
	y.Status = resp.StatusCode
	_, y.Reason, _ = strings.Cut(resp.Status, " ")
	y.Response.Head = bytes.Clone(head)
	for line := range strings.Lines(string(head)) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok && !strings.HasPrefix(line, "HTTP/") {
			y.Response.Header = append(y.Response.Header, inspector.Field{Name: name, Value: strings.TrimSpace(value)})
		}
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	b := inspector.Body{Size: int64(len(data)), Captured: int64(len(data)), Data: data}
	if err == nil {
		var more int64
		more, err = io.Copy(io.Discard, resp.Body)
		if b.Size += more; more > 0 {
			b.Missing = "limit"
		}
	}
	switch {
	case err == nil:
	case ctx.Err() == nil: // what came of it is still an answer
		b.Missing, y.EndedBy, y.Error, y.Detail = "aborted", "upstream", tunnel.CodeUpstreamAborted, err.Error()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		b.Missing, y.EndedBy, y.Error, y.Detail = "aborted", "client", tunnel.CodeClientAborted, context.Cause(ctx).Error()
	default:
		return err
	}
	y.Response.Body = b
	return nil
}
