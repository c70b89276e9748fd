package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
)

// who says who may call a route. What a user gets to see there is the user's
// own in any case.
type who int

const (
	anybody who = iota
	aUser
)

// A call is who calls.
type call struct {
	user store.User
	key  store.Key
}

// A route is one method of one path.
type route struct {
	method, path string
	who          who
	serve        func(http.ResponseWriter, *http.Request, call) error

	summary string
	query   []parameter
	body    bool // a request body is read
	endless bool // the answer does not end by itself
	// What a good answer holds: a value of the type in JSON, nothing if nil, or
	// something of the media type.
	status int
	result any
	media  string
}

type parameter struct {
	name, kind, help string
}

// routes is the table of all routes.
func (a *api) routes() []route {
	filter := parameter{"filter", "string", "only exchanges that the filter language picks, as in status>=500 path:/webhooks"}
	list := []parameter{
		{"limit", "integer", "at most so many"},
		{"before", "integer", "only exchanges with a lower number"},
		filter,
	}
	routes := []route{
		{
			method: "GET", path: "/openapi.json", who: anybody, serve: a.openapi,
			summary: "This document", status: 200, media: "application/json",
		},
		{
			method: "GET", path: "/me", who: aUser, serve: a.me,
			summary: "Whose key it is", status: 200, result: client.Me{},
		},
		{
			method: "GET", path: "/me/plan", who: aUser, serve: a.plan,
			summary: "Limits and what is used of them; null is no limit", status: 200, result: client.Plan{},
		},
		{
			method: "GET", path: "/me/tunnels", who: aUser, serve: a.tunnels,
			summary: "The tunnels, those that wait for their agent included", status: 200, result: []client.Tunnel{},
		},
		{
			method: "DELETE", path: "/me/tunnels/{sub}", who: aUser, serve: a.closeTunnel,
			summary: "Close a tunnel and forget its captures", status: 204,
		},
		{
			method: "GET", path: "/me/tunnels/{sub}/requests", who: aUser, serve: a.requests,
			summary: "Captures of a tunnel without heads and bodies, newest first", query: list, status: 200, result: client.Requests{},
		},
		{
			method: "DELETE", path: "/me/tunnels/{sub}/requests", who: aUser, serve: a.forget,
			summary: "Forget all captures of a tunnel", status: 204,
		},
		{
			method: "GET", path: "/me/tunnels/{sub}/requests/stream", who: aUser, serve: a.stream, endless: true,
			summary: "Changes of the captures as server-sent events; Last-Event-ID resumes", query: []parameter{filter}, status: 200, media: "text/event-stream",
		},
	}
	// The same four routes, below a tunnel and by id alone.
	for _, at := range []string{"/me/tunnels/{sub}/requests/{id}", "/me/requests/{id}"} {
		routes = append(
			routes,
			route{
				method: "GET", path: at, who: aUser, serve: a.exchange,
				summary: "The whole exchange; heads and bodies in base64", status: 200, result: inspector.Exchange{},
			},
			route{
				method: "GET", path: at + "/request/body", who: aUser, serve: a.body("request"),
				summary: "The captured bytes of the request's body", status: 200, media: "application/octet-stream",
			},
			route{
				method: "GET", path: at + "/response/body", who: aUser, serve: a.body("response"),
				summary: "The captured bytes of the response's body", status: 200, media: "application/octet-stream",
			},
			route{
				method: "POST", path: at + "/replay", who: aUser, serve: a.replay, body: true,
				summary: "Send the request again, with changes, to the tunnel's local service; answers the new exchange, still open if it takes longer than 30 s", status: 200, result: inspector.Exchange{},
			},
		)
	}
	return routes
}

// allowed lists the methods of a path for the Allow header.
func allowed(methods map[string]route) string {
	var names []string
	for m, rt := range methods {
		names = append(names, m)
		if m == http.MethodGet && !rt.endless {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
