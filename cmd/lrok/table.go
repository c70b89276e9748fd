package main

import (
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/inspector/format"
)

// A table is rows of words in columns that stand below each other. Nothing is
// cut: a terminal that is too narrow wraps, and a pipe gets all of it.
type table struct {
	head  []string // a head that begins with > stands to the right
	rows  [][]string
	color bool
}

func (o *options) table(head ...string) *table { return &table{head: head, color: o.colors()} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	width := make([]int, len(t.head))
	right := make([]bool, len(t.head))
	head := make([]string, len(t.head))
	for i, h := range t.head {
		head[i], right[i] = strings.CutPrefix(h, ">")
	}
	all := append([][]string{head}, t.rows...)
	for _, row := range all {
		for i := range row {
			row[i] = format.Sanitize(row[i]) // names and addresses come from outside
			width[i] = max(width[i], ansi.StringWidth(row[i]))
		}
	}
	var b strings.Builder
	for n, row := range all {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-ansi.StringWidth(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if n == 0 && t.color {
			text = "\x1b[2m" + text + "\x1b[0m"
		}
		b.WriteString(text + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// when writes a time for people: the local day, and how far away it is.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04") + " (" + away(time.Until(*t)) + ")"
}

// away is how far d from now is, in the largest unit that says enough.
func away(d time.Duration) string {
	say := func(text string) string { return text + " ago" }
	if d > 0 {
		d += time.Second / 2 // a day from now is a day, not 23 hours
		say = func(text string) string { return "in " + text }
	} else {
		d = -d
	}
	for _, unit := range []struct {
		of   time.Duration
		from time.Duration
		name string
	}{
		{24 * time.Hour, 48 * time.Hour, "day"},
		{time.Hour, 2 * time.Hour, "hour"},
		{time.Minute, time.Minute, "minute"},
	} {
		if d >= unit.from {
			return say(plural(int(d/unit.of), unit.name))
		}
	}
	if d < 10*time.Second {
		return "now"
	}
	return say(plural(int(d/time.Second), "second"))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
