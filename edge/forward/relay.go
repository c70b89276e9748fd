package forward

import (
	"errors"
	"io"
	"sync"
)

// Connections that wait outnumber those that move bytes, so a copy waits with a
// small buffer and takes a large one while reads fill it.
const smallSize = 4 << 10

var smallBufs = sync.Pool{New: func() any { b := make([]byte, smallSize); return &b }}

// relay copies ahead and then src to dst, each piece at once, and passes the end
// of src on. It shows each piece to passed, and nothing once src has ended and dst
// does not know yet. It returns the error of whichever side had one. It holds no more than one buffer: while dst does not take what
// it is given, src is not read.
func relay(dst io.Writer, src io.Reader, ahead []byte, passed func([]byte)) (readErr, writeErr error) {
	if len(ahead) > 0 {
		passed(ahead)
		if _, err := dst.Write(ahead); err != nil {
			return nil, err
		}
	}
	small := smallBufs.Get().(*[]byte)
	defer smallBufs.Put(small)
	var large *[]byte
	defer func() {
		if large != nil {
			giveBuf(large)
		}
	}()
	buf := *small
	for {
		n, err := src.Read(buf)
		if n > 0 {
			passed(buf[:n])
			if _, err := dst.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			passed(nil)
			if cw, ok := dst.(interface{ CloseWrite() error }); ok {
				return nil, cw.CloseWrite()
			}
			return nil, nil
		case err != nil:
			return err, nil
		case n == len(buf) && len(buf) == copySize && (!settled(dst) || !settled(src)):
			copyBufs.Put(large)
			large = bulkBufs.Get().(*[]byte)
			buf = *large
		case n == smallSize && large == nil:
			large = copyBufs.Get().(*[]byte)
			buf = *large
		case n < smallSize/2 && large != nil:
			giveBuf(large)
			large, buf = nil, *small
			if s, ok := src.(interface{ Shrink() }); ok {
				s.Shrink() // an idle stream must not keep a window of memory
			}
		}
	}
}
