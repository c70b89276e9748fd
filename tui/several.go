package tui

import (
	"context"
	"slices"
	"sync"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// several asks one edge after the other for a capture: its id is the only one of
// that kind, whoever made it. What goes by the name of a tunnel is not for it:
// two edges may have the same.
type several struct {
	API // of none

	mu   sync.Mutex
	list []API
}

// set says which edges there are.
func (s *several) set(list []API) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = list
}

func (s *several) all() []API {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// ask returns the first answer, or why there is none: that no edge has the capture
// only when all of them say so.
func ask[T any](s *several, f func(API) (T, error)) (v T, err error) {
	err = &tunnel.Error{Code: tunnel.CodeNotFound, Message: "no edge is known that has it"}
	for _, a := range s.all() {
		got, e := f(a)
		if e == nil {
			return got, nil
		}
		if isGone(err) {
			err = e
		}
	}
	return v, err
}

func (s *several) Exchange(ctx context.Context, id string) (inspector.Exchange, error) {
	return ask(s, func(a API) (inspector.Exchange, error) { return a.Exchange(ctx, id) })
}

func (s *several) Beginning(ctx context.Context, id string) (inspector.Exchange, error) {
	return ask(s, func(a API) (inspector.Exchange, error) { return a.Beginning(ctx, id) })
}

func (s *several) Complete(ctx context.Context, x *inspector.Exchange, progress func(response bool, n int)) error {
	_, err := ask(s, func(a API) (any, error) { return nil, a.Complete(ctx, x, progress) })
	return err
}

func (s *several) Follow(ctx context.Context, x *inspector.Exchange) error {
	_, err := ask(s, func(a API) (any, error) { return nil, a.Follow(ctx, x) })
	return err
}

// Replay goes to the edge that has the capture and to no other: what was changed
// may be secret.
func (s *several) Replay(ctx context.Context, id string, ch inspector.Changes) (inspector.Exchange, error) {
	owner, err := ask(s, func(a API) (API, error) {
		_, err := a.Beginning(ctx, id)
		return a, err
	})
	if err != nil {
		return inspector.Exchange{}, err
	}
	return owner.Replay(ctx, id, ch)
}
