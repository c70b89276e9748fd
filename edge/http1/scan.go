package http1

import "bytes"

const (
	defaultHead   = 64 << 10
	defaultFields = 256
)

// A scan looks for the blank line that ends a head. It remembers how far it
// looked, so that a head that arrives in pieces is read once and not once per
// piece, and it refuses what can be refused before the head is whole.
type scan struct {
	pos   int  // first byte not looked at
	line  int  // where the current line starts
	start int  // where the start line starts: 2 after a leading empty line
	lines int  // lines that ended, empty ones not counted
	loose bool // a line ended in bare LF or continues the one before
}

// head returns the length of the head in b, or 0 while it is incomplete.
// A lenient scan takes bare LF and folded lines and only remembers them.
func (s *scan) head(b []byte, l Limits, lenient bool) (int, error) {
	limit, maxLines := l.Head, l.Fields+1
	if limit <= 0 {
		limit = defaultHead
	}
	if l.Fields <= 0 {
		maxLines = defaultFields + 1
	}
	if s.pos > len(b) {
		*s = scan{}
	}
	for {
		if s.lines == 0 && s.line < len(b) {
			if err := firstByte(b[s.line], lenient); err != nil {
				return 0, err
			}
		}
		i := bytes.IndexByte(b[s.pos:], '\n')
		if i < 0 {
			s.pos = len(b)
			if len(b) >= limit {
				return 0, s.tooLarge()
			}
			return 0, nil
		}
		lf := s.pos + i
		if lf >= limit {
			return 0, s.tooLarge()
		}
		end := lf
		if lf > s.line && b[lf-1] == '\r' {
			end--
		} else if !lenient {
			return 0, ErrBareLF
		} else {
			s.loose = true
		}
		if end == s.line && s.lines > 0 {
			return lf + 1, nil
		}
		switch {
		case end == s.line && (s.start > 0 || lenient):
			return 0, ErrEmptyLines
		case end == s.line:
			s.start = lf + 1
		default:
			if c := b[s.line]; lenient && (c == ' ' || c == '\t') {
				s.loose = true
			}
			if s.lines++; s.lines > maxLines {
				return 0, ErrTooManyFields
			}
		}
		s.pos, s.line = lf+1, lf+1
	}
}

// firstByte refuses, without waiting for a line end that may never come, what
// cannot be the beginning of a start line.
func firstByte(c byte, response bool) error {
	switch {
	case c == 0x16 || c == 0x15: // handshake and alert records
		return ErrTLS
	case response && c != 'H' && c != '\r' && c != '\n':
		return ErrNotHTTP
	case class[c]&isToken == 0 && c != '\r' && c != '\n':
		return ErrNotHTTP
	}
	return nil
}

func (s *scan) tooLarge() error {
	if s.lines == 0 {
		return ErrTargetTooLong
	}
	return ErrHeadTooLarge
}

// straighten copies a loose head to dst with every line ended by CR LF and
// folded lines joined by a space, as RFC 9112, 5.2 asks of a proxy.
func straighten(dst, head []byte) ([]byte, error) {
	for n := 0; len(head) > 0; n++ {
		i := bytes.IndexByte(head, '\n')
		line := bytes.TrimSuffix(head[:i], []byte("\r"))
		head = head[i+1:]
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			if n < 2 {
				return dst, ErrFold // nothing to continue but the status line
			}
			dst = append(bytes.TrimRight(dst[:len(dst)-2], " \t"), ' ')
			line = bytes.TrimLeft(line, " \t")
		}
		dst = append(dst, line...)
		dst = append(dst, '\r', '\n')
	}
	return dst, nil
}
