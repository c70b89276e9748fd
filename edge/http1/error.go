package http1

// An Error says why a message was refused. All of them are values made once, so
// refusing costs no memory, and they may be compared with ==.
//
// Status is the answer a client deserves. When the message came from the local
// service, its sender is not the one who gets the answer: use 502 and keep Code
// and Message.
type Error struct {
	Status  int
	Code    string // stable, for machines
	Message string // one plain sentence, without full stop
}

func (e *Error) Error() string { return e.Message }

const (
	codeSyntax    = "bad_request"
	codeAmbiguous = "ambiguous_framing"
	codeTooLarge  = "head_too_large"
	codeCoding    = "unknown_transfer_coding"
	codeVersion   = "http_version"
	codeHost      = "bad_host"
	codeChunk     = "bad_chunk"
	codeTrailer   = "bad_trailer"
	codeResponse  = "bad_response"
)

// What ParseRequest and ParseResponse refuse.
var (
	ErrNotHTTP         = &Error{400, codeSyntax, "the bytes are not HTTP/1"}
	ErrTLS             = &Error{400, codeSyntax, "the bytes are TLS, not plain HTTP"}
	ErrEmptyLines      = &Error{400, codeSyntax, "more than one empty line stands before the request"}
	ErrBareLF          = &Error{400, codeSyntax, "a line ends in LF without CR"}
	ErrRequestLine     = &Error{400, codeSyntax, "the request line is not method, target and version with one space between"}
	ErrMethod          = &Error{400, codeSyntax, "the method is not a token"}
	ErrTarget          = &Error{400, codeSyntax, "the request target is malformed"}
	ErrTargetByte      = &Error{400, codeSyntax, "the request target holds a space or control character"}
	ErrFold            = &Error{400, codeSyntax, "a header line is continued on the next line"}
	ErrFieldSpace      = &Error{400, codeSyntax, "whitespace stands before the colon of a header line"}
	ErrFieldName       = &Error{400, codeSyntax, "a header name is empty or not a token"}
	ErrFieldValue      = &Error{400, codeSyntax, "a header value holds a control character"}
	ErrConnection      = &Error{400, codeSyntax, "the Connection field lists too many names"}
	ErrUpgrades        = &Error{400, codeSyntax, "the Upgrade field is there more than once"}
	ErrNoHost          = &Error{400, codeHost, "the Host field is missing"}
	ErrHosts           = &Error{400, codeHost, "the Host field is there more than once"}
	ErrHost            = &Error{400, codeHost, "the host is malformed"}
	ErrLength          = &Error{400, codeAmbiguous, "the Content-Length is not a plain number"}
	ErrLengths         = &Error{400, codeAmbiguous, "the Content-Length is there more than once"}
	ErrLengthAndCoding = &Error{400, codeAmbiguous, "Content-Length and Transfer-Encoding stand together"}
	ErrCodings         = &Error{400, codeAmbiguous, "the Transfer-Encoding is empty or there more than once"}
	ErrCodingVersion   = &Error{400, codeAmbiguous, "HTTP/1.0 has no Transfer-Encoding"}
	ErrCoding          = &Error{501, codeCoding, "the only transfer coding understood is chunked"}
	ErrTargetTooLong   = &Error{414, codeTooLarge, "the request line is too long"}
	ErrHeadTooLarge    = &Error{431, codeTooLarge, "the header is too large"}
	ErrTooManyFields   = &Error{431, codeTooLarge, "the header has too many lines"}
	ErrVersion         = &Error{505, codeVersion, "the HTTP version is not 1.0 or 1.1"}
	ErrStatusLine      = &Error{400, codeResponse, "the status line is malformed"}
)

// What Body refuses.
var (
	ErrChunkSize    = &Error{400, codeChunk, "a chunk size is not a plain hexadecimal number"}
	ErrChunkExt     = &Error{400, codeChunk, "a chunk extension is too long or holds a control character"}
	ErrChunkEnd     = &Error{400, codeChunk, "a chunk does not end in CR LF"}
	ErrTrailer      = &Error{400, codeTrailer, "a trailer line is malformed"}
	ErrTrailerName  = &Error{400, codeTrailer, "a trailer line carries a name that belongs into the header"}
	ErrTrailerLarge = &Error{400, codeTrailer, "the trailer is too large"}
)
