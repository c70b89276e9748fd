package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests put the proxies of docs/self-hosting in front of an edge, with the
// very files that are shown there. Only addresses and names are others.

const (
	caller  = "127.0.0.9"                    // no trusted proxy, as opposed to 127.0.0.1
	oddPath = "/a%2Fb//c/../d?b=2;c=3&a=%zz" // what proxies like to clean
)

// shown returns a file of docs/self-hosting with pairs of strings replaced. Each
// must be there.
func shown(t testing.TB, name string, pairs ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "self-hosting", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(b), pairs[i]) {
			t.Errorf("there is no %q in %s", pairs[i], name)
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(b))
}

// A front is a proxy that runs in front of a rig.
type front struct {
	addr string
	tls  *tls.Config // for the tunnel, without protocols
}

// pair makes a certificate for names, and for tests that have only the address.
func pair(t testing.TB, names ...string) (cert, key string) {
	t.Helper()
	return pairIn(t, t.TempDir(), names...)
}

func pairIn(t testing.TB, dir string, names ...string) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, names[0]+"-cert.pem"), filepath.Join(dir, names[0]+"-key.pem")
	tool(t, nil, program(t, "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN="+names[0], "-addext", "subjectAltName=DNS:"+strings.Join(names, ",DNS:")+",IP:127.0.0.1", "-keyout", key, "-out", cert)
	return cert, key
}

// behind runs a proxy and waits until it listens.
func behind(t testing.TB, r *rig, port, cert string, cmd *exec.Cmd) *front {
	t.Helper()
	daemon(t, cmd)
	f := &front{addr: "127.0.0.1:" + port, tls: r.edge.ClientTLS()}
	if cert != "" {
		pem, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		f.tls = trust(t, pem)
	}
	f.tls.ServerName = r.host
	eventually(t, filepath.Base(cmd.Path)+" listens", func() bool {
		c, err := net.Dial("tcp", f.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return f
}

func nginx(t testing.TB, r *rig, port, cert, inner string) *front {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	if module := "/usr/lib/nginx/modules/ngx_stream_module.so"; exists(module) { // Debian's; elsewhere it may be built in
		b.WriteString("load_module " + module + ";\n")
	}
	b.WriteString("daemon off;\nmaster_process off;\npid " + dir + "/pid;\nerror_log stderr;\nevents {}\n" + inner)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return behind(t, r, port, cert, exec.Command(program(t, "nginx", "/usr/sbin"), "-p", dir, "-e", "stderr", "-c", file))
}

func nginxHTTP(t testing.TB, dir, server string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("http {\naccess_log off;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		b.WriteString(kind + "_temp_path " + filepath.Join(dir, kind) + ";\n")
	}
	return b.String() + server + "}\n"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func haproxy(t testing.TB, r *rig, port, cert, config string) *front {
	t.Helper()
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return behind(t, r, port, cert, exec.Command(program(t, "haproxy", "/usr/sbin"), "-db", "-f", file))
}

// dial calls the tunnel through the proxy, from caller's address.
func (f *front) dial(ctx context.Context, protos ...string) (net.Conn, error) {
	c := f.tls.Clone()
	c.NextProtos = protos
	d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(caller)}}, Config: c}
	return d.DialContext(ctx, "tcp", f.addr)
}

func TestProxies(t *testing.T) {
	for _, p := range []struct {
		name     string
		faithful bool // the proxy passes TLS through and sees no HTTP
		run      func(t testing.TB, r *rig) *front
	}{
		{"nginx passes through", true, func(t testing.TB, r *rig) *front {
			port := freePort(t)
			return nginx(t, r, port, "", shown(t, "nginx-stream.conf", "lrok.example.com", "tun.test",
				"127.0.0.1:8443", r.edge.HTTPSAddr(), "listen 443;", "listen 127.0.0.1:"+port+";", "listen [::]:443;", ""))
		}},
		{"HAProxy passes through", true, func(t testing.TB, r *rig) *front {
			port := freePort(t)
			return haproxy(t, r, port, "", shown(t, "haproxy.cfg", "lrok.example.com", "tun.test",
				"127.0.0.1:8443", r.edge.HTTPSAddr(), ":443,[::]:443 v6only", "127.0.0.1:"+port))
		}},
		{"nginx ends TLS", false, func(t testing.TB, r *rig) *front {
			port := freePort(t)
			cert, key := pair(t, "tun.test", "*.tun.test")
			return nginx(t, r, port, cert, nginxHTTP(t, t.TempDir(), shown(t, "nginx-http.conf",
				"/etc/letsencrypt/live/lrok.example.com/fullchain.pem", cert, "/etc/letsencrypt/live/lrok.example.com/privkey.pem", key,
				"lrok.example.com", "tun.test", "127.0.0.1:8080", r.edge.HTTPAddr(), "listen 443 ", "listen 127.0.0.1:"+port+" ", "listen [::]:443 ssl http2;", "")))
		}},
		{"HAProxy ends TLS", false, func(t testing.TB, r *rig) *front {
			port := freePort(t)
			cert, key := pair(t, "tun.test", "*.tun.test")
			both := filepath.Join(t.TempDir(), "lrok.pem")
			tool(t, nil, "sh", "-c", `cat "$0" "$1" >"$2"`, cert, key, both)
			return haproxy(t, r, port, cert, shown(t, "haproxy-http.cfg", "lrok.example.com", "tun.test",
				"127.0.0.1:8080", r.edge.HTTPAddr(), ":443,[::]:443 v6only", "127.0.0.1:"+port, "/etc/haproxy/lrok.pem", both))
		}},
	} {
		t.Run(p.name, func(t *testing.T) {
			heads, release := make(chan string, 16), make(chan struct{}, 1)
			r := start(t, raw(t, func(c *net.TCPConn, br *bufio.Reader, head string) {
				heads <- head
				switch {
				case strings.Contains(head, "GET /ws "):
					_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
					_, _ = io.Copy(c, br)
				case strings.Contains(head, "GET /events "):
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n")
					<-release
					_, _ = io.WriteString(c, "data: two\n\n")
				default:
					_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				}
			}), trusting, func(c *rigConfig) { c.edge.PublicURL = "https" })
			f := p.run(t, r)
			dial := func() (net.Conn, *bufio.Reader) {
				t.Helper()
				c, err := f.dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				t.Cleanup(func() { _ = c.Close() })
				return c, bufio.NewReader(c)
			}

			// One request with all that goes wrong.
			c, br := dial()
			r.send(t, c, "GET "+oddPath+" HTTP/1.1\r\nHost: HOST\r\nX-GitHub-Event: push\r\nstripe-signature: v1\r\n"+
				"X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\nConnection: close\r\n\r\n")
			if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 204") {
				t.Fatalf("answer %q, %v; want 204", line, err)
			}
			head := <-heads
			if p.faithful {
				wantStart(t, head, "GET "+oddPath+" HTTP/1.1")
				wantLine(t, head, "X-GitHub-Event: push")
				wantLine(t, head, "stripe-signature: v1")
				wantLine(t, head, "X-Forwarded-For: "+caller)
			} else {
				// Header names may have become others; this should not.
				wantStart(t, head, "GET "+oddPath+" HTTP/1.1")
				t.Log(head)
				wantLine(t, strings.ToLower(head), "x-github-event: push")
				wantLine(t, strings.ToLower(head), "x-forwarded-for: "+caller+", 127.0.0.1")
			}
			wantNone(t, head, "6.6.6.6")
			wantNone(t, head, "gopher")
			wantLine(t, strings.ToLower(head), "x-forwarded-proto: https")
			if x := r.last(t); !strings.HasPrefix(x.Remote, caller+":") && x.Remote != caller || x.Path != oddPath {
				t.Errorf("captured from %s: %s, want from %s: %s", x.Remote, x.Path, caller, oddPath)
			}

			// HTTP/2.
			h2 := &http.Transport{
				ForceAttemptHTTP2: true, DisableCompression: true,
				DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dial(ctx, "h2") },
			}
			defer h2.CloseIdleConnections()
			res, err := (&http.Client{Transport: h2, Timeout: patience}).Get("https://" + r.host + "/h2")
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.ProtoMajor != 2 || res.StatusCode != http.StatusNoContent {
				t.Errorf("%s %d, want HTTP/2.0 204", res.Proto, res.StatusCode)
			}
			wantLine(t, strings.ToLower(<-heads), "x-forwarded-for: "+map[bool]string{true: caller, false: caller + ", 127.0.0.1"}[p.faithful])

			// WebSocket.
			c, br = dial()
			r.send(t, c, "GET /ws HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			if answer, err := readHead(br); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 101") {
				t.Fatalf("answer %q, %v; want 101", answer, err)
			}
			<-heads
			for _, frame := range []string{"\x81\x85\x00\x00\x00\x00hello", string(randomBytes(100_000))} {
				go func() { _, _ = io.WriteString(c, frame) }()
				back := make([]byte, len(frame))
				if _, err := io.ReadFull(br, back); err != nil || string(back) != frame {
					t.Errorf("%d bytes came back as others (%v)", len(frame), err)
				}
			}

			// Server-sent events: each when it is written, and the end.
			c, br = dial()
			r.send(t, c, "GET /events HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
			<-heads
			for _, want := range []string{"data: one\n", "data: two\n"} {
				for {
					line, err := br.ReadString('\n')
					if err != nil {
						t.Fatalf("%q, %v; want %q", line, err, want)
					}
					if line == want {
						break
					}
				}
				select {
				case release <- struct{}{}:
				default:
				}
			}
		})
	}
}

// TestTraefikIsToldOfCertificates follows what Traefik is told of a custom
// domain: end its TLS until the edge has a certificate, then pass it through.
func TestTraefikIsToldOfCertificates(t *testing.T) {
	t.Parallel()
	const host = "hooks.example.org"
	ns, dir := newNameserver(t), t.TempDir()
	cert, _ := pairIn(t, dir, "tun.test", "*.tun.test")
	e := serve(t, nil, "--internal", "127.0.0.1:0", "--tls-dir", dir, "--resolver", ns.addr,
		"--traefik-service", "http://10.0.0.2:8080", "--traefik-passthrough", "10.0.0.2:8443", "--traefik-resolver", "single")
	internal := strings.Fields(e.stderr.await(t, "  health "))[1]
	reach := []string{"LROK_EDGE=" + e.control, "LROK_EDGE_CA=" + cert, "LROK_API_KEY_FILE=" + e.keyFile()}

	add := lrok(t, reach, "domain", "add", host, "--json")
	if code := add.wait(); code != 0 {
		t.Fatalf("exit code %d, want 0\n%s", code, add.stderr)
	}
	var added struct {
		Records []struct{ Type, Name, Value string }
	}
	if err := json.Unmarshal([]byte(add.stdout.String()), &added); err != nil || len(added.Records) != 2 {
		t.Fatalf("%v: %s", err, add.stdout)
	}
	for _, r := range added.Records {
		value := r.Value + "."
		if r.Type == "TXT" {
			value = `"` + r.Value + `"`
		}
		ns.set(r.Name, r.Type+" "+value)
	}
	if verify := lrok(t, reach, "domain", "verify", host); verify.wait() != 0 {
		t.Fatalf("not verified:\n%s%s", verify.stdout, verify.stderr)
	}

	told := func() string {
		t.Helper()
		res, err := http.Get("http://" + internal + "/traefik.json")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := told(); !strings.Contains(got, "\"Host(`"+host+"`)\"") || strings.Contains(got, "HostSNI") {
		t.Errorf("without a certificate Traefik is told\n%s\nwant an HTTP router for %s alone", got, host)
	}
	pairIn(t, dir, host)
	if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Traefik is told to pass through", func() bool {
		return strings.Contains(told(), "HostSNI(`"+host+"`)")
	})
	if got := told(); strings.Contains(got, "\"Host(`"+host+"`)\"") || !strings.Contains(got, `"main": "`+host+`"`) || !strings.Contains(got, `"10.0.0.2:8443"`) {
		t.Errorf("with a certificate Traefik is told\n%s\nwant a TCP router, and an HTTP router that only orders", got)
	}
}
