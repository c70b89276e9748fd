// Package store keeps what the edge must not forget: users, their keys,
// reserved names and domains, the audit log, and hourly usage.
//
// All of it is in one SQLite file, lrok.db in the data directory. A change is
// one transaction, its line in the audit log included, and is acknowledged
// after the disk has it. What the edge asks for on its way, such as whose a key
// is, is answered from a [snapshot] in memory that every change replaces: it
// waits for no disk, and goes on when the disk is full or the file damaged.
// [Store.Healthy] then says what is wrong.
//
// Another process, such as lrok admin, may have the same file open and change
// it: [Store.Run] notices within a second or two. Hence conflicts are decided in
// the file and never by the snapshot.
//
// A key is a bearer of its user's rights: "lrok_", 30 random characters and 6
// that are their check sum, all of them letters and digits. The check sum keeps
// what is no key from reaching the look-up, and lets scanners for leaked
// secrets recognise one that is. The store has a key's SHA-256 only: looking
// that up takes the same time for every wrong key. The first user's key is also
// in a file of the data directory, admin.key, for whoever runs the edge; it may
// be deleted.
package store
