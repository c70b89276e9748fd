package forward

import (
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

// What the page says may come from an agent, and from whoever called.
func TestPageEscapes(t *testing.T) {
	e := &tunnel.Error{Code: "a<b", Message: `<script>"&'{{hint}}`, Hint: "<img>"}
	kind, body := ownBody(502, e, true)
	page := string(body)
	for _, want := range []string{
		"<title>502 Bad Gateway</title>",
		"a&lt;b</span>",
		`<p class="message">&lt;script&gt;&#34;&amp;&#39;{{hint}}</p>`,
		`<p class="hint">&lt;img&gt;</p>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
	if kind != "text/html; charset=utf-8" {
		t.Errorf("Content-Type = %q, want HTML", kind)
	}
	_, body = ownBody(404, &tunnel.Error{Code: "c", Message: "m"}, true)
	if page = string(body); strings.Contains(page, "{{") || strings.Contains(page, `"hint"`) {
		t.Errorf("a page without a hint is\n%s", page)
	}
}
