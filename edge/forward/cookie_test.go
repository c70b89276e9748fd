package forward

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestReachesOut(t *testing.T) {
	for value, want := range map[string]bool{
		"a=1":                        false,
		"a=1; Path=/; Secure":        false,
		"a=1; Domain=a.tun.example":  false,
		"a=1; Domain=.a.tun.example": false,
		"a=1; Domain=b.tun.example":  false, // no browser takes it from a
		"a=1; Domain=notun.example":  false,
		"a=1; Domain=":               false,
		"a=1; Domain":                false,
		"a=1; Domain=..":             false,
		"Domain=tun.example":         false, // a cookie of that name
		"a=Domain=tun.example":       false,
		"a=1; XDomain=tun.example":   false,
		"a=1; Domain=tun.example; Domain=a.tun.example": false, // the last one counts

		"a=1; Domain=tun.example":                       true,
		"a=1;domain=tun.example":                        true,
		"a=1; \tDOMAIN \t=\t .Tun.Example \t; Secure":   true,
		"a=1; Domain=..tun.example":                     true,
		"a=1; Domain=tun.example.":                      true,
		`a=1; Domain="tun.example"`:                     true,
		"a=1; Domain=tun.example, b=2":                  true,
		"a=1; Domain=a.tun.example; Domain=tun.example": true,
		"a=1; Domain=tun.example; Domain=":              true,
		"a=1; Domain=tun.example; Domain=.":             true,
		"a=1; Domain=example":                           true,
		"; Domain=tun.example":                          true,
		"a=1;;;Domain=tun.example;;":                    true,
	} {
		if got := reachesOut([]byte(value), "tun.example"); got != want {
			t.Errorf("reachesOut(%q) = %v, want %v", value, got, want)
		}
	}
	if !reachesOut([]byte("a=1; Domain=BÜCHER.example"), "xn--bcher-kva.example") {
		t.Error("the domain in Unicode is not known for itself")
	}
}

func FuzzReachesOut(f *testing.F) {
	f.Add("a=1; Domain=tun.example")
	f.Add("a=1; Domain=..tun.example.,;domain=\"x\"")
	f.Fuzz(func(t *testing.T, value string) {
		got := reachesOut([]byte(value), "tun.example")
		// What the standard library reads as one of these is one here too.
		res := http.Response{Header: http.Header{"Set-Cookie": {value}}}
		for _, c := range res.Cookies() {
			d := strings.ToLower(strings.TrimPrefix(c.Domain, "."))
			only := strings.Count(strings.ToLower(value), "domain") == 1
			if only && (d == "tun.example" || d == "example") && !got {
				t.Errorf("reachesOut(%q) = false, but net/http reads Domain %q", value, c.Domain)
			}
		}
	})
}

func TestCookiesStayAtHome(t *testing.T) {
	lines := []string{
		"Set-Cookie: own=1; Domain=a.tun.test; weird  ;  spacing",
		"sEt-cOOkie:   wide=1; Domain=tun.test",
		"Set-Cookie: plain=1",
		"Set-Cookie: wider=1; path=/; domain=.test",
	}
	base := start(t, rawService(t, func(c net.Conn, br *bufio.Reader) {
		for {
			head, err := readHead(br)
			if err != nil {
				return
			}
			if strings.HasPrefix(head, "GET /hints ") {
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n"+lines[1]+"\r\nLink: </x>\r\n\r\n")
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 2\r\n\r\nok", strings.Join(lines, "\r\n"))
		}
	}))
	nc, br := base.dial(t)
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	head, err := readHead(br)
	if err != nil {
		t.Fatal(err)
	}
	want := "HTTP/1.1 200 OK\r\n" + lines[0] + "\r\n" + lines[2] + "\r\nContent-Length: 2\r\n\r\n"
	if head != want {
		t.Errorf("the client got\n%q, want\n%q", head, want)
	}
	x := base.last(t)
	var captured []string
	for _, f := range x.Response.Header {
		if strings.EqualFold(f.Name, "Set-Cookie") {
			captured = append(captured, f.Value)
		}
	}
	if len(captured) != 4 || !strings.Contains(x.Detail, "2 cookies") || x.Failed() {
		t.Errorf("captured %q with %q, failed %v; want all four and a word on two of them", captured, x.Detail, x.Failed())
	}
	if n := base.f.Counts().Cookies; n != 2 {
		t.Errorf("Cookies = %d, want 2", n)
	}

	_, _ = br.Discard(2)
	_, _ = io.WriteString(nc, "GET /hints HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	if head, _ = readHead(br); head != "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" {
		t.Errorf("the hints came as %q, want them without the cookie", head)
	}
	_ = nc.Close()

	addr := base.secure(t)
	res, _ := get(t, over2(t, addr, "a.tun.test", true), addr, "a.tun.test")
	if got := res.Header["Set-Cookie"]; !slices.Equal(got, []string{"own=1; Domain=a.tun.test; weird  ;  spacing", "plain=1"}) {
		t.Errorf("over HTTP/2 Set-Cookie = %q", got)
	}
}

// The API and a custom domain are not fenced in: what is above them is theirs.
func TestFences(t *testing.T) {
	f := New(Config{Domain: "tun.test"})
	for host, want := range map[string]bool{
		"a.tun.test": true, "x.a.tun.test": true, "tun.test": false, ".tun.test": false,
		"shop.example.com": false, "atun.test": false, "localhost": false, "": false,
	} {
		if got := f.fences([]byte(host)); got != want {
			t.Errorf("fences(%q) = %v, want %v", host, got, want)
		}
	}
}
