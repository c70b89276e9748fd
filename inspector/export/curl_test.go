package export

import (
	"bufio"
	"bytes"
	"context"
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
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// post returns an exchange with what most tests need: a signed webhook.
func post(body string) inspector.Exchange {
	return inspector.Exchange{
		ID: "req_1", Number: 1, Tunnel: "acme", State: inspector.Done, Kind: inspector.HTTP,
		Method: "POST", Path: "/webhooks/stripe?a=1&b=%20", Scheme: "https", Host: "acme.lrok.example", Proto: "HTTP/1.1",
		Status: 200, Reason: "OK",
		Request: inspector.Message{
			Header: []inspector.Field{
				{Name: "Host", Value: "acme.lrok.example"},
				{Name: "User-Agent", Value: "Stripe/1.0 (+https://stripe.com/docs/webhooks)"},
				{Name: "Accept", Value: "*/*; q=0.5, application/xml"},
				{Name: "content-type", Value: "application/json; charset=utf-8"},
				{Name: "Stripe-Signature", Value: "t=1763819345,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"},
				{Name: "Content-Length", Value: strconv.Itoa(len(body))},
			},
			Body: inspector.Body{Size: int64(len(body)), Captured: int64(len(body)), Data: []byte(body)},
		},
	}
}

// received is what a server got: the head line by line, and the body with its
// transfer coding removed.
type received struct {
	line   string
	header []inspector.Field
	body   []byte
}

// receive answers one request on a listener of its own with 200 and an empty
// body, and tells what came in.
func receive(t *testing.T) (base string, got <-chan received) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan received, 1)
	go func() {
		defer close(out)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		br := bufio.NewReader(c)
		r, err := readRequest(br, c)
		if err != nil {
			t.Errorf("read request: %v", err)
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		out <- r
	}()
	return "http://" + l.Addr().String(), out
}

func readRequest(br *bufio.Reader, w io.Writer) (received, error) {
	var r received
	line, err := br.ReadString('\n')
	if err != nil {
		return r, err
	}
	r.line = strings.TrimSuffix(line, "\r\n")
	length, chunked := 0, false
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return r, err
		}
		if line = strings.TrimSuffix(line, "\r\n"); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		r.header = append(r.header, inspector.Field{Name: name, Value: value})
		switch strings.ToLower(name) {
		case "content-length":
			length, _ = strconv.Atoi(value)
		case "transfer-encoding":
			chunked = value == "chunked"
		case "expect":
			io.WriteString(w, "HTTP/1.1 100 Continue\r\n\r\n")
		}
	}
	if !chunked {
		r.body = make([]byte, length)
		_, err = io.ReadFull(br, r.body)
		return r, err
	}
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return r, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return r, err
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(br, chunk); err != nil {
			return r, err
		}
		if n == 0 {
			return r, nil
		}
		r.body = append(r.body, chunk[:n]...)
	}
}

// check holds what arrived against x, Host and framing aside.
func (r received) check(t *testing.T, x *inspector.Exchange, ordered bool) {
	t.Helper()
	if want := x.Method + " " + x.Path + " HTTP/1.1"; r.line != want {
		t.Errorf("request line = %q, want %q", r.line, want)
	}
	got, want := framed(r.header), framed(x.Request.Header)
	if !ordered {
		byName := func(a, b inspector.Field) int { return strings.Compare(a.Name, b.Name) }
		slices.SortStableFunc(got, byName)
		slices.SortStableFunc(want, byName)
	}
	if !slices.Equal(got, want) {
		t.Errorf("header = %q\nwant     %q", got, want)
	}
	if !bytes.Equal(r.body, x.Request.Body.Data) {
		t.Errorf("body = %.300q (%d bytes)\nwant   %.300q (%d bytes)", r.body, len(r.body), x.Request.Body.Data, len(x.Request.Body.Data))
	}
}

func framed(header []inspector.Field) []inspector.Field {
	return slices.DeleteFunc(slices.Clone(header), func(f inspector.Field) bool {
		return strings.EqualFold(f.Name, "Host") || strings.EqualFold(f.Name, "Content-Length") ||
			strings.EqualFold(f.Name, "Transfer-Encoding") || strings.EqualFold(f.Name, "Connection")
	})
}

// nasty are bodies and values that have broken somebody's quoting.
var nasty = []string{
	"",
	"plain",
	`{"a": "it's", "b": "\"q\"", "c": "\\"}`,
	"@/etc/passwd",
	"@-",
	"'; touch pwned; '",
	"$(touch pwned)`touch pwned`${HOME}",
	"line one\nline two\n",
	"\n",
	"\r\n",
	"a\r\nb\r\n\r\n",
	"tab\tand\x00nul\x01\x02",
	"\xff\xfe\x80 not utf-8 \xc3",
	"%s %d %% \\n \\0 \\x41 \\",
	"-n -e --help",
	"-",
	"!! !-1 !$ echo!",
	"two lines\nwith !bang and\n^caret^x^",
	"\x1b]0;owned\x07\x1b[201~\nrm -rf /\n",
	"\u202e\u200b\ufeff\u2028",
	"~ * ? [a-z] {a,b} # & | ; < > ( )",
	"back\\slash'quote\\'",
	"ünïcödé 漢字 😀",
	strings.Repeat("x", 200_000) + "'",
	strings.Repeat("\x00\xff", 90_000),
}

func TestCurlSendsTheSameBytes(t *testing.T) {
	shells := []string{"/bin/sh"}
	for _, name := range []string{"bash", "zsh", "busybox"} {
		if path, err := exec.LookPath(name); err == nil {
			shells = append(shells, path)
		}
	}
	curl(t)
	dir := t.TempDir()
	for i, body := range nasty {
		for _, shell := range shells {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(shell), i), func(t *testing.T) {
				x := post(body)
				for j, v := range nasty {
					if len(v) < 1000 && !strings.ContainsAny(v, "\r\n\x00") {
						x.Request.Header = append(x.Request.Header, inspector.Field{Name: fmt.Sprintf("X-Nasty-%d", j), Value: strings.Trim(v, " \t")})
					}
				}
				base, got := receive(t)
				runShell(t, shell, dir, Curl(&x, Options{URL: base}))
				r := <-got
				r.check(t, &x, true)
			})
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("the commands left %v behind", left)
	}
}

func curl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
}

func runShell(t *testing.T, shell, dir, command string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	args := []string{"-s"}
	if filepath.Base(shell) == "busybox" {
		args = []string{"sh", "-s"}
	}
	cmd := exec.CommandContext(ctx, shell, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "http_proxy=", "HTTP_PROXY=", "all_proxy=", "no_proxy=*")
	cmd.Stdin = strings.NewReader(command + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s\ncommand: %.2000s", shell, err, out, command)
	}
}

func TestCurlRequests(t *testing.T) {
	curl(t)
	field := func(name, value string) inspector.Field { return inspector.Field{Name: name, Value: value} }
	for _, tt := range []struct {
		name string
		x    inspector.Exchange
	}{
		{"get", inspector.Exchange{Method: "GET", Path: "/"}},
		{"get with body", inspector.Exchange{Method: "GET", Path: "/s", Request: inspector.Message{Body: inspector.Body{Data: []byte("q")}}}},
		{"head", inspector.Exchange{Method: "HEAD", Path: "/x"}},
		{"delete", inspector.Exchange{Method: "DELETE", Path: "/x"}},
		{"own method", inspector.Exchange{Method: "M-SEARCH$'`", Path: "/"}},
		{"post nothing", inspector.Exchange{Method: "POST", Path: "/", Request: inspector.Message{Header: []inspector.Field{field("Content-Length", "0")}}}},
		{"post without length", inspector.Exchange{Method: "POST", Path: "/"}},
		{"put chunked", inspector.Exchange{Method: "PUT", Path: "/", Request: inspector.Message{
			Header: []inspector.Field{field("Transfer-Encoding", "chunked")}, Body: inspector.Body{Data: []byte("abc\x00")},
		}}},
		{"dots", inspector.Exchange{Method: "GET", Path: "/a/../b/./c/%2e%2e/d"}},
		{"globs", inspector.Exchange{Method: "GET", Path: "/a[1-3]{x,y}?q[]=1&r={}"}},
		{"shell in the path", inspector.Exchange{Method: "GET", Path: "/$(id)`id`;'\"&|<>*!"}},
		{"fragment", inspector.Exchange{Method: "GET", Path: "/a#b?c"}},
		{"raw bytes", inspector.Exchange{Method: "GET", Path: "/caf\xe9/ü\\^|\"<>"}},
		{"double slash", inspector.Exchange{Method: "GET", Path: "//a//b"}},
		{"question marks", inspector.Exchange{Method: "GET", Path: "/a?b?c=??"}},
		{"asterisk", inspector.Exchange{Method: "OPTIONS", Path: "*"}},
		{"repeats and empty", inspector.Exchange{Method: "GET", Path: "/", Request: inspector.Message{Header: []inspector.Field{
			field("x-b", "2"), field("X-A", "1"), field("x-b", "1"), field("X-Empty", ""), field("Cookie", "a=1"), field("Cookie", "b=2"),
			field("Accept", "a/b"), field("accept", "c/d"), field("X-Latin", "caf\xe9"), field("X-Tab", "a\tb"), field("Referer", "http://x/?a#b"),
		}}}},
		{"expect", inspector.Exchange{Method: "POST", Path: "/", Request: inspector.Message{
			Header: []inspector.Field{field("Expect", "100-continue"), field("Accept-Encoding", "br")}, Body: inspector.Body{Data: []byte("x")},
		}}},
		{"content types", inspector.Exchange{Method: "POST", Path: "/", Request: inspector.Message{
			Header: []inspector.Field{field("Content-Type", "a/b"), field("Content-Type", "c/d")}, Body: inspector.Body{Data: []byte("x")},
		}}},
		{"big", inspector.Exchange{Method: "POST", Path: "/", Request: inspector.Message{Body: inspector.Body{Data: bytes.Repeat([]byte("0123456789\n"), 200_000)}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, got := receive(t)
			x := tt.x
			x.Proto = "HTTP/1.1"
			runShell(t, "/bin/sh", t.TempDir(), Curl(&x, Options{URL: base}))
			r := <-got
			r.check(t, &x, true)
		})
	}
}

func TestCurlHTTP2(t *testing.T) {
	curl(t)
	type seen struct{ proto, method, target, host, signature, accept, body string }
	got := make(chan seen, 1)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Proto, r.Method, r.RequestURI, r.Host, r.Header.Get("Stripe-Signature"), r.Header.Get("Accept"), string(body)}
	}))
	server.Config.Protocols = &protocols
	server.Start()
	defer server.Close()

	x := post("a\x00b")
	x.Method, x.Path, x.Proto, x.Scheme = "PUT", "/a/../b[1]?c", "HTTP/2.0", "http"
	x.Host = server.Listener.Addr().String()
	x.Request.Header = without(without(x.Request.Header, "Host"), "Accept")
	runShell(t, "/bin/sh", t.TempDir(), Curl(&x, Options{}))
	want := seen{"HTTP/2.0", "PUT", x.Path, x.Host, x.Request.Get("Stripe-Signature"), "", "a\x00b"}
	select {
	case s := <-got:
		if s != want {
			t.Errorf("the server saw %+v, want %+v", s, want)
		}
	default:
		t.Error("the server saw nothing")
	}
}

func TestCurlRefusesToInject(t *testing.T) {
	curl(t)
	x := post("x")
	x.Method = "GET / HTTP/1.1\r\nX-Injected: 1\r\n\r\nGET"
	x.Path = "/a b\r\nX-Injected: 1\r\n\r\n"
	x.Request.Header = []inspector.Field{
		{Name: "X-One", Value: "a\r\nX-Injected: 1"},
		{Name: "X-Injected: 1\r\nX", Value: "b"},
		{Name: "@/etc/passwd", Value: ""},
	}
	base, got := receive(t)
	runShell(t, "/bin/sh", t.TempDir(), Curl(&x, Options{URL: base}))
	r := <-got
	if want := "GET /a%20b%0D%0AX-Injected:%201%0D%0A%0D%0A HTTP/1.1"; r.line != want {
		t.Errorf("request line = %q, want %q", r.line, want)
	}
	if got, want := framed(r.header), []inspector.Field{{Name: "X-One", Value: "a  X-Injected: 1"}}; !slices.Equal(got, want) {
		t.Errorf("header = %q, want %q", got, want)
	}
}

func TestCurlText(t *testing.T) {
	x := post(`{"id": 1}`)
	got := Curl(&x, Options{Redact: true})
	want := `curl --http1.1 \
  'https://acme.lrok.example/webhooks/stripe?a=1&b=%20' \
  -H 'User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)' \
  -H 'Accept: */*; q=0.5, application/xml' \
  -H 'content-type: application/json; charset=utf-8' \
  -H 'Stripe-Signature: t=1763819345,v1=REDACTED' \
  --data-raw '{"id": 1}'`
	if got != want {
		t.Errorf("Curl =\n%s\nwant\n%s", got, want)
	}

	x.Request.Body.Size = 43 << 20
	if got := Curl(&x, Options{}); !strings.HasPrefix(got, ": 'the body is captured in part only: the first 9 bytes of 43 MiB'\ncurl ") {
		t.Errorf("Curl of a truncated body = %s", got)
	}
}

// TestShellWords runs many generated values through a real shell and looks at
// the arguments that come out.
func TestShellWords(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := append([]string{"'", `"`, "$", "`", "\\", "\n", "\t", "!", "^", "%", "-", " ", "\x1b", "\x7f", "\xff", "\u202e", "a", "é", "#", "~", "=", "@"}, nasty[:23]...)
	var words, values []string
	for range 500 {
		var b strings.Builder
		for range random.IntN(8) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		// An argument cannot hold NUL, and "$()" drops line ends from the end:
		// what newRequest lets through has neither.
		v := strings.TrimRight(strings.ReplaceAll(b.String(), "\x00", ""), "\n")
		values = append(values, v)
		words = append(words, word(v))
	}
	for _, w := range words {
		for _, c := range []byte(w) {
			if c < ' ' && c != '\n' || c == 0x7f {
				t.Errorf("%q holds a control character", w)
			}
		}
	}
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader("curl() { for a in \"$@\"; do printf '%s\\000' \"$a\"; done; }\ncurl " + strings.Join(words, " \\\n  ") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(got) != len(values) {
		t.Fatalf("the shell saw %d words, want %d", len(got), len(values))
	}
	for i := range values {
		if got[i] != values[i] {
			t.Errorf("word %q came out as %q, want %q", words[i], got[i], values[i])
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("the words left %v behind", left)
	}
}

// FuzzCurl holds the command against a reader of shell words that knows only
// what the command may use: anything else in it is an escape from quoting.
func FuzzCurl(f *testing.F) {
	for _, s := range nasty {
		if len(s) < 1000 {
			f.Add("POST", s, "X-A", s, []byte(s))
		}
	}
	f.Add("0", "|", "0", "|", []byte("|"))
	f.Fuzz(func(t *testing.T, method, path, name, value string, body []byte) {
		x := inspector.Exchange{Method: method, Path: path, Scheme: "http", Host: value, Proto: "HTTP/1.1", Request: inspector.Message{
			Header: []inspector.Field{{Name: name, Value: value}}, Body: inspector.Body{Data: body, Size: int64(len(body)), Captured: int64(len(body))},
		}}
		command := Curl(&x, Options{})
		for _, c := range []byte(command) {
			if c < ' ' && c != '\n' || c == 0x7f {
				t.Fatalf("control character %#x in %q", c, command)
			}
		}
		words, err := shellWords(command)
		if err != nil {
			t.Fatalf("%v in %q", err, command)
		}
		var sent []byte
		if i := slices.Index(words, pipe); i >= 0 {
			switch {
			case i == 3 && words[0] == "printf" && words[1] == "%s":
				sent = []byte(words[2])
			case i == 2 && words[0] == "printf":
				sent = []byte(printf(words[1]))
			default:
				t.Fatalf("a pipe after %q", words[:i])
			}
			words = words[i+1:]
		}
		if words[0] != "curl" {
			t.Fatalf("the command is %q", words)
		}
		if i := slices.Index(words, "--data-raw"); i >= 0 {
			sent = []byte(words[i+1])
		}
		if !bytes.Equal(sent, body) {
			t.Fatalf("the body is %q, want %q", sent, body)
		}
		r := newRequest(&x, Options{})
		for _, f := range r.header {
			if strings.EqualFold(f.Name, "Content-Length") || strings.EqualFold(f.Name, "Transfer-Encoding") || strings.EqualFold(f.Name, "Host") {
				continue
			}
			want := f.Name + ": " + f.Value
			if f.Value == "" {
				want = f.Name + ";"
			}
			if !slices.Contains(words, want) {
				t.Fatalf("%q is not in %q", want, words)
			}
		}
	})
}

// pipe is the operator among words, which hold no NUL.
const pipe = "\x00|"

// shellWords splits a command as a shell would that knows bare words of
// harmless characters, single quotes, \', "$(printf '...')", escaped line ends
// and a pipe.
func shellWords(s string) ([]string, error) {
	var words []string
	var w strings.Builder
	in := false
	end := func() {
		if in {
			words = append(words, w.String())
			w.Reset()
			in = false
		}
	}
	single := func(i int) (string, int, error) {
		n := strings.IndexByte(s[i:], '\'')
		if n < 0 {
			return "", 0, fmt.Errorf("an open quote")
		}
		return s[i : i+n], i + n + 1, nil
	}
	for i := 0; i < len(s); {
		const sub = `"$(printf '`
		switch c := s[i]; {
		case c == ' ':
			end()
			i++
		case strings.HasPrefix(s[i:], "\\\n"):
			end()
			i += 2
		case strings.HasPrefix(s[i:], `\'`):
			w.WriteByte('\'')
			in = true
			i += 2
		case c == '|':
			end()
			words = append(words, pipe)
			i++
		case c == '\'':
			text, next, err := single(i + 1)
			if err != nil {
				return nil, err
			}
			w.WriteString(text)
			in, i = true, next
		case strings.HasPrefix(s[i:], sub):
			text, next, err := single(i + len(sub))
			if err != nil {
				return nil, err
			}
			if !strings.HasPrefix(s[next:], `)"`) {
				return nil, fmt.Errorf("%q after printf", s[next:])
			}
			w.WriteString(printf(text))
			in, i = true, next+2
		case c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._/:@%+,", c) >= 0:
			w.WriteByte(c)
			in = true
			i++
		default:
			return nil, fmt.Errorf("a bare %q", c)
		}
	}
	end()
	return words, nil
}

// printf is the shell's, for formats without arguments.
func printf(format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		switch {
		case strings.HasPrefix(format[i:], "%%"):
			b.WriteByte('%')
			i++
		case format[i] == '\\' && i+1 < len(format) && format[i+1] == '\\':
			b.WriteByte('\\')
			i++
		case format[i] == '\\' && i+1 < len(format) && format[i+1] == 'n':
			b.WriteByte('\n')
			i++
		case format[i] == '\\':
			n, _ := strconv.ParseUint(format[i+1:i+4], 8, 8)
			b.WriteByte(byte(n))
			i += 3
		default:
			b.WriteByte(format[i])
		}
	}
	return b.String()
}
