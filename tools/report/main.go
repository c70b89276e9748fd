// Report reads the output of go test -json, of several runs one after another,
// and writes what a person wants to know: a line per package, the output of what
// failed, which tests were skipped, and last
//
//	1234 passed, 0 failed, 0 skipped
//
// It exits 1 when something failed or nothing ran, and in CI (CI=true) also when
// a test was skipped: a check that CI does not make is no check.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if !report(os.Stdin, os.Stdout, os.Getenv("CI") == "true") {
		os.Exit(1)
	}
}

// An event is a line of go test -json; see go doc test2json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

type test struct{ pkg, name string }

func report(in io.Reader, out io.Writer, strict bool) (ok bool) {
	said := map[test]string{}    // what a test printed, or a package outside its tests
	built := map[string]string{} // what the compiler printed
	var passed, failed, broken, skipped int
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintln(out, sc.Text()) // go itself: downloads, go.mod errors
			continue
		}
		t := test{e.Package, e.Test}
		switch e.Action {
		case "output":
			said[t] += e.Output
		case "build-output":
			built[e.ImportPath] += e.Output
		case "pass":
			if e.Test != "" {
				passed++
			} else {
				fmt.Fprintf(out, "ok    %s  %.1fs\n", e.Package, e.Elapsed)
			}
			delete(said, t)
		case "skip":
			if e.Test != "" {
				skipped++
				fmt.Fprintf(out, "SKIP  %s %s\n%s", e.Package, e.Test, said[t])
			}
			delete(said, t)
		case "fail":
			fmt.Fprintf(out, "FAIL  %s %s\n%s%s", e.Package, e.Test, built[e.FailedBuild], said[t])
			if e.Test != "" {
				failed++
			} else {
				broken++
			}
			delete(said, t)
		}
	}
	if err := sc.Err(); err != nil {
		fmt.Fprintln(out, "read go test's output:", err)
		broken++
	}
	// A package that ended without a verdict, as when go test was killed.
	for t, text := range said {
		if t.name != "" {
			fmt.Fprintf(out, "FAIL  %s %s has no verdict\n%s", t.pkg, t.name, text)
			failed++
		}
	}
	if failed == 0 && broken > 0 {
		failed = broken // a build that broke, or a panic outside the tests
	}
	if strict && skipped > 0 {
		fmt.Fprintf(out, "%d tests were skipped: in CI each has to run\n", skipped)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed == 0 && passed > 0 && (!strict || skipped == 0)
}
