// Package certs finds the certificate for a TLS handshake.
//
// A [Source] answers from an immutable set behind an atomic pointer; its Run
// watches what the set was made from and puts a new one in its place. A reload
// that fails keeps the set that works.
//
// [Dev] is an authority of the edge's own for machines that have no
// certificates; [Files] reads pairs of PEM files.
package certs
