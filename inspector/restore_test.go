package inspector

import (
	"encoding/json"
	"slices"
	"testing"
)

// Heads in Latin-1 come through JSON as they were.
func TestRestore(t *testing.T) {
	for path, head := range map[string]string{
		"/caf\xe9?a=b": "POST /caf\xe9?a=b HTTP/1.1\r\nHost: a\r\nX-Lat: caf\xe9\r\nx-lat:\tb \r\n\r\n",
		"/cafe":        "POST /cafe HTTP/1.1\r\nHost: a\r\nX-Two: \xff\r\n\r\n",
		"/caf\u00e9":   "POST /caf\u00e9 HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		x := Exchange{Path: path, Reason: "Tr\xe8s bien", Request: Message{Head: []byte(head), Header: fields(head)}}
		x.Response.Head = []byte("HTTP/1.1 200 Tr\xe8s bien\r\nServer: \xe9\r\n\r\n")
		x.Response.Header = fields(string(x.Response.Head))
		data, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		var y Exchange
		if err := json.Unmarshal(data, &y); err != nil {
			t.Fatal(err)
		}
		y.Restore()
		if y.Path != x.Path || y.Reason != x.Reason || !slices.Equal(y.Request.Header, x.Request.Header) || !slices.Equal(y.Response.Header, x.Response.Header) {
			t.Errorf("%q came back as %q, %q, %q, %q", head, y.Path, y.Reason, y.Request.Header, y.Response.Header)
		}
	}
	light := Exchange{Path: "/a", Reason: "OK", Request: Message{Header: []Field{{"A", "b"}}}}
	if light.Restore(); light.Path != "/a" || light.Reason != "OK" || len(light.Request.Header) != 1 {
		t.Errorf("a light exchange became %+v", light)
	}
}
