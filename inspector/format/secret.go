package format

// SecretHeader reports whether the value of the header named name is a secret
// that screens mask and exports leave out: credentials, cookies, signatures.
func SecretHeader(name string) bool { return false }

// SecretParam reports the same of a query or form parameter.
func SecretParam(name string) bool { return false }

// Mask writes a secret header value for a screen: its first four characters and
// dots, or dots alone when it is short. An authorization scheme, the names of
// cookies and what a signature header holds beside the signature stay readable.
func Mask(name, value string) string { return "" }

// Redact is Mask for files: nothing of the secret is left, and the result is
// plain ASCII that may stand in a header.
func Redact(name, value string) string { return "" }

// RedactTarget replaces the values of secret parameters in a request target or
// URL and leaves all other bytes as they are.
func RedactTarget(target string) string { return target }
