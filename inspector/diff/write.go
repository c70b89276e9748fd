package diff

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector/format"
)

const (
	lineContext = 3   // equal lines shown around changed ones
	shortValue  = 60  // of a value beside its path
	longValue   = 800 // of a value on a line of its own
)

// WriteText writes r for people, as `lrok diff` prints it: no colour, nothing
// that a captured byte could make a terminal do, and the values of secret
// headers and parameters masked.
func WriteText(w io.Writer, r Report) error {
	b := bufio.NewWriter(w)
	r.A.write(b, "A")
	r.B.write(b, "B")
	if r.Request != nil {
		r.Request.write(b, "request")
	}
	if r.Response != nil {
		r.Response.write(b, "response")
	}
	fmt.Fprintf(b, "\n%s\n", r.Summary())
	return b.Flush()
}

func (r Ref) write(w io.Writer, side string) {
	replay, status, took := "", "no answer", ""
	if r.ReplayOf != "" {
		replay = " (replay)"
	}
	if r.Status != 0 {
		status = fmt.Sprint(r.Status)
	}
	if r.Duration > 0 {
		took = "  " + format.Duration(time.Duration(r.Duration))
	}
	fmt.Fprintf(w, "%s  #%d %s %s  %s%s%s\n", side, r.Number, format.Sanitize(r.Method),
		format.Sanitize(clip(format.RedactTarget(r.Path), longValue)), status, took, replay)
}

func (m *Messages) write(w io.Writer, name string) {
	fmt.Fprintf(w, "\n%s%s\n", name, m.StartCounts.words("equal"))
	for i := range m.Start {
		m.Start[i].write(w)
	}
	fmt.Fprintf(w, "headers%s\n", m.HeaderCounts.words("equal"))
	for _, list := range [][]HeaderChange{m.Headers, m.Trailers} {
		for i := range list {
			list[i].write(w)
		}
	}
	m.Body.write(w)
}

// words writes counts after a title.
func (c Counts) words(equal string) string {
	var parts []string
	if s := c.signs(); s != "" {
		parts = append(parts, s)
	}
	if c.Equal > 0 {
		parts = append(parts, format.Count(int64(c.Equal))+" "+equal)
	}
	if c.Ignored > 0 {
		parts = append(parts, format.Count(int64(c.Ignored))+" ignored")
	}
	if len(parts) == 0 {
		return ""
	}
	return "  " + strings.Join(parts, ", ")
}

func (o Op) sign() string {
	switch o {
	case Add:
		return "+"
	case Remove:
		return "-"
	case Move:
		return ">"
	case Equal:
		return " "
	}
	return "~"
}

func ignoredBy(rule string) string {
	if rule == "" {
		return ""
	}
	return "  (ignored: " + format.Sanitize(clip(rule, shortValue)) + ")"
}

func (c *Change) write(w io.Writer) {
	path := format.Sanitize(clip(c.Path, longValue))
	note := ignoredBy(c.Rule)
	if c.Note != "" {
		note += "  [" + c.Note + "]"
	}
	if c.Op == Move {
		fmt.Fprintf(w, "  > %s  moved to index %d%s\n", path, c.To, note)
		return
	}
	if len(c.A) <= shortValue && len(c.B) <= shortValue {
		fmt.Fprintf(w, "  %s %s  %s%s\n", c.Op.sign(), path, c.values(c.Path, shortValue), note)
		return
	}
	fmt.Fprintf(w, "  %s %s%s\n", c.Op.sign(), path, note)
	if c.A != nil {
		fmt.Fprintf(w, "      A  %s\n", value(c.Path, c.A, longValue))
	}
	if c.B != nil {
		fmt.Fprintf(w, "      B  %s\n", value(c.Path, c.B, longValue))
	}
}

// values writes what changed on one line.
func (c *Change) values(path string, limit int) string {
	switch {
	case c.A == nil && c.B == nil:
		return ""
	case c.Op == Add:
		return value(path, c.B, limit)
	case c.Op == Remove:
		return value(path, c.A, limit)
	}
	return value(path, c.A, limit) + " -> " + value(path, c.B, limit)
}

func value(path string, raw []byte, limit int) string {
	if raw == nil {
		return "none"
	}
	if name, ok := strings.CutPrefix(path, "query."); ok && format.SecretParam(name) {
		return "●●●●"
	}
	s := string(raw)
	if strings.IndexByte(s, '\n') >= 0 {
		var b bytes.Buffer
		if json.Compact(&b, raw) == nil {
			s = b.String()
		}
	}
	if !strings.HasPrefix(path, ".") {
		if s = strings.Trim(s, `"`); s == "" { // of a start line
			s = `""`
		}
	}
	return format.Sanitize(clip(s, limit))
}

// clip cuts s so that it says how much is missing.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !startsRune(s, cut) {
		cut--
	}
	return s[:cut] + "… (" + format.Bytes(int64(len(s))) + ")"
}

func (c *HeaderChange) write(w io.Writer) {
	a, b := clip(c.A, longValue), clip(c.B, longValue)
	a, b = format.Sanitize(format.MaskHeader(c.Name, a)), format.Sanitize(format.MaskHeader(c.Name, b))
	name, note := format.Sanitize(clip(c.Name, shortValue)), ignoredBy(c.Rule)
	switch {
	case c.Op == Move:
		fmt.Fprintf(w, "  > %s  moved from place %d to %d%s\n", name, c.From, c.To, note)
	case c.Op == Add:
		fmt.Fprintf(w, "  + %s: %s%s\n", name, b, note)
	case c.Op == Remove:
		fmt.Fprintf(w, "  - %s: %s%s\n", name, a, note)
	case len(a)+len(b) <= 2*shortValue:
		fmt.Fprintf(w, "  ~ %s: %s -> %s%s\n", name, a, b, note)
	default:
		fmt.Fprintf(w, "  ~ %s%s\n      A  %s\n      B  %s\n", name, note, a, b)
	}
}

func (b *Body) write(w io.Writer) {
	title := "body"
	if b.Kind == "none" {
		fmt.Fprintf(w, "%s  none\n", title)
		return
	}
	unit := map[string]string{"json": "values equal", "protobuf": "values equal", "text": "lines equal", "binary": "equal"}[b.Kind]
	if unit == "" {
		unit = "fields equal"
	}
	if b.Counts.Equal == 1 {
		unit = strings.Replace(unit, "s equal", " equal", 1)
	}
	fmt.Fprintf(w, "%s  %s%s\n", title, b.Kind, b.Counts.words(unit))
	for _, n := range b.Notes {
		fmt.Fprintf(w, "  ! %s\n", format.Sanitize(clip(n, longValue)))
	}
	for i := range b.Changes {
		b.Changes[i].write(w)
	}
	b.writeLines(w)
	if b.Binary != nil {
		b.Binary.write(w, b.SizeA, b.SizeB)
	}
}

func (b *Body) writeLines(w io.Writer) {
	if !b.Counts.Differ() {
		return
	}
	shown := make([]bool, len(b.Lines))
	for i := range b.Lines {
		if b.Lines[i].Op != Equal {
			for k := max(0, i-lineContext); k < min(len(b.Lines), i+lineContext+1); k++ {
				shown[k] = true
			}
		}
	}
	for i := range b.Lines {
		if !shown[i] {
			continue
		}
		l := &b.Lines[i]
		if i > 0 && !shown[i-1] || i == 0 {
			fmt.Fprintf(w, "  @@ A %d, B %d\n", lineNumber(b.Lines, i, true), lineNumber(b.Lines, i, false))
		}
		fmt.Fprintf(w, "  %s %s\n", l.Op.sign(), format.Sanitize(clip(l.Text, longValue)))
		if l.NoEnd && l.Op != Equal {
			fmt.Fprintln(w, "    (no line end)")
		}
	}
}

// lineNumber is the number in A or B of the first line from i on that is in it.
func lineNumber(lines []Line, i int, inA bool) int {
	for _, l := range lines[i:] {
		if inA && l.A > 0 {
			return l.A
		}
		if !inA && l.B > 0 {
			return l.B
		}
	}
	return 0
}

func (b *Binary) write(w io.Writer, sizeA, sizeB int64) {
	fmt.Fprintf(w, "    A  %s  sha256 %s\n", format.Bytes(sizeA), orUnknown(b.SHA256A))
	fmt.Fprintf(w, "    B  %s  sha256 %s\n", format.Bytes(sizeB), orUnknown(b.SHA256B))
	if b.Offset >= 0 {
		fmt.Fprintf(w, "    first difference at byte %d\n", b.Offset)
	}
	for _, win := range b.Windows {
		for _, side := range []struct {
			name string
			data []byte
		}{{"A", win.A}, {"B", win.B}} {
			for row := 0; row < len(side.data); row += 16 {
				chunk := side.data[row:min(row+16, len(side.data))]
				fmt.Fprintf(w, "    %s  %08x  % -47x  |%s|\n", side.name, win.Offset+int64(row), chunk, printable(chunk))
			}
		}
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, string(latin1(b)))
}

// latin1 makes one rune of each byte.
func latin1(b []byte) []rune {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return out
}
