// Package certs finds the certificate for a TLS handshake. It consumes
// certificates and orders none.
//
// A [Source] answers from an immutable set behind an atomic pointer; its Run
// watches what the set was made from and puts a new one in its place. [Traefik]
// reads acme.json, [Dir] a directory of PEM files, [Files] pairs of them, and
// [Join] serves the best of several sources. [Dev] is an authority of the edge's
// own for machines that have no certificates.
//
// # Which certificate
//
// A name is compared in lower case, without a dot at its end and in ASCII, with
// the names in the certificate and nothing else. Of those that cover it and that
// the client can check, these are preferred, in this order: one that is valid
// now, one that names the host itself and not by a wildcard, the one that ends
// last, ECDSA before RSA, and then always the same one. Without any, the client
// gets the alert unrecognized_name and [Unrecognized] counts it; it never gets
// the certificate of another name. A client that says no name gets a certificate
// for the address that it dialled, or the only one there is.
//
// # What may replace what
//
// Files are read at events of the file system, every 30 seconds without, and
// when [Source] Reload is called. A file that is being written is read again.
//
//   - A file that is empty, missing, unreadable or no JSON changes nothing. It is
//     read again after 100 ms, 250 ms, 500 ms, 1 s, 2 s and 5 s, and then at each
//     look.
//   - A file without a usable certificate does not replace one that is valid.
//   - An expired certificate does not replace a valid one.
//   - Each entry stands alone: one that cannot be used is reported, what it gave
//     before is served on, and the others are used.
//   - Names that are gone from the files are served for 10 seconds more, until
//     the files have been the same for that long.
//
// What is wrong is logged once, when it lasts, and stays in [Status]. A
// certificate that no other makes up for is warned of once a day from 14 days
// before its end, and from 3 days on as an error.
//
// # What is not done
//
// No source writes what it reads. Of acme.json only the certificates are parsed:
// the key of Traefik's ACME account is skipped where it stands, the text is
// cleared after use, and neither errors nor logs hold any of it.
package certs
