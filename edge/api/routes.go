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
	anAdmin
)

// A call is who calls, and where.
type call struct {
	user store.User
	key  store.Key
	base string // the place of the API that was called
}

// A route is one method of one path.
type route struct {
	method, path string
	who          who
	serve        func(http.ResponseWriter, *http.Request, call) error

	summary string
	query   []parameter
	// takes is a value of the type of the request's body in JSON, nil if none is
	// read.
	takes   any
	mayOmit bool // the body
	endless bool // the answer does not end by itself
	// What a good answer holds: a value of the type in JSON, nothing if nil, or
	// something of the media type.
	status int
	result any
	media  string
}

// routes is the table of all routes.
func (a *api) routes() []route {
	filter := parameter{"filter", "string", "only exchanges that the filter language picks, as in status>=500 path:/webhooks"}
	captures := []parameter{
		{"limit", "integer", "at most so many; a tunnel keeps no more than its last 100"},
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
			method: "GET", path: "/me/tunnels", who: aUser, serve: a.tunnels, query: pages,
			summary: "The tunnels by name, those that wait for their agent included", status: 200, result: []client.Tunnel{},
		},
		{
			method: "GET", path: "/me/tunnels/{sub}", who: aUser, serve: a.oneTunnel,
			summary: "One tunnel", status: 200, result: client.Tunnel{},
		},
		{
			method: "DELETE", path: "/me/tunnels/{sub}", who: aUser, serve: a.closeTunnel,
			summary: "Close a tunnel and forget its captures", status: 204,
		},
		{
			method: "GET", path: "/me/tunnels/{sub}/requests", who: aUser, serve: a.requests,
			summary: "Captures of a tunnel without heads and bodies, newest first; of tunnels without HTTP the connections", query: captures, status: 200, result: client.Requests{},
		},
		{
			method: "DELETE", path: "/me/tunnels/{sub}/requests", who: aUser, serve: a.forget,
			summary: "Forget all captures of a tunnel", status: 204,
		},
		{
			method: "GET", path: "/me/tunnels/{sub}/requests/stream", who: aUser, serve: a.stream, endless: true,
			summary: "Changes of the captures as server-sent events; Last-Event-ID resumes", query: []parameter{filter}, status: 200, media: "text/event-stream",
		},
		{
			method: "DELETE", path: "/me/tunnels/{sub}/connections", who: aUser, serve: a.closeConnections,
			summary: "Close all open connections of a tunnel without HTTP, those that are not captured included", status: 200, result: client.Closed{},
		},
		{
			method: "DELETE", path: "/me/tunnels/{sub}/connections/{id}", who: aUser, serve: a.closeConnection,
			summary: "Close one open connection, by the id of its capture", status: 204,
		},
	}
	// The same four routes, below a tunnel and by id alone.
	for _, at := range []string{"/me/tunnels/{sub}/requests/{id}", "/me/requests/{id}"} {
		routes = append(
			routes,
			route{
				method: "GET", path: at, who: aUser, serve: a.exchange,
				summary: "The whole exchange; heads and bodies in base64", status: 200, result: inspector.Exchange{},
				query: []parameter{
					{"bytes", "integer", "of each body no more than so many bytes from its first on: captured tells how many there are, and the rest is read apart, as it is, with a Range"},
					{"requestSince", "integer", "of a stream, only the bytes from this offset on that are still kept; they are in tail, and all else of the bodies is left out"},
					{"responseSince", "integer", "the same of the response"},
				},
			},
			route{
				method: "GET", path: at + "/request/body", who: aUser, serve: a.body("request"),
				summary: "The captured bytes of the request's body, from its first on; Lrok-Body-Size says how many passed, Lrok-Body-Tail which others the exchange has in tail", status: 200, media: "application/octet-stream",
			},
			route{
				method: "GET", path: at + "/response/body", who: aUser, serve: a.body("response"),
				summary: "The captured bytes of the response's body, in the same way", status: 200, media: "application/octet-stream",
			},
			route{
				method: "POST", path: at + "/replay", who: aUser, serve: a.replay, takes: inspector.Changes{}, mayOmit: true,
				summary: "Send the request again, with changes, to the tunnel's local service; answers the new exchange, still open if it takes longer than 30 s", status: 200, result: inspector.Exchange{},
			},
		)
	}
	return append(
		routes,
		route{
			method: "GET", path: "/me/reservations", who: aUser, serve: a.reservations, query: pages,
			summary: "The reserved names", status: 200, result: []client.Reservation{},
		},
		route{
			method: "POST", path: "/me/reservations", who: aUser, serve: a.reserve, takes: client.ReservationRequest{},
			summary: "Reserve a name", status: 201, result: client.Reservation{},
		},
		route{
			method: "GET", path: "/me/reservations/{sub}", who: aUser, serve: a.reservation,
			summary: "One reserved name", status: 200, result: client.Reservation{},
		},
		route{
			method: "DELETE", path: "/me/reservations/{sub}", who: aUser, serve: a.unreserve,
			summary: "Let go of a reserved name; a tunnel that has it goes on", status: 204,
		},
		route{
			method: "GET", path: "/me/domains", who: aUser, serve: a.domains, query: pages,
			summary: "The domains, with the records they need", status: 200, result: []client.Domain{},
		},
		route{
			method: "POST", path: "/me/domains", who: aUser, serve: a.addDomain, takes: client.DomainRequest{},
			summary: "Begin to claim a host; one that is on the list already is answered as it is", status: 201, result: client.Domain{},
		},
		route{
			method: "GET", path: "/me/domains/{domain}", who: aUser, serve: a.domain,
			summary: "One domain", status: 200, result: client.Domain{},
		},
		route{
			method: "POST", path: "/me/domains/{domain}/verify", who: aUser, serve: a.verifyDomain,
			summary: "Look into the DNS now; the state tells what came of it", status: 200, result: client.Domain{},
		},
		route{
			method: "DELETE", path: "/me/domains/{domain}", who: aUser, serve: a.removeDomain,
			summary: "Let go of a host; the tunnel on it ends", status: 204,
		},
		route{
			method: "GET", path: "/me/keys", who: aUser, serve: a.keys, query: pages,
			summary: "The keys, oldest first, those that do not work any more included", status: 200, result: []client.Key{},
		},
		route{
			method: "POST", path: "/me/keys", who: aUser, serve: a.createKey, takes: client.KeyRequest{},
			summary: "Make a key; its secret is told this once", status: 201, result: client.NewKey{},
		},
		route{
			method: "GET", path: "/me/keys/{id}", who: aUser, serve: a.key,
			summary: "One key", status: 200, result: client.Key{},
		},
		route{
			method: "DELETE", path: "/me/keys/{id}", who: aUser, serve: a.revokeKey,
			summary: "Revoke a key, which ends its sessions and streams; self in the answer says that it was the key of this very call", status: 200, result: client.Revoked{},
		},
		route{
			method: "GET", path: "/admin/users", who: anAdmin, serve: a.users, query: pages,
			summary: "All users, oldest first, with their usage of the last 24 hours", status: 200, result: []client.User{},
		},
		route{
			method: "POST", path: "/admin/users", who: anAdmin, serve: a.addUser, takes: client.UserRequest{},
			summary: "Make a user, who has no key yet", status: 201, result: client.User{},
		},
		route{
			method: "GET", path: "/admin/users/{id}", who: anAdmin, serve: a.user,
			summary: "One user", status: 200, result: client.User{},
		},
		route{
			method: "DELETE", path: "/admin/users/{id}", who: anAdmin, serve: a.removeUser,
			summary: "Remove a user with all keys, reservations, domains and tunnels", status: 204,
		},
		route{
			method: "PUT", path: "/admin/users/{id}/limits", who: anAdmin, serve: a.setLimits, takes: client.UserLimits{},
			summary: "Say how much a user may have: null is the edge's default, 0 no limit", status: 200, result: client.User{},
		},
		route{
			method: "GET", path: "/admin/keys", who: anAdmin, serve: a.adminKeys,
			query:   append([]parameter{{"user", "string", "only the keys of the user with this id"}}, pages...),
			summary: "All keys, oldest first", status: 200, result: []client.Key{},
		},
		route{
			method: "POST", path: "/admin/keys", who: anAdmin, serve: a.adminCreateKey, takes: client.KeyRequest{},
			summary: "Make a key for a user; its secret is told this once", status: 201, result: client.NewKey{},
		},
		route{
			method: "GET", path: "/admin/keys/{id}", who: anAdmin, serve: a.adminKey,
			summary: "One key", status: 200, result: client.Key{},
		},
		route{
			method: "DELETE", path: "/admin/keys/{id}", who: anAdmin, serve: a.adminRevokeKey,
			summary: "Revoke anybody's key", status: 200, result: client.Revoked{},
		},
		route{
			method: "GET", path: "/admin/tunnels", who: anAdmin, serve: a.adminTunnels, query: pages,
			summary: "The tunnels of all users by name", status: 200, result: []client.AdminTunnel{},
		},
		route{
			method: "GET", path: "/admin/tunnels/{sub}", who: anAdmin, serve: a.adminTunnel,
			summary: "Anybody's tunnel, without its captures", status: 200, result: client.AdminTunnel{},
		},
		route{
			method: "DELETE", path: "/admin/tunnels/{sub}", who: anAdmin, serve: a.adminCloseTunnel,
			summary: "Close anybody's tunnel and forget its captures", status: 204,
		},
		route{
			method: "GET", path: "/admin/stats", who: anAdmin, serve: a.stats,
			query:   []parameter{{"hours", "integer", "so many hours, this one included: 24 unless given, 744 at most"}},
			summary: "The operator's counters; the shares are those of the 100 users and tunnels with most bytes", status: 200, result: client.Stats{},
		},
		route{
			method: "GET", path: "/admin/audit", who: anAdmin, serve: a.entries,
			query: []parameter{
				{"limit", "integer", "at most so many: 100 unless given, 1000 at most"},
				{"before", "integer", "only entries with a lower id"},
			},
			summary: "Who did what, newest first", status: 200, result: client.Entries{},
		},
		route{
			method: "POST", path: "/admin/certs/reload", who: anAdmin, serve: a.reloadCerts,
			summary: "Read the certificates again", status: 200, result: client.Reload{},
		},
	)
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
