package format

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

const (
	searchLimit = 256 << 10
	// searchContext is how far beyond its limit a pattern may look to complete a
	// match.
	searchContext = Chunk
)

// A Search looks for a text or a pattern in a body.
type Search struct {
	lower []byte // of a text in ASCII; nil for anything else
	re    *regexp.Regexp
}

// NewSearch searches for text, letter case ignored.
func NewSearch(text string) *Search {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return &Search{re: regexp.MustCompile("(?i)" + regexp.QuoteMeta(strings.ToValidUTF8(text, "\ufffd")))}
		}
	}
	return &Search{lower: []byte(strings.ToLower(text))}
}

// NewPattern searches for a regular expression (RE2), letter case ignored, ^
// and $ meaning lines.
func NewPattern(expr string) (*Search, error) {
	re, err := regexp.Compile("(?im)" + expr)
	if err != nil {
		var bad *syntax.Error
		if errors.As(err, &bad) {
			return nil, errors.New(bad.Code.String() + ": " + Sanitize(strings.TrimPrefix(bad.Expr, "(?im)")))
		}
		return nil, err
	}
	if re.MatchString("") {
		return nil, errors.New("the pattern matches everywhere")
	}
	return &Search{re: re}, nil
}

// A Hit is where a search got to.
type Hit struct {
	Found      bool
	Start, End int // of the match in the body
	// Resume is where to go on when nothing was found within the limit; Done says
	// that there is nothing left in this direction.
	Resume int
	Done   bool
}

// Next looks for the first match that starts at or after from and reads about
// limit bytes, 256 KiB if 0: a screen calls it again with Resume until Found or
// Done. A match of a pattern is found if it is at most 4 KiB long.
func (s *Search) Next(data []byte, from, limit int) Hit {
	if limit <= 0 {
		limit = searchLimit
	}
	from = min(max(from, 0), len(data))
	stop := min(len(data), from+limit)
	miss := Hit{Resume: stop, Done: stop == len(data)}
	if s.re == nil {
		if len(s.lower) == 0 {
			return Hit{Done: true}
		}
		window := data[from:min(len(data), stop+len(s.lower)-1)]
		if i := indexFold(window, s.lower); i >= 0 {
			return Hit{Found: true, Start: from + i, End: from + i + len(s.lower)}
		}
		return miss
	}
	reach := min(len(data), stop+searchContext)
	for at := from; at < stop; {
		loc := s.find(data[:reach], at)
		if loc == nil || loc[0] >= stop {
			return miss
		}
		if loc[1] > loc[0] {
			return Hit{Found: true, Start: loc[0], End: loc[1]}
		}
		at = loc[0] + 1
	}
	return miss
}

// find is the pattern's first match from at on, which sees the character before
// at so that ^ and \b mean what they say.
func (s *Search) find(data []byte, at int) []int {
	_, before := utf8.DecodeLastRune(data[:at])
	loc := s.re.FindIndex(data[at-before:])
	if loc != nil && loc[0] < before {
		before = 0 // a match that began earlier is in the way
		loc = s.re.FindIndex(data[at:])
	}
	if loc == nil {
		return nil
	}
	return []int{at - before + loc[0], at - before + loc[1]}
}

// All finds the matches in data one after another, up to most of them, and
// reports whether there are more. It stops early when ctx ends.
func (s *Search) All(ctx context.Context, data []byte, most int) (found [][2]int, more bool) {
	for at := 0; ctx.Err() == nil; {
		h := s.Next(data, at, 0)
		switch {
		case h.Found && len(found) == most:
			return found, true
		case h.Found:
			found = append(found, [2]int{h.Start, h.End})
			at = h.End
		case h.Done:
			return found, false
		default:
			at = h.Resume
		}
	}
	return found, false
}

// Spans appends start and end of every match in one line's text, to mark them.
func (s *Search) Spans(dst [][2]int, text []byte) [][2]int {
	if s.re != nil {
		for _, loc := range s.re.FindAllIndex(text, -1) {
			if loc[1] > loc[0] {
				dst = append(dst, [2]int{loc[0], loc[1]})
			}
		}
		return dst
	}
	if len(s.lower) == 0 {
		return dst
	}
	for at := 0; ; {
		i := indexFold(text[at:], s.lower)
		if i < 0 {
			return dst
		}
		dst = append(dst, [2]int{at + i, at + i + len(s.lower)})
		at += i + len(s.lower)
	}
}

// indexFold is bytes.Index with ASCII letter case ignored in b; lower is in
// lower case. Each of the two forms of the first letter is looked for once, not
// anew for each of the other: a body of one form only would take forever.
func indexFold(b, lower []byte) int {
	first := lower[0]
	upper := upperOf(first)
	last := len(b) - len(lower)
	next := func(c byte, at int) int {
		if at > last {
			return last + 1
		}
		if n := bytes.IndexByte(b[at:last+1], c); n >= 0 {
			return at + n
		}
		return last + 1
	}
	low, up := next(first, 0), last+1
	if upper != first {
		up = next(upper, 0)
	}
	for {
		at := min(low, up)
		if at > last {
			return -1
		}
		if equalFold(b[at:at+len(lower)], lower) {
			return at
		}
		if at == low {
			low = next(first, at+1)
		} else {
			up = next(upper, at+1)
		}
	}
}

func equalFold(b, lower []byte) bool {
	for i, c := range lower {
		if b[i] != c && b[i] != upperOf(c) {
			return false
		}
	}
	return true
}

func upperOf(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}
