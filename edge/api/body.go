package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/tunnel"
)

const (
	// maxBody bounds what is read of a request in JSON.
	maxBody = 64 << 10
	// bodyTimeout is how long a body may take to arrive, also one that nobody reads.
	bodyTimeout = 30 * time.Second
)

// read decodes a request's body into a T, whose fields are all there is: an
// unknown one, a missing one and anything behind the value are refused.
func read[T any](w http.ResponseWriter, r *http.Request, limit int64) (T, error) {
	var v T
	if err := wantJSON(r); err != nil {
		return v, err
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return v, &tunnel.Error{Code: codeTooLarge, Message: fmt.Sprintf("the body is larger than %d bytes", limit)}
	case err != nil:
		return v, badRequest("the body did not arrive whole", "send it again")
	case len(bytes.TrimSpace(data)) == 0:
		return v, badRequest("the body is empty", "send "+sample(reflect.TypeFor[T]()))
	case !utf8.Valid(data):
		return v, badRequest("the body is not UTF-8", "")
	}
	// Whatever comes from here on is not the body: the server only looks whether
	// the caller is still there.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, notWhatIsTaken(err, reflect.TypeFor[T]())
	}
	if _, err := dec.Token(); err != io.EOF {
		return v, badRequest("there is something behind the JSON value", "send one value")
	}
	return v, complete(data, reflect.TypeFor[T]())
}

// wantJSON refuses a body of another kind. A form on any page in the world can
// be sent here; JSON it cannot send without being asked for leave first.
func wantJSON(r *http.Request) error {
	refuse := func(message string) error {
		return &tunnel.Error{Code: codeMedia, Message: message, Hint: "send Content-Type: application/json"}
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return refuse("the body is compressed")
	}
	values := r.Header["Content-Type"]
	if len(values) != 1 {
		return refuse("the request does not say that its body is JSON")
	}
	kind, params, err := mime.ParseMediaType(values[0])
	if charset := params["charset"]; err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return refuse("the request says that its body is not JSON in UTF-8")
	}
	return nil
}

// notWhatIsTaken explains an error of encoding/json.
func notWhatIsTaken(err error, t reflect.Type) error {
	hint := "see " + prefix + "/openapi.json"
	// The package has no type for this error.
	if quoted, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field := strings.Trim(quoted, `"`)
		if n := nearest(field, fieldNames(t)); n != "" {
			hint = "did you mean " + n + "?"
		}
		return badRequest("there is no field "+quote(field), hint)
	}
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	var when *time.ParseError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return badRequest(fmt.Sprintf("the field %s cannot be a %s", wrong.Field, wrong.Value), hint)
	case errors.As(err, &wrong):
		return badRequest("the body is a JSON "+wrong.Value+" and not an object", hint)
	case errors.As(err, &syntax):
		return badRequest(fmt.Sprintf("the body is not JSON, at byte %d: %v", syntax.Offset, syntax), hint)
	case errors.As(err, &when):
		return badRequest(quote(strings.Trim(when.Value, `"`))+" is not a time", "write it like 2030-01-31T12:00:00Z")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("the body is not JSON: it ends too early", hint)
	}
	return badRequest("the body is not what this route takes: "+err.Error(), hint)
}

// complete refuses a body that leaves out a field which must be there.
func complete(data []byte, t reflect.Type) error {
	var got map[string]json.RawMessage
	if json.Unmarshal(data, &got) != nil || got == nil {
		return badRequest("the body is not a JSON object", "send "+sample(t))
	}
	for _, f := range fields(t) {
		there := f.optional
		for name := range got {
			there = there || strings.EqualFold(name, f.name)
		}
		if !there {
			return badRequest("the field "+f.name+" is missing", "send "+sample(t))
		}
	}
	return nil
}

// sample shows the fields that a body must have.
func sample(t reflect.Type) string {
	var names []string
	for _, f := range fields(t) {
		if !f.optional {
			names = append(names, `"`+f.name+`": ...`)
		}
	}
	return "{" + strings.Join(names, ", ") + "}"
}

// A field is one of a struct in JSON.
type field struct {
	name     string
	typ      reflect.Type
	optional bool
}

// fields lists what encoding/json makes of a struct, embedded ones included.
func fields(t reflect.Type) []field {
	var out []field
	for f := range t.Fields() {
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			out = append(out, fields(f.Type)...)
		case name != "-":
			out = append(out, field{name, f.Type, strings.Contains(rest, "omitempty") || strings.Contains(rest, "omitzero")})
		}
	}
	return out
}

// fieldNames lists the names of all fields in t, those of structs in it too.
func fieldNames(t reflect.Type) []string {
	var names []string
	for _, f := range fields(t) {
		names = append(names, f.name)
		inner := f.typ
		for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			names = append(names, fieldNames(inner)...)
		}
	}
	return names
}

// nearest returns the name that was most likely meant, or "".
func nearest(s string, names []string) string {
	if len(s) > 32 {
		return ""
	}
	best, at := "", 3
	for _, n := range names {
		if d := distance(strings.ToLower(s), strings.ToLower(n)); d < at && d < len(s) {
			best, at = n, d
		}
	}
	return best
}

// distance is how many letters have to be put in, taken out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// quote shows what came from outside: short, and in quotes.
func quote(s string) string {
	if r := []rune(s); len(r) > 64 {
		s = string(r[:64]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
