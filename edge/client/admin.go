package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// The methods here are for the keys of administrators, and for the edge's own
// machine.

// AdminUsers returns all users, oldest first.
func (c *Client) AdminUsers(ctx context.Context) ([]User, error) {
	return list[User](ctx, c, "/admin/users", nil)
}

// AdminAddUser makes a user, who has no key yet.
func (c *Client) AdminAddUser(ctx context.Context, u UserRequest) (User, error) {
	return answer[User](ctx, c, http.MethodPost, "/admin/users", u)
}

// AdminRemoveUser removes a user with all keys, reservations, domains and
// tunnels.
func (c *Client) AdminRemoveUser(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/admin/users/"+url.PathEscape(id), nil, nil)
}

// AdminSetLimits says how much a user may have.
func (c *Client) AdminSetLimits(ctx context.Context, id string, l UserLimits) (User, error) {
	return answer[User](ctx, c, http.MethodPut, "/admin/users/"+url.PathEscape(id)+"/limits", l)
}

// AdminKeys returns the keys of a user, or of all users when user is empty.
func (c *Client) AdminKeys(ctx context.Context, user string) ([]Key, error) {
	q := url.Values{}
	if user != "" {
		q.Set("user", user)
	}
	return list[Key](ctx, c, "/admin/keys", q)
}

// AdminCreateKey makes a key for k.User.
func (c *Client) AdminCreateKey(ctx context.Context, k KeyRequest) (NewKey, error) {
	return answer[NewKey](ctx, c, http.MethodPost, "/admin/keys", k)
}

// AdminRevokeKey ends anybody's key.
func (c *Client) AdminRevokeKey(ctx context.Context, id string) (Revoked, error) {
	return answer[Revoked](ctx, c, http.MethodDelete, "/admin/keys/"+url.PathEscape(id), nil)
}

// AdminTunnels returns the tunnels of all users, sorted by name.
func (c *Client) AdminTunnels(ctx context.Context) ([]AdminTunnel, error) {
	return list[AdminTunnel](ctx, c, "/admin/tunnels", nil)
}

// AdminCloseTunnel closes anybody's tunnel and forgets its captures.
func (c *Client) AdminCloseTunnel(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/admin/tunnels/"+url.PathEscape(name), nil, nil)
}

// AdminStats returns the operator's counters with the last hours of usage; 0
// leaves their number to the edge.
func (c *Client) AdminStats(ctx context.Context, hours int) (Stats, error) {
	q := url.Values{}
	if hours > 0 {
		q.Set("hours", strconv.Itoa(hours))
	}
	return answer[Stats](ctx, c, http.MethodGet, withQuery("/admin/stats", q), nil)
}

// AdminAudit returns a page of the audit log, newest first: at most limit
// entries with an id lower than before. Zero leaves limit to the edge, and
// begins with the newest.
func (c *Client) AdminAudit(ctx context.Context, before int64, limit int) (Entries, error) {
	q := url.Values{}
	if before > 0 {
		q.Set("before", strconv.FormatInt(before, 10))
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return answer[Entries](ctx, c, http.MethodGet, withQuery("/admin/audit", q), nil)
}

// AdminReloadCerts makes the edge read its certificates again.
func (c *Client) AdminReloadCerts(ctx context.Context) (Reload, error) {
	return answer[Reload](ctx, c, http.MethodPost, "/admin/certs/reload", nil)
}
