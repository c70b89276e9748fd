package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// served returns a checker of the document that the API serves.
func (f *fixture) served() *checker {
	f.t.Helper()
	c, err := newChecker([]byte(text(f.t, f.send("", "GET", "/openapi.json", ""))))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// operation returns what the document says of a route.
func (c *checker) operation(rt route) map[string]any {
	paths, _ := c.doc["paths"].(map[string]any)
	item, _ := paths[prefix+rt.path].(map[string]any)
	op, _ := item[strings.ToLower(rt.method)].(map[string]any)
	return op
}

// TestDocument checks that the document describes every route and nothing else,
// and that each reference in it leads somewhere.
func TestDocument(t *testing.T) {
	f := newFixture(t)
	c := f.served()
	info, _ := c.doc["info"].(map[string]any)
	if c.doc["openapi"] != "3.1.0" || info["title"] == "" || info["version"] != "lrok test" {
		t.Errorf("document = %v of %v, want 3.1.0 with title and version", c.doc["openapi"], info)
	}
	table := (&api{}).routes()
	ids := map[any]bool{}
	for _, rt := range table {
		name := rt.method + " " + rt.path
		op := c.operation(rt)
		if op == nil {
			t.Errorf("%s is not in the document", name)
			continue
		}
		if ids[op["operationId"]] || op["operationId"] == "" || op["summary"] == "" {
			t.Errorf("%s: operation id %q, summary %q; want one of its own, and words", name, op["operationId"], op["summary"])
		}
		ids[op["operationId"]] = true
		var inPath, inQuery []string
		params, _ := op["parameters"].([]any)
		for _, p := range params {
			switch p := p.(map[string]any); p["in"] {
			case "path":
				if p["required"] != true || p["description"] == "" || p["description"] == nil {
					t.Errorf("%s: %v, want it required, with words", name, p)
				}
				inPath = append(inPath, fmt.Sprint(p["name"]))
			case "query":
				inQuery = append(inQuery, fmt.Sprint(p["name"]))
			}
		}
		if want := placeholdersIn(rt.path); !slices.Equal(inPath, want) {
			t.Errorf("%s: path parameters %v, want %v", name, inPath, want)
		}
		var want []string
		for _, p := range rt.query {
			want = append(want, p.name)
		}
		if !slices.Equal(inQuery, want) {
			t.Errorf("%s: query parameters %v, want %v", name, inQuery, want)
		}
		responses, _ := op["responses"].(map[string]any)
		if responses[fmt.Sprint(rt.status)] == nil || responses["default"] == nil {
			t.Errorf("%s: responses %v, want %d and default", name, slices.Sorted(maps.Keys(responses)), rt.status)
		}
		if (op["requestBody"] != nil) != (rt.takes != nil) || (op["security"] != nil) != (rt.who == anybody) {
			t.Errorf("%s: body %v, security %v", name, op["requestBody"], op["security"])
		}
	}
	n := 0
	for _, item := range c.doc["paths"].(map[string]any) {
		n += len(item.(map[string]any))
	}
	if n != len(table) {
		t.Errorf("%d operations, and there are %d routes", n, len(table))
	}
	raw, err := json.Marshal(c.doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllStringSubmatch(string(raw), -1) {
		c.at(m[1])
	}
	for _, fault := range c.faults {
		t.Error(fault)
	}
}

// answered holds an answer against what the document says of its route.
func (c *checker) answered(t *testing.T, rt route, resp *http.Response) {
	t.Helper()
	name := fmt.Sprintf("%s %s: %d", rt.method, rt.path, resp.StatusCode)
	responses, _ := c.operation(rt)["responses"].(map[string]any)
	said, ok := responses[fmt.Sprint(resp.StatusCode)].(map[string]any)
	if !ok {
		said, _ = responses["default"].(map[string]any)
	}
	if ref, ok := said["$ref"].(string); ok {
		said = c.at(ref)
	}
	headers, _ := said["headers"].(map[string]any)
	for _, h := range []string{"Location", "Link"} {
		if resp.Header.Get(h) != "" && headers[h] == nil && rt.endless == false && !strings.HasSuffix(rt.path, "/replay") {
			t.Errorf("%s: %s is sent and not described", name, h)
		}
	}
	if resp.StatusCode == http.StatusCreated && !strings.HasPrefix(resp.Header.Get("Location"), prefix+"/") {
		t.Errorf("%s: Location = %q, want where it is", name, resp.Header.Get("Location"))
	}
	content, _ := said["content"].(map[string]any)
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	media, described := content[kind].(map[string]any)
	if !described && !(kind == "" && len(content) == 0) {
		t.Errorf("%s: content of type %q, described are %v", name, kind, slices.Sorted(maps.Keys(content)))
		return
	}
	schema, ok := media["schema"].(map[string]any)
	if !ok || rt.endless {
		return
	}
	var v any
	if err := json.Unmarshal([]byte(text(t, resp)), &v); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	c.check(name, schema, v)
}

// TestAnswersFitDocument calls every operation and holds what it is sent and
// what it answers, good and bad, against the document.
func TestAnswersFitDocument(t *testing.T) {
	f := newFixture(t)
	c := f.served()
	for _, rt := range (&api{}).routes() {
		name := rt.method + " " + rt.path
		who := map[who]string{anybody: "", aUser: "ada", anAdmin: "root"}[rt.who]
		call := func(who, path, body string) *http.Response {
			h := f.as(who)
			if body == "" {
				return f.do(rt.method, prefix+path, h, nil)
			}
			return f.do(rt.method, prefix+path, h, strings.NewReader(body))
		}
		path := f.fill(rt.path)
		// What is refused comes first, since what is granted may end things.
		if rt.who != anybody {
			c.answered(t, rt, call("", path, ""))
		}
		if rt.who == anAdmin {
			c.answered(t, rt, call("bob", path, f.bodies()[name]))
		}
		c.answered(t, rt, call(who, path+"?colour=red", f.bodies()[name]))
		if strings.Contains(rt.path, "{") {
			absent := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(rt.path, "absent")
			resp := call(who, absent, f.bodies()[name])
			if resp.StatusCode != 404 {
				t.Errorf("%s of what is not there: status = %d, want 404", name, resp.StatusCode)
			}
			c.answered(t, rt, resp)
		}
		body := f.bodies()[name]
		if rt.takes != nil {
			for _, bad := range []string{`{`, `{"colour":"red"}`, `[]`} {
				resp := call(who, path, bad)
				if resp.StatusCode != 400 {
					t.Errorf("%s with %s: status = %d, want 400", name, bad, resp.StatusCode)
				}
				c.answered(t, rt, resp)
			}
			var v any
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				t.Fatalf("%s has no good body in this test: %v", name, err)
			}
			content := c.operation(rt)["requestBody"].(map[string]any)["content"].(map[string]any)
			c.check(name+" request", content["application/json"].(map[string]any)["schema"].(map[string]any), v)
		}
		resp := call(who, path, body)
		if resp.StatusCode != rt.status {
			t.Errorf("%s: status = %d, want %d: %s", name, resp.StatusCode, rt.status, text(t, resp))
		}
		c.answered(t, rt, resp)
		if rt.method == http.MethodGet && rt.path == "/me/requests/{id}" { // of a stream more is known
			events := f.capture("GET", "/events", "", 200, "text/event-stream", strings.Repeat("data: x\n\n", 150_000))
			c.answered(t, rt, call(who, strings.Replace(rt.path, "{id}", events, 1), ""))
		}
		if rt.method != http.MethodGet {
			f = newFixture(t)
		}
	}
	for _, fault := range c.faults {
		t.Error(fault)
	}
	// Every shape has been seen, so that none of them was checked against nothing.
	for name := range c.at("#/components/schemas") {
		if !c.visited["#/components/schemas/"+name] {
			t.Errorf("no request or answer had a %s in it", name)
		}
	}
}

// TestRawConnectionsFitDocument is about tunnels without HTTP: their connections
// are listed like requests.
func TestRawConnectionsFitDocument(t *testing.T) {
	f := newFixture(t)
	f.registry = registry.New(registry.Config{Domain: "lrok.example", Ports: [2]int{30000, 30001}})
	f.api = New(Config{Store: f.store, Registry: f.registry})
	claims := []tunnel.Claim{{Kind: tunnel.TCP, Name: "db", Local: "localhost:5432"}, {Kind: tunnel.TLS, Name: "post", Local: "localhost:993"}}
	if _, err := f.registry.Claim(t.Context(), &session{}, f.ada.ID, "i1", "laptop", claims); err != nil {
		t.Fatal(err)
	}
	c, err := newChecker(openAPI((&api{}).routes(), ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []inspector.Kind{inspector.TCP, inspector.TLS} {
		name := map[inspector.Kind]string{inspector.TCP: "db", inspector.TLS: "post"}[kind]
		tn, _ := f.registry.Tunnel(name)
		rec := tn.Ring.Begin(inspector.Start{Kind: kind, Host: "tcp.lrok.example:30000", Remote: "198.51.100.7:4711"})
		rec.End(inspector.Ending{})
		tn.Counters.Connections.Add(1)
		for _, path := range []string{"/me/tunnels/{sub}", "/me/tunnels/{sub}/requests", "/me/requests/{id}"} {
			i := slices.IndexFunc((&api{}).routes(), func(rt route) bool { return rt.method == "GET" && rt.path == path })
			resp := f.serve("ada", "GET", strings.NewReplacer("{sub}", name, "{id}", rec.ID()).Replace(path), "", "")
			c.answered(t, (&api{}).routes()[i], resp)
		}
		var got struct {
			Kind        tunnel.Kind
			PublicURL   string
			Port        int
			Connections int
		}
		if err := json.Unmarshal([]byte(text(t, f.serve("ada", "GET", "/me/tunnels/"+name, "", ""))), &got); err != nil {
			t.Fatal(err)
		}
		want := map[inspector.Kind]string{inspector.TCP: fmt.Sprintf("tcp://tcp.lrok.example:%d", tn.Port), inspector.TLS: "tls://post.lrok.example"}[kind]
		if string(got.Kind) != string(kind) || got.PublicURL != want || got.Port != tn.Port || got.Connections != 1 {
			t.Errorf("tunnel = %+v, want a %s at %s with one connection", got, kind, want)
		}
	}
	for _, fault := range c.faults {
		t.Error(fault)
	}
}

// TestStreamSendsExchanges reads the first event and holds it against the
// document, which has no words for streams.
func TestStreamSendsExchanges(t *testing.T) {
	f := newFixture(t)
	resp := f.do("GET", prefix+"/me/tunnels/shop/requests/stream", http.Header{"Last-Event-Id": {"0"}}, nil)
	c := f.served()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatal(err)
		}
		if m, _ := v.(map[string]any); len(m) == 0 {
			continue // of a gap
		}
		c.check("event", c.at("#/components/schemas/Exchange"), v)
		break
	}
	for _, fault := range c.faults {
		t.Error(fault)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}
