// Package domains serves hosts of the users' own.
//
// A user adds a host, sets two DNS records and has them verified: a CNAME (or
// addresses) that brings visitors to the edge, and a TXT record with a token
// that shows whose the host is. The token belongs to one user and one host, so
// that several users may wait for the same host and none can pass with the
// records of another; the first who proves it has it, until it is given up or
// its proof is gone.
//
// A proof is looked up again each day. When the DNS says that it is gone, the
// host is looked up each hour and goes on being served for a grace period;
// after that it has lapsed, its tunnels end and it is free for others. An answer
// that never came says nothing: servers that fail or do not answer take no host
// from anybody.
//
// Everything is looked up through the [Resolver], and nothing is ever dialled:
// what a stranger's DNS says must not lead the edge anywhere.
package domains
