// Package store keeps the edge's users and their keys.
//
// A key is a bearer of its user's rights: "lrok_", 30 random characters and 6
// that are their check sum, all of them letters and digits. The check sum keeps
// what is no key from reaching the look-up, and lets scanners for leaked
// secrets recognise one that is.
//
// This store has one user, the administrator, whose key is a file in the data
// directory.
package store
