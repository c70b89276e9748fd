package trim

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
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

// load reads the whole program, so that all of it is in memory.
func load(t *testing.T) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mem.Close() }()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if _, err := fmt.Sscanf(line, "%x-%x r", &from, &to); err == nil && strings.HasSuffix(line, exe+"\n") {
			if _, err := io.Copy(io.Discard, io.NewSectionReader(mem, from, to-from)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestMemoryForgetsTheProgram(t *testing.T) {
	load(t)
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
