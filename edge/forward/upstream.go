package forward

import (
	"errors"
	"io"

	"github.com/lrok-dev/lrok/edge/http1"
)

// maxInterim is how many 1xx responses one request may get.
const maxInterim = 32

var (
	errInterim  = &http1.Error{Status: 502, Code: "bad_response", Message: "it sends one interim response after the other"}
	errSwitched = &http1.Error{Status: 502, Code: "bad_response", Message: "it switches protocols without being asked"}
)

// A front is an exchange as its front end sees it: [flight] or [request].
type front interface {
	interim(*http1.Response) error // passes a 1xx on
	mayUpgrade() bool
	moved() // a byte has come
}

// readAnswer reads from up into buf, or a larger one in its place, until resp is
// a final response head: m bytes of the n that were read. On an error n tells
// whether anything at all had come.
func (f *Forwarder) readAnswer(x front, up io.Reader, resp *http1.Response, buf, method []byte) (_ []byte, m, n int, err error) {
	seen := 0
	for {
		if n > 0 {
			m, err = http1.ParseResponse(resp, buf[:n], f.cfg.Limits, method)
			switch {
			case err != nil:
				return buf, 0, n, err
			case m > 0 && resp.Interim():
				if seen++; seen > maxInterim {
					return buf, 0, n, errInterim
				}
				if err := x.interim(resp); err != nil {
					return buf, 0, n, err
				}
				n = copy(buf, buf[m:n])
				continue
			case m > 0 && resp.Status == 101 && !x.mayUpgrade():
				return buf, 0, n, errSwitched
			case m > 0:
				return buf, m, n, nil
			}
		}
		if n == len(buf) {
			buf = append(buf, make([]byte, f.cfg.Limits.Head)...) // the parser knows the limit
		}
		k, err := up.Read(buf[n:])
		n += k
		if k == 0 && err != nil {
			if errors.Is(err, io.EOF) && n+seen > 0 {
				err = io.ErrUnexpectedEOF
			}
			return buf, 0, n + seen, err
		}
		x.moved()
	}
}
