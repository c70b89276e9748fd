package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A parameter is one of a route's query.
type parameter struct {
	name, kind, help string
}

// checkQuery refuses what the route does not know: a misspelt filter would show
// everything.
func checkQuery(r *http.Request, known []parameter) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("the query cannot be read", "encode it: a=1&b=%3B")
	}
	var names []string
	for _, p := range known {
		names = append(names, p.name)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(names, name):
			hint := "this route has no parameters"
			if n := nearest(name, names); n != "" {
				hint = "did you mean " + n + "?"
			} else if len(names) > 0 {
				hint = "it knows " + strings.Join(names, ", ")
			}
			return badRequest("there is no parameter "+quote(name), hint)
		case len(values) > 1:
			return badRequest("the parameter "+name+" is there twice", "")
		}
	}
	return nil
}

// number returns a query parameter that is a whole number, 0 when it is not
// there.
func number(r *http.Request, name string) (uint64, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, badRequest(fmt.Sprintf("%s=%s is not a whole number", name, quote(s)), "")
	}
	return n, nil
}

// maxPage is how many entries of a list are given at once.
const maxPage = 1000

// pages are the parameters of a list that is read page by page.
var pages = []parameter{
	{"limit", "integer", fmt.Sprintf("at most so many, and never more than %d", maxPage)},
	{"after", "string", "go on behind a page: the value is in the Link header of that page, relation next"},
}

// answerPage sends the part of all that the query asks for. They are in the
// order of their place, a text that tells entries apart; what is added or
// removed between two pages moves no other entry.
func answerPage[T any](w http.ResponseWriter, r *http.Request, all []T, place func(T) string) error {
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	if limit == 0 || limit > maxPage {
		limit = maxPage
	}
	slices.SortStableFunc(all, func(a, b T) int { return strings.Compare(place(a), place(b)) })
	q := r.URL.Query()
	if after := q.Get("after"); after != "" {
		i, found := slices.BinarySearchFunc(all, after, func(x T, at string) int { return strings.Compare(place(x), at) })
		if found {
			i++
		}
		all = all[i:]
	}
	if uint64(len(all)) > limit {
		all = all[:limit]
		q.Set("after", place(all[limit-1]))
		u := url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
		w.Header().Set("Link", "<"+u.String()+`>; rel="next"`)
	}
	if all == nil {
		all = []T{}
	}
	answer(w, all)
	return nil
}
