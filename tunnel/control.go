package tunnel

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// Messages of the control stream, the first that the agent opens: four bytes
// of length, big-endian, then JSON. A type that the reader does not know is
// ignored.
const (
	msgPing       = "ping"       // both ways; answered with a pong of the same id
	msgPong       = "pong"       //
	msgLive       = "live"       // edge: the agent's tunnels are reachable
	msgDrain      = "drain"      // edge: connect elsewhere; this session ends soon
	msgSuperseded = "superseded" // edge: you are not wanted any more; do not come back
	msgDropped    = "dropped"    // edge: one of your tunnels is closed; do not claim it again
	msgClaim      = "claim"      // agent: one more tunnel
	msgClaimed    = "claimed"    // edge: its grant or why not
	msgRelease    = "release"    // agent: one tunnel less
	msgBulk       = "bulk"       // edge: make one more connection, with this token
	msgNoBulk     = "nobulk"     // agent: it could not be made
)

// maxControl is the largest control message.
const maxControl = 64 << 10

// controlTimeout is how long a peer may refuse to take control messages.
const controlTimeout = 10 * time.Second

// maxClaims is how many claims of one session may be undecided.
const maxClaims = 8

// Claims and releases cost the edge more than they cost the agent. A session may
// make this many at once and then one in each wishEvery; more of them end it.
const (
	wishBurst = 256
	wishEvery = 100 * time.Millisecond
)

type message struct {
	Type   string `json:"type"`
	ID     uint64 `json:"id,omitempty"`
	Reason string `json:"reason,omitempty"` // drain, superseded
	Name   string `json:"name,omitempty"`   // release, dropped
	Token  string `json:"token,omitempty"`  // bulk, nobulk: 16 bytes in hex
	Claim  *Claim `json:"claim,omitempty"`
	Grant  *Grant `json:"grant,omitempty"`
	Error  *Error `json:"error,omitempty"`
}

func encodeMessage(m message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(body) > maxControl {
		return nil, fmt.Errorf("control message of %d bytes, the limit is %d", len(body), maxControl)
	}
	return withLength(body), nil
}

func readMessage(r io.Reader) (message, error) {
	var m message
	body, err := readLength(r, maxControl)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("not a control message: %w", err)
	}
	return m, nil
}

// tell sends a control message; the peer has controlTimeout to take it.
func (s *Session) tell(m message) error {
	b, err := encodeMessage(m)
	if err != nil {
		return err
	}
	t := time.NewTimer(controlTimeout)
	defer t.Stop()
	select {
	case <-s.controlled:
	case <-s.done:
		return s.ended()
	case <-t.C:
		return fmt.Errorf("the agent opened no control stream in %v", controlTimeout)
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.control.SetWriteDeadline(time.Now().Add(controlTimeout))
	_, err = s.control.Write(b)
	return err
}

// listen reads control messages until the session ends.
func (s *Session) listen() error {
	for {
		m, err := readMessage(s.control)
		if err != nil {
			return fmt.Errorf("control stream: %w", err)
		}
		if err := s.heed(m); err != nil {
			return err
		}
	}
}

func (s *Session) heed(m message) error {
	switch m.Type {
	case msgPing:
		// On a connection that has ended there may still be messages to read.
		if err := s.tell(message{Type: msgPong, ID: m.ID}); err != nil && !s.mux.IsClosed() {
			return err
		}
	case msgPong:
		s.answer(m)
	case msgClaimed:
		s.answer(m)
	}
	if s.edge != nil {
		return s.heedAgent(m)
	}
	return s.heedEdge(m)
}

func (s *Session) heedAgent(m message) error {
	if m.Type == msgClaim || m.Type == msgRelease {
		if err := s.wish(time.Now()); err != nil {
			return err
		}
	}
	switch {
	case m.Type == msgClaim && m.Claim != nil:
		if s.claims.Add(1) > maxClaims {
			return fmt.Errorf("more than %d claims at once", maxClaims)
		}
		s.group.Go(func() {
			defer s.claims.Add(-1)
			answer := message{Type: msgClaimed, ID: m.ID}
			if s.edge.Claim == nil {
				answer.Error = &Error{Code: CodeUnsupported, Message: "this edge takes claims in the first frame only"}
			} else if grant, err := s.edge.Claim(s, *m.Claim); err == nil {
				answer.Grant = &grant
			} else {
				answer.Error = outside(err)
			}
			if err := s.tell(answer); err != nil {
				s.stop(err, 0) // half a message may be out
			}
		})
	case m.Type == msgRelease && s.edge.Release != nil:
		s.edge.Release(s, m.Name)
	case m.Type == msgNoBulk:
		var token bulkToken
		if n, err := hex.Decode(token[:], []byte(m.Token[:min(len(m.Token), 2*len(token))])); err == nil && n == len(token) {
			s.bulks.refused(s, token)
		}
	}
	return nil
}

// wish counts a claim or a release. Only the reader of the control stream calls
// it.
func (s *Session) wish(now time.Time) error {
	if s.wished.Before(now) {
		s.wished = now
	}
	s.wished = s.wished.Add(wishEvery)
	if s.wished.Sub(now) > wishBurst*wishEvery {
		return fmt.Errorf("more than %d claims and releases at once", wishBurst)
	}
	return nil
}

func (s *Session) heedEdge(m message) error {
	switch m.Type {
	case msgLive:
		if s.agent.Live != nil {
			s.agent.Live()
		}
	case msgBulk:
		s.join(m.Token)
	case msgDrain:
		if s.agent.Drain != nil {
			s.agent.Drain(m.Reason)
		}
	case msgDropped:
		if s.agent.Dropped != nil && m.Error != nil {
			s.agent.Dropped(m.Name, m.Error)
		}
	case msgSuperseded:
		if m.Error != nil && m.Error.Code != "" {
			return m.Error
		}
		return &Error{Code: CodeSuperseded, Message: m.Reason}
	}
	return nil
}

// ask sends m with an id of its own and waits for the answer with that id.
func (s *Session) ask(ctx context.Context, m message) (message, error) {
	answer := make(chan message, 1)
	s.asks.Lock()
	s.asks.last++
	m.ID = s.asks.last
	if s.asks.open == nil {
		s.asks.open = make(map[uint64]chan message)
	}
	s.asks.open[m.ID] = answer
	s.asks.Unlock()
	defer func() {
		s.asks.Lock()
		delete(s.asks.open, m.ID)
		s.asks.Unlock()
	}()
	sent := make(chan error, 1)
	if !s.group.Go(func() { sent <- s.tell(m) }) {
		return message{}, s.ended()
	}
	for {
		select {
		case a := <-answer:
			return a, nil
		case err := <-sent:
			if err != nil {
				return message{}, err
			}
			sent = nil
		case <-ctx.Done():
			return message{}, ctx.Err()
		case <-s.done:
			return message{}, s.ended()
		}
	}
}

func (s *Session) answer(m message) {
	s.asks.Lock()
	c := s.asks.open[m.ID]
	delete(s.asks.open, m.ID)
	s.asks.Unlock()
	if c != nil {
		c <- m
	}
}

// Ping measures the round trip on the control stream.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if _, err := s.ask(ctx, message{Type: msgPing}); err != nil {
		return 0, err
	}
	rtt := time.Since(began)
	s.rtt.Store(int64(rtt))
	return rtt, nil
}

// RTT is what the last ping measured, 0 before the first.
func (s *Session) RTT() time.Duration { return time.Duration(s.rtt.Load()) }

// Live tells the agent that its tunnels are reachable. Edge only.
func (s *Session) Live() error { return s.tell(message{Type: msgLive}) }

// Drain tells the agent to connect elsewhere, and to serve what comes over this
// session, which stays as it is, until the edge ends it. Edge only.
func (s *Session) Drain(reason string) error {
	return s.tell(message{Type: msgDrain, Reason: reason})
}

// Dropped tells the agent that one of its tunnels was closed, and why; the others
// stay. Edge only.
func (s *Session) Dropped(name string, why *Error) error {
	return s.tell(message{Type: msgDropped, Name: name, Error: why})
}

// Supersede tells the agent why it is not wanted any more, such as who took its
// place or that its key was revoked, and closes the session. The agent does not
// come back. Edge only.
func (s *Session) Supersede(why *Error) error {
	// An agent whose link is dead must not delay its successor.
	s.leaving.Store(true)
	told := make(chan struct{})
	started := s.group.Go(func() {
		defer close(told)
		s.tell(message{Type: msgSuperseded, Reason: why.Message, Error: why})
	})
	if started {
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case <-told:
		case <-t.C:
		}
	}
	return s.Close()
}

// Claim asks the edge for one more tunnel. Agent only.
func (s *Session) Claim(ctx context.Context, c Claim) (Grant, error) {
	m, err := s.ask(ctx, message{Type: msgClaim, Claim: &c})
	switch {
	case err != nil:
		return Grant{}, err
	case m.Error != nil:
		return Grant{}, m.Error
	case m.Grant == nil:
		return Grant{}, fmt.Errorf("the edge answered a claim without a grant")
	}
	return *m.Grant, nil
}

// Release gives a tunnel back. Agent only.
func (s *Session) Release(name string) error {
	return s.tell(message{Type: msgRelease, Name: name})
}

var _ net.Conn = (*Stream)(nil)
