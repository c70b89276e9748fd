package tui

// A shape is how the panes share the screen.
type shape uint8

const (
	tiny    shape = iota // one line: state, URL, counters
	compact              // one pane, no rules, one header line
	swap                 // one pane at a time
	stacked              // list over detail
	split                // list beside detail
)

// A rect is a part of the screen, in cells.
type rect struct{ x, y, w, h int }

func (r rect) has(x, y int) bool { return x >= r.x && x < r.x+r.w && y >= r.y && y < r.y+r.h }

// A layout says where everything is.
type layout struct {
	shape  shape
	header int  // rows
	rules  bool // lines between the parts
	panes  rect // all that is between header and footer
	list   rect
	detail rect
}

// arrange lays a screen of w x h out. Share is the list's part of the width in
// percent; zoomed gives everything to the pane that has the focus.
func arrange(w, h, share int, zoomed, onDetail bool) layout {
	var a layout
	switch {
	case w < 30 || h < 6:
		a.shape = tiny
		return a
	case w < 60 || h < 16:
		a.shape = compact
	case w >= 100:
		a.shape = split
	case h >= 40:
		a.shape = stacked
	default:
		a.shape = swap
	}
	if zoomed && a.shape > swap {
		a.shape = swap
	}
	a.header, a.rules = 2, true
	top, bottom := 3, 3 // with a rule each
	if a.shape == compact {
		a.header, a.rules = 1, false
		top, bottom = 1, 2
	}
	a.panes = rect{0, top, w, h - top - bottom}
	switch a.shape {
	case split:
		left := min(max(w*share/100, 48), w-48)
		a.list = rect{0, top, left, a.panes.h}
		a.detail = rect{left + 1, top, w - left - 1, a.panes.h}
	case stacked:
		upper := max(a.panes.h*2/5, 8)
		a.list = rect{0, top, w, upper}
		a.detail = rect{0, top + upper + 1, w, a.panes.h - upper - 1}
	default:
		if onDetail {
			a.detail = a.panes
		} else {
			a.list = a.panes
		}
	}
	return a
}
