package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const pass = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":1.25}
`
	tests := []struct {
		name, in   string
		strict, ok bool
		want, not  string
	}{
		{"passes", pass, true, true, "ok    p  1.2s\n1 passed, 0 failed, 0 skipped\n", "quiet"},
		{"fails", pass + `{"Action":"output","Package":"q","Test":"TestB","Output":"B is 3, want 4\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"fail","Package":"q"}
`, false, false, "B is 3, want 4\n", "0 failed"},
		{"does not build", `{"ImportPath":"r [r.test]","Action":"build-output","Output":"r.go:1: undefined: x\n"}
{"ImportPath":"r [r.test]","Action":"build-fail"}
{"Action":"fail","Package":"r","FailedBuild":"r [r.test]"}
` + pass, false, false, "undefined: x\n", "0 failed"},
		{"skips in CI", pass + `{"Action":"output","Package":"p","Test":"TestS","Output":"no tmux\n"}
{"Action":"skip","Package":"p","Test":"TestS"}
`, true, false, "SKIP  p TestS\nno tmux\n", ", 0 skipped"},
		{"skips at home", pass + `{"Action":"skip","Package":"p","Test":"TestS"}` + "\n", false, true, "1 passed, 0 failed, 1 skipped", "in CI"},
		{"package without tests", pass + `{"Action":"skip","Package":"q"}` + "\n", true, true, "1 passed, 0 failed, 0 skipped", "SKIP"},
		{"is killed", pass + `{"Action":"output","Package":"q","Test":"TestK","Output":"half\n"}` + "\n", false, false, "TestK has no verdict\nhalf\n", "0 failed"},
		{"runs nothing", "go: cannot find module\n", false, false, "go: cannot find module\n0 passed", "1 passed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			ok := report(strings.NewReader(tt.in), &out, tt.strict)
			if ok != tt.ok || !strings.Contains(out.String(), tt.want) || strings.Contains(out.String(), tt.not) {
				t.Errorf("ok = %v, want %v; want %q and no %q in\n%s", ok, tt.ok, tt.want, tt.not, out.String())
			}
		})
	}
}
