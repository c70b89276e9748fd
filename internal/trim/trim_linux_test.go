package trim

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

// resident is how much of the files that are mapped is in memory, in KiB.
func resident(t *testing.T) (kib int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("RssFile:"))
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestMemoryForgetsTheProgram(t *testing.T) {
	before := resident(t)
	Memory()
	if after := resident(t); after > before*3/4 {
		t.Errorf("%d KiB of files in memory before, %d after, want at most three quarters", before, after)
	}
}

// What was written to must stay, and what is dropped must come back.
func TestMemoryKeepsWhatWasWritten(t *testing.T) {
	written = "before"
	Memory()
	if written != "before" || fmt.Sprintf("%08.3f", 3.14159) != "0003.142" {
		t.Errorf("the program is not what it was: %q", written)
	}
}

var written = "at the start"
