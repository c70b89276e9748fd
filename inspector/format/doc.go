// Package format makes captured bytes readable: it decodes, recognises, lays
// out and cleans what passed through a tunnel, for a terminal, a page or a
// file.
//
// Everything here is a pure function of bytes from outside, and every such byte
// is taken for hostile: work and memory are bounded whatever a body holds, and
// text only reaches a terminal through [Sanitize] and its siblings.
//
// A body goes through the package in this order: [Decode] undoes the content
// coding, [Sniff] says what it is, and one of [Pretty], [NewLines], [Form],
// [Multipart], [EventStream], [Image] or [HexRow] lays it out. The big ones,
// Pretty and Lines, copy nothing: they index the body and render the lines that
// are asked for.
package format
