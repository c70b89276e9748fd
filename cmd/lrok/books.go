package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// books are an edge's data on its own machine, opened beside the edge that may
// be running on them: it sees what is written here within a second or two.
type books struct {
	store *store.Store
	edge  *client.Client // the running edge, or nil
}

func openBooks(dir string) (*books, error) {
	missing := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return errors.Is(err, fs.ErrNotExist)
	}
	// A mistyped directory must not become an edge's.
	if missing(store.FileName) && missing(store.KeyFile) {
		return nil, usageError{&tunnel.Error{
			Code: tunnel.CodeInvalid, Message: fmt.Sprintf("%s holds no edge's data", dir),
			Hint: "lrok serve says where it keeps its own, in the line that begins with data",
		}}
	}
	s, _, err := store.Open(dir, store.Options{Beside: true})
	if errors.Is(err, fs.ErrPermission) {
		err = &tunnel.Error{Code: tunnel.CodeUnavailable, Message: err.Error(), Hint: "run this as the user that runs the edge, or with sudo"}
	}
	if err != nil {
		return nil, err
	}
	return &books{store: s}, nil
}

func (b *books) close() { _ = b.store.Close() }

func (b *books) AdminUsers(ctx context.Context) ([]client.User, error) {
	// The store is what holds; the edge, which follows it by a second, knows of
	// live tunnels and the last minute.
	live := map[string]client.User{}
	if b.edge != nil {
		if us, err := b.edge.AdminUsers(ctx); err == nil {
			for _, u := range us {
				live[u.ID] = u
			}
		}
	}
	used := map[string]client.Usage{}
	us, err := b.store.UsageSince(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	for _, u := range us {
		sum(used, u.User, u)
	}
	out := []client.User{}
	for _, u := range b.store.Users() {
		c := b.user(u)
		c.Usage = used[u.ID]
		if l, ok := live[u.ID]; ok {
			c.Tunnels, c.Usage = l.Tunnels, l.Usage
		}
		out = append(out, c)
	}
	return out, nil
}

func (b *books) user(u store.User) client.User {
	c := client.User{ID: u.ID, Name: u.Name, Admin: u.Admin, CreatedAt: u.Created, Limits: client.UserLimits(u.Limits)}
	for _, k := range b.store.Keys(u.ID) {
		if b.store.Working(k.ID) {
			c.Keys++
		}
	}
	return c
}

func (b *books) AdminAddUser(ctx context.Context, r client.UserRequest) (client.User, error) {
	u, err := b.store.AddUser(ctx, store.Local, r.Name, store.Limits(r.Limits))
	if err != nil {
		return client.User{}, err
	}
	return b.user(u), nil
}

func (b *books) AdminRemoveUser(ctx context.Context, id string) error {
	return b.store.RemoveUser(ctx, store.Local, id)
}

func (b *books) AdminSetLimits(ctx context.Context, id string, l client.UserLimits) (client.User, error) {
	if err := b.store.SetLimits(ctx, store.Local, id, store.Limits(l)); err != nil {
		return client.User{}, err
	}
	u, _ := b.store.User(id)
	return b.user(u), nil
}

func (b *books) AdminKeys(_ context.Context, user string) ([]client.Key, error) {
	out := []client.Key{}
	for _, k := range b.store.Keys(user) {
		out = append(out, keyOf(k))
	}
	return out, nil
}

func keyOf(k store.Key) client.Key {
	return client.Key{
		ID: k.ID, Name: k.Name, User: k.User, Prefix: k.Prefix, Last4: k.Last4, CreatedAt: k.Created,
		ExpiresAt: unlessZero(k.Expires), LastUsed: unlessZero(k.LastUsed), RevokedAt: unlessZero(k.Revoked),
	}
}

func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (b *books) AdminCreateKey(ctx context.Context, r client.KeyRequest) (client.NewKey, error) {
	var until time.Time
	if r.ExpiresAt != nil {
		until = *r.ExpiresAt
	}
	k, secret, err := b.store.CreateKey(ctx, store.Local, r.User, r.Name, until)
	if err != nil {
		return client.NewKey{}, err
	}
	b.known(ctx, k)
	return client.NewKey{Key: keyOf(k), Secret: secret}, nil
}

// known waits until the running edge has seen a key that was made beside it: it
// looks once a second, and a script uses the key at once. An edge that takes
// much longer has other troubles, and the key is good.
func (b *books) known(ctx context.Context, k store.Key) {
	if b.edge == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		ks, err := b.edge.AdminKeys(ctx, k.User)
		if err == nil && slices.ContainsFunc(ks, func(o client.Key) bool { return o.ID == k.ID }) {
			return
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return
		}
	}
}

func (b *books) AdminRevokeKey(ctx context.Context, id string) (client.Revoked, error) {
	if err := b.store.RevokeKey(ctx, store.Local, "", id); err != nil {
		return client.Revoked{}, err
	}
	for _, k := range b.store.Keys("") {
		if k.ID == id {
			return client.Revoked{Key: keyOf(k)}, nil
		}
	}
	return client.Revoked{Key: client.Key{ID: id}}, nil
}

func (b *books) AdminStats(ctx context.Context, hours int) (client.Stats, error) {
	if b.edge != nil {
		if s, err := b.edge.AdminStats(ctx, hours); err == nil { // to the second, and not to the minute
			s.Users = len(b.store.Users())
			return s, nil
		}
	}
	s := client.Stats{Users: len(b.store.Users()), Hours: []client.Hour{}, ByUser: []client.Share{}, ByTunnel: []client.Share{}}
	total, err := b.store.TotalUsage(ctx)
	if err != nil {
		return s, err
	}
	s.Total = usageOf(total)
	us, err := b.store.UsageSince(ctx, time.Now().Add(-time.Duration(hours-1)*time.Hour))
	if err != nil {
		return s, err
	}
	byHour, byUser, byTunnel := map[time.Time]client.Usage{}, map[string]client.Usage{}, map[[2]string]client.Usage{}
	for _, u := range us {
		sum(byHour, u.Hour, u)
		sum(byUser, u.User, u)
		sum(byTunnel, [2]string{u.User, u.Tunnel}, u)
	}
	for hour, u := range byHour {
		s.Hours = append(s.Hours, client.Hour{Hour: hour, Usage: u})
	}
	for user, u := range byUser {
		s.ByUser = append(s.ByUser, client.Share{User: user, Usage: u})
	}
	for of, u := range byTunnel {
		s.ByTunnel = append(s.ByTunnel, client.Share{User: of[0], Tunnel: of[1], Usage: u})
	}
	slices.SortFunc(s.Hours, func(a, b client.Hour) int { return b.Hour.Compare(a.Hour) })
	most := func(a, b client.Share) int {
		return cmp.Or(cmp.Compare(b.BytesIn+b.BytesOut, a.BytesIn+a.BytesOut), cmp.Compare(a.User, b.User), cmp.Compare(a.Tunnel, b.Tunnel))
	}
	slices.SortFunc(s.ByUser, most)
	slices.SortFunc(s.ByTunnel, most)
	return s, nil
}

func (b *books) AdminAudit(ctx context.Context, before int64, limit int) (client.Entries, error) {
	es, err := b.store.Entries(ctx, before, limit)
	page := client.Entries{Entries: []client.Entry{}}
	for _, e := range es {
		page.Entries = append(page.Entries, client.Entry(e))
	}
	if n := len(es); n > 0 && n == limit {
		page.Next = es[n-1].ID
	}
	return page, err
}

func usageOf(u store.Usage) client.Usage {
	return client.Usage{Requests: u.Requests, Connections: u.Connections, BytesIn: u.BytesIn, BytesOut: u.BytesOut}
}

// sum adds u to what of has for key.
func sum[K comparable](of map[K]client.Usage, key K, u store.Usage) {
	t := of[key]
	t.Requests += u.Requests
	t.Connections += u.Connections
	t.BytesIn += u.BytesIn
	t.BytesOut += u.BytesOut
	of[key] = t
}
