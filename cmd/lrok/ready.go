package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A handover tells a script that the tunnels are live, and where: a file that
// holds their URLs, a line each, for as long as they are, and a descriptor that
// the script has opened, which gets the same lines and is closed then.
type handover struct {
	file string
	fd   int
}

func (h *handover) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&h.file, "url-file", "", "a file to write the URL to once the tunnel is live; it is removed at the end")
	f.IntVar(&h.fd, "ready-fd", 0, "an open file descriptor, 3 or above, that gets the URL once the tunnel is live and is closed then")
	onlyFlags(cmd, "url-file", "ready-fd")
}

// check looks at both before anything is opened, and takes away a file that
// another lrok left: nobody may read an URL of yesterday.
func (h *handover) check() (pipe io.WriteCloser, err error) {
	if h.file != "" {
		st, err := os.Lstat(h.file)
		switch {
		case err == nil && !st.Mode().IsRegular():
			return nil, usage("--url-file: %s is there and is no file", h.file)
		case err == nil:
			err = os.Remove(h.file)
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		}
		if err != nil {
			return nil, usage("--url-file: %w", err)
		}
	}
	if h.fd == 0 {
		return nil, nil
	}
	f, err := inherited(h.fd)
	if err != nil {
		return nil, usage("--ready-fd %d: %w", h.fd, err)
	}
	return f, nil
}

// tell waits until a is online and hands its URLs over. The returned function
// takes the file away, unless somebody else has put another there.
func (h *handover) tell(ctx context.Context, a *agent.Agent, pipe io.WriteCloser) (forget func(), err error) {
	forget = func() {}
	if pipe != nil {
		defer func() { err = errors.Join(err, pipe.Close()) }()
	}
	s, ok := live(ctx, a)
	if !ok {
		return forget, nil
	}
	var b strings.Builder
	for _, g := range s.Welcome.Grants {
		if g.URL == "" {
			continue // it was refused, which the screen tells
		}
		b.WriteString(format.Sanitize(g.URL) + "\n")
	}
	text := []byte(b.String())
	if h.file != "" {
		if err := replaceFile(h.file, text); err != nil {
			return forget, fmt.Errorf("write the URL: %w", err)
		}
		forget = func() {
			if now, err := os.ReadFile(h.file); err == nil && bytes.Equal(now, text) {
				_ = os.Remove(h.file)
			}
		}
	}
	if pipe != nil {
		if _, err := pipe.Write(text); err != nil && !errors.Is(err, syscall.EPIPE) { // who has left waits no more
			return forget, fmt.Errorf("write the URL: %w", err)
		}
	}
	return forget, nil
}

// replaceFile puts data into a file in one step: who sees it sees all of it.
func replaceFile(path string, data []byte) error {
	part := fmt.Sprintf("%s.%d.part", path, os.Getpid())
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part)
	}
	return err
}

// live waits until the tunnels of a are.
func live(ctx context.Context, a *agent.Agent) (agent.Status, bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := a.Status(); s.State == agent.Online && len(s.Welcome.Grants) > 0 {
			return s, true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return agent.Status{}, false
		}
	}
}

// patient is how long the first connection may take before the screen opens.
const patient = 1500 * time.Millisecond

// settled gives the first connection a moment, for a refusal to find the
// terminal as it was instead of ending a screen that has just opened. It returns
// false when there is no tunnel to show.
func settled(ctx context.Context, a *agent.Agent, w io.Writer, edge string) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, shown := time.Now(), false
	defer func() {
		if shown {
			_, _ = fmt.Fprint(w, "\r\x1b[K")
		}
	}()
	for {
		s, waited := a.Status(), time.Since(began)
		switch {
		case s.State == agent.Closed || ctx.Err() != nil:
			return false
		case s.State != agent.Connecting || s.Err != nil || waited > patient:
			return true
		case waited > 80*time.Millisecond && !shown:
			shown = true
			_, _ = fmt.Fprintf(w, "connecting to %s ...", format.Sanitize(edge))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
