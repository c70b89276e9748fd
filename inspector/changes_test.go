package inspector

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestChangesThroughJSON(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	body := all
	for _, c := range []Changes{
		{},
		{Method: "PUT", Path: "/\u00fcber", Header: []Field{{"A", "\u2713 text"}}},
		{Path: "/caf\xe9", Header: []Field{{"A", "\xff"}, {"B", "\u2713 text"}}, Set: []Field{{"C", string(all)}}, Remove: []string{"D"}, Body: &body},
		{Header: []Field{}},
	} {
		wire := c.ForJSON()
		data, err := json.Marshal(wire)
		if err != nil {
			t.Fatal(err)
		}
		var back Changes
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if back, err = back.FromJSON(); err != nil {
			t.Fatal(err)
		}
		// An empty list in a nil one's place is no change.
		want := c
		if len(want.Header) == 0 {
			want.Header, back.Header = nil, nil
		}
		if !reflect.DeepEqual(back, want) {
			t.Errorf("%+v came through %s as %+v", c, data, back)
		}
		if bytes := strings.Contains(c.Path, "\xe9"); bytes != wire.Latin1 {
			t.Errorf("latin1 = %v for %+v", wire.Latin1, c)
		}
	}
	if _, err := (Changes{Path: "/\u2713", Latin1: true}).FromJSON(); err == nil {
		t.Error("a check mark was taken for Latin-1")
	}
}
