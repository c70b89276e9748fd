// Package client speaks to an edge's API: over HTTPS, or over streams of an
// agent's own connection, so that whoever reaches the edge's control port can
// do everything.
//
// The shapes of the API's JSON that are not shared nouns already are declared
// here, and the server uses them too.
package client
