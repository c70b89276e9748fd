package http1_test

import (
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/http1"
)

func TestCanonicalHost(t *testing.T) {
	label := strings.Repeat("a", 63)
	longest := label + "." + label + "." + label + "." + strings.Repeat("a", 61)
	for _, test := range []struct{ host, want string }{
		{"demo.lrok.example", "demo.lrok.example"},
		{"Demo.LROK.Example", "demo.lrok.example"},
		{"demo.lrok.example:8443", "demo.lrok.example"},
		{"demo.lrok.example.", "demo.lrok.example"},
		{"demo.lrok.example.:80", "demo.lrok.example"},
		{"demo.lrok.example:", "demo.lrok.example"},
		{"localhost", "localhost"},
		{"my_app-2.localhost", "my_app-2.localhost"},
		{"127.0.0.1:3000", "127.0.0.1"},
		{"[::1]", "[::1]"},
		{"[0:0::0001]:80", "[::1]"},
		{"[2001:DB8::A]", "[2001:db8::a]"},
		{"[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]"},
		{"Bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example.:80", "xn--bcher-kva.example"},
		{"bücher。example。", "xn--bcher-kva.example"},
		{"ｄｅｍｏ.example", "demo.example"},
		{"XN--Bcher-kva.example", "xn--bcher-kva.example"},
		{label + ".example", label + ".example"},
		{longest, longest},
		{longest + ".", longest},

		{"", ""},
		{".", ""},
		{"..", ""},
		{".example", ""},
		{"a..example", ""},
		{"a.example..", ""},
		{":80", ""},
		{"a:80:80", ""},
		{"::1", ""},
		{"a:x", ""},
		{"a:-1", ""},
		{"a:65536", ""},
		{"a:99999999999999999999", ""},
		{"[::1", ""},
		{"[::1]x", ""},
		{"[::1]:x", ""},
		{"[1.2.3.4]", ""},
		{"[]", ""},
		{"[fe80::1%eth0]", ""},
		{"a[::1]", ""},
		{"a]", ""},
		{"a b", ""},
		{" a", ""},
		{"a/b", ""},
		{"a\\b", ""},
		{"a?b", ""},
		{"a#b", ""},
		{"u@a", ""},
		{"a,b", ""},
		{"a%2eb", ""},
		{"a*", ""},
		{"a\x00", ""},
		{"a\x7f", ""},
		{"a\n", ""},
		{"\xff\xfe", ""},
		{"a\u202eb.example", ""},
		{"bü_cher.example", ""},
		{label + "a.example", ""},
		{longest + "a", ""},
		{strings.Repeat("ü", 2000), ""},
	} {
		got, err := http1.CanonicalHost(test.host)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("CanonicalHost(%q) = %q, %v, want %q", test.host, got, err, test.want)
		}
		if err != nil && err != http1.ErrHost {
			t.Errorf("CanonicalHost(%q): %v, want ErrHost", test.host, err)
		}
		b, err := http1.AppendHost([]byte("x"), []byte(test.host))
		if string(b) != "x"+test.want || (err == nil) != (test.want != "") {
			t.Errorf("AppendHost(x, %q) = %q, %v, want %q", test.host, b, err, "x"+test.want)
		}
	}
}
