package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFindTies is about what comes after those of TestFindPrefers: the key's
// kind, and then always the same one.
func TestFindTies(t *testing.T) {
	a := newAuthority(t, issuedAt)
	rsa, ec, ec2 := a.entry("rsa", "a.test"), a.entry("ecdsa", "a.test"), a.entry("ecdsa", "a.test")
	for _, test := range []struct {
		entries []*entry
		schemes []tls.SignatureScheme
		want    []*entry // any of these
	}{
		{[]*entry{rsa, ec}, allSchemes, []*entry{ec}},
		{[]*entry{ec, rsa}, allSchemes, []*entry{ec}},
		{[]*entry{ec, rsa}, []tls.SignatureScheme{tls.PSSWithSHA256}, []*entry{rsa}},
		{[]*entry{ec, ec2}, allSchemes, []*entry{ec, ec2}},
		{[]*entry{rsa}, ecdsaSchemes, nil},
	} {
		hello := helloFor("a.test")
		hello.SignatureSchemes = test.schemes
		got, err := newSet(test.entries).find(hello, issuedAt)
		slices.Reverse(test.entries)
		again, _ := newSet(test.entries).find(hello, issuedAt)
		if got != again {
			t.Errorf("the order of the set decides between %v and %v", got.Leaf.PublicKeyAlgorithm, again.Leaf.PublicKeyAlgorithm)
		}
		if (err != nil) != (len(test.want) == 0) || err == nil && !slices.ContainsFunc(test.want, func(e *entry) bool { return e.cert == got }) {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// connTo has only a local address.
type connTo struct {
	net.Conn
	addr net.Addr
}

func (c connTo) LocalAddr() net.Addr { return c.addr }

// TestFindNameless is about clients that say no name: a certificate of the
// address, or the only one there is, and otherwise none.
func TestFindNameless(t *testing.T) {
	a := newAuthority(t, issuedAt)
	one, renewed, rsa := a.entry("ecdsa", "tunnel.test"), a.entry("ecdsa", "tunnel.test"), a.entry("rsa", "tunnel.test")
	other, addressed := a.entry("ecdsa", "other.test"), a.entry("ecdsa", "192.0.2.1")
	for _, test := range []struct {
		name    string
		entries []*entry
		to      string
		want    []*entry
	}{
		{"the only one", []*entry{one}, "192.0.2.9", []*entry{one}},
		{"several of one name", []*entry{one, renewed, rsa}, "192.0.2.9", []*entry{one, renewed}},
		{"two names", []*entry{one, other}, "192.0.2.9", nil},
		{"the address's", []*entry{one, other, addressed}, "192.0.2.1", []*entry{addressed}},
		{"another address's", []*entry{one, addressed}, "192.0.2.2", nil},
		{"none at all", nil, "192.0.2.1", nil},
	} {
		hello := helloFor("")
		hello.Conn = connTo{addr: &net.TCPAddr{IP: net.ParseIP(test.to), Port: 443}}
		got, err := newSet(test.entries).find(hello, issuedAt)
		if len(test.want) == 0 {
			if !errors.Is(err, ErrNoCertificate) {
				t.Errorf("%s: %v, %v, want ErrNoCertificate", test.name, got, err)
			}
		} else if !slices.ContainsFunc(test.want, func(e *entry) bool { return e.cert == got }) {
			t.Errorf("%s: got %v, %v", test.name, got, err)
		}
	}
}

// fixedReader says always the same.
type fixedReader struct {
	entries []*entry
	err     error
}

func (f *fixedReader) list() (listing, error) { return listing{}, f.err }

func (f *fixedReader) parse([]file) (reading, error) { return reading{entries: f.entries}, nil }

func fixed(t *testing.T, now func() time.Time, entries ...*entry) (*keeper, *fixedReader) {
	t.Helper()
	r := &fixedReader{entries: entries}
	k := newKeeper(r, "fixed", Options{Now: now})
	reload(t, k)
	return k, r
}

func TestJoin(t *testing.T) {
	begin := time.Now() // which is what the development CA goes by
	now := func() time.Time { return begin.Add(time.Hour) }
	a := newAuthority(t, begin)
	short := a.entry("ecdsa", "a.test", "b.test")
	wild := a.entry("ecdsa", "*.c.test")
	a.end = a.end.Add(24 * time.Hour)
	long := a.entry("ecdsa", "a.test")
	k1, _ := fixed(t, now, short, wild)
	k2, r2 := fixed(t, now, long)
	if Join(k1) != Source(k1) {
		t.Error("Join of one source is another")
	}
	dev, err := OpenDev(t.TempDir(), "dev.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	j := Join(k1, k2, dev)
	for _, test := range []struct {
		name string
		want *entry
	}{{"a.test", long}, {"b.test", short}, {"x.c.test", wild}, {"x.x.test", nil}, {"", nil}} {
		c, err := j.Certificate(helloFor(test.name))
		if test.want == nil && !errors.Is(err, ErrNoCertificate) || test.want != nil && c != test.want.cert {
			t.Errorf("%q: got %v, %v", test.name, c, err)
		}
	}
	if c, err := j.Certificate(helloFor("x.dev.test")); err != nil || !slices.Contains(c.Leaf.DNSNames, "*.dev.test") {
		t.Errorf("x.dev.test: %v, %v, want the development CA's", c, err)
	}
	// The join follows its parts.
	a.end = a.end.Add(24 * time.Hour)
	longer := a.entry("ecdsa", "a.test")
	r2.entries = []*entry{longer}
	k2.sum[0]++ // the reader has no files to be told apart by
	if changed, err := j.Reload(); !changed || err != nil {
		t.Errorf("Reload = %v, %v, want true", changed, err)
	}
	if c, _ := j.Certificate(helloFor("a.test")); c != longer.cert {
		t.Error("the renewed certificate is not served")
	}
	r2.err = os.ErrPermission
	if _, err := j.Reload(); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Reload = %v, want %v", err, os.ErrPermission)
	}
	st := j.Status()
	if len(st.Certificates) != 4 || len(st.Problems) != 1 {
		t.Errorf("status: %d certificates, problems %q, want 4 and one", len(st.Certificates), st.Problems)
	}
	for name, want := range map[string]bool{"a.test": true, "A.test.": true, "x.c.test": true, "*.c.test": true, "c.test": false, "a.b.c.test": false, "*.a.test": false, "*.dev.test": true, "tcp.dev.test": true, "": false} {
		if got := st.Covers(name); got != want {
			t.Errorf("Covers(%q) = %v, want %v", name, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- j.Run(ctx) }()
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestCoversNotExpired(t *testing.T) {
	c := &clock{t: issuedAt.Add(time.Hour)}
	a := newAuthority(t, issuedAt)
	k, _ := fixed(t, c.now, a.entry("ecdsa", "a.test"))
	if !k.Status().Covers("a.test") {
		t.Error("Covers = false before the end, want true")
	}
	c.add(91 * 24 * time.Hour)
	if k.Status().Covers("a.test") {
		t.Error("Covers = true after the end, want false")
	}
	c.add(-92 * 24 * time.Hour)
	if k.Status().Covers("a.test") {
		t.Error("Covers = true before the beginning, want false")
	}
}

// TestExpiry follows a certificate to its end.
func TestExpiry(t *testing.T) {
	a := newAuthority(t, issuedAt)
	old := a.entry("ecdsa", "a.test", "old.test")
	a.end = a.end.Add(30 * 24 * time.Hour)
	next, wild, oldNext := a.entry("ecdsa", "a.test"), a.entry("ecdsa", "*.test"), a.entry("ecdsa", "old.test")
	day := 24 * time.Hour
	for _, test := range []struct {
		name   string
		set    []*entry
		others []*set
		left   time.Duration
		level  string // empty: nothing is said
	}{
		{"sixteen days", []*entry{old}, nil, 16 * day, ""},
		{"thirteen days", []*entry{old}, nil, 13 * day, "WARN"},
		{"two days", []*entry{old}, nil, 2 * day, "ERROR"},
		{"over", []*entry{old}, nil, -day, "ERROR"},
		{"one name is renewed", []*entry{old, next}, nil, 13 * day, "WARN"},
		{"both are", []*entry{old, next, oldNext}, nil, 13 * day, ""},
		{"a wildcard stays", []*entry{old, wild}, nil, 13 * day, ""},
		{"another source has them", []*entry{old}, []*set{newSet([]*entry{next, oldNext})}, 13 * day, ""},
	} {
		var log journal
		now := old.cert.Leaf.NotAfter.Add(-test.left)
		al := alarm{log: log.logger()}
		for range 23 * 60 * 2 { // each poll of most of a day
			al.check(newSet(test.set), test.others, now)
			now = now.Add(30 * time.Second)
		}
		lines := strings.Count(log.String(), "\n")
		if test.level == "" && lines != 0 || test.level != "" && (lines != 1 || !strings.Contains(log.String(), "level="+test.level)) {
			t.Errorf("%s: said %q, want one line of level %q", test.name, &log, test.level)
		}
		al.check(newSet(test.set), test.others, now.Add(2*time.Hour))
		if got := strings.Count(log.String(), "\n"); got != 2*lines {
			t.Errorf("%s: %d lines a day later, want %d", test.name, got, 2*lines)
		}
	}
}

// TestExpiryIsLogged holds that a running source looks at the dates.
func TestExpiryIsLogged(t *testing.T) {
	t.Parallel()
	var log journal
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, older))
	c := &clock{t: issuedAt}
	run(t, NewTraefik(path, Options{Now: c.now, Logger: log.logger(), pace: hurried}))
	said := func(level string) func() bool {
		return func() bool {
			return strings.Count(log.String(), "level="+level+" msg=\"the certificate for xn--bcher-kva.lrok.test expire") == 1
		}
	}
	eventually(t, "a warning", said("WARN"))
	c.add(3 * 24 * time.Hour)
	eventually(t, "an error", said("ERROR"))
	c.add(3 * 24 * time.Hour)
	eventually(t, "an error that it is over", func() bool { return strings.Contains(log.String(), "xn--bcher-kva.lrok.test expired on") })
}

// TestRetries holds when a file that cannot be read is tried again, and that a
// file that moves again starts anew.
func TestRetries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acme.json")
	k := newKeeper(traefik{path, mountTable}, path, Options{})
	ms := time.Millisecond
	tries := func(waits ...time.Duration) {
		t.Helper()
		for i, want := range waits {
			began := time.Now()
			_, _ = k.read()
			read := time.Now()
			if want == 0 {
				if !k.due.IsZero() || k.settled {
					t.Errorf("try %d: due in %v, settled %v, want it at the next poll", i+1, time.Until(k.due), k.settled)
				}
			} else if k.due.Before(began.Add(want)) || k.due.After(read.Add(want)) {
				t.Errorf("try %d: due %v after the reading began, want %v after it", i+1, k.due.Sub(began), want)
			}
		}
	}
	schedule := []time.Duration{100 * ms, 250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 5000 * ms, 0, 0}
	tries(schedule...)
	write(t, path, nil)
	tries(schedule...)
	write(t, path, []byte("{}"))
	_, _ = k.read()
	write(t, path, fixture(t, newer))
	_, _ = k.read()
	if !k.due.IsZero() {
		t.Errorf("another reading of a good file is due in %v, want none", time.Until(k.due))
	}
}

// TestReadSettled reads a file that never is what its size says.
func TestReadSettled(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // there is no such file
	}
	started := time.Now()
	_, err := readSettled("/proc/self/status", maxPEM, 10*time.Millisecond)
	if !errors.Is(err, errMoving) {
		t.Errorf("readSettled = %v, want %v", err, errMoving)
	}
	if took := time.Since(started); took < 40*time.Millisecond {
		t.Errorf("it gave up after %v, want four pauses of 10 ms", took)
	}
}

func TestFindMount(t *testing.T) {
	table := []byte(`22 1 0:21 / / rw,relatime - overlay overlay rw
23 22 0:22 / /proc rw,nosuid - proc proc rw
31 22 8:1 /srv/traefik/acme.json /data/acme.json ro,relatime master:1 - ext4 /dev/sda1 rw
32 22 8:1 /srv/old/acme.json//deleted /dead/acme.json ro,relatime - ext4 /dev/sda1 rw
33 22 8:1 /srv/with\040space/a.json /with\040space/a\134b.json ro - ext4 /dev/sda1 rw
34 22 8:1 /srv/traefik /dir ro - ext4 /dev/sda1 rw
35 22 8:1 /srv/x//deleted /twice.json ro - ext4 /dev/sda1 rw
36 35 8:1 /srv/y /twice.json ro - ext4 /dev/sda1 rw
short line

`)
	for _, test := range []struct {
		path    string
		ok      bool
		deleted bool
	}{
		{"/data/acme.json", true, false},
		{"/dead/acme.json", true, true},
		{`/with space/a\b.json`, true, false},
		{"/dir/acme.json", false, false},
		{"/data/acme", false, false},
		{"/twice.json", true, false},
		{"", false, false},
	} {
		m, ok := findMount(table, test.path)
		if ok != test.ok || m.deleted != test.deleted {
			t.Errorf("findMount(%q) = %+v, %v, want deleted %v, %v", test.path, m, ok, test.deleted, test.ok)
		}
	}
}

func FuzzFindMount(f *testing.F) {
	f.Add([]byte("31 22 8:1 /a /data/acme.json ro - ext4 /dev/sda1 rw\n"), "/data/acme.json")
	f.Add([]byte(`1 2 3 //deleted \04 \999 \1`), `\04`)
	f.Fuzz(func(t *testing.T, table []byte, path string) {
		if _, ok := findMount(table, path); ok && path == "" {
			t.Error("a mount point without a name")
		}
	})
}

// BenchmarkCertificate finds one of thousands of certificates for a handshake.
func BenchmarkCertificate(b *testing.B) {
	a := newAuthority(b, issuedAt)
	_, chain, key := a.issue("ecdsa", "a.test", "*.wild.test")
	c, err := pair(chain, key)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 10_000} {
		entries := []*entry{newEntry(c, "", "")}
		for i := range n - 1 {
			e := *entries[0]
			e.print[0], e.print[1], e.names = byte(i), byte(i>>8), []string{fmt.Sprintf("h%d.test", i)}
			entries = append(entries, &e)
		}
		s := newSet(entries)
		for _, name := range []string{"a.test", "shop.wild.test", "none.test"} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				hello := helloFor(name)
				b.ReportAllocs()
				for b.Loop() {
					_, _ = s.find(hello, issuedAt)
				}
			})
		}
	}
}
