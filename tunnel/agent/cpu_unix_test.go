//go:build unix

package agent

import (
	"syscall"
	"testing"
	"time"
)

// A cpuTimer reports CPU time an operation, which hardly moves with other
// load on the machine.
type cpuTimer time.Duration

func startCPU() cpuTimer { return cpuTimer(cpuTime()) }

func (t cpuTimer) report(b *testing.B) {
	used := cpuTime() - time.Duration(t)
	b.ReportMetric(float64(used.Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
