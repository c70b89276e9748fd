// Package tui is lrok's screen: the live list of what passes through a tunnel,
// each request in detail, and the loop of seeing it, replaying it, fixing it
// and comparing the results.
//
// # How it hangs together
//
// The screen is a client of the edge's API, like every other client; it holds
// no state that the edge does not have, except what a person did on it. Four
// rules keep it quick and safe:
//
//   - Nothing outside the program's loop sends to it. Whoever follows a tunnel
//     writes into the [feed], which never waits and drops the oldest when the
//     screen is away (in an editor, suspended); one command waits for its poke.
//   - Update does nothing slow. Loading, decoding, laying out and comparing are
//     commands; what they bring back carries the id and version it is for.
//   - View draws the rows that show and nothing else.
//   - Every piece of text goes through [line.put], which makes it harmless and
//     cuts it to the room there is. No other code writes to a row.
//
// model.go owns layout and focus and hands messages to the panes; a pane is a
// struct in its own file. Keys are a table in keys.go, from which the help and
// the hint bar are made. Colours are roles in styles.go.
package tui
