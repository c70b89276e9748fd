package export

import (
	"fmt"
	"go/format"
	"net/url"
	"strconv"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
)

// Go writes the request of x as a Go program of one file that needs nothing but
// the standard library. Header names keep their case and repeats; their order is
// net/http's.
func Go(x *inspector.Exchange, o Options) string {
	r := newRequest(x, o)
	var b strings.Builder
	p := func(text string, args ...any) { fmt.Fprintf(&b, text, args...) }

	p("// This program sends one captured request and prints the answer.\n")
	if r.cut != "" {
		p("// Mind: %s.\n", r.cut)
	}
	p("package main\n\nimport (\n\"fmt\"\n\"io\"\n\"log\"\n\"net/http\"\n")
	u, opaque := goURL(r)
	if opaque != "" {
		p("\"net/url\"\n")
	}
	p("\"os\"\n\"strings\"\n)\n\n")
	p("const body = %s\n\n", literal(string(r.body)))
	p("func main() {\n")
	p("req, err := http.NewRequest(%s, %s, strings.NewReader(body))\n", strconv.QuoteToASCII(r.method), strconv.QuoteToASCII(u))
	p("if err != nil {\nlog.Fatal(err)\n}\n")
	if opaque != "" {
		p("// The target byte for byte, which net/http would write differently.\n")
		p("req.URL = &url.URL{Scheme: %s, Host: %s, Opaque: %s}\n", strconv.QuoteToASCII(r.scheme), strconv.QuoteToASCII(r.host), strconv.QuoteToASCII(opaque))
	}
	if host := r.get("Host"); host != "" && host != r.host {
		p("req.Host = %s\n", strconv.QuoteToASCII(host))
	}
	if len(r.body) == 0 && r.get("Content-Length") != "0" {
		p("req.Body = nil\n")
	}
	if r.chunked() {
		p("req.ContentLength = -1\nreq.TransferEncoding = []string{\"chunked\"}\n")
	}
	p("req.Header = http.Header{\n")
	var names []string
	values := map[string][]string{}
	for _, f := range r.header {
		switch strings.ToLower(f.Name) {
		case "host", "content-length", "transfer-encoding":
			continue
		}
		if values[f.Name] == nil {
			names = append(names, f.Name)
		}
		values[f.Name] = append(values[f.Name], strconv.QuoteToASCII(f.Value))
	}
	for _, name := range names {
		p("%s: {%s},\n", strconv.QuoteToASCII(name), strings.Join(values[name], ", "))
	}
	if !r.has("User-Agent") {
		p("\"User-Agent\": nil, // or net/http sends its own\n")
	}
	p("}\n\n")
	p("client := &http.Client{\nTransport: &http.Transport{\nProxy: http.ProxyFromEnvironment,\n")
	p("DisableCompression: true, // or it asks for gzip\n")
	if r.http2() {
		p("ForceAttemptHTTP2: true,\n")
	}
	p("},\nCheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },\n}\n")
	p("resp, err := client.Do(req)\nif err != nil {\nlog.Fatal(err)\n}\ndefer resp.Body.Close()\n")
	p("fmt.Println(resp.Proto, resp.Status)\nresp.Header.Write(os.Stdout)\nfmt.Println()\n")
	p("if _, err := io.Copy(os.Stdout, resp.Body); err != nil {\nlog.Fatal(err)\n}\n}\n")

	source, err := format.Source([]byte(b.String()))
	if err != nil {
		return b.String() // everything above is quoted, so this does not happen
	}
	return string(source)
}

// goURL gives the URL to parse and, where net/http would send another target
// than the captured one, the opaque form that it sends as it is.
func goURL(r request) (parsed, opaque string) {
	full := r.url()
	if u, err := url.Parse(full); err == nil && u.RequestURI() == r.target && u.Fragment == "" && u.User == nil {
		return full, ""
	}
	opaque = r.target
	if strings.HasPrefix(opaque, "//") {
		opaque = "//" + r.host + opaque // sent as a whole URL, which means the same
	}
	return r.scheme + "://" + r.host + "/", opaque
}

// literal writes s as a Go string, over several lines where it has them.
func literal(s string) string {
	if len(s) < 100 {
		return strconv.QuoteToASCII(s)
	}
	var b strings.Builder
	for len(s) > 0 {
		n := strings.IndexByte(s, '\n') + 1
		if n == 0 || n > 1000 {
			n = min(len(s), 1000)
		}
		if b.Len() > 0 {
			b.WriteString(" +\n")
		}
		b.WriteString(strconv.QuoteToASCII(s[:n]))
		s = s[n:]
	}
	return b.String()
}
