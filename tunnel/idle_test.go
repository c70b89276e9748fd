package tunnel

import (
	"runtime"
	"testing"
)

// An edge holds thousands of sessions that do nothing.
func TestIdleSession(t *testing.T) {
	const pairs = 20
	memory := func() int64 {
		runtime.GC()
		runtime.GC() // pools take two
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	newPair(t, nil, nil) // what is made once
	before, had := runtime.NumGoroutine(), memory()
	ps := make([]*pair, pairs)
	for i := range ps {
		ps[i] = newPair(t, nil, nil)
		if _, err := ps[i].edge.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Each half has Run and the two of yamux.
	eventually(t, "six goroutines for each pair", func() bool { return runtime.NumGoroutine()-before <= 6*pairs })
	if has := (memory() - had) / pairs >> 10; has > 160 {
		t.Errorf("a pair takes %d KiB, want at most 160", has)
	} else {
		t.Logf("%d KiB a pair", has)
	}
}
