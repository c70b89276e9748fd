package format

// Hex lays out up to rows rows of 16 bytes from offset on:
//
//	00000000  00 00 00 08 04 d2 16 2f  47 45 54 20 2f 20 48 54  |......./GET / HT|
func Hex(data []byte, offset int64, rows int) []string { return nil }

// AppendHexRow appends one row with the per bytes of data from offset on: 16 or,
// in a narrow pane, 8 or 4.
func AppendHexRow(dst, data []byte, offset int64, per int) []byte { return dst }
