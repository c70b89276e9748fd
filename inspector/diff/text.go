package diff

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff/lcs"
)

// What a text comparison may cost. What lies beyond the last line counted is
// one long last line; lines and totals beyond the other bounds lose the emphasis
// on words and get one on everything between their common ends.
const (
	maxLines     = 100_000
	maxWordLine  = 16 << 10
	maxWordTotal = 4 << 20
)

// Text compares two texts line by line. The lines of a and b can be put together
// from the result again, but for line ends: those are LF, and the CR of CR LF is
// part of the line.
//
// The time it takes is in proportion to the length of the texts: lines that
// occur once in both are anchors, and only short stretches between them are
// searched for the smallest difference.
func Text(a, b string) []Line {
	var t texts
	return t.compare(a, b)
}

// splitLines keeps line ends, so that a missing last one is a difference.
func splitLines(s string) []string {
	var lines []string
	for s != "" {
		i := strings.IndexByte(s, '\n') + 1
		if i == 0 || len(lines) == maxLines {
			i = len(s)
		}
		lines = append(lines, s[:i])
		s = s[i:]
	}
	return lines
}

type texts struct {
	done   <-chan struct{} // once closed, what is left is one change
	as, bs []string
	lines  []Line
	words  int // bytes compared by word
}

func (t *texts) compare(a, b string) []Line {
	t.as, t.bs = splitLines(a), splitLines(b)
	t.stretch(0, len(t.as), 0, len(t.bs))
	t.emphasise()
	return t.lines
}

func (t *texts) equal(i, j int) { t.add(Equal, i, j, t.as[i]) }

func (t *texts) add(op Op, i, j int, s string) {
	line := Line{Op: op, A: i + 1, B: j + 1}
	line.Text, line.NoEnd = strings.CutSuffix(s, "\n")
	line.NoEnd = !line.NoEnd
	t.lines = append(t.lines, line)
}

// stretch compares a[i0:i1] with b[j0:j1].
func (t *texts) stretch(i0, i1, j0, j1 int) {
	for i0 < i1 && j0 < j1 && t.as[i0] == t.bs[j0] {
		t.equal(i0, j0)
		i0, j0 = i0+1, j0+1
	}
	tail := 0
	for i0 < i1-tail && j0 < j1-tail && t.as[i1-1-tail] == t.bs[j1-1-tail] {
		tail++
	}
	i, j := i0, j0
	for _, at := range t.anchors(t.as[i0:i1-tail], t.bs[j0:j1-tail]) {
		if at[0]+i0 < i || at[1]+j0 < j {
			continue
		}
		t.gap(i, i0+at[0], j, j0+at[1])
		i, j = i0+at[0], j0+at[1]
		t.equal(i, j)
		i, j = i+1, j+1
	}
	t.gap(i, i1-tail, j, j1-tail)
	for k := range tail {
		t.equal(i1-tail+k, j1-tail+k)
	}
}

// anchors pairs the lines that occur once on either side, as many as keep their
// order.
func (t *texts) anchors(as, bs []string) [][2]int {
	if len(as) == 0 || len(bs) == 0 || closed(t.done) {
		return nil
	}
	type place struct{ i, j int } // -1: not there, -2: more than once
	places := make(map[string]place, len(as))
	for i, s := range as {
		if _, ok := places[s]; ok {
			i = -2
		}
		places[s] = place{i, -1}
	}
	for j, s := range bs {
		if p, ok := places[s]; ok && p.i >= 0 {
			if p.j != -1 {
				j = -2
			}
			places[s] = place{p.i, j}
		}
	}
	var at [][2]int
	var order []int32
	for i, s := range as {
		if p := places[s]; p.i == i && p.j >= 0 {
			at, order = append(at, [2]int{i, p.j}), append(order, int32(p.j))
		}
	}
	keep := increasing(order)
	n := 0
	for k := range at {
		if keep[k] {
			at[n] = at[k]
			n++
		}
	}
	return at[:n]
}

func (t *texts) gap(i0, i1, j0, j1 int) {
	i, j := i0, j0
	if i0 < i1 && j0 < j1 && !closed(t.done) {
		for _, d := range lcs.DiffLines(t.as[i0:i1], t.bs[j0:j1]) {
			for ; i < i0+d.Start; i, j = i+1, j+1 {
				t.equal(i, j)
			}
			t.change(i, i0+d.End, j, j0+d.ReplEnd)
			i, j = i0+d.End, j0+d.ReplEnd
		}
		for ; i < i1; i, j = i+1, j+1 {
			t.equal(i, j)
		}
		return
	}
	t.change(i, i1, j, j1)
}

func (t *texts) change(i0, i1, j0, j1 int) {
	for ; i0 < i1; i0++ {
		t.add(Remove, i0, -1, t.as[i0])
	}
	for ; j0 < j1; j0++ {
		t.add(Add, -1, j0, t.bs[j0])
	}
}

// emphasise marks the words that differ between the n-th removed and the n-th
// added line of each run.
func (t *texts) emphasise() {
	for k := 0; k < len(t.lines); {
		if t.lines[k].Op == Equal {
			k++
			continue
		}
		start := k
		for k < len(t.lines) && t.lines[k].Op == Remove {
			k++
		}
		middle := k
		for k < len(t.lines) && t.lines[k].Op == Add {
			k++
		}
		for n := range min(middle-start, k-middle) {
			a, b := &t.lines[start+n], &t.lines[middle+n]
			t.words += len(a.Text) + len(b.Text)
			if closed(t.done) {
				return
			}
			fine := t.words <= maxWordTotal && max(len(a.Text), len(b.Text)) <= maxWordLine
			a.Spans, b.Spans = emphasis(a.Text, b.Text, fine)
		}
	}
}

// Words returns the parts of a and of b that differ, in words. Long texts, or
// those with little in common, get at most one span: all between the parts they
// begin and end with.
func Words(a, b string) (inA, inB []Span) {
	return emphasis(a, b, max(len(a), len(b)) <= maxWordLine)
}

func emphasis(a, b string, fine bool) (inA, inB []Span) {
	if a == b {
		return nil, nil
	}
	if fine {
		as, bs := splitWords(a), splitWords(b)
		i, j, same := 0, 0, 0 // bytes
		at := func(words []string) []int {
			offsets := make([]int, len(words)+1)
			for k, w := range words {
				offsets[k+1] = offsets[k] + len(w)
			}
			return offsets
		}
		offA, offB := at(as), at(bs)
		for _, d := range lcs.DiffLines(as, bs) {
			same += offA[d.Start] - i
			i, j = offA[d.End], offB[d.ReplEnd]
			inA = appendSpan(inA, a, offA[d.Start], i)
			inB = appendSpan(inB, b, offB[d.ReplStart], j)
		}
		same += len(a) - i
		if same*4 >= min(len(a), len(b)) {
			return inA, inB
		}
	}
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	for head > 0 && (!startsRune(a, head) || !startsRune(b, head)) {
		head--
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	for tail > 0 && (!startsRune(a, len(a)-tail) || !startsRune(b, len(b)-tail)) {
		tail--
	}
	return appendSpan(nil, a, head, len(a)-tail), appendSpan(nil, b, head, len(b)-tail)
}

func startsRune(s string, i int) bool { return i == len(s) || utf8.RuneStart(s[i]) }

// appendSpan joins spans that only white space keeps apart: a reader sees them
// as one.
func appendSpan(spans []Span, s string, start, end int) []Span {
	if start == end {
		return spans
	}
	if n := len(spans); n > 0 && strings.TrimSpace(s[spans[n-1].End:start]) == "" {
		spans[n-1].End = end
		return spans
	}
	return append(spans, Span{start, end})
}

// splitWords cuts s into runs of letters and digits, runs of white space, and
// single other characters.
func splitWords(s string) []string {
	words := slices.Grow([]string(nil), len(s)/4)
	class := func(r rune) int {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_':
			return 1
		case unicode.IsSpace(r):
			return 2
		}
		return 0
	}
	start, last := 0, 0
	for i, r := range s {
		c := class(r)
		if i > start && (c != last || c == 0) {
			words = append(words, s[start:i])
			start = i
		}
		last = c
	}
	if start < len(s) {
		words = append(words, s[start:])
	}
	return words
}
