package forward

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// claim opens another tunnel to local.
func (r *rig) claim(t *testing.T, owner, local string, c tunnel.Claim) *rig {
	t.Helper()
	c.Local = "http://" + local
	if c.Kind == "" {
		c.Kind = tunnel.HTTP
	}
	sess := &direct{addr: local}
	if _, err := r.f.cfg.Registry.Claim(t.Context(), sess, owner, "i-"+c.Name, "m", []tunnel.Claim{c}); err != nil {
		t.Fatal(err)
	}
	tn, _ := r.f.cfg.Registry.Tunnel(c.Name)
	t.Cleanup(func() { r.f.cfg.Registry.CloseTunnel(owner, c.Name) })
	return &rig{f: r.f, tunnel: tn, sess: sess, addr: r.addr}
}

// echo answers with what it saw of a request.
func echo(t *testing.T) string {
	return service(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s auth=%q proxy=%q body=%q", r.Method, r.URL, r.Header["Authorization"], r.Header["Proxy-Authorization"], b)
	})
}

func loopbackIsTrusted(c *Config) {
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.9.0.0/16")}
}

func TestAddressRules(t *testing.T) {
	office := tunnel.Claim{Allow: []string{"192.0.2.0/24", "2001:db8::/32"}, Deny: []string{"192.0.2.66"}}
	denies := tunnel.Claim{Deny: []string{"192.0.2.0/24"}}
	for _, c := range []struct {
		name      string
		rules     tunnel.Claim
		trusted   bool
		forwarded []string
		want      int
	}{
		{"allowed", office, true, []string{"192.0.2.1"}, 200},
		{"allowed, IPv6", office, true, []string{"2001:db8::1"}, 200},
		{"allowed, IPv4 in IPv6", office, true, []string{"::ffff:192.0.2.1"}, 200},
		{"allowed, with a port", office, true, []string{"192.0.2.1:4711"}, 200},
		{"allowed, behind two proxies", office, true, []string{"192.0.2.1, 10.9.0.1"}, 200},
		{"allowed, behind two proxies with a line each", office, true, []string{"192.0.2.1", "10.9.0.1"}, 200},
		{"not allowed", office, true, []string{"198.51.100.1"}, 403},
		{"deny wins over allow", office, true, []string{"192.0.2.66"}, 403},
		{"a client cannot put an address in front of its own", office, true, []string{"192.0.2.1, 198.51.100.1"}, 403},
		{"nor on a line in front", office, true, []string{"192.0.2.1", "198.51.100.1"}, 403},
		{"what is no address ends the walk", office, true, []string{"192.0.2.1, unknown"}, 403},
		{"the proxy itself is not allowed", office, true, nil, 403},
		{"only a trusted proxy speaks for others", office, false, []string{"192.0.2.1"}, 403},
		{"denied", denies, true, []string{"192.0.2.1"}, 403},
		{"not denied", denies, true, []string{"198.51.100.1"}, 200},
		{"not denied, whatever it says of itself", denies, false, []string{"192.0.2.1"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := start(t, echo(t), func(cfg *Config) {
				if c.trusted {
					loopbackIsTrusted(cfg)
				}
			})
			c.rules.Name = "office"
			r := base.claim(t, "u", echo(t), c.rules)
			nc, br := r.dial(t)
			head := "GET / HTTP/1.1\r\nHost: office.tun.test\r\n"
			for _, line := range c.forwarded {
				head += "X-Forwarded-For: " + line + "\r\n"
			}
			res, body := ask(t, nc, br, head+"\r\n")
			if res.StatusCode != c.want {
				t.Fatalf("Status = %d, want %d: %s", res.StatusCode, c.want, body)
			}
			x := r.last(t)
			if c.want == 200 {
				if x.Error != "" {
					t.Errorf("Error = %q, want none", x.Error)
				}
				return
			}
			if got := res.Header.Get("Lrok-Error-Code"); got != tunnel.CodeAccessDenied {
				t.Errorf("Lrok-Error-Code = %q, want %q", got, tunnel.CodeAccessDenied)
			}
			if x.Status != 403 || x.Error != tunnel.CodeAccessDenied || x.EndedBy != "edge" {
				t.Errorf("captured %d %q ended by %q, want 403 %q by edge", x.Status, x.Error, x.EndedBy, tunnel.CodeAccessDenied)
			}
			if n := r.sess.opened(); n != 0 {
				t.Errorf("%d streams were opened for a request that is refused, want 0", n)
			}
		})
	}
}

func basic(login string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(login)) + "\r\n"
}

var locked = tunnel.Claim{Name: "locked", BasicUser: "ann", BasicPassword: "pa:ss wörd"}

func TestLogin(t *testing.T) {
	r := start(t, echo(t)).claim(t, "u", echo(t), locked)
	right := basic("ann:pa:ss wörd")
	for _, c := range []struct {
		name, lines string
		want        int
		capture     string
	}{
		{"without", "", 401, ""},
		{"right", right, 200, "Basic ***"},
		{"right, the scheme in another case", strings.Replace(right, "Basic", "bASIC", 1), 200, "bASIC ***"},
		{"right, more spaces", strings.Replace(right, "Basic ", "Basic   ", 1), 200, "Basic ***"},
		{"right, listed by Connection", right + "Connection: Authorization\r\n", 200, "Basic ***"},
		{"wrong password", basic("ann:pass"), 401, "Basic ***"},
		{"wrong user", basic("bob:pa:ss wörd"), 401, "Basic ***"},
		{"no colon", basic("ann"), 401, "Basic ***"},
		{"nothing in it", "Authorization:\r\n", 401, "***"},
	} {
		nc, br := r.dial(t)
		res, body := ask(t, nc, br, "GET /x HTTP/1.1\r\nHost: locked.tun.test\r\nProxy-Authorization: Basic b3RoZXI=\r\n"+c.lines+"\r\n")
		if res.StatusCode != c.want {
			t.Errorf("%s: Status = %d, want %d: %s", c.name, res.StatusCode, c.want, body)
		}
		x := r.last(t)
		if x.Status != c.want || x.Request.Get("Authorization") != c.capture {
			t.Errorf("%s: captured %d with Authorization %q, want %d with %q", c.name, x.Status, x.Request.Get("Authorization"), c.want, c.capture)
		}
		for _, word := range strings.Fields(c.lines) {
			if word[0] == 'Y' && bytes.Contains(x.Request.Head, []byte(word)) { // base64 of the users' names
				t.Errorf("%s: the capture holds the login:\n%s", c.name, x.Request.Head)
			}
		}
		switch c.want {
		case 200:
			if want := `GET /x auth=[] proxy=["Basic b3RoZXI="] body=""`; body != want {
				t.Errorf("%s: the service saw %s, want %s", c.name, body, want)
			}
		case 401:
			if got, want := res.Header.Get("WWW-Authenticate"), `Basic realm="locked", charset="UTF-8"`; got != want {
				t.Errorf("%s: WWW-Authenticate = %q, want %q", c.name, got, want)
			}
			if x.Error != tunnel.CodeUnauthorized || x.EndedBy != "edge" || res.Header.Get("Lrok-Error-Code") != tunnel.CodeUnauthorized {
				t.Errorf("%s: captured %q by %q, answered %q; want %q by edge", c.name, x.Error, x.EndedBy, res.Header.Get("Lrok-Error-Code"), tunnel.CodeUnauthorized)
			}
		}
	}
}

// What the edge did not check is not taken for checked, and what it did not ask
// for is left alone.
func TestOtherLogins(t *testing.T) {
	base := start(t, echo(t))
	r := base.claim(t, "u", echo(t), locked)
	for name, lines := range map[string]string{
		"two lines":     basic("ann:pa:ss wörd") + basic("bob:x"),
		"bearer":        "Authorization: Bearer " + base64.StdEncoding.EncodeToString([]byte("ann:pa:ss wörd")) + "\r\n",
		"two in a line": strings.TrimSpace(basic("ann:pa:ss wörd")) + ", Bearer x\r\n",
		"twin":          strings.Replace(basic("ann:pa:ss wörd"), "Authorization", "X_Authorization", 1),
	} {
		nc, br := r.dial(t)
		if res, body := ask(t, nc, br, "GET / HTTP/1.1\r\nHost: locked.tun.test\r\n"+lines+"\r\n"); res.StatusCode != 401 {
			t.Errorf("%s: Status = %d, want 401: %s", name, res.StatusCode, body)
		}
	}
	nc, br := base.dial(t)
	if _, body := ask(t, nc, br, "GET / HTTP/1.1\r\nHost: a.tun.test\r\nAuthorization: Bearer mine\r\n\r\n"); !strings.Contains(body, "Bearer mine") {
		t.Errorf("a tunnel without a login did not get its own: %s", body)
	}
	if x := base.last(t); x.Request.Get("Authorization") != "Bearer mine" {
		t.Errorf("captured Authorization %q, want it as it came", x.Request.Get("Authorization"))
	}
}

// One request that passed opens nothing for the next on its connection, nor for
// another tunnel's.
func TestEachRequestIsChecked(t *testing.T) {
	base := start(t, echo(t))
	r := base.claim(t, "u", echo(t), locked)
	nc, br := r.dial(t)
	for i, c := range []struct {
		host, lines string
		want        int
	}{
		{"locked", basic("ann:pa:ss wörd"), 200},
		{"locked", "", 401},
		{"a", "", 200},
		{"locked", "", 401},
		{"locked", basic("ann:pa:ss wörd"), 200},
		{"locked", basic("ann:no"), 401},
	} {
		// A body keeps the stream for this client alone.
		body := ""
		if c.want == 200 {
			body = "hello"
		}
		res, got := ask(t, nc, br, fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: %s.tun.test\r\n%sContent-Length: %d\r\n\r\n%s", i, c.host, c.lines, len(body), body))
		if res.StatusCode != c.want || res.Close {
			t.Fatalf("request %d: Status = %d, close %v; want %d on a connection that stays: %s", i, res.StatusCode, res.Close, c.want, got)
		}
	}
}

// Nobody reads the body of a refused request, so nobody may take it for the next
// request either.
func TestRefusedRequestHidesNoOther(t *testing.T) {
	r := start(t, echo(t)).claim(t, "u", echo(t), locked)
	inner := "GET /smuggled HTTP/1.1\r\nHost: locked.tun.test\r\n" + basic("ann:pa:ss wörd") + "\r\n"
	for name, rest := range map[string]string{
		"fixed":             fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner), inner),
		"fixed, in part":    fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner)+100, inner),
		"chunked":           fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(inner), inner),
		"awaiting the word": fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
	} {
		nc, _ := r.dial(t)
		_, _ = io.WriteString(nc, "POST / HTTP/1.1\r\nHost: locked.tun.test\r\n"+rest)
		all, _ := io.ReadAll(nc)
		if n := strings.Count(string(all), "HTTP/1.1 "); n != 1 || !strings.HasPrefix(string(all), "HTTP/1.1 401 ") {
			t.Errorf("%s: %d answers, want one 401:\n%s", name, n, all)
		}
	}
	if n := r.sess.opened(); n != 0 {
		t.Errorf("%d streams were opened, want 0", n)
	}
	for _, x := range r.tunnel.Ring.List(0, 0) {
		if x.Path == "/smuggled" {
			t.Error("a body was taken for a request")
		}
	}
}

func TestRulesHoldForUpgrades(t *testing.T) {
	local := rawService(t, func(c net.Conn, br *bufio.Reader) {
		head, err := readHead(br)
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.WriteString(c, head)
		_, _ = io.Copy(c, br)
	})
	base := start(t, local, loopbackIsTrusted)
	claim := locked
	claim.Allow, claim.HostHeader = []string{"192.0.2.1"}, "inner.test:3000"
	r := base.claim(t, "u", local, claim)
	upgrade := "GET /ws HTTP/1.1\r\nHost: locked.tun.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	for _, c := range []struct {
		lines string
		want  int
	}{
		{"X-Forwarded-For: 192.0.2.2\r\n" + basic("ann:pa:ss wörd"), 403},
		{"X-Forwarded-For: 192.0.2.1\r\n", 401},
		{"X-Forwarded-For: 192.0.2.1\r\n" + basic("ann:pa:ss wörd"), 101},
	} {
		nc, br := r.dial(t)
		_, _ = io.WriteString(nc, upgrade+c.lines+"\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != c.want {
			t.Fatalf("Status = %d, want %d", res.StatusCode, c.want)
		}
		if c.want != 101 {
			continue
		}
		head, err := readHead(br)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(head, "Authorization") {
			t.Errorf("the login was passed on:\n%s", head)
		}
		if !strings.Contains(head, "\r\nHost: inner.test:3000\r\n") || !strings.Contains(head, "\r\nX-Forwarded-Host: locked.tun.test\r\n") {
			t.Errorf("want Host: inner.test:3000 and the client's as X-Forwarded-Host:\n%s", head)
		}
		_ = nc.Close()
	}
}

// The owner may repeat what was let in and what was refused; what is masked in
// the capture is not sent to the local service.
func TestReplayPassesTheRules(t *testing.T) {
	r := start(t, echo(t)).claim(t, "u", echo(t), locked)
	for _, lines := range []string{basic("ann:pa:ss wörd"), basic("ann:wrong"), ""} {
		nc, br := r.dial(t)
		ask(t, nc, br, "GET /x HTTP/1.1\r\nHost: locked.tun.test\r\n"+lines+"\r\n")
		x := r.last(t)
		if _, err := r.f.Replay(t.Context(), r.tunnel, x, inspector.Changes{}); err != nil {
			t.Fatal(err)
		}
		y := r.last(t)
		if want := `GET /x auth=[] proxy=[] body=""`; y.ReplayOf != x.ID || string(y.Response.Body.Data) != want {
			t.Errorf("replay %d %q, want %q", y.Status, y.Response.Body.Data, want)
		}
	}
	changes := inspector.Changes{Set: []inspector.Field{{Name: "Authorization", Value: "Bearer mine"}}}
	if _, err := r.f.Replay(t.Context(), r.tunnel, r.last(t), changes); err != nil {
		t.Fatal(err)
	}
	if got := string(r.last(t).Response.Body.Data); !strings.Contains(got, "Bearer mine") {
		t.Errorf("the login of the replay did not arrive: %s", got)
	}
}

func TestGuessing(t *testing.T) {
	g := guard{wrong: map[guesser]guesses{}}
	k := guesser{netip.MustParsePrefix("192.0.2.1/32"), "a"}
	now := time.Unix(1_700_000_000, 0)
	tries := 0
	for end := now.Add(time.Minute); now.Before(end); now = now.Add(10 * time.Millisecond) {
		if g.wait(k, now) <= 0 {
			g.failed(k, now)
			tries++
		}
	}
	// 5 free ones, 5 in the pauses up to 4 s, and then one in 5 s.
	if tries < 15 || tries > 25 {
		t.Errorf("%d passwords were looked at in a minute, want about 20", tries)
	}
	if w := g.wait(guesser{k.from, "b"}, now); w != 0 {
		t.Errorf("another tunnel has to wait %v", w)
	}
	if w := g.wait(guesser{netip.MustParsePrefix("192.0.2.2/32"), "a"}, now); w != 0 {
		t.Errorf("another address has to wait %v", w)
	}
	later := now.Add(forgetGuesses + time.Second)
	g.failed(k, later)
	if w := g.wait(k, later); w != 0 {
		t.Errorf("after %v one wrong password costs %v, want nothing", forgetGuesses, w)
	}
	for i := range 2 * maxGuessers {
		g.failed(guesser{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), "a"}, later)
	}
	if len(g.wrong) > maxGuessers {
		t.Errorf("the table holds %d, want at most %d", len(g.wrong), maxGuessers)
	}
}

func TestTooManyWrongPasswords(t *testing.T) {
	r := start(t, echo(t)).claim(t, "u", echo(t), locked)
	nc, br := r.dial(t)
	send := func(lines string) *http.Response {
		res, _ := ask(t, nc, br, "GET / HTTP/1.1\r\nHost: locked.tun.test\r\n"+lines+"\r\n")
		return res
	}
	limited := 0
	for range 3 * freeGuesses {
		if res := send(basic("ann:guess")); res.StatusCode == 429 {
			limited++
			if res.Header.Get("Retry-After") == "" || res.Header.Get("Lrok-Error-Code") != tunnel.CodeLimit {
				t.Errorf("429 with Retry-After %q and code %q", res.Header.Get("Retry-After"), res.Header.Get("Lrok-Error-Code"))
			}
		}
	}
	if limited == 0 {
		t.Fatal("no guess was turned away")
	}
	if res := send(basic("ann:pa:ss wörd")); res.StatusCode != 429 {
		t.Errorf("Status = %d, want 429: a right guess must look like a wrong one for now", res.StatusCode)
	}
	if res := send(""); res.StatusCode != 401 {
		t.Errorf("Status = %d, want 401 for who has not tried", res.StatusCode)
	}
	waitFor(t, func() bool { return send(basic("ann:pa:ss wörd")).StatusCode == 200 })
}

// secure serves the same tunnels over TLS and returns the address.
func (r *rig) secure(t testing.TB) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS()
	certificates := s.TLS.Certificates
	s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.f.Serve(l, &tls.Config{Certificates: certificates}) })
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// over2 returns a client whose connections are all made to sni.
func over2(t *testing.T, addr, sni string, h2 bool) *http.Client {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: sni} //nolint:gosec // the certificate is not what is tested
	if sni == "" {
		config.ServerName = "127.0.0.1" // an address is no SNI
	}
	var protocols http.Protocols
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	tr := &http.Transport{
		Protocols: &protocols, TLSClientConfig: config, DisableCompression: true,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			c := config.Clone()
			c.NextProtos = []string{"http/1.1"}
			if h2 {
				c.NextProtos = []string{"h2"}
			}
			return tls.Dial("tcp", addr, c)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func get(t *testing.T, c *http.Client, addr, host string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+addr+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestRulesOverHTTP2(t *testing.T) {
	var saw sync.Map
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		saw.Store("host", r.Host)
		_, _ = fmt.Fprintf(w, "auth=%q", r.Header["Authorization"])
	})
	claim := locked
	claim.HostHeader = "rewrite"
	r := start(t, local).claim(t, "u", local, claim)
	addr := r.secure(t)
	c := over2(t, addr, "locked.tun.test", true)
	right := "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:pa:ss wörd"))
	for _, want := range []struct {
		status int
		header []string
	}{
		{401, nil},
		{200, []string{"Authorization", right}},
		{401, []string{"Authorization", "Basic eDp5"}},
		{401, []string{"Authorization", right, "Authorization", "Bearer x"}},
		{200, []string{"Authorization", right}},
	} {
		res, body := get(t, c, addr, "locked.tun.test", want.header...)
		if res.ProtoMajor != 2 || res.StatusCode != want.status {
			t.Fatalf("%s %d, want HTTP/2 %d: %s", res.Proto, res.StatusCode, want.status, body)
		}
		x := r.last(t)
		if x.Status != want.status || len(want.header) > 0 && !isMasked([]byte(x.Request.Get("Authorization"))) {
			t.Errorf("captured %d with Authorization %q, want %d and a mask", x.Status, x.Request.Get("Authorization"), want.status)
		}
		if want.status == 200 && body != "auth=[]" {
			t.Errorf("the service saw %s, want auth=[]", body)
		}
		if want.status == 401 && (x.Error != tunnel.CodeUnauthorized || res.Header.Get("WWW-Authenticate") == "") {
			t.Errorf("captured %q, WWW-Authenticate %q", x.Error, res.Header.Get("WWW-Authenticate"))
		}
	}
	if host, _ := saw.Load("host"); host != local {
		t.Errorf("the service was called %q, want %q", host, local)
	}
	r.sess.shares(t, func() {
		if res, body := get(t, c, addr, "locked.tun.test", "Authorization", right); res.StatusCode != 200 {
			t.Fatalf("Status = %d, want 200: %s", res.StatusCode, body)
		}
	})
}

// The rules hold where the service speaks HTTP/2 as well, whatever the client
// speaks.
func TestRulesBeforeAnHTTP2Service(t *testing.T) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "a=1; Domain=tun.test")
		w.Header().Add("Set-Cookie", "b=2")
		_, _ = fmt.Fprintf(w, "%s auth=%q host=%s", r.Proto, r.Header["Authorization"], r.Host)
	}))
	s.Config.Protocols = &protocols
	s.Start()
	t.Cleanup(s.Close)
	local := s.Listener.Addr().String()
	claim := locked
	claim.UpstreamProto, claim.HostHeader = "h2c", "inner.test"
	r := start(t, local).claim(t, "u", local, claim)
	addr := r.secure(t)
	for _, h2 := range []bool{false, true} {
		c := over2(t, addr, "locked.tun.test", h2)
		if res, body := get(t, c, addr, "locked.tun.test"); res.StatusCode != 401 {
			t.Errorf("HTTP/2 %v: Status = %d, want 401: %s", h2, res.StatusCode, body)
		}
		res, body := get(t, c, addr, "locked.tun.test", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann:pa:ss wörd")))
		if want := "HTTP/2.0 auth=[] host=inner.test"; res.StatusCode != 200 || body != want {
			t.Errorf("HTTP/2 %v: %d %q, want 200 %q", h2, res.StatusCode, body, want)
		}
		if got := res.Header["Set-Cookie"]; !slices.Equal(got, []string{"b=2"}) {
			t.Errorf("HTTP/2 %v: Set-Cookie = %q, want b=2 alone", h2, got)
		}
	}
}

func TestMisdirected(t *testing.T) {
	base := start(t, echo(t))
	base.claim(t, "u", echo(t), tunnel.Claim{Name: "same"})
	other := base.claim(t, "other", echo(t), tunnel.Claim{Name: "b"})
	base.claim(t, "other", echo(t), tunnel.Claim{Name: "raw", Kind: tunnel.TLS})
	addr := base.secure(t)
	for _, h2 := range []bool{false, true} {
		for _, c := range []struct {
			sni, host string
			want      int
		}{
			{"a.tun.test", "a.tun.test", 200},
			{"A.Tun.Test", "a.TUN.test:443", 200},
			{"a.tun.test", "same.tun.test", 200},
			{"a.tun.test", "b.tun.test", 421},
			{"a.tun.test", "api.tun.test", 421},
			{"a.tun.test", "nobody.tun.test", 404},
			{"a.tun.test", "raw.tun.test", 421},
			{"api.tun.test", "tun.test", 200},
			{"api.tun.test", "a.tun.test", 421},
			{"nobody.tun.test", "a.tun.test", 421},
			{"not_a..host", "a.tun.test", 421},
			{"", "a.tun.test", 200},
			{"", "api.tun.test", 200},
		} {
			client := over2(t, addr, c.sni, h2)
			res, body := get(t, client, addr, c.host)
			if res.StatusCode != c.want {
				t.Errorf("HTTP/2 %v, SNI %q, Host %q: Status = %d, want %d: %s", h2, c.sni, c.host, res.StatusCode, c.want, body)
			}
			if code := res.Header.Get("Lrok-Error-Code"); c.want == 421 && code != tunnel.CodeMisdirected {
				t.Errorf("SNI %q, Host %q: Lrok-Error-Code = %q, want %q", c.sni, c.host, code, tunnel.CodeMisdirected)
			}
		}
	}
	if n := other.sess.opened(); n != 0 {
		t.Errorf("%d streams were opened to the other owner's service, want 0", n)
	}
	if n := len(other.tunnel.Ring.List(0, 0)); n != 0 {
		t.Errorf("the other owner sees %d requests that were not for this connection, want 0", n)
	}

	// A browser goes on using the connection for what it was made for.
	nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "a.tun.test"}) //nolint:gosec // see above
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	br := bufio.NewReader(nc)
	for _, c := range []struct {
		host string
		want int
	}{{"a", 200}, {"b", 421}, {"a", 200}} {
		if res, _ := ask(t, nc, br, "GET / HTTP/1.1\r\nHost: "+c.host+".tun.test\r\n\r\n"); res.StatusCode != c.want {
			t.Errorf("%s on a connection to a: Status = %d, want %d", c.host, res.StatusCode, c.want)
		}
	}
	inner := "GET /smuggled HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"
	_, _ = fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: b.tun.test\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner)
	if all, _ := io.ReadAll(br); !strings.HasPrefix(string(all), "HTTP/1.1 421 ") || strings.Count(string(all), "HTTP/1.1 ") != 1 {
		t.Errorf("a misdirected request with a body got\n%s\nwant one 421", all)
	}
}

// A proxy in front may use one connection for everybody.
func TestTrustedProxyIsNotMisdirected(t *testing.T) {
	base := start(t, echo(t), loopbackIsTrusted)
	base.claim(t, "other", echo(t), tunnel.Claim{Name: "b"})
	addr := base.secure(t)
	for _, h2 := range []bool{false, true} {
		if res, body := get(t, over2(t, addr, "a.tun.test", h2), addr, "b.tun.test"); res.StatusCode != 200 {
			t.Errorf("HTTP/2 %v: Status = %d, want 200: %s", h2, res.StatusCode, body)
		}
	}
}

// A TLS tunnel's name is not an HTTP host.
func TestTLSTunnelAskedInPlain(t *testing.T) {
	base := start(t, echo(t), func(c *Config) { c.Lone = true })
	base.f.cfg.Registry.CloseTunnel("u", "a")
	r := base.claim(t, "u", echo(t), tunnel.Claim{Name: "raw", Kind: tunnel.TLS})
	for host, want := range map[string]int{"raw.tun.test": 421, "localhost": 404} {
		nc, br := r.dial(t)
		if res, body := ask(t, nc, br, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); res.StatusCode != want {
			t.Errorf("%s: Status = %d, want %d: %s", host, res.StatusCode, want, body)
		}
	}
	if n := r.sess.opened(); n != 0 {
		t.Errorf("%d streams were opened, want 0", n)
	}
}
