package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// visited are the names that the visitors of a crowd ask for, with the name that
// the certificate must have among its own.
var visited = []struct{ ask, has string }{
	{"lrok.test", "lrok.test"},
	{"shop.lrok.test", "*.lrok.test"},
	{"tunnel.lrok.test", "tunnel.lrok.test"},
	{"api.lrok.test", "api.lrok.test"},
	{"xn--bcher-kva.lrok.test", "xn--bcher-kva.lrok.test"},
}

// A crowd makes TLS handshakes without a pause, one visitor a name, and fails the
// test for each that fails or shows a certificate that is not one of those of
// that name.
type crowd struct {
	t       *testing.T
	addr    string
	pool    *x509.CertPool
	allowed map[string]map[[sha256.Size]byte]bool // by the name that is asked for
	count   atomic.Int64

	mu   sync.Mutex
	last map[string]*x509.Certificate
}

// gather starts a crowd before s, which stays until the test ends.
func gather(t *testing.T, s Source, fixtures ...string) *crowd {
	t.Helper()
	c := &crowd{t: t, pool: acmeRoots(t), allowed: make(map[string]map[[sha256.Size]byte]bool), last: make(map[string]*x509.Certificate)}
	for _, name := range fixtures {
		r, err := traefik{path: name}.parse([]file{{data: fixture(t, name)}})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range visited {
			if c.allowed[v.ask] == nil {
				c.allowed[v.ask] = make(map[[sha256.Size]byte]bool)
			}
			for _, e := range r.entries {
				if slices.Contains(e.names, v.has) {
					c.allowed[v.ask][e.print] = true
				}
			}
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = ln.Addr().String()
	cfg := Config(s)
	cfg.SessionTicketsDisabled = true
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				_ = tls.Server(conn, cfg).Handshake()
			})
		}
	})
	stop := make(chan struct{})
	var visitors sync.WaitGroup
	for _, v := range visited {
		visitors.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !c.visit(v.ask) {
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		for !t.Failed() && c.count.Load() < 20 { // or the visit was too short
			time.Sleep(time.Millisecond)
		}
		close(stop)
		visitors.Wait()
		_ = ln.Close()
		wg.Wait()
	})
	return c
}

func (c *crowd) visit(name string) bool {
	d := &net.Dialer{Timeout: patience}
	conn, err := tls.DialWithDialer(d, "tcp", c.addr, &tls.Config{
		ServerName: name, RootCAs: c.pool, Time: func() time.Time { return issuedAt },
	})
	if err != nil {
		c.t.Errorf("handshake as %s: %v", name, err)
		return false
	}
	defer conn.Close()
	leaf := conn.ConnectionState().PeerCertificates[0]
	if !c.allowed[name][sha256.Sum256(leaf.Raw)] {
		c.t.Errorf("%s was shown a certificate of %v, want one of its own", name, leaf.DNSNames)
		return false
	}
	c.count.Add(1)
	c.mu.Lock()
	c.last[name] = leaf
	c.mu.Unlock()
	return true
}

// sees waits until all visitors are shown certificates of one file.
func (c *crowd) sees(name string) {
	c.t.Helper()
	r, err := traefik{path: name}.parse([]file{{data: fixture(c.t, name)}})
	if err != nil {
		c.t.Fatal(err)
	}
	want := newSet(r.entries)
	eventually(c.t, "visitors see "+name, func() bool {
		if c.t.Failed() {
			c.t.FailNow()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, v := range visited {
			if leaf := c.last[v.ask]; leaf == nil || !want.prints[sha256.Sum256(leaf.Raw)] {
				return false
			}
		}
		return true
	})
}

// stay lets n more handshakes happen.
func (c *crowd) stay(n int64) {
	c.t.Helper()
	until := c.count.Load() + n
	eventually(c.t, "more handshakes", func() bool {
		if c.t.Failed() {
			c.t.FailNow()
		}
		return c.count.Load() >= until
	})
}

const (
	older = "real-v3-before-renewal.json"
	newer = "real-v3-after-renewal.json"
)

// rename puts a file in place in one step.
func rename(t *testing.T, path string, data []byte) {
	t.Helper()
	write(t, path+".tmp", data)
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

// relink makes path a link to target in one step.
func relink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ready starts a source on a file and a crowd before it.
func ready(t *testing.T, path string, p pace) (*Traefik, *crowd) {
	t.Helper()
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }, pace: p})
	run(t, s)
	return s, gather(t, s, older, newer)
}

// TestFollowRewrites is what Traefik does, without a pause: it truncates its
// file and writes it again.
func TestFollowRewrites(t *testing.T) {
	for _, test := range []struct {
		name string
		pace pace
	}{
		{"at its own pace", pace{}},
		{"in a hurry", pace{poll: time.Millisecond, coalesce: time.Millisecond, settle: time.Millisecond, retry: []time.Duration{time.Millisecond}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "acme.json")
			write(t, path, fixture(t, older))
			_, c := ready(t, path, test.pace)
			versions := [][]byte{fixture(t, older), fixture(t, newer)}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			stop := time.After(3 * time.Second)
			writes := 0
			for running := true; running; writes++ {
				data := versions[writes%2]
				half := len(data) / 2
				if err := f.Truncate(0); err != nil {
					t.Fatal(err)
				}
				for _, part := range []struct {
					at   int
					data []byte
				}{{0, data[:half]}, {half, data[half:]}} {
					if _, err := f.WriteAt(part.data, int64(part.at)); err != nil {
						t.Fatal(err)
					}
				}
				select {
				case <-tick.C:
				case <-stop:
					running = false
				}
			}
			// The last word counts.
			write(t, path, fixture(t, newer))
			c.sees(newer)
			t.Logf("%d handshakes during %d writes", c.count.Load(), writes)
		})
	}
}

func TestFollowRename(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, older))
	_, c := ready(t, path, pace{poll: time.Hour})
	c.sees(older)
	for range 2 {
		rename(t, path, fixture(t, newer))
		c.sees(newer)
		rename(t, path, fixture(t, older))
		c.sees(older)
	}
}

// TestFollowLinks is about a chain of links, of which each is led elsewhere.
func TestFollowLinks(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // links take a privilege there
	}
	root := t.TempDir()
	a, b, one, two := mkdir(t, root+"/a"), mkdir(t, root+"/b"), mkdir(t, root+"/one"), mkdir(t, root+"/two")
	write(t, one+"/old.json", fixture(t, older))
	write(t, one+"/new.json", fixture(t, newer))
	write(t, two+"/new.json", fixture(t, newer))
	write(t, two+"/old.json", fixture(t, older))
	relink(t, one, b+"/dir")
	relink(t, "dir/old.json", b+"/second.json")
	relink(t, "../b/second.json", a+"/acme.json")
	_, c := ready(t, a+"/acme.json", pace{poll: time.Hour})
	c.sees(older)
	relink(t, "dir/new.json", b+"/second.json") // a link in the middle
	c.sees(newer)
	relink(t, one+"/old.json", a+"/acme.json") // the first
	c.sees(older)
	relink(t, b+"/dir/new.json", a+"/acme.json")
	c.sees(newer)
	write(t, two+"/new.json", fixture(t, older))
	relink(t, two, b+"/dir") // a directory on the way
	c.sees(older)
	rename(t, two+"/new.json", fixture(t, newer)) // the target
	c.sees(newer)
}

// TestFollowKubernetes swaps the link ..data, as a kubelet does.
func TestFollowKubernetes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // links take a privilege there
	}
	dir := t.TempDir()
	publish := func(n int, name string) {
		at := fmt.Sprintf("..2026_%d", n)
		write(t, filepath.Join(mkdir(t, filepath.Join(dir, at)), "acme.json"), fixture(t, name))
		relink(t, at, filepath.Join(dir, "..data"))
		if n > 0 {
			if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%d", n-1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(0, older)
	relink(t, "..data/acme.json", filepath.Join(dir, "acme.json"))
	_, c := ready(t, filepath.Join(dir, "acme.json"), pace{poll: time.Hour})
	c.sees(older)
	for n := range 4 {
		name := newer
		if n%2 == 1 {
			name = older
		}
		publish(n+1, name)
		c.sees(name)
	}
}

// TestFollowWithoutEvents is a network file system: only looking helps.
func TestFollowWithoutEvents(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, older))
	s, c := ready(t, path, pace{poll: 20 * time.Millisecond, coalesce: time.Hour})
	c.sees(older)
	write(t, path, fixture(t, newer))
	c.sees(newer)
	rename(t, path, fixture(t, older))
	c.sees(older)
	rename(t, path, fixture(t, newer))
	c.sees(newer)
	if p := s.Status().Problems; len(p) != 0 {
		t.Errorf("problems = %q, want none", p)
	}
}

// TestLookAtYoungFile is about a change that leaves size, time and inode as they
// were. Clocks of file systems are coarse: a young file is read to be sure.
func TestLookAtYoungFile(t *testing.T) {
	for _, test := range []struct {
		age  time.Duration
		seen bool
	}{{0, true}, {time.Hour, false}} {
		path := filepath.Join(t.TempDir(), "acme.json")
		at := time.Now().Add(-test.age)
		put := func(data []byte) {
			write(t, path, data)
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		put(fixture(t, older))
		s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }})
		first := served(t, s, "lrok.test")
		data := fixture(t, newer)
		put(append(data, bytes.Repeat([]byte("\n"), len(fixture(t, older))-len(data))...))
		s.look(false)
		if seen := !served(t, s, "lrok.test").Equal(first); seen != test.seen {
			t.Errorf("file %v old: change seen = %v, want %v", test.age, seen, test.seen)
		}
	}
}

// TestFollowReplacedDirectory puts another directory in place at once, so that
// there is no moment without one.
func TestFollowReplacedDirectory(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // a directory that is watched cannot be renamed there
	}
	root := t.TempDir()
	dir, next := mkdir(t, root+"/dir"), mkdir(t, root+"/next")
	path := filepath.Join(dir, "acme.json")
	write(t, path, fixture(t, older))
	write(t, next+"/acme.json", fixture(t, newer))
	_, c := ready(t, path, pace{poll: time.Hour})
	c.sees(older)
	for _, r := range [][2]string{{dir, root + "/away"}, {next, dir}} {
		if err := os.Rename(r[0], r[1]); err != nil {
			t.Fatal(err)
		}
	}
	c.sees(newer)
	rename(t, path, fixture(t, older)) // in the new directory
	c.sees(older)
}

// TestFollowLoss takes the file away in each way, and gives it back.
func TestFollowLoss(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(t *testing.T, path string)
		back func(t *testing.T, path string)
		says string
	}{
		{
			name: "deleted", says: "no such file",
			lose: func(t *testing.T, path string) { remove(t, path) },
		},
		{
			name: "a directory in its place", says: "it is a directory",
			lose: func(t *testing.T, path string) { remove(t, path); mkdir(t, path) },
			back: remove,
		},
		{
			name: "a link to nothing", says: "no such file",
			lose: func(t *testing.T, path string) { relink(t, "/absent/acme.json", path) },
			back: remove,
		},
		{
			name: "a circle of links", says: "too many",
			lose: func(t *testing.T, path string) { relink(t, filepath.Base(path), path) },
			back: remove,
		},
		{
			name: "without permission", says: "permission denied",
			lose: func(t *testing.T, path string) {
				if err := os.Chmod(path, 0); err != nil {
					t.Fatal(err)
				}
			},
			back: remove,
		},
		{
			name: "empty", says: "it is empty",
			lose: func(t *testing.T, path string) { write(t, path, nil) },
		},
		{
			name: "half", says: "only the beginning",
			lose: func(t *testing.T, path string) { write(t, path, fixture(t, "derived-truncated.json")) },
		},
		{
			name: "its directory moved away", says: "no such file",
			lose: func(t *testing.T, path string) {
				if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+".away"); err != nil {
					t.Fatal(err)
				}
			},
			back: func(t *testing.T, path string) { mkdir(t, filepath.Dir(path)) },
		},
		{
			name: "its directories deleted", says: "no such file",
			lose: func(t *testing.T, path string) {
				if err := os.RemoveAll(filepath.Dir(filepath.Dir(path))); err != nil {
					t.Fatal(err)
				}
			},
			back: func(t *testing.T, path string) { mkdir(t, filepath.Dir(path)) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" && !slices.Contains([]string{"deleted", "empty", "half"}, test.name) {
				return // there are no modes, and links take a privilege
			}
			if test.name == "without permission" && os.Getuid() == 0 {
				return // root may read it; a directory in its place is the case for root
			}
			path := filepath.Join(mkdir(t, t.TempDir()+"/x/y"), "acme.json")
			write(t, path, fixture(t, older))
			p := hurried
			p.poll = time.Hour // events must do
			s, c := ready(t, path, p)
			c.sees(older)
			for range 2 {
				test.lose(t, path)
				eventually(t, "a problem is told", func() bool {
					return strings.Contains(strings.Join(s.Status().Problems, "\n"), test.says)
				})
				c.stay(20)
				if test.back != nil {
					test.back(t, path)
				}
				write(t, path, fixture(t, newer))
				c.sees(newer)
				write(t, path, fixture(t, older))
				c.sees(older)
				if got := strings.Join(s.Status().Problems, "\n"); strings.Contains(got, test.says) {
					t.Errorf("problems after it came back: %s", got)
				}
				if err := os.RemoveAll(filepath.Dir(path) + ".away"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestFollowLateDirectory starts before there is anything to read.
func TestFollowLateDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "c", "acme.json")
	p := hurried
	p.poll = time.Hour
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }, pace: p})
	run(t, s)
	if got := served(t, s, "lrok.test"); got != nil {
		t.Errorf("a certificate of %v without a file", got.DNSNames)
	}
	mkdir(t, filepath.Dir(path))
	write(t, path, nil)
	eventually(t, "the file is seen to be empty", func() bool {
		return strings.Contains(strings.Join(s.Status().Problems, "\n"), "it is empty")
	})
	write(t, path, fixture(t, newer))
	eventually(t, "a certificate is served", func() bool { return served(t, s, "lrok.test") != nil })
}

// TestFollowDropsNames lets the 10 s pass, which are shorter here, without
// another event.
func TestFollowDropsNames(t *testing.T) {
	t.Parallel()
	p := hurried
	p.poll, p.stable = time.Hour, 100*time.Millisecond
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, newer))
	s := NewTraefik(path, Options{pace: p})
	run(t, s)
	write(t, path, fixture(t, "real-v3-single.json"))
	eventually(t, "names are dropped", func() bool { return slices.Equal(names(s), []string{"tunnel.lrok.test"}) })
	// The same when the change is found by a forced reload.
	write(t, path, fixture(t, newer))
	reload(t, s)
	write(t, path, fixture(t, "real-v3-single.json"))
	reload(t, s)
	eventually(t, "names are dropped", func() bool { return slices.Equal(names(s), []string{"tunnel.lrok.test"}) })
}

// TestFollowLostEvents is about the system's word that events were lost: the
// file is read at once, though nothing else speaks for a change.
func TestFollowLostEvents(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, older))
	old := time.Now().Add(-time.Hour)
	age := func() {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	age()
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }, pace: pace{poll: time.Hour}})
	first := served(t, s, "lrok.test")
	lost := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.follow(ctx, &watch{errors: lost})
	}()
	lost <- fsnotify.ErrEventOverflow
	// As large and as old as before.
	data := fixture(t, newer)
	write(t, path, append(data, bytes.Repeat([]byte("\n"), len(fixture(t, older))-len(data))...))
	age()
	lost <- fsnotify.ErrEventOverflow
	eventually(t, "the new file is read", func() bool { return !served(t, s, "lrok.test").Equal(first) })
	cancel()
	<-done
}

// TestReloadWhileRunning calls everything at once, for the race detector.
func TestReloadWhileRunning(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, newer))
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }, pace: hurried})
	both := Join(s, NewDir(filepath.Join(t.TempDir(), "absent"), Options{Now: s.now}))
	run(t, both)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := range 50 {
				switch i {
				case 0:
					_, _ = both.Reload()
				case 1:
					_ = both.Status().Covers("lrok.test")
				case 2:
					rename(t, path, fixture(t, []string{older, newer}[n%2]))
				}
				if served(t, both, "shop.lrok.test") == nil {
					t.Error("no certificate for shop.lrok.test")
				}
			}
		})
	}
	wg.Wait()
}
