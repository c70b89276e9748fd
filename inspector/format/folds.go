package format

import (
	"maps"
	"slices"
	"sort"
)

// Folds knows which folds of a document are closed, and so which lines show.
// It belongs to one goroutine.
type Folds struct {
	d *Document
	// all says that folds below the top are closed, but for those in except;
	// otherwise they are open, but for those.
	all    bool
	except map[int]bool
	hidden []hiddenRange
}

// A hiddenRange is a closed fold that no other one hides: the lines after line
// up to end do not show, and before lines above it do not either.
type hiddenRange struct{ line, end, before int }

// NewFolds returns the view of d with every fold open.
func NewFolds(d *Document) *Folds { return &Folds{d: d, except: map[int]bool{}} }

// Toggle closes or opens the fold at line i: the one it opens or else the one it
// lies in. It returns the line that stands for i afterwards.
func (f *Folds) Toggle(i int) int {
	if _, ok := f.d.Fold(i); !ok {
		p, ok := f.d.Parent(i)
		if !ok {
			return i
		}
		if i = p; f.Closed(i) {
			return i // hidden already
		}
		if _, ok := f.d.Fold(i); !ok {
			return i
		}
	}
	f.set(i, !f.Closed(i))
	f.rebuild()
	return i
}

// CloseAll closes every fold but the outermost; of several values at the top it
// closes these.
func (f *Folds) CloseAll() {
	f.all = true
	f.except = map[int]bool{}
	f.rebuild()
}

// OpenAll opens every fold.
func (f *Folds) OpenAll() {
	f.all = false
	f.except = map[int]bool{}
	f.hidden = nil
}

// Adopt closes what is closed in o, which is a view of the same body or of less or
// more of it.
func (f *Folds) Adopt(o *Folds) {
	f.all, f.except = o.all, maps.Clone(o.except)
	f.rebuild()
}

// Closed reports whether the fold that line i opens is closed.
func (f *Folds) Closed(i int) bool {
	if _, ok := f.d.Fold(i); !ok {
		return false
	}
	closed := f.all && (f.d.Depth(i) > 0 || f.d.Values() > 1)
	return closed != f.except[i]
}

// Rows is the number of lines that show.
func (f *Folds) Rows() int {
	n := f.d.Count()
	if last := len(f.hidden) - 1; last >= 0 {
		n -= f.hidden[last].before + f.hidden[last].end - f.hidden[last].line
	}
	return n
}

// Line returns the document's line that shows at row.
func (f *Folds) Line(row int) int {
	// The last closed fold that shows above row.
	n := sort.Search(len(f.hidden), func(i int) bool {
		return f.hidden[i].line-f.hidden[i].before >= row
	})
	if n == 0 {
		return row
	}
	h := f.hidden[n-1]
	return row + h.before + h.end - h.line
}

// Row returns where line i shows, or the line of the closed fold that hides it.
func (f *Folds) Row(i int) int {
	n := sort.Search(len(f.hidden), func(k int) bool { return f.hidden[k].line >= i })
	if n == 0 {
		return i
	}
	h := f.hidden[n-1]
	if i <= h.end {
		return h.line - h.before
	}
	return i - h.before - (h.end - h.line)
}

// Show opens what hides line i and returns its row.
func (f *Folds) Show(i int) int {
	changed := false
	for p, ok := f.d.Parent(i); ok; p, ok = f.d.Parent(p) {
		if f.Closed(p) {
			f.set(p, false)
			changed = true
		}
	}
	if changed {
		f.rebuild()
	}
	return f.Row(i)
}

func (f *Folds) set(i int, closed bool) {
	if f.Closed(i) == closed {
		return
	}
	if f.except[i] {
		delete(f.except, i)
	} else {
		f.except[i] = true
	}
}

func (f *Folds) rebuild() {
	f.hidden = f.hidden[:0]
	before, next := 0, 0
	closeAt := func(i int) {
		end, _ := f.d.Fold(i)
		f.hidden = append(f.hidden, hiddenRange{line: i, end: end, before: before})
		before += end - i
		next = end + 1
	}
	if !f.all {
		// Few are closed: look at these only.
		for _, i := range slices.Sorted(maps.Keys(f.except)) {
			if i < next || i >= f.d.Count() {
				continue // hidden, or not there as yet
			}
			if _, ok := f.d.Fold(i); ok {
				closeAt(i)
			}
		}
		return
	}
	// Whether a line is closed, as Closed has it: there may be a million of them.
	several := f.d.Values() > 1
	for next < f.d.count {
		l := f.d.line(next)
		if l.flags&(opensObject|opensArray) == 0 || int(l.other) <= next ||
			(several || l.depth > 0) == (len(f.except) > 0 && f.except[next]) {
			next++
			continue
		}
		end := int(l.other)
		f.hidden = append(f.hidden, hiddenRange{line: next, end: end, before: before})
		before += end - next
		next = end + 1
	}
}
