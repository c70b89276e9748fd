package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

// lines prints requests, one line each.
type lines struct {
	w     io.Writer
	json  bool
	color bool
	// done and opened hold what was printed as such.
	done, opened map[string]bool
	many         bool        // of several tunnels: each line names its own
	mu           *sync.Mutex // nil when one goroutine prints
}

func (l *lines) lock() func() {
	if l.mu == nil {
		return func() {}
	}
	l.mu.Lock()
	return l.mu.Unlock
}

// ready prints the URL, the first line of a tunnel.
func (l *lines) ready(g tunnel.Grant, local string) error {
	if l.json {
		return l.encode(map[string]any{"v": 1, "type": "ready", "kind": g.Kind, "name": g.Name, "url": g.URL, "direct": g.Direct, "local": local})
	}
	defer l.lock()()
	_, err := fmt.Fprintf(l.w, "%s -> %s\n", format.Sanitize(g.URL), local)
	return err
}

func (l *lines) encode(v any) error {
	defer l.lock()()
	enc := json.NewEncoder(l.w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// since is [lines.event] without the exchanges that began before then: a tunnel
// that was taken over has those of the agent that had it before.
func (l *lines) since(then time.Time) func(inspector.Event) error {
	return func(ev inspector.Event) error {
		if x := ev.Exchange; x != nil && x.Timing.Accepted.Before(then) {
			return nil
		}
		return l.event(ev)
	}
}

// event prints what an event stream tells: each request once, when it ends, and
// each connection of a raw tunnel twice, when it is opened and when it is closed.
func (l *lines) event(ev inspector.Event) error {
	if ev.Type == "gap" && !l.json {
		defer l.lock()()
		_, err := fmt.Fprintln(l.w, "some requests are not shown: the edge no longer knows of them")
		return err
	}
	x := ev.Exchange
	if x == nil || !l.news(x) {
		return nil
	}
	if raw(x) && x.State == inspector.Done && l.fresh(l.opened, x.ID) {
		begun := *x // as it was then
		begun.State, begun.EndedBy, begun.Error, begun.Detail = inspector.Open, "", "", ""
		begun.Request, begun.Response = inspector.Message{}, inspector.Message{}
		begun.Timing = inspector.Timing{Accepted: x.Timing.Accepted}
		if err := l.request(&begun); err != nil {
			return err
		}
	}
	return l.request(x)
}

// news reports whether x is to be printed, and notes that it was.
func (l *lines) news(x *inspector.Exchange) bool {
	if x.State == inspector.Done {
		return l.fresh(l.done, x.ID)
	}
	return raw(x) && l.fresh(l.opened, x.ID)
}

// fresh puts id into seen and reports whether it was not there. Streams of
// several tunnels come here at once.
func (l *lines) fresh(seen map[string]bool, id string) bool {
	defer l.lock()()
	if seen[id] {
		return false
	}
	if len(seen) > 10_000 { // the edge keeps fewer and tells of no others
		clear(seen)
	}
	seen[id] = true
	return true
}

// raw reports whether x is a connection of a tunnel without HTTP.
func raw(x *inspector.Exchange) bool { return x.Kind == inspector.TCP || x.Kind == inspector.TLS }

// lineType is what an exchange is called in NDJSON. "closed" is the end of a
// tunnel.
func lineType(x *inspector.Exchange) string {
	if !raw(x) {
		return "request"
	}
	return "connection_" + happened(x)
}

// happened is what became of a raw connection.
func happened(x *inspector.Exchange) string {
	if x.State == inspector.Done {
		return "closed"
	}
	return "opened"
}

func (l *lines) request(x *inspector.Exchange) error {
	if l.json {
		return l.encode(struct {
			V    int    `json:"v"`
			Type string `json:"type"`
			inspector.Exchange
		}{1, lineType(x), x.Light()})
	}
	defer l.lock()()
	text := l.text(x)
	if l.many {
		text = fmt.Sprintf("%-16s ", format.Sanitize(x.Tunnel)) + text
	}
	_, err := fmt.Fprintln(l.w, text)
	return err
}

// connection is the line of a raw connection: time, number, what happened and
// from where, and at its end how long it was and what went in and out.
func (l *lines) connection(x *inspector.Exchange) string {
	at := x.Timing.Accepted
	if x.State == inspector.Done {
		at = at.Add(x.Timing.Done)
	}
	s := fmt.Sprintf("%s  #%-5d %-7s %s", at.Local().Format("15:04:05"), x.Number, happened(x), format.Sanitize(x.Remote))
	if x.State != inspector.Done {
		return s
	}
	return s + fmt.Sprintf("  after %s, %s in, %s out", format.Duration(x.Timing.Done),
		format.Bytes(x.Request.Body.Size), format.Bytes(x.Response.Body.Size))
}

// pathOf is a request's target for lines, which end up in files and in the logs of
// others: its secrets are left out. NDJSON has all of it.
func pathOf(x *inspector.Exchange) string { return format.Sanitize(format.RedactTarget(x.Path)) }

// text is the line of one request: time, number, method, status, duration, size
// and path, and in words which event it brings and what went wrong.
func (l *lines) text(x *inspector.Exchange) string {
	status, code := "-", ""
	if x.Status > 0 {
		status = strconv.Itoa(x.Status)
		code = ", " + status
	}
	mark := ""
	if x.Event != "" {
		mark = "  event " + format.Sanitize(x.Event)
	}
	if x.ReplayOf != "" {
		mark += "  replay"
	}
	switch {
	case raw(x) && (!x.Failed() || x.Error == tunnel.CodeClosed): // whose doing it was
		if x.State == inspector.Done && x.Detail != "" {
			mark += "  " + format.Sanitize(x.Detail)
		}
	case x.Failed():
		why := strings.ReplaceAll(x.Error, "_", " ")
		if why == "" {
			why = "ended by " + x.EndedBy
		}
		mark += "  failed" + code + ", " + format.Sanitize(why)
		if x.Detail != "" {
			mark += ": " + format.Sanitize(x.Detail)
		}
	}
	if s, ok := x.GRPC(); ok {
		if s.Code != 0 && !x.Failed() {
			mark += "  failed, grpc "
		} else {
			mark += "  grpc "
		}
		mark += format.Sanitize(s.String())
	}
	took := format.Duration(x.Duration(time.Now()))
	s := fmt.Sprintf("%s  #%-5d %-7s %3s %7s %7s  %s",
		x.Timing.Accepted.Local().Format("15:04:05"), x.Number, format.Sanitize(x.Method), status,
		took, format.Size(x.Response.Body.Size), pathOf(x))
	if raw(x) {
		s = l.connection(x)
	}
	s += mark
	if !l.color {
		return s
	}
	switch {
	case x.Erred():
		return "\x1b[31m" + s + "\x1b[0m"
	case x.Status >= 400:
		return "\x1b[33m" + s + "\x1b[0m"
	}
	return s
}

// replayed prints the outcome of a replay.
func (l *lines) replayed(x *inspector.Exchange, r diff.Report, full bool) error {
	if l.json {
		return l.encode(struct {
			V        int                `json:"v"`
			Type     string             `json:"type"`
			Equal    bool               `json:"equal"`
			Summary  string             `json:"summary"`
			Exchange inspector.Exchange `json:"exchange"`
			Diff     *diff.Report       `json:"diff,omitempty"`
		}{1, "replay", r.Equal(), r.Summary(), x.Light(), ifTrue(full, &r)})
	}
	if _, err := fmt.Fprintf(l.w, "%s\n          %s\n", l.text(x), r.Summary()); err != nil {
		return err
	}
	if full {
		return diff.WriteText(l.w, r)
	}
	return nil
}

func ifTrue[T any](ok bool, v *T) *T {
	if ok {
		return v
	}
	return nil
}
