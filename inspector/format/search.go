package format

// A Search looks for a text or a pattern in a body.
type Search struct{}

// NewSearch searches for text, letter case ignored.
func NewSearch(text string) *Search { return nil }

// NewPattern searches for a regular expression (RE2), letter case ignored, ^
// and $ meaning lines.
func NewPattern(expr string) (*Search, error) { return nil, nil }

// A Hit is where a search got to.
type Hit struct {
	Found      bool
	Start, End int // of the match in the body
	// Resume is where to go on when nothing was found within the limit; Done says
	// that there is nothing left in this direction.
	Resume int
	Done   bool
}

// Next looks for the first match that starts at or after from and reads at most
// limit bytes, 256 KiB if 0: a screen calls it again with Resume until Found or
// Done.
func (s *Search) Next(data []byte, from, limit int) Hit { return Hit{Done: true} }

// Prev looks the other way, for the last match that starts before from.
func (s *Search) Prev(data []byte, from, limit int) Hit { return Hit{Done: true} }

// Spans appends start and end of every match in one line's text, to mark them.
func (s *Search) Spans(dst [][2]int, text []byte) [][2]int { return dst }
