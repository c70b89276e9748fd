package tui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/itchyny/gojq"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// How far a jq expression may go.
const (
	jqTime    = 5 * time.Second
	jqOutput  = 4 << 20
	jqResults = 10_000
)

var (
	errJQTime = errors.New("stopped after 5 seconds")
	errJQPart = errors.New("the body is not whole JSON")
)

// compileJQ reads an expression. What it says of a mistake is meant for people.
func compileJQ(expr string) (*gojq.Code, error) {
	q, err := gojq.Parse(expr)
	if err != nil {
		var at *gojq.ParseError
		if errors.As(err, &at) && at.Token == "" {
			return nil, errors.New("the expression is not complete")
		}
		return nil, err
	}
	return gojq.Compile(q)
}

// runJQ runs an expression over each value of data and returns the results, one
// a line, and how many there are. An error comes with the results before it; cut
// says that there would be more.
func runJQ(ctx context.Context, expr string, data []byte) (out []byte, n int, cut bool, err error) {
	code, err := compileJQ(expr)
	if err != nil {
		return nil, 0, false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, jqTime, errJQTime)
	defer cancel()
	in := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	in.UseNumber() // the text of a number stays as it is where nothing is done with it
	for {
		var v any
		if err := in.Decode(&v); errors.Is(err, io.EOF) {
			return out, n, false, nil
		} else if err != nil {
			return out, n, false, errJQPart
		}
		for results := code.RunWithContext(ctx, v); ; {
			v, ok := results.Next()
			if !ok {
				break
			}
			if err, ok := v.(error); ok {
				var halt *gojq.HaltError
				if errors.As(err, &halt) && halt.Value() == nil {
					return out, n, false, nil
				}
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				return out, n, false, err
			}
			line, err := gojq.Marshal(v)
			if err != nil {
				return out, n, false, err
			}
			if n == jqResults || len(out)+len(line) > jqOutput {
				return out, n, true, nil
			}
			out = append(append(out, line...), '\n')
			n++
		}
	}
}

// startJQ asks for an expression to run on the body in front.
func (m *model) startJQ() tea.Cmd {
	d := &m.detail
	b := d.body()
	if b == nil {
		m.say(warn, "jq looks at a body: go to Request or Response")
		return nil
	}
	if _, ok := b.front().pretty.(*jsonDoc); !ok {
		m.say(warn, "this body is not JSON that jq could read")
		return nil
	}
	if b.front().part {
		m.say(warn, "this body is still being formatted")
		return nil
	}
	load := m.recall("jq")
	return tea.Batch(load, m.request("jq", "", prompt{
		title: "jq", enter: "run", hint: `.data.items[] | .id`,
		check: func(s string) string {
			if _, err := compileJQ(s); s != "" && err != nil {
				return err.Error()
			}
			return ""
		},
		done: func(m *model, s string) tea.Cmd {
			if s == "" {
				return nil
			}
			return tea.Batch(m.remember("jq", s), m.jq(s))
		},
	}))
}

// jq runs an expression on the body in front; what comes of it lies over that.
func (m *model) jq(expr string) tea.Cmd {
	b := m.detail.body()
	if b == nil {
		return nil
	}
	under := b.front()
	ctx, now := m.detail.begin(m), m.c.Now
	m.say(text, "jq %s%s", expr, m.th.g.ellipsis)
	return func() tea.Msg {
		began := now()
		out, n, cut, err := runJQ(ctx, expr, under.data)
		if ctx.Err() != nil {
			return nil // left
		}
		if err != nil && n == 0 {
			return failMsg{err: errors.New("jq: " + err.Error())}
		}
		r := &body{name: "jq " + expr, data: out}
		laying{}.fill(ctx, r, "application/x-ndjson", inspector.Body{Size: int64(len(out))}, false)
		if n == 0 {
			r.pretty = &table{}
		}
		r.label = r.name
		r.size = plural(n, "result") + ", " + format.Duration(now().Sub(began))
		if cut {
			r.notes = append(r.notes, sprintf("there are more results: these are the first %s", format.Count(int64(n))))
		}
		if err != nil {
			r.notes = append(r.notes, "then "+strings.TrimSpace(err.Error()))
		}
		return openedMsg{under: under, b: r}
	}
}
