package export

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// maxArgument is the longest body that goes into an argument: Linux takes at
// most 128 KiB in one.
const maxArgument = 64 << 10

// Curl writes the request of x as a command for a POSIX shell. It sends the
// captured method, target, header lines in their order, and body, byte for byte;
// what curl would add by itself is turned off. (The Host line always comes first:
// curl allows no other place.)
//
// The command is safe to paste into an interactive shell too, so it holds no
// control characters, no tab that would complete a word and no ! that would bring
// back an old command, whatever was captured.
func Curl(x *inspector.Exchange, o Options) string {
	r := newRequest(x, o)
	var args []string
	add := func(option string, value ...string) {
		for _, v := range value {
			option += " " + word(v)
		}
		args = append(args, option)
	}

	switch {
	case r.http2() && r.scheme == "https":
		add("--http2")
	case r.http2():
		add("--http2-prior-knowledge")
	case r.proto == "HTTP/1.0":
		add("--http1.0")
	default:
		add("--http1.1")
	}
	sends := len(r.body) > 0 || r.get("Content-Length") == "0" || r.chunked()
	switch {
	case r.method == "HEAD" && !sends:
		add("--head")
	case r.method == "GET" && !sends, r.method == "POST" && sends:
	default:
		add("-X", r.method)
	}
	addTarget(r, add)

	// Without these lines of ours curl adds its own.
	for _, name := range []string{"User-Agent", "Accept"} {
		if !r.has(name) {
			add("-H", name+":")
		}
	}
	if sends && !r.has("Content-Type") {
		add("-H", "Content-Type:")
	}
	if len(r.body) > 1<<20 && !r.has("Expect") {
		add("-H", "Expect:")
	}
	for _, f := range r.header {
		switch strings.ToLower(f.Name) {
		case "content-length":
			continue
		case "transfer-encoding":
			if !r.chunked() {
				continue
			}
		case "host":
			if f.Value == r.host {
				continue
			}
		}
		if f.Value == "" {
			add("-H", f.Name+";")
		} else {
			add("-H", f.Name+": "+f.Value)
		}
	}

	feed := ""
	switch {
	case !sends:
	case len(r.body) <= maxArgument && pastes(string(r.body)):
		add("--data-raw", string(r.body))
	case pastes(string(r.body)):
		feed = "printf %s " + quote(string(r.body)) + " | "
		add("--data-binary", "@-")
	default:
		feed = "printf " + printfFormat(string(r.body)) + " | "
		add("--data-binary", "@-")
	}
	command := feed + "curl " + strings.Join(args, " \\\n  ")
	if r.cut != "" {
		// Not a # comment: an interactive zsh takes that for a command.
		command = ": " + quote(r.cut) + "\n" + command
	}
	return command
}

// addTarget adds the URL, and the target apart from it where curl would not send
// it as it is.
func addTarget(r request, add func(string, ...string)) {
	u := r.url()
	plain := strings.HasPrefix(r.target, "/")
	for i := range len(r.target) {
		c := r.target[i]
		if !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._~:/?@!$&'()*+,;=%[]{}", c) >= 0) {
			plain = false
		}
	}
	if !plain {
		u = r.scheme + "://" + r.host + "/"
		if scheme, host, _ := splitURL(r.target); scheme != "" {
			u = strings.ToLower(scheme) + "://" + cleanHost(host) + "/"
		}
	}
	if strings.ContainsAny(u, "[]{}") {
		add("-g")
	}
	if plain && (strings.Contains(r.target, "/.") || strings.Contains(strings.ToLower(r.target), "%2e")) {
		add("--path-as-is")
	}
	add(word(u))
	if !plain {
		add("--request-target", r.target)
	}
}

// word writes s as one word for the shell.
func word(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r|0x20 >= 'a' && r|0x20 <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("-._/:@%+,", r))
	}) {
		return s
	}
	if pastes(s) {
		return quote(s)
	}
	return `"$(printf ` + printfFormat(s) + `)"`
}

// quote puts s, which must not hold NUL, between single quotes.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// pastes reports whether s between single quotes survives being pasted and does
// nothing on the way: no control character, nothing that shows as something
// else. Old shells look for history references on every further line, quoted or
// not.
func pastes(s string) bool {
	if strings.IndexByte(s, '\t') >= 0 || !utf8.ValidString(s) || format.SanitizeLines(s) != s {
		return false
	}
	first, rest, many := strings.Cut(s, "\n")
	return !many || !strings.Contains(first+rest, "!") && !strings.Contains("\n"+rest, "\n^")
}

// printfFormat writes s as a quoted format of the shell's printf.
func printfFormat(s string) string {
	b := make([]byte, 0, len(s)+len(s)/4+2)
	b = append(b, '\'')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\':
			b = append(b, `\\`...)
		case c == '%':
			b = append(b, "%%"...)
		case c == '\n':
			b = append(b, `\n`...)
		case c < ' ' || c >= 0x7f || c == '\'' || c == '!' || c == '-' && i == 0:
			b = fmt.Appendf(b, `\%03o`, c)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '\''))
}
