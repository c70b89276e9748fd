package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// These tests take servers that people use through TCP and TLS tunnels, the
// clients that come with them, and look at nothing but what those clients see.

// tcpEdge is an edge with TCP ports on loopback, some of which other tests may
// have at the same time.
func tcpEdge() edge.Config {
	return edge.Config{TCPPorts: [2]int{30000, 30099}, TCPHost: "127.0.0.1"}
}

// startTCP runs an edge and an agent with a TCP tunnel to local and returns
// where the public side connects.
func startTCP(t testing.TB, local string, configure ...func(*rigConfig)) (r *rig, host, port string) {
	t.Helper()
	configure = append([]func(*rigConfig){func(c *rigConfig) {
		c.edge = tcpEdge()
		c.claim.Kind = tunnel.TCP
	}}, configure...)
	r = start(t, "tcp://"+local, configure...)
	u, err := url.Parse(r.grant.URL)
	if err != nil || u.Scheme != "tcp" || u.Hostname() != "tcp.tun.test" {
		t.Fatalf("URL = %q, want tcp://tcp.tun.test:PORT", r.grant.URL)
	}
	return r, "127.0.0.1", u.Port()
}

// service of bytes: f gets each connection, which is closed when it returns.
func tcpService(t testing.TB, f func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = c.SetDeadline(time.Now().Add(patience))
				f(c.(*net.TCPConn))
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

func dialTCP(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// program returns the path of a program that a test cannot do without.
func program(t testing.TB, name string, places ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range places {
		if found, _ := filepath.Glob(filepath.Join(pattern, name)); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not here: run tools/deps", name)
	}
	t.Skipf("%s is not here: run tools/deps", name)
	return ""
}

// nextPort is the next one that freePort looks at.
var nextPort atomic.Int32

func init() { nextPort.Store(rand.Int32N(9000)) }

// freePort returns a port of loopback that nobody listens on. It is below those
// that a system gives to whoever asks for any, so that nobody gets it in the
// meantime, and below those of the tests of the commands.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10_000 + int(nextPort.Add(1))%9000)
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// daemon runs a server until the test ends.
func daemon(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = out.Close()
		if log, _ := os.ReadFile(out.Name()); t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, log)
		}
	})
}

// tool runs a client and returns what it printed.
func tool(t testing.TB, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	out, code := toolCode(t, stdin, name, args...)
	if code != 0 {
		t.Fatalf("%s %s: exit code %d", name, strings.Join(args, " "), code)
	}
	return out
}

func toolCode(t testing.TB, stdin io.Reader, name string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	if stderr.Len() > 0 {
		t.Logf("%s: %s", filepath.Base(name), strings.TrimSpace(stderr.String()))
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func sum[S string | []byte](b S) string {
	s := sha256.Sum256([]byte(b))
	return hex.EncodeToString(s[:])
}

// connections returns the ended TCP connections that the API lists.
func (r *rig) connections(t testing.TB) (xs []inspector.Exchange) {
	t.Helper()
	all, err := r.api.Requests(t.Context(), r.grant.Name, client.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		if x.State == inspector.Done {
			xs = append(xs, x)
		}
	}
	return xs
}

func (r *rig) counters(t testing.TB) client.Tunnel {
	t.Helper()
	ts, err := r.api.Tunnels(t.Context())
	if err != nil || len(ts) == 0 {
		t.Fatalf("tunnels = %v, %v", ts, err)
	}
	return ts[0]
}

func TestPostgreSQL(t *testing.T) {
	const debian = "/usr/lib/postgresql/*/bin"
	initdb, postgres := program(t, "initdb", debian), program(t, "postgres", debian)
	psql, pgbench := program(t, "psql", debian), program(t, "pgbench", debian)
	dir, err := os.MkdirTemp("", "lrok-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// PostgreSQL refuses to run as root.
	as := func(name string, args ...string) *exec.Cmd { return exec.Command(name, args...) }
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		setpriv := program(t, "setpriv")
		as = func(name string, args ...string) *exec.Cmd {
			return exec.Command(setpriv, append([]string{"--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups", name}, args...)...)
		}
	}
	data := filepath.Join(dir, "data")
	make := as(initdb, "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C")
	make.Dir = dir
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	local := freePort(t)
	server := as(postgres, "-D", data, "-p", local, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
	server.Dir = dir
	daemon(t, server)
	direct := []string{"-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", local, "-U", "postgres", "-v", "ON_ERROR_STOP=1"}
	eventually(t, "PostgreSQL is up", func() bool {
		return exec.Command(psql, append(direct, "-c", "select 1")...).Run() == nil
	})

	r, host, port := startTCP(t, "127.0.0.1:"+local)
	through := []string{"-X", "-q", "-A", "-t", "-h", host, "-p", port, "-U", "postgres", "-v", "ON_ERROR_STOP=1"}
	sql := func(query string) string {
		t.Helper()
		return strings.TrimSpace(tool(t, nil, psql, append(through, "-c", query)...))
	}

	// pgbench: many short transactions over four connections.
	tool(t, nil, pgbench, "-i", "-q", "-h", host, "-p", port, "-U", "postgres", "postgres")
	out := tool(t, nil, pgbench, "-c", "4", "-T", "3", "-h", host, "-p", port, "-U", "postgres", "postgres")
	if m := regexp.MustCompile(`actually processed: (\d+)`).FindStringSubmatch(out); m == nil || m[1] == "0" {
		t.Errorf("pgbench processed no transaction:\n%s", out)
	} else {
		t.Logf("pgbench through the tunnel: %s transactions in 3 s", m[1])
	}
	if !strings.Contains(out, "failed transactions: 0 ") {
		t.Errorf("pgbench had failed transactions:\n%s", out)
	}
	if n := sql("select count(*) from pgbench_accounts"); n != "100000" {
		t.Errorf("pgbench_accounts has %s rows, want 100000", n)
	}

	// COPY: megabytes in each direction.
	var rows bytes.Buffer
	blob := hex.EncodeToString(randomBytes(4 << 20))
	for i := 0; i < len(blob); i += 1 << 10 {
		fmt.Fprintf(&rows, "%d\t%s\n", i, blob[i:i+1<<10])
	}
	sql("create table big (id int, v text)")
	want := sum(rows.Bytes())
	tool(t, bytes.NewReader(rows.Bytes()), psql, append(through, "-c", "copy big from stdin")...)
	if got := sum(tool(t, nil, psql, append(through, "-c", "copy (select * from big order by id) to stdout")...)); got != want {
		t.Errorf("copied out is %s, want %s as copied in", got, want)
	}
	if x := r.connections(t)[0]; x.Response.Body.Size < 8<<20 || x.Kind != inspector.TCP || x.Failed() {
		t.Errorf("the last connection = %+v, want a clean one of 8 MiB", x)
	}

	// LISTEN: a connection that says nothing for a while is pushed to.
	l := dialTCP(t, net.JoinHostPort(host, port))
	startup := "\x00\x03\x00\x00user\x00postgres\x00\x00"
	_, _ = l.Write(append(binary.BigEndian.AppendUint32(nil, uint32(4+len(startup))), startup...))
	pgUntil(t, l, 'Z')
	query := "listen news\x00"
	_, _ = l.Write(append(binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(4+len(query))), query...))
	pgUntil(t, l, 'Z')
	eventually(t, "the idle connection is listed as open", func() bool { return r.counters(t).Open == 1 })
	sql("notify news, 'it works'")
	if b := pgUntil(t, l, 'A'); !bytes.Contains(b, []byte("news\x00it works\x00")) {
		t.Errorf("the notification is %q, want news and what was said", b)
	}
	_ = l.Close()

	// Cancel: a second connection stops what the first one waits for.
	sleeper := exec.Command(psql, append(through, "-c", "select pg_sleep(60)")...)
	var stderr bytes.Buffer
	sleeper.Stderr = &stderr
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the query runs", func() bool {
		return sql("select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'") == "1"
	})
	_ = sleeper.Process.Signal(os.Interrupt)
	done := time.AfterFunc(patience, func() { _ = sleeper.Process.Kill() })
	_ = sleeper.Wait()
	done.Stop()
	if !strings.Contains(stderr.String(), "canceling statement due to user request") {
		t.Errorf("after Ctrl-C psql says %q, want that the statement was cancelled", stderr.String())
	}
}

// pgUntil reads messages of PostgreSQL's protocol until one of that kind and
// returns it.
func pgUntil(t testing.TB, c net.Conn, kind byte) []byte {
	t.Helper()
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatalf("read the server's message: %v", err)
		}
		body := make([]byte, min(binary.BigEndian.Uint32(head[1:])-4, 1<<20))
		if _, err := io.ReadFull(c, body); err != nil {
			t.Fatalf("read the server's message: %v", err)
		}
		switch head[0] {
		case kind:
			return body
		case 'E':
			t.Fatalf("the server says %q", body)
		}
	}
}

func TestRedis(t *testing.T) {
	server, cli, bench := program(t, "redis-server"), program(t, "redis-cli"), program(t, "redis-benchmark")
	local := freePort(t)
	daemon(t, exec.Command(server, "--port", local, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()))
	eventually(t, "Redis is up", func() bool {
		out, err := exec.Command(cli, "-p", local, "ping").Output()
		return err == nil && string(out) == "PONG\n"
	})
	r, host, port := startTCP(t, "127.0.0.1:"+local)
	at := []string{"-h", host, "-p", port}

	if out := tool(t, nil, cli, append(at, "ping")...); out != "PONG\n" {
		t.Errorf("PING is answered %q", out)
	}
	out := tool(t, nil, bench, append(at, "-n", "5000", "-c", "20", "-q", "--csv", "-t", "set,get")...)
	if !strings.Contains(out, `"SET"`) || !strings.Contains(out, `"GET"`) {
		t.Errorf("redis-benchmark says %q, want a line for SET and GET", out)
	}
	pipelined := tool(t, nil, bench, append(at, "-n", "20000", "-c", "5", "-P", "100", "-q", "--csv", "-t", "incr")...)
	if !strings.Contains(pipelined, `"INCR"`) {
		t.Errorf("redis-benchmark says %q, want a line for INCR", pipelined)
	}
	if n := strings.TrimSpace(tool(t, nil, cli, append(at, "get", "counter:__rand_int__")...)); n != "20000" {
		t.Errorf("the counter is %s after 20000 pipelined increments", n)
	}

	// A large value both ways.
	value := []byte(hex.EncodeToString(randomBytes(16 << 20)))
	if out := tool(t, bytes.NewReader(value), cli, append(at, "-x", "set", "big")...); out != "OK\n" {
		t.Errorf("SET of %d bytes is answered %q", len(value), out)
	}
	if got := strings.TrimSuffix(tool(t, nil, cli, append(at, "--raw", "get", "big")...), "\n"); sum(got) != sum(value) {
		t.Errorf("GET yields %d bytes, not those %d that were set", len(got), len(value))
	}
	if x := r.connections(t)[0]; x.Response.Body.Size < 32<<20 || x.Request.Body.SHA256+x.Response.Body.SHA256 != "" || len(x.Response.Body.Data) != 0 {
		t.Errorf("the connection of GET = %+v, want 32 MiB of which nothing is kept", x)
	}

	// Pub/sub: the server speaks when it has something to say.
	sub := exec.Command(cli, append(at, "--csv", "subscribe", "news")...)
	lines, err := sub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sub.Process.Kill()
		_ = sub.Wait()
	}()
	heard := make(chan string, 1)
	go func() {
		var all strings.Builder
		buf := make([]byte, 1024)
		for !strings.Contains(all.String(), "it works") {
			n, err := lines.Read(buf)
			all.Write(buf[:n])
			if err != nil {
				break
			}
		}
		heard <- all.String()
	}()
	eventually(t, "somebody hears what is published", func() bool {
		return tool(t, nil, cli, append(at, "publish", "news", "it works")...) == "1\n"
	})
	select {
	case s := <-heard:
		if !strings.Contains(s, "it works") {
			t.Errorf("the subscriber got %q, want what was published", s)
		}
	case <-time.After(patience):
		t.Error("the subscriber got nothing")
	}
}

func TestOpenSSH(t *testing.T) {
	sshd := program(t, "sshd", "/usr/sbin")
	ssh, scp, sftp, keygen := program(t, "ssh"), program(t, "scp"), program(t, "sftp"), program(t, "ssh-keygen")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		// Debian's sshd separates privileges there, and its service makes it.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "id"} {
		tool(t, nil, keygen, "-q", "-t", "ed25519", "-N", "", "-f", file(key))
	}
	local := freePort(t)
	config := fmt.Sprintf("ListenAddress 127.0.0.1:%s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
		local, file("host"), file("id.pub"))
	hostKey, err := os.ReadFile(file("host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	_, tunnelHost, port := startTCP(t, "127.0.0.1:"+local)
	known := fmt.Sprintf("[%s]:%s %s", tunnelHost, port, hostKey)
	for name, text := range map[string]string{"sshd_config": config, "known": known} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon(t, exec.Command(sshd, "-D", "-e", "-f", file("sshd_config")))
	eventually(t, "sshd is up", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+local)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	options := []string{"-F", "none", "-i", file("id"), "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + file("known"), "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes"}
	at := append(options, "-p", port, me.Username+"@"+tunnelHost)
	copying := append(options, "-P", port)
	remote := me.Username + "@" + tunnelHost + ":"

	if out, code := toolCode(t, nil, ssh, append(at, "echo hello; exit 7")...); out != "hello\n" || code != 7 {
		t.Errorf("ssh printed %q and exited with %d, want hello and 7", out, code)
	}
	blob := randomBytes(16 << 20)
	if err := os.WriteFile(file("blob"), blob, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, nil, scp, append(copying, "-q", file("blob"), remote+file("up"))...)
	tool(t, strings.NewReader("get "+file("up")+" "+file("down")+"\n"), sftp, append(copying, "-q", "-b", "-", me.Username+"@"+tunnelHost)...)
	for _, name := range []string{"up", "down"} {
		b, err := os.ReadFile(file(name))
		if err != nil || sum(b) != sum(blob) {
			t.Errorf("%s: %d bytes, %v, not the %d that were sent", name, len(b), err, len(blob))
		}
	}
	// The client ends its direction, and only then the answer comes.
	if out := tool(t, bytes.NewReader(blob), ssh, append(at, "sha256sum")...); !strings.HasPrefix(out, sum(blob)) {
		t.Errorf("sha256sum at the far end says %q, want %s", out, sum(blob))
	}
}

// TestRawEnds: what ends a connection on one side of the tunnel is seen for what
// it is on the other.
func TestRawEnds(t *testing.T) {
	saw := make(chan error, 1)
	local := tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "ready")
		b := make([]byte, 1)
		meant := false // and not the agent's first look at its service
		for {
			if _, err := c.Read(b); err != nil {
				if meant {
					saw <- err
				}
				return
			}
			switch b[0] {
			case '.':
				meant = true
				_, _ = c.Write(b)
			case 'r':
				_ = c.SetLinger(0)
				return
			case 'e':
				_ = c.Close()
				return
			case 'h':
				_ = c.CloseWrite()
			}
		}
	})
	r, host, port := startTCP(t, local)
	connect := func() *net.TCPConn {
		c := dialTCP(t, net.JoinHostPort(host, port))
		_, _ = io.WriteString(c, ".")
		if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
			t.Fatalf("the service's greeting: %v", err)
		}
		return c
	}
	read := func(c net.Conn) error {
		_, err := c.Read(make([]byte, 1))
		return err
	}

	c := connect()
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-saw; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client's reset is %v to the service, want a reset", err)
	}
	if x := r.last(t); x.EndedBy != "client" || x.Error != tunnel.CodeClientAborted {
		t.Errorf("it is listed as ended by %q, %q, want the client", x.EndedBy, x.Error)
	}
	c = connect()
	_ = c.CloseWrite()
	if err := <-saw; err != io.EOF {
		t.Errorf("a client's end is %v to the service, want the end", err)
	}
	if err := read(c); err != io.EOF {
		t.Errorf("the service's end is %v to the client, want the end", err)
	}
	if x := r.last(t); x.Failed() || x.Detail != "ended by the client (FIN)" || x.Timing.Dial <= 0 {
		t.Errorf("it is listed as %q, %q, %q after a dial of %v, want a clean end by the client", x.EndedBy, x.Error, x.Detail, x.Timing.Dial)
	}
	c = connect()
	_, _ = io.WriteString(c, "r")
	if err := read(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a service's reset is %v to the client, want a reset", err)
	}
	if x := r.last(t); x.EndedBy != "upstream" || x.Error != tunnel.CodeUpstreamAborted {
		t.Errorf("it is listed as ended by %q, %q, want upstream", x.EndedBy, x.Error)
	}
	c = connect()
	_, _ = io.WriteString(c, "h")
	if err := read(c); err != io.EOF {
		t.Errorf("a service's half-close is %v to the client, want the end", err)
	}
	_, _ = io.WriteString(c, "x")
	_ = c.CloseWrite()
	if err := <-saw; err != io.EOF {
		t.Errorf("after its half-close the service reads %v, want the client's end", err)
	}
	// A service that has closed for good takes nothing more, and the client
	// learns of it.
	c = connect()
	_, _ = io.WriteString(c, "e")
	if err := read(c); err != io.EOF {
		t.Errorf("a service's close is %v to the client, want the end", err)
	}
	eventually(t, "a client that goes on sending is reset", func() bool {
		_, err := io.WriteString(c, "x")
		return err != nil
	})
}

// TestRawAgentGone: the loss of the agent resets what is open and closes the
// port, and both come back with it.
func TestRawAgentGone(t *testing.T) {
	local := tcpService(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	e, _ := newEdge(t, tcpEdge())
	claim := rigConfig{claim: tunnel.Claim{Kind: tunnel.TCP}}
	a, _, stop := newAgent(t, e, "tcp://"+local, claim)
	g := online(t, a)
	address := "127.0.0.1" + g.URL[strings.LastIndex(g.URL, ":"):]
	echo := func() error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, "x")
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	}
	if err := echo(); err != nil {
		t.Fatalf("through the tunnel: %v", err)
	}
	c := dialTCP(t, address)
	_, _ = io.WriteString(c, "x")
	_, _ = io.ReadFull(c, make([]byte, 1))
	stop()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection ends with %v when the agent goes, want a reset", err)
	}
	eventually(t, "new connections are refused", func() bool { return echo() != nil })

	again, _, _ := newAgent(t, e, "tcp://"+local, claim)
	if g2 := online(t, again); g2.URL != g.URL {
		t.Errorf("the tunnel came back at %s, want %s: a port is sticky", g2.URL, g.URL)
	}
	if err := echo(); err != nil {
		t.Errorf("through the tunnel that is back: %v", err)
	}
}

// TestRawDrain: an edge that shuts down waits for open connections as for
// requests, and then resets them.
func TestRawDrain(t *testing.T) {
	local := tcpService(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	for _, test := range []struct {
		name    string
		timeout time.Duration
		ends    bool // the client is done before the timeout
	}{{"done in time", patience, true}, {"not done", 200 * time.Millisecond, false}} {
		t.Run(test.name, func(t *testing.T) {
			r, host, port := startTCP(t, local, func(c *rigConfig) { c.edge.DrainTimeout = test.timeout })
			address := net.JoinHostPort(host, port)
			c := dialTCP(t, address)
			_, _ = io.WriteString(c, "x")
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			stopped := make(chan struct{})
			go func() {
				r.stopEdge()
				close(stopped)
			}()
			eventually(t, "the port is closed", func() bool {
				c, err := net.Dial("tcp", address)
				if err == nil {
					_ = c.Close()
				}
				return err != nil
			})
			if test.ends {
				_, _ = io.WriteString(c, "still here")
				_ = c.CloseWrite()
				if b, err := io.ReadAll(c); err != nil || string(b) != "still here" {
					t.Errorf("read %q, %v during the drain, want the echo", b, err)
				}
			} else if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after the drain timeout the connection ends with %v, want a reset", err)
			}
			select {
			case <-stopped:
			case <-time.After(patience):
				t.Error("the edge does not stop")
			}
		})
	}
}

// TestRawPorts: a port that one user gave up is not handed to another one at
// once, and who may connect is decided before the local service is touched.
func TestRawPorts(t *testing.T) {
	local := tcpService(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello") })
	c := tcpEdge()
	c.TCPPorts[1] = c.TCPPorts[0] // there is only one
	e, _ := newEdge(t, c)
	a, _, stop := newAgent(t, e, "tcp://"+local, rigConfig{claim: tunnel.Claim{Kind: tunnel.TCP, Deny: []string{"127.0.0.0/8"}}})
	g := online(t, a)
	address := "127.0.0.1" + g.URL[strings.LastIndex(g.URL, ":"):]
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a denied client's connection ends with %v, want a reset", err)
	}
	key, _ := e.AdminKey()
	admin := client.Over(a.DialAPI, key)
	defer admin.Close()
	var xs []inspector.Exchange
	eventually(t, "the denial is listed", func() bool {
		xs, err = admin.Requests(t.Context(), g.Name, client.Query{})
		return err == nil && len(xs) == 1 && xs[0].State == inspector.Done
	})
	if xs[0].Error != tunnel.CodeAccessDenied || xs[0].EndedBy != "edge" {
		t.Errorf("it is listed as ended by %q, %q, want the edge and %q", xs[0].EndedBy, xs[0].Error, tunnel.CodeAccessDenied)
	}
	if took := xs[0].Timing.StreamOpen; took != 0 {
		t.Errorf("a stream to the agent was opened after %v, want none", took)
	}

	u, err := admin.AdminAddUser(t.Context(), client.UserRequest{Name: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := admin.AdminCreateKey(t.Context(), client.KeyRequest{User: u.ID, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	admin.Close()
	stop()
	// Until then its user's next agent is refused, as the second of two.
	later := apiOf(t, e, key)
	eventually(t, "the edge misses the agent", func() bool {
		ts, err := later.Tunnels(t.Context())
		return err == nil && (len(ts) == 0 || !ts[0].Online)
	})
	other := rigConfig{claim: tunnel.Claim{Kind: tunnel.TCP, Name: "other"}}
	other.agent.Key = k.Secret
	_, ended, _ := newAgent(t, e, "tcp://"+local, other)
	select {
	case err := <-ended:
		var te *tunnel.Error
		if !errors.As(err, &te) || te.Code != tunnel.CodeLimit {
			t.Errorf("the other user is told %v, want that no port is free", err)
		}
	case <-time.After(patience):
		t.Error("the other user waits, or got the port")
	}
	mine, _, _ := newAgent(t, e, "tcp://"+local, rigConfig{claim: tunnel.Claim{Kind: tunnel.TCP}})
	if g2 := online(t, mine); g2.URL != g.URL {
		t.Errorf("its own user gets %s, want %s", g2.URL, g.URL)
	}
}

// TestProxyHeaderOut: the local service learns in both versions who connects.
func TestProxyHeaderOut(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		heads := make(chan []byte, 8)
		local := tcpService(t, func(c *net.TCPConn) {
			if b, _ := io.ReadAll(c); len(b) > 0 {
				heads <- b
			}
		})
		_, host, port := startTCP(t, local, func(c *rigConfig) { c.claim.ProxyProtocol = version })
		c := dialTCP(t, net.JoinHostPort(host, port))
		from, to := c.LocalAddr().(*net.TCPAddr).Port, c.RemoteAddr().(*net.TCPAddr).Port
		_, _ = io.WriteString(c, "hello")
		_ = c.CloseWrite()
		want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello", from, to)
		if version == "v2" {
			b := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01")
			b = binary.BigEndian.AppendUint16(b, uint16(from))
			want = string(binary.BigEndian.AppendUint16(b, uint16(to))) + "hello"
		}
		select {
		case got := <-heads:
			if string(got) != want {
				t.Errorf("%s: the service reads %q, want %q", version, got, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s: the service got nothing", version)
		}
	}
}

// A singly writes single bytes.
type singly struct{ net.Conn }

func (s singly) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := s.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// TestTLSTunnel: client and local service speak TLS with each other; the edge
// has no part in it but to read the name.
func TestTLSTunnel(t *testing.T) {
	own := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", r.Proto, r.Host)
	}))
	own.EnableHTTP2 = true
	own.StartTLS()
	defer own.Close()
	local := own.Listener.Addr().String()
	r := start(t, "tcp://"+local, func(c *rigConfig) { c.claim.Kind = tunnel.TLS })
	u, err := url.Parse(r.grant.URL)
	if err != nil || u.Scheme != "tls" || u.Hostname() != "shop.tun.test" {
		t.Fatalf("URL = %q, want tls://shop.tun.test:PORT", r.grant.URL)
	}
	roots := x509.NewCertPool()
	roots.AddCert(own.Certificate())
	for _, proto := range []string{"h2", "http/1.1"} {
		config := &tls.Config{RootCAs: roots, ServerName: "shop.tun.test", NextProtos: []string{proto}}
		// The certificate of httptest is for another name. That it is this one
		// and no other is what is to be seen.
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: "example.com"})
			return err
		}
		tr := &http.Transport{ForceAttemptHTTP2: proto == "h2", TLSClientConfig: config, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := net.Dial("tcp", r.edge.HTTPSAddr())
			if err != nil {
				return nil, err
			}
			tc := tls.Client(singly{c}, config)
			return tc, tc.HandshakeContext(ctx)
		}}
		res, err := (&http.Client{Transport: tr, Timeout: patience}).Get("https://shop.tun.test/")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		tr.CloseIdleConnections()
		want := map[string]string{"h2": "HTTP/2.0 shop.tun.test", "http/1.1": "HTTP/1.1 shop.tun.test"}[proto]
		if string(b) != want {
			t.Errorf("%s: the service answers %q, want %q", proto, b, want)
		}
		if x := r.last(t); x.Kind != inspector.TLS || x.Host != "shop.tun.test" || x.Request.Body.Size < 200 || x.Method+x.Path != "" {
			t.Errorf("%s: exchange = %+v, want a TLS connection", proto, x)
		}
	}
	// Who comes without TLS is told, and gets nothing of the tunnel.
	if answer := r.exchange(t, "GET / HTTP/1.1\r\nHost: shop.tun.test\r\nConnection: close\r\n\r\n"); !strings.Contains(statusLine(answer), " 421 ") {
		t.Errorf("plain HTTP is answered %q, want 421", statusLine(answer))
	}
	// Another name, for which the edge has no certificate.
	_, err = tls.Dial("tcp", r.edge.HTTPSAddr(), &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true})
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a handshake for shop.example ends with %v, want the alert unrecognized_name", err)
	}
}

// TestProxyHeaderIn: the listeners believe a PROXY header of a trusted peer, the
// agents' as well.
func TestProxyHeaderIn(t *testing.T) {
	const header = "PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\n"
	control := make(chan string, 1)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { // a load balancer in front of the control port
		to := <-control
		for {
			c, err := front.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			_, _ = io.WriteString(up, header)
			wg.Go(func() { _, _ = io.Copy(up, c); _ = up.Close() })
			wg.Go(func() { _, _ = io.Copy(c, up); _ = c.Close() })
		}
	})
	t.Cleanup(func() { _ = front.Close(); wg.Wait() })

	local := service(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.WriteString(w, req.Header.Get("X-Forwarded-For"))
	})
	r := start(t, local, func(c *rigConfig) {
		c.edge.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.edge.Control = l.Addr().String()
		_ = l.Close()
		control <- c.edge.Control
		c.agent.Edge = front.Addr().String()
	})
	if got := r.counters(t).RemoteAddr; got != "203.0.113.9:5000" {
		t.Errorf("the agent is listed at %s, want 203.0.113.9:5000", got)
	}

	const request = "GET / HTTP/1.1\r\nHost: HOST\r\nX-Forwarded-For: 192.0.2.66\r\nConnection: close\r\n\r\n"
	if answer := r.exchange(t, header+request); bodyOf(answer) != "203.0.113.9" {
		t.Errorf("the service is told %q over HTTP, want 203.0.113.9 alone", bodyOf(answer))
	}
	if got := r.last(t).Remote; got != "203.0.113.9:5000" {
		t.Errorf("Remote = %s, want 203.0.113.9:5000", got)
	}
	c := dialTCP(t, r.edge.HTTPSAddr())
	_, _ = io.WriteString(c, header)
	config := r.edge.ClientTLS()
	config.ServerName = r.host
	tc := tls.Client(c, config)
	r.send(t, tc, request)
	b, _ := io.ReadAll(tc)
	if bodyOf(string(b)) != "203.0.113.9" {
		t.Errorf("the service is told %q over HTTPS, want 203.0.113.9 alone", bodyOf(string(b)))
	}
}

// BenchmarkTCPTunnel moves bytes to a service, through edge and agent and
// without them.
func BenchmarkTCPTunnel(b *testing.B) {
	sink := func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, c)
	}
	send := func(b *testing.B, address string) {
		c := dialTCP(b, address)
		_ = c.SetDeadline(time.Time{})
		data := make([]byte, 1<<20)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := c.Write(data); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
	}
	b.Run("direct", func(b *testing.B) { send(b, tcpService(b, sink)) })
	b.Run("tunnel", func(b *testing.B) {
		_, host, port := startTCP(b, tcpService(b, sink))
		send(b, net.JoinHostPort(host, port))
	})
}
