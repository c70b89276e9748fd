package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
)

func (a *api) openapi(w http.ResponseWriter, _ *http.Request, _ call) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(a.doc)
	return nil
}

type object = map[string]any

var placeholder = regexp.MustCompile(`\{([a-z]+)\}`)

// placeholders says what stands in for each placeholder of a path.
var placeholders = map[string]string{
	"sub": "the tunnel's name",
	"id":  "the exchange's id, req_ and a ULID",
}

// openAPI describes routes as an OpenAPI 3.1 document. Its schemas are made from
// the types that the answers are encoded from.
func openAPI(routes []route, software string) []byte {
	s := schemas{}
	problem := object{
		"description": "What went wrong, and what to do",
		"content":     object{"application/problem+json": object{"schema": s.of(reflect.TypeFor[client.Problem]())}},
	}
	paths := object{}
	for _, rt := range routes {
		var params []object
		for _, m := range placeholder.FindAllStringSubmatch(rt.path, -1) {
			params = append(params, object{
				"name": m[1], "in": "path", "required": true,
				"description": placeholders[m[1]], "schema": object{"type": "string"},
			})
		}
		for _, p := range rt.query {
			params = append(params, object{"name": p.name, "in": "query", "description": p.help, "schema": object{"type": p.kind}})
		}
		good := object{"description": http.StatusText(rt.status)}
		switch {
		case rt.result != nil:
			good["content"] = object{"application/json": object{"schema": s.of(reflect.TypeOf(rt.result))}}
		case rt.media == "text/event-stream":
			// Version 3.1 has no words for the events of a stream.
			good["description"] = "Events request, gap and closed; the data of request is an Exchange without heads and bodies"
			good["content"] = object{rt.media: object{"schema": object{"type": "string"}}}
			s.of(reflect.TypeFor[inspector.Exchange]())
		case rt.media != "":
			good["content"] = object{rt.media: object{}}
		}
		op := object{
			"operationId": operation(rt),
			"summary":     rt.summary,
			"responses":   object{strconv.Itoa(rt.status): good, "default": problem},
		}
		if params != nil {
			op["parameters"] = params
		}
		if rt.who == anybody {
			op["security"] = []object{}
		}
		if rt.body {
			op["requestBody"] = object{"content": object{"application/json": object{"schema": s.of(reflect.TypeFor[inspector.Changes]())}}}
		}
		item, _ := paths[prefix+rt.path].(object)
		if item == nil {
			item = object{}
			paths[prefix+rt.path] = item
		}
		item[strings.ToLower(rt.method)] = op
	}
	doc, err := json.MarshalIndent(object{
		"openapi":  "3.1.0",
		"info":     object{"title": "lrok edge", "version": software, "license": object{"name": "MIT", "identifier": "MIT"}},
		"paths":    paths,
		"security": []object{{"key": []string{}}},
		"components": object{
			"schemas":         s,
			"securitySchemes": object{"key": object{"type": "http", "scheme": "bearer", "description": "An API key: lrok_..."}},
		},
	}, "", "  ")
	if err != nil {
		panic(err) // strings and maps only: the table is wrong
	}
	return doc
}

// operation names a route: getMeTunnelsSubRequests.
func operation(rt route) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(rt.method))
	for _, part := range strings.FieldsFunc(rt.path, func(r rune) bool { return strings.ContainsRune("/{}.", r) }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// schemas holds the named types by name.
type schemas map[string]any

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
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		schema := s.of(f.Type)
		if f.Type.Kind() == reflect.Slice && schema["type"] == "array" {
			schema["type"] = []string{"array", "null"} // nil is null
		}
		props[name] = schema
		if !strings.Contains(rest, "omitempty") {
			required = append(required, name)
		}
	}
	o := object{"type": "object", "properties": props}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}
