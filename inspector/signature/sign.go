package signature

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

// Pick returns the source that signs x: the one called name, or of the provider
// of that name, or for "" the one whose signature x carries. Where several fit,
// the one with the longest path counts.
func Pick(x *inspector.Exchange, sources []Source, name string) (Source, error) {
	found := candidates(x, sources, name)
	if len(found) > 0 {
		return found[0], nil
	}
	provider := name
	if name == "" {
		provider = Detect(x)
	}
	switch {
	case provider == "":
		return Source{}, errors.New("the request carries no signature that is known here; say whose it is to carry")
	case slices.Contains(Providers, provider):
		return Source{}, fmt.Errorf("no secret of %s is known here", provider)
	}
	return Source{}, fmt.Errorf("no secret is called %q", name)
}

// Sign returns changes with which the replay of x, changed by ch, carries a
// signature of now. The secret stays here: only its digest is in the changes.
func Sign(x *inspector.Exchange, ch inspector.Changes, src Source, now time.Time) (inspector.Changes, error) {
	if len(src.Secrets) == 0 {
		return ch, fmt.Errorf("no secret of %s is known here", src.Name)
	}
	r := changed(x, ch)
	if ch.Body == nil && incomplete(x) {
		return ch, errors.New("the body was not captured in full, so it cannot be signed")
	}
	first, carried := src.scheme(r)
	todo := []Scheme{first}
	if carried {
		todo = slices.DeleteFunc(slices.Clone(src.schemes()), func(s Scheme) bool { return len(r.values(s.Header)) == 0 })
	}
	ch.Set, ch.Remove = slices.Clone(ch.Set), slices.Clone(ch.Remove)
	set := func(name, value string) {
		if len(r.values(name)) > 1 {
			ch.Remove = append(ch.Remove, name) // Set would change the first of them only
		}
		ch.Set = slices.DeleteFunc(ch.Set, func(f inspector.Field) bool { return strings.EqualFold(f.Name, name) })
		ch.Set = append(ch.Set, inspector.Field{Name: name, Value: value})
	}
	for _, s := range todo {
		g := signed{time: strconv.FormatInt(now.Unix(), 10)}
		if v := r.values(s.Timestamp); len(v) > 0 && millis(v[0]) {
			g.time = strconv.FormatInt(now.UnixMilli(), 10)
		}
		if s.id != "" {
			// The id stays: it is the same message, sent again.
			if v := r.values(s.id); len(v) > 0 && v[0] != "" {
				g.id = v[0]
			} else {
				g.id = "msg_" + rand.Text()
				set(s.id, g.id)
			}
		}
		if s.Timestamp != "" {
			set(s.Timestamp, g.time)
		}
		var digests []string
		content := s.content(r, &g, r.body)
		for _, secret := range src.Secrets {
			key, err := s.key(secret.Value)
			if err != nil {
				return ch, fmt.Errorf("%s: %w", secret.From, err)
			}
			digests = append(digests, s.encode(digest(s.hash(), key, content)))
		}
		set(s.Header, s.write(&g, digests))
	}
	return ch, nil
}

// write lays the header out. Where it has room for several, each secret signs,
// as senders do while one is being changed.
func (s *Scheme) write(g *signed, digests []string) string {
	switch s.form {
	case stripe:
		return "t=" + g.time + ",v1=" + strings.Join(digests, ",v1=")
	case spaced:
		return "v1," + strings.Join(digests, " v1,")
	}
	return s.Prefix + digests[0]
}

// changed is the request that a replay of x with the changes is.
func changed(x *inspector.Exchange, ch inspector.Changes) *request {
	r := &request{method: x.Method, path: x.Path, header: x.Request.Header, body: x.Request.Body.Data}
	if ch.Method != "" {
		r.method = ch.Method
	}
	if ch.Path != "" {
		r.path = ch.Path
	}
	if ch.Header != nil {
		r.header = ch.Header
	}
	if ch.Body != nil {
		r.body = *ch.Body
	}
	r.header = slices.Clone(r.header)
	is := func(name string) func(inspector.Field) bool {
		return func(f inspector.Field) bool { return strings.EqualFold(f.Name, name) }
	}
	for _, name := range ch.Remove {
		r.header = slices.DeleteFunc(r.header, is(name))
	}
	for _, f := range ch.Set {
		if i := slices.IndexFunc(r.header, is(f.Name)); i >= 0 {
			r.header[i].Value = f.Value
		} else {
			r.header = append(r.header, f)
		}
	}
	return r
}

func incomplete(x *inspector.Exchange) bool {
	b := x.Request.Body
	return b.Truncated() || b.Missing != "" || int64(len(b.Data)) < b.Captured || x.State == inspector.Open && b.SHA256 == "" && b.Size > 0
}
