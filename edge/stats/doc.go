// Package stats counts for whoever runs the edge.
//
// The tunnels count for themselves, in the hot path and with nothing but atomic
// adds. [Stats] reads those counters each minute and when a tunnel is gone, and
// adds what came since to the hours in the store; [Stats.Metrics] reads them
// when Prometheus asks. Neither costs a request anything.
//
// Events go to PostHog only when there is a key and somebody has turned
// analytics on: without both no client is made and nothing leaves the machine.
package stats
