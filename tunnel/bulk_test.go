package tunnel

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// setTo changes a time for one test. It is called before the sessions start.
func setTo(t *testing.T, at *time.Duration, d time.Duration) {
	old := *at
	*at = d
	t.Cleanup(func() { *at = old })
}

const (
	// muchAhead makes a body go over as soon as bulkMin of it have passed.
	muchAhead = 1 << 30
	someBytes = 1 << 20
)

// opened is a stream to the agent.
func opened(t testing.TB, p *bulkPair) *Stream {
	t.Helper()
	c, err := p.edge.Open(Peer{Tunnel: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return c.(*Stream)
}

// alive fails unless the session carries another stream.
func alive(t testing.TB, p *bulkPair) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := p.edge.Probe(ctx); err != nil {
		t.Errorf("the session is of no use: %v", err)
	}
}

// source writes a pattern of n bytes to each stream.
func source(n int64) func(*Stream) {
	return func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		if _, err := io.Copy(struct{ io.Writer }{st}, newPattern(n)); err == nil {
			st.CloseWrite()
			io.Copy(io.Discard, struct{ io.Reader }{st})
		}
	}
}

// readOver reads until the bytes come over a bulk connection, and returns how many
// came before.
func readOver(t testing.TB, st *Stream) (total int64) {
	t.Helper()
	b := make([]byte, 16<<10)
	for st.in.Load() == nil {
		n, err := st.Read(b)
		if total += int64(n); err != nil {
			t.Fatalf("nothing came over: %v", err)
		}
	}
	return total
}

// warm waits until the edge has a connection to take.
func warm(t testing.TB, p *bulkPair) {
	t.Helper()
	eventually(t, "a bulk connection", func() bool {
		p.edge.bulks.wish(p.edge, 1) // again and again: one that was being made may just have failed
		p.edge.bulks.wish(p.edge, -1)
		_, parked := p.bulkConns()
		return parked > 0
	})
}

// cutBulk closes the bulk connections below TLS, at the agent.
func (p *bulkPair) cutBulk() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// A transfer for which there is no connection stays in the session, and is whole.
func TestBulkWithoutConnection(t *testing.T) {
	const size = 5 << 20
	setTo(t, &joinTimeout, 50*time.Millisecond)
	closing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing.Close()
	var group sync.WaitGroup
	defer group.Wait()
	defer closing.Close()
	group.Go(func() {
		for {
			c, err := closing.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
	for name, dial := range map[string]func(context.Context) (net.Conn, error){
		"nothing to dial with": nil,
		"dial fails":           func(context.Context) (net.Conn, error) { return nil, errors.New("no route") },
		"one connection only": func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", closing.Addr().String())
		},
		"no word of it": func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, want := sumOf(t, newPattern(size))
			agent := &AgentConfig{Serve: func(st *Stream) {
				defer st.Close()
				st.Connected(0)
				if n, sum := sumOf(t, st); n != size || sum != want {
					t.Errorf("%d bytes arrived as %d, or wrong", size, n)
				}
				io.Copy(struct{ io.Writer }{st}, newPattern(size))
				st.CloseWrite()
			}}
			p := &bulkPair{}
			if dial == nil {
				p.pair = newPair(t, nil, agent)
			} else {
				p = newBulkPair(t, nil, agent)
				p.mu.Lock()
				p.dial = dial
				p.mu.Unlock()
			}
			st := opened(t, p)
			defer st.Close()
			st.ExpectWrite(size)
			if _, err := io.Copy(struct{ io.Writer }{st}, newPattern(size)); err != nil {
				t.Fatal(err)
			}
			st.CloseWrite()
			st.ExpectRead(-1)
			if n, sum := sumOf(t, st); n != size || sum != want {
				t.Errorf("%d bytes came as %d, or wrong", size, n)
			}
			if !st.Settled() {
				t.Error("the stream is elsewhere")
			}
			eventually(t, "the edge holds back", func() bool {
				l := &p.edge.bulks
				l.mu.Lock()
				defer l.mu.Unlock()
				return l.hold >= bulkHold && len(l.tokens) == 0
			})
			if all, _ := p.bulkConns(); all != 0 {
				t.Errorf("%d connections", all)
			}
		})
	}
}

// A connection that is cut breaks the streams on it and nothing else.
func TestBulkCut(t *testing.T) {
	t.Run("down", func(t *testing.T) {
		p := newBulkPair(t, nil, &AgentConfig{Serve: source(muchAhead)})
		warm(t, p)
		st := opened(t, p)
		defer st.Close()
		st.ExpectRead(muchAhead)
		readOver(t, st)
		p.cutBulk()
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{st}); !errors.Is(err, ErrReset) {
			t.Errorf("Read = %v, want %v", err, ErrReset)
		}
		st.Close()
		alive(t, p)
		noStreams(t, p.pair)
	})
	t.Run("up", func(t *testing.T) {
		ends := make(chan error, 1)
		p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
			defer st.Close()
			st.Connected(0)
			_, err := io.Copy(io.Discard, struct{ io.Reader }{st})
			ends <- err
		}})
		warm(t, p)
		st := opened(t, p)
		defer st.Close()
		st.ExpectWrite(muchAhead)
		io.Copy(struct{ io.Writer }{st}, newPattern(someBytes))
		if st.out.Load() == nil {
			t.Fatal("nothing went over")
		}
		reset := make(chan struct{})
		st.AfterReset(func() { close(reset) })
		p.cutBulk()
		// Neither side has to write, or to read, to find out.
		within(t, "the edge knows", patience, func() { <-reset })
		if _, err := st.Write([]byte("x")); !errors.Is(err, ErrReset) {
			t.Errorf("Write = %v, want %v", err, ErrReset)
		}
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{st}); !errors.Is(err, ErrReset) {
			t.Errorf("Read = %v, want %v", err, ErrReset)
		}
		if err := <-ends; !errors.Is(err, ErrReset) {
			t.Errorf("the agent's Read = %v, want %v", err, ErrReset)
		}
		st.Close()
		alive(t, p)
		noStreams(t, p.pair)
	})
	t.Run("at the end", func(t *testing.T) {
		// The agent has sent all, and the edge has not read it.
		wrote := make(chan error, 1)
		p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
			defer st.Close()
			st.Connected(0)
			for b := make([]byte, 16<<10); st.out.Load() == nil; {
				if _, err := st.Write(b); err != nil {
					break
				}
			}
			io.Copy(struct{ io.Writer }{st}, newPattern(1<<20)) // more than the edge reads ahead
			wrote <- st.CloseWrite()
		}})
		warm(t, p)
		st := opened(t, p)
		defer st.Close()
		st.ExpectRead(muchAhead)
		readOver(t, st)
		st.in.Load().bulk.close()
		if n, err := io.Copy(io.Discard, struct{ io.Reader }{st}); err == nil {
			t.Errorf("a body that was cut ended well after %d bytes more", n)
		}
		if err := <-wrote; err == nil {
			t.Error("the agent thinks that all has arrived")
		}
		alive(t, p)
	})
}

// A connection that ends while nobody's bytes are on it is no loss.
func TestBulkCutWhileParked(t *testing.T) {
	p := newBulkPair(t, nil, &AgentConfig{Serve: source(4 << 20)})
	_, want := sumOf(t, newPattern(4<<20))
	for range 5 {
		warm(t, p)
		p.cutBulk()
		eventually(t, "the edge knows", func() bool { all, _ := p.bulkConns(); return all == 0 })
		st := opened(t, p)
		st.ExpectRead(muchAhead)
		if n, sum := sumOf(t, st); n != 4<<20 || sum != want {
			t.Errorf("%d bytes, or wrong", n)
		}
		st.Close()
	}
	noStreams(t, p.pair)
}

// dialByHand joins with a token, and reports whether the edge took it.
func dialByHand(t *testing.T, address string, token bulkToken) (*tls.Conn, bool) {
	t.Helper()
	c, err := tls.Dial("tcp", address, agentTLS(agentTestTLS()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	c.Write(append([]byte{firstBulk}, token[:]...))
	var b [1]byte
	_, err = io.ReadFull(c, b[:])
	return c, err == nil && b[0] == bulkWelcome
}

// token makes the edge ask for a connection that only the test makes.
func (p *bulkPair) token(t *testing.T) bulkToken {
	t.Helper()
	p.mu.Lock()
	p.dial = func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p.mu.Unlock()
	p.edge.bulks.wish(p.edge, 1)
	p.edge.bulks.wish(p.edge, -1)
	l := &p.edge.bulks
	l.mu.Lock()
	defer l.mu.Unlock()
	for token := range l.tokens {
		return token
	}
	t.Fatal("the edge asks for nothing")
	return bulkToken{}
}

// joinByHand is a bulk connection of which the test is the agent's end. The edge
// welcomes it before it uses it.
func (p *bulkPair) joinByHand(t *testing.T) *tls.Conn {
	t.Helper()
	c, ok := dialByHand(t, p.address, p.token(t))
	if !ok {
		t.Fatal("a good token was refused")
	}
	eventually(t, "the edge has it", func() bool { _, parked := p.bulkConns(); return parked == 1 })
	return c
}

func TestBulkTokens(t *testing.T) {
	t.Run("good for once", func(t *testing.T) {
		p := newBulkPair(t, nil, nil)
		token := p.token(t)
		if _, ok := dialByHand(t, p.address, token); !ok {
			t.Fatal("a good token was refused")
		}
		if _, ok := dialByHand(t, p.address, token); ok {
			t.Error("a token was good for twice")
		}
		eventually(t, "one connection", func() bool { all, _ := p.bulkConns(); return all == 1 })
	})
	t.Run("forged", func(t *testing.T) {
		p := newBulkPair(t, nil, nil)
		token := p.token(t)
		token[7] ^= 1
		if _, ok := dialByHand(t, p.address, token); ok {
			t.Error("the edge took it")
		}
		alive(t, p)
	})
	t.Run("expired", func(t *testing.T) {
		p := newBulkPair(t, nil, nil)
		token := p.token(t)
		l := &p.edge.bulks
		l.mu.Lock()
		timer := l.tokens[token]
		l.mu.Unlock()
		timer.Reset(0)
		eventually(t, "it is too old", func() bool {
			_, ok := p.edge.edge.joins.Load(token)
			return !ok
		})
		if _, ok := dialByHand(t, p.address, token); ok {
			t.Error("the edge took it")
		}
	})
	t.Run("of a session that has ended", func(t *testing.T) {
		p := newBulkPair(t, nil, nil)
		token := p.token(t)
		p.edge.Abort(nil)
		if _, ok := dialByHand(t, p.address, token); ok {
			t.Error("the edge took it")
		}
	})
	t.Run("of nobody", func(t *testing.T) {
		p := newBulkPair(t, nil, nil)
		c, err := tls.Dial("tcp", p.address, agentTLS(agentTestTLS()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte{firstBulk, 1, 2, 3})
		c.CloseWrite()
		c.SetReadDeadline(time.Now().Add(patience))
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			t.Error("half a token is answered")
		}
	})
}

// A body may end while the agent is being asked for it, and the stream goes on
// with another one.
func TestBulkEndsWhileAsked(t *testing.T) {
	p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		for {
			var size [4]byte
			if _, err := io.ReadFull(st, size[:]); err != nil {
				st.CloseWrite()
				return
			}
			io.Copy(struct{ io.Writer }{st}, newPattern(int64(binary.BigEndian.Uint32(size[:]))))
		}
	}})
	warm(t, p)
	st := opened(t, p)
	defer st.Close()
	for i := range 60 {
		// Around where the edge asks, and far beyond.
		size := int64(bulkMin + rand.IntN(128<<10))
		if i%10 == 9 {
			size = 2 << 20
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(size))
		if _, err := st.Write(b[:]); err != nil {
			t.Fatal(err)
		}
		st.ExpectRead(muchAhead) // so much was said, and less came
		_, want := sumOf(t, newPattern(size))
		if n, sum := sumOf(t, io.LimitReader(st, size)); n != size || sum != want {
			t.Fatalf("body %d of %d bytes came as %d, or wrong", i, size, n)
		}
		if err := st.Settle(); err != nil {
			t.Fatalf("body %d: settle: %v", i, err)
		}
		if !st.Quiet() {
			t.Fatalf("body %d: the stream is not quiet", i)
		}
	}
	st.CloseWrite()
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{st}); n != 0 || err != nil {
		t.Errorf("then %d bytes more, %v", n, err)
	}
	st.Close()
	noStreams(t, p.pair)
	eventually(t, "all connections are parked", func() bool {
		all, parked := p.bulkConns()
		return all == parked && all > 0
	})
}

// A stream whose end comes while the agent is being asked ends well.
func TestBulkFinWhileAsked(t *testing.T) {
	for _, asked := range []bool{true, false} {
		t.Run(map[bool]string{true: "asked first", false: "ended first"}[asked], func(t *testing.T) {
			reset := make(chan struct{}, 100)
			start := make(chan struct{})
			p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
				defer st.Close()
				st.AfterReset(func() {
					if !st.session.over() {
						reset <- struct{}{}
					}
				})
				st.Connected(0)
				io.Copy(struct{ io.Writer }{st}, newPattern(bulkMin+100<<10))
				if asked {
					// The last of it may have gone over already.
					eventually(t, "it is wanted", func() bool { return st.wanted.Load() != nil || st.out.Load() != nil })
				}
				st.CloseWrite()
				if !asked {
					close(start)
				}
				io.Copy(io.Discard, struct{ io.Reader }{st})
			}})
			warm(t, p)
			st := opened(t, p)
			if !asked {
				st.start(nil)
				<-start
			}
			st.ExpectRead(muchAhead)
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{st}); n != bulkMin+100<<10 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			st.CloseWrite()
			st.Close()
			noStreams(t, p.pair)
			select {
			case <-reset:
				t.Error("the agent saw a reset of a stream that ended well")
			default:
			}
			eventually(t, "all connections are parked", func() bool {
				all, parked := p.bulkConns()
				return all == parked && all > 0
			})
		})
	}
}

// A client may leave at any time.
func TestBulkClientLeaves(t *testing.T) {
	for _, down := range []bool{true, false} {
		for _, started := range []bool{true, false} {
			name := map[bool]string{true: "down", false: "up"}[down] + map[bool]string{true: " started", false: " asked"}[started]
			t.Run(name, func(t *testing.T) {
				served := make(chan struct{})
				hold := make(chan struct{})
				p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
					defer close(served)
					defer st.Close()
					st.Connected(0)
					switch {
					case down && started:
						io.Copy(struct{ io.Writer }{st}, newPattern(muchAhead))
					case down:
						io.Copy(struct{ io.Writer }{st}, newPattern(bulkMin+64<<10))
						<-hold // and writes no more
					default:
						io.Copy(io.Discard, struct{ io.Reader }{st})
					}
				}})
				warm(t, p)
				st := opened(t, p)
				if down {
					st.ExpectRead(muchAhead)
					n := int64(bulkMin + 64<<10)
					if started {
						n = someBytes
					}
					io.CopyN(io.Discard, struct{ io.Reader }{st}, n)
				} else {
					if _, err := st.Read(nil); err != nil { // the agent knows of it
						t.Fatal(err)
					}
					st.ExpectWrite(muchAhead)
					io.Copy(struct{ io.Writer }{st}, newPattern(bulkMin))
					if started {
						io.Copy(struct{ io.Writer }{st}, newPattern(someBytes))
					}
				}
				if st.Settled() {
					t.Fatal("the stream is in its session")
				}
				st.Close()
				close(hold)
				within(t, "the agent knows", patience, func() { <-served })
				noStreams(t, p.pair)
				alive(t, p)
			})
		}
	}
}

// An agent that leaves breaks what is on its way.
func TestBulkAgentLeaves(t *testing.T) {
	p := newBulkPair(t, nil, &AgentConfig{Serve: source(muchAhead)})
	warm(t, p)
	st := opened(t, p)
	defer st.Close()
	st.ExpectRead(muchAhead)
	readOver(t, st)
	p.agent.Abort(nil)
	within(t, "the edge knows", patience, func() {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{st}); err == nil {
			t.Error("a body that was cut ended well")
		}
	})
}

// No timer ends a transfer that one side takes its time for: an upload whose end
// is read late, and a download whose connection another stream could use.
func TestBulkTakesItsTime(t *testing.T) {
	const download = 8 << 20 // much more than is on its way when it goes over
	setTo(t, &bulkTimeout, 100*time.Millisecond)
	setTo(t, &bulkQuiet, time.Millisecond)
	setTo(t, &bulkHold, time.Millisecond) // a busy machine may need longer to connect
	goOn := make(chan struct{})
	p := newBulkPair(t, &EdgeConfig{Bulk: 1}, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		var kind [1]byte
		io.ReadFull(st, kind[:])
		if kind[0] == 'u' {
			io.CopyN(io.Discard, struct{ io.Reader }{st}, bulkMin)
			<-goOn
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{st}); n != 2<<20-bulkMin || err != nil {
				t.Errorf("upload: %d bytes, %v", n, err)
			}
			io.WriteString(st, "late answer")
		} else {
			io.Copy(struct{ io.Writer }{st}, newPattern(download))
		}
		st.CloseWrite()
		io.Copy(io.Discard, struct{ io.Reader }{st})
	}})
	if d := p.edge.muxConfig(1).StreamCloseTimeout; d != 0 {
		t.Errorf("yamux resets streams that are half closed for %v", d)
	}
	warm(t, p)
	st := opened(t, p)
	defer st.Close()
	io.WriteString(st, "u")
	st.ExpectWrite(muchAhead)
	var ended sync.WaitGroup
	ended.Go(func() {
		io.Copy(struct{ io.Writer }{st}, newPattern(2<<20))
		if err := st.CloseWrite(); err != nil {
			t.Errorf("CloseWrite = %v", err)
		}
	})
	<-time.After(4 * bulkTimeout)
	close(goOn)
	if b, err := io.ReadAll(st); err != nil || string(b) != "late answer" {
		t.Errorf("answer %q, %v", b, err)
	}
	ended.Wait()

	eventually(t, "a connection", func() bool { _, parked := p.bulkConns(); return parked == 1 })
	slow := opened(t, p)
	defer slow.Close()
	io.WriteString(slow, "d")
	slow.ExpectRead(muchAhead)
	passed := readOver(t, slow)
	other := opened(t, p)
	defer other.Close()
	io.WriteString(other, "d")
	other.ExpectRead(muchAhead)
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{other}); n != download || err != nil {
		t.Errorf("the other download: %d bytes, %v", n, err)
	}
	<-time.After(4 * bulkTimeout)
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{slow}); n != download-passed || err != nil {
		t.Errorf("the slow download: %d bytes more, %v", n, err)
	}
}

// A service may answer, and end, before it has read the request.
func TestBulkAnswerBeforeEnd(t *testing.T) {
	_, want := sumOf(t, newPattern(4<<20))
	result := make(chan bool, 1)
	p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		io.WriteString(st, "early")
		st.CloseWrite()
		n, sum := sumOf(t, st)
		result <- n == 4<<20 && sum == want
	}})
	warm(t, p)
	st := opened(t, p)
	defer st.Close()
	st.ExpectWrite(muchAhead)
	io.Copy(struct{ io.Writer }{st}, newPattern(1<<20))
	if b, err := io.ReadAll(st); err != nil || string(b) != "early" {
		t.Errorf("answer %q, %v", b, err)
	}
	r := newPattern(4 << 20)
	io.CopyN(io.Discard, r, 1<<20)
	if _, err := io.Copy(struct{ io.Writer }{st}, r); err != nil {
		t.Error(err)
	}
	if err := st.CloseWrite(); err != nil {
		t.Error(err)
	}
	if !<-result {
		t.Error("the request arrived otherwise")
	}
	st.Close()
	noStreams(t, p.pair)
}

// Deadlines hold wherever the bytes are.
func TestBulkDeadlines(t *testing.T) {
	p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		io.Copy(struct{ io.Writer }{st}, newPattern(8<<20))
		io.Copy(io.Discard, struct{ io.Reader }{st})
		io.Copy(struct{ io.Writer }{st}, newPattern(100))
		st.CloseWrite()
	}})
	warm(t, p)
	st := opened(t, p)
	defer st.Close()
	st.ExpectRead(muchAhead)
	if n, err := io.CopyN(io.Discard, struct{ io.Reader }{st}, 8<<20); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if st.in.Load() == nil {
		t.Error("nothing came over")
	}
	st.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := st.Read(make([]byte, 1)); err == nil || !isTimeout(err) {
		t.Errorf("Read = %v, want a timeout", err)
	}
	st.SetReadDeadline(time.Time{})
	st.CloseWrite()
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{st}); n != 100 || err != nil {
		t.Errorf("after the deadline %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	ne := net.Error(nil)
	return errors.As(err, &ne) && ne.Timeout()
}

// An agent that nobody uses has one connection.
func TestBulkIdle(t *testing.T) {
	setTo(t, &bulkIdle, 50*time.Millisecond)
	p := newBulkPair(t, nil, &AgentConfig{Serve: source(4 << 20)})
	for range 3 {
		warm(t, p)
		st := opened(t, p)
		st.ExpectRead(-1)
		io.Copy(io.Discard, struct{ io.Reader }{st})
		st.Close()
		eventually(t, "one connection only", func() bool {
			all, _ := p.bulkConns()
			l := &p.agent.bulks
			l.mu.Lock()
			defer l.mu.Unlock()
			return all == 0 && len(l.all) == 0
		})
	}
	l := &p.edge.bulks
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tokens) > 0 {
		t.Error("the edge asks for a connection that nobody needs")
	}
}

// Many streams share few connections, and any of them may end at any time.
func TestBulkManyLeaveAtRandom(t *testing.T) {
	_, want := sumOf(t, newPattern(someBytes))
	p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		io.CopyBuffer(struct{ io.Writer }{st}, struct{ io.Reader }{st}, make([]byte, 64<<10))
		st.CloseWrite()
	}})
	warm(t, p)
	var all sync.WaitGroup
	gate := make(chan struct{}, 24)
	for i := range 100 {
		gate <- struct{}{}
		all.Go(func() {
			defer func() { <-gate }()
			c, err := p.edge.Open(Peer{Tunnel: "x"})
			if err != nil {
				t.Error(err)
				return
			}
			st := c.(*Stream)
			defer st.Close()
			st.ExpectRead(muchAhead)
			st.ExpectWrite(muchAhead)
			leaves := i%2 == 0
			limit := int64(someBytes)
			if leaves {
				limit = int64(rand.IntN(someBytes))
			}
			var up sync.WaitGroup
			defer up.Wait()
			up.Go(func() {
				_, err := io.Copy(struct{ io.Writer }{st}, newPattern(someBytes))
				if err == nil {
					err = st.CloseWrite()
				}
				if err != nil && !leaves {
					t.Errorf("write: %v", err)
				}
			})
			if leaves {
				io.CopyN(io.Discard, struct{ io.Reader }{st}, limit)
				st.Close()
				return
			}
			if n, sum := sumOf(t, st); n != limit || sum != want {
				t.Errorf("%d bytes came back as %d, or wrong", limit, n)
			}
		})
	}
	within(t, "100 streams", 2*patience, all.Wait)
	noStreams(t, p.pair)
	alive(t, p)
	l := &p.edge.bulks
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.demand != 0 || len(l.all) > DefaultBulk {
		t.Errorf("a demand of %d, %d connections", l.demand, len(l.all))
	}
}

func bulkMsg(kind byte, id uint32, offset uint64) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, id)
	return binary.BigEndian.AppendUint64(b, offset)
}

// closes fails unless the other side ends the connection.
func closes(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		t.Error("the connection stays")
	}
}

// What a hostile agent says on a bulk connection costs it the connection, and at
// most the stream that was on it.
func TestBulkHostileAgent(t *testing.T) {
	for name, b := range map[string][]byte{
		"done out of nowhere": bulkMsg(bulkDone, 2, 0),
		"no to nothing":       bulkMsg(bulkNo, 2, 0),
		"start of nothing":    bulkMsg(bulkStart, 2, 0),
		"start of control":    bulkMsg(bulkStart, 1, 0),
		"an edge's message":   bulkMsg(bulkWant, 2, 0),
		"unknown message":     bulkMsg(99, 2, 0),
		"noise":               bytes.Repeat([]byte{0xa5}, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			p := newBulkPair(t, nil, nil)
			c := p.joinByHand(t)
			c.Write(b)
			closes(t, c)
			alive(t, p)
		})
	}

	const first = bulkMin + 64<<10
	frame := binary.BigEndian.AppendUint32(nil, 3)
	frame = append(frame, "abc"...)
	for name, test := range map[string]struct {
		say  func(id uint32, sent uint64) []byte
		goes bool // on in the session
	}{
		"offset too small": {func(id uint32, sent uint64) []byte { return bulkMsg(bulkStart, id, 1) }, true},
		"other stream":     {func(id uint32, sent uint64) []byte { return bulkMsg(bulkStart, id+2, sent) }, true},
		"no twice":         {func(id uint32, sent uint64) []byte { return append(bulkMsg(bulkNo, id, 0), bulkMsg(bulkNo, id, 0)...) }, true},
		"frame too long": {func(id uint32, sent uint64) []byte {
			return binary.BigEndian.AppendUint32(bulkMsg(bulkStart, id, sent), 2*maxFrame+1)
		}, false},
		"cut frame":  {func(id uint32, sent uint64) []byte { return append(bulkMsg(bulkStart, id, sent), frame[:6]...) }, false},
		"cut length": {func(id uint32, sent uint64) []byte { return append(bulkMsg(bulkStart, id, sent), frame[:2]...) }, false},
		"start in frames": {func(id uint32, sent uint64) []byte {
			return append(append(bulkMsg(bulkStart, id, sent), frame...), bulkMsg(bulkStart, id, sent)...)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			goOn := make(chan struct{})
			streams := make(chan *Stream, 1)
			p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
				defer st.Close()
				streams <- st
				st.Connected(0)
				io.Copy(struct{ io.Writer }{st}, newPattern(first))
				<-goOn
				io.WriteString(st, "the rest")
				st.CloseWrite()
			}})
			c := p.joinByHand(t)
			st := opened(t, p)
			defer st.Close()
			st.ExpectRead(muchAhead)
			if _, err := io.CopyN(io.Discard, struct{ io.Reader }{st}, first); err != nil {
				t.Fatal(err)
			}
			want := make([]byte, bulkMessage)
			if _, err := io.ReadFull(c, want); err != nil || want[0] != bulkWant {
				t.Fatalf("the edge says %v, %v", want, err)
			}
			agents := <-streams
			agents.sending.Lock()
			sent := agents.sent
			agents.sending.Unlock()
			c.Write(test.say(st.id, sent))
			if test.goes {
				closes(t, c)
			} else {
				c.CloseWrite()
			}
			if !test.goes {
				if _, err := io.Copy(io.Discard, struct{ io.Reader }{st}); !errors.Is(err, ErrReset) {
					t.Errorf("Read = %v, want %v", err, ErrReset)
				}
			}
			close(goOn)
			if test.goes {
				if b, err := io.ReadAll(st); err != nil || string(b) != "the rest" {
					t.Errorf("then %q, %v", b, err)
				}
			}
			st.Close()
			alive(t, p)
		})
	}
}

// What a hostile edge says costs it the connection.
func TestBulkHostileEdge(t *testing.T) {
	for name, say := range map[string]func(b *bulk) error{
		"done out of nowhere": func(b *bulk) error { return b.send(bulkDone, 2) },
		"an agent's message":  func(b *bulk) error { return b.send(bulkNo, 2) },
		"start of nothing":    func(b *bulk) error { return b.send(bulkStart, 2) },
		"start of control":    func(b *bulk) error { return b.send(bulkStart, 1) },
		"unknown message":     func(b *bulk) error { return b.send(77, 2) },
		"no stream of its":    func(b *bulk) error { return b.send(bulkWant, 1) }, // answered with a no that we did not await
		"noise":               func(b *bulk) error { return b.length(0xffffffff) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newBulkPair(t, nil, nil)
			warm(t, p)
			l := &p.edge.bulks
			l.mu.Lock()
			b := l.parked[0]
			l.mu.Unlock()
			if err := say(b); err != nil {
				t.Fatal(err)
			}
			if name == "noise" {
				b.send(bulkWant, 9)
			}
			within(t, "the connection ends", patience, func() { <-b.closed })
			alive(t, p)
		})
	}
	t.Run("many stops", func(t *testing.T) {
		hold := make(chan struct{})
		p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
			defer st.Close()
			st.sending.Lock() // as a Write that waits for its reader does
			<-hold
			st.sending.Unlock()
		}})
		warm(t, p)
		st := opened(t, p)
		defer st.Close()
		st.start(nil)
		eventually(t, "the agent has the stream", func() bool { return p.agent.carried(st.id) != nil })
		l := &p.edge.bulks
		l.mu.Lock()
		b := l.parked[0]
		l.mu.Unlock()
		for range 2 * maxStops {
			b.send(bulkStop, st.id)
		}
		within(t, "the connection ends", patience, func() { <-b.closed })
		close(hold)
		alive(t, p)
	})
}

// frames reads what FuzzBulk gives an agent, in another way: what of it belongs to
// the stream, and whether the messages go on after it.
func frames(b []byte) (got []byte) {
	for {
		if len(b) < 4 {
			return got
		}
		n := binary.BigEndian.Uint32(b)
		b = b[4:]
		if n == 0 || n == lastFrame || n > 2*maxFrame {
			return got
		}
		if uint32(len(b)) < n {
			return append(got, b...)
		}
		got, b = append(got, b[:n]...), b[n:]
	}
}

// FuzzBulk gives an agent whatever an edge may send after the start of a stream's
// frames: no more and no less than the frames hold is the stream's, and whatever
// comes after them ends nothing but the connection.
func FuzzBulk(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03abc\x00\x00\x00\x00"), uint16(1))
	f.Add([]byte("\x00\x00\x00\x03abc\xff\xff\xff\xff"), uint16(100))
	f.Add([]byte("\x00\x00\x00\x03abc\x00\x00\x00\x01d\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00"), uint16(3))
	f.Add([]byte("\x00\x08\x00\x01"), uint16(2))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		near, far := net.Pipe()
		w := newWire(near)
		w.cork()
		w.uncork()
		s := newSession(newLink(nil, w), nil)
		s.agent = &AgentConfig{}
		st := &Stream{session: s, id: 2, mux: newFlow(s.link, 2, window, true)}
		st.started.Store(true)
		st.answered.Store(true)
		s.table.m[2] = st
		b := newBulk(s, w, w)
		if !s.bulks.add(b) || !st.attach(b, 0) {
			t.Fatal("nobody to read it")
		}
		var group sync.WaitGroup
		group.Go(func() {
			select {
			case <-b.lent:
			case <-b.closed:
				return
			}
			b.run()
		})
		group.Go(func() { io.Copy(io.Discard, far) })
		group.Go(func() {
			far.Write(data)
			far.Close()
		})
		var got []byte
		buf := make([]byte, int(size)+1)
		for st.in.Load() != nil {
			n, err := st.in.Load().read(buf)
			got = append(got, buf[:n]...)
			if err == errFrames || err == io.EOF {
				st.closed.Store(true) // and takes no more
				st.arrived(st.in.Load(), err == io.EOF)
				break
			}
			if err != nil {
				b.close()
				break
			}
		}
		if want := frames(data); !bytes.Equal(got, want) {
			t.Errorf("%x came as %x, want %x", data, got, want)
		}
		group.Wait()
	})
}

// Where a round trip takes long a connection is there before anybody needs it, and
// stays while there is traffic.
func TestBulkAheadOnALongLink(t *testing.T) {
	setTo(t, &bulkIdle, 20*time.Millisecond)
	p := newBulkPair(t, nil, &AgentConfig{Serve: echo})
	p.edge.rtt.Store(int64(longRTT))
	c, err := p.edge.Open(Peer{Tunnel: "x"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a bulk connection", func() bool { _, parked := p.bulkConns(); return parked == 1 })
	if got := c.(*Stream).mux.in.first; got != longWindow {
		t.Errorf("the window of a stream on a long link is %d", got)
	}
	c.Close()
	eventually(t, "it is gone when nothing is open", func() bool { all, _ := p.bulkConns(); return all == 0 })
}

// Many streams share what one session may hold.
func TestWindowsOfMany(t *testing.T) {
	s := &Session{edge: &EdgeConfig{}, link: &link{}}
	for _, c := range []struct {
		streams int
		rtt     time.Duration
		want    int
	}{
		{1, 0, nearWindow},
		{1, nearRTT, window},
		{1, longRTT, longWindow},
		{longStreams, longRTT, longWindow},
		{longStreams + 1, longRTT, window},
		{128, longRTT, window},
		{256, longRTT, window / 2},
		{512, longRTT, window / 4},
		{512, 0, firstWindow},
		{2048, 0, firstWindow},
	} {
		s.rtt.Store(int64(c.rtt))
		s.resize(c.streams)
		if got := s.link.window.Load(); got != int64(c.want) {
			t.Errorf("%d streams, round trip %v: window %d, want %d", c.streams, c.rtt, got, c.want)
		}
	}
}
