package format

// Hex lays out up to rows rows of 16 bytes from offset on:
//
//	00000000  00 00 00 08 04 d2 16 2f  47 45 54 20 2f 20 48 54  |......./GET / HT|
func Hex(data []byte, offset int64, rows int) []string {
	var out []string
	for ; rows > 0 && offset >= 0 && offset < int64(len(data)); rows-- {
		out = append(out, string(AppendHexRow(nil, data, offset, 16)))
		offset += 16
	}
	return out
}

// AppendHexRow appends one row with the per bytes of data from offset on: 16 or,
// in a narrow pane, 8 or 4. A short last row is padded, so that the text column
// stays in its place.
func AppendHexRow(dst, data []byte, offset int64, per int) []byte {
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[offset>>shift&15])
	}
	row := data[min(max(offset, 0), int64(len(data))):]
	row = row[:min(len(row), per)]
	for i := range per {
		if i%8 == 0 {
			dst = append(dst, ' ')
		}
		if i < len(row) {
			dst = append(dst, ' ', hexDigits[row[i]>>4], hexDigits[row[i]&15])
		} else {
			dst = append(dst, "   "...)
		}
	}
	dst = append(dst, "  |"...)
	for _, c := range row {
		if c < ' ' || c > '~' {
			c = '.'
		}
		dst = append(dst, c)
	}
	return append(dst, '|')
}
