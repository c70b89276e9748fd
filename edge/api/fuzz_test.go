package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

// FuzzChanges holds that changes which are accepted describe one request: no
// line break, no second request behind the first.
func FuzzChanges(f *testing.F) {
	f.Add(``)
	f.Add(`{}`)
	f.Add(`{"method":"PUT","path":"/a?b","header":[{"name":"A","value":"b"}],"set":[{"name":"C","value":"d"}],"remove":["E"],"body":"aGk="}`)
	f.Add(`{"path":"/ HTTP/1.1\r\nX: y"}`)
	f.Add(`{"set":[{"name":"A\n","value":"\u0000"}]}`)
	f.Add(`{"METHOD":"a b"}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		c, err := readChanges(httptest.NewRecorder(), r)
		if err != nil {
			return
		}
		if strings.ContainsAny(c.Method, " \t\r\n:") || strings.ContainsAny(c.Path, " \t\r\n") {
			t.Errorf("accepted %q %q from %q", c.Method, c.Path, body)
		}
		for _, fields := range [][]inspector.Field{c.Header, c.Set} {
			for _, fl := range fields {
				if fl.Name == "" || strings.ContainsAny(fl.Name, " \t\r\n:") || strings.ContainsAny(fl.Value, "\r\n\x00") {
					t.Errorf("accepted the line %q: %q from %q", fl.Name, fl.Value, body)
				}
			}
		}
	})
}
