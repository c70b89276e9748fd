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
	x := &request{f: f, w: w, r: r, started: time.Now(), scheme: "http"}
	defer x.finish()
	switch nc := r.Context().Value(connKey{}).(type) {
	case *pipe:
		// From the HTTP/1.1 loop, which has recorded the request and said who
		// the client is.
		x.bridged, x.tunnel = true, nc.tunnel
		x.roundTrip()
		return
	case *gathered:
		x.own, r.TLS = &nc.own, nc.state
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
	x.scratch = scratches.Get().(*scratch)
	host, err := http1.AppendHost(x.scratch.host[:0], r.Host)
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
	tunnel  *registry.Tunnel
	rec     *inspector.Record
	own     *ownStreams // of the client's connection; nil when it can have none
	scratch *scratch    // nil when bridged
	started time.Time
	peerIP  netip.Addr
	trusted bool
	bridged bool
	scheme  string
	finite  bool // it is counted as one that comes to an end

	wrote atomic.Bool // the response head has been sent

	fenced   bool // the answer may set no cookie for the edge's domain
	withheld int  // cookies that it tried to set

	progress atomic.Int64 // Unix nanoseconds of the last byte, about
	timedOut atomic.Bool

	wg sync.WaitGroup // what check has started

	mu        sync.Mutex
	up        io.Closer // what the exchange runs over; nil when none does
	streaming bool      // no idle limit: an event stream, or a call
	cut       bool      // up is being closed, or was
	done      bool      // w must not be touched any more
}

// A scratch is memory that one request after the other uses.
type scratch struct {
	host  []byte
	head  []byte
	names []string
	resp  http1.Response
}

var scratches = sync.Pool{New: func() any { return &scratch{host: make([]byte, 0, 256), head: make([]byte, 0, 4<<10)} }}

// release gives s back, without what it refers to.
func (s *scratch) release() {
	clear(s.names)
	s.names = s.names[:0]
	fields := s.resp.Fields
	clear(fields[:cap(fields)])
	s.resp = http1.Response{Fields: fields[:0]}
	if cap(s.head) > 2*copySize {
		s.head = nil
	}
	scratches.Put(s)
}

// begin notes what the exchange runs over.
func (x *request) begin(up io.Closer, streaming bool) {
	x.moved()
	x.mu.Lock()
	x.up, x.streaming, x.cut = up, streaming, false
	x.mu.Unlock()
	x.f.mu.Lock()
	x.f.requests[x] = struct{}{}
	x.f.mu.Unlock()
}

// end forgets that. It reports whether the stream was left alone.
func (x *request) end() (alone bool) {
	x.mu.Lock()
	up, alone := x.up, !x.cut
	x.up = nil
	x.mu.Unlock()
	if up != nil {
		x.f.mu.Lock()
		delete(x.f.requests, x)
		x.f.mu.Unlock()
	}
	return alone
}

// check is called now and then. It ends the exchange when its client has left,
// its tunnel was closed or no byte has passed for too long.
func (x *request) check(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.up == nil || x.cut {
		return
	}
	x.rec.CatchUp()
	// When bridged, the HTTP/1.1 loop ends the exchange, and the client's with it.
	late := !x.bridged && !x.streaming && now.UnixNano()-x.progress.Load() > int64(x.f.cfg.BodyTimeout)
	if !late && x.r.Context().Err() == nil && (x.bridged || !closed(x.tunnel)) {
		return
	}
	x.cut = true
	x.timedOut.Store(late)
	up := x.up
	x.wg.Go(func() {
		_ = up.Close()
		x.unblock()
	})
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
	x.wg.Wait()
	if x.scratch != nil {
		x.scratch.release()
	}
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

// stream notes that x has no idle limit any more.
func (x *request) stream() {
	x.endless()
	x.mu.Lock()
	x.streaming = true
	x.mu.Unlock()
}

// moved notes that bytes have passed.
func (x *request) moved() { x.progress.Store(time.Now().UnixNano()) }

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
	n := 1
	for _, values := range r.Header {
		n += len(values)
	}
	header := append(make([]inspector.Field, 0, n), inspector.Field{Name: "host", Value: r.Host})
	for _, name := range x.names() {
		lower := lowerName(name)
		for _, v := range r.Header[name] {
			header = append(header, inspector.Field{Name: lower, Value: v})
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
	kind := inspector.HTTP
	if isGRPC(r.Header.Get("Content-Type")) {
		kind = inspector.GRPC // until the answer says otherwise
	}
	x.rec = x.tunnel.Ring.Begin(inspector.Start{
		Kind: kind, Header: maskedHeader(header, x.tunnel), Method: r.Method, Path: r.RequestURI, Scheme: scheme, Host: r.Host,
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
	if !cut && x.r.Context().Err() != nil {
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
	if cut && x.bridged {
		// The HTTP/1.1 loop may be closing its client's side just now, and an answer
		// from here would be lost on the way: it gives its own.
		panic(http.ErrAbortHandler)
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

// names returns the names of the request's header in their order.
func (x *request) names() []string {
	s := x.scratch
	if s == nil { // bridged
		return slices.Sorted(maps.Keys(x.r.Header))
	}
	if len(s.names) != len(x.r.Header) {
		s.names = s.names[:0]
		for name := range x.r.Header {
			s.names = append(s.names, name)
		}
		slices.Sort(s.names)
	}
	return s.names
}

// forwarded yields the header that goes to the local service, with lower case
// names.
func (x *request) forwarded(yield func(name, value string) bool) {
	r := x.r
	var listed []byte
	if lines := r.Header["Connection"]; len(lines) > 0 {
		listed = []byte(strings.ToLower(strings.Join(lines, ",")))
	}
	var forwardedFor []string
	for _, name := range x.names() {
		lower := lowerName(name)
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
		if listed != nil && lower != "te" && http1.HasToken(listed, lower) {
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
			if !yield(lower, v) {
				return
			}
		}
	}
	if x.bridged {
		return
	}
	from := x.peerIP.String()
	if len(forwardedFor) > 0 {
		from = strings.Join(forwardedFor, ", ") + ", " + from
	}
	if !yield("x-forwarded-for", from) {
		return
	}
	if (!x.trusted || r.Header.Get("X-Forwarded-Host") == "") && !yield("x-forwarded-host", r.Host) {
		return
	}
	if !x.trusted || r.Header.Get("X-Forwarded-Proto") == "" {
		yield("x-forwarded-proto", x.scheme)
	}
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
	hasBody := x.r.ContentLength != 0
	twice := idempotent([]byte(x.r.Method)) && !hasBody
	if err := x.appendHead(); err != nil {
		var he *http1.Error
		if errors.As(err, &he) {
			x.writeStatus(he.Status, &refusal{err: &tunnel.Error{Code: he.Code, Message: he.Message}})
		}
		return
	}
	for fresh := false; ; fresh = true {
		up, reused, private, err := x.open(fresh, twice)
		if err != nil {
			x.fail(err)
			return
		}
		x.rec.Opened(reused)
		if again := x.over(up, reused, private, twice); !again {
			return
		}
	}
}

// open takes or opens a stream. A private one is only for this client.
func (x *request) open(fresh, twice bool) (up tunnel.Conn, reused, private bool, err error) {
	if !fresh {
		if up := x.own.take(x.tunnel, x.started, !twice); up != nil {
			return up, true, true, nil
		}
	}
	client, _ := x.client()
	up, reused, err = x.f.open(x.tunnel, client, fresh, twice, x.started)
	return up, reused, false, err
}

// readsBody reports whether a service is likely to read the body of a request.
func readsBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// appendHead makes the head of the request to the local service.
func (x *request) appendHead() error {
	r := x.r
	head, err := http1.AppendRequestLine(x.scratch.head[:0], r.Method, r.RequestURI)
	if err == nil {
		head, err = http1.AppendField(head, "host", x.host())
	}
	for name, value := range x.forwarded {
		if err == nil {
			head, err = http1.AppendField(head, name, value)
		}
	}
	if err != nil {
		return err
	}
	switch {
	case r.ContentLength < 0:
		head = append(head, "transfer-encoding: chunked\r\n"...)
		if len(r.Trailer) > 0 {
			head = appendField(head, "trailer", []byte(strings.Join(slices.Sorted(maps.Keys(r.Trailer)), ", ")))
		}
	case r.ContentLength > 0 || r.Header.Get("Content-Length") != "":
		head = append(head, "content-length: "...)
		head = strconv.AppendInt(head, r.ContentLength, 10)
		head = append(head, "\r\n"...)
	}
	x.scratch.head = append(head, "\r\n"...)
	return nil
}

// over runs the exchange on up, which it closes or gives back. It asks for
// another stream when this one was dead and nothing can happen twice.
func (x *request) over(up tunnel.Conn, reused, private, twice bool) (again bool) {
	r := x.r
	x.begin(up, false)
	keep := false
	var body *pump
	defer func() {
		x.end()
		if !keep {
			_ = up.Close()
		}
		if body != nil {
			_ = r.Body.Close() // ends the pump's Read
			<-body.done
		}
	}()

	head := x.scratch.head
	x.count(&x.tunnel.Counters.BytesIn, len(head))
	var err error
	if r.ContentLength == 0 {
		_, err = up.Write(head)
	} else {
		body = newPump(x, up, head)
		err = body.begin()
	}

	pooled := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(pooled)
	buf := *pooled
	resp := &x.scratch.resp
	m, n := 0, 0
	if err == nil {
		buf, m, n, err = x.f.readAnswer(x, up, resp, buf, []byte(r.Method))
	}
	if err != nil {
		if reused && twice && n == 0 && r.Context().Err() == nil && !x.timedOut.Load() && !closed(x.tunnel) {
			resp.Reset()
			return true
		}
		x.fail(err)
		return false
	}
	early := body.arriving()
	surplus, err := x.pass(up, resp, buf, m, n, reused)
	if err != nil {
		x.fail(err)
		return false
	}
	whole := !early // what was answered before it was read may be left over
	if body != nil && whole {
		<-body.done
		whole = body.err == nil
	}
	x.rec.End(inspector.Ending{Detail: withheld(x.withheld)})
	if !x.end() || !whole {
		return false
	}
	keep = true // from here on by release
	// See flight.pass. What authenticates connections does not work over HTTP/2,
	// where one carries the requests of many.
	switch {
	case surplus, resp.Close, resp.Framing == http1.UntilClose, resp.Pinned, authenticatesConnection(r.Header.Get("Authorization")):
		x.f.release(up, nil, false, 0)
	case !private && body == nil:
		x.f.release(up, x.tunnel, true, time.Duration(resp.KeepAlive)*time.Second)
	case x.trusted, body != nil && !readsBody(r.Method), !settled(up), !x.own.put(x.tunnel, up, resp.KeepAlive):
		x.f.release(up, nil, false, 0)
	}
	return false
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
	// The values are parts of one string, and what the header holds of them is
	// parts of one array.
	size := 0
	for i := range resp.Fields {
		size += len(resp.Fields[i].Value)
	}
	var all strings.Builder
	all.Grow(size)
	for i := range resp.Fields {
		all.Write(resp.Fields[i].Value)
	}
	rest, lists := all.String(), make([]string, len(resp.Fields))
	for i := range resp.Fields {
		f := &resp.Fields[i]
		value := rest[:len(f.Value)]
		rest = rest[len(f.Value):]
		if f.Hop || f.Kind == http1.KindTransferEncoding || f.Kind == http1.KindSetCookie && x.withholds(f.Value) {
			continue
		}
		name := canonicalName(f.Name)
		if before, ok := h[name]; ok {
			h[name] = append(before, value)
			continue
		}
		lists[i] = value
		h[name] = lists[i : i+1 : i+1]
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
		x.stream()
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
	flusher, _ := x.w.(http.Flusher)
	var body http1.Body
	body.Reset(resp.Framing, resp.Length)
	sink := &tee{x: x}
	for first := true; ; first = false {
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
		flusher.Flush()
		if first {
			expectRead(up, body.Left())
			x.rec.ResponseBody().Expect(lengthOf(&body))
		}
		if len(buf) < bulkSize && !settled(up) {
			large := bulkBufs.Get().(*[]byte)
			defer bulkBufs.Put(large)
			buf = *large
		}
		m = 0
		n, err = up.Read(buf)
		if n > 0 {
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
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	x.begin(closerFunc(cancel), isGRPC(r.Header.Get("Content-Type"))) // a call may be quiet for long
	defer x.end()
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		u = &url.URL{Opaque: r.RequestURI}
	}
	u.Scheme, u.Host = "http", x.tunnel.Host
	header := http.Header{}
	for name, value := range x.forwarded {
		header.Add(name, value)
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
		up, err := t.Open(tunnel.Peer{Tunnel: t.Name, Addr: client})
		if err == nil {
			expectRead(up, -1)
			expectWrite(up, -1)
		}
		return up, err
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
		x.stream()
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
