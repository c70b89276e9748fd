// Package control is where agents connect: it reads who they are and what they
// want, asks the store and the registry, and runs their sessions.
//
// Until a key was accepted a connection is a stranger's: it has five seconds for
// its first frame, takes one of a bounded number of places, and a key that is
// refused is answered the later the more often that happened from its address.
package control
