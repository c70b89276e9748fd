package store

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

func TestUsers(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ten, none := 10, 0
	u, err := s.AddUser(t.Context(), firstUser, "Ada Lovelace ✓", Limits{Tunnels: &ten, Reservations: &none})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(u.ID, "usr_") || len(u.ID) != 20 || u.Name != "Ada Lovelace ✓" || u.Admin || time.Since(u.Created) > time.Minute {
		t.Errorf("user = %+v", u)
	}
	got, ok := s.User(u.ID)
	if !ok || *got.Limits.Tunnels != 10 || *got.Limits.Reservations != 0 {
		t.Errorf("limits = %+v, want 10 tunnels and 0 reservations", got.Limits)
	}
	for _, name := range []string{"Ada Lovelace ✓", "ada lovelace ✓", "admin"} {
		_, err := s.AddUser(t.Context(), firstUser, name, Limits{})
		wantCode(t, name, err, tunnel.CodeConflict)
	}
	for _, name := range []string{"", " ada", "a\nb", "a\x00b", "\u202Eada", "\xff", strings.Repeat("é", 101)} {
		_, err := s.AddUser(t.Context(), firstUser, name, Limits{})
		wantCode(t, fmt.Sprintf("%q", name), err, tunnel.CodeInvalid)
	}
	addUser(t, s, strings.Repeat("é", 100))
	if err := s.SetLimits(t.Context(), firstUser, u.ID, Limits{}); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.User(u.ID); got.Limits.Tunnels != nil || got.Limits.Reservations != nil {
		t.Errorf("limits = %+v, want the defaults again", got.Limits)
	}
	less := -1
	wantCode(t, "a limit of -1", s.SetLimits(t.Context(), firstUser, u.ID, Limits{Tunnels: &less}), tunnel.CodeInvalid)
	wantCode(t, "limits of nobody", s.SetLimits(t.Context(), firstUser, "usr_none", Limits{}), tunnel.CodeNotFound)
	huge := math.MaxInt
	if err := s.SetLimits(t.Context(), firstUser, u.ID, Limits{Tunnels: &huge}); err != nil {
		t.Error(err)
	}
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy = %v after refusals", err)
	}
}

func TestRemoveUser(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ada, bob := addUser(t, s, "ada"), addUser(t, s, "bob")
	k, secret := addKey(t, s, ada.ID)
	kept, _ := addKey(t, s, bob.ID)
	for u, name := range map[string]string{ada.ID: "ada-1", bob.ID: "bob-1"} {
		if _, err := s.Reserve(t.Context(), u, u, name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddDomain(t.Context(), u, u, name+".example", "token"); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, "nobody", s.RemoveUser(t.Context(), firstUser, "usr_none"), tunnel.CodeNotFound)
	if err := s.RemoveUser(t.Context(), firstUser, ada.ID); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Authenticate(t.Context(), secret)
	wantCode(t, "a key of a removed user", err, tunnel.CodeKey)
	_, there := s.User(ada.ID)
	if there || s.Working(k.ID) || len(s.Keys(ada.ID))+len(s.Reservations(ada.ID))+len(s.Domains(ada.ID)) > 0 {
		t.Error("something of a removed user is left")
	}
	if !s.Working(kept.ID) || len(s.Reservations(bob.ID)) != 1 || len(s.Domains(bob.ID)) != 1 {
		t.Error("another user lost something")
	}
	if _, err := s.Reserve(t.Context(), bob.ID, bob.ID, "ada-1"); err != nil {
		t.Errorf("the name of a removed user: %v", err)
	}
	entries, err := s.Entries(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range entries {
		found = found || e.Action == "key.create" && e.Object == k.ID
	}
	if !found {
		t.Error("the audit log forgot the removed user's key")
	}
	sound(t, s)
}

func TestLastAdministrator(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	ada := addUser(t, s, "ada")
	wantCode(t, "the first user", s.RemoveUser(t.Context(), firstUser, firstUser), tunnel.CodeConflict)
	s.Close()

	s = open(t, dir, Options{Admins: []string{ada.ID, firstUser}})
	if u, _ := s.User(ada.ID); !u.Admin {
		t.Error("ada is no administrator")
	}
	wantCode(t, "the only one with a key", s.RemoveUser(t.Context(), firstUser, firstUser), tunnel.CodeConflict)
	addKey(t, s, ada.ID)
	if err := s.RemoveUser(t.Context(), firstUser, firstUser); err != nil {
		t.Errorf("remove one of two administrators: %v", err)
	}
	wantCode(t, "the last one", s.RemoveUser(t.Context(), ada.ID, ada.ID), tunnel.CodeConflict)
	bob := addUser(t, s, "bob")
	s.Close()

	// Nobody becomes an administrator because another went.
	s = open(t, dir, Options{})
	for _, u := range s.Users() {
		if u.Admin {
			t.Errorf("%s is an administrator, want nobody", u.Name)
		}
	}
	s.Close()
	s = open(t, dir, Options{Admins: []string{bob.ID}})
	if u, _ := s.User(ada.ID); u.Admin {
		t.Error("ada is still an administrator")
	}
}

// TestAdministratorsBeside asks the store as lrok admin does, which knows nothing
// of how the edge was started.
func TestAdministratorsBeside(t *testing.T) {
	dir := t.TempDir()
	admins := func(s *Store) string {
		var names []string
		for _, u := range s.Users() {
			if u.Admin {
				names = append(names, u.Name)
			}
		}
		return strings.Join(names, " ")
	}
	beside := open(t, dir, Options{Beside: true}) // before any edge
	if got := admins(beside); got != firstName {
		t.Errorf("administrators = %q without an edge, want the first user", got)
	}
	ada := addUser(t, beside, "ada")
	key, _ := addKey(t, beside, ada.ID)

	edge := open(t, dir, Options{Admins: []string{ada.ID, "usr_none", ada.ID}})
	beside.follow(t.Context())
	for name, s := range map[string]*Store{"the edge": edge, "open before": beside, "open after": open(t, dir, Options{Beside: true})} {
		if got := admins(s); got != "ada" {
			t.Errorf("%s: administrators = %q, want ada", name, got)
		}
		wantCode(t, name+": the last administrator", s.RemoveUser(t.Context(), Local, ada.ID), tunnel.CodeConflict)
		wantCode(t, name+": its last key", s.RevokeKey(t.Context(), Local, "", key.ID), tunnel.CodeConflict)
	}

	// A start that changes nothing writes nothing, as on a full disk.
	version := func() (v int64) {
		if err := beside.writer.QueryRow("PRAGMA data_version").Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := version()
	open(t, dir, Options{Admins: []string{"usr_none", ada.ID}})
	if version() != before {
		t.Error("the same administrators were written again")
	}

	// An edge that names nobody has the first user again.
	if err := edge.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
	if err := beside.RevokeKey(t.Context(), Local, "", key.ID); err != nil { // decided in the file
		t.Errorf("revoke the key of one who is no administrator any more: %v", err)
	}
	if got := admins(open(t, dir, Options{Beside: true})); got != firstName {
		t.Errorf("administrators = %q, want the first user again", got)
	}
}

func TestReserve(t *testing.T) {
	s := open(t, t.TempDir(), Options{Reservations: 2})
	ada, bob := addUser(t, s, "ada"), addUser(t, s, "bob")
	r, err := s.Reserve(t.Context(), ada.ID, ada.ID, "demo")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Reservation("demo"); !ok || got != r || r.User != ada.ID {
		t.Errorf("reservation = %+v, %v; want %+v", got, ok, r)
	}
	_, err = s.Reserve(t.Context(), ada.ID, ada.ID, "demo")
	wantCode(t, "one's own", err, tunnel.CodeConflict)
	_, err = s.Reserve(t.Context(), bob.ID, bob.ID, "demo")
	wantCode(t, "another's", err, tunnel.CodeName)
	if err != nil && strings.Contains(err.Error()+hint(err), "ada") || strings.Contains(fmt.Sprint(err), ada.ID) {
		t.Errorf("the refusal tells whose it is: %v", err)
	}
	for _, name := range []string{"", "admin", "Demo", "a.b", "-a", "xn--a"} {
		_, err := s.Reserve(t.Context(), ada.ID, ada.ID, name)
		wantCode(t, fmt.Sprintf("%q", name), err, tunnel.CodeNameInvalid)
	}
	_, err = s.Reserve(t.Context(), ada.ID, "usr_none", "demo-2")
	wantCode(t, "for nobody", err, tunnel.CodeNotFound)

	if _, err := s.Reserve(t.Context(), ada.ID, ada.ID, "demo-2"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Reserve(t.Context(), ada.ID, ada.ID, "demo-3")
	wantCode(t, "over the default", err, tunnel.CodeLimit)
	for _, test := range []struct {
		limit int
		name  string
		want  string
	}{{3, "demo-3", ""}, {3, "demo-4", tunnel.CodeLimit}, {1, "demo-4", tunnel.CodeLimit}, {0, "demo-4", ""}} {
		if err := s.SetLimits(t.Context(), firstUser, ada.ID, Limits{Reservations: &test.limit}); err != nil {
			t.Fatal(err)
		}
		if got := s.ReservationLimit(ada.ID); got != test.limit {
			t.Errorf("ReservationLimit = %d, want %d", got, test.limit)
		}
		_, err = s.Reserve(t.Context(), ada.ID, ada.ID, test.name)
		wantCode(t, fmt.Sprintf("%s with a limit of %d", test.name, test.limit), err, test.want)
	}
	if got := s.ReservationLimit(bob.ID); got != 2 {
		t.Errorf("ReservationLimit = %d, want the default 2", got)
	}

	wantCode(t, "give up another's", s.Unreserve(t.Context(), bob.ID, bob.ID, "demo"), tunnel.CodeNotFound)
	if err := s.Unreserve(t.Context(), ada.ID, ada.ID, "demo"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "give up twice", s.Unreserve(t.Context(), ada.ID, ada.ID, "demo"), tunnel.CodeNotFound)
	if _, err := s.Reserve(t.Context(), bob.ID, bob.ID, "demo"); err != nil {
		t.Error(err)
	}
	if err := s.Unreserve(t.Context(), firstUser, "", "demo"); err != nil {
		t.Errorf("an administrator: %v", err)
	}
	if got := s.Reservations(ada.ID); len(got) != 3 || got[0].Name != "demo-2" || len(s.Reservations("")) != 3 {
		t.Errorf("reservations = %+v, want demo-2 to demo-4", got)
	}
}

// TestReserveRace has 100 users of two processes ask for one name.
func TestReserveRace(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{open(t, dir, Options{}), open(t, dir, Options{})}
	var users []string
	for i := range 100 {
		users = append(users, addUser(t, stores[0], fmt.Sprintf("user %d", i)).ID)
	}
	for round := range 2 {
		name := fmt.Sprintf("demo-%d", round)
		var mu sync.Mutex
		var winners []string
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i, u := range users {
			wg.Go(func() {
				<-start
				_, err := stores[i%2].Reserve(context.Background(), u, u, name)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winners = append(winners, u)
				} else if code(err) != tunnel.CodeName {
					t.Errorf("a loser is told %v", err)
				}
			})
		}
		close(start)
		wg.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d users have the name, want 1", len(winners))
		}
		stores[0].follow(t.Context())
		if r, _ := stores[0].Reservation(name); r.User != winners[0] {
			t.Errorf("it is %s's, want the winner's", r.User)
		}
	}
}

// TestReserveLimitRace has a user ask two processes for more than is allowed.
func TestReserveLimitRace(t *testing.T) {
	dir := t.TempDir()
	o := Options{Reservations: 5}
	stores := []*Store{open(t, dir, o), open(t, dir, o)}
	u := addUser(t, stores[0], "ada").ID
	var wg sync.WaitGroup
	var won [20]bool
	for i := range won {
		wg.Go(func() {
			_, err := stores[i%2].Reserve(context.Background(), u, u, fmt.Sprintf("demo-%d", i))
			won[i] = err == nil
			if err != nil && code(err) != tunnel.CodeLimit {
				t.Errorf("%v, want %s", err, tunnel.CodeLimit)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, ok := range won {
		if ok {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d names were reserved, want 5", n)
	}
}

func TestDomains(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ada, bob := addUser(t, s, "ada").ID, addUser(t, s, "bob").ID
	const host = "shop.example"
	a, err := s.AddDomain(t.Context(), ada, ada, host, "token-a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.AddDomain(t.Context(), ada, ada, host, "token-c")
	wantCode(t, "twice", err, tunnel.CodeConflict)
	b, err := s.AddDomain(t.Context(), bob, bob, host, "token-b")
	if err != nil {
		t.Fatalf("another may ask while nobody has proven it: %v", err)
	}
	if _, ok := s.Domain(host); ok {
		t.Error("a domain that nobody proved is somebody's")
	}
	b.Verified, b.Checked = time.Now(), time.Now()
	if err := s.SetDomain(t.Context(), bob, b); err != nil {
		t.Fatal(err)
	}
	if d, ok := s.Domain(host); !ok || d.User != bob || d.Verified.IsZero() || d.Token != "token-b" {
		t.Errorf("domain = %+v, %v; want bob's", d, ok)
	}
	a.Verified = time.Now()
	wantCode(t, "verified second", s.SetDomain(t.Context(), ada, a), tunnel.CodeConflict)
	carl := addUser(t, s, "carl").ID
	_, err = s.AddDomain(t.Context(), carl, carl, host, "token-d")
	wantCode(t, "in use", err, tunnel.CodeConflict)
	if err != nil && strings.Contains(err.Error(), bob) {
		t.Errorf("the refusal tells whose it is: %v", err)
	}

	b.Failing, b.Problem = time.Now(), "no TXT record"
	steps := []func(){
		func() {},
		func() { b.Failing, b.Problem = time.Time{}, "" },
		func() { b.Checked = time.Now().Add(time.Hour) }, // no news
		func() { b.Verified, b.Failing = time.Time{}, time.Now() },
	}
	for _, step := range steps {
		step()
		if err := s.SetDomain(t.Context(), "edge", b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetDomain(t.Context(), ada, a); err != nil {
		t.Errorf("the host was given up: %v", err)
	}
	if got := s.Domains(bob); len(got) != 1 || got[0].Failing.IsZero() || !got[0].Verified.IsZero() {
		t.Errorf("domains = %+v, want what was set", got)
	}
	if got := s.Domains(""); len(got) != 2 || got[0].User != ada {
		t.Errorf("domains = %+v, want ada's and bob's, in the order they asked", got)
	}
	wantCode(t, "remove another's", s.RemoveDomain(t.Context(), carl, carl, host), tunnel.CodeNotFound)
	if err := s.RemoveDomain(t.Context(), ada, ada, host); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "set after removing", s.SetDomain(t.Context(), ada, a), tunnel.CodeNotFound)
	if err := s.RemoveDomain(t.Context(), firstUser, "", host); err != nil || len(s.Domains("")) != 0 {
		t.Errorf("remove all: %v, and %d are left", err, len(s.Domains("")))
	}

	entries, err := s.Entries(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Object == host {
			got = append([]string{e.Actor + " " + e.Action}, got...)
		}
	}
	want := []string{
		ada + " domain.add", bob + " domain.add", bob + " domain.verify", "edge domain.fail", "edge domain.recover",
		"edge domain.lapse", ada + " domain.verify", ada + " domain.remove", firstUser + " domain.remove",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("log = %v, want %v", got, want)
	}
}

func TestAudit(t *testing.T) {
	clock := time.Date(2026, 5, 6, 7, 8, 9, 1e6, time.UTC)
	s := open(t, t.TempDir(), Options{Now: func() time.Time { return clock }})
	for i := range 5 {
		if err := s.Audit(t.Context(), Entry{Actor: "usr_x", Action: "tunnel.close", Object: fmt.Sprint(i), Detail: "because"}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	before := int64(0)
	for range 2 {
		page, err := s.Entries(t.Context(), before, 2)
		if err != nil || len(page) != 2 {
			t.Fatalf("a page of %d lines (%v), want 2", len(page), err)
		}
		for _, e := range page {
			got = append(got, e.Object)
			if !e.Time.Equal(clock) || e.Actor != "usr_x" || e.Detail != "because" {
				t.Errorf("entry = %+v", e)
			}
		}
		before = page[1].ID
	}
	if strings.Join(got, "") != "4321" {
		t.Errorf("two pages hold %v, want 4 3 2 1", got)
	}
	for _, limit := range []int{0, -1} {
		if page, err := s.Entries(t.Context(), 0, limit); err != nil || len(page) != 0 {
			t.Errorf("a limit of %d gives %d lines, %v", limit, len(page), err)
		}
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	clock := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	s := open(t, dir, Options{Now: func() time.Time { return clock }})
	hour := clock.Truncate(time.Hour)
	one := Usage{Hour: hour, User: "usr_a", Tunnel: "demo", Requests: 1, Connections: 2, BytesIn: 3, BytesOut: 1 << 40}
	late := one
	late.Hour = clock // somewhere within the hour
	other := Usage{Hour: hour.Add(-time.Hour), User: "usr_b", Tunnel: "demo", Requests: 10}
	if err := s.AddUsage(t.Context(), []Usage{one, other}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddUsage(t.Context(), []Usage{late}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddUsage(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	sum := Usage{Hour: hour, User: "usr_a", Tunnel: "demo", Requests: 2, Connections: 4, BytesIn: 6, BytesOut: 2 << 40}
	for from, want := range map[time.Time][]Usage{
		{}: {other, sum}, hour.Add(-time.Minute): {other, sum}, hour: {sum}, clock: {sum}, hour.Add(time.Hour): nil,
	} {
		got, err := s.UsageSince(t.Context(), from)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("since %v: %v (%v), want %v", from, got, err, want)
		}
	}
	bad := one
	bad.Requests = -5
	if err := s.AddUsage(t.Context(), []Usage{one, bad}); err == nil {
		t.Error("a negative count was stored")
	}
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy = %v after that", err)
	}
	want := Usage{Requests: 12, Connections: 4, BytesIn: 6, BytesOut: 2 << 40}
	if got, err := s.TotalUsage(t.Context()); err != nil || got != want {
		t.Errorf("total = %+v (%v), want %+v: all or nothing", got, err, want)
	}
}

// TestPrune fills the store, lets 400 days pass and prunes.
func TestPrune(t *testing.T) {
	clock := time.Date(2026, 5, 6, 7, 0, 0, 0, time.UTC)
	start := clock
	s := open(t, t.TempDir(), Options{Now: func() time.Time { return clock }})
	u := addUser(t, s, "ada").ID
	gone, _ := addKey(t, s, u)
	kept, _ := addKey(t, s, u)
	if err := s.RevokeKey(t.Context(), Local, "", gone.ID); err != nil {
		t.Fatal(err)
	}
	var us []Usage
	for i := range 2500 {
		us = append(us, Usage{Hour: clock.Add(time.Duration(i) * time.Hour), User: u, Requests: 1})
	}
	if err := s.AddUsage(t.Context(), us); err != nil {
		t.Fatal(err)
	}
	lines, err := s.Entries(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	count := func() (hours, entries int) {
		us, err := s.UsageSince(t.Context(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		es, err := s.Entries(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(us), len(es)
	}
	for _, test := range []struct {
		after                time.Duration
		hours, entries, keys int
	}{
		{keepFor, 2500, len(lines), 3},
		{keepFor + 1500*time.Hour, 1000, 0, 2},
		{keepFor + 2500*time.Hour, 0, 0, 2},
	} {
		clock = start.Add(test.after)
		if err := s.prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		hours, entries := count()
		if keys := len(s.Keys("")); hours != test.hours || entries != test.entries || keys != test.keys {
			t.Errorf("after %v: %d hours, %d lines, %d keys; want %d, %d, %d", test.after, hours, entries, keys, test.hours, test.entries, test.keys)
		}
	}
	if !s.Working(kept.ID) {
		t.Error("a key that works was pruned")
	}
	if sum, err := s.TotalUsage(t.Context()); err != nil || sum.Requests != 2500 {
		t.Errorf("total = %d (%v), want 2500 still", sum.Requests, err)
	}
}
