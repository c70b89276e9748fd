// Package crash lets a panic end the process in order. A program that draws on
// the whole terminal has changed it; a panic in any goroutine would leave it so,
// with the reason in a place that nobody sees.
package crash

import (
	"sync"
	"time"
)

var (
	mu    sync.Mutex
	hooks = map[*func()]bool{}
)

// Before has f called when a panic that [Guard] sees is about to end the
// process, until the function that it returns is called.
func Before(f func()) (forget func()) {
	mu.Lock()
	defer mu.Unlock()
	hooks[&f] = true
	return func() {
		mu.Lock()
		defer mu.Unlock()
		delete(hooks, &f)
	}
}

// patience is how long the process outlives a panic for the hooks' sake.
const patience = 2 * time.Second

// Guard is deferred by goroutines. It changes nothing about a panic but what is
// done before.
func Guard() {
	r := recover()
	if r == nil {
		return
	}
	mu.Lock()
	all := hooks
	hooks = map[*func()]bool{}
	mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range all {
			(*f)()
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
	}
	panic(r)
}

// Go starts f as [sync.WaitGroup.Go] does, guarded.
func Go(wg *sync.WaitGroup, f func()) {
	wg.Go(func() {
		defer Guard()
		f()
	})
}
