package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/inspector"
)

// TestEveryCommandExplainsItself holds the promise of help with an example.
func TestEveryCommandExplainsItself(t *testing.T) {
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		if c.Short == "" || c.Name() != "help" && c.Parent() != nil && c.Parent().Name() != "completion" && c.Name() != "completion" && c.Example == "" {
			t.Errorf("%s has no short help or no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  lrok") {
				t.Errorf("%s: the example %q is no call of lrok", c.CommandPath(), line)
			}
		}
		for _, line := range strings.Split(c.Long, "\n") {
			if n := len([]rune(line)); n > 90 {
				t.Errorf("%s: a line of %d columns in its help: %s", c.CommandPath(), n, line)
			}
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(newRoot())
}

// TestExamplesAreUnderstood parses each line that the help shows.
func TestExamplesAreUnderstood(t *testing.T) {
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			call, _, _ := strings.Cut(line, " | ")
			call, _, _ = strings.Cut(call, " > ")
			call, _, _ = strings.Cut(call, " < ")
			words := splitWords(call)
			root := newRoot()
			found, rest, err := root.Find(words[1:])
			if err != nil {
				t.Errorf("%q: %v", line, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%q: %v", line, err)
				continue
			}
			if found.Args != nil {
				if err := found.Args(found, found.Flags().Args()); err != nil {
					t.Errorf("%q: %v", line, err)
				}
			}
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(newRoot())
}

// splitWords splits as a shell does, as far as the examples need it.
func splitWords(s string) []string {
	var out []string
	for i, part := range strings.Split(strings.TrimSpace(s), "'") {
		switch {
		case i%2 == 1:
			out = append(out, part)
		default:
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

func TestParseExpiry(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	for _, test := range []struct {
		in   string
		want time.Time
	}{
		{"90d", time.Date(2027, 2, 21, 12, 0, 0, 0, time.Local)},
		{"12h", now.Add(12 * time.Hour)},
		{"2026-11-23", time.Date(2026, 11, 23, 23, 59, 59, 0, time.Local)},
		{"2027-01-31", time.Date(2027, 1, 31, 23, 59, 59, 0, time.Local)},
		{"2027-01-31T10:00:00Z", time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC)},
	} {
		got, err := parseExpiry(test.in, now)
		if err != nil || got == nil || !got.Equal(test.want) {
			t.Errorf("parseExpiry(%q) = %v, %v, want %v", test.in, got, err, test.want)
		}
	}
	for _, in := range []string{"", "never"} {
		if got, err := parseExpiry(in, now); got != nil || err != nil {
			t.Errorf("parseExpiry(%q) = %v, %v, want none", in, got, err)
		}
	}
	for _, in := range []string{"soon", "d", "0d", "-3d", "-1h", "2020-01-01", "2027-02-30", "90"} {
		if got, err := parseExpiry(in, now); err == nil || exitCode(err) != 2 {
			t.Errorf("parseExpiry(%q) = %v, %v, want wrong usage", in, got, err)
		}
	}
}

func TestAway(t *testing.T) {
	for _, test := range []struct {
		in   time.Duration
		want string
	}{
		{0, "now"},
		{-9 * time.Second, "now"},
		{-45 * time.Second, "45 seconds ago"},
		{-61 * time.Second, "1 minute ago"},
		{-119 * time.Minute, "119 minutes ago"},
		{-3 * time.Hour, "3 hours ago"},
		{90*24*time.Hour - time.Second, "in 90 days"},
		{-49 * time.Hour, "2 days ago"},
		{5 * time.Minute, "in 5 minutes"},
	} {
		if got := away(test.in); got != test.want {
			t.Errorf("away(%v) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestTable(t *testing.T) {
	build := func(most int) string {
		tab := &table{head: []string{"NAME", ">COUNT", "?SINCE", "?>IN"}, most: most}
		tab.row("shop\x1b[31m", "7", "2026-11-23 12:00 (3 days ago)", "1.2k")
		tab.row("日本", "1234", "-", "9")
		var b bytes.Buffer
		if err := tab.write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, test := range []struct {
		name string
		most int
		want string
	}{
		{"a pipe gets all", 0, "NAME       COUNT  SINCE                            IN\nshop␛[31m      7  2026-11-23 12:00 (3 days ago)  1.2k\n日本        1234  -                                 9\n"},
		{"narrow: times lose their date", 40, "NAME       COUNT  SINCE         IN\nshop␛[31m      7  3 days ago  1.2k\n日本        1234  -              9\n"},
		{"narrower: columns go from the right", 30, "NAME       COUNT  SINCE\nshop␛[31m      7  3 days ago\n日本        1234  -\n"},
		{"narrowest", 10, "NAME       COUNT\nshop␛[31m      7\n日本        1234\n"},
	} {
		if got := build(test.most); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

func TestMask(t *testing.T) {
	key := "lrok_0000000000000000000000000000002Csu4U"
	for _, test := range []struct{ name, value, want string }{
		{"LROK_API_KEY", key, "lrok_0000…su4U"},
		{"LROK_API_KEY", "short", "****"},
		{"LROK_BASIC_AUTH", strings.Repeat("a", 60), "****"},
		{"LROK_POSTHOG_KEY", strings.Repeat("b", 60), "****"},
		{"LROK_POSTHOG_KEY_FILE", "/etc/key", "/etc/key"},
		{"LROK_THEME", "dark", "dark"},
	} {
		if got := mask(test.name, test.value); got != test.want {
			t.Errorf("mask(%s, %q) = %q, want %q", test.name, test.value, got, test.want)
		}
	}
}

// TestConnectionLines: what an event stream tells of a raw connection is printed
// as opened and closed, once each, also when only its end was seen.
func TestConnectionLines(t *testing.T) {
	var b bytes.Buffer
	l := (&options{color: "never"}).lines(&b)
	x := inspector.Exchange{ID: "req_1", Number: 1, Kind: inspector.TCP, State: inspector.Open, Remote: "198.51.100.7:5"}
	done := x
	done.State, done.Request.Body.Size, done.Timing.Done = inspector.Done, 6, time.Second
	late := done
	late.ID, late.Number, late.Error, late.Detail = "req_2", 2, "upstream_refused", "connection refused"
	for _, e := range []inspector.Exchange{x, x, done, done, late} {
		if err := l.event(inspector.Event{Type: "request", Exchange: &e}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		got = append(got, strings.TrimSpace(line[8:]))
	}
	want := []string{
		"#1     opened  198.51.100.7:5",
		"#1     closed  198.51.100.7:5  after 1.0s, 6 bytes in, 0 bytes out",
		"#2     opened  198.51.100.7:5",
		"#2     closed  198.51.100.7:5  after 1.0s, 6 bytes in, 0 bytes out  failed, upstream refused: connection refused",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("lines:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
