package e2e

// What an edge must not do, rule by rule. Each rule comes from a hole that a
// tunnel or a proxy had, and each has its tests, here or where the code is:
//
//   - One canonical host decides where a request goes, who may send it, what is
//     captured and logged: TestHosts, TestHostsOverTLS; edge/http1 TestCanonicalHost
//     and FuzzCanonicalHost; edge/forward TestMisdirected; conformance 15 and 16.
//   - One table of who may call which route: edge/api TestAuthorisation and
//     TestAnothersLooksLikeNone. A revoked key ends its sessions and streams:
//     edge/control TestRevokedKey and TestExpiredKey.
//   - Fail closed: edge/store TestOpenWithoutWorkingKey, TestOpenWideFile; cmd/lrok
//     scripts for unknown settings.
//   - Deadlines from accept to route on every listener: TestDeadlines;
//     edge/forward TestTLSHelloLimit, TestSlowHead, TestProxyListenerSlowPeer;
//     tunnel TestHelloHasADeadline.
//   - No unbounded read: edge/forward TestHeadersAreBounded, TestHTTP2HeadsAreBounded,
//     TestInterimFlood; tunnel TestHelloAtTheLimit; edge/api TestUnwantedBody;
//     conformance 25.
//   - CONNECT and Upgrade: h2c are refused, and after a head that was refused the
//     connection closes: TestRefusedHeads; edge/forward
//     TestRefusedRequestHidesNoOther; conformance 14 and 15.
//   - Hop-by-hop fields end here, the edge's own X-Forwarded-* replace the client's,
//     twins with underscores are dropped: TestSpoofs; conformance 17 and 18;
//     edge/forward TestRequestLineFromHTTP2.
//   - The multiplexer is hostile ground: tunnel TestHostileFramesEndTheSession,
//     TestFloodsEndTheSession, TestStreamLimit, TestStalledReaders; tunnel/agent
//     TestUnknownTunnelIsNotDialed.
//   - HTTP/2 floods: edge/forward TestHTTP2RapidReset, TestHTTP2PingFlood,
//     TestHTTP2StreamsAreBounded, TestHTTP2HeadsAreBounded.
//   - Captured bytes are hostile in what shows them: tui TestHostileBytesOnTheTerminal
//     and TestHostileClipboard; inspector/export TestCurlRefusesToInject;
//     inspector/format TestSanitize; decoding TestDecodeBombs.
//   - A tunnel sets no cookie for the domain that all share: edge/forward
//     TestCookiesStayAtHome.
//   - The edge replays to the tunnel's own service only: TestReplayGoesHome.
//   - A port that was given up is not handed to another at once: edge/registry TestPortsRest.
//   - The store says it when it cannot keep something: edge/store TestChaos.
//   - What http1 accepts, net/http reads alike: edge/http1 FuzzRequest.
//   - Keys and passwords reach no log, no capture and no file but their own, and
//     captured bytes no file at all: TestSecretsStayWhereTheyBelong.
//   - Caps on connections: TestFewDescriptors; edge/forward TestIdleConnectionsMakeRoom,
//     TestFullEdgeTurnsAway; control's in edge/control TestStrangersAreBounded.

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// sayer answers with its name and the host that it was asked for.
func sayer(t *testing.T, name string) string {
	return service(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s asked for %s", name, r.Host)
	})
}

// twoTunnels is a rig with the tunnel shop, and a second tunnel, other.
func twoTunnels(t *testing.T) *rig {
	t.Helper()
	r := start(t, sayer(t, "shop"))
	a, _, _ := newAgent(t, r.edge, sayer(t, "other"), rigConfig{claim: tunnel.Claim{Name: "other"}})
	online(t, a)
	return r
}

func TestHosts(t *testing.T) {
	r := twoTunnels(t)
	for _, c := range []struct {
		target, host string // the target is "/" when empty
		status       int
		body         string
	}{
		{"", "shop.tun.test", 200, "shop asked for shop.tun.test"},
		{"", "SHOP.tun.TEST", 200, "shop asked for SHOP.tun.TEST"},
		{"", "shop.tun.test.", 200, "shop"},
		{"", "shop.tun.test:8443", 200, "shop"},
		{"", "shop.tun.test.:80", 200, "shop"},
		// What IDNA makes of these is the tunnel's host; its service gets them as
		// they came, and it is net/http that does not like them.
		{"", "ｓｈｏｐ.tun.test", 400, "malformed Host header"},
		{"", "shop。tun。test", 400, "malformed Host header"},

		{"", "", 400, "bad_host"},
		{"", "shop.tun.test:", 200, "shop"}, // an empty port is none (RFC 3986, 3.2.3)
		{"", "shop.tun.test:99999", 400, "bad_host"},
		{"", "shop.tun.test:80:90", 400, "bad_host"},
		{"", "shop.tun.test:x", 400, "bad_host"},
		{"", "user@shop.tun.test", 400, "bad_host"},
		{"", "other.tun.test@shop.tun.test", 400, "bad_host"},
		{"", "shop.tun.test/other", 400, "bad_host"},
		{"", "shop.tun.test?other", 400, "bad_host"},
		{"", "shop.tun.test#other", 400, "bad_host"},
		{"", "shop.tun.test, other.tun.test", 400, "bad_host"},
		{"", "shop.tun.test other.tun.test", 400, "bad_host"},
		{"", "shop%2etun.test", 400, "bad_host"},
		{"", "shop\x00.tun.test", 400, "bad_request"},
		{"", "shop\t.tun.test", 400, "bad_host"},
		{"", "shop..tun.test", 400, "bad_host"},
		{"", ".shop.tun.test", 400, "bad_host"},
		{"", strings.Repeat("s", 64) + ".tun.test", 400, "bad_host"},
		{"", "[::1", 400, "bad_host"},
		{"", "[fe80::1%25eth0]", 400, "bad_host"},
		{"", "shop.tun.test\r\nHost: other.tun.test", 400, "bad_host"},

		{"", "[::1]:80", 404, "tunnel_not_found"},
		{"", "127.0.0.1", 404, "tunnel_not_found"},
		{"", "x.shop.tun.test", 404, "tunnel_not_found"},
		{"", "shop", 404, "tunnel_not_found"},

		// The target wins over the field, and the service sees whom it was.
		{"http://other.tun.test/", "shop.tun.test", 200, "other asked for other.tun.test"},
		{"http://OTHER.tun.test:80/", "shop.tun.test", 200, "other asked for OTHER.tun.test:80"},
		{"http://shop.tun.test@other.tun.test/", "shop.tun.test", 400, "bad_host"},
		{"http:///", "shop.tun.test", 400, ""},
		{"http://other.tun.test\\@shop.tun.test/", "shop.tun.test", 400, ""},
		{"http://nobody.tun.test/", "shop.tun.test", 404, "tunnel_not_found"},
	} {
		target := c.target
		if target == "" {
			target = "/"
		}
		answer := r.exchange(t, "GET "+target+" HTTP/1.1\r\nHost: "+c.host+"\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", c.status)) || !strings.Contains(answer, c.body) {
			t.Errorf("%q with Host %q: %q %q, want %d and %q", c.target, c.host, statusLine(answer), bodyOf(answer), c.status, c.body)
		}
	}
}

// Over TLS the name of the handshake is read as the host of a request is.
func TestHostsOverTLS(t *testing.T) {
	r := twoTunnels(t)
	for sni, status := range map[string]int{"shop.tun.test": 200, "SHOP.Tun.test": 200, "other.tun.test": 200, "api.tun.test": 421} {
		config := r.edge.ClientTLS()
		config.ServerName = sni
		c, err := tls.Dial("tcp", r.edge.HTTPSAddr(), config)
		if err != nil {
			t.Fatalf("%s: %v", sni, err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: Shop.tun.test.:443\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if !strings.HasPrefix(string(b), fmt.Sprintf("HTTP/1.1 %d ", status)) {
			t.Errorf("SNI %s: %q, want %d", sni, statusLine(string(b)), status)
		}
	}
}

func TestRefusedHeads(t *testing.T) {
	var asked atomic.Int64
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	next := "GET /next HTTP/1.1\r\nHost: HOST\r\n\r\n"
	for name, c := range map[string]struct {
		head   string
		status int
	}{
		"CONNECT":                {"CONNECT HOST:443 HTTP/1.1\r\nHost: HOST\r\n\r\n", 405},
		"CONNECT elsewhere":      {"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: HOST\r\n\r\n", 405},
		"Upgrade: h2c":           {"GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", 400},
		"Upgrade: h2c in a list": {"GET / HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: websocket, H2C\r\n\r\n", 400},
		"HTTP/2 unasked":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		"two lengths":            {"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n", 400},
		"length and chunks":      {"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"bare LF":                {"GET / HTTP/1.1\nHost: HOST\n\n", 400},
		"folded line":            {"GET / HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n", 400},
		"space before the colon": {"GET / HTTP/1.1\r\nHost : HOST\r\n\r\n", 400},
	} {
		answer := r.exchange(t, c.head+next)
		if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", c.status)) {
			t.Errorf("%s: %q, want %d", name, statusLine(answer), c.status)
		}
		if n := strings.Count(answer, "HTTP/1.1 "); n != 1 {
			t.Errorf("%s: %d answers, want one and the end:\n%s", name, n, answer)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the service was asked %d times, want 0", n)
	}
}

// Nothing that a client says of itself in a field or its twin reaches the
// service.
func TestSpoofs(t *testing.T) {
	heads := make(chan http.Header, 1)
	r := start(t, service(t, func(_ http.ResponseWriter, r *http.Request) { heads <- r.Header }))
	const spoof = "203.0.113.99"
	var lines strings.Builder
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded",
		"X-Forwarded-Client-Cert", "Forwarded", "X-Real-Ip", "X-Original-Url", "X-Original-Host", "X-Original-Forwarded-For",
	} {
		for _, spelled := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.Replace(name, "-", "_", 1)} {
			_, _ = fmt.Fprintf(&lines, "%s: %s\r\n", spelled, spoof)
		}
	}
	r.exchange(t, "GET / HTTP/1.1\r\nHost: HOST\r\n"+lines.String()+"Connection: close\r\n\r\n")
	h := <-heads
	for name, values := range h {
		if strings.Contains(strings.Join(values, ","), spoof) {
			t.Errorf("the service saw %s: %q", name, values)
		}
	}
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": r.host} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q, want %q alone", name, got, want)
		}
	}
}

// Whoever connects and does not come to the point is let go, on every listener.
func TestDeadlines(t *testing.T) {
	r := start(t, sayer(t, "shop"))
	hello := []byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03} // the beginning of a ClientHello
	var wg sync.WaitGroup
	for _, c := range []struct {
		name, addr string
		sends      []byte
	}{
		{"http, half a head", r.edge.HTTPAddr(), []byte("GET / HTTP/1.1\r\nHost: shop.tun.test\r\nX-")},
		{"https, nothing", r.edge.HTTPSAddr(), nil},
		{"https, half a ClientHello", r.edge.HTTPSAddr(), hello},
		{"control, nothing", r.edge.ControlAddr(), nil},
		{"control, half a ClientHello", r.edge.ControlAddr(), hello},
		{"internal, half a head", r.edge.InternalAddr(), []byte("GET /healthz HTTP/1.1\r\nHo")},
	} {
		nc, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		wg.Go(func() {
			defer func() { _ = nc.Close() }()
			_, _ = nc.Write(c.sends)
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, nc); err != nil && os.IsTimeout(err) {
				t.Errorf("%s: the connection is still there after %v", c.name, patience)
			}
		})
	}
	wg.Wait()
}

// A replay goes to the tunnel's own service, whatever the capture or its changes
// name as where to go.
func TestReplayGoesHome(t *testing.T) {
	victim, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var reached atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := victim.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = victim.Close(); wg.Wait() })
	to := victim.Addr().String()

	var asked atomic.Int64
	shop := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, r.Host)
	}))
	shop.exchange(t, "GET http://HOST/x HTTP/1.1\r\nHost: "+to+"\r\nConnection: close\r\n\r\n")
	x := shop.last(t)
	for name, changes := range map[string]inspector.Changes{
		"as it was":       {},
		"host":            {Set: []inspector.Field{{Name: "Host", Value: to}}},
		"absolute target": {Path: "http://" + to + "/"},
		"both":            {Path: "http://" + to + "/", Set: []inspector.Field{{Name: "Host", Value: to}}},
		"another tunnel":  {Set: []inspector.Field{{Name: "Host", Value: "other.tun.test"}}},
		"CONNECT":         {Method: "CONNECT", Path: to},
		"two lines":       {Path: "/ HTTP/1.1\r\nHost: " + to},
		"proxy":           {Set: []inspector.Field{{Name: "X-Forwarded-Host", Value: to}, {Name: "Forwarded", Value: "host=" + to}}},
	} {
		before := asked.Load()
		y, err := shop.api.Replay(t.Context(), x.ID, changes)
		refused := name == "CONNECT" || name == "two lines"
		if (err != nil) != refused {
			t.Errorf("%s: the replay was answered %d, %v; want refused %v", name, y.Status, err, refused)
		}
		if err == nil {
			shop.last(t)
		}
		if got := asked.Load() - before; !refused && got != 1 || refused && got != 0 {
			t.Errorf("%s: the tunnel's own service was asked %d times", name, got)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the replays made %d connections to %s, want 0", n, to)
	}
}

// Keys and passwords are only where they belong, and what passed through a
// tunnel is in no file.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	const marker, cookie, password = "marker-5d1f0c2e9b", "cookie-77aa10f3e2", "secret-c0ffee1234"
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte("echo "), b...))
	})
	e := serve(t, nil, "--verbose")
	key, err := store.ReadKeyFile(e.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	p := lrok(t, append(e.reach(""), "LROK_BASIC_AUTH="+password), "http", "http://"+local, "--plain", "--basic-auth", "ann", "--verbose", "--hint", "shop")
	p.stdout.await(t, "https://shop.tun.test")

	post := func(lines string) int {
		c, err := net.Dial("tcp", e.http)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = fmt.Fprintf(c, "POST /%s HTTP/1.1\r\nHost: shop.tun.test\r\nCookie: s=%s\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", marker, cookie, lines, len(marker), marker)
		var status int
		b, _ := io.ReadAll(c)
		_, _ = fmt.Sscanf(string(b), "HTTP/1.1 %d", &status)
		return status
	}
	req, _ := http.NewRequest(http.MethodGet, "http://x/", nil)
	req.SetBasicAuth("ann", password)
	encoded := strings.TrimPrefix(req.Header.Get("Authorization"), "Basic ")
	if got := post("Authorization: Basic " + encoded + "\r\n"); got != 200 {
		t.Fatalf("Status = %d, want 200", got)
	}
	if got := post("Authorization: Basic " + encoded + "x\r\n"); got != 401 {
		t.Fatalf("Status = %d, want 401", got)
	}
	// A key in a URL opens nothing.
	if status, _, body, err := tryGetHost(e.http, "api.tun.test", "/__lrok/api/v1/me/tunnels?key="+key+"&api_key="+key); err != nil || status != 401 {
		t.Errorf("a key in a URL got %d %s, %v; want 401", status, body, err)
	}

	api := e.api(t)
	captured, err := api.Requests(t.Context(), "shop", client.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if len(captured) != 2 {
		t.Fatalf("%d requests were captured, want 2", len(captured))
	}
	for _, light := range captured {
		x, err := api.Exchange(t.Context(), light.ID)
		if err != nil {
			t.Fatal(err)
		}
		all := fmt.Sprintf("%s %s %s %v", x.Request.Head, x.Response.Head, x.Response.Body.Data, x)
		for name, secret := range map[string]string{"password": password, "login": encoded, "key": key} {
			if strings.Contains(all, secret) {
				t.Errorf("the capture of the %d holds the %s", x.Status, name)
			}
		}
	}

	look := func(when string) {
		files := 0
		err := filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return nil //nolint:nilerr // SQLite's files come and go
			}
			// The directory was there before; what the edge makes is its own.
			if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 && path != e.dir && filepath.Base(path) != "ca.pem" {
				t.Errorf("%s: %s has mode %v, want nothing for others", when, path, mode)
			}
			if d.IsDir() {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil //nolint:nilerr // as above
			}
			files++
			for _, secret := range []string{marker, cookie, password, encoded} {
				if bytes.Contains(b, []byte(secret)) {
					t.Errorf("%s: %s holds %q", when, path, secret)
				}
			}
			if path != e.keyFile() && bytes.Contains(b, []byte(key)) {
				t.Errorf("%s: %s holds the key", when, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if files < 2 {
			t.Errorf("%s: %d files were looked at in %s, want the store and the key at least", when, files, e.dir)
		}
	}
	look("while it runs")
	p.kill()
	if code := e.term(); code != 0 {
		t.Errorf("lrok serve ended with %d, want 0", code)
	}
	look("afterwards")

	for name, out := range map[string]string{
		"the edge's output": e.stdout.String(), "the edge's log": e.stderr.String(),
		"the agent's log": p.stderr.String(), "the agent's output": p.stdout.String(),
	} {
		for _, secret := range []string{key, password, encoded, cookie} {
			if strings.Contains(out, secret) {
				t.Errorf("%s holds %q:\n%s", name, secret, out)
			}
		}
		if name != "the agent's output" && strings.Contains(out, marker) { // where paths are listed
			t.Errorf("%s holds what passed through a tunnel:\n%s", name, out)
		}
	}
	if !strings.Contains(e.stderr.String(), "agent connected") {
		t.Errorf("the log that was searched says nothing:\n%s", e.stderr)
	}
}
