package tunnel

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// The first byte of a connection says what it is for.
const (
	firstSession byte = 1
	firstBulk    byte = 2 // a further connection of a session; a token follows
)

// maxWelcome is the largest answer an agent reads.
const maxWelcome = 64 << 10

func writeHello(w io.Writer, h Hello) error {
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(body) > MaxHello {
		return &Error{
			Code:    CodeBadHello,
			Message: fmt.Sprintf("the tunnels asked for take %d bytes to describe, the limit is %d", len(body), MaxHello),
			Hint:    "start fewer tunnels with one agent",
		}
	}
	_, err = w.Write(append([]byte{firstSession}, withLength(body)...))
	return err
}

// readKind reads the first byte.
func readKind(r io.Reader) (byte, error) {
	var kind [1]byte
	if _, err := io.ReadFull(r, kind[:]); err != nil {
		return 0, err
	}
	if kind[0] != firstSession && kind[0] != firstBulk {
		return 0, &Error{
			Code:    CodeUnsupported,
			Message: fmt.Sprintf("this edge does not know connections of kind %d", kind[0]),
			Hint:    "update the edge",
		}
	}
	return kind[0], nil
}

// readHello checks the length before it takes memory.
func readHello(r io.Reader) (Hello, error) {
	var h Hello
	body, err := readLength(r, MaxHello)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return h, &Error{Code: CodeBadHello, Message: "the first frame is not a hello"}
	}
	if h.Version < MinVersion {
		return h, &Error{
			Code:    CodeVersion,
			Message: fmt.Sprintf("the agent speaks protocol version %d, this edge %d to %d", h.Version, MinVersion, Version),
			Hint:    "update lrok on this machine",
		}
	}
	return h, nil
}

func writeWelcome(w io.Writer, v Welcome) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxWelcome {
		return fmt.Errorf("welcome of %d bytes, the limit is %d", len(body), maxWelcome)
	}
	_, err = w.Write(withLength(body))
	return err
}

func readWelcome(r io.Reader) (Welcome, error) {
	var w Welcome
	body, err := readLength(r, maxWelcome)
	if err != nil {
		return w, err
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return w, fmt.Errorf("not a welcome: %w", err)
	}
	if w.Error != nil {
		return w, w.Error
	}
	if w.Version < MinVersion {
		return w, &Error{
			Code:    CodeVersion,
			Message: fmt.Sprintf("the edge speaks protocol version %d, this agent %d to %d", w.Version, MinVersion, Version),
			Hint:    "ask whoever runs the edge to update it",
		}
	}
	return w, nil
}

func withLength(body []byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	return append(b, body...)
}

func readLength(r io.Reader, limit int) ([]byte, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(b[:])
	if n > uint32(limit) {
		return nil, &Error{
			Code:    CodeBadHello,
			Message: fmt.Sprintf("a frame of %d bytes, the limit is %d", n, limit),
		}
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, noEOF(err)
	}
	return body, nil
}

// noEOF keeps an end in the middle of something from looking like a clean one.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
