package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
)

// issuedAt is a day on which all certificates of testdata/acme are valid, and
// later one on which those from before the renewal are over.
var (
	issuedAt = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	later    = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "acme", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// acmeRoots is the authority that issued testdata/acme.
func acmeRoots(t testing.TB) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(fixture(t, "issuer-root.pem")) {
		t.Fatal("issuer-root.pem holds no certificate")
	}
	return pool
}

// A clock is set by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A journal is a log to be read.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// hurried is a pace for tests that wait.
var hurried = pace{
	poll: 50 * time.Millisecond, coalesce: 5 * time.Millisecond, settle: time.Millisecond, stable: 10 * time.Second,
	retry: []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond},
}

// run runs a source until the test ends.
func run(t *testing.T, s Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

// reload is Reload that must succeed.
func reload(t *testing.T, s Source) (changed bool) {
	t.Helper()
	changed, err := s.Reload()
	if err != nil {
		t.Fatalf("Reload: %v", err)
	}
	return changed
}

// patience is how long a test waits for what must come: a busy machine is slow, and
// what does not come at all fails a little later.
const patience = 30 * time.Second

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not after %v: %s", patience, what)
		}
	}
}

// names are those of all certificates that a source serves.
func names(s Source) []string {
	var all []string
	for _, c := range s.Status().Certificates {
		all = append(all, c.Names...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// What clients can check.
var (
	ecdsaSchemes = []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}
	allSchemes   = []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256, tls.Ed25519}
)

func helloFor(name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: name, SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: allSchemes}
}

// served is the leaf that a client who asks for name gets, nil for none.
func served(t *testing.T, s Source, name string) *x509.Certificate {
	t.Helper()
	c, err := s.Certificate(helloFor(name))
	switch {
	case errors.Is(err, ErrNoCertificate):
		return nil
	case err != nil:
		t.Fatalf("Certificate(%s): %v", name, err)
	}
	return c.Leaf
}

var allNames = []string{"*.lrok.test", "api.lrok.test", "lrok.test", "tunnel.lrok.test", "xn--bcher-kva.lrok.test"}

// TestTraefikFixtures has a case for each row of testdata/acme/README.md.
func TestTraefikFixtures(t *testing.T) {
	for _, test := range []struct {
		file     string
		at       time.Time
		certs    int
		names    []string
		problems []string // parts of what is said, one a problem
		err      string
	}{
		{file: "real-v3-after-renewal.json", certs: 4, names: allNames},
		{file: "real-v3-before-renewal.json", certs: 4, names: allNames, problems: []string{
			// Five days are left.
			"the certificate for *.lrok.test, lrok.test expires on 2026-11-2", "expires on", "expires on", "expires on",
		}},
		{file: "real-v3-before-renewal.json", at: later, certs: 4, names: allNames, problems: []string{"expired on", "expired on", "expired on", "expired on"}},
		{file: "real-v3-single.json", certs: 1, names: []string{"tunnel.lrok.test"}},
		{file: "real-v3-certificates-null.json", problems: []string{"no certificate yet"}},
		{file: "derived-empty.json", problems: []string{"it is empty"}},
		{file: "derived-braces.json", problems: []string{"no certificate yet"}},
		{file: "derived-truncated.json", err: "only the beginning of it (at byte 11421 of 11421)", problems: []string{"only the beginning"}},
		{file: "derived-v1.json", certs: 4, names: allNames},
		{file: "derived-v2.json", certs: 4, names: allNames},
		{file: "derived-bad-entries.json", certs: 3, names: []string{"*.lrok.test", "api.lrok.test", "lrok.test", "tunnel.lrok.test", "xn--bcher-kva.lrok.test"}, problems: []string{
			`resolver "le-http", entry 0: the private key does not match the first certificate`,
			`resolver "le-http", entry 1: it holds no PEM certificate`,
			`resolver "le-http", entry 2: it holds no PEM certificate`,
		}},
		{file: "derived-chain-reversed.json", problems: []string{
			`resolver "le-dns", entry 0: the private key does not match the first certificate but a later one`,
			`resolver "le-http", entry 0: the private key does not match`,
			`resolver "le-http", entry 1: the private key does not match`,
			`resolver "le-http", entry 2: the private key does not match`,
		}},
	} {
		t.Run(test.file, func(t *testing.T) {
			at := issuedAt
			if !test.at.IsZero() {
				at = test.at
			}
			path := filepath.Join(t.TempDir(), "acme.json")
			write(t, path, fixture(t, test.file))
			s := NewTraefik(path, Options{Now: func() time.Time { return at }})
			_, err := s.Reload()
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("Reload: %v, want %q", err, test.err)
			}
			st := s.Status()
			if len(st.Certificates) != test.certs || !slices.Equal(names(s), test.names) {
				t.Errorf("%d certificates for %v, want %d for %v", len(st.Certificates), names(s), test.certs, test.names)
			}
			if len(st.Problems) != len(test.problems) {
				t.Fatalf("problems = %q, want %d", st.Problems, len(test.problems))
			}
			for i, want := range test.problems {
				if !strings.Contains(st.Problems[i], want) {
					t.Errorf("problem %d = %q, want %q in it", i, st.Problems[i], want)
				}
			}
			pool, at2 := acmeRoots(t), issuedAt
			for _, c := range s.held().entries {
				inter := x509.NewCertPool()
				for _, der := range c.cert.Certificate[1:] {
					x, err := x509.ParseCertificate(der)
					if err != nil {
						t.Fatal(err)
					}
					inter.AddCert(x)
				}
				if _, err := c.cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, CurrentTime: at2}); err != nil {
					t.Errorf("the chain of %v does not verify: %v", c.names, err)
				}
			}
		})
	}
}

// TestTraefikMatches asks by all names that a client may send.
func TestTraefikMatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, "real-v3-after-renewal.json"))
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }})
	for _, test := range []struct{ ask, want string }{
		{"lrok.test", "*.lrok.test lrok.test"},
		{"LROK.Test", "*.lrok.test lrok.test"},
		{"lrok.test.", "*.lrok.test lrok.test"},
		{"shop.lrok.test", "*.lrok.test lrok.test"},
		{"api.lrok.test", "api.lrok.test tunnel.lrok.test"},
		{"Bücher.lrok.test", "xn--bcher-kva.lrok.test"},
		{"xn--bcher-kva.lrok.test", "xn--bcher-kva.lrok.test"},
		{"a.b.lrok.test", ""},
		{"test", ""},
		{"other.test", ""},
		{"lrok.test.evil.example", ""},
		{"evil-lrok.test", ""},
		{"", ""}, // several certificates, and none for the address
		{"bad name", ""},
		{"..", ""},
	} {
		got := ""
		if leaf := served(t, s, test.ask); leaf != nil {
			got = strings.Join(leaf.DNSNames, " ")
		}
		if got != test.want {
			t.Errorf("certificate for %q names %q, want %q", test.ask, got, test.want)
		}
	}
	// The wildcard's key is ECDSA, that of the hosts RSA.
	hello := helloFor("api.lrok.test")
	hello.SignatureSchemes = ecdsaSchemes
	c, err := s.Certificate(hello)
	if err != nil || c.Leaf.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("a client without RSA got %v, %v, want the wildcard's certificate", c, err)
	}
}

// TestUnrecognizedName looks at the alert itself.
func TestUnrecognizedName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, "real-v3-after-renewal.json"))
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }})
	before := Unrecognized()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, name := range []string{"other.test", "a.b.lrok.test", ""} {
			client, server := pipe(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer server.Close()
				_ = tls.Server(server, Config(s)).Handshake()
			}()
			err := tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: version}).Handshake()
			<-done
			if err == nil || err.Error() != "remote error: tls: unrecognized name" {
				t.Errorf("TLS %x, name %q: %v, want the alert unrecognized_name", version, name, err)
			}
		}
	}
	if got := Unrecognized() - before; got != 6 {
		t.Errorf("Unrecognized grew by %d, want 6", got)
	}
}

// TestTraefikKeeps holds what may replace what.
func TestTraefikKeeps(t *testing.T) {
	after, before := "real-v3-after-renewal.json", "real-v3-before-renewal.json"
	for _, test := range []struct {
		name  string
		first string
		at    time.Time
		then  []byte
		gone  bool // the file is removed
		want  []string
		soon  []string // 11 s later, when it is not want
	}{
		{name: "empty", first: after, then: []byte{}, want: allNames},
		{name: "white space", first: after, then: []byte(" \n"), want: allNames},
		{name: "braces", first: after, then: []byte("{}"), want: allNames},
		{name: "null", first: after, then: []byte("null"), want: allNames},
		{name: "no certificates", first: after, then: fixture(t, "real-v3-certificates-null.json"), want: allNames},
		{name: "half", first: after, then: fixture(t, "derived-truncated.json"), want: allNames},
		{name: "another kind of JSON", first: after, then: []byte(`["x"]`), want: allNames},
		{name: "entries of other kinds", first: after, then: []byte(`{"le-dns":{"Certificates":[1,null,"x",{"key":7}]},"x":{"Certificates":{}},"y":1}`), want: allNames},
		{name: "only unusable", first: after, then: fixture(t, "derived-chain-reversed.json"), want: allNames},
		{name: "gone", first: after, gone: true, want: allNames},
		{name: "fewer names", first: after, then: fixture(t, "real-v3-single.json"), want: allNames, soon: []string{"tunnel.lrok.test"}},
		{name: "more names", first: "real-v3-single.json", then: fixture(t, after), want: allNames},
		{name: "a bad entry keeps what it was", first: after, then: fixture(t, "derived-bad-entries.json"), want: allNames},
		{name: "a bad entry, and its names nowhere else", first: after, then: spoiled(t, after, "le-dns"), want: allNames},
		{name: "expired", first: after, at: later, then: fixture(t, before), want: allNames},
		{name: "expired by valid", first: before, at: later, then: fixture(t, after), want: allNames},
		{name: "expired by none", first: before, at: later, then: []byte("{}")},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &clock{t: issuedAt}
			if !test.at.IsZero() {
				c.t = test.at
			}
			path := filepath.Join(t.TempDir(), "acme.json")
			write(t, path, fixture(t, test.first))
			s := NewTraefik(path, Options{Now: c.now, pace: hurried})
			valid := func() (valid []string) {
				st := s.Status()
				for _, name := range names(s) {
					if st.Covers(name) {
						valid = append(valid, name)
					}
				}
				return valid
			}
			was := valid()
			if test.gone {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, path, test.then)
			}
			_, _ = s.Reload()
			if got := valid(); !slices.Equal(got, test.want) {
				t.Errorf("names that are served = %v, want %v (from %v)", got, test.want, was)
			}
			c.add(9 * time.Second)
			_, _ = s.Reload()
			if got := valid(); !slices.Equal(got, test.want) {
				t.Errorf("9 s later: names = %v, want %v", got, test.want)
			}
			c.add(2 * time.Second)
			_, _ = s.Reload()
			want := test.want
			if test.soon != nil {
				want = test.soon
			}
			if got := valid(); !slices.Equal(got, want) {
				t.Errorf("11 s later: names = %v, want %v", got, want)
			}
		})
	}
}

// spoiled is a fixture in which the first certificate of a resolver is damaged.
func spoiled(t *testing.T, name, resolver string) []byte {
	t.Helper()
	var all map[string]map[string]any
	if err := json.Unmarshal(fixture(t, name), &all); err != nil {
		t.Fatal(err)
	}
	all[resolver]["Certificates"].([]any)[0].(map[string]any)["certificate"] = "eA=="
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTraefikRenewedWhileNamesGo is about a file that renews one certificate and
// lacks another: the new one does not wait for the 10 s.
func TestTraefikRenewedWhileNamesGo(t *testing.T) {
	c := &clock{t: issuedAt}
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, "real-v3-before-renewal.json"))
	s := NewTraefik(path, Options{Now: c.now, pace: hurried})
	old := served(t, s, "lrok.test")
	var all map[string]any
	if err := json.Unmarshal(fixture(t, "real-v3-after-renewal.json"), &all); err != nil {
		t.Fatal(err)
	}
	delete(all, "le-http")
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, data)
	if !reload(t, s) {
		t.Error("Reload says that nothing changed")
	}
	if got := served(t, s, "lrok.test"); got.Equal(old) {
		t.Error("the renewed certificate is not served")
	}
	if got := served(t, s, "api.lrok.test"); !slices.Contains(got.DNSNames, "api.lrok.test") {
		t.Errorf("api.lrok.test got the certificate of %v within 10 s, want its own", got.DNSNames)
	}
	// A file that changes again starts the 10 s anew.
	c.add(8 * time.Second)
	write(t, path, append(data, '\n'))
	reload(t, s)
	c.add(8 * time.Second)
	reload(t, s)
	if got := served(t, s, "api.lrok.test"); !slices.Contains(got.DNSNames, "api.lrok.test") {
		t.Error("names were dropped 8 s after the last change")
	}
	c.add(3 * time.Second)
	reload(t, s)
	if got := served(t, s, "api.lrok.test"); slices.Contains(got.DNSNames, "api.lrok.test") {
		t.Error("names are served 11 s after the last change, want the wildcard")
	}
}

// TestTraefikTellsOnce holds that a problem is logged when it lasts, and once.
func TestTraefikTellsOnce(t *testing.T) {
	var log journal
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, "real-v3-after-renewal.json"))
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }, Logger: log.logger(), pace: hurried})
	said := func() int { return strings.Count(log.String(), "level=WARN") }
	write(t, path, fixture(t, "derived-truncated.json"))
	for range 2 {
		if _, err := s.Reload(); err == nil {
			t.Error("Reload of half a file gave no error")
		}
	}
	if said() != 0 {
		t.Errorf("warned of what two readings found:\n%s", &log)
	}
	for range 5 {
		_, _ = s.Reload()
	}
	if said() != 1 {
		t.Errorf("%d warnings, want 1:\n%s", said(), &log)
	}
	write(t, path, fixture(t, "real-v3-after-renewal.json"))
	reload(t, s)
	write(t, path, fixture(t, "derived-truncated.json"))
	for range 5 {
		_, _ = s.Reload()
	}
	if said() != 2 {
		t.Errorf("%d warnings after it came back, want 2:\n%s", said(), &log)
	}
}

// pipe is a connection over loopback.
func pipe(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

func TestTraefikMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // there are no such modes
	}
	path := filepath.Join(t.TempDir(), "acme.json")
	data := fixture(t, "real-v3-after-renewal.json")
	write(t, path, data)
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }})
	if p := s.Status().Problems; len(p) != 0 {
		t.Errorf("problems with mode 0600: %q, want none", p)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		reload(t, s)
		want := fmt.Sprintf("(mode %04o), so Traefik will not use it: chmod 600", mode)
		if p := s.Status().Problems; len(p) != 1 || !strings.Contains(p[0], want) {
			t.Errorf("problems = %q, want one with %q", p, want)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("mode is %04o after reading, want it left at %04o", info.Mode().Perm(), mode)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file was written (%v)", err)
	}
}

// TestTraefikMount is about a file that was mounted without its directory, and
// then replaced on the host.
func TestTraefikMount(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, newer))
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	var dead atomic.Bool
	table := func() ([]byte, error) {
		deleted := ""
		if dead.Load() {
			deleted = "//deleted"
		}
		return fmt.Appendf(nil, "31 22 8:1 /srv/acme.json%s %s ro - ext4 /dev/sda1 rw\n", deleted, strings.ReplaceAll(real, " ", `\040`)), nil
	}
	if runtime.GOOS == "windows" {
		return // its paths cannot stand in such a table
	}
	var log journal
	s := &Traefik{newKeeper(traefik{path, table}, path, Options{Now: func() time.Time { return issuedAt }, Logger: log.logger(), pace: hurried})}
	run(t, s)
	warned := func(text string) func() bool {
		return func() bool {
			p := s.Status().Problems
			return strings.Count(log.String(), "level=WARN") == strings.Count(log.String(), "mount the directory, not the file") &&
				strings.Count(log.String(), text) == 1 && len(p) == 1 && strings.Contains(p[0], text)
		}
	}
	eventually(t, "a warning of the mount", warned("will not be seen: mount the directory, not the file"))
	dead.Store(true)
	eventually(t, "a warning that it is dead", warned("are not seen any more: mount the directory, not the file"))
	if got := served(t, s, "lrok.test"); got == nil {
		t.Error("no certificate for lrok.test")
	}
}

// secrets are pieces of all keys in an acme.json, in each form that they have
// there.
func secrets(t *testing.T, data []byte) []string {
	t.Helper()
	var found []string
	var visit func(key string, v any)
	visit = func(key string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				visit(strings.ToLower(k), x)
			}
		case []any:
			for _, x := range v {
				visit(key, x)
			}
		case string:
			if key != "key" && key != "privatekey" || len(v) < 100 {
				return
			}
			forms := []string{v}
			if text, err := base64.StdEncoding.DecodeString(v); err == nil {
				if block, _ := pem.Decode(text); block != nil {
					forms = append(forms, strings.Join(strings.Split(string(text), "\n")[1:], ""), string(block.Bytes), fmt.Sprintf("%x", block.Bytes))
				} else {
					forms = append(forms, string(text), fmt.Sprintf("%x", text))
				}
			}
			for _, form := range forms {
				for i := 60; i+16 <= len(form); i += 16 {
					found = append(found, form[i:i+16])
				}
			}
		}
	}
	var v any
	if json.Unmarshal(data, &v) == nil {
		visit("", v)
	}
	return found
}

// TestTraefikKeepsSecrets looks for key material in all that is said about all
// files, and about some that were damaged on purpose.
func TestTraefikKeepsSecrets(t *testing.T) {
	files, err := filepath.Glob("testdata/acme/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files (%v)", len(files), err)
	}
	whole := fixture(t, "real-v3-after-renewal.json")
	var variants [][]byte
	for _, f := range files {
		variants = append(variants, fixture(t, filepath.Base(f)))
	}
	for i := 500; i < len(whole); i += 501 {
		variants = append(variants, whole[:i], slices.Concat(whole[:i], []byte{'"'}, whole[i:]), slices.Concat(whole[:i], []byte{'!'}, whole[i+1:]))
	}
	// Keys in places where something else is expected.
	var v map[string]struct {
		Certificates []struct{ Key string }
	}
	if err := json.Unmarshal(whole, &v); err != nil {
		t.Fatal(err)
	}
	key := v["le-dns"].Certificates[0].Key
	for _, format := range []string{`{"a":{"Certificates":%q}}`, `{"a":{"Certificates":[%q]}}`, `{"a":{"Certificates":[{"certificate":%q,"key":1}]}}`, `{"a":%q}`, `%q`, `{"Certificates":%q}`} {
		variants = append(variants, fmt.Appendf(nil, format, key))
	}
	hidden := secrets(t, whole)
	if len(hidden) < 1000 {
		t.Fatalf("only %d pieces of keys to look for", len(hidden))
	}
	for _, f := range files {
		hidden = append(hidden, secrets(t, fixture(t, filepath.Base(f)))...)
	}
	var said journal
	path := filepath.Join(t.TempDir(), "acme.json")
	s := NewTraefik(path, Options{Now: func() time.Time { return issuedAt }, Logger: said.logger(), pace: hurried})
	for _, data := range variants {
		write(t, path, data)
		for range tellAfter {
			if _, err := s.Reload(); err != nil {
				_, _ = io.WriteString(&said, err.Error()+"\n")
			}
		}
		for _, p := range s.Status().Problems {
			_, _ = io.WriteString(&said, p+"\n")
		}
	}
	text := said.String()
	if len(text) < 1000 {
		t.Fatalf("only %d bytes were said", len(text))
	}
	for _, piece := range hidden {
		if strings.Contains(text, piece) {
			t.Fatalf("%d bytes of a key were said", len(piece))
		}
	}
}

// TestReadDataIsCleared holds that the text of a file, with the keys in it, is
// not left in memory.
func TestReadDataIsCleared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acme.json")
	write(t, path, fixture(t, "real-v3-after-renewal.json"))
	var spied []byte
	k := newKeeper(spy{traefik{path, mountTable}, &spied}, path, Options{})
	reload(t, &Traefik{k})
	if len(spied) == 0 || len(k.held().entries) != 4 {
		t.Fatalf("%d bytes and %d certificates were read", len(spied), len(k.held().entries))
	}
	if slices.ContainsFunc(spied, func(b byte) bool { return b != 0 }) {
		t.Error("the file's text is still in memory")
	}
}

type spy struct {
	reader
	data *[]byte
}

func (s spy) parse(files []file) (reading, error) {
	*s.data = files[0].data
	return s.reader.parse(files)
}

func TestTraefikTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acme.json")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(maxACME+1), f.Close()); err != nil {
		t.Fatal(err)
	}
	s := NewTraefik(path, Options{})
	if _, err := s.Reload(); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("Reload: %v, want that it is larger than 16 MiB", err)
	}
}

func TestTraefikOtherFiles(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ path, want string }{
		{dir, "it is a directory"},
		{filepath.Join(dir, "absent"), "no such file"},
		{filepath.Join(dir, "no", "such", "directory"), "no such file"},
		{os.DevNull, "it is not a regular file"},
	} {
		s := NewTraefik(test.path, Options{})
		_, err := s.Reload()
		if err == nil || runtime.GOOS != "windows" && !strings.Contains(err.Error(), test.want) {
			t.Errorf("Reload of %s: %v, want %q", test.path, err, test.want)
		}
		if p := s.Status().Problems; len(p) != 1 {
			t.Errorf("problems of %s: %q, want one", test.path, p)
		}
	}
}

func FuzzParseACME(f *testing.F) {
	files, err := filepath.Glob("testdata/acme/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		f.Add(fixture(f, filepath.Base(name)))
	}
	f.Add([]byte(`{"Certificates":[null,1,{"Certificate":"!"}],"TLSChallenges":{"a":{"Certificate":"eA==","Key":"eA=="}}}`))
	f.Add([]byte(`{"a":{"Certificates":null},"b":null,"c":[],"d":{"certificates":[{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := traefik{path: "acme.json"}.parse([]file{{path: "acme.json", data: slices.Clone(data)}})
		if err != nil {
			if len(r.entries) > 0 {
				t.Error("certificates with an error")
			}
			return
		}
		check(t, r)
	})
}

// check holds what is true of all readings.
func check(t *testing.T, r reading) {
	t.Helper()
	for _, e := range r.entries {
		if len(e.names) == 0 {
			t.Error("a certificate without a name")
		}
		if e.print != sha256.Sum256(e.cert.Certificate[0]) {
			t.Error("the leaf is not the first of its chain")
		}
		if key, ok := e.cert.PrivateKey.(crypto.Signer); !ok || !belongs(e.cert.Leaf, key) {
			t.Error("the key is not the certificate's")
		}
	}
	for _, p := range r.problems {
		if strings.Contains(p, "PRIVATE") {
			t.Errorf("a problem speaks of a key: %q", p)
		}
	}
}
