package http1_test

import (
	"testing"

	"github.com/lrok-dev/lrok/edge/http1"
)

func TestAppendRequestLine(t *testing.T) {
	for _, test := range []struct {
		method, target string
		want           string
		err            error
	}{
		{"GET", "/a?b|\xff", "GET /a?b|\xff HTTP/1.1\r\n", nil},
		{"OPTIONS", "*", "OPTIONS * HTTP/1.1\r\n", nil},
		{"GET /admin HTTP/1.1", "/", "", http1.ErrMethod},
		{"", "/", "", http1.ErrMethod},
		{"GET", "/ HTTP/1.1", "", http1.ErrTargetByte},
		{"GET", "/\tx", "", http1.ErrTargetByte},
		{"GET", "/\r\nA: b", "", http1.ErrTargetByte},
		{"GET", "", "", http1.ErrTarget},
		{"GET", "*", "", http1.ErrTarget},
		{"GET", "http://a/", "", http1.ErrTarget},
		{"GET", "a:80", "", http1.ErrTarget},
	} {
		got, err := http1.AppendRequestLine(nil, test.method, test.target)
		if string(got) != test.want || err != test.err {
			t.Errorf("AppendRequestLine(%q, %q) = %q, %v, want %q, %v", test.method, test.target, got, err, test.want, test.err)
		}
	}
}

func TestAppendField(t *testing.T) {
	for _, test := range []struct {
		name, value string
		want        string
		err         error
	}{
		{"a", "b\tc \xe4", "a: b\tc \xe4\r\n", nil},
		{"a", "", "a: \r\n", nil},
		{"", "b", "", http1.ErrFieldName},
		{"a b", "c", "", http1.ErrFieldName},
		{"a:", "c", "", http1.ErrFieldName},
		{"a\r\nb", "c", "", http1.ErrFieldName},
		{"a", "b\r\nc: d", "", http1.ErrFieldValue},
		{"a", "b\nc", "", http1.ErrFieldValue},
		{"a", "b\rc", "", http1.ErrFieldValue},
		{"a", "b\x00", "", http1.ErrFieldValue},
	} {
		got, err := http1.AppendField(nil, test.name, test.value)
		if string(got) != test.want || err != test.err {
			t.Errorf("AppendField(%q, %q) = %q, %v, want %q, %v", test.name, test.value, got, err, test.want, test.err)
		}
	}
}

func TestTrails(t *testing.T) {
	for _, test := range []struct {
		name string
		want bool
	}{
		{"Grpc-Status", true},
		{"Server-Timing", true},
		{"Content-Length", false},
		{"x_real_ip", false},
		{"X-Forwarded-For", false},
		{"Set-Cookie", false},
	} {
		if got := http1.KindOf([]byte(test.name)).Trails(); got != test.want {
			t.Errorf("%s: Trails = %t, want %t", test.name, got, test.want)
		}
	}
	for _, name := range []string{"", "a b", "Host ", "X-Forwarded-For:"} {
		if got := http1.KindOf(name); got != http1.KindOther {
			t.Errorf("KindOf(%q) = %d, want KindOther", name, got)
		}
	}
}
