package tui

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
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
	jqMemory  = 512 << 20
	jqOutput  = 4 << 20
	jqResults = 10_000
)

var (
	errJQTime   = errors.New("stopped after 5 seconds")
	errJQMemory = errors.New("stopped: it took more than " + format.Bytes(jqMemory) + " of memory")
	errJQDeep   = errors.New("stopped: its values are nested too deeply")
	errJQPart   = errors.New("the body is not whole JSON")
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
//
// A short expression can ask for all the memory there is, or for work that never
// comes to a place where it could be stopped. So it has a process of its own,
// which ends with ctx, and the tunnel in this one does not notice.
func runJQ(ctx context.Context, expr string, data []byte) (out []byte, n int, cut bool, err error) {
	if _, err := compileJQ(expr); err != nil {
		return nil, 0, false, err
	}
	self, err := os.Executable()
	if runtime.GOOS == "linux" {
		self = "/proc/self/exe" // there even when the file was replaced since
	} else if err != nil {
		return nil, 0, false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, jqTime, errJQTime)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(ctx, self, JQCommand)
	cmd.Args[0] = os.Args[0]
	cmd.Env = []string{} // none of the secrets in ours
	cmd.Stdin = io.MultiReader(strings.NewReader(expr+"\n"), bytes.NewReader(data))
	var results, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &results, &told
	cmd.WaitDelay = time.Second
	if err = cmd.Start(); err == nil {
		go watchProcess(ctx, cmd.Process.Pid, stop)
		err = cmd.Wait()
	}
	var r jqReport
	switch {
	case err == nil && json.Unmarshal(told.Bytes(), &r) == nil:
		if r.Err != "" {
			err = errors.New(r.Err)
		}
		return results.Bytes(), r.N, r.Cut, err
	case ctx.Err() != nil:
		return nil, 0, false, context.Cause(ctx)
	case cmd.ProcessState == nil:
		return nil, 0, false, err // it did not start
	case bytes.Contains(told.Bytes(), []byte("stack exceeds")):
		return nil, 0, false, errJQDeep
	case cmd.ProcessState.ExitCode() == jqTooLarge, bytes.Contains(told.Bytes(), []byte("out of memory")):
		return nil, 0, false, errJQMemory
	}
	return nil, 0, false, fmt.Errorf("it broke off (%w)", err)
}

// JQCommand is the argument that makes a process of this program one that runs a
// jq expression: it calls [JQ] then, and nothing else.
const JQCommand = "__jq"

// jqTooLarge is how a process ends that took too much memory.
const jqTooLarge = 3

// A jqReport is what a process says of its results, after them.
type jqReport struct {
	N   int    `json:"n"`
	Cut bool   `json:"cut,omitempty"`
	Err string `json:"err,omitempty"`
}

// JQ runs the expression in the first line of in over the JSON after it. The
// results go to out, one a line, what is to be said of them to report. It ends
// the process when that takes too much time or memory.
func JQ(in io.Reader, out, report io.Writer) {
	time.AfterFunc(2*jqTime, func() { os.Exit(1) }) // who asked may be gone
	debug.SetMaxStack(jqMemory / 4)
	debug.SetMemoryLimit(jqMemory * 3 / 4)
	go watchMemory()
	r := bufio.NewReader(in)
	expr, _ := r.ReadString('\n')
	data, err := io.ReadAll(r)
	var rep jqReport
	var results []byte
	if err == nil {
		results, rep.N, rep.Cut, err = evaluate(strings.TrimSuffix(expr, "\n"), data)
	}
	if err != nil {
		rep.Err = err.Error()
	}
	_, _ = out.Write(results)
	_ = json.NewEncoder(report).Encode(rep)
}

// watchProcess ends a process that has grown too large. It is there for what
// watchMemory in that process may see a second too late, because one step of the
// expression keeps all else there waiting; only Linux tells it this way.
func watchProcess(ctx context.Context, pid int, stop context.CancelCauseFunc) {
	file := fmt.Sprintf("/proc/%d/statm", pid)
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		var pages, resident int
		if s, err := os.ReadFile(file); err != nil {
			return
		} else if _, err := fmt.Sscan(string(s), &pages, &resident); err == nil && resident > jqMemory/os.Getpagesize() {
			stop(errJQMemory)
		}
	}
}

// watchMemory ends the process once it has more memory than a jq expression may
// take. What one step allocates counts before it is written to.
func watchMemory() {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for range time.Tick(2 * time.Millisecond) {
		metrics.Read(s)
		if s[0].Value.Uint64()-s[1].Value.Uint64() > jqMemory {
			os.Exit(jqTooLarge)
		}
	}
}

// evaluate runs an expression to its end, however long that takes.
func evaluate(expr string, data []byte) (out []byte, n int, cut bool, err error) {
	code, err := compileJQ(expr)
	if err != nil {
		return nil, 0, false, err
	}
	in := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	in.UseNumber() // the text of a number stays as it is where nothing is done with it
	for {
		var v any
		if err := in.Decode(&v); errors.Is(err, io.EOF) {
			return out, n, false, nil
		} else if err != nil {
			return out, n, false, errJQPart
		}
		for results := code.Run(v); ; {
			v, ok := results.Next()
			if !ok {
				break
			}
			if err, ok := v.(error); ok {
				var halt *gojq.HaltError
				if errors.As(err, &halt) && halt.Value() == nil {
					return out, n, false, nil
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
	b := m.detail.body()
	if b == nil {
		m.say(warn, "jq looks at a body: go to Request or Response")
		return nil
	}
	under := b.asked()
	if _, ok := under.pretty.(*jsonDoc); !ok {
		m.say(warn, "this body is not JSON that jq could read")
		return nil
	}
	if under.part {
		m.say(warn, "this body is still being formatted")
		return nil
	}
	load := m.recall("jq")
	// On results it begins with what made them, to be carried on or corrected.
	return tea.Batch(load, m.request("jq", b.front().query, prompt{
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

// jq runs an expression on the body in front; what comes of it lies over that. On
// results in front it runs on what those were made of, and takes their place.
func (m *model) jq(expr string) tea.Cmd {
	b := m.detail.body()
	if b == nil {
		return nil
	}
	under := b.asked()
	ctx, now := m.detail.begin(m), m.c.Now
	m.say(text, "jq %s%s", expr, m.th.g.ellipsis)
	return func() tea.Msg {
		began := now()
		out, n, cut, err := runJQ(ctx, expr, under.data)
		if ctx.Err() != nil {
			return nil // left
		}
		if err != nil && err.Error() == errJQPart.Error() && under.cut != "" {
			err = errors.New("only " + under.cut + " was captured, which is not whole JSON")
		}
		if err != nil && n == 0 {
			return failMsg{err: errors.New("jq: " + err.Error())}
		}
		r := &body{name: "jq " + expr, query: expr, data: out}
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
