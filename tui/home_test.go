package tui

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/tunnel"
)

func homeModel(t *testing.T, w, h int, list []client.Tunnel) testModel {
	t.Helper()
	m := modelWith(t, w, h, 0)
	m.home, m.focus = &home{}, inHome
	m.msg(tunnelsMsg{list: slices.Clone(list), me: client.Me{ID: "usr_1", Name: "ada", Edge: client.Edge{Domain: "lrok.example"}}})
	return m
}

func TestHomeCountsWhoIsThere(t *testing.T) {
	for _, tt := range []struct {
		online []bool
		want   string
	}{
		{nil, "0 tunnels live"},
		{[]bool{true}, "1 tunnel live"},
		{[]bool{true, true, false, true}, "3 tunnels live · 1 away"},
		{[]bool{false, false}, "0 tunnels live · 2 away"},
	} {
		var list []client.Tunnel
		for i, is := range tt.online {
			list = append(list, client.Tunnel{Subdomain: fmt.Sprint("t", i), Kind: tunnel.HTTP, Online: is, CreatedAt: frozen.Add(-time.Hour), Since: frozen.Add(-3 * time.Minute)})
		}
		m := homeModel(t, 80, 24, list)
		rows, _ := m.draw()
		if got := strings.TrimSpace(plain(rows)[1]); got != tt.want {
			t.Errorf("of %v the counters are %q, want %q", tt.online, got, tt.want)
		}
		if got, want := strings.Count(m.shows(), "away 3m00"), len(tt.online)-strings.Count(fmt.Sprint(tt.online), "true"); got != want {
			t.Errorf("of %v %d rows say away, want %d:\n%s", tt.online, got, want, m.shows())
		}
	}
}

// The address is there as soon as there is room for it, and nothing is cut as
// long as something else could give way.
func TestHomeNamesTheAddress(t *testing.T) {
	for w := 40; w <= 160; w++ {
		m := homeModel(t, w, 24, demoTunnels)
		rows := plain(first2(m.draw()))
		if got := strings.Contains(rows[0], "ada on lrok.example"); !got {
			t.Errorf("at %d columns the head is %q", w, rows[0])
		}
		text := strings.Join(rows, "\n")
		if w >= 78 && (!strings.Contains(text, "tcp.lrok.example:30007 ") || !strings.Contains(text, " :5432 ")) {
			t.Errorf("at %d columns the address or the service is not there:\n%s", w, text)
		}
		for i, r := range m.home.draw(m.model, nil, rect{0, 0, w, 20}) {
			if n := m.th.columns(r); n > w {
				t.Errorf("at %d columns row %d has %d:\n%s", w, i, n, text)
			}
		}
		for _, name := range []string{"acme ", "vault ", "docs ", "3 open"} {
			if !strings.Contains(text, name) {
				t.Errorf("at %d columns %q is not there:\n%s", w, name, text)
			}
		}
	}
}

func first2[A, B any](a A, _ B) A { return a }
