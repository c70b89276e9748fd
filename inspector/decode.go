package inspector

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// A decoder reads the exchanges of an event stream. There may be a thousand a
// second, much alike, and all of them are kept: it reads what [ServeEvents] writes
// in one pass, keeps texts that come again once, and leaves everything that is
// written in another way to encoding/json, which it never contradicts.
type decoder struct {
	data   []byte
	at     int
	odd    bool // it is written in another way
	buf    []byte
	fields []Field
	seen   map[string]string
}

// decode returns the exchange that data is.
func (d *decoder) decode(data []byte) (*Exchange, error) {
	x := &Exchange{}
	d.data, d.at, d.odd = data, 0, false
	d.exchange(x)
	if !d.odd && d.at == len(data) {
		return x, nil
	}
	x = &Exchange{}
	return x, json.Unmarshal(data, x)
}

func (d *decoder) exchange(x *Exchange) {
	d.object(func(name []byte) {
		switch string(name) {
		case "id":
			x.ID = string(d.bytes()) // there is no other of it
		case "number":
			x.Number = d.unsigned()
		case "version":
			x.Version = d.unsigned()
		case "tunnel":
			x.Tunnel = d.text()
		case "replayOf":
			x.ReplayOf = d.text()
		case "state":
			x.State = State(d.text())
		case "kind":
			x.Kind = Kind(d.text())
		case "method":
			x.Method = d.text()
		case "path":
			x.Path = d.text()
		case "scheme":
			x.Scheme = d.text()
		case "host":
			x.Host = d.text()
		case "proto":
			x.Proto = d.text()
		case "remote":
			x.Remote = d.text()
		case "tls":
			x.TLS = d.text()
		case "event":
			x.Event = d.text()
		case "status":
			x.Status = int(d.integer())
		case "reason":
			x.Reason = d.text()
		case "request":
			d.message(&x.Request)
		case "response":
			d.message(&x.Response)
		case "interim":
			d.statuses(&x.Interim)
		case "timing":
			d.timing(&x.Timing)
		case "endedBy":
			x.EndedBy = d.text()
		case "error":
			x.Error = d.text()
		case "detail":
			x.Detail = d.text()
		default:
			d.odd = true
		}
	})
}

func (d *decoder) message(m *Message) {
	d.object(func(name []byte) {
		switch string(name) {
		case "header":
			d.list(&m.Header)
		case "trailer":
			d.list(&m.Trailer)
		case "body":
			d.body(&m.Body)
		default:
			d.odd = true
		}
	})
}

func (d *decoder) body(b *Body) {
	d.object(func(name []byte) {
		switch string(name) {
		case "size":
			b.Size = d.integer()
		case "captured":
			b.Captured = d.integer()
		case "sha256":
			b.SHA256 = string(d.bytes())
		case "missing":
			b.Missing = d.text()
		case "items":
			b.Items = d.integer()
		case "last":
			b.Last = time.Duration(d.integer())
		default:
			d.odd = true
		}
	})
}

func (d *decoder) timing(t *Timing) {
	d.object(func(name []byte) {
		switch string(name) {
		case "accepted":
			start := d.at
			d.bytes()
			if d.odd || t.Accepted.UnmarshalJSON(d.data[start:d.at]) != nil {
				d.odd = true
			}
		case "streamOpen":
			t.StreamOpen = time.Duration(d.integer())
		case "reused":
			t.Reused = d.word("true")
			d.odd = d.odd || !t.Reused && !d.word("false")
		case "dial":
			t.Dial = time.Duration(d.integer())
		case "firstByte":
			t.FirstByte = time.Duration(d.integer())
		case "done":
			t.Done = time.Duration(d.integer())
		default:
			d.odd = true
		}
	})
}

// list reads header lines. Twice the same list would be merged by encoding/json.
func (d *decoder) list(out *[]Field) {
	if *out != nil {
		d.odd = true
	}
	if d.word("null") {
		return
	}
	d.fields = d.fields[:0]
	d.take('[')
	for more := !d.word("]"); more && !d.odd; more = d.more(']') {
		var f Field
		d.object(func(name []byte) {
			switch string(name) {
			case "name":
				f.Name = d.text()
			case "value":
				f.Value = d.text()
			default:
				d.odd = true
			}
		})
		d.fields = append(d.fields, f)
	}
	*out = append(make([]Field, 0, len(d.fields)), d.fields...)
}

func (d *decoder) statuses(out *[]int) {
	d.odd = d.odd || *out != nil
	d.take('[')
	list := []int{}
	for more := !d.word("]"); more && !d.odd; more = d.more(']') {
		list = append(list, int(d.integer()))
	}
	*out = list
}

// object calls member behind each name of an object.
func (d *decoder) object(member func(name []byte)) {
	d.take('{')
	for more := !d.word("}"); more && !d.odd; more = d.more('}') {
		name := d.bytes()
		d.take(':')
		member(name)
	}
}

// more takes what stands behind a member and reports whether another follows.
func (d *decoder) more(end byte) bool {
	if !d.odd && d.at < len(d.data) && d.data[d.at] == end {
		d.at++
		return false
	}
	d.take(',')
	return !d.odd
}

func (d *decoder) take(c byte) {
	if d.at >= len(d.data) || d.data[d.at] != c {
		d.odd = true
		return
	}
	d.at++
}

// word takes s, if that is what follows.
func (d *decoder) word(s string) bool {
	if d.odd || !bytes.HasPrefix(d.data[d.at:], []byte(s)) {
		return false
	}
	d.at += len(s)
	return true
}

func (d *decoder) unsigned() (n uint64) {
	start := d.at
	for d.at < len(d.data) && d.data[d.at]-'0' <= 9 {
		n = n*10 + uint64(d.data[d.at]-'0')
		d.at++
	}
	// Eighteen digits fit into any of our numbers.
	if digits := d.at - start; digits == 0 || digits > 18 || digits > 1 && d.data[start] == '0' {
		d.odd = true
	}
	return n
}

func (d *decoder) integer() int64 {
	if d.word("-") {
		return -int64(d.unsigned())
	}
	return int64(d.unsigned())
}

// most of how many texts are remembered, and of how long they are.
const (
	mostSeen = 2048
	longText = 128
)

// text is a string that may well come again.
func (d *decoder) text() string {
	b := d.bytes()
	if len(b) > longText {
		return string(b)
	}
	s, ok := d.seen[string(b)]
	if !ok {
		if d.seen == nil || len(d.seen) >= mostSeen {
			d.seen = make(map[string]string)
		}
		s = string(b)
		d.seen[s] = s
	}
	return s
}

// bytes takes a string. They are good until the next one.
func (d *decoder) bytes() []byte {
	d.take('"')
	if d.odd {
		return nil
	}
	start := d.at
	ascii := true
	for d.at < len(d.data) {
		switch c := d.data[d.at]; {
		case c == '"':
			b := d.data[start:d.at]
			d.at++
			if !ascii && !utf8.Valid(b) {
				d.odd = true
			}
			return b
		case c == '\\':
			return d.unescape(start)
		case c < ' ':
			d.odd = true
			return nil
		default:
			ascii = ascii && c < utf8.RuneSelf
			d.at++
		}
	}
	d.odd = true
	return nil
}

// unescape is bytes from the first backslash on.
func (d *decoder) unescape(start int) []byte {
	d.buf = append(d.buf[:0], d.data[start:d.at]...)
	for d.at < len(d.data) {
		c := d.data[d.at]
		d.at++
		switch {
		case c == '"':
			d.odd = d.odd || !utf8.Valid(d.buf)
			return d.buf
		case c < ' ':
			d.odd = true
			return nil
		case c != '\\':
			d.buf = append(d.buf, c)
			continue
		}
		if d.at >= len(d.data) {
			break
		}
		c = d.data[d.at]
		d.at++
		switch c {
		case '"', '\\', '/':
			d.buf = append(d.buf, c)
		case 'n':
			d.buf = append(d.buf, '\n')
		case 'r':
			d.buf = append(d.buf, '\r')
		case 't':
			d.buf = append(d.buf, '\t')
		case 'u':
			r := d.hex4()
			if r >= 0xd800 && r < 0xe000 {
				d.odd = true // one of two
			}
			d.buf = utf8.AppendRune(d.buf, r)
		default:
			d.odd = true
		}
		if d.odd {
			return nil
		}
	}
	d.odd = true
	return nil
}

func (d *decoder) hex4() (r rune) {
	if d.at+4 > len(d.data) {
		d.odd = true
		return 0
	}
	for _, c := range d.data[d.at : d.at+4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			d.odd = true
			return 0
		}
		r = r<<4 | rune(c)
	}
	d.at += 4
	return r
}
