package domains

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/store"
)

const (
	// proofLabel stands in front of a host whose TXT records hold proofs, so that
	// they are in nobody's way.
	proofLabel  = "_lrok."
	proofPrefix = "lrok-verification="
	// maxHops is how many CNAMEs may follow one another.
	maxHops = 8
)

// A Resolver asks the DNS. [net.Resolver] is one; [DNS] makes one that tells
// what is not there from what could not be asked.
type Resolver interface {
	LookupCNAME(ctx context.Context, host string) (string, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// DNS returns a resolver that asks the server at addr, an IP address with or
// without a port. Without addr it asks the machine's own servers.
func DNS(addr string) (Resolver, error) {
	server := ""
	if addr != "" {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			host, port = strings.Trim(addr, "[]"), "53"
		}
		if net.ParseIP(host) == nil {
			return nil, fmt.Errorf("resolver %q is not an IP address with or without a port", addr)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, fmt.Errorf("resolver %q: %q is not a port", addr, port)
		}
		server = net.JoinHostPort(host, port)
	}
	return &net.Resolver{
		PreferGo: true,
		// Without it a name whose IPv6 half cannot be asked counts as one that is not
		// there.
		StrictErrors: true,
		Dial: func(ctx context.Context, network, to string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, cmp.Or(server, to))
			if err == nil {
				// The resolver itself waits for an answer also when ctx has ended.
				context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
			}
			return c, err
		},
	}, nil
}

// A finding is what one look into the DNS brought.
type finding struct {
	proven  bool
	unsure  bool   // not proven, but the DNS did not say so either
	problem string // in words for the owner, empty when proven
	records []Record
}

// An outcome is what one record's look brought.
type outcome struct {
	ok     bool
	unsure bool
	found  string
}

// lookUp looks for the records of row.
func (d *Domains) lookUp(ctx context.Context, row store.Domain) finding {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	f := finding{records: d.records(row)}
	route, proof := &f.records[0], &f.records[1]
	var way, token outcome
	var wg sync.WaitGroup
	wg.Go(func() { way = d.route(ctx, row.Host) })
	wg.Go(func() { token = d.proof(ctx, proof.Name, proof.Value) })
	wg.Wait()
	route.OK, route.Found = way.ok, way.found
	proof.OK, proof.Found = token.ok, token.found

	f.proven = way.ok && token.ok
	// One record that is surely gone is enough; the other may be unknown.
	f.unsure = !f.proven && (way.ok || way.unsure) && (token.ok || token.unsure)
	var problems []string
	for i, o := range []outcome{way, token} {
		if r := f.records[i]; !o.ok {
			problems = append(problems, fmt.Sprintf("%s %s: %s", r.Type, r.Name, o.found))
		}
	}
	f.problem = strings.Join(problems, "; ")
	return f
}

// route looks whether host leads to the edge: by a CNAME, or by the same
// addresses, for a host that cannot have a CNAME.
func (d *Domains) route(ctx context.Context, host string) outcome {
	end, err := d.follow(ctx, host, d.Target())
	switch {
	case err == nil && end == d.Target():
		return outcome{ok: true, found: "CNAME " + end}
	case missing(err):
		return outcome{found: "no such name, or nothing behind it"}
	case err != nil:
		return unknown(err)
	}
	mine, err := d.addresses(ctx, d.Target())
	if err != nil && !missing(err) {
		return unknown(err)
	}
	theirs, err := d.addresses(ctx, host)
	if err != nil && !missing(err) {
		return unknown(err)
	}
	found := ""
	if len(theirs) > 0 {
		found = "addresses " + list(theirs)
	}
	if end != host {
		found = strings.TrimSuffix("CNAME "+clean(end)+", "+found, ", ")
	}
	here := len(theirs) > 0
	for _, a := range theirs {
		here = here && slices.Contains(mine, a)
	}
	return outcome{ok: here, found: found}
}

// follow goes from CNAME to CNAME until it comes to target or to where none
// leads on. It asks for each: what a resolver calls the canonical name is the
// first one with some and the last one with others.
func (d *Domains) follow(ctx context.Context, host, target string) (end string, err error) {
	end = host
	for range maxHops {
		next, err := d.cfg.Resolver.LookupCNAME(ctx, end+".")
		if missing(err) && end != host {
			return end, nil // there is a CNAME, but it leads to nothing
		}
		if err != nil {
			return "", err
		}
		next = strings.ToLower(strings.TrimSuffix(next, "."))
		if next == end || next == "" || next == host { // the last: in a circle
			return end, nil
		}
		if end = next; end == target {
			return end, nil
		}
	}
	return end, nil
}

// addresses returns what name resolves to, in the form that Go writes.
func (d *Domains) addresses(ctx context.Context, name string) ([]string, error) {
	as, err := d.cfg.Resolver.LookupHost(ctx, name+".")
	slices.Sort(as)
	return slices.Compact(as), err
}

// proof looks for want among the TXT records of name.
func (d *Domains) proof(ctx context.Context, name, want string) outcome {
	texts, err := d.cfg.Resolver.LookupTXT(ctx, name+".")
	switch {
	case missing(err):
		return outcome{found: "no TXT record"}
	case err != nil:
		return unknown(err)
	}
	for _, s := range texts {
		// Some providers' forms keep the quotes that were typed.
		if strings.Trim(s, ` "`) == want {
			return outcome{ok: true, found: want}
		}
	}
	return outcome{found: list(texts)}
}

// missing reports whether the DNS said that there is no such record, as opposed
// to saying nothing.
func missing(err error) bool {
	e := (*net.DNSError)(nil)
	return errors.As(err, &e) && e.IsNotFound && !e.IsTimeout && !e.IsTemporary
}

func unknown(err error) outcome {
	why := "the DNS server failed"
	e := (*net.DNSError)(nil)
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) && e.IsTimeout {
		why = "no answer from the DNS"
	}
	return outcome{unsure: true, found: "could not look it up: " + why}
}

// list shows a few of the values that somebody's DNS holds.
func list(values []string) string {
	const most = 3
	var shown []string
	for i, v := range values {
		if i == most {
			shown = append(shown, fmt.Sprintf("and %d more", len(values)-most))
			break
		}
		shown = append(shown, clean(v))
	}
	return strings.Join(shown, ", ")
}

// clean makes a foreign value fit for a screen and a log.
func clean(s string) string {
	quoted := strconv.QuoteToASCII(shorten(s))
	if inner := quoted[1 : len(quoted)-1]; inner == s {
		return s
	}
	return quoted
}
