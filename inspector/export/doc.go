// Package export writes a captured exchange as something to use elsewhere: a
// curl command, an .http file to edit and send again, an HTTP archive, a Go
// program.
//
// What was captured came from strangers. Every writer here quotes it for where
// it goes, so that pasting the command or building the program sends the bytes
// that were captured and does nothing else.
package export

// Options say how to write an exchange. The zero value writes it as captured.
type Options struct {
	// Redact leaves out credentials, cookies and signatures.
	Redact bool
	// URL, when not empty, replaces scheme and host of the address, as
	// "http://localhost:3000"; a path it has goes before the captured one. The
	// Host header follows it.
	URL string
}
