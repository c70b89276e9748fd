package api

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

func TestUsers(t *testing.T) {
	f := newFixture(t)
	c := f.client("root")
	five := 5
	eve, err := c.AdminAddUser(t.Context(), client.UserRequest{Name: "Eve", Limits: client.UserLimits{Tunnels: &five}})
	if err != nil || eve.Name != "Eve" || *eve.Limits.Tunnels != 5 || eve.Limits.Reservations != nil || eve.Admin || eve.Keys != 0 {
		t.Fatalf("AdminAddUser = %+v, %v, want Eve with five tunnels", eve, err)
	}
	key, err := c.AdminCreateKey(t.Context(), client.KeyRequest{User: eve.ID, Name: "first"})
	if err != nil || key.User != eve.ID || key.Secret == "" {
		t.Fatalf("AdminCreateKey = %+v, %v, want Eve's", key, err)
	}
	f.keys["eve"] = key.Secret
	if me, err := f.client("eve").Me(t.Context()); err != nil || me.ID != eve.ID {
		t.Errorf("Me = %+v, %v, want Eve", me, err)
	}
	us, err := c.AdminUsers(t.Context())
	if err != nil || len(us) != 4 {
		t.Fatalf("AdminUsers = %+v, %v, want four", us, err)
	}
	byName := map[string]client.User{}
	for _, u := range us {
		byName[u.Name] = u
	}
	// Two of ada's keys do not work any more.
	if u := byName["Ada"]; u.Keys != 2 || u.Tunnels != 1 || u.Admin || u.Usage != (client.Usage{Requests: 7, BytesIn: 70, BytesOut: 700}) {
		t.Errorf("ada = %+v, want two keys, a tunnel and usage", u)
	}
	if u := byName["Eve"]; u.Keys != 1 || u.Tunnels != 0 || u.Usage != (client.Usage{}) {
		t.Errorf("eve = %+v, want a key and nothing else", u)
	}
	if !slices.ContainsFunc(us, func(u client.User) bool { return u.Admin && u.ID == f.root.ID }) {
		t.Errorf("users = %+v, want root as the administrator", us)
	}
	if ks, err := c.AdminKeys(t.Context(), eve.ID); err != nil || len(ks) != 1 || ks[0].ID != key.ID || ks[0].User != eve.ID {
		t.Errorf("AdminKeys = %+v, %v, want Eve's", ks, err)
	}
	if ks, err := c.AdminKeys(t.Context(), ""); err != nil || len(ks) != len(f.store.Keys("")) {
		t.Errorf("AdminKeys = %d, %v, want all %d", len(ks), err, len(f.store.Keys("")))
	}
	refused(t, f.send("root", "POST", "/admin/users", `{"name":"Eve"}`), 409, tunnel.CodeConflict)
	refused(t, f.send("root", "POST", "/admin/users", `{"name":""}`), 422, tunnel.CodeInvalid)
	refused(t, f.send("root", "POST", "/admin/keys", `{"name":"whose"}`), 422, tunnel.CodeInvalid)
	refused(t, f.send("root", "POST", "/admin/keys", `{"name":"whose","user":"usr_absent"}`), 404, tunnel.CodeNotFound)
	refused(t, f.send("root", "DELETE", "/admin/users/"+f.root.ID, ""), 409, tunnel.CodeConflict)
}

func TestRemovedUserIsGone(t *testing.T) {
	f := newFixture(t)
	stream := f.send("ada", "GET", "/me/tunnels/shop/requests/stream", "")
	if err := f.client("root").AdminRemoveUser(t.Context(), f.ada.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.registry.Tunnel("shop"); ok {
		t.Error("the tunnel is still there")
	}
	if s := text(t, stream); strings.Contains(s, "event: closed") {
		t.Errorf("the stream said %q, as if only the tunnel were gone", s)
	}
	refused(t, f.send("ada", "GET", "/me", ""), 401, tunnel.CodeKey)
	if rs := f.store.Reservations(""); len(rs) != 0 {
		t.Errorf("reservations = %v, want none", rs)
	}
	if tn, ok := f.registry.Tunnel("bobs"); !ok || !tn.Online() {
		t.Error("another user's tunnel went too")
	}
}

func TestAdminTunnels(t *testing.T) {
	f := newFixture(t)
	c := f.client("root")
	f.shop.Counters.BytesOut.Add(9)
	ts, err := c.AdminTunnels(t.Context())
	if err != nil || len(ts) != 2 || ts[0].Subdomain != "bobs" || ts[0].User != f.bob.ID || ts[1].User != f.ada.ID || ts[1].BytesOut != 9 {
		t.Fatalf("AdminTunnels = %+v, %v, want bob's and ada's", ts, err)
	}
	if err := c.AdminCloseTunnel(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.registry.Tunnel("shop"); ok {
		t.Error("the tunnel is still there")
	}
	var e *tunnel.Error
	if err := c.AdminCloseTunnel(t.Context(), "shop"); !errors.As(err, &e) || e.Code != tunnel.CodeTunnelNotFound {
		t.Errorf("closed twice: %v, want code %s", err, tunnel.CodeTunnelNotFound)
	}
	page, err := c.AdminAudit(t.Context(), 0, 1)
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Action != "tunnel.close" || page.Entries[0].Object != "shop" || page.Entries[0].Actor != f.root.ID {
		t.Errorf("AdminAudit = %+v, %v, want that root closed shop", page, err)
	}
	// An owner's own is noted as well, and one that is not there is not.
	bob := f.client("bob")
	if err := bob.CloseTunnel(t.Context(), "bobs"); err != nil {
		t.Fatal(err)
	}
	if err := bob.CloseTunnel(t.Context(), "bobs"); !errors.As(err, &e) || e.Code != tunnel.CodeTunnelNotFound {
		t.Errorf("closed twice: %v, want code %s", err, tunnel.CodeTunnelNotFound)
	}
	page, err = c.AdminAudit(t.Context(), 0, 2)
	if err != nil || len(page.Entries) != 2 || page.Entries[0].Action != "tunnel.close" || page.Entries[0].Object != "bobs" || page.Entries[0].Actor != f.bob.ID || page.Entries[1].Object != "shop" {
		t.Errorf("AdminAudit = %+v, %v, want that bob closed bobs, once, after shop", page, err)
	}
}

func TestStats(t *testing.T) {
	f := newFixture(t)
	f.shop.Counters.Requests.Add(3) // of this very minute
	s, err := f.client("root").AdminStats(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if s.Users != 3 || s.Tunnels != 2 || s.Total.Requests != 10 || len(s.Hours) != 1 || s.Hours[0].Requests != 10 || s.StartedAt.IsZero() {
		t.Errorf("stats = %+v, want three users, two tunnels and ten requests", s)
	}
	if len(s.ByUser) != 1 || s.ByUser[0].User != f.ada.ID || s.ByUser[0].Requests != 10 || len(s.ByTunnel) != 1 || s.ByTunnel[0].Tunnel != "shop" {
		t.Errorf("shares = %+v, %+v, want ada's shop", s.ByUser, s.ByTunnel)
	}
	// Old hours are asked for by number.
	old := store.Usage{Hour: time.Now().Add(-70 * time.Hour).Truncate(time.Hour), User: f.bob.ID, Tunnel: "bobs", Requests: 5}
	if err := f.store.AddUsage(t.Context(), []store.Usage{old}); err != nil {
		t.Fatal(err)
	}
	for hours, want := range map[int]int{0: 1, 24: 1, 744: 2} {
		if s, err := f.client("root").AdminStats(t.Context(), hours); err != nil || len(s.Hours) != want || s.Total.Requests != 15 {
			t.Errorf("stats of %d hours = %+v, %v, want %d hours and 15 requests in all", hours, s, err, want)
		}
	}
}

func TestAudit(t *testing.T) {
	f := newFixture(t)
	c := f.client("root")
	for i := range 25 {
		if err := f.store.Audit(t.Context(), store.Entry{Actor: f.root.ID, Action: "test", Object: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.AdminAudit(t.Context(), 0, 0)
	if err != nil || len(all.Entries) < 25 || all.Next != 0 || all.Entries[0].Object != "24" {
		t.Fatalf("AdminAudit = %+v, %v, want all, newest first", all, err)
	}
	var got []client.Entry
	for before := int64(0); ; {
		page, err := c.AdminAudit(t.Context(), before, 10)
		if err != nil || len(page.Entries) > 10 {
			t.Fatalf("AdminAudit = %+v, %v, want ten at most", page, err)
		}
		got = append(got, page.Entries...)
		if before = page.Next; before == 0 {
			break
		}
	}
	if !slices.Equal(got, all.Entries) {
		t.Errorf("pages = %+v, want %+v", got, all.Entries)
	}
	// What went through the API says who did it.
	if resp := f.send("bob", "POST", "/me/reservations", `{"subdomain":"bobs-name"}`); resp.StatusCode != 201 {
		t.Fatal(resp.StatusCode)
	}
	page, err := c.AdminAudit(t.Context(), 0, 1)
	if err != nil || page.Entries[0].Actor != f.bob.ID || page.Entries[0].Object != "bobs-name" {
		t.Errorf("AdminAudit = %+v, %v, want bob's reservation", page, err)
	}
}

func TestReloadCerts(t *testing.T) {
	f := newFixture(t)
	r, err := f.client("local").AdminReloadCerts(t.Context())
	if err != nil || len(r.Certificates) == 0 || !slices.Contains(r.Certificates[0].Names, "*.lrok.example") || r.Problems == nil {
		t.Errorf("AdminReloadCerts = %+v, %v, want the development certificate", r, err)
	}
	page, err := f.client("root").AdminAudit(t.Context(), 0, 1)
	if err != nil || page.Entries[0].Action != "certs.reload" || page.Entries[0].Actor != store.Local {
		t.Errorf("AdminAudit = %+v, %v, want that the machine did it", page, err)
	}
}

// TestLastAdministrator cannot lock everybody out.
func TestLastAdministrator(t *testing.T) {
	f := newFixture(t)
	refused(t, f.send("root", "DELETE", "/me/keys/"+mustKey(t, f, "root").ID, ""), 409, tunnel.CodeConflict)
	refused(t, f.send("local", "DELETE", "/admin/users/"+f.root.ID, ""), 409, tunnel.CodeConflict)
	if me, err := f.client("root").Me(t.Context()); err != nil || !me.Admin {
		t.Errorf("Me = %+v, %v, want the administrator", me, err)
	}
}
