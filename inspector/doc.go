// Package inspector keeps what passed through a tunnel: the exchange, the ring
// of the last hundred, the recorder that fills it and the events that tell of
// it.
//
// The rule everything here follows: the inspector never makes a request wait.
// The recorder appends to bounded memory and drops what does not fit; watchers
// read from the ring at their own pace and learn from a gap that they were too
// slow.
package inspector
