package tui

import (
	"context"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// A keeper is an edge with one capture, or none.
type keeper struct {
	API
	id   string
	sent []string // ids of what it was asked to replay
}

func (k *keeper) Beginning(_ context.Context, id string) (inspector.Exchange, error) {
	if id != k.id {
		return inspector.Exchange{}, &tunnel.Error{Code: tunnel.CodeNotFound, Message: "no such capture"}
	}
	return inspector.Exchange{ID: id}, nil
}

func (k *keeper) Replay(_ context.Context, id string, _ inspector.Changes) (inspector.Exchange, error) {
	k.sent = append(k.sent, id)
	return inspector.Exchange{ID: "req_2", ReplayOf: id}, nil
}

// An edited request goes to the edge that has its original, and no other sees it.
func TestReplayGoesToOneEdge(t *testing.T) {
	other, owner := &keeper{id: "req_9"}, &keeper{id: "req_1"}
	var s several
	s.set([]API{other, owner})
	body := []byte("secret")
	if x, err := s.Replay(t.Context(), "req_1", inspector.Changes{Body: &body}); err != nil || x.ReplayOf != "req_1" {
		t.Errorf("Replay = %+v, %v", x, err)
	}
	if len(other.sent) != 0 || len(owner.sent) != 1 {
		t.Errorf("%d replays reached the other edge and %d the owner, want 0 and 1", len(other.sent), len(owner.sent))
	}
	if _, err := s.Replay(t.Context(), "req_3", inspector.Changes{}); !isGone(err) {
		t.Errorf("Replay of what nobody has = %v", err)
	}
}
