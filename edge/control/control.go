package control

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// Defaults of [Config].
const (
	DefaultAgents    = 10_000
	DefaultStrangers = 2048
	DefaultPerAddr   = 256
	DefaultStreams   = 100_000
)

const (
	probeTimeout = 10 * time.Second
	// claimTimeout bounds the pings that a later claim may need.
	claimTimeout = 10 * time.Second
)

// An Authenticator knows whose a key is. Its error is a *[tunnel.Error] of
// [tunnel.CodeKey] for a key that is refused.
type Authenticator interface {
	Authenticate(ctx context.Context, key string) (store.User, store.Key, error)
	// Working reports whether a key that was accepted still is. It is asked each
	// second for each session, so it must not wait for anything.
	Working(keyID string) bool
}

// Config says what agents connect to.
type Config struct {
	TLS      *tls.Config // certificates; everything else is set
	Store    Authenticator
	Registry *registry.Registry

	Software string        // told to agents: "lrok 0.1.0"
	API      string        // base URL of the HTTPS API, told to agents
	Limits   tunnel.Limits // told to agents; Streams is kept to as well

	Agents    int // connected at once; 0 means DefaultAgents
	Strangers int // connections whose key is not yet accepted; 0 means DefaultStrangers
	PerAddr   int // of these from one address; 0 means DefaultPerAddr
	Streams   int // open at once to all agents together; 0 means DefaultStreams
	Bulk      int // further connections of an agent; 0 means tunnel.DefaultBulk, less none

	Hello, Ping, Dead time.Duration // as in tunnel.EdgeConfig

	// Guesses counts the keys that were refused at other doors as well; nil is one
	// of its own.
	Guesses *store.Guesses
	Logger  *slog.Logger // nil discards
}

// A Server accepts agents.
type Server struct {
	cfg  Config
	log  *slog.Logger
	edge tunnel.EdgeConfig
	all  tunnel.Quota // of streams
	gate *gate
	api  *listener
	// probe is how long a new session has to bring a stream through.
	probe time.Duration

	wg sync.WaitGroup // what Serve waits for

	mu       sync.Mutex
	sessions map[*session]struct{}
	byLink   map[*tunnel.Session]*session
	draining string // why no agents are taken any more
	listener net.Listener
	refused  map[string]int64
	// connected counts the agents that were ever let in.
	connected int
}

// New returns a server that does nothing until it is told to serve.
func New(cfg Config) *Server {
	s := &Server{
		cfg:      cfg,
		log:      cfg.Logger,
		api:      newListener(),
		probe:    probeTimeout,
		gate:     newGate(orDefault(cfg.Strangers, DefaultStrangers), orDefault(cfg.PerAddr, DefaultPerAddr)),
		sessions: make(map[*session]struct{}),
		byLink:   make(map[*tunnel.Session]*session),
		refused:  make(map[string]int64),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Guesses == nil {
		s.cfg.Guesses = store.NewGuesses(time.Now)
	}
	s.cfg.Agents = orDefault(cfg.Agents, DefaultAgents)
	s.edge = tunnel.EdgeConfig{
		TLS:     cfg.TLS,
		Streams: cfg.Limits.Streams,
		Hello:   cfg.Hello,
		Ping:    cfg.Ping,
		Dead:    cfg.Dead,
		Logger:  s.log,
		API:     func(_ *tunnel.Session, c net.Conn) { s.api.put(c) },
		Claim:   s.claim,
		Release: s.release,
		Quota:   &s.all,
		Bulk:    cfg.Bulk,
	}
	s.all.Set(orDefault(cfg.Streams, DefaultStreams))
	return s
}

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// API returns a listener whose connections are the agents' streams of kind api.
// The requests on them carry a key like any other. It is closed when Serve
// returns.
func (s *Server) API() net.Listener { return s.api }

// SetLimits changes how many agents may be connected, how many connections may
// be without an accepted key, how many of these may come from one address, and
// how many streams may be open to all agents together. What is there stays.
func (s *Server) SetLimits(agents, strangers, perAddr, streams int) {
	s.all.Set(streams)
	s.mu.Lock()
	s.cfg.Agents = agents
	s.mu.Unlock()
	s.gate.set(strangers, perAddr)
}

// Agents returns how many agents are connected.
func (s *Server) Agents() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Connected returns how many agents have ever been let in.
func (s *Server) Connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected
}

// Streams returns how many streams to agents are open.
func (s *Server) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for link := range s.byLink {
		n += link.Streams()
	}
	return n
}

// BulkConnections returns how many further connections agents have.
func (s *Server) BulkConnections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for link := range s.byLink {
		n += link.BulkConnections()
	}
	return n
}

// Refused returns how many agents were turned away, by the code that they were
// told: "crowded" are those that were told nothing because there were too many
// without a key, and "stranger" what said no hello.
func (s *Server) Refused() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.refused)
}

func (s *Server) refuse(code string) {
	s.mu.Lock()
	s.refused[code]++
	s.mu.Unlock()
}

// Serve accepts agents on ln, which it closes, until ctx ends. Then it ends all
// sessions and returns when nothing of them is left. It is called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.api.Close()
	defer s.wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.wg.Go(func() { s.watchKeys(ctx) })
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	s.mu.Lock()
	s.listener = ln
	if s.draining != "" {
		_ = ln.Close()
	}
	s.mu.Unlock()
	wait := time.Millisecond
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if s.isDraining() { // the listener is for the next edge
				<-ctx.Done()
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept agents: %w", err)
			}
			// Out of files, most likely: that passes.
			s.log.Warn("accept agents", "err", err)
			if !sleep(ctx, wait) {
				return nil
			}
			wait = min(2*wait, time.Second)
			continue
		}
		wait = time.Millisecond
		s.wg.Go(func() { s.serve(ctx, conn) })
	}
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining != ""
}

// Drain stops listening, so that another edge can take the address, and tells the
// agents that are here to go elsewhere. Their sessions stay for the requests in
// them. It returns when all have been told or ctx
// ends.
func (s *Server) Drain(ctx context.Context, reason string) {
	var told sync.WaitGroup
	s.mu.Lock()
	s.draining = reason
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for se := range s.sessions {
		told.Add(1)
		// The session itself keeps Serve waiting as long as it is in the map.
		s.wg.Go(func() {
			defer told.Done()
			<-se.ready
			if se.link != nil {
				_ = se.link.Drain(reason) // one that cannot be told sees the end
			}
		})
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		told.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// serve takes one connection from its first byte to its end.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	remote := conn.RemoteAddr() // waits for a trusted peer's PROXY header
	log := s.log.With("remote", remote.String())
	from := store.AddressOf(remote.String())
	if !s.gate.enter(from) {
		log.Debug("agent turned away: too many connections without a key")
		s.refuse("crowded")
		_ = conn.Close()
		return
	}
	leave := sync.OnceFunc(func() { s.gate.leave(from) })
	defer leave()
	// A handshake takes a deep stack, which this goroutine would keep for as long
	// as the session lasts.
	var p *tunnel.Pending
	var se *session
	var link *tunnel.Session
	greeted := make(chan struct{})
	go func() {
		defer close(greeted)
		if p = s.greet(conn, log); p != nil && !p.Bulk() {
			se, link = s.welcome(ctx, conn, p, log, leave)
		}
	}()
	<-greeted
	if p != nil && p.Bulk() {
		leave()
		if err := p.ServeBulk(); err != nil {
			log.Debug("bulk connection", "err", err)
		}
		return
	}
	if se == nil {
		return
	}
	defer s.forget(se)
	if link == nil {
		s.cfg.Registry.Release(se)
		return
	}
	log = log.With("session", se.id)
	var wg sync.WaitGroup
	if len(link.Welcome().Grants) > 0 {
		wg.Go(func() { s.prove(ctx, link, log) })
	}
	err := link.Run(ctx)
	wg.Wait()
	held := s.cfg.Registry.Release(se)
	if err == nil || held == 0 && errors.Is(err, tunnel.ErrLeft) {
		log.Info("agent gone") // one that ends gives its tunnels back first
		return
	}
	log.Info("agent gone", "err", err)
}

// greet takes what comes first on a connection, nil from a stranger.
func (s *Server) greet(conn net.Conn, log *slog.Logger) *tunnel.Pending {
	p, err := tunnel.Accept(conn, &s.edge)
	if err == nil {
		return p
	}
	log.Debug("stranger", "err", err)
	code := "stranger"
	if e := (*tunnel.Error)(nil); errors.As(err, &e) {
		code = e.Code // it was told
	}
	s.refuse(code)
	return nil
}

// welcome lets an agent in, and calls leave once it is no stranger any more. A
// session that is returned must be forgotten, also when there is no link.
func (s *Server) welcome(ctx context.Context, conn net.Conn, p *tunnel.Pending, log *slog.Logger, leave func()) (*session, *tunnel.Session) {
	se, refusal := s.meet(ctx, conn, p, log)
	if se == nil && refusal == nil {
		_ = p.Close()
		return nil, nil
	}
	if refusal != nil {
		log.Info("agent refused", "code", refusal.Code, "err", refusal)
		s.refuse(refusal.Code)
		_ = p.Refuse(refusal)
		return nil, nil
	}
	leave()
	log = log.With("session", se.id)
	hello := p.Hello
	grants, refusal := s.cfg.Registry.Claim(ctx, se, se.user.ID, se.instance, se.machine, hello.Claims)
	if refusal != nil {
		se.welcomed(nil)
		log.Info("claims refused", "code", refusal.Code, "err", refusal)
		s.refuse(refusal.Code)
		_ = p.Refuse(refusal)
		return se, nil
	}
	link, err := p.Accept(tunnel.Welcome{
		Software: s.cfg.Software,
		Session:  se.id,
		User:     se.user.Name,
		Grants:   grants,
		API:      s.cfg.API,
		Limits:   s.cfg.Limits,
	})
	if err != nil {
		se.welcomed(nil)
		log.Info("agent not welcomed", "err", err)
		return se, nil
	}
	s.mu.Lock()
	s.byLink[link] = se
	s.connected++
	s.mu.Unlock()
	se.welcomed(link)
	log.Info("agent connected", "user", se.user.Name, "software", clean(hello.Software, 64), "tunnels", names(grants))
	return se, link
}

// meet finds out who said hello. It returns neither a session nor a refusal when
// there is no answer to give.
func (s *Server) meet(ctx context.Context, conn net.Conn, p *tunnel.Pending, log *slog.Logger) (*session, *tunnel.Error) {
	from := store.AddressOf(conn.RemoteAddr().String())
	key := p.Hello.Key
	p.Hello.Key = ""
	user, k, err := s.cfg.Store.Authenticate(ctx, key)
	if err != nil {
		var e *tunnel.Error
		if !errors.As(err, &e) {
			log.Error("key not looked up", "err", err)
			return nil, &tunnel.Error{Code: tunnel.CodeInternal, Message: "the edge could not look the key up", Hint: "try again; the edge's log says more"}
		}
		if !sleep(ctx, s.cfg.Guesses.Refused(from)) {
			return nil, nil
		}
		return nil, e
	}
	s.cfg.Guesses.Accepted(from)
	if !validInstance(p.Hello.Instance) {
		return nil, &tunnel.Error{Code: tunnel.CodeBadHello, Message: "the hello names no agent: instance must be 16 bytes in hex", Hint: "update lrok on this machine"}
	}
	se := &session{
		id:       "ses_" + randomHex(8),
		user:     user,
		key:      k.ID,
		instance: p.Hello.Instance,
		machine:  clean(p.Hello.Host, 64),
		remote:   conn.RemoteAddr(),
		ready:    make(chan struct{}),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining != "":
		return nil, &tunnel.Error{Code: tunnel.CodeDraining, Message: "the edge takes no more agents: " + s.draining, Hint: "it is back soon; lrok tries again by itself"}
	case len(s.sessions) >= s.cfg.Agents:
		return nil, &tunnel.Error{Code: tunnel.CodeLimit, Message: fmt.Sprintf("the edge has its %d agents already", s.cfg.Agents), Hint: "ask whoever runs the edge to raise the limit"}
	}
	s.sessions[se] = struct{}{}
	return se, nil
}

func (s *Server) forget(se *session) {
	s.mu.Lock()
	delete(s.sessions, se)
	delete(s.byLink, se.link)
	s.mu.Unlock()
}

// prove sends a stream through the session and back before the agent may say
// that it is live. A session that cannot do that is no use to anybody.
func (s *Server) prove(ctx context.Context, link *tunnel.Session, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, s.probe)
	defer cancel()
	took, err := link.Probe(ctx)
	if err == nil {
		err = link.Live()
	}
	if err == nil {
		log.Debug("agent live", "probe", took)
		return
	}
	if link.Err() == nil {
		log.Warn("no stream came through the session", "err", err)
	}
	_ = link.Close()
}

// claim grants a tunnel that an agent asks for later on.
func (s *Server) claim(link *tunnel.Session, c tunnel.Claim) (tunnel.Grant, error) {
	s.mu.Lock()
	se := s.byLink[link]
	s.mu.Unlock()
	if se == nil {
		return tunnel.Grant{}, errNotYet
	}
	ctx, cancel := context.WithTimeout(context.Background(), claimTimeout)
	defer cancel()
	grants, refusal := s.cfg.Registry.Claim(ctx, se, se.user.ID, se.instance, se.machine, []tunnel.Claim{c})
	if refusal != nil {
		return tunnel.Grant{}, refusal
	}
	return grants[0], nil
}

// release drops a tunnel that its agent does not want any more.
func (s *Server) release(link *tunnel.Session, name string) {
	s.mu.Lock()
	se := s.byLink[link]
	s.mu.Unlock()
	if se != nil {
		s.cfg.Registry.Withdraw(se, name)
	}
}

func names(grants []tunnel.Grant) []string {
	out := make([]string, len(grants))
	for i, g := range grants {
		out[i] = g.Name
	}
	return out
}

func validInstance(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// clean makes a text that an agent sent fit to be shown: printable and at most
// limit characters.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit])
	}
	return s
}
