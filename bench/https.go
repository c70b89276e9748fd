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
	"slices"
	"sync"
	"time"
)

// The public side with TLS: HTTP/1.1 and HTTP/2. Only the CPU of edge and agent
// is compared, so certificates are not checked here.

// over returns t's HTTPS address, spoken to with protocol; resume keeps the
// sessions of earlier connections.
func (r *running) over(protocol string, resume bool) target {
	t := r.t
	t.addr = r.v.expand(r.sys.HTTPS)
	t.tls = &tls.Config{ServerName: t.host, InsecureSkipVerify: true, NextProtos: []string{protocol}}
	if resume {
		t.tls.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	}
	return t
}

// dial opens a connection, with TLS where t has it.
func (t target) dial() (net.Conn, error) {
	nc, err := net.DialTimeout("tcp", t.addr, 5*time.Second)
	if err != nil || t.tls == nil {
		return nc, err
	}
	tc := tls.Client(nc, t.tls)
	tc.SetDeadline(time.Now().Add(5 * time.Second))
	if err := tc.Handshake(); err != nil {
		nc.Close()
		return nil, err
	}
	tc.SetDeadline(time.Time{})
	return tc, nil
}

func noTLS(r *running) bool { return r.sys.HTTPS == "" }

func httpsScenarios() []scenario {
	https := func(c, body int, method string, fresh, resume bool) func(r *running, o opts) (map[string]float64, error) {
		return func(r *running, o opts) (map[string]float64, error) {
			r2 := *r
			r2.t = r.over("http/1.1", resume)
			return loop(c, body, method, "/small", fresh)(&r2, o)
		}
	}
	http2 := func(conns, streams, body int, method string) func(r *running, o opts) (map[string]float64, error) {
		return func(r *running, o opts) (map[string]float64, error) {
			return http2Load(r, o, conns, streams, body, method)
		}
	}
	return []scenario{
		{name: "m. HTTPS GET keep-alive c=64", skip: noTLS, run: https(64, 0, "GET", false, false)},
		{name: "m. HTTPS POST 1 KiB keep-alive c=64", skip: noTLS, run: https(64, 1024, "POST", false, false)},
		{name: "m. HTTPS GET new connection each c=16", skip: noTLS, run: https(16, 0, "GET", true, false)},
		{name: "m. HTTPS GET resumed connection each c=16", skip: noTLS, run: https(16, 0, "GET", true, true)},
		{name: "n. HTTP/2 GET 4 connections of 16", skip: noTLS, run: http2(4, 16, 0, "GET")},
		{name: "n. HTTP/2 GET 64 connections of 1", skip: noTLS, run: http2(64, 1, 0, "GET")},
		{name: "n. HTTP/2 POST 1 KiB 4 connections of 16", skip: noTLS, run: http2(4, 16, 1024, "POST")},
		{name: "n. HTTP/2 POST 1 KiB 64 connections of 1", skip: noTLS, run: http2(64, 1, 1024, "POST")},
	}
}

// idleTLS is the memory of the edge for each of n public connections that have
// had one request and wait for the next. They come from one address, of which an
// edge takes about a thousand.
func (e *env) idleTLS(s system, slot, n int) (map[string]float64, error) {
	r, err := e.boot(s, slot, booting{})
	if err != nil {
		return nil, err
	}
	defer r.stop()
	var open []net.Conn
	defer func() {
		for _, nc := range open {
			nc.Close()
		}
	}()
	m := map[string]float64{}
	rest := func() float64 {
		time.Sleep(4 * time.Second) // until what serves the request only is given back
		_, rss := groupUsage(r.edge)
		return rss[0]
	}
	last := rest()
	for _, k := range []struct {
		name string
		t    target
		h2   bool
	}{{"HTTP", r.t, false}, {"HTTPS", r.over("http/1.1", false), false}, {"HTTP/2", r.over("h2", false), true}} {
		for range n {
			nc, err := k.t.dial()
			if err != nil {
				return m, err
			}
			open = append(open, nc)
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			if k.h2 {
				err = newH2(nc, k.t, "GET", 0).run(1, time.Time{})
			} else {
				nc.Write(k.t.req("GET", "/small", 0, false))
				_, _, err = readResp(bufio.NewReader(nc))
			}
			if err != nil {
				return m, err
			}
		}
		now := rest()
		m["edge KiB/"+k.name+" connection"] = (now - last) / float64(n)
		last = now
	}
	return m, nil
}

// http2Load keeps streams requests in flight on each of conns connections. What
// can be sent at once is sent in one write.
func http2Load(r *running, o opts, conns, streams, body int, method string) (map[string]float64, error) {
	t := r.over("h2", false)
	var cs []*h2Client
	defer func() {
		for _, c := range cs {
			c.nc.Close()
		}
	}()
	for range conns {
		nc, err := t.dial()
		if err != nil {
			return nil, err
		}
		nc.SetDeadline(time.Now().Add(o.dur + 5*time.Second))
		c := newH2(nc, t, method, body)
		cs = append(cs, c)
	}
	return withCPU(r, func() (float64, string, map[string]float64, error) {
		var wg sync.WaitGroup
		errs := make([]error, conns)
		end := time.Now().Add(o.dur)
		for i, c := range cs {
			wg.Go(func() { errs[i] = c.run(streams, end) })
		}
		wg.Wait()
		var x loadResult
		for i, c := range cs {
			x.lat = append(x.lat, c.lat...)
			if errs[i] != nil {
				x.errs++
			}
		}
		x.n = len(x.lat)
		x.rps = float64(x.n) / o.dur.Seconds()
		slices.Sort(x.lat)
		m, err := loadMetrics(x)
		return float64(x.n), "req", m, errors.Join(append(errs, err)...)
	})
}

// HTTP/2 frames (RFC 9113, 6).
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindowUpdate = 8

	flagEndStream  = 1 // of DATA and HEADERS
	flagAck        = 1 // of SETTINGS and PING
	flagEndHeaders = 4
)

// An h2Client sends the same request again and again over one connection. It
// knows of HTTP/2 what that takes: all answers are 200 and short.
type h2Client struct {
	nc     net.Conn
	br     *bufio.Reader
	out    []byte
	block  []byte // the header block of every request
	body   []byte
	next   uint32 // stream
	window int    // bytes that may be sent on the connection
	owed   uint32 // bytes received and not yet granted again
	began  map[uint32]time.Time
	lat    []time.Duration
}

func newH2(nc net.Conn, t target, method string, body int) *h2Client {
	c := &h2Client{nc: nc, br: newReader(nc), next: 1, window: 65535, body: bytes.Repeat([]byte{'x'}, body), began: map[uint32]time.Time{}}
	literal := func(name, value string) { // without indexing, so that every block is the same
		c.block = append(c.block, 0, byte(len(name)))
		c.block = append(c.block, name...)
		c.block = append(c.block, byte(len(value)))
		c.block = append(c.block, value...)
	}
	literal(":method", method)
	literal(":scheme", "https")
	literal(":authority", t.host)
	literal(":path", "/small")
	literal("user-agent", "bench")
	literal("accept", "*/*")
	if method == "POST" {
		literal("content-type", "application/json")
		literal("content-length", fmt.Sprint(body))
	}
	c.out = append(c.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
	c.frame(frameSettings, 0, 0, nil)
	c.frame(frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, 1<<30))
	return c
}

func (c *h2Client) frame(kind, flags byte, stream uint32, p []byte) {
	c.out = append(c.out, byte(len(p)>>16), byte(len(p)>>8), byte(len(p)), kind, flags)
	c.out = binary.BigEndian.AppendUint32(c.out, stream)
	c.out = append(c.out, p...)
}

func (c *h2Client) request() {
	if len(c.body) == 0 {
		c.frame(frameHeaders, flagEndHeaders|flagEndStream, c.next, c.block)
	} else {
		c.frame(frameHeaders, flagEndHeaders, c.next, c.block)
		c.frame(frameData, flagEndStream, c.next, c.body)
		c.window -= len(c.body)
	}
	c.began[c.next] = time.Now()
	c.next += 2
}

// run keeps n requests in flight until end; after that it waits for the answers.
func (c *h2Client) run(n int, end time.Time) error {
	var h [9]byte
	for wanted := n; ; {
		for wanted > 0 && (c.window >= len(c.body) || len(c.body) == 0) {
			c.request()
			wanted--
		}
		if len(c.out) > 0 && c.br.Buffered() == 0 {
			if _, err := c.nc.Write(c.out); err != nil {
				return err
			}
			c.out = c.out[:0]
		}
		if _, err := io.ReadFull(c.br, h[:]); err != nil {
			return err
		}
		size := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		kind, flags, stream := h[3], h[4], binary.BigEndian.Uint32(h[5:])&^(1<<31)
		if size > 64<<10 {
			return fmt.Errorf("HTTP/2: a frame of %d bytes", size)
		}
		var first [8]byte
		if _, err := io.ReadFull(c.br, first[:min(size, len(first))]); err != nil {
			return err
		}
		if _, err := c.br.Discard(max(size-len(first), 0)); err != nil {
			return err
		}
		switch kind {
		case frameHeaders:
			if first[0] != 0x88 { // ":status: 200" of the static table
				return fmt.Errorf("HTTP/2: not 200 (header block begins with %x)", first[0])
			}
		case frameData:
			if c.owed += uint32(size); c.owed > 1<<20 {
				c.frame(frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, c.owed))
				c.owed = 0
			}
		case frameWindowUpdate:
			if stream == 0 {
				c.window += int(binary.BigEndian.Uint32(first[:]))
			}
		case frameSettings:
			if flags&flagAck == 0 {
				c.frame(frameSettings, flagAck, 0, nil)
			}
		case framePing:
			if flags&flagAck == 0 {
				c.frame(framePing, flagAck, 0, first[:])
			}
		case frameReset, frameGoAway:
			return fmt.Errorf("HTTP/2: frame %d with %x", kind, first[:])
		}
		if flags&flagEndStream == 0 || kind != frameData && kind != frameHeaders {
			continue
		}
		now := time.Now()
		c.lat = append(c.lat, now.Sub(c.began[stream]))
		delete(c.began, stream)
		if now.Before(end) {
			wanted++
		} else if len(c.began) == 0 {
			return nil
		}
	}
}
