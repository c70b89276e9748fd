package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// target is one public address of a system under test.
type target struct {
	addr, host string
	tls        *tls.Config // nil: without TLS
}

func (t target) req(method, path string, body int, closing bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n", method, path, t.host)
	if closing {
		b.WriteString("Connection: close\r\n")
	}
	if method == "POST" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", body)
	}
	b.WriteString("\r\n")
	b.Write(bytes.Repeat([]byte{'x'}, body))
	return b.Bytes()
}

// chunked is a POST of so many bytes in chunks of 64 KiB.
func (t target) chunked(path string, body int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", path, t.host)
	for left := body; left > 0; {
		n := min(left, 64<<10)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, bytes.Repeat([]byte{'x'}, n))
		left -= n
	}
	b.WriteString("0\r\n\r\n")
	return b.Bytes()
}

type respHead struct {
	status  int
	length  int64 // -1 unknown
	chunked bool
	close   bool
}

var (
	errHead = errors.New("bad response head")
	errSize = errors.New("body of another size")
)

func readHead(br *bufio.Reader) (h respHead, err error) {
	h.length = -1
	for first := true; ; first = false {
		l, err := br.ReadSlice('\n')
		if err != nil {
			return h, err
		}
		l = bytes.TrimRight(l, "\r\n")
		if first {
			if len(l) < 12 || !bytes.HasPrefix(l, []byte("HTTP/1.")) {
				return h, errHead
			}
			h.status, _ = strconv.Atoi(string(l[9:12]))
			continue
		}
		if len(l) == 0 {
			break
		}
		k, v, ok := bytes.Cut(l, []byte{':'})
		if !ok {
			return h, errHead
		}
		v = bytes.TrimSpace(v)
		switch {
		case len(k) == 14 && bytes.EqualFold(k, []byte("content-length")):
			h.length, _ = strconv.ParseInt(string(v), 10, 64)
		case len(k) == 17 && bytes.EqualFold(k, []byte("transfer-encoding")):
			h.chunked = bytes.EqualFold(v, []byte("chunked"))
		case len(k) == 10 && bytes.EqualFold(k, []byte("connection")):
			h.close = bytes.EqualFold(v, []byte("close"))
		}
	}
	return h, nil
}

// readResp reads and discards one whole response.
func readResp(br *bufio.Reader) (respHead, int64, error) {
	h, err := readHead(br)
	if err != nil {
		return h, 0, err
	}
	switch {
	case h.chunked:
		var n int64
		for {
			l, err := br.ReadSlice('\n')
			if err != nil {
				return h, n, err
			}
			s := bytes.TrimSpace(l)
			if i := bytes.IndexByte(s, ';'); i >= 0 {
				s = s[:i]
			}
			c, err := strconv.ParseInt(string(s), 16, 64)
			if err != nil {
				return h, n, err
			}
			if _, err := br.Discard(int(c) + 2); err != nil {
				return h, n, err
			}
			if c == 0 {
				return h, n, nil
			}
			n += c
		}
	case h.length >= 0:
		m, err := io.CopyN(io.Discard, br, h.length)
		return h, m, err
	default:
		h.close = true
		m, err := io.Copy(io.Discard, br)
		return h, m, err
	}
}

type loadResult struct {
	n, errs int
	rps     float64
	lat     []time.Duration // sorted
}

func (r loadResult) q(p float64) float64 { // microseconds
	if len(r.lat) == 0 {
		return 0
	}
	i := int(p * float64(len(r.lat)))
	if i >= len(r.lat) {
		i = len(r.lat) - 1
	}
	return float64(r.lat[i].Nanoseconds()) / 1e3
}

// closedLoop keeps c connections busy for dur. fresh opens a connection per request.
func closedLoop(t target, req []byte, c int, warm, dur time.Duration, fresh bool) loadResult {
	return closedLoopOf(t, req, c, warm, dur, fresh, -1)
}

// closedLoopOf is closedLoop for answers of size bytes, -1 for any.
func closedLoopOf(t target, req []byte, c int, warm, dur time.Duration, fresh bool, size int64) loadResult {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var res loadResult
	var stop atomic.Bool
	start := time.Now().Add(warm)
	end := start.Add(dur)
	limit := end.Add(5 * time.Second)
	for i := 0; i < c; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var nc net.Conn
			var br *bufio.Reader
			lat := make([]time.Duration, 0, 1<<14)
			errs := 0
			for !stop.Load() {
				t0 := time.Now()
				if t0.After(end) {
					break
				}
				var err error
				if nc == nil {
					if nc, err = t.dial(); err != nil {
						errs++
						time.Sleep(10 * time.Millisecond)
						continue
					}
					nc.SetDeadline(limit)
					if br == nil {
						br = bufio.NewReaderSize(nc, 16<<10)
					} else {
						br.Reset(nc)
					}
				}
				var h respHead
				if _, err = nc.Write(req); err == nil {
					var n int64
					h, n, err = readResp(br)
					if err == nil && size >= 0 && n != size {
						err = errSize
					}
				}
				if err == nil && h.status != 200 {
					err = errHead
				}
				t1 := time.Now()
				if t0.After(start) {
					if err != nil {
						errs++
					} else {
						lat = append(lat, t1.Sub(t0))
					}
				}
				if err != nil || h.close || fresh {
					nc.Close()
					nc = nil
				}
			}
			if nc != nil {
				nc.Close()
			}
			mu.Lock()
			res.lat = append(res.lat, lat...)
			res.errs += errs
			mu.Unlock()
		}()
	}
	wg.Wait()
	res.n = len(res.lat)
	el := dur.Seconds()
	if over := time.Since(end).Seconds(); over > 0.5 { // a stall held the run up: count it
		el += over
	}
	res.rps = float64(res.n) / el
	sort.Slice(res.lat, func(i, j int) bool { return res.lat[i] < res.lat[j] })
	return res
}

const bulkDeadline = 40 * time.Second

// download pulls n bytes over each of c connections at once; MB/s (10^6) in total.
func download(t target, n int64, c int) (float64, error) {
	return parallel(c, func() (int64, error) {
		nc, err := net.Dial("tcp", t.addr)
		if err != nil {
			return 0, err
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(bulkDeadline))
		if _, err := nc.Write(t.req("GET", "/bytes?n="+strconv.FormatInt(n, 10), 0, false)); err != nil {
			return 0, err
		}
		br := bufio.NewReaderSize(nc, 256<<10)
		h, m, err := readResp(br)
		if err == nil && (h.status != 200 || m != n) {
			err = fmt.Errorf("status %d, %d of %d bytes", h.status, m, n)
		}
		return m, err
	})
}

func upload(t target, n int64, c int) (float64, error) {
	buf := make([]byte, 256<<10)
	return parallel(c, func() (int64, error) {
		nc, err := net.Dial("tcp", t.addr)
		if err != nil {
			return 0, err
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(bulkDeadline))
		fmt.Fprintf(nc, "POST /sink HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", t.host, n)
		left := n
		for left > 0 {
			b := buf
			if left < int64(len(b)) {
				b = b[:left]
			}
			if _, err := nc.Write(b); err != nil {
				return n - left, err
			}
			left -= int64(len(b))
		}
		h, _, err := readResp(bufio.NewReader(nc))
		if err == nil && h.status != 200 {
			err = fmt.Errorf("status %d", h.status)
		}
		return n, err
	})
}

// parallel reports MB/s (10^6 bytes a second); on a timeout, what had been moved by then.
func parallel(c int, f func() (int64, error)) (float64, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sum int64
	var first error
	t0 := time.Now()
	for i := 0; i < c; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			n, err := f()
			mu.Lock()
			sum += n
			if err != nil && first == nil {
				first = err
			}
			mu.Unlock()
		}()
	}
	wg.Wait()
	return float64(sum) / 1e6 / time.Since(t0).Seconds(), first
}

func tcpBulk(addr string, dir byte, n int64) (float64, error) {
	return parallel(1, func() (int64, error) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return 0, err
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(bulkDeadline))
		h := binary.BigEndian.AppendUint64([]byte{dir}, uint64(n))
		if _, err := nc.Write(h); err != nil {
			return 0, err
		}
		buf := make([]byte, 256<<10)
		if dir == 'D' {
			return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(nc, n)}, buf)
		}
		for left := n; left > 0; {
			b := buf
			if left < int64(len(b)) {
				b = b[:left]
			}
			if _, err := nc.Write(b); err != nil {
				return n - left, err
			}
			left -= int64(len(b))
		}
		_, err = io.ReadFull(nc, buf[:1])
		return n, err
	})
}

// pingPong bounces 64-byte messages over one connection.
func pingPong(dial func() (net.Conn, func([]byte) error, error), dur time.Duration) (loadResult, error) {
	var r loadResult
	c, rt, err := dial()
	if err != nil {
		return r, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(dur + 5*time.Second))
	msg := make([]byte, 64)
	t0 := time.Now()
	for time.Since(t0) < dur {
		a := time.Now()
		if err := rt(msg); err != nil {
			return r, err
		}
		r.lat = append(r.lat, time.Since(a))
	}
	r.n = len(r.lat)
	r.rps = float64(r.n) / time.Since(t0).Seconds()
	sort.Slice(r.lat, func(i, j int) bool { return r.lat[i] < r.lat[j] })
	return r, nil
}

func dialEcho(addr string) func() (net.Conn, func([]byte) error, error) {
	return func() (net.Conn, func([]byte) error, error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte{'E'}); err != nil {
			return nil, nil, err
		}
		return c, func(b []byte) error {
			if _, err := c.Write(b); err != nil {
				return err
			}
			_, err := io.ReadFull(c, b)
			return err
		}, nil
	}
}

func dialWS(t target) func() (net.Conn, func([]byte) error, error) {
	return func() (net.Conn, func([]byte) error, error) {
		c, err := net.Dial("tcp", t.addr)
		if err != nil {
			return nil, nil, err
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", t.host)
		br := bufio.NewReader(c)
		h, err := readHead(br)
		if err != nil {
			return nil, nil, err
		}
		if h.status != 101 {
			return nil, nil, fmt.Errorf("websocket: status %d", h.status)
		}
		return c, func(b []byte) error {
			if err := wsWrite(c, 2, b, true); err != nil {
				return err
			}
			_, _, err := wsRead(br)
			return err
		}, nil
	}
}

// sse reads an event stream; the result is the delay from the upstream's write
// to our read of each event, and the time to the first byte of the response.
func sse(t target, n, ms int) (ttfb time.Duration, r loadResult, err error) {
	c, err := net.Dial("tcp", t.addr)
	if err != nil {
		return 0, r, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Duration(n*ms)*time.Millisecond + 5*time.Second))
	t0 := time.Now()
	c.Write(t.req("GET", fmt.Sprintf("/sse?n=%d&ms=%d", n, ms), 0, true))
	br := bufio.NewReader(c)
	h, err := readHead(br)
	if err != nil {
		return 0, r, err
	}
	if h.status != 200 {
		return 0, r, fmt.Errorf("status %d", h.status)
	}
	for len(r.lat) < n {
		l, err := br.ReadSlice('\n')
		if err != nil {
			return ttfb, r, fmt.Errorf("after %d events: %w", len(r.lat), err)
		}
		now := time.Now()
		if bytes.HasPrefix(l, []byte("data: ")) {
			if len(r.lat) == 0 {
				ttfb = now.Sub(t0)
			}
			ts, _ := strconv.ParseInt(string(bytes.TrimSpace(l[6:])), 10, 64)
			r.lat = append(r.lat, now.Sub(time.Unix(0, ts)))
		}
	}
	sort.Slice(r.lat, func(i, j int) bool { return r.lat[i] < r.lat[j] })
	r.n = len(r.lat)
	return ttfb, r, nil
}
