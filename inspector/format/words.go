package format

import (
	"fmt"
	"strconv"
	"time"
)

// Size writes a number of bytes for a table, in at most five columns: "19",
// "2.1k", "14k", "1.2M". The units are powers of 1024.
func Size(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(max(n, 0), 10)
	}
	v, unit := scale(n)
	return v + unit[:1]
}

// Bytes writes a number of bytes for a sentence: "311 bytes", "6.7 KiB".
func Bytes(n int64) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 1000:
		return strconv.FormatInt(max(n, 0), 10) + " bytes"
	}
	v, unit := scale(n)
	if unit[0] == 'k' {
		return v + " KiB"
	}
	return v + " " + unit + "iB"
}

// scale writes n in the largest unit that leaves at most three digits, with one
// decimal below ten.
func scale(n int64) (value, unit string) {
	v := float64(n) / 1024
	for _, unit = range []string{"k", "M", "G", "T", "P", "E"} {
		if v < 999.5 || unit == "E" {
			break
		}
		v /= 1024
	}
	if v < 9.95 {
		return strconv.FormatFloat(v, 'f', 1, 64), unit
	}
	return strconv.FormatFloat(v, 'f', 0, 64), unit
}

// Count writes a number with commas: "6,902".
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	digits := len(s)
	if n < 0 {
		digits--
	}
	for i := 3; i < digits; i += 3 {
		at := len(s) - i - i/3 + 1
		s = s[:at] + "," + s[at:]
	}
	return s
}

// Duration writes a duration for a table, in at most five columns: "0.4ms",
// "38ms", "1.2s", "1m12", "2h05", "3d04".
func Duration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d == 0:
		return "0ms"
	case d < 950*time.Microsecond:
		return fmt.Sprintf("%.1fms", max(d.Seconds()*1e3, 0.1))
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%.0fms", d.Seconds()*1e3)
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 59500*time.Millisecond:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour-time.Second/2:
		s := int(d.Round(time.Second).Seconds())
		return fmt.Sprintf("%dm%02d", s/60, s%60)
	case d < 24*time.Hour-time.Minute/2:
		m := int(d.Round(time.Minute).Minutes())
		return fmt.Sprintf("%dh%02d", m/60, m%60)
	default:
		h := int(d.Round(time.Hour).Hours())
		if h >= 24*100 {
			return fmt.Sprintf("%dd", h/24)
		}
		return fmt.Sprintf("%dd%02d", h/24, h%24)
	}
}
