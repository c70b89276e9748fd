// Package trim gives memory back to the system.
package trim

import (
	"runtime"
	"runtime/debug"
)

// Memory gives back what a process has needed and may never need again: what is
// garbage now, and the pages of the program itself that only its start, or
// whatever has just ended, went through. What it does need comes back by itself,
// from the file, a few microseconds for each 64 KiB. It takes some milliseconds
// of one CPU and stops nobody, but is for moments when little else happens.
func Memory() {
	// Twice: what lies in a pool outlives one collection, and each collection
	// halves the stacks that are mostly empty.
	runtime.GC()
	debug.FreeOSMemory()
	forgetProgram()
}
