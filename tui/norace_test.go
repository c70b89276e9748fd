//go:build !race

package tui

const raceEnabled = false

// slack is how much more than its budget a thing may take.
const slack = 3
