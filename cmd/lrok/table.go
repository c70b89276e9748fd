package main

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"

	"github.com/lrok-dev/lrok/inspector/format"
)

// A table is rows of words in columns that stand below each other. A pipe gets
// all of it. On a terminal that is too narrow times lose their date, and then
// the columns go that can be done without, the last one first; no word is cut.
type table struct {
	head  []string // one that begins with > stands to the right, with ? it can be done without
	rows  [][]string
	color bool
	most  int // columns of the terminal; 0: any number
}

func (o *options) table(head ...string) *table {
	t := &table{head: head, color: o.colors()}
	if f, ok := o.stdout.(*os.File); ok && term.IsTerminal(f.Fd()) {
		t.most, _, _ = term.GetSize(f.Fd())
	}
	return t
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	right, spare := make([]bool, len(t.head)), make([]bool, len(t.head))
	head := make([]string, len(t.head))
	for i, h := range t.head {
		h, spare[i] = strings.CutPrefix(h, "?")
		head[i], right[i] = strings.CutPrefix(h, ">")
	}
	all := [][]string{head}
	for _, row := range t.rows {
		for i := range row {
			row[i] = format.Sanitize(row[i]) // names and addresses come from outside
		}
		all = append(all, row)
	}
	width := widths(all)
	tooWide := func() bool {
		sum := -2
		for _, w := range width {
			sum += w + 2
		}
		return t.most > 0 && sum > t.most
	}
	if tooWide() {
		// What when and whenExactly write.
		bothTimes := regexp.MustCompile(`\d{4}-\d\d-\d\d [\d:]+ \(([^)]*)\)`)
		for _, row := range t.rows {
			for i := range row {
				row[i] = bothTimes.ReplaceAllString(row[i], "$1")
			}
		}
		width = widths(all)
	}
	for i := len(head) - 1; i > 0; i-- {
		if spare[i] && tooWide() {
			for n := range all {
				all[n] = slices.Delete(all[n], i, i+1)
			}
			right, width = slices.Delete(right, i, i+1), slices.Delete(width, i, i+1)
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

func widths(rows [][]string) []int {
	out := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			out[i] = max(out[i], ansi.StringWidth(cell))
		}
	}
	return out
}

// when writes a time for people: the local day, and how far away it is.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04") + " (" + away(time.Until(*t)) + ")"
}

// whenExactly is when to the second.
func whenExactly(t time.Time) string {
	return t.Local().Format(time.DateTime) + " (" + away(time.Until(t)) + ")"
}

// away is how far d from now is, in the unit that says enough.
func away(d time.Duration) string {
	say := func(n time.Duration, unit string) string {
		if d > 0 {
			return "in " + plural(int(n), unit)
		}
		return plural(int(n), unit) + " ago"
	}
	far := d.Abs()
	switch {
	case far < 10*time.Second:
		return "now"
	case far < time.Minute:
		return say(far/time.Second, "second")
	case far < 2*time.Hour:
		return say((far+30*time.Second)/time.Minute, "minute")
	case far < 48*time.Hour:
		return say((far+30*time.Minute)/time.Hour, "hour")
	}
	return say((far+12*time.Hour)/(24*time.Hour), "day")
}
