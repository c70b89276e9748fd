package format

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// A Proto is a protocol buffers message, read without its schema.
//
// Its JSON is an object from field numbers to values, in the order in which the
// fields first came; a field that came more than once is an array. What the wire
// does not tell is guessed. A field with a length is text where it is valid UTF-8
// without control characters, else a message if all of it reads as one, else a
// few packed numbers if it looks like nothing else, else bytes, as "0x…". Four
// and eight bytes are a float where that gives a number as people write them.
type Proto struct {
	JSON    []byte
	Remarks []Remark // what JSON has no place for, by where it is in there
	Err     error    // why JSON has less than the data
}

// A Remark is a word about the line of a [Document] that begins at an offset.
type Remark struct {
	At   int
	Text string
}

const (
	// maxFields bounds the fields of a message, those of messages in it included.
	maxFields = 200_000
	// maxNested is how deep messages are looked for in messages; protobuf itself
	// stops at 100.
	maxNested = 100
	// maxProto bounds the JSON that is made of a message.
	maxProto = MaxDocument - 64<<10
	// longBytes is how many bytes stand in JSON as they are. Of more there is the
	// beginning and a digest, so that two of them still differ.
	longBytes = 1024
	// maxPacked is how many bytes may be small numbers one after the other.
	maxPacked = 4096
)

var (
	errProtoCut    = errors.New("it ends within a field")
	errProtoZero   = errors.New("no field has the number 0")
	errProtoNumber = errors.New("a field number over 536,870,911")
	errProtoWire   = errors.New("wire types 6 and 7 do not exist")
	errProtoVarint = errors.New("a number of more than ten bytes")
	errProtoGroup  = errors.New("the end of a group that did not begin")
	errProtoDeep   = errors.New("groups nested too deeply")
	errProtoMany   = errors.New("more than " + Count(maxFields) + " fields")
	errProtoLarge  = errors.New("more than " + Bytes(maxProto) + " as JSON")
)

// Protobuf reads a message; cut says that data is only its beginning. Whatever
// data is, the result is valid JSON with what could be read, and Err says what
// could not.
func Protobuf(data []byte, cut bool) Proto {
	return protobuf(data, cut, maxProto)
}

func protobuf(data []byte, cut bool, most int) Proto {
	w := protoWriter{most: most}
	w.message(data, cut, 0, true)
	return Proto{JSON: w.out, Remarks: w.remarks, Err: w.err}
}

// The wire types.
const (
	wireVarint = iota
	wireFixed64
	wireBytes
	wireGroup
	wireEnd
	wireFixed32
)

// A protoField is a field and where its payload lies.
type protoField struct {
	number     uint32
	wire       uint8
	cut        bool // the data ends within it
	sloppy     bool // a number in it is longer than it has to be
	start, end int
	next       int32 // the next one with its number, 0 for none
}

// nextField reads the field that begins at data[at]. With errProtoCut there may
// still be the beginning of a payload, if cut is set.
func nextField(data []byte, at, depth int) (f protoField, end int, err error) {
	tag, n, err := varint(data[at:])
	if err != nil {
		return f, at, err
	}
	f.sloppy = n > 1 && data[at+n-1] == 0
	at += n
	switch number := tag >> 3; {
	case number == 0:
		return f, at, errProtoZero
	case number > 1<<29-1:
		return f, at, errProtoNumber
	default:
		f.number, f.wire = uint32(number), uint8(tag&7)
	}
	f.start = at
	size := 0
	switch f.wire {
	case wireVarint:
		_, n, err := varint(data[at:])
		if err != nil {
			return f, at, err
		}
		f.sloppy = f.sloppy || n > 1 && data[at+n-1] == 0
		size = n
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireBytes:
		n, k, err := varint(data[at:])
		if err != nil {
			return f, at, err
		}
		f.sloppy = f.sloppy || k > 1 && data[at+k-1] == 0
		at += k
		f.start = at
		if n > uint64(len(data)-at) {
			f.cut, f.end = true, len(data)
			return f, at, errProtoCut
		}
		size = int(n)
	case wireGroup:
		if depth >= maxNested {
			return f, at, errProtoDeep
		}
		for {
			in, next, err := nextField(data, at, depth+1)
			if err == errProtoGroup && in.number == f.number {
				f.end = in.start
				return f, next, nil
			}
			if err != nil {
				f.cut, f.end = err == errProtoCut, len(data)
				return f, at, err
			}
			f.sloppy = f.sloppy || in.sloppy
			at = next
		}
	case wireEnd:
		f.start = at - n // where the group's payload ends
		return f, at, errProtoGroup
	default:
		return f, at, errProtoWire
	}
	if size > len(data)-at {
		return f, at, errProtoCut
	}
	f.end = at + size
	return f, f.end, nil
}

func varint(data []byte) (v uint64, n int, err error) {
	switch v, n = binary.Uvarint(data); {
	case n == 0:
		return 0, 0, errProtoCut
	case n < 0:
		return 0, 0, errProtoVarint
	}
	return v, n, nil
}

// readsAsMessage reports whether all of data reads as fields such as programs
// write them, or, if it is cut, all that is there does.
func readsAsMessage(data []byte, cut bool) bool {
	for at := 0; at < len(data); {
		f, next, err := nextField(data, at, 0)
		switch {
		case err == errProtoCut && cut:
			return at > 0 || f.start > 0
		case err != nil, f.sloppy:
			return false
		case f.number >= 19_000 && f.number < 20_000: // nobody may have these
			return false
		case f.number > 1<<15 && f.wire != wireBytes: // extensions are messages or text
			return false
		}
		at = next
	}
	return true
}

// isPlainText reports whether data is text without control characters. What is
// cut may end within a letter.
func isPlainText(data []byte, cut bool) bool {
	for i := 0; i < len(data); {
		c := data[i]
		if c < utf8.RuneSelf {
			if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return cut && !utf8.FullRune(data[i:])
		}
		if r < 0xa0 {
			return false // C1
		}
		i += n
	}
	return true
}

// A guess is what a field with a length is taken for.
type guess uint8

const (
	guessText guess = iota
	guessMessage
	guessOne // each one for itself, but none for a message
)

// guesses says what all the fields of one number are: they have one type. The
// empty ones go with the others.
func guesses(data []byte, all []protoField, first int, deep bool) guess {
	texts, messages, tagged, empty := true, !deep, true, true
	for i := first; ; {
		f := &all[i]
		if p := data[f.start:f.end]; f.wire == wireBytes && len(p) > 0 {
			empty = false
			// A message whose first field is a text begins as a line end does, and
			// a text seldom.
			tagged = tagged && p[0] == '\n'
			texts = texts && isPlainText(p, f.cut)
			messages = messages && readsAsMessage(p, f.cut)
			if !texts && !messages {
				return guessOne
			}
		}
		if i = int(f.next); i == 0 {
			break
		}
	}
	switch {
	case messages && !empty && (tagged || !texts):
		return guessMessage
	case texts:
		return guessText
	}
	return guessOne
}

// A protoWriter makes the JSON.
type protoWriter struct {
	out     []byte
	remarks []Remark
	most    int
	fields  int
	err     error
}

func (w *protoWriter) remark(at int, text string) {
	w.remarks = append(w.remarks, Remark{at, text})
}

func (w *protoWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// message writes data as an object.
func (w *protoWriter) message(data []byte, cut bool, depth int, top bool) {
	w.out = append(w.out, '{')
	defer func() { w.out = append(w.out, '}') }()
	all := make([]protoField, 0, min(len(data)/4+1, 64))
	type chain struct{ first, last, n int }
	var order []chain
	var chains map[uint32]int // into order, once there are too many to look through
	find := func(number uint32) int {
		if chains != nil {
			if i, ok := chains[number]; ok {
				return i
			}
			return -1
		}
		for i := range order {
			if all[order[i].first].number == number {
				return i
			}
		}
		return -1
	}
	add := func(f protoField) {
		all = append(all, f)
		i := len(all) - 1
		if c := find(f.number); c >= 0 {
			all[order[c].last].next = int32(i)
			order[c].last = i
			order[c].n++
			return
		}
		order = append(order, chain{i, i, 1})
		switch {
		case len(order) == 16:
			chains = make(map[uint32]int, 32)
			for k := range order {
				chains[all[order[k].first].number] = k
			}
		case chains != nil:
			chains[f.number] = len(order) - 1
		}
	}
	for at := 0; at < len(data); {
		if w.fields++; w.fields > maxFields {
			w.fail(errProtoMany)
			break
		}
		f, next, err := nextField(data, at, depth)
		if err != nil {
			if f.cut && f.end > f.start && (cut || top) {
				add(f) // its beginning tells something
			}
			if top && err == errProtoCut && cut {
				break // as was to be expected
			}
			if top {
				err = fmt.Errorf("at byte %s: %w", Count(int64(at)), err)
			}
			if !cut {
				w.fail(err)
			}
			break
		}
		add(f)
		at = next
	}
	for i, c := range order {
		if len(w.out) > w.most {
			w.fail(errProtoLarge)
			return
		}
		if i > 0 {
			w.out = append(w.out, ',')
		}
		at := len(w.out)
		w.out = append(w.out, '"')
		w.out = strconv.AppendUint(w.out, uint64(all[c.first].number), 10)
		w.out = append(w.out, '"', ':')
		how := guesses(data, all, c.first, depth+1 >= maxNested)
		if c.n == 1 {
			w.value(data, &all[c.first], how, depth, at)
			continue
		}
		w.out = append(w.out, '[')
		for i, n := c.first, 0; ; n++ {
			if len(w.out) > w.most {
				w.fail(errProtoLarge)
				break
			}
			if n > 0 {
				w.out = append(w.out, ',')
			}
			w.value(data, &all[i], how, depth, len(w.out))
			if i = int(all[i].next); i == 0 {
				break
			}
		}
		w.out = append(w.out, ']')
	}
}

// value writes the payload of f. What is said of it belongs to the line at.
func (w *protoWriter) value(data []byte, f *protoField, how guess, depth, at int) {
	p := data[f.start:f.end]
	switch f.wire {
	case wireVarint:
		v, _ := binary.Uvarint(p)
		w.out = strconv.AppendInt(w.out, int64(v), 10)
		if s := readings(v); s != "" {
			w.remark(at, s)
		}
	case wireFixed32:
		u := binary.LittleEndian.Uint32(p)
		w.remark(at, w.fixed(uint64(u), int64(int32(u)), float64(math.Float32frombits(u)), 32))
	case wireFixed64:
		u := binary.LittleEndian.Uint64(p)
		w.remark(at, w.fixed(u, int64(u), math.Float64frombits(u), 64))
	case wireGroup:
		w.remark(at, "group")
		if depth+1 >= maxNested {
			w.bytes(p, f.cut)
			return
		}
		w.message(p, f.cut, depth+1, false)
	case wireBytes:
		w.guessed(p, f.cut, how, depth, at)
	}
}

func (w *protoWriter) guessed(p []byte, cut bool, how guess, depth, at int) {
	switch {
	case how == guessMessage:
		w.message(p, cut, depth+1, false)
		return
	case how == guessText, isPlainText(p, cut):
		if len(p) == 0 {
			w.remark(at, "empty: text, bytes or a message")
		}
		w.text(p)
		return
	}
	if utf8.Valid(p) && looksLikeText(p, false) {
		w.remark(at, "text with control characters, or bytes")
		w.text(p)
		return
	}
	if kind := w.packed(p, cut); kind != "" {
		w.remark(at, "packed "+kind+", or "+plural(len(p), "byte"))
		return
	}
	s := plural(len(p), "byte")
	if name := magic(p); name != "" {
		s += ", " + name
	}
	if cut {
		s += ", cut here"
	}
	w.remark(at, s)
	w.bytes(p, cut)
}

// readings says what else a number may be.
func readings(v uint64) string {
	const from, to = 1262304000, 2208988800 // 2010 to 2040
	at := func(sec, ms int64) string {
		return time.Unix(sec, ms*int64(time.Millisecond)).UTC().Format("2006-01-02 15:04:05Z")
	}
	switch {
	case v >= from && v < to:
		return "as a time " + at(int64(v), 0)
	case v >= from*1000 && v < to*1000:
		return "as a time " + at(int64(v/1000), int64(v%1000))
	case v > math.MaxInt64:
		return "unsigned " + strconv.FormatUint(v, 10)
	case v > math.MaxInt32 && v <= math.MaxUint32:
		return "as a zigzag number " + strconv.FormatInt(int64(v>>1)^-int64(v&1), 10)
	}
	return ""
}

// fixed writes a number of four or eight bytes and says how it was read.
func (w *protoWriter) fixed(u uint64, i int64, f float64, bits int) string {
	kind, name := "fixed"+strconv.Itoa(bits), "float"
	if bits == 64 {
		name = "double"
	}
	if likelyFloat(f, bits) {
		w.out = appendFloat(w.out, f, bits)
		return name + ", or " + strconv.FormatUint(u, 10)
	}
	w.out = strconv.AppendUint(w.out, u, 10)
	if i < 0 {
		kind += ", signed " + strconv.FormatInt(i, 10)
	}
	return kind
}

// likelyFloat reports whether f is a number such as people use, which the bytes of
// a whole number hardly ever are.
func likelyFloat(f float64, bits int) bool {
	f = math.Abs(f)
	if bits == 32 {
		return f >= 1e-6 && f <= 1e9
	}
	return f >= 1e-9 && f <= 1e15
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, bits)
	for _, c := range dst[n:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// packed writes p as an array of numbers if it is hardly anything else, and says
// of which. Bytes of the length of a digest or of an id are left alone, and so are
// zeros: they may be anything.
func (w *protoWriter) packed(p []byte, cut bool) string {
	if cut || len(p) < 2 {
		return ""
	}
	floats := func(size, bits int, least int) bool {
		if len(p)%size != 0 || len(p)/size < least {
			return false
		}
		read := func(p []byte) float64 {
			if bits == 32 {
				return float64(math.Float32frombits(binary.LittleEndian.Uint32(p)))
			}
			return math.Float64frombits(binary.LittleEndian.Uint64(p))
		}
		some := [2]bool{}
		for at := 0; at < len(p); at += size {
			f := read(p[at:])
			if f != 0 && !likelyFloat(f, bits) {
				return false
			}
			some[at/size&1] = some[at/size&1] || f != 0
		}
		// Half of a round double is four bytes of zeros.
		if !some[0] && (bits == 32 || !some[1]) {
			return false
		}
		w.out = append(w.out, '[')
		for at := 0; at < len(p); at += size {
			w.out = append(appendFloat(w.out, read(p[at:]), bits), ',')
		}
		w.out[len(w.out)-1] = ']'
		return true
	}
	switch {
	case floats(4, 32, 4):
		return "floats"
	case floats(8, 64, 2):
		return "doubles"
	}
	digest := len(p) == 16 || len(p) == 20 || len(p) == 32 || len(p) == 48 || len(p) == 64
	n, some := 0, false
	for rest := p; len(rest) > 0 && len(p) <= maxPacked; n++ {
		v, k := binary.Uvarint(rest)
		if k <= 0 || v >= 1<<14 || k > 1 && v < 1<<7 || digest && k > 1 {
			n = 0
			break
		}
		some = some || v != 0
		rest = rest[k:]
	}
	if n >= 2 && some {
		w.out = append(w.out, '[')
		for rest := p; len(rest) > 0; {
			v, k := binary.Uvarint(rest)
			w.out = append(strconv.AppendUint(w.out, v, 10), ',')
			rest = rest[k:]
		}
		w.out[len(w.out)-1] = ']'
		return "varints"
	}
	return ""
}

// text writes p as a JSON string. Bytes that are no UTF-8, which only the end of
// what is cut can be, are left out.
func (w *protoWriter) text(p []byte) {
	if room := max(w.most-len(w.out), 0); len(p) > room {
		p = p[:room]
		w.fail(errProtoLarge)
	}
	w.out = append(w.out, '"')
	for i := 0; i < len(p); {
		c := p[i]
		switch {
		case c == '"' || c == '\\':
			w.out = append(w.out, '\\', c)
		case c == '\n':
			w.out = append(w.out, `\n`...)
		case c == '\r':
			w.out = append(w.out, `\r`...)
		case c == '\t':
			w.out = append(w.out, `\t`...)
		case c < ' ':
			w.out = fmt.Appendf(w.out, `\u%04x`, c)
		case c < utf8.RuneSelf:
			w.out = append(w.out, c)
		default:
			r, n := utf8.DecodeRune(p[i:])
			if r != utf8.RuneError || n > 1 {
				w.out = append(w.out, p[i:i+n]...)
			}
			i += n
			continue
		}
		i++
	}
	w.out = append(w.out, '"')
}

func (w *protoWriter) bytes(p []byte, cut bool) {
	w.out = append(w.out, `"0x`...)
	if len(p) <= longBytes || cut {
		w.out = hex.AppendEncode(w.out, p[:min(len(p), longBytes)])
		if cut {
			w.out = append(w.out, "…"...)
		}
	} else {
		w.out = hex.AppendEncode(w.out, p[:64])
		w.out = fmt.Appendf(w.out, "… (%s, sha256 %x)", Bytes(int64(len(p))), sha256.Sum256(p))
	}
	w.out = append(w.out, '"')
}
