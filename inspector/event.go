package inspector

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// eventHeaders are those in which senders of webhooks name the event.
var eventHeaders = []string{
	"X-GitHub-Event", "X-Gitea-Event", "X-Gitlab-Event", "X-Shopify-Topic", "X-Event-Key", "X-WC-Webhook-Topic",
	"X-Discourse-Event", "X-Event-Type", "X-Event-Name", "Ce-Type",
}

// eventKeys are those at the top of a JSON body that name the event, the surest
// first.
var eventKeys = []string{"event", "event_type", "eventType", "event_name", "eventName", "topic", "operationName", "type"}

// eventSearch is how far into a body an event's name is looked for. Stripe writes
// it at the end.
const eventSearch = 64 << 10

// eventOf is the name of the event that x brings, from its headers or from the
// top of a JSON body; "" where nothing says.
func eventOf(x *Exchange, body []byte) string {
	if x.Method != "POST" && x.Method != "PUT" {
		return ""
	}
	json := strings.Contains(strings.ToLower(x.Request.Get("Content-Type")), "json") &&
		x.Request.Get("Content-Encoding") == "" && len(body) > 0 && len(body) <= eventSearch
	for _, h := range eventHeaders {
		name := eventName(x.Request.Get(h))
		if name == "" {
			continue
		}
		if json && h == eventHeaders[0] {
			// What happened to the issue or pull request that it names.
			if action := eventName(gjson.GetBytes(body, "action").String()); action != "" {
				name += "." + action
			}
		}
		return name
	}
	if !json {
		return ""
	}
	top := map[string]string{}
	gjson.ParseBytes(body).ForEach(func(k, v gjson.Result) bool {
		switch {
		case !slices.Contains(eventKeys, k.Str):
		case v.Type == gjson.String:
			top[k.Str] = eventName(v.Str)
		case k.Str == "event" && v.IsObject(): // Slack's
			top[k.Str] = eventName(v.Get("type").Str)
		}
		return true
	})
	// The type of what is no event is one word, mostly: "admin", "card".
	if !strings.ContainsAny(top["type"], "._:/") {
		delete(top, "type")
	}
	for _, k := range eventKeys {
		if top[k] != "" {
			return top[k]
		}
	}
	return ""
}

// eventName is s if it can be the name of an event: something short, in letters
// that programs use.
func eventName(s string) string {
	if len(s) > 80 {
		return ""
	}
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', strings.IndexByte("._:/- ", c) >= 0:
		default:
			return ""
		}
	}
	return s
}
