//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A traffic passes n units of something through the tunnel of a host to the
// service, by way of the edge's public address.
type traffic func(addr, host string, n int) error

const (
	mib  = 1 << 20
	body = "{\"ok\":\"yes\"}\n"
	// answer is what the service says to every request that asks for nothing
	// else.
	answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"done\":1}\n"
	event  = "data: {\"n\":1}\n\n"
)

// more makes the service send one more event, or end the stream when it is
// false.
var more = make(chan bool)

// serve answers at the returned address until the process ends.
func serve() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = nc.Close() }()
				c := newConn(nc)
				for c.answer() == nil {
				}
			}()
		}
	}()
	return l.Addr().String(), nil
}

// A conn is one end of an HTTP connection.
type conn struct {
	net.Conn
	buf  []byte
	r, w int // buf[r:w] has been read and not used
}

func newConn(nc net.Conn) *conn { return &conn{Conn: nc, buf: make([]byte, 64<<10)} }

func dial(addr string) (*conn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return newConn(nc), nil
}

func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		return errors.New("the buffer is full")
	}
	n, err := c.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// until reads up to and including end, which must not be far.
func (c *conn) until(end string) ([]byte, error) {
	for {
		if i := bytes.Index(c.buf[c.r:c.w], []byte(end)); i >= 0 {
			p := c.buf[c.r : c.r+i+len(end)]
			c.r += len(p)
			return p, nil
		}
		if err := c.fill(); err != nil {
			return nil, fmt.Errorf("%w after %q", err, c.buf[c.r:c.w])
		}
	}
}

// skip reads n bytes and forgets them.
func (c *conn) skip(n int) error {
	for {
		k := min(n, c.w-c.r)
		c.r += k
		if n -= k; n == 0 {
			return nil
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// send writes n bytes.
func (c *conn) send(n int) error {
	p := make([]byte, 64<<10)
	for n > 0 {
		k, err := c.Write(p[:min(n, len(p))])
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// length returns the Content-Length of a head, 0 when there is none.
func length(head []byte) int {
	_, rest, ok := bytes.Cut(head, []byte("Content-Length: "))
	if !ok {
		return 0
	}
	digits, _, _ := bytes.Cut(rest, []byte("\r\n"))
	n, _ := strconv.Atoi(string(digits))
	return n
}

// answer serves one request.
func (c *conn) answer() error {
	head, err := c.until("\r\n\r\n")
	if err != nil {
		return err
	}
	words := bytes.Fields(head[:bytes.IndexByte(head, '\n')])
	path, n := string(words[1]), length(head)
	if err := c.skip(n); err != nil {
		return err
	}
	switch {
	case len(path) > 6 && path[:6] == "/down/":
		n, err := strconv.Atoi(path[6:])
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n); err != nil {
			return err
		}
		return c.send(n)
	case path == "/ws":
		if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
			return err
		}
		_, err := io.CopyBuffer(struct{ io.Writer }{c.Conn}, struct{ io.Reader }{c.Conn}, c.buf)
		return errors.Join(err, io.EOF)
	case path == "/events":
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
			return err
		}
		chunk := fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
		for <-more {
			if _, err := io.WriteString(c, chunk); err != nil {
				return err
			}
		}
		_, err := io.WriteString(c, "0\r\n\r\n")
		return err
	}
	_, err = io.WriteString(c, answer)
	return err
}

// ask sends a request and returns the length of the answer's body.
func (c *conn) ask(request, status string) (int, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return 0, err
	}
	head, err := c.until("\r\n\r\n")
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 "+status)) {
		return 0, fmt.Errorf("the answer is %q", head)
	}
	return length(head), nil
}

// requests are on 16 connections that are kept.
func requests(addr, host string, n int) error {
	request := fmt.Sprintf("POST /webhooks/x HTTP/1.1\r\nHost: %s\r\nUser-Agent: costcheck\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", host, len(body), body)
	return workers(16, n, func(next func() bool) error {
		c, err := dial(addr)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		for next() {
			n, err := c.ask(request, "200")
			if err == nil {
				err = c.skip(n)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// newConnections are requests with a connection each, four at a time.
func newConnections(addr, host string, n int) error {
	request := "GET / HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: costcheck\r\nConnection: close\r\n\r\n"
	return workers(4, n, func(next func() bool) error {
		for next() {
			c, err := dial(addr)
			if err != nil {
				return err
			}
			_, err = c.ask(request, "200")
			if err == nil {
				_, err = io.Copy(io.Discard, c.Conn)
			}
			_ = c.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// workers runs work many times at once until next has been true n times.
func workers(many, n int, work func(next func() bool) error) error {
	var left atomic.Int64
	left.Store(int64(n))
	next := func() bool { return left.Add(-1) >= 0 }
	errs := make([]error, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() { errs[i] = work(next) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// download gets n MiB with one request, upload sends them.
func download(addr, host string, n int) error {
	return one(addr, func(c *conn) error {
		k, err := c.ask("GET /down/"+strconv.Itoa(n*mib)+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n", "200")
		if err == nil && k != n*mib {
			err = fmt.Errorf("the body is to have %d bytes, want %d", k, n*mib)
		}
		if err != nil {
			return err
		}
		return c.skip(k)
	})
}

func upload(addr, host string, n int) error {
	return one(addr, func(c *conn) error {
		if _, err := fmt.Fprintf(c, "POST /up HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", host, n*mib); err != nil {
			return err
		}
		if err := c.send(n * mib); err != nil {
			return err
		}
		k, err := c.ask("", "200")
		if err != nil {
			return err
		}
		return c.skip(k)
	})
}

// messages are sent over one WebSocket and echoed: each way is one of n.
func messages(addr, host string, n int) error {
	return one(addr, func(c *conn) error {
		request := "GET /ws HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		if _, err := c.ask(request, "101"); err != nil {
			return err
		}
		message := append([]byte{0x82, 0x80 | 32, 0, 0, 0, 0}, make([]byte, 32)...)
		for range n / 2 {
			if _, err := c.Write(message); err != nil {
				return err
			}
			if err := c.skip(len(message)); err != nil {
				return err
			}
		}
		return nil
	})
}

// events come down one stream, each when the last one has arrived.
func events(addr, host string, n int) error {
	return one(addr, func(c *conn) error {
		if _, err := c.ask("GET /events HTTP/1.1\r\nHost: "+host+"\r\n\r\n", "200"); err != nil {
			return err
		}
		for range n {
			more <- true
			if _, err := c.until(event + "\r\n"); err != nil {
				return err
			}
		}
		more <- false
		_, err := c.until("0\r\n\r\n")
		return err
	})
}

func one(addr string, f func(*conn) error) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return f(c)
}
