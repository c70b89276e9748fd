package forward

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A flooder is an HTTP/2 client that keeps to no rules.
type flooder struct {
	c       net.Conn
	fr      *http2.Framer
	enc     *hpack.Encoder
	block   bytes.Buffer
	streams uint32
}

func (r *rig) flooder(t *testing.T) *flooder {
	t.Helper()
	c, _ := r.dial(t)
	f := &flooder{c: c, fr: http2.NewFramer(c, bufio.NewReader(c))}
	f.enc = hpack.NewEncoder(&f.block)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := f.fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

// head encodes the head of a request, with more fields behind the needed ones.
func (f *flooder) head(more ...hpack.HeaderField) []byte {
	f.block.Reset()
	for _, h := range append([]hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a.tun.test"}, {Name: ":path", Value: "/"},
	}, more...) {
		_ = f.enc.WriteField(h)
	}
	return f.block.Bytes()
}

func (f *flooder) request() (id uint32, err error) {
	id = 2*f.streams + 1
	f.streams++
	return id, f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.head(), EndHeaders: true, EndStream: true})
}

// ends reads until the edge closes the connection, and returns the code that it
// gave as the reason, if any.
func (f *flooder) ends(t *testing.T) (code http2.ErrCode, said bool) {
	t.Helper()
	for {
		fr, err := f.fr.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the edge does not end the connection")
		}
		if err != nil {
			return code, said
		}
		if g, ok := fr.(*http2.GoAwayFrame); ok {
			code, said = g.ErrCode, true
		}
	}
}

// still reports whether the edge serves others.
func (r *rig) still(t *testing.T) {
	t.Helper()
	c, br := r.dial(t)
	if res, body := ask(t, c, br, "GET /other HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"); res.StatusCode != 200 {
		t.Errorf("another client got %d %q, want 200", res.StatusCode, body)
	}
}

// slowService answers /other at once and everything else when release is closed. It
// counts how many requests are with it at most.
func slowService(t *testing.T) (local string, most *atomic.Int64, release func()) {
	most = new(atomic.Int64)
	var now atomic.Int64
	done := make(chan struct{})
	local = service(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			return
		}
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		select {
		case <-done:
		case <-r.Context().Done():
		}
	})
	return local, most, sync.OnceFunc(func() { close(done) })
}

func TestHTTP2StreamsAreBounded(t *testing.T) {
	local, most, release := slowService(t)
	r := start(t, local, loopbackIsTrusted, func(c *Config) { c.MaxConcurrent = 8 })
	defer release()
	f := r.flooder(t)
	for range 9 {
		if _, err := f.request(); err != nil {
			t.Fatal(err)
		}
	}
	advertised, refused := uint32(0), uint32(0)
	for refused == 0 {
		fr, err := f.fr.ReadFrame()
		if err != nil {
			t.Fatalf("read: %v, want the stream too many refused", err)
		}
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if v, ok := fr.Value(http2.SettingMaxConcurrentStreams); ok {
				advertised = v
			}
		case *http2.RSTStreamFrame:
			refused = fr.StreamID
		}
	}
	if advertised != 8 || refused != 17 {
		t.Errorf("advertised %d streams and refused stream %d, want 8 and the ninth, 17", advertised, refused)
	}
	waitFor(t, func() bool { return most.Load() == 8 })
	r.still(t)
}

// A client that opens streams and resets them at once keeps nobody busy beyond
// what it may have open (CVE-2023-44487).
func TestHTTP2RapidReset(t *testing.T) {
	local, most, release := slowService(t)
	r := start(t, local, loopbackIsTrusted, func(c *Config) { c.MaxConcurrent = 16 })
	defer release()
	f := r.flooder(t)
	var sent sync.WaitGroup
	sent.Go(func() {
		for range 100_000 {
			id, err := f.request()
			if err == nil {
				err = f.fr.WriteRSTStream(id, http2.ErrCodeCancel)
			}
			if err != nil {
				return // the edge had enough
			}
		}
		_ = f.c.Close()
	})
	f.ends(t)
	sent.Wait()
	// A service learns of the end of a request a little later than the edge.
	if n := most.Load(); n > 64 {
		t.Errorf("%d requests were with the service at once, want about 16", n)
	}
	r.still(t)
}

// A head that goes on and on ends the connection long before memory does
// (CVE-2023-45288), and one that is too large gets 431.
func TestHTTP2HeadsAreBounded(t *testing.T) {
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) {}), loopbackIsTrusted)
	f := r.flooder(t)
	var fields []hpack.HeaderField
	for i := range 8 { // a little more than 64 KiB together
		fields = append(fields, hpack.HeaderField{Name: "x-" + strconv.Itoa(i), Value: strings.Repeat("x", 8<<10+20)})
	}
	block := f.head(fields...)
	_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16<<10], EndStream: true})
	for block = block[16<<10:]; len(block) > 0; {
		n := min(16<<10, len(block))
		_ = f.fr.WriteContinuation(1, n == len(block), block[:n])
		block = block[n:]
	}
	status := 0
	dec := hpack.NewDecoder(4<<10, func(h hpack.HeaderField) {
		if h.Name == ":status" {
			status, _ = strconv.Atoi(h.Value)
		}
	})
	for status == 0 {
		fr, err := f.fr.ReadFrame()
		if err != nil {
			t.Fatalf("read: %v, want an answer", err)
		}
		if h, ok := fr.(*http2.HeadersFrame); ok {
			_, _ = dec.Write(h.HeaderBlockFragment())
		}
	}
	if status != 431 {
		t.Errorf("Status = %d, want 431", status)
	}
	if n := len(r.tunnel.Ring.List(0, 0)); n != 0 {
		t.Errorf("%d requests were taken, want 0", n)
	}

	f = r.flooder(t)
	var sent atomic.Int64
	var flood sync.WaitGroup
	flood.Go(func() {
		block := f.head(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 1000)})
		_ = f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true})
		for range 1 << 20 {
			if f.fr.WriteContinuation(1, false, block) != nil {
				return
			}
			sent.Add(int64(len(block)))
		}
	})
	f.ends(t)
	_ = f.c.Close()
	flood.Wait()
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes of one head were taken in", n)
	}
	r.still(t)
}

// A client that asks for answers to pings and reads none is cut before they pile
// up (CVE-2019-9512). It has a connection in memory, where nothing lies between
// the two that could hold some.
func TestHTTP2PingFlood(t *testing.T) {
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) {}), loopbackIsTrusted)
	l := NewListener()
	var serving sync.WaitGroup
	serving.Go(func() { _ = r.f.Serve(l, nil) })
	defer func() {
		_ = l.Close()
		serving.Wait()
	}()
	near, far := newPipe(addr("127.0.0.1:4711"))
	defer func() { _ = near.Close() }()
	_ = near.SetDeadline(time.Now().Add(patience))
	if err := l.hand(far); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(near, http2.ClientPreface)
	fr := http2.NewFramer(near, nil)
	_ = fr.WriteSettings()
	for n := 0; fr.WritePing(false, [8]byte{}) == nil; n++ {
		if n > 100_000 {
			t.Fatalf("%d answers to pings are kept", n)
		}
	}
	if _, err := near.Write(nil); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the edge neither reads on nor ends the connection")
	}
	r.still(t)
}

// Who sends its head byte by byte gets no more time than others.
func TestSlowHead(t *testing.T) {
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) {}), func(c *Config) { c.HeaderTimeout = 300 * time.Millisecond })
	c, br := r.dial(t)
	var drip sync.WaitGroup
	stop := make(chan struct{})
	drip.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for _, b := range []byte("GET / HTTP/1.1\r\nHost: a.tun.test\r\nX: " + strings.Repeat("x", 10_000)) {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
		}
	})
	res, err := http.ReadResponse(br, nil)
	close(stop)
	drip.Wait()
	if err != nil || res.StatusCode != 408 || !res.Close {
		t.Fatalf("answer %v, %v; want 408 and the end", res, err)
	}
	r.still(t)
}

func TestHeadersAreBounded(t *testing.T) {
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) {}))
	head := "GET / HTTP/1.1\r\nHost: a.tun.test\r\nX: "
	for _, c := range []struct{ size, want int }{{64 << 10, 200}, {64<<10 + 1, 431}, {80 << 10, 431}} {
		nc, br := r.dial(t)
		res, _ := ask(t, nc, br, head+strings.Repeat("x", c.size-len(head)-4)+"\r\n\r\n")
		if res.StatusCode != c.want {
			t.Errorf("a head of %d bytes: Status = %d, want %d", c.size, res.StatusCode, c.want)
		}
	}
}
