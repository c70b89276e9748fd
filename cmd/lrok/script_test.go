package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lrok-dev/lrok/edge/certs"
)

// The commands are tested as they are typed, in the scripts of
// testdata/script. Besides what testscript brings a script has
//
//	serve [FLAG...]         start lrok serve for *.tun.test, and set HTTP, CONTROL, CA and KEY;
//	                        with --tcp-ports FREE also PORT, one of ten that are free
//	reach                   have the commands that follow use that edge
//	start NAME PROGRAM...   start a program in the background
//	await NAME TEXT         wait until a line that it wrote holds TEXT
//	wait-file FILE TEXT     wait until a file is there and holds TEXT
//	term NAME CODE          end it with SIGTERM, want that exit code, and take its output
//	ended NAME CODE         the same for one that ends by itself
//	hangup NAME             send it SIGHUP
//	exits CODE PROGRAM...   run a program that ends with that exit code
//	request HOST METHOD TARGET [NAME:VALUE...] [BODY]
//	                        call a tunnel from the public side: status, head and body on stdout
//	shape TYPE...           stdout is NDJSON of those types, each line with v
//	nameserver FILE         answer for the DNS from a file, which may change later, and set DNS
//	dial ADDRESS [NAME]     say hello there, over TLS when a NAME is given, and want an answer
//
// and in SERVICE the address of a local service that answers POST /orders with
// JSON, /fail with 500 and everything else with its path; in ECHO and TLSECHO
// those of services that send back what they get.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               setUp,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": cmdServe, "reach": cmdReach, "start": cmdStart, "await": cmdAwait, "wait-file": cmdWaitFile,
			"term": cmdTerm, "hangup": cmdHangup, "ended": cmdEnded, "exits": cmdExits, "request": cmdRequest, "shape": cmdShape,
			"nameserver": cmdNameserver, "dial": cmdDial, "hold": cmdHold,
		},
	})
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lrok": main})
}

// patience is how long anything that should happen may take on a busy machine.
const patience = 30 * time.Second

type jobs map[string]*job

func setUp(e *testscript.Env) error {
	home := filepath.Join(e.WorkDir, ".home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	s := httptest.NewServer(new(shopService))
	e.Defer(s.Close)
	e.Vars = append(e.Vars, "HOME="+home, "USERPROFILE="+home, "SERVICE="+strings.TrimPrefix(s.URL, "http://"))
	for name, secure := range map[string]bool{"ECHO": false, "TLSECHO": true} {
		addr, stop, err := echo(secure)
		if err != nil {
			return err
		}
		e.Defer(stop)
		e.Vars = append(e.Vars, name+"="+addr)
	}
	// An exported program is compiled, and the home it is compiled in is empty.
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	// With the race detector a process waits a second before it ends.
	e.Vars = append(e.Vars, "GOCACHE="+strings.TrimSpace(string(cache)), "GORACE=atexit_sleep_ms=0")
	for _, name := range []string{"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"} {
		e.Vars = append(e.Vars, name+"="+home)
	}
	all := jobs{}
	e.Values["jobs"] = all
	e.Defer(func() {
		for _, j := range all {
			_ = j.cmd.Process.Kill()
			<-j.done
		}
	})
	return nil
}

type shopService struct{ orders atomic.Int64 }

func (s *shopService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Date", "Thu, 01 Jan 2026 00:00:00 GMT")
	switch r.URL.Path {
	case "/orders":
		w.Header().Set("Content-Type", "application/json")
		var got struct{ Item string }
		_ = json.Unmarshal(body, &got)
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"order":%d,"item":%q,"debug":%q}`+"\n", s.orders.Add(1), got.Item, r.Header.Get("X-Debug"))
	case "/fail":
		http.Error(w, "broken", http.StatusInternalServerError)
	default:
		_, _ = fmt.Fprintf(w, "%s %s\n", r.Method, r.URL.Path)
	}
}

// A job is a program in the background.
type job struct {
	cmd            *exec.Cmd
	stdout, stderr *lineLog
	done           chan struct{}
}

// A lineLog keeps what a program writes, and wakes who waits for it.
type lineLog struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more func()
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.more()
	return l.buf.Write(p)
}

func (l *lineLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func find(ts *testscript.TestScript, name string) *job {
	j := ts.Value("jobs").(jobs)[name]
	if j == nil {
		ts.Fatalf("nothing was started as %s", name)
	}
	return j
}

func start(ts *testscript.TestScript, name string, args ...string) {
	program, err := exec.LookPath(args[0])
	ts.Check(err)
	j := &job{cmd: exec.Command(program, args[1:]...), done: make(chan struct{})}
	j.stdout, j.stderr = &lineLog{more: func() {}}, &lineLog{more: func() {}}
	j.cmd.Stdout, j.cmd.Stderr = j.stdout, j.stderr
	j.cmd.Dir = ts.MkAbs(".")
	j.cmd.Env = environ(ts)
	ts.Check(j.cmd.Start())
	go func() {
		_ = j.cmd.Wait()
		close(j.done)
	}()
	ts.Value("jobs").(jobs)[name] = j
}

// environ is the script's environment: of the test's own it sees the path.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "USERPROFILE", "TMPDIR", "SYSTEMROOT", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
		"SERVICE", "GORACE", "GOCOVERDIR", "LROK_EDGE", "LROK_EDGE_CA", "LROK_API_KEY", "LROK_API_KEY_FILE",
		"LROK_BASIC_AUTH", "LROK_BASIC_AUTH_FILE", "LROK_CONFIG", "LROK_ADMIN_USER_IDS",
	} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func await(ts *testscript.TestScript, j *job, text string) string {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		over := time.Now().After(end)
		select {
		case <-j.done:
			over = true
		default:
		}
		for _, l := range []*lineLog{j.stdout, j.stderr} {
			for line := range strings.Lines(l.String()) {
				if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
					return strings.TrimSpace(line)
				}
			}
		}
		if over {
			ts.Fatalf("no line holds %q:\n%s%s", text, j.stdout, j.stderr)
		}
	}
}

// take waits for the end of a job and makes its output the script's.
func take(ts *testscript.TestScript, name, code string) {
	j := find(ts, name)
	select {
	case <-j.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end:\n%s%s", name, j.stdout, j.stderr)
	}
	_, _ = io.WriteString(ts.Stdout(), j.stdout.String())
	_, _ = io.WriteString(ts.Stderr(), j.stderr.String())
	if got := strconv.Itoa(j.cmd.ProcessState.ExitCode()); got != code {
		ts.Fatalf("%s ended with exit code %s, want %s (%v)\n%s%s", name, got, code, j.cmd.ProcessState, j.stdout, j.stderr)
	}
}

func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs("edge")
	if i := slices.Index(args, "FREE"); i >= 0 {
		first := freePorts(ts, 10)
		args[i] = fmt.Sprintf("%d-%d", first, first+9)
		ts.Setenv("PORT", strconv.Itoa(first+5))
	}
	all := append([]string{"lrok", "serve", "--domain", "tun.test", "--data-dir", dir, "--http", "127.0.0.1:0", "--control", "127.0.0.1:0", "--internal", "", "--tcp-ports", ""}, args...)
	start(ts, "edge", all...)
	j := find(ts, "edge")
	address := func(line string) string {
		f := strings.Fields(line)
		return f[len(f)-1]
	}
	ts.Setenv("HTTP", address(await(ts, j, "public HTTP ")))
	if slices.Contains(args, "--https") {
		ts.Setenv("HTTPS", address(await(ts, j, "public HTTPS ")))
	}
	ts.Setenv("CONTROL", address(await(ts, j, "agents ")))
	await(ts, j, "lrok http 3000") // the last words before it runs
	ts.Setenv("CA", filepath.Join(dir, "ca.pem"))
	ts.Setenv("KEY", filepath.Join(dir, "admin.key"))
}

// freePorts finds n ports in a row that nobody has, below those that a system
// gives to whoever asks for any.
func freePorts(ts *testscript.TestScript, n int) int {
	for range 100 {
		first := 20_000 + rand.IntN(1000)*n
		free := true
		for p := first; p < first+n && free; p++ {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
			if free = err == nil; free {
				_ = l.Close()
			}
		}
		if free {
			return first
		}
	}
	ts.Fatalf("there are no %d free ports in a row", n)
	return 0
}

func cmdReach(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("LROK_EDGE", ts.Getenv("CONTROL"))
	ts.Setenv("LROK_EDGE_CA", ts.Getenv("CA"))
	ts.Setenv("LROK_API_KEY_FILE", ts.Getenv("KEY"))
}

func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	start(ts, args[0], args[1:]...)
}

func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	_, _ = fmt.Fprintln(ts.Stdout(), await(ts, find(ts, args[0]), args[1]))
}

func cmdWaitFile(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		got, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(got), args[1]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s holds %q (%v), want %q", args[0], got, err, args[1])
		}
	}
}

func cmdTerm(ts *testscript.TestScript, _ bool, args []string) {
	if err := find(ts, args[0]).cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		ts.Fatalf("%v", err)
	}
	take(ts, args[0], args[1])
}

func cmdHangup(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(find(ts, args[0]).cmd.Process.Signal(syscall.SIGHUP))
}

func cmdEnded(ts *testscript.TestScript, _ bool, args []string) { take(ts, args[0], args[1]) }

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func cmdRequest(ts *testscript.TestScript, _ bool, args []string) {
	host, method, target, rest := args[0], args[1], args[2], args[3:]
	addr := ts.Getenv("HTTP")
	c, err := net.DialTimeout("tcp", addr, patience)
	ts.Check(err)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	body := ""
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, target, host)
	for i, a := range rest {
		if i == len(rest)-1 && !strings.Contains(strings.SplitN(a, ":", 2)[0], "X-") {
			body = a
			break
		}
		name, value, _ := strings.Cut(a, ":")
		head += name + ": " + strings.TrimSpace(value) + "\r\n"
	}
	_, err = fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	ts.Check(err)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	ts.Check(err)
	_, _ = fmt.Fprintf(ts.Stdout(), "%s\n", res.Status)
	_ = res.Header.Write(ts.Stdout())
	_, _ = io.WriteString(ts.Stdout(), "\n")
	_, err = io.Copy(ts.Stdout(), res.Body)
	ts.Check(err)
}

func cmdShape(ts *testscript.TestScript, _ bool, args []string) {
	var types []string
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		var event struct {
			V    int
			Type string
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.V != 1 {
			ts.Fatalf("%q is not an event of version 1: %v", line, err)
		}
		types = append(types, event.Type)
	}
	if got, want := strings.Join(types, " "), strings.Join(args, " "); got != want {
		ts.Fatalf("events of types %s, want %s", got, want)
	}
}

// echo is a service that sends back what it gets.
func echo(secure bool) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr = l.Addr().String()
	forget := func() {}
	if secure {
		dir, err := os.MkdirTemp("", "lrok-echo-")
		if err != nil {
			return "", nil, err
		}
		forget = func() { _ = os.RemoveAll(dir) }
		dev, err := certs.OpenDev(dir, "service.test", nil)
		if err != nil {
			return "", nil, err
		}
		l = tls.NewListener(l, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			own := *h
			own.ServerName = "service.test" // whatever it is called by
			return dev.Certificate(&own)
		}})
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	return addr, func() { _ = l.Close(); wg.Wait(); forget() }, nil
}

// cmdDial prints what comes back, and whose certificate was shown.
func cmdDial(ts *testscript.TestScript, neg bool, args []string) {
	said, err := sayHello(args)
	if (err != nil) != neg {
		ts.Fatalf("said %q, error %v", said, err)
	}
	_, _ = fmt.Fprintln(ts.Stdout(), said)
}

func sayHello(args []string) (string, error) {
	c, err := net.DialTimeout("tcp", args[0], patience)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	shown := ""
	if len(args) > 1 {
		// Whose certificate it is, is what the script looks at.
		t := tls.Client(c, &tls.Config{ServerName: args[1], InsecureSkipVerify: true})
		if err := t.Handshake(); err != nil {
			return "", err
		}
		shown = "certificate for " + strings.Join(t.ConnectionState().PeerCertificates[0].DNSNames, " ") + "\n"
		c = t
	}
	const hello = "hello\n"
	if _, err := io.WriteString(c, hello); err != nil {
		return shown, err
	}
	var got []byte
	for buf := make([]byte, 512); !bytes.Contains(got, []byte(hello)); {
		n, err := c.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			return shown + string(got), err
		}
	}
	return shown + strings.TrimSpace(string(got)), nil
}

// cmdHold connects and stays until the script ends.
func cmdHold(ts *testscript.TestScript, _ bool, args []string) {
	c, err := net.DialTimeout("tcp", args[0], patience)
	if err != nil {
		ts.Fatalf("%v", err)
	}
	ts.Defer(func() { _ = c.Close() })
}

// cmdNameserver answers from lines as they are in a zone file.
func cmdNameserver(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	ts.Check(err)
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Authoritative = true
		zone, _ := os.ReadFile(path)
		known := false
		for line := range strings.Lines(string(zone)) {
			rr, err := dns.NewRR(strings.TrimSpace(line))
			if err != nil || rr == nil || !strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
				continue
			}
			known = true
			if t := rr.Header().Rrtype; t == q.Question[0].Qtype || t == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		_ = s.ActivateAndServe()
		close(done)
	}()
	ts.Defer(func() {
		_ = pc.Close()
		<-done
	})
	ts.Setenv("DNS", pc.LocalAddr().String())
}
