package http1

import "io"

type scan struct{}

func ParseRequest(r *Request, b []byte, l Limits) (n int, err error) { return 0, ErrNotHTTP }
func ParseResponse(r *Response, b []byte, l Limits, reqMethod []byte) (n int, err error) {
	return 0, ErrNotHTTP
}
func (r *Request) Reset()  {}
func (r *Response) Reset() {}

// A Body follows a body while its raw bytes are passed on unchanged.
type Body struct{}

func (b *Body) Reset(f Framing, length int64) {}
func (b *Body) Scan(p []byte, data io.Writer) (n int, done bool, err error) {
	return 0, false, ErrChunkEnd
}
func (b *Body) EOF() error                                             { return nil }
func (b *Body) Done() bool                                             { return false }
func (b *Body) Size() int64                                            { return 0 }
func (b *Body) Left() int64                                            { return -1 } // known bytes to come, -1 unknown
func (b *Body) Trailer() []byte                                        { return nil }
func AppendChunkHeader(dst []byte, n int) []byte                       { return dst }
func AppendLastChunk(dst []byte, trailer []byte) []byte                { return dst }
func AppendHost[S []byte | string](dst []byte, host S) ([]byte, error) { return dst, ErrHost }
func CanonicalHost[S []byte | string](host S) (string, error)          { return "", ErrHost }
func HasToken(list []byte, token string) bool                          { return false }
