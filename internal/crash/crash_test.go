package crash

import (
	"slices"
	"testing"
)

// A panic goes on as it was, after those who asked for it were called once.
func TestGuard(t *testing.T) {
	var called []string
	Before(func() { called = append(called, "first") })
	Before(func() { called = append(called, "forgotten") })()
	fall := func() (r any) {
		defer func() { r = recover() }()
		defer Guard()
		panic("fell over")
	}
	for range 2 {
		if r := fall(); r != "fell over" {
			t.Errorf("recovered %v, want what was panicked with", r)
		}
	}
	if !slices.Equal(called, []string{"first"}) {
		t.Errorf("called %v, want first alone, once", called)
	}
}

func TestGuardOfWhatEnds(t *testing.T) {
	called := false
	forget := Before(func() { called = true })
	defer forget()
	func() { defer Guard() }()
	if called {
		t.Error("a goroutine that ended called the hooks")
	}
}
