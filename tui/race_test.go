//go:build race

package tui

const raceEnabled = true

// slack is how much more than its budget a thing may take: the race detector
// costs ten times the time.
const slack = 30
