package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// A checker holds JSON against the schemas of the OpenAPI document. It knows the
// keywords that the document uses, and complains about any other: a schema that
// is not understood proves nothing.
type checker struct {
	doc     map[string]any
	strict  bool // an object may have described properties only
	faults  []string
	visited map[string]bool // schemas that something was held against
}

func newChecker(doc []byte) (*checker, error) {
	c := &checker{strict: true, visited: map[string]bool{}}
	return c, json.Unmarshal(doc, &c.doc)
}

// at follows a reference such as #/components/schemas/Me.
func (c *checker) at(ref string) map[string]any {
	var v any = c.doc
	for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := v.(map[string]any)
		v = m[part]
	}
	m, ok := v.(map[string]any)
	if !ok {
		c.fault("", "the reference %s leads nowhere", ref)
	}
	return m
}

func (c *checker) fault(at, format string, args ...any) {
	c.faults = append(c.faults, at+": "+fmt.Sprintf(format, args...))
}

// check notes what is wrong with v.
func (c *checker) check(at string, schema map[string]any, v any) {
	if len(schema) == 0 {
		c.fault(at, "there is no schema")
		return
	}
	for _, word := range slices.Sorted(maps.Keys(schema)) {
		arg := schema[word]
		switch word {
		case "$ref":
			c.visited[arg.(string)] = true
			c.check(at, c.at(arg.(string)), v)
		case "anyOf":
			c.anyOf(at, arg.([]any), v)
		case "type":
			if kinds := kindsOf(v); !slices.ContainsFunc(kinds, func(k string) bool { return listed(arg, k) }) {
				c.fault(at, "is %v, want %v", kinds, arg)
			}
		case "enum":
			if !slices.Contains(arg.([]any), v) {
				c.fault(at, "is %v, want one of %v", v, arg)
			}
		case "format":
			s, isText := v.(string)
			switch {
			case arg == "date-time" && isText:
				if _, err := time.Parse(time.RFC3339, s); err != nil {
					c.fault(at, "%v", err)
				}
			case arg != "date-time" && arg != "int64":
				c.fault(at, "the format %v is not known here", arg)
			}
		case "contentEncoding":
			s, _ := v.(string)
			if _, err := base64.StdEncoding.DecodeString(s); err != nil || arg != "base64" {
				c.fault(at, "is not %v: %v", arg, err)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < arg.(float64) {
				c.fault(at, "is %v, want at least %v", n, arg)
			}
		case "required":
			if m, ok := v.(map[string]any); ok {
				for _, name := range arg.([]any) {
					if _, there := m[name.(string)]; !there {
						c.fault(at, "%s is required and not there", name)
					}
				}
			}
		case "properties":
			c.properties(at, arg.(map[string]any), v)
		case "additionalProperties":
			// false: properties holds to it anyway
			if arg != false {
				c.fault(at, "additionalProperties is %v", arg)
			}
		case "items":
			list, _ := v.([]any)
			for i, x := range list {
				c.check(fmt.Sprintf("%s[%d]", at, i), arg.(map[string]any), x)
			}
		case "description":
		default:
			c.fault(at, "the keyword %s is not known here", word)
		}
	}
}

func (c *checker) properties(at string, props map[string]any, v any) {
	m, _ := v.(map[string]any)
	for name, x := range m {
		p, ok := props[name].(map[string]any)
		switch {
		case ok:
			c.check(at+"."+name, p, x)
		case c.strict:
			c.fault(at, "%s is there and not described", name)
		}
	}
}

func (c *checker) anyOf(at string, schemas []any, v any) {
	before := c.faults
	var all []string
	for _, s := range schemas {
		c.faults = nil
		if c.check(at, s.(map[string]any), v); len(c.faults) == 0 {
			c.faults = before
			return
		}
		all = append(all, c.faults...)
	}
	c.faults = append(before, all...)
}

func kindsOf(v any) []string {
	switch v := v.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case string:
		return []string{"string"}
	case []any:
		return []string{"array"}
	case map[string]any:
		return []string{"object"}
	case float64:
		if v == math.Trunc(v) {
			return []string{"integer", "number"}
		}
		return []string{"number"}
	}
	return nil
}

func listed(arg any, kind string) bool {
	if list, ok := arg.([]any); ok {
		return slices.Contains(list, any(kind))
	}
	return arg == kind
}
