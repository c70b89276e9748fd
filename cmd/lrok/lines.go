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
	done  map[string]bool
	mu    *sync.Mutex // nil when one goroutine prints
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
		return l.encode(map[string]any{"v": 1, "type": "ready", "name": g.Name, "url": g.URL, "direct": g.Direct, "local": local})
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

// event prints what an event stream tells, each request once, when it ends.
func (l *lines) event(ev inspector.Event) error {
	switch {
	case ev.Type == "gap" && !l.json:
		_, err := fmt.Fprintln(l.w, "-- a gap: requests that the edge no longer knows of are not shown --")
		return err
	case ev.Exchange == nil || ev.Exchange.State != inspector.Done || l.done[ev.Exchange.ID]:
		return nil
	}
	if len(l.done) > 1000 {
		clear(l.done)
	}
	l.done[ev.Exchange.ID] = true
	return l.request(ev.Exchange)
}

func (l *lines) request(x *inspector.Exchange) error {
	if l.json {
		light := x.Light()
		return l.encode(struct {
			V    int    `json:"v"`
			Type string `json:"type"`
			inspector.Exchange
		}{1, "request", light})
	}
	defer l.lock()()
	_, err := fmt.Fprintln(l.w, l.text(x))
	return err
}

// text is the line of one request: time, number, method, status, duration, size
// and path, and in words what went wrong.
func (l *lines) text(x *inspector.Exchange) string {
	status := "..."
	if x.Status > 0 {
		status = strconv.Itoa(x.Status)
	}
	mark := ""
	if x.ReplayOf != "" {
		mark = "  replay"
	}
	if x.Failed() {
		why := strings.ReplaceAll(x.Error, "_", " ")
		if why == "" {
			why = "ended by " + x.EndedBy
		}
		mark += "  failed: " + format.Sanitize(why)
		if x.Detail != "" {
			mark += ": " + format.Sanitize(x.Detail)
		}
	}
	took := format.Duration(x.Duration(time.Now()))
	s := fmt.Sprintf("%s  #%-5d %-7s %3s %7s %7s  %s%s",
		x.Timing.Accepted.Local().Format("15:04:05"), x.Number, format.Sanitize(x.Method), status,
		took, format.Size(x.Response.Body.Size), format.Sanitize(x.Path), mark)
	if !l.color {
		return s
	}
	switch {
	case x.Status >= 500 || x.Failed():
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
