package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// Pace of resuming a stream.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Second
	// silence is how long a stream may be without a byte before it is taken for
	// dead; the edge's heartbeat comes every 15 s.
	silence = 45 * time.Second
	// goneFor is how long a tunnel that the stream knew may be unknown to the
	// edge: one that has just started waits for its agents.
	goneFor = 30 * time.Second
)

// Stream calls fn for each change of a tunnel's captures, in order, until fn
// fails, ctx ends, or the tunnel is closed; the event "closed" is the last then
// and Stream returns nil. A stream that breaks goes on where it was. What was
// lost meanwhile is told by an event "gap", after which everything that is
// still kept comes again.
//
// Stream returns fn's error, ctx's, or a *[tunnel.Error] that trying again does
// not mend, such as a refused key or an unknown tunnel.
func (c *Client) Stream(ctx context.Context, name string, o StreamOptions, fn func(inspector.Event) error) error {
	s := stream{client: c, name: name, filter: o.Filter, last: o.Since, live: o.Live, begun: o.Begun}
	known := false        // the edge has answered with a stream before
	var missing time.Time // since when the edge does not know the tunnel
	wait := retryFirst
	for {
		ended, err := s.once(ctx, fn)
		if ended {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.worked {
			known, wait, missing = true, retryFirst, time.Time{}
		}
		if r := (*refusal)(nil); errors.As(err, &r) && r.status < 500 && r.status != http.StatusTooManyRequests {
			if r.err.Code != tunnel.CodeTunnelNotFound || !known {
				return err
			}
			if missing.IsZero() {
				missing = time.Now()
			}
			if time.Since(missing) > goneFor {
				return err
			}
		}
		// The connection that requests travel over was refused, as happens when
		// the key has been revoked.
		if e := (*tunnel.Error)(nil); errors.As(err, &e) && (e.Code == tunnel.CodeKey || e.Code == tunnel.CodeVersion) {
			return err
		}
		if o.Lost != nil {
			o.Lost(err)
		}
		t := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		wait = min(2*wait, retryLast)
	}
}

// A stream is the state that outlives one connection of an event stream.
type stream struct {
	client *Client
	name   string
	filter string
	last   uint64 // the version to go on after
	live   bool   // last is still to be asked for
	begun  func() // may be nil
	worked bool   // the connection that just ended had brought the stream
}

// once reads one connection to its end. It reports whether the stream is over,
// and not only this connection.
func (s *stream) once(ctx context.Context, fn func(inspector.Event) error) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.worked = false
	watch := time.AfterFunc(silence, cancel)
	defer watch.Stop()
	if s.live {
		page, err := s.client.Page(ctx, s.name, Query{Limit: 1})
		if err != nil {
			return false, err
		}
		s.last, s.live = page.Version, false
	}
	path := "/me/tunnels/" + url.PathEscape(s.name) + "/requests/stream"
	if s.filter != "" {
		path += "?" + url.Values{"filter": {s.filter}}.Encode()
	}
	h := http.Header{
		"Accept":        {"text/event-stream"},
		"Last-Event-Id": {strconv.FormatUint(s.last, 10)},
	}
	resp, err := s.client.do(ctx, http.MethodGet, path, h, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	s.worked = true
	if s.begun != nil {
		s.begun()
	}
	err = inspector.ReadEvents(&watched{resp.Body, watch}, func(ev inspector.Event) error {
		if err := fn(ev); err != nil {
			ended = true
			return err
		}
		switch ev.Type {
		case "request":
			s.last = ev.ID
		case "gap":
			// All that is kept comes now. Should the stream break before that
			// is through, everything must come once more.
			s.last = 0
		case "closed":
			ended = true
			return errClosed
		}
		return nil
	})
	switch {
	case errors.Is(err, errClosed):
		err = nil
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return ended, err
}

var errClosed = errors.New("the tunnel was closed")

// A watched reader keeps a timer from firing while bytes arrive.
type watched struct {
	io.Reader
	timer *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.timer.Reset(silence)
	}
	return n, err
}
