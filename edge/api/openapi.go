package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

func (a *api) openapi(w http.ResponseWriter, _ *http.Request, _ call) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(a.doc())
	return nil
}

type object = map[string]any

// placeholdersIn lists the names between braces in a path.
func placeholdersIn(path string) []string {
	var out []string
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			out = append(out, strings.TrimSuffix(name, "}"))
		}
	}
	return out
}

// placeholders says what stands in for each placeholder of a path.
var placeholders = map[string]string{
	"sub":    "a name: of a tunnel, of a reservation",
	"id":     "an id, as lists and answers have it",
	"domain": "the host",
}

// openAPI describes routes as an OpenAPI 3.1 document. Its schemas are made from
// the types that requests are decoded into and answers encoded from.
func openAPI(routes []route, software string) []byte {
	s := schemas{}
	s.of(reflect.TypeFor[client.Problem]())
	paths := object{}
	for _, rt := range routes {
		item, _ := paths[prefix+rt.path].(object)
		if item == nil {
			item = object{}
			paths[prefix+rt.path] = item
		}
		item[strings.ToLower(rt.method)] = s.operation(rt)
	}
	doc, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "lrok edge", "version": software, "license": object{"name": "MIT", "identifier": "MIT"},
			"description": "Errors are application/problem+json with a code that does not change. What belongs to another user does not exist. Unknown parameters and fields are refused. Lists have at most " + strconv.Itoa(maxPage) + " entries a page; a Link header of relation next leads to the next one.",
		},
		"paths":    paths,
		"security": []object{{"key": []string{}}},
		"components": object{
			"schemas": s,
			"responses": object{"Problem": object{
				"description": "What went wrong, and what to do",
				"content":     object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}},
			}},
			"securitySchemes": object{"key": object{"type": "http", "scheme": "bearer", "description": "An API key: lrok_..."}},
		},
	}, "", "  ")
	if err != nil {
		panic(err) // strings and maps only: the table is wrong
	}
	return doc
}

// operation describes one route.
func (s schemas) operation(rt route) object {
	var params []object
	for _, name := range placeholdersIn(rt.path) {
		params = append(params, object{
			"name": name, "in": "path", "required": true,
			"description": placeholders[name], "schema": object{"type": "string"},
		})
	}
	for _, p := range rt.query {
		schema := object{"type": p.kind}
		if p.kind == "integer" {
			schema["minimum"] = 0
		}
		params = append(params, object{"name": p.name, "in": "query", "description": p.help, "schema": schema})
	}
	good := object{"description": http.StatusText(rt.status)}
	headers := object{}
	switch {
	case rt.result != nil:
		good["content"] = object{"application/json": object{"schema": s.of(reflect.TypeOf(rt.result))}}
	case rt.media == "text/event-stream":
		// Version 3.1 has no words for the events of a stream.
		good["description"] = "Events request, gap and closed; the data of request is an Exchange without heads and bodies"
		good["content"] = object{rt.media: object{"schema": object{"type": "string"}}}
		s.of(reflect.TypeFor[inspector.Exchange]())
	case rt.media == "application/octet-stream":
		// text/plain when that is what the bytes can be shown as.
		good["content"] = object{rt.media: object{}, "text/plain": object{}}
	case rt.media != "":
		good["content"] = object{rt.media: object{}}
	}
	text := object{"type": "string"}
	if rt.status == http.StatusCreated {
		headers["Location"] = object{"description": "where it is from now on", "schema": text}
	}
	if slices.Contains(rt.query, pages[0]) {
		headers["Link"] = object{"description": "the next page, relation next, if there is one", "schema": text}
	}
	if len(headers) > 0 {
		good["headers"] = headers
	}
	responses := object{strconv.Itoa(rt.status): good}
	for _, status := range refusalsOf(rt) {
		responses[status] = object{"$ref": "#/components/responses/Problem"}
	}
	op := object{"operationId": operationID(rt), "summary": rt.summary, "responses": responses}
	if params != nil {
		op["parameters"] = params
	}
	if rt.who == anybody {
		op["security"] = []object{}
	}
	if rt.takes != nil {
		t := reflect.TypeOf(rt.takes)
		ref := s.of(t)
		s[t.Name()].(object)["additionalProperties"] = false
		op["requestBody"] = object{"required": !rt.mayOmit, "content": object{"application/json": object{"schema": ref}}}
	}
	return op
}

// refusalsOf lists the statuses of a route that are problems: those that its
// shape brings, and default for what depends on what the edge has and is.
func refusalsOf(rt route) []string {
	out := []string{"400", "default"}
	if rt.who != anybody {
		out = append(out, "401", "503")
	}
	if rt.who == anAdmin {
		out = append(out, "403")
	}
	if placeholdersIn(rt.path) != nil {
		out = append(out, "404")
	}
	if rt.takes != nil {
		out = append(out, "413", "415", "422")
	}
	return out
}

// operationID names a route: getMeTunnelsSubRequests.
func operationID(rt route) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(rt.method))
	for _, part := range strings.FieldsFunc(rt.path, func(r rune) bool { return strings.ContainsRune("/{}.", r) }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// schemas holds the named types by name.
type schemas map[string]any

// words are the types with a few values.
var words = map[reflect.Type][]any{
	reflect.TypeFor[tunnel.Kind]():     {tunnel.HTTP, tunnel.TCP, tunnel.TLS},
	reflect.TypeFor[inspector.State](): {inspector.Open, inspector.Done},
	reflect.TypeFor[inspector.Kind]():  {inspector.HTTP, inspector.SSE, inspector.WebSocket, inspector.Upgraded, inspector.GRPC, inspector.TCP, inspector.TLS},
}

// of returns the schema of what encoding/json makes of t.
func (s schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "format": "int64", "description": "nanoseconds"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		inner := s.of(t.Elem())
		if kind, ok := inner["type"].(string); ok {
			inner["type"] = []string{kind, "null"}
			return inner
		}
		return object{"anyOf": []object{inner, {"type": "null"}}}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.String:
		if w, ok := words[t]; ok {
			return object{"type": "string", "enum": w}
		}
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Struct:
		if _, known := s[t.Name()]; !known {
			s[t.Name()] = nil // it may hold itself
			s[t.Name()] = s.fields(t)
		}
		return object{"$ref": "#/components/schemas/" + t.Name()}
	}
	panic("no schema for " + t.String()) // the table is wrong
}

func (s schemas) fields(t reflect.Type) object {
	props := object{}
	required := []string{}
	for _, f := range fields(t) {
		schema := s.of(f.typ)
		if f.typ.Kind() == reflect.Slice && schema["type"] == "array" {
			schema["type"] = []string{"array", "null"} // nil is null
		}
		props[f.name] = schema
		if !f.optional {
			required = append(required, f.name)
		}
	}
	o := object{"type": "object", "properties": props}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}
