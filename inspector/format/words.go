package format

import "time"

// Size writes a number of bytes for a table, in at most five columns: "19",
// "2.1k", "14k", "1.2M". The units are powers of 1024.
func Size(n int64) string { return "" }

// Bytes writes a number of bytes for a sentence: "311 bytes", "6.7 KiB".
func Bytes(n int64) string { return "" }

// Count writes a number with commas: "6,902".
func Count(n int64) string { return "" }

// Duration writes a duration for a table, in at most five columns: "0.4ms",
// "38ms", "1.2s", "1m12", "2h05", "3d04".
func Duration(d time.Duration) string { return "" }
