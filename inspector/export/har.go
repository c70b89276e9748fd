package export

import "github.com/lrok-dev/lrok/inspector"

// HAR writes xs as an HTTP archive, version 1.2. Response bodies are decoded as
// browsers do; bodies that are not text are base64.
func HAR(xs []inspector.Exchange, o Options) ([]byte, error) { return nil, nil }

// ParseHAR reads an HTTP archive, one of ours or a browser's, as exchanges
// numbered from 1. A response body comes decoded, whatever its Content-Encoding
// says, because archives hold it so.
func ParseHAR(data []byte) ([]inspector.Exchange, error) { return nil, nil }
