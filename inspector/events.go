package inspector

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Pace of the event stream.
const (
	heartbeatEvery = 15 * time.Second
	// eventsApart is the least time between two looks at the ring, so that a
	// watcher of a busy tunnel costs the edge little.
	eventsApart   = 33 * time.Millisecond
	writeDeadline = 30 * time.Second
)

// ServeEvents answers r with the ring's changes as server-sent events, until
// the client leaves or the ring is closed. An exchange that match refuses is
// left out; a nil match takes all.
//
// Each event "request" has the exchange's version as its id and the exchange as
// its data. A client that sends Last-Event-ID goes on from there; without it
// the stream starts with what happens next. An event "gap" says that changes
// were lost; the events after it tell all that the ring still holds. An event
// "closed" is the last of a tunnel that is gone, unless may, when not nil, says that
// the client may not be told any more.
func ServeEvents(w http.ResponseWriter, r *http.Request, ring *Ring, match func(*Exchange) bool, may func() bool) {
	version := ring.Version()
	if s := r.Header.Get("Last-Event-ID"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			v = ^uint64(0) // unknown: a gap
		}
		version = v
	}
	watcher := ring.Watch()
	defer watcher.Close()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	rc := http.NewResponseController(w)
	var buf bytes.Buffer
	flush := func() error {
		_ = rc.SetWriteDeadline(time.Now().Add(writeDeadline))
		if _, err := w.Write(buf.Bytes()); err != nil {
			return err
		}
		buf.Reset()
		return rc.Flush()
	}
	buf.WriteString(": lrok\n\n")
	if flush() != nil {
		return
	}

	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		now := ring.Version()
		xs, gap := ring.Since(version)
		if gap {
			version = now
			fmt.Fprintf(&buf, "event: gap\nid: %d\ndata: {}\n\n", version)
		}
		for i := range xs {
			version = max(version, xs[i].Version)
			if match != nil && !match(&xs[i]) {
				continue
			}
			data, err := json.Marshal(&xs[i])
			if err != nil {
				continue
			}
			fmt.Fprintf(&buf, "id: %d\nevent: request\ndata: %s\n\n", xs[i].Version, data)
		}
		if buf.Len() > 0 && flush() != nil {
			return
		}
		select {
		case <-pace.C:
		case <-r.Context().Done():
			return
		}
		select {
		case <-watcher.C():
		case <-heartbeat.C:
			buf.WriteString(": still here\n\n")
		case <-ring.Done():
			if may == nil || may() {
				buf.WriteString("event: closed\ndata: {}\n\n")
				_ = flush()
			}
			return
		case <-r.Context().Done():
			return
		}
		pace.Reset(eventsApart)
	}
}

// maxEvent bounds one event that ReadEvents accepts.
const maxEvent = 4 << 20

// ReadEvents calls fn for each event it reads from r, a stream that
// [ServeEvents] wrote, until r ends or fn fails. It returns fn's error, the
// reader's, or nil at the end of r.
func ReadEvents(r io.Reader, fn func(Event) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 16<<10), maxEvent)
	var (
		ev   Event
		data []byte
		dec  decoder
	)
	for sc.Scan() {
		line := sc.Bytes()
		if len(line) == 0 {
			if ev.Type != "" {
				if ev.Type == "request" {
					x, err := dec.decode(data)
					if err != nil {
						return fmt.Errorf("read event: %w", err)
					}
					ev.Exchange = x
				}
				if err := fn(ev); err != nil {
					return err
				}
			}
			ev, data = Event{}, data[:0]
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			if ev.Type = "request"; string(value) != ev.Type {
				ev.Type = string(value)
			}
		case "id":
			ev.ID, _ = strconv.ParseUint(string(value), 10, 64)
		case "data":
			if len(data)+len(value) > maxEvent {
				return bufio.ErrTooLong
			}
			data = append(data, value...)
		}
	}
	return sc.Err()
}
