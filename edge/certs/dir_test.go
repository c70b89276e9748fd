package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
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

// An authority issues for tests: a root, and an intermediate that signs.
type authority struct {
	t          testing.TB
	root, mid  *x509.Certificate
	midKey     crypto.Signer
	rootKey    crypto.Signer
	start, end time.Time
}

func newAuthority(t testing.TB, start time.Time) *authority {
	t.Helper()
	a := &authority{t: t, start: start, end: start.Add(90 * 24 * time.Hour)}
	ca := func(name string, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer) {
		key := newKey(t, "ecdsa")
		template := &x509.Certificate{
			SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name},
			NotBefore: start.Add(-time.Hour), NotAfter: start.Add(10 * 365 * 24 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		return create(t, template, parent, key, parentKey), key
	}
	a.root, a.rootKey = ca("test root", nil, nil)
	a.mid, a.midKey = ca("test intermediate", a.root, a.rootKey)
	return a
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func create(t testing.TB, template, parent *x509.Certificate, key, parentKey crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue makes a certificate for hosts that lasts from start to end.
func (a *authority) issue(kind string, hosts ...string) (leaf, chain, key []byte) {
	a.t.Helper()
	k := newKey(a.t, kind)
	template := &x509.Certificate{SerialNumber: newSerial(), NotBefore: a.start, NotAfter: a.end}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	leaf = pemOf(create(a.t, template, a.mid, k, a.midKey))
	return leaf, slices.Concat(leaf, pemOf(a.mid)), keyPEM(a.t, k)
}

// entry is issue for tests of sets.
func (a *authority) entry(kind string, hosts ...string) *entry {
	a.t.Helper()
	_, chain, key := a.issue(kind, hosts...)
	c, err := pair(chain, key)
	if err != nil {
		a.t.Fatal(err)
	}
	return newEntry(c, "test", strings.Join(hosts, " "))
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// oldKeyPEM is a key under its traditional heading.
func oldKeyPEM(t testing.TB, key []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(key)
	k, err := parseKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	switch k := k.(type) {
	case *rsa.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(
			[]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"),
			pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	}
	t.Fatalf("no traditional heading for a %T", k)
	return nil
}

// plant writes files below dir.
func plant(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		mkdir(t, filepath.Dir(path))
		write(t, path, data)
	}
}

// verifies reports whether a client that trusts the root alone accepts what s
// serves for name.
func (a *authority) verifies(s Source, name string) error {
	c, err := s.Certificate(helloFor(name))
	if err != nil {
		return err
	}
	pool, inter := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(a.root)
	for i, der := range c.Certificate {
		x, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		if bytes.Equal(x.RawIssuer, x.RawSubject) {
			return fmt.Errorf("certificate %d of the chain is the root", i)
		}
		if i > 0 {
			inter.AddCert(x)
		}
	}
	if !belongs(c.Leaf, c.PrivateKey.(crypto.Signer)) {
		return fmt.Errorf("the key is not that of %v", c.Leaf.DNSNames)
	}
	_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, CurrentTime: a.start.Add(time.Hour), DNSName: name})
	return err
}

// TestDirLayouts reads what programs and people leave behind.
func TestDirLayouts(t *testing.T) {
	a := newAuthority(t, issuedAt)
	leaf, chain, key := a.issue("ecdsa", "a.test", "*.a.test")
	_, chainB, keyB := a.issue("rsa", "b.test")
	_, chainC, keyC := a.issue("ed25519", "c.test", "127.0.0.1")
	mid, root := pemOf(a.mid), pemOf(a.root)
	_, _, strayKey := a.issue("ecdsa", "stray.test")
	locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret")})
	lockedOld := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("secret")})
	for _, test := range []struct {
		name     string
		files    map[string][]byte
		links    map[string]string
		names    []string
		certs    int
		problems []string
	}{
		{
			name: "certbot",
			files: map[string][]byte{
				"archive/a.test/cert1.pem": leaf, "archive/a.test/chain1.pem": mid,
				"archive/a.test/fullchain1.pem": chain, "archive/a.test/privkey1.pem": key,
				"live/README": []byte("This directory contains your keys and certificates.\n"), "renewal/a.test.conf": []byte("version = 2.0\n"),
				"accounts/acme/directory/x/private_key.json": []byte(`{"n":"x","kty":"RSA"}`), "csr/0000_csr-certbot.pem": []byte("-----BEGIN CERTIFICATE REQUEST-----\neA==\n-----END CERTIFICATE REQUEST-----\n"),
				"keys/0000_key-certbot.pem": strayKey,
			},
			links: map[string]string{
				"live/a.test/cert.pem": "../../archive/a.test/cert1.pem", "live/a.test/chain.pem": "../../archive/a.test/chain1.pem",
				"live/a.test/fullchain.pem": "../../archive/a.test/fullchain1.pem", "live/a.test/privkey.pem": "../../archive/a.test/privkey1.pem",
			},
			names: []string{"*.a.test", "a.test"}, certs: 1,
		},
		{
			name: "certbot without its archive",
			links: map[string]string{
				"live/a.test/fullchain.pem": "../../archive/a.test/fullchain1.pem", "live/a.test/privkey.pem": "../../archive/a.test/privkey1.pem",
			},
			problems: []string{"fullchain.pem: it is a link to what is not there: mount that directory as well", "privkey.pem: it is a link"},
		},
		{
			name: "lego",
			files: map[string][]byte{
				"certificates/a.test.crt": chain, "certificates/a.test.key": oldKeyPEM(t, key), "certificates/a.test.issuer.crt": mid, "certificates/a.test.json": []byte(`{"domain":"a.test"}`),
				"certificates/b.test.crt": chainB, "certificates/b.test.key": oldKeyPEM(t, keyB), "accounts/x/keys/x.key": strayKey,
			},
			names: []string{"*.a.test", "a.test", "b.test"}, certs: 2,
		},
		{
			name: "Caddy",
			files: map[string][]byte{
				"certificates/acme-v02.api.letsencrypt.org-directory/wildcard_.a.test/wildcard_.a.test.crt": chain, "certificates/acme-v02.api.letsencrypt.org-directory/wildcard_.a.test/wildcard_.a.test.key": key,
				"certificates/acme-v02.api.letsencrypt.org-directory/wildcard_.a.test/wildcard_.a.test.json": []byte(`{}`),
				"acme/acme-v02.api.letsencrypt.org-directory/users/me/me.key":                                strayKey, "instance.uuid": []byte("x"),
			},
			names: []string{"*.a.test", "a.test"}, certs: 1,
		},
		{
			name:  "mkcert",
			files: map[string][]byte{"c.test+1.pem": chainC, "c.test+1-key.pem": keyC, "rootCA.pem": root, "rootCA-key.pem": keyPEM(t, a.rootKey)},
			names: []string{"127.0.0.1", "c.test"}, certs: 1,
		},
		{
			name:  "one file each, key first",
			files: map[string][]byte{"a.pem": slices.Concat(key, chain), "b.pem": slices.Concat(chainB, keyB)},
			names: []string{"*.a.test", "a.test", "b.test"}, certs: 2,
		},
		{
			name:  "names that mislead, chain in a file of its own",
			files: map[string][]byte{"x/1": key, "x/2": leaf, "y/ca.crt": slices.Concat(root, mid)},
			names: []string{"*.a.test", "a.test"}, certs: 1,
		},
		{
			name:  "chain upside down",
			files: map[string][]byte{"chain.pem": slices.Concat(root, mid, leaf), "key.pem": key},
			names: []string{"*.a.test", "a.test"}, certs: 1,
		},
		{
			name:  "Windows lines and text around",
			files: map[string][]byte{"a.pem": bytes.ReplaceAll(slices.Concat([]byte("subject=a\n"), chain, []byte("\nkey:\n"), key), []byte("\n"), []byte("\r\n"))},
			names: []string{"*.a.test", "a.test"}, certs: 1,
		},
		{
			name:  "encrypted keys",
			files: map[string][]byte{"a.crt": chain, "a.key": locked, "b.crt": chainB, "b.key": lockedOld},
			problems: []string{
				"a.key: the private key is encrypted", "b.key: the private key is encrypted",
				"a.crt: there is no private key for the certificate in it", "b.crt: there is no private key for the certificate in it",
			},
		},
		{
			name:     "damage next to what is good",
			files:    map[string][]byte{"a.pem": slices.Concat(chain, key), "bad.crt": []byte("-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"), "bad.key": []byte("-----BEGIN PRIVATE KEY-----\neA==\n-----END PRIVATE KEY-----\n")},
			names:    []string{"*.a.test", "a.test"},
			certs:    1,
			problems: []string{"bad.crt: certificate 1 in it cannot be read", "bad.key: the private key cannot be read"},
		},
		{
			name: "hidden and deep",
			files: map[string][]byte{
				".hidden/a.pem": slices.Concat(chain, key), "1/2/3/4/5/b.pem": slices.Concat(chainB, keyB), "1/2/3/4/5/6/c.pem": slices.Concat(chainC, keyC),
			},
			names: []string{"b.test"}, certs: 1,
		},
		{
			name:  "links in a circle, and to what is no file",
			files: map[string][]byte{"in/a.pem": slices.Concat(chain, key)},
			links: map[string]string{"in/up": "..", "loop": "loop", "zero.pem": "/dev/zero"},
			names: []string{"*.a.test", "a.test"}, certs: 1, problems: []string{"loop: too many"},
		},
		{
			name:  "too large",
			files: map[string][]byte{"a.pem": slices.Concat(chain, key), "big.pem": make([]byte, maxPEM+1), "big.log": make([]byte, maxPEM+1)},
			names: []string{"*.a.test", "a.test"}, certs: 1, problems: []string{"big.pem: it is larger than 1 MiB"},
		},
		{name: "nothing", problems: []string{"no certificate yet"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && len(test.links) > 0 {
				return // links take a privilege there
			}
			dir := t.TempDir()
			plant(t, dir, test.files)
			for link, target := range test.links {
				mkdir(t, filepath.Dir(filepath.Join(dir, link)))
				relink(t, target, filepath.Join(dir, link))
			}
			d := NewDir(dir, Options{Now: func() time.Time { return issuedAt.Add(time.Hour) }})
			if got := names(d); !slices.Equal(got, test.names) || len(d.Status().Certificates) != test.certs {
				t.Errorf("%d certificates for %v, want %d for %v", len(d.Status().Certificates), got, test.certs, test.names)
			}
			for _, name := range test.names {
				if strings.HasPrefix(name, "*.") {
					name = "shop" + name[1:]
				}
				if err := a.verifies(d, name); err != nil {
					t.Errorf("a client of %s: %v", name, err)
				}
			}
			problems := d.Status().Problems
			if len(problems) != len(test.problems) {
				t.Fatalf("problems = %q, want %d", problems, len(test.problems))
			}
			for _, want := range test.problems {
				if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
					t.Errorf("problems = %q, want %q in one", problems, want)
				}
			}
		})
	}
}

func TestDirTooMany(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, issuedAt)
	_, chain, key := a.issue("ecdsa", "a.test")
	write(t, filepath.Join(dir, "0.pem"), slices.Concat(chain, key))
	for i := range maxDirFiles {
		write(t, filepath.Join(dir, fmt.Sprintf("x%d", i)), nil)
	}
	d := NewDir(dir, Options{Now: func() time.Time { return issuedAt }})
	if p := d.Status().Problems; len(p) != 1 || !strings.Contains(p[0], "more in it than 10000 files") {
		t.Errorf("problems = %q, want one that says there is too much", p)
	}
	if got := names(d); !slices.Equal(got, []string{"a.test"}) {
		t.Errorf("names = %v, want a.test", got)
	}
}

// TestDirRenewed makes a renewal one file at a time, as certbot does, and looks
// after each whether a good pair is served.
func TestDirRenewed(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // links take a privilege there
	}
	dir := t.TempDir()
	c := &clock{t: issuedAt.Add(time.Hour)}
	a := newAuthority(t, issuedAt)
	links := []string{"cert", "privkey", "chain", "fullchain"}
	put := func(n int) {
		leaf, chain, key := a.issue("ecdsa", "a.test")
		for name, data := range map[string][]byte{"cert": leaf, "chain": pemOf(a.mid), "fullchain": chain, "privkey": key} {
			write(t, filepath.Join(mkdir(t, filepath.Join(dir, "archive")), fmt.Sprintf("%s%d.pem", name, n)), data)
		}
	}
	live := mkdir(t, filepath.Join(dir, "live"))
	put(1)
	for _, name := range links {
		relink(t, "../archive/"+name+"1.pem", filepath.Join(live, name+".pem"))
	}
	d := NewDir(live, Options{Now: c.now, pace: hurried})
	if err := a.verifies(d, "a.test"); err != nil {
		t.Fatal(err)
	}
	first := served(t, d, "a.test")
	a.end = a.end.Add(time.Hour)
	put(2)
	for i, name := range links {
		path := filepath.Join(live, name+".pem")
		remove(t, path)
		for _, step := range []string{"without", "with"} {
			if step == "with" {
				relink(t, "../archive/"+name+"2.pem", path)
			}
			reload(t, d)
			c.add(time.Minute) // not even for a long time
			reload(t, d)
			if err := a.verifies(d, "a.test"); err != nil {
				t.Fatalf("%d links led to the new files, %s %s: %v", i, step, name, err)
			}
		}
	}
	if served(t, d, "a.test").Equal(first) {
		t.Error("the old certificate is served after the renewal")
	}
	if p := d.Status().Problems; len(p) != 0 {
		t.Errorf("problems = %q, want none", p)
	}
	// A certificate that is taken away goes, and the last one does not.
	_, chain, key := a.issue("ecdsa", "b.test")
	b := filepath.Join(live, "b.pem")
	write(t, b, slices.Concat(chain, key))
	reload(t, d)
	if err := a.verifies(d, "b.test"); err != nil {
		t.Fatal(err)
	}
	write(t, b, nil) // being written
	for range 3 {
		reload(t, d)
		c.add(time.Minute)
	}
	if err := a.verifies(d, "b.test"); err != nil {
		t.Errorf("while its file is empty: %v", err)
	}
	remove(t, b)
	reload(t, d)
	if err := a.verifies(d, "b.test"); err != nil {
		t.Errorf("right after its file is gone: %v", err)
	}
	c.add(time.Minute)
	reload(t, d)
	if served(t, d, "b.test") != nil {
		t.Error("b.test has a certificate a minute after its file is gone")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, _ = d.Reload()
		c.add(time.Minute)
	}
	if err := a.verifies(d, "a.test"); err != nil {
		t.Errorf("without the directory: %v", err)
	}
}

// TestDirUnreadable is about a directory below that cannot be read for a time.
func TestDirUnreadable(t *testing.T) {
	dir := t.TempDir()
	c := &clock{t: issuedAt.Add(time.Hour)}
	a := newAuthority(t, issuedAt)
	for _, name := range []string{"a.test", "b.test"} {
		_, chain, key := a.issue("ecdsa", name)
		plant(t, dir, map[string][]byte{name + "/all.pem": slices.Concat(chain, key)})
	}
	d := NewDir(dir, Options{Now: c.now})
	r := d.reader
	d.reader = without{r, filepath.Join(dir, "b.test")}
	for range 3 {
		reload(t, d)
		c.add(time.Minute)
	}
	for _, name := range []string{"a.test", "b.test"} {
		if err := a.verifies(d, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p := d.Status().Problems; len(p) != 1 || !strings.Contains(p[0], "b.test: permission denied") {
		t.Errorf("problems = %q, want that of b.test", p)
	}
}

// A key that everybody on the machine may read is used, and told of.
func TestDirKeyOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files there have no such bits")
	}
	dir := t.TempDir()
	c := &clock{t: issuedAt.Add(time.Hour)}
	a := newAuthority(t, issuedAt)
	_, chain, key := a.issue("ecdsa", "a.test")
	plant(t, dir, map[string][]byte{"a.crt": chain, "a.key": key})
	path := filepath.Join(dir, "a.key")
	for mode, want := range map[os.FileMode]int{0o644: 1, 0o604: 1, 0o640: 0, 0o600: 0} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		d := NewDir(dir, Options{Now: c.now})
		if err := a.verifies(d, "a.test"); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if p := d.Status().Problems; len(p) != want || want > 0 && !strings.Contains(p[0], "a.key: others may read the key") {
			t.Errorf("mode %04o: problems = %q, want %d", mode, p, want)
		}
	}
}

// without lists files as if a directory could not be read, which root always can.
type without struct {
	reader
	dir string
}

func (w without) list() (listing, error) {
	l, err := w.reader.list()
	l.paths = slices.DeleteFunc(l.paths, func(p string) bool { return strings.HasPrefix(p, w.dir) })
	l.failed = append(l.failed, file{path: w.dir, err: plain(os.ErrPermission)})
	return l, err
}

// TestDirFollows changes files while the source runs, in a directory that comes
// late.
func TestDirFollows(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "late")
	a := newAuthority(t, issuedAt)
	p := hurried
	p.poll = time.Hour
	p.stable = 50 * time.Millisecond
	d := NewDir(dir, Options{pace: p})
	run(t, d)
	for _, name := range []string{"a.test", "b.test"} {
		a.start, a.end = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		_, chain, key := a.issue("ecdsa", name)
		plant(t, dir, map[string][]byte{name + "/x.crt": chain})
		plant(t, dir, map[string][]byte{name + "/x.key": key})
		eventually(t, name+" is served", func() bool { return served(t, d, name) != nil })
	}
	if err := os.RemoveAll(filepath.Join(dir, "a.test")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a.test is not served", func() bool { return served(t, d, "a.test") == nil })
	if served(t, d, "b.test") == nil {
		t.Error("b.test went with a.test")
	}
}

// TestFilesInAnyShape is about the pair that --tls-cert and --tls-key name.
func TestFilesInAnyShape(t *testing.T) {
	a := newAuthority(t, issuedAt)
	leaf, chain, key := a.issue("rsa", "a.test")
	for _, test := range []struct {
		name      string
		cert, key []byte
		want      string // of the error
	}{
		{name: "as it should be", cert: chain, key: key},
		{name: "traditional heading", cert: chain, key: oldKeyPEM(t, key)},
		{name: "upside down", cert: slices.Concat(pemOf(a.root), pemOf(a.mid), leaf), key: key},
		{name: "all in both", cert: slices.Concat(key, chain), key: slices.Concat(key, chain)},
		{name: "encrypted", cert: chain, key: []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\neA==\n-----END ENCRYPTED PRIVATE KEY-----\n"), want: "the private key is encrypted: store it without a passphrase"},
		{name: "no certificate", cert: key, key: key, want: "it holds no PEM certificate"},
		{name: "no key", cert: chain, key: chain, want: "it holds no PEM private key"},
		{name: "the intermediate's key", cert: pemOf(a.mid), key: keyPEM(t, a.midKey), want: "names no host"},
	} {
		dir := t.TempDir()
		p := Pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
		write(t, p.Cert, test.cert)
		write(t, p.Key, test.key)
		f, err := NewFiles(Options{Now: func() time.Time { return issuedAt.Add(time.Hour) }}, p)
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", test.name, err, test.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if err := a.verifies(f, "a.test"); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func FuzzParseDir(f *testing.F) {
	a := newAuthority(f, issuedAt)
	leaf, chain, key := a.issue("ecdsa", "a.test")
	f.Add(chain, key)
	f.Add(slices.Concat(pemOf(a.root), pemOf(a.mid), leaf, key), []byte{})
	f.Add(leaf, slices.Concat(oldKeyPEM(f, key), pemOf(a.mid)))
	f.Add(chain[:len(chain)/2], key[:len(key)/2])
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: x\n\neA==\n-----END RSA PRIVATE KEY-----\n"), []byte("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		r, err := dirFiles{root: "x", now: time.Now}.parse([]file{{path: "1", data: slices.Clone(one)}, {path: "2", data: slices.Clone(two)}})
		if err != nil {
			t.Fatalf("parse: %v, want problems only", err)
		}
		check(t, r)
		if _, err := pairUnordered(one, two); err != nil && strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("the error speaks of a key: %v", err)
		}
	})
}
