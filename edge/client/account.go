package client

import (
	"context"
	"net/http"
	"net/url"
)

// Keys returns the user's keys, oldest first, those that were revoked or have
// expired included.
func (c *Client) Keys(ctx context.Context) ([]Key, error) {
	return list[Key](ctx, c, "/me/keys", nil)
}

// CreateKey makes a key for the user. Its secret is told this once.
func (c *Client) CreateKey(ctx context.Context, k KeyRequest) (NewKey, error) {
	return answer[NewKey](ctx, c, http.MethodPost, "/me/keys", k)
}

// RevokeKey ends a key of the user, which may be the one that the client has:
// the answer says so, and is the last it gets.
func (c *Client) RevokeKey(ctx context.Context, id string) (Revoked, error) {
	return answer[Revoked](ctx, c, http.MethodDelete, "/me/keys/"+url.PathEscape(id), nil)
}

// Reservations returns the user's reserved names, sorted.
func (c *Client) Reservations(ctx context.Context) ([]Reservation, error) {
	return list[Reservation](ctx, c, "/me/reservations", nil)
}

// Reserve keeps a name for the user.
func (c *Client) Reserve(ctx context.Context, name string) (Reservation, error) {
	return answer[Reservation](ctx, c, http.MethodPost, "/me/reservations", ReservationRequest{name})
}

// Unreserve lets go of a reserved name. A tunnel that has it goes on.
func (c *Client) Unreserve(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/me/reservations/"+url.PathEscape(name), nil, nil)
}

// Domains returns the user's domains, sorted.
func (c *Client) Domains(ctx context.Context) ([]Domain, error) {
	return list[Domain](ctx, c, "/me/domains", nil)
}

// AddDomain begins to claim a host. The answer says what has to be in the DNS
// before [Client.VerifyDomain] finds it.
func (c *Client) AddDomain(ctx context.Context, host string) (Domain, error) {
	return answer[Domain](ctx, c, http.MethodPost, "/me/domains", DomainRequest{host})
}

// VerifyDomain looks into the DNS now. A proof that is not there yet is no
// error: the domain's state and problem tell.
func (c *Client) VerifyDomain(ctx context.Context, host string) (Domain, error) {
	return answer[Domain](ctx, c, http.MethodPost, "/me/domains/"+url.PathEscape(host)+"/verify", nil)
}

// RemoveDomain lets go of a host and ends the tunnel on it.
func (c *Client) RemoveDomain(ctx context.Context, host string) error {
	return c.call(ctx, http.MethodDelete, "/me/domains/"+url.PathEscape(host), nil, nil)
}
