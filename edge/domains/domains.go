package domains

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// A Store keeps what is known of each host. Several users may have a row for
// the same host, at most one of them a verified one.
type Store interface {
	// Domain returns the row of host that is verified.
	Domain(host string) (store.Domain, bool)
	// Domains returns the rows of user, of all users when it is empty.
	Domains(user string) []store.Domain
	AddDomain(ctx context.Context, by, user, host, token string) (store.Domain, error)
	SetDomain(ctx context.Context, by string, d store.Domain) error
	RemoveDomain(ctx context.Context, by, user, host string) error
}

// Config says what domains work with. Store, Domain and Resolver are needed;
// everything else has a default.
type Config struct {
	Store    Store
	Domain   string // the edge's own, canonical
	Resolver Resolver

	// Dropped is called when a host that was served is not any more. No lock is
	// held.
	Dropped func(host string)
	// PerUser returns how many hosts a user may have. Without it that is 20.
	PerUser func() int

	Every   time.Duration // between the checks of a host whose proof stands; 0 means a day
	Retry   time.Duration // between the checks of one whose proof is gone; 0 means an hour, or Every/24
	Grace   time.Duration // served without a proof; 0 means 72 h
	Pending time.Duration // how long a host may wait for its proof; 0 means a week
	Timeout time.Duration // of one look into the DNS; 0 means 5 s

	Traefik Traefik
	// Certified reports whether the edge has a certificate for host. Without it no
	// host has one.
	Certified func(host string) bool

	Logger *slog.Logger
	Now    func() time.Time
}

// The states of a domain.
const (
	Pending  = "pending"  // never proven
	Verified = "verified" // served
	Failing  = "failing"  // the proof is gone; served until GraceEnds at least
	Lapsed   = "lapsed"   // not served any more, and free for others
)

// A Domain is one user's hold on a host, or the wish for it.
type Domain struct {
	store.Domain
	State     string
	GraceEnds time.Time // while State is Failing
	Records   []Record  // what has to be in the DNS, and what was there
}

// A Record is a DNS record that a domain needs.
type Record struct {
	Type, Name, Value string
	OK                bool   // the last check found it
	Found             string // what the last check found in its place
}

// edgeItself is who acts when nobody asked.
const edgeItself = "edge"

const (
	// lookups is how many hosts are looked up at once.
	lookups = 8
	// askings is how many of these one user may have asked for: the DNS of one who
	// lets it hang should not keep the others waiting.
	askings = 2
)

// Domains is made by [New]. Its methods may be called from any goroutine.
type Domains struct {
	cfg   Config
	slots chan struct{}
	wake  chan struct{} // something is due sooner than Run thinks

	// mu is held while a row is read, judged and written, never while the DNS is
	// asked.
	mu     sync.Mutex
	seen   map[holding][]Record // what the last check of this process found
	asking map[string]int       // by user
}

// A holding is what a row is known by.
type holding struct{ user, host string }

// New returns the domains that cfg.Store keeps. Each host is checked again only
// while Run runs.
func New(cfg Config) (*Domains, error) {
	if err := cfg.Traefik.Check(); err != nil {
		return nil, err
	}
	if cfg.PerUser == nil {
		cfg.PerUser = func() int { return 20 }
	}
	cfg.Every = cmp.Or(cfg.Every, 24*time.Hour)
	cfg.Retry = cmp.Or(cfg.Retry, max(cfg.Every/24, min(cfg.Every, time.Second)))
	cfg.Grace = cmp.Or(cfg.Grace, 72*time.Hour)
	cfg.Pending = cmp.Or(cfg.Pending, 7*24*time.Hour)
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	if cfg.Dropped == nil {
		cfg.Dropped = func(string) {}
	}
	if cfg.Certified == nil {
		cfg.Certified = func(string) bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Domains{
		cfg: cfg, slots: make(chan struct{}, lookups), wake: make(chan struct{}, 1),
		seen: make(map[holding][]Record), asking: make(map[string]int),
	}, nil
}

// Target is where the CNAME of a domain has to point.
func (d *Domains) Target() string { return "tunnel." + d.cfg.Domain }

// Served returns whose host is, if it is served: what the registry asks under
// its lock. It waits for nothing. host is canonical.
func (d *Domains) Served(host string) (user string, ok bool) {
	row, ok := d.cfg.Store.Domain(host)
	if !ok || row.Verified.IsZero() {
		return "", false
	}
	return row.User, true
}

// List returns the domains of user, of all users when it is empty, by host.
func (d *Domains) List(user string) []Domain {
	rows := d.cfg.Store.Domains(user)
	slices.SortFunc(rows, func(a, b store.Domain) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.User, b.User))
	})
	list := make([]Domain, len(rows))
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, row := range rows {
		list[i] = d.describe(row)
	}
	return list
}

// Add puts host on user's list and returns the records to set for it. A host
// that is there already is returned as it is.
func (d *Domains) Add(ctx context.Context, by, user, host string) (Domain, error) {
	host, err := d.canonical(host)
	if err != nil {
		return Domain{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rows := d.cfg.Store.Domains(user)
	for _, row := range rows {
		if row.Host == host {
			return d.describe(row), nil
		}
	}
	if limit := d.cfg.PerUser(); len(rows) >= limit {
		return Domain{}, &tunnel.Error{
			Code:    tunnel.CodeLimit,
			Message: fmt.Sprintf("you have %d domains, and this edge allows %d", len(rows), limit),
			Hint:    "remove one first: lrok domain rm HOST",
		}
	}
	if _, served := d.Served(host); served {
		return Domain{}, taken(host)
	}
	row, err := d.cfg.Store.AddDomain(ctx, by, user, host, newToken())
	if err != nil {
		return Domain{}, err
	}
	d.nudge()
	return d.describe(row), nil
}

// Remove takes host off user's list. If it was served, its tunnels end.
func (d *Domains) Remove(ctx context.Context, by, user, host string) error {
	host, err := hostname(host)
	if err != nil {
		return err
	}
	d.mu.Lock()
	row, err := d.row(user, host)
	if err == nil {
		err = d.cfg.Store.RemoveDomain(ctx, by, user, host)
	}
	if err == nil {
		delete(d.seen, holding{user, host})
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if !row.Verified.IsZero() {
		d.cfg.Dropped(host)
	}
	return nil
}

// Verify looks up the records of user's host and returns what it is now; that
// they are not there yet is no error.
func (d *Domains) Verify(ctx context.Context, by, user, host string) (Domain, error) {
	host, err := hostname(host)
	if err != nil {
		return Domain{}, err
	}
	row, err := d.row(user, host)
	if err != nil {
		return Domain{}, err
	}
	if !d.ask(user, 1) {
		return Domain{}, &tunnel.Error{
			Code:    tunnel.CodeLimit,
			Message: fmt.Sprintf("%d of your domains are being looked up just now", askings),
			Hint:    "wait for these and try again",
		}
	}
	defer d.ask(user, -1)
	return d.check(ctx, by, row)
}

// ask notes that user begins (1) or ends (-1) to ask, and reports whether there
// was room.
func (d *Domains) ask(user string, n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > 0 && d.asking[user] >= askings {
		return false
	}
	if d.asking[user] += n; d.asking[user] == 0 {
		delete(d.asking, user)
	}
	return true
}

// row returns user's row of host.
func (d *Domains) row(user, host string) (store.Domain, error) {
	for _, row := range d.cfg.Store.Domains(user) {
		if row.Host == host {
			return row, nil
		}
	}
	return store.Domain{}, &tunnel.Error{
		Code:    tunnel.CodeNotFound,
		Message: fmt.Sprintf("you have no domain %s", host),
		Hint:    "add it with: lrok domain add " + host,
	}
}

// check looks a host up and keeps what comes of it.
func (d *Domains) check(ctx context.Context, by string, row store.Domain) (Domain, error) {
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return Domain{}, ctx.Err()
	}
	found := d.lookUp(ctx, row)
	<-d.slots
	if err := ctx.Err(); err != nil {
		return Domain{}, err // who asked has gone: that no answer came means nothing
	}

	d.mu.Lock()
	now, err := d.row(row.User, row.Host)
	switch {
	case err != nil: // removed in the meantime
	case now.Token != row.Token:
		err = &tunnel.Error{
			Code:    tunnel.CodeConflict,
			Message: fmt.Sprintf("%s was changed while it was looked up", row.Host),
			Hint:    "try again",
		}
	}
	if err != nil {
		d.mu.Unlock()
		return Domain{}, err
	}
	next, news := d.judge(now, found)
	if _, served := d.Served(row.Host); served && now.Verified.IsZero() && !next.Verified.IsZero() {
		d.mu.Unlock()
		return Domain{}, taken(row.Host)
	}
	if err := d.cfg.Store.SetDomain(ctx, by, next); err != nil {
		d.mu.Unlock()
		return Domain{}, err
	}
	d.seen[holding{row.User, row.Host}] = found.records
	described := d.describe(next)
	d.nudge()
	d.mu.Unlock()

	d.tell(described, news)
	if news == Lapsed {
		d.cfg.Dropped(row.Host)
	}
	return described, nil
}

// judge says what becomes of row after a check. news is its state when that is
// a new one, else empty.
func (d *Domains) judge(row store.Domain, f finding) (next store.Domain, news string) {
	now := d.cfg.Now()
	row.Checked, row.Problem = now, f.problem
	served := !row.Verified.IsZero()
	switch {
	case f.proven:
		if !served || !row.Failing.IsZero() {
			news = Verified
		}
		if !served {
			row.Verified = now
		}
		row.Failing = time.Time{}
	case f.unsure || !served:
		// It stays what it is.
	case row.Failing.IsZero():
		row.Failing, news = now, Failing
	case !now.Before(row.Failing.Add(d.cfg.Grace)):
		// Records that were forgotten in the DNS must not prove anything later on:
		// a new proof needs a new token.
		row.Verified, row.Token, news = time.Time{}, newToken(), Lapsed
	}
	return row, news
}

// tell logs what changed by itself: the owner sees it in the list.
func (d *Domains) tell(row Domain, news string) {
	log := d.cfg.Logger.With("domain", row.Host, "user", row.User)
	switch news {
	case Verified:
		log.Info("domain verified")
	case Failing:
		log.Warn("the proof of a domain is gone; it is served until the grace period ends", "problem", row.Problem, "ends", row.GraceEnds)
	case Lapsed:
		log.Warn("domain lapsed: it is not served any more", "problem", row.Problem)
	}
}

// describe says what row means. The caller holds mu.
func (d *Domains) describe(row store.Domain) Domain {
	v := Domain{Domain: row}
	switch {
	case !row.Verified.IsZero() && row.Failing.IsZero():
		v.State = Verified
	case !row.Verified.IsZero():
		v.State, v.GraceEnds = Failing, row.Failing.Add(d.cfg.Grace)
	case !row.Failing.IsZero():
		v.State = Lapsed
	default:
		v.State = Pending
	}
	v.Records = d.records(row)
	seen := d.seen[holding{row.User, row.Host}]
	for i := range v.Records {
		switch {
		case i < len(seen) && seen[i].Value == v.Records[i].Value:
			v.Records[i] = seen[i]
		case v.State == Verified:
			v.Records[i].OK = true // by another process of this edge, before a restart
		}
	}
	return v
}

// records are what row needs, the CNAME first.
func (d *Domains) records(row store.Domain) []Record {
	return []Record{
		{Type: "CNAME", Name: row.Host, Value: d.Target()},
		{Type: "TXT", Name: proofLabel + row.Host, Value: proofPrefix + row.Token},
	}
}

func (d *Domains) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// taken refuses a host that another user has, without saying who or since when.
func taken(host string) error {
	return &tunnel.Error{
		Code:    tunnel.CodeConflict,
		Message: host + " is in use by another user of this edge",
		Hint:    "ask whoever runs the edge if the domain is yours",
	}
}

func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Run looks the served hosts up again when it is time, and takes wishes that
// were never proven off the lists, until ctx ends. All times are in the store:
// what fell due while no edge ran is done first.
func (d *Domains) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-d.wake:
		case <-ctx.Done():
			return nil
		}
		d.round(ctx)
		timer.Reset(d.pause())
	}
}

// longestPause is how long Run may sleep: another process may have changed the
// store.
const longestPause = time.Minute

// pause is how long nothing is due.
func (d *Domains) pause() time.Duration {
	now, pause := d.cfg.Now(), longestPause
	for _, row := range d.cfg.Store.Domains("") {
		if due := d.due(row); !due.IsZero() {
			pause = min(pause, due.Sub(now))
		}
	}
	// A store that cannot be written leaves everything due: then it is tried
	// again now and then.
	return max(pause, min(d.cfg.Retry/10, 10*time.Second))
}

// due is when something has to be done about row, or zero.
func (d *Domains) due(row store.Domain) time.Time {
	switch {
	case row.Verified.IsZero() && !row.Failing.IsZero():
		return time.Time{} // lapsed: its owner may verify it
	case row.Verified.IsZero():
		return row.Created.Add(d.cfg.Pending)
	case !row.Failing.IsZero():
		next, ends := row.Checked.Add(d.cfg.Retry), row.Failing.Add(d.cfg.Grace)
		if row.Checked.Before(ends) && ends.Before(next) {
			return ends
		}
		return next
	case row.Problem != "":
		return row.Checked.Add(d.cfg.Retry)
	}
	return row.Checked.Add(d.cfg.Every - spread(row.Host, d.cfg.Every/8))
}

// round does what is due.
func (d *Domains) round(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	now := d.cfg.Now()
	for _, row := range d.cfg.Store.Domains("") {
		if due := d.due(row); due.IsZero() || due.After(now) {
			continue
		}
		if row.Verified.IsZero() {
			d.forget(ctx, row)
			continue
		}
		wg.Go(func() {
			_, err := d.check(ctx, edgeItself, row)
			if e := (*tunnel.Error)(nil); err != nil && ctx.Err() == nil && !(errors.As(err, &e) && e.Code == tunnel.CodeNotFound) {
				d.cfg.Logger.Error("check domain", "domain", row.Host, "err", err)
			}
		})
	}
}

// forget removes a wish that was not proven in time, unless it just was.
func (d *Domains) forget(ctx context.Context, row store.Domain) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := d.row(row.User, row.Host)
	if err != nil || now != row {
		return
	}
	if err := d.cfg.Store.RemoveDomain(ctx, edgeItself, row.User, row.Host); err != nil {
		d.cfg.Logger.Error("remove a domain that was never proven", "domain", row.Host, "err", err)
		return
	}
	delete(d.seen, holding{row.User, row.Host})
	d.cfg.Logger.Info("domain removed: it was never proven", "domain", row.Host, "user", row.User)
}

// spread returns something from 0 up to less than limit, always the same for a
// host: the checks of many hosts that were verified together drift apart.
func spread(host string, limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	h := uint64(14695981039346656037)
	for _, c := range []byte(host) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return time.Duration(h % uint64(limit))
}
