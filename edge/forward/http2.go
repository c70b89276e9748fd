package forward

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// serveHTTP is the front end for HTTP/2, and the way to a local service that
// speaks HTTP/2. Field names are lower case and their order is the server's:
// HTTP/2 keeps neither on the way here.
func (f *Forwarder) serveHTTP(w http.ResponseWriter, r *http.Request) {
	x := &request{f: f, w: w, r: r, ctx: r.Context(), started: time.Now(), scheme: "http"}
	defer x.finish()
	if p, ok := r.Context().Value(connKey{}).(*pipe); ok {
		// From the HTTP/1.1 loop, which has recorded the request and said who
		// the client is.
		x.bridged, x.tunnel = true, p.tunnel
		x.roundTrip()
		return
	}
	if r.TLS != nil {
		x.scheme = "https"
	}
	if f.cfg.Scheme != "" {
		x.scheme = f.cfg.Scheme
	}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		x.peerIP = ap.Addr().Unmap()
		x.trusted = f.trusted(x.peerIP)
	}
	host, err := http1.AppendHost(nil, r.Host)
	if err != nil || r.Method == http.MethodConnect {
		e := http1.ErrHost
		if r.Method == http.MethodConnect {
			e = errConnect
		}
		x.writeStatus(e.Status, &refusal{err: &tunnel.Error{Code: e.Code, Message: e.Message}})
		return
	}
	to := f.route(host, []byte(r.URL.Path))
	if r.TLS != nil && !x.trusted {
		if no := f.astray(canonicalSNI(r.TLS.ServerName), host, to); no != nil {
			x.write(no)
			return
		}
	} else if no := f.astray("", host, to); no != nil {
		x.write(no)
		return
	}
	switch {
	case to.api:
		r.RemoteAddr, _ = x.client() // the API slows down who tries keys, not the proxy
		f.cfg.API.ServeHTTP(w, r)
		return
	case to.tunnel == nil:
		x.fail(&tunnel.Error{
			Code:    tunnel.CodeTunnelNotFound,
			Message: "no tunnel is called " + string(host),
			Hint:    "start it: lrok http <port> --hint " + firstLabel(host),
		})
		return
	default:
		x.tunnel = to.tunnel
	}
	x.finite = true
	f.h2Finite.Add(1)
	defer x.endless()
	x.fenced = f.fences(host)
	x.tunnel.Counters.Requests.Add(1)
	x.record()
	if x.tunnel.Access != nil {
		_, ip := x.client()
		if no := f.refusal(x.tunnel, ip, r.Header["Authorization"]); no != nil {
			x.write(no)
			return
		}
	}
	defer x.follow()()
	if x.tunnel.Claim.UpstreamProto == "h2c" || isGRPC(r.Header.Get("Content-Type")) {
		x.roundTrip()
		return
	}
	x.exchange()
}

// authenticatesConnection reports whether an Authorization is for a connection
// and not for a request.
func authenticatesConnection(authorization string) bool {
	scheme, _, _ := strings.Cut(authorization, " ")
	return strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate")
}

func isGRPC(contentType string) bool {
	kind, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (kind == "" || kind[0] == '+' || kind[0] == ';')
}

// A request is one exchange that came over HTTP/2 or goes to HTTP/2.
type request struct {
	f       *Forwarder
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context // ends with r's, and when the tunnel is closed
	cancel  func()
	tunnel  *registry.Tunnel
	rec     *inspector.Record
	started time.Time
	peerIP  netip.Addr
	trusted bool
	bridged bool
	scheme  string
	finite  bool // it is counted as one that comes to an end

	wrote atomic.Bool // the response head has been sent

	fenced   bool // the answer may set no cookie for the edge's domain
	withheld int  // cookies that it tried to set

	idle     *time.Timer // ends an exchange in which nothing moves
	timedOut atomic.Bool

	mu   sync.Mutex
	done bool // w must not be touched any more
}

// follow makes x end when its tunnel is closed. The returned function is for
// when x has ended before.
func (x *request) follow() (unfollow func()) {
	x.ctx, x.cancel = context.WithCancel(x.ctx)
	stop := context.AfterFunc(x.ctx, x.unblock)
	f := x.f
	f.mu.Lock()
	f.requests[x] = struct{}{}
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		delete(f.requests, x)
		f.mu.Unlock()
		stop()
		x.cancel()
	}
}

// unblock ends writing an answer: the client may be one that does not read it.
func (x *request) unblock() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.done && x.wrote.Load() {
		_ = http.NewResponseController(x.w).SetWriteDeadline(past)
	}
}

// finish waits until nobody else uses x.w, which is not there for long.
func (x *request) finish() {
	x.mu.Lock()
	x.done = true
	x.mu.Unlock()
}

// count adds to one of the tunnel's counters of bytes. What comes from the
// HTTP/1.1 loop is counted there.
func (x *request) count(c *atomic.Int64, n int) {
	if !x.bridged {
		c.Add(int64(n))
	}
}

// endless notes that x is over, or has no end of its own.
func (x *request) endless() {
	if x.finite {
		x.finite = false
		x.f.h2Finite.Add(-1)
	}
}

// watch ends the exchange on up when the client leaves, or when no byte passes
// for too long. The returned function ends the watch; it reports whether up was
// left alone.
func (x *request) watch(up io.Closer) func() bool {
	leave := context.AfterFunc(x.ctx, func() { _ = up.Close() })
	x.idle = time.AfterFunc(x.f.cfg.BodyTimeout, func() {
		x.timedOut.Store(true)
		_ = up.Close()
		x.unblock()
	})
	return func() bool {
		x.idle.Stop()
		return leave() && !x.timedOut.Load()
	}
}

// moved notes that bytes have passed. The timer of a stream has been stopped
// for good.
func (x *request) moved() {
	if x.idle != nil && x.idle.Stop() {
		x.idle.Reset(x.f.cfg.BodyTimeout)
	}
}

// client is who sent the request, as [conn.client].
func (x *request) client() (text string, ip netip.Addr) {
	if !x.trusted {
		return x.r.RemoteAddr, x.peerIP
	}
	return x.f.clientOf(x.r.RemoteAddr, x.peerIP, func(yield func(string) bool) {
		for _, line := range slices.Backward(x.r.Header["X-Forwarded-For"]) {
			if !yield(line) {
				return
			}
		}
	})
}

func (x *request) record() {
	if x.tunnel.Claim.NoInspect {
		return
	}
	r := x.r
	header := []inspector.Field{{Name: "host", Value: r.Host}}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, v := range r.Header[name] {
			header = append(header, inspector.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	scheme, version := x.scheme, ""
	if x.trusted && r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	if r.TLS != nil {
		version = "TLS 1.3"
		if r.TLS.Version == 0x0303 {
			version = "TLS 1.2"
		}
	}
	client, _ := x.client()
	x.rec = x.tunnel.Ring.Begin(inspector.Start{
		Header: maskedHeader(header, x.tunnel), Method: r.Method, Path: r.RequestURI, Scheme: scheme, Host: r.Host,
		Proto: r.Proto, Remote: client, TLS: version, Accepted: x.started,
	})
}

// write gives the edge's own answer.
func (x *request) write(no *refusal) { x.writeStatus(statusOf(no.err.Code), no) }

func (x *request) writeStatus(status int, no *refusal) {
	kind, body := ownBody(status, no.err, strings.Contains(x.r.Header.Get("Accept"), "text/html"))
	h := x.w.Header()
	clear(h)
	for _, field := range ownFields(status, no, kind) {
		h.Set(field[0], field[1])
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(body)
	}
	if x.rec != nil {
		recordOwn(x.rec, appendOwn(nil, status, no, strings.HasPrefix(kind, "text/html"), false, true), status, no.err)
	}
}

// fail ends an exchange without an answer from the local service.
func (x *request) fail(err error) {
	cut := closed(x.tunnel)
	if !cut && x.ctx.Err() != nil {
		x.rec.End(inspector.Ending{By: "client", Code: tunnel.CodeClientAborted})
		return
	}
	local := "the service"
	if x.tunnel != nil {
		local = x.tunnel.Claim.Local
	}
	e := asError(err, local)
	if x.timedOut.Load() {
		e = timeoutError(local, x.f.cfg.BodyTimeout)
	}
	if cut {
		e = errClosed
	}
	if !x.wrote.Load() {
		x.write(&refusal{err: e})
		return
	}
	end := inspector.Ending{By: "upstream", Code: tunnel.CodeUpstreamAborted, Detail: e.Message}
	if cut {
		end = wasClosed
	}
	x.rec.End(end)
	panic(http.ErrAbortHandler) // net/http's way to reset the stream
}

// forwardHeader returns the header that goes to the local service, with lower
// case names.
func (x *request) forwardHeader() []inspector.Field {
	r := x.r
	var out []inspector.Field
	listed := strings.ToLower(strings.Join(r.Header["Connection"], ","))
	var forwardedFor []string
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		lower := strings.ToLower(name)
		switch lower {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length", "expect", "host":
			continue
		case "authorization":
			if !x.bridged && asksLogin(x.tunnel) { // it was for the edge
				continue
			}
		case "te":
			if !slices.Contains(r.Header[name], "trailers") {
				continue
			}
		}
		if lower != "te" && http1.HasToken([]byte(listed), lower) {
			continue
		}
		if kind := http1.KindOf(lower); !x.bridged && kind.Forwarding() {
			if !x.trusted || kind == http1.KindSpoofable {
				continue
			}
			if lower == "x-forwarded-for" {
				forwardedFor = r.Header[name]
				continue
			}
		}
		for _, v := range r.Header[name] {
			out = append(out, inspector.Field{Name: lower, Value: v})
		}
	}
	if x.bridged {
		return out
	}
	out = append(out, inspector.Field{Name: "x-forwarded-for", Value: strings.Join(append(slices.Clone(forwardedFor), x.peerIP.String()), ", ")})
	if !x.trusted || r.Header.Get("X-Forwarded-Host") == "" {
		out = append(out, inspector.Field{Name: "x-forwarded-host", Value: r.Host})
	}
	if !x.trusted || r.Header.Get("X-Forwarded-Proto") == "" {
		out = append(out, inspector.Field{Name: "x-forwarded-proto", Value: x.scheme})
	}
	return out
}

// host is the Host that the local service sees.
func (x *request) host() string {
	switch h := x.tunnel.Claim.HostHeader; h {
	case "":
		return x.r.Host
	case "rewrite":
		return localHost(x.tunnel.Claim.Local)
	default:
		return h
	}
}

// exchange passes the request on over HTTP/1.1.
func (x *request) exchange() {
	r := x.r
	hasBody := r.ContentLength != 0
	twice := idempotent([]byte(r.Method)) && !hasBody
	for fresh := false; ; fresh = true {
		client, _ := x.client()
		up, reused, err := x.f.open(x.tunnel, client, fresh, twice, x.started)
		if err != nil {
			x.fail(err)
			return
		}
		x.rec.Opened(reused)
		again := x.over(up, reused, twice, hasBody)
		if !again {
			return
		}
	}
}

// over runs the exchange on up, which it closes or gives back. It asks for
// another stream when this one was dead and nothing can happen twice.
func (x *request) over(up tunnel.Conn, reused, twice, hasBody bool) (again bool) {
	r := x.r
	keep := false
	stop := x.watch(up)
	var pumped chan error
	defer func() {
		stop()
		if !keep {
			_ = up.Close()
		}
		if pumped != nil {
			_ = r.Body.Close() // ends the pump's Read
			<-pumped
		}
	}()

	chunked := r.ContentLength < 0
	head, err := http1.AppendRequestLine(nil, r.Method, r.RequestURI)
	for _, f := range append([]inspector.Field{{Name: "host", Value: x.host()}}, x.forwardHeader()...) {
		if err == nil {
			head, err = http1.AppendField(head, f.Name, f.Value)
		}
	}
	if err != nil {
		var he *http1.Error
		if errors.As(err, &he) {
			x.writeStatus(he.Status, &refusal{err: &tunnel.Error{Code: he.Code, Message: he.Message}})
		}
		return false
	}
	switch {
	case chunked:
		head = append(head, "transfer-encoding: chunked\r\n"...)
		if len(r.Trailer) > 0 {
			head = appendField(head, "trailer", []byte(strings.Join(slices.Sorted(maps.Keys(r.Trailer)), ", ")))
		}
	case r.ContentLength > 0 || r.Header.Get("Content-Length") != "":
		head = appendField(head, "content-length", strconv.AppendInt(nil, r.ContentLength, 10))
	}
	head = append(head, "\r\n"...)
	x.count(&x.tunnel.Counters.BytesIn, len(head))
	_, err = up.Write(head)
	if err == nil && hasBody {
		pumped = make(chan error, 1)
		go func() {
			err := x.pump(up, chunked)
			if err != nil {
				x.rec.RequestBody().Cut()
			}
			pumped <- err
			close(pumped)
		}()
	}

	pooled := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(pooled)
	buf := *pooled
	var resp http1.Response
	m, n := 0, 0
	if err == nil {
		buf, m, n, err = x.f.readAnswer(x, up, &resp, buf, []byte(r.Method))
	}
	if err != nil {
		if reused && twice && n == 0 && x.ctx.Err() == nil && !closed(x.tunnel) {
			return true
		}
		x.fail(err)
		return false
	}
	early := pumped != nil && len(pumped) == 0
	surplus, err := x.pass(up, &resp, buf, m, n, reused)
	if err != nil {
		x.fail(err)
		return false
	}
	whole := !early // what was answered before it was read may be left over
	if pumped != nil && whole {
		whole = <-pumped == nil
	}
	x.rec.End(inspector.Ending{Detail: withheld(x.withheld)})
	private := hasBody || authenticatesConnection(r.Header.Get("Authorization")) // see flight.pass
	if stop() && whole && !surplus && !private && !resp.Close && !resp.Pinned && resp.Framing != http1.UntilClose {
		keep = true
		x.tunnel.Pool.Put(up, time.Now(), time.Duration(resp.KeepAlive)*time.Second)
	}
	return false
}

// pump copies the request body to the local service.
func (x *request) pump(up tunnel.Conn, chunked bool) error {
	buf := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(buf)
	var out []byte
	for {
		n, err := x.r.Body.Read(*buf)
		if n > 0 {
			_, _ = x.rec.RequestBody().Write((*buf)[:n])
			x.count(&x.tunnel.Counters.BytesIn, n)
			p := (*buf)[:n]
			if chunked {
				out = http1.AppendChunkHeader(out[:0], n)
				out = append(out, p...)
				out = append(out, "\r\n"...)
				p = out
			}
			if _, err := up.Write(p); err != nil {
				return err
			}
			x.moved()
		}
		if errors.Is(err, io.EOF) {
			if !chunked {
				return nil
			}
			var trailer []byte
			fields := headerFields(x.r.Trailer)
			for _, f := range fields {
				if !http1.KindOf(f.Name).Trails() {
					continue
				}
				if trailer, err = http1.AppendField(trailer, f.Name, f.Value); err != nil {
					return err
				}
			}
			x.rec.Trailers(fields, nil)
			_, err := up.Write(http1.AppendLastChunk(nil, trailer))
			return err
		}
		if err != nil {
			_ = up.Close()
			return err
		}
	}
}

func headerFields(h http.Header) []inspector.Field {
	var out []inspector.Field
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			out = append(out, inspector.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	return out
}

func (x *request) mayUpgrade() bool { return false }

func (x *request) interim(resp *http1.Response) error {
	x.rec.Interim(resp.Status)
	if resp.Status != http.StatusContinue {
		x.header(resp)
		x.w.WriteHeader(resp.Status)
		clear(x.w.Header())
	}
	return nil
}

// header puts the fields of resp into the response's header.
func (x *request) header(resp *http1.Response) {
	h := x.w.Header()
	for i := range resp.Fields {
		f := &resp.Fields[i]
		if f.Hop || f.Kind == http1.KindTransferEncoding || f.Kind == http1.KindSetCookie && x.withholds(f.Value) {
			continue
		}
		name := http.CanonicalHeaderKey(string(f.Name))
		h[name] = append(h[name], string(f.Value))
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or net/http would guess one
	}
}

// withholds reports whether a cookie must not reach the client, and counts it.
func (x *request) withholds(cookie []byte) bool {
	if !x.fenced || !reachesOut(cookie, x.f.cfg.Domain) {
		return false
	}
	x.withheld++
	x.f.cookies.Add(1)
	return true
}

// pass sends the answer on.
func (x *request) pass(up tunnel.Conn, resp *http1.Response, buf []byte, m, n int, reused bool) (surplus bool, err error) {
	kind := inspector.HTTP
	if resp.EventStream {
		kind = inspector.SSE
		x.endless()
		x.idle.Stop()
	}
	a := inspector.Answer{Head: buf[:m], Status: resp.Status, Reason: string(resp.Reason), Kind: kind}
	if d, ok := up.(interface{ Dial() time.Duration }); ok && !reused {
		a.Dial = d.Dial()
	}
	x.rec.Answered(a)
	if kind == inspector.SSE {
		x.rec.Show()
	}
	x.header(resp)
	x.wrote.Store(true)
	x.w.WriteHeader(resp.Status)
	rc := http.NewResponseController(x.w)
	var body http1.Body
	body.Reset(resp.Framing, resp.Length)
	sink := &tee{x: x}
	for {
		part := buf[m:n]
		var k int
		if len(part) > 0 && !body.Done() {
			if k, _, err = body.Scan(part, sink); err != nil {
				return false, err
			}
			if sink.err != nil {
				return false, sink.err
			}
		}
		if body.Done() {
			fields := trailerFields(body.Trailer())
			for _, f := range fields {
				x.w.Header().Add(http.TrailerPrefix+f.Name, f.Value)
			}
			x.rec.Trailers(nil, fields)
			return k < len(part), nil
		}
		_ = rc.Flush()
		m = 0
		n, err = up.Read(buf)
		if n > 0 && kind != inspector.SSE {
			x.moved()
		}
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = body.EOF()
				if err == nil {
					return false, nil
				}
			}
			return false, err
		}
	}
}

// A tee writes response data to the client and to the record. Its error is
// kept: what follows a body ignores errors of where its data goes.
type tee struct {
	x   *request
	err error
}

func (t *tee) Write(p []byte) (int, error) {
	_, _ = t.x.rec.ResponseBody().Write(p)
	t.x.count(&t.x.tunnel.Counters.BytesOut, len(p))
	if t.err == nil {
		_, t.err = t.x.w.Write(p)
	}
	return len(p), nil
}

// roundTrip passes the request on over HTTP/2, which gRPC needs.
func (x *request) roundTrip() {
	r := x.r
	if x.bridged {
		_ = http.NewResponseController(x.w).EnableFullDuplex() // the answer may come before the request ends
	}
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	if !isGRPC(r.Header.Get("Content-Type")) { // a call may be quiet for long
		defer x.watch(closerFunc(cancel))()
	}
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		u = &url.URL{Opaque: r.RequestURI}
	}
	u.Scheme, u.Host = "http", x.tunnel.Host
	header := http.Header{}
	for _, f := range x.forwardHeader() {
		header.Add(f.Name, f.Value)
	}
	if header.Get("User-Agent") == "" {
		header["User-Agent"] = nil // or net/http would add one
	}
	out := (&http.Request{
		Method: r.Method, URL: u, Host: x.host(), Header: header,
		Body: &recorded{r.Body, x}, ContentLength: r.ContentLength, Trailer: r.Trailer,
	}).WithContext(ctx)
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	t := x.tunnel
	transport := t.Pool.HTTP2(func() (net.Conn, error) {
		client, _ := x.client()
		return t.Open(tunnel.Peer{Tunnel: t.Name, Addr: client})
	})
	x.rec.Opened(false)
	res, err := transport.RoundTrip(out)
	if err != nil {
		x.fail(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	kind := inspector.HTTP
	switch contentType := res.Header.Get("Content-Type"); {
	case isGRPC(contentType):
		kind = inspector.GRPC
	case strings.HasPrefix(contentType, "text/event-stream"):
		kind = inspector.SSE
		x.endless()
		if x.idle != nil {
			x.idle.Stop()
		}
	}
	x.rec.Answered(inspector.Answer{Header: headerFields(res.Header), Status: res.StatusCode, Reason: http.StatusText(res.StatusCode), Kind: kind})
	h := x.w.Header()
	for name, values := range res.Header {
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Trailer":
			continue
		}
		if name == "Set-Cookie" {
			values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return x.withholds([]byte(v)) })
		}
		h[name] = values
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil
	}
	for name := range res.Trailer {
		h.Add("Trailer", name)
	}
	x.wrote.Store(true)
	x.w.WriteHeader(res.StatusCode)
	rc := http.NewResponseController(x.w)
	if res.ContentLength != 0 {
		// Without a body the head is also the end, which gRPC takes for its
		// trailers; a flush would part the two.
		_ = rc.Flush()
	}
	buf := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(buf)
	sink := &tee{x: x}
	for {
		n, err := res.Body.Read(*buf)
		if n > 0 {
			x.moved()
			_, _ = sink.Write((*buf)[:n])
			if sink.err != nil && closed(x.tunnel) {
				x.fail(sink.err)
				return
			}
			if sink.err != nil {
				x.rec.End(inspector.Ending{By: "client", Code: tunnel.CodeClientAborted})
				return
			}
			_ = rc.Flush()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			x.fail(err)
			return
		}
	}
	announced := h["Trailer"]
	for name, values := range res.Trailer {
		if !http1.KindOf(name).Trails() { // as over HTTP/1, where such a trailer ends the answer
			continue
		}
		if !slices.Contains(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	x.rec.Trailers(headerFields(r.Trailer), headerFields(res.Trailer))
	x.rec.End(inspector.Ending{Detail: withheld(x.withheld)})
}

// A recorded body is captured while it is read.
type recorded struct {
	io.ReadCloser
	x *request
}

func (b *recorded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.x.moved()
	_, _ = b.x.rec.RequestBody().Write(p[:n])
	b.x.count(&b.x.tunnel.Counters.BytesIn, n)
	return n, err
}

type closerFunc func()

func (f closerFunc) Close() error {
	f()
	return nil
}
