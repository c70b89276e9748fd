package format

// A Kind is what a body is, as far as its display goes.
type Kind uint8

// The kinds.
const (
	KindEmpty Kind = iota
	KindJSON
	KindNDJSON
	KindForm
	KindMultipart
	KindXML
	KindHTML
	KindText
	KindEventStream
	KindImage
	KindProtobuf
	KindGRPC
	KindBinary
)

// String names k in a word for people: "json", "form", "multipart".
func (k Kind) String() string { return "binary" }

// IsText reports whether a body of kind k is shown as lines of text.
func (k Kind) IsText() bool { return false }

// Sniff says what a body is from its Content-Type and its decoded bytes. The
// bytes win where the two disagree, since services label bodies wrongly.
func Sniff(contentType string, data []byte) Kind { return KindBinary }

// Label describes a body for people: "json", "form, 3 fields", "png 640x480",
// "binary, looks compressed or encrypted".
func Label(k Kind, contentType string, data []byte) string { return k.String() }

// Image reads format and size of a picture from its first bytes: png, jpeg,
// gif, webp or bmp. Not ok means that it is none of these or is cut too short.
func Image(data []byte) (format string, width, height int, ok bool) { return "", 0, 0, false }

// Entropy describes how random data looks, in words: "text-like",
// "structured", "looks compressed or encrypted". Bits is Shannon's measure, 0
// to 8 bits a byte.
func Entropy(data []byte) (bits float64, word string) { return 0, "" }
