package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/signature"
	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/internal/draft"
	"github.com/lrok-dev/lrok/tunnel"
)

// An API is what the screen asks the edge for. [client.Client] is one.
type API interface {
	Me(ctx context.Context) (client.Me, error)
	Tunnels(ctx context.Context) ([]client.Tunnel, error)
	Exchange(ctx context.Context, id string) (inspector.Exchange, error)
	Beginning(ctx context.Context, id string) (inspector.Exchange, error)
	Complete(ctx context.Context, x *inspector.Exchange, progress func(response bool, n int)) error
	Follow(ctx context.Context, x *inspector.Exchange) error
	Replay(ctx context.Context, id string, changes inspector.Changes) (inspector.Exchange, error)
	Forget(ctx context.Context, tunnel string) error
	CloseConnection(ctx context.Context, tunnel, id string) error
	CloseConnections(ctx context.Context, tunnel string) (int, error)
	CloseTunnel(ctx context.Context, tunnel string) error
	Stream(ctx context.Context, tunnel string, o client.StreamOptions, fn func(inspector.Event) error) error
}

// A Tunnel is one that the screen shows.
type Tunnel struct {
	Kind   tunnel.Kind
	Name   string
	URL    string // what the public side calls
	Direct string // a second address that needs no DNS, or ""
	Local  string // the local service
}

// An Edge is one whose tunnels the screen shows.
type Edge struct {
	ID  string // tells it from others on this screen, "" for the first
	API API
	// LocalOnly says that the edge is on loopback and nobody else can call.
	LocalOnly bool
}

// A Wish is a tunnel that a person asked for on the screen.
type Wish struct {
	Kind    tunnel.Kind
	Service string
	Name    string // "" for one that the edge chooses
	// Takeover takes the name from another lrok of the same person.
	Takeover bool
}

// Started is a tunnel that was started for the screen.
type Started struct {
	Tunnel Tunnel // what was asked for
	Edge   *Edge
	Agent  Agent
	// Stop gives the tunnel back, ends its agent and waits for that.
	Stop func()
}

// Config says what Run shows and how.
type Config struct {
	API API
	// Agent is the agent of this process. It is nil when the screen looks at a
	// tunnel that runs elsewhere.
	Agent Agent
	// Tunnels are those to show. With an Agent they hold what was asked for, and
	// names and URLs come from the edge. Without either the screen starts with
	// the list of the key's live tunnels.
	Tunnels []Tunnel
	// LocalOnly says that the edge is on loopback and nobody else can call.
	LocalOnly bool
	// Edges finds further edges whose tunnels are in that list: those inside other
	// processes of this machine. It is called again with each list. API may be nil
	// then, which means that no edge is known but these.
	Edges func(ctx context.Context) []*Edge
	// Start starts a tunnel of this process. It does not wait for it to be live.
	// The caller of Run ends those that are still there. Nil means that the list of
	// tunnels starts none.
	Start func(ctx context.Context, w Wish) (Started, error)
	// SendTest sends a request to the tunnel's public side. Nil means that
	// there is none.
	SendTest func(ctx context.Context, t Tunnel) error

	// Ignore and Strict are what comparisons ignore at first: see
	// [diff.Options].
	Ignore []diff.Rule
	Strict bool

	// Secrets are those of webhook senders, to check signatures and to sign anew.
	// They stay in this process.
	Secrets []signature.Source
	// SendTo sends a capture from this machine to another address. Nil means that
	// there is none.
	SendTo func(ctx context.Context, to string, x *inspector.Exchange, ch inspector.Changes, keepHost bool) (inspector.Exchange, error)

	Version string
	Input   io.Reader // nil: the terminal
	Output  io.Writer // nil: the terminal
	Environ []string  // nil: os.Environ()
	Now     func() time.Time

	Theme        string // one of Themes, "" is "auto"
	Color        string // "always", "never", or "auto" (or ""): as NO_COLOR and CLICOLOR_FORCE say
	ASCII        bool   // draw with ASCII only; implied by a locale that is not UTF-8
	ReduceMotion bool
	NoMouse      bool

	// Width and Height fix the screen's size when Output is no terminal.
	Width, Height int
	// Profile fixes the colours that Output can show; 0 finds it out.
	Profile colorprofile.Profile
}

// A Summary is what there is to say once the screen is gone.
type Summary struct {
	Seen int // requests that arrived while the screen was open
	// Connections counts those of tunnels without HTTP.
	Connections int
	Dropped     int // of them, never shown because the screen was away
	Tunnels     []Tunnel
	Own         int // of them, those that were started from the screen
}

// Run shows the screen until the person quits or ctx ends, and leaves the
// terminal as it was. It returns nil in both cases, and a *[tunnel.Error] when
// the key of a screen without an agent works no more. The first frame does not
// wait for the network.
func Run(ctx context.Context, c Config) (Summary, error) {
	if c.API == nil && c.Edges == nil {
		return Summary{}, errors.New("tui: no API")
	}
	if c.Environ == nil {
		c.Environ = os.Environ()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.color()
	ctx, cancel := context.WithCancel(ctx)
	f := newFeed()
	f.abort = cancel
	m := newModel(ctx, c, f)
	defer m.drafts.close()

	options := []tea.ProgramOption{tea.WithEnvironment(c.Environ), tea.WithoutSignalHandler()}
	if c.Input != nil {
		options = append(options, tea.WithInput(c.Input))
	}
	if c.Output != nil {
		options = append(options, tea.WithOutput(c.Output))
	}
	if c.Width > 0 && c.Height > 0 {
		options = append(options, tea.WithWindowSize(c.Width, c.Height))
	}
	if c.Profile != 0 {
		options = append(options, tea.WithColorProfile(c.Profile))
	}
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	crash.Go(&sweeping, func() { draft.Sweep(time.Now()) })
	following := make(chan struct{})
	go func() {
		defer close(following)
		f.guard(cancel, func() { f.run(ctx, cancel, m.main) })
	}()
	m.stops = newStops()
	defer m.stops.end()
	p := newProgram(m, options...)
	defer crash.Before(func() { // a panic elsewhere finds the terminal as it was
		p.Kill()
		crash.Drawing(false)
	})()
	// Quit leaves in order, which ending the program's own context would not: it
	// waits for whoever reads the terminal. A terminal that takes nothing any more
	// does not keep the screen either.
	var killed atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(2*time.Second, func() { killed.Store(true); p.Kill() })
		p.Quit()
		p.Wait()
		t.Stop()
	})
	crash.Drawing(true)
	_, err := p.Run()
	crash.Drawing(false)
	stop()
	cancel()
	<-following
	if f.panicked != nil {
		panic(f.panicked)
	}
	if killed.Load() && errors.Is(err, tea.ErrProgramKilled) {
		err = nil // ctx ended: that is how the caller stops the screen
	}
	if err != nil {
		err = fmt.Errorf("screen: %w", err)
	}
	if err == nil {
		err = f.fatal
	}
	return m.summary(), err
}

// newProgram is another in builds that measure the loop: see timing.go.
var newProgram = tea.NewProgram

// color settles whether there are colours. A flag says it most strongly, then
// CLICOLOR_FORCE, then NO_COLOR; either counts when it is not empty.
func (c *Config) color() {
	force := env(c.Environ, "CLICOLOR_FORCE")
	switch {
	case c.Color == "always", c.Color != "never" && force != "" && force != "0":
		// The renderer asks NO_COLOR as well.
		c.Environ = slices.DeleteFunc(slices.Clone(c.Environ), func(kv string) bool { return strings.HasPrefix(kv, "NO_COLOR=") })
		if c.Profile == 0 {
			var out io.Writer = os.Stdout
			if c.Output != nil {
				out = c.Output
			}
			c.Profile = max(colorprofile.Detect(out, c.Environ), colorprofile.ANSI)
		}
	case c.Color == "never" || env(c.Environ, "NO_COLOR") != "":
		// Bold and reverse stay: they are what tells things apart then.
		c.Theme, c.Profile = "mono", colorprofile.ASCII
	}
}

// env looks a variable up in an environment; the last one counts.
func env(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(environ[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}
