package tui

import (
	"slices"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

var deliveries = []inspector.Exchange{
	{Path: "/webhooks/stripe", Event: "charge.dispute.created"},
	{Path: "/webhooks/stripe", Event: "invoice.paid"},
	{Path: "/webhooks/github", Event: "pull_request"},
	{Path: "/api/orders?status=open&page=1"},
}

// rowsAt is what the list shows of xs in a given width, path and event.
func rowsAt(m testModel, width int, xs []inspector.Exchange) (rows []string, c columns) {
	var w wanted
	for i := range xs {
		w.see(&xs[i])
	}
	c = w.columns(width)
	for i := range xs {
		path, event := m.pathAndEvent(&capture{Exchange: xs[i]}, c.room, c.path)
		rows = append(rows, path+"|"+event)
	}
	return rows, c
}

// The size goes first, then the paths come down to their last segment, and only
// then is an event cut; every row is like the others.
func TestColumnsOfEvents(t *testing.T) {
	m := modelWith(t, 120, 36, 0)
	for _, tt := range []struct {
		width int
		size  bool
		want  []string
	}{
		{80, true, []string{"/webhooks/stripe|charge.dispute.created", "/webhooks/stripe|invoice.paid", "/webhooks/github|pull_request", "/api/orders?status=open&page=1|"}},
		{73, false, []string{"/webhooks/stripe|charge.dispute.created", "/webhooks/stripe|invoice.paid", "/webhooks/github|pull_request", "/api/orders?status=open&page=1|"}},
		{64, false, []string{"…stripe|charge.dispute.created", "…stripe|invoice.paid", "…github|pull_request", "/api/orders?status=open&page=1|"}},
		{60, false, []string{"…stripe|…dispute.created", "…stripe|invoice.paid", "…github|pull_request", "/api/orders?status=ope…ge=1|"}},
		{40, false, []string{"…stripe|cha…created", "…stripe|invoic…paid", "…github|…ll_request", "/api/orders?status=…|"}},
	} {
		rows, c := rowsAt(m, tt.width, deliveries)
		if !slices.Equal(rows, tt.want) || c.size != tt.size {
			t.Errorf("in %d columns: %q, size %v, want %q, size %v", tt.width, rows, c.size, tt.want, tt.size)
		}
	}
	if _, c := rowsAt(m, 64, []inspector.Exchange{{Path: "/health?verbose=1"}}); !c.size || c.path != 0 {
		t.Errorf("in 64 columns short paths leave %+v, want the size beside them", c)
	}
}

// A narrower list never shows more of a path or an event than a wider one, queries
// aside.
func TestColumnsAreWiderInWiderLists(t *testing.T) {
	m := modelWith(t, 120, 36, 0)
	for _, xs := range [][]inspector.Exchange{
		append(deliveries[:3:3], inspector.Exchange{Path: "/api/orders/of-the-last-week"}),
		deliveries[:2],
		{{Path: "/api/orders/of-the-last-week"}},
		{{Path: "/"}, {Path: "/hooks", Event: "push"}},
		{{Path: "/a-name/that-is-long/and/another/longer-than-that/x"}, {Path: "/b"}},
		{{Path: "/webhooks/stripe", Event: "customer.subscription.pending_update_applied"}, {Path: "/"}},
		{{Path: "/" + strings.Repeat("漢", 30), Event: "漢字.漢字漢字漢字"}},
	} {
		before := make([][2]int, len(xs))
		for width := 48; width < 200; width++ {
			rows, c := rowsAt(m, width, xs)
			for i, row := range rows {
				path, event, _ := strings.Cut(row, "|")
				shows := [2]int{m.th.columns(path), m.th.columns(event)}
				if shows[0]+2+shows[1] > c.room+2*b2i(event == "") {
					t.Errorf("%s does not fit into %d columns", row, c.room)
				}
				began := before[i][1] == 0 && shows[1] > 0                            // events have come to stand beside the paths
				if shows[0] < before[i][0]-1 && !began || shows[1] < before[i][1]-1 { // a wide glyph may not fit
					t.Errorf("in %d columns %s, where one less shows more: %v", width, row, before[i])
				}
				before[i] = shows
			}
			if 3+c.time+c.method+c.room+tail(c) > width {
				t.Errorf("in %d columns: %+v", width, c)
			}
		}
	}
}

// The same key leads to the same end of the screen, whichever the newest is at.
func TestKeysOfTheEnds(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		m := modelWith(t, 80, 24, 50)
		if reversed {
			m.key("v")
		}
		l := &m.tab().list
		for _, k := range []struct {
			key string
			row int
		}{{"g", 0}, {"G", 49}, {"g", 0}} {
			m.key(k.key)
			m.shows()
			follows := (k.key == "g") != reversed
			if l.cursor != k.row || l.follow != follows {
				t.Errorf("reversed %v: %s leads to row %d, following %v, want row %d and %v", reversed, k.key, l.cursor, l.follow, k.row, follows)
			}
			if want := l.latestKey() + " follows"; !follows && !strings.Contains(m.shows(), want) {
				t.Errorf("reversed %v: no %q in\n%s", reversed, want, m.shows())
			}
		}
		m.key("?")
		want := []string{"to the top: the latest, and follow", "to the end: the oldest"}
		if reversed {
			want = []string{"to the top: the oldest", "to the end: the latest, and follow"}
		}
		help := strings.Join(plain(m.over.draw(m.model, 80, 200)), "\n")
		for _, s := range want {
			if !strings.Contains(help, s) {
				t.Errorf("reversed %v: the help does not say %q:\n%s", reversed, s, help)
			}
		}
	}
}
