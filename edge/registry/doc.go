// Package registry knows which tunnel answers for which host.
//
// A [Tunnel] is one session's hold on a name. It does not change while it is
// held, except that its session may end; when the agent comes back it gets a
// new Tunnel that goes on with the ring and the counters of the old one. Who
// forwards a request looks its host up each time and keeps nothing.
//
// Looking up takes no lock and allocates nothing. Everything that changes the
// registry is decided under one lock, and nothing that may wait (a ping, the
// farewell to an old session) happens inside it.
package registry
