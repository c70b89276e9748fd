package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// A reach says how to get to an edge and as whom. It is also what is kept of a
// login, and of an edge that runs inside another lrok on this machine.
type reach struct {
	Edge string `json:"edge"` // control address
	CA   string `json:"ca,omitempty"`
	Key  string `json:"key"`
	// Name is what the edge's certificate is for, where that is not the host in
	// Edge: an edge that other processes of its machine reach over loopback.
	Name string `json:"name,omitempty"`
	// Process is the lrok that this edge lives and dies with, 0 for one that
	// stands on its own.
	Process int `json:"process,omitempty"`
	// Local says that only this machine can call its tunnels.
	Local bool `json:"local,omitempty"`

	from string // where it was found, for people
}

const defaultControlPort = "7000"

// errNoEdge means that none was named, none is logged in to, and none runs here.
var errNoEdge = &tunnel.Error{
	Code:    codeUnreachable,
	Message: "no edge is known: none was named and none runs on this machine",
	Hint:    "log in to one with lrok login HOST, name one with --edge HOST, or start a tunnel: lrok http 3000",
}

// findReach finds the edge: the one named by the settings, the one logged in
// to, or one that another lrok on this machine runs.
func (o *options) findReach() (*reach, error) {
	key, err := o.key()
	if err != nil {
		return nil, err
	}
	if o.edge != "" {
		r := &reach{Edge: withPort(o.edge), Key: key, from: o.origins["edge"].from}
		if strings.HasPrefix(o.edgeCA, fingerprintPrefix) {
			return nil, usage("--edge-ca %s… is for lrok login, which keeps the authority that has the fingerprint", fingerprintPrefix)
		}
		if o.edgeCA != "" {
			pem, err := os.ReadFile(o.edgeCA)
			if err != nil {
				return nil, usage("--edge-ca: %w", err)
			}
			r.CA = string(pem)
		}
		if r.Key == "" {
			if l, _ := readLogin(); l != nil && withPort(l.Edge) == r.Edge {
				r.Key, r.CA = l.Key, cmp.Or(r.CA, l.CA)
			}
		}
		if r.Key == "" {
			return nil, &tunnel.Error{Code: tunnel.CodeKey, Message: "there is no API key for " + o.edge, Hint: "lrok login " + o.edge + " asks for it and keeps it; or set LROK_API_KEY, or LROK_API_KEY_FILE to a file that holds it"}
		}
		return r, nil
	}
	l, err := readLogin()
	if err != nil {
		return nil, err
	}
	if l != nil && l.alive() {
		l.Key = cmp.Or(key, l.Key)
		return l, nil
	}
	for _, r := range runningEdges() {
		return r, nil
	}
	return nil, errNoEdge
}

// key is the API key of the environment or --api-key-file, or empty.
func (o *options) key() (string, error) {
	if o.apiKeyFile != "" {
		key, err := store.ReadKeyFile(o.apiKeyFile)
		if errors.As(err, new(*fs.PathError)) {
			err = usageError{&tunnel.Error{
				Code: tunnel.CodeKey, Message: fmt.Sprintf("%s: %v", o.origins["api-key-file"].from, err),
				Hint: "name a file that holds the key; without one the key of lrok login is used",
			}}
		}
		return key, err
	}
	if k := os.Getenv("LROK_API_KEY"); k != "" {
		return strings.TrimSpace(k), nil
	}
	return "", nil
}

func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), defaultControlPort)
}

// tls is the configuration that trusts this edge.
func (r *reach) tls() (*tls.Config, error) {
	host, _, err := net.SplitHostPort(r.Edge)
	if err != nil {
		return nil, usage("edge %q: %w", r.Edge, err)
	}
	c := &tls.Config{ServerName: cmp.Or(r.Name, host)}
	if r.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(r.CA)) {
			return nil, usage("the edge's CA file holds no certificate")
		}
	}
	return c, nil
}

// roots are the authorities that may have signed the certificates of this edge's
// tunnels, nil for the system's.
func (r *reach) roots() *x509.CertPool {
	if r.CA == "" {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM([]byte(r.CA)) // that it holds one was seen when the edge was reached
	return pool
}

// alive reports whether an edge that lives in another process still does.
func (r *reach) alive() bool {
	if r.Process == 0 {
		return true
	}
	c, err := net.DialTimeout("tcp", r.Edge, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// embedded reports whether the edge lives in another lrok and ends with it.
func (r *reach) embedded() bool { return r.Process != 0 && r.Local && !isLogin(r) }

// api returns a client of the edge's API, through its control port. When
// several lroks on this machine run an edge, it is the one that has the tunnel
// called name.
func (o *options) api(ctx context.Context, name string) (*client.Client, func(), error) {
	r, err := o.reachOf(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	return o.apiOf(ctx, r)
}

// reachOf is findReach for a tunnel.
func (o *options) reachOf(ctx context.Context, name string) (*reach, error) {
	r, err := o.findReach()
	if err != nil || name == "" || r.Process == 0 || isLogin(r) {
		return r, err
	}
	for _, other := range runningEdges() {
		api, done, err := o.apiOf(ctx, other)
		if err != nil {
			continue
		}
		_, err = pickTunnel(ctx, api, name)
		done()
		if err == nil {
			return other, nil
		}
	}
	return r, nil
}

func (o *options) apiOf(ctx context.Context, r *reach) (*client.Client, func(), error) {
	config, err := r.tls()
	if err != nil {
		return nil, nil, err
	}
	c, err := client.DialControl(ctx, client.ControlConfig{Edge: r.Edge, TLS: config, Key: r.Key, Software: software(), Logger: o.logger()})
	if err != nil {
		return nil, nil, unreachable(r, err)
	}
	return c.Client(), func() { _ = c.Close() }, nil
}

// unreachable explains a failure to get to the edge at all; what the edge said
// itself stays as it is.
func unreachable(r *reach, err error) error {
	if e := (*tunnel.Error)(nil); errors.As(err, &e) && e.Code == tunnel.CodeKey {
		return refusedKey(r, e)
	}
	if errors.As(err, new(*tunnel.Error)) || errors.Is(err, context.Canceled) {
		return err
	}
	e := &tunnel.Error{
		Code:    codeUnreachable,
		Message: fmt.Sprintf("cannot reach the edge at %s: %s", r.Edge, strings.TrimPrefix(strings.TrimPrefix(err.Error(), "reach the edge at "+r.Edge+": "), "reach the edge: ")),
		Hint:    "is it running, and is its control port open? lrok speaks TLS to port 7000 unless told otherwise",
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		e.Hint = "if the edge uses its development CA, give it with --edge-ca ca.pem (it is in the edge's data directory), or log in with its fingerprint: lrok login " + r.Edge
	case errors.As(err, &name):
		e.Hint = "use the name that the edge's certificate is for"
	}
	return e
}

// refusedKey adds to an edge's refusal which key and which edge it is about, and
// how to use another one.
func refusedKey(r *reach, e *tunnel.Error) error {
	out := *e
	about := "edge " + r.Edge
	if len(r.Key) > 12 && !strings.Contains(e.Message, r.Key[:9]) {
		about = "key " + r.Key[:9] + "…, " + about // as much as lists of keys show
	}
	out.Message += " (" + about + ")"
	login := "for another key: lrok login " + r.Edge
	if out.Hint = login; e.Hint != "" && !strings.Contains(e.Hint, "lrok login") {
		out.Hint = e.Hint + "; " + login
	}
	return &out
}

func (o *options) logger() *slog.Logger {
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(o.stderr, &slog.HandlerOptions{Level: level}))
}

// The login of this user, and the edges that run inside other processes, are
// files that only the user can read.

func loginPath() (string, error) {
	dir, err := configDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "login.json"), nil
}

// readLogin returns the stored login, or nil.
func readLogin() (*reach, error) {
	path, err := loginPath()
	if err != nil {
		return nil, nil //nolint:nilerr // no home, no login
	}
	r, err := readReach(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return r, err
}

func readReach(path string) (*reach, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err == nil && os.PathSeparator == '/' && st.Mode().Perm()&0o077 != 0 {
		return nil, usage("%s can be read by others: chmod 600 it", path)
	}
	r := &reach{from: path}
	if err := json.NewDecoder(f).Decode(r); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// write puts r into a file of mode 0600 at path, in one step.
func (r *reach) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make %s: %w", filepath.Dir(path), err)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".lrok-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// runtimeDir holds a file for each edge that runs inside a lrok.
func runtimeDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "lrok")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("lrok-%d", os.Getuid()))
}

// runningEdges are the edges inside other processes that answer, newest first.
func runningEdges() []*reach {
	dir := runtimeDir()
	if !private(dir) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	type found struct {
		r    *reach
		when time.Time
	}
	var all []found
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		r, err := readReach(path)
		if err != nil {
			continue
		}
		if !r.alive() {
			_ = os.Remove(path) // its process ended without saying goodbye
			continue
		}
		all = append(all, found{r, info.ModTime()})
	}
	slices.SortFunc(all, func(a, b found) int { return b.when.Compare(a.when) })
	var out []*reach
	for _, f := range all {
		out = append(out, f.r)
	}
	return out
}

// announce leaves a file that lets other lroks of this user find an edge of
// this process. The returned function takes it away.
func announce(e *edge.Edge, local bool) (*reach, func(), error) {
	key, _ := e.AdminKey()
	r := &reach{Edge: e.ControlAddr(), CA: string(e.CA()), Key: key, Process: os.Getpid(), Local: local}
	dir := runtimeDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, nil, fmt.Errorf("make %s: %w", dir, err)
	}
	if !private(dir) {
		return r, nil, fmt.Errorf("%s belongs to somebody else or can be read by others", dir)
	}
	path := filepath.Join(dir, fmt.Sprintf("edge-%d.json", os.Getpid()))
	if err := r.write(path); err != nil {
		return r, nil, err
	}
	return r, func() { _ = os.Remove(path) }, nil
}

// runningFile is in the data directory of an edge while it runs.
const runningFile = "running.json"

// writeRunning leaves in the data directory how processes of this machine reach
// the edge that runs on it, with a key that works while it runs and for nobody
// else: lrok admin needs it for what only the edge knows. The returned function
// takes the file away.
func writeRunning(dir string, e *edge.Edge) (remove func(), err error) {
	name, ca := e.LocalName()
	r := &reach{
		Edge: loopback(e.ControlAddr()), CA: string(ca), Key: e.LocalKey(),
		Name: name, Process: os.Getpid(),
	}
	path := filepath.Join(dir, runningFile)
	if err := r.write(path); err != nil {
		return nil, err
	}
	return func() {
		if now, err := readReach(path); err == nil && now.Process == r.Process {
			_ = os.Remove(path)
		}
	}, nil
}

// readRunning returns how to reach the edge that runs on the data directory
// dir, or nil when none does.
func readRunning(dir string) (*reach, error) {
	r, err := readReach(filepath.Join(dir, runningFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !r.alive() {
		return nil, err
	}
	return r, nil
}

// loopback is addr as this machine reaches it: a listener on every address is
// one on 127.0.0.1 as well.
func loopback(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return addr
	}
	return net.JoinHostPort("127.0.0.1", port)
}
