package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// A machine is what the figures were measured on.
type machine struct {
	CPU, Kernel, Go string
	CPUs            int
	MemMiB          int
	Files           uint64 // that a process may have open
}

func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), MemMiB: memInfo("MemTotal") >> 10}
	m.CPU = field("/proc/cpuinfo", "model name")
	if m.CPU == "" {
		m.CPU = runtime.GOARCH
	}
	if f := strings.Fields(readAll("/proc/version")); len(f) > 2 {
		m.Kernel = f[0] + " " + f[2]
	}
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		m.Files = l.Cur
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%d CPUs (%s), %d GiB, %s, %s, %d open files", m.CPUs, m.CPU, (m.MemMiB+512)>>10, m.Kernel, m.Go, m.Files)
}

func readAll(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// field is the value of the first line "name : value" of a file of /proc.
func field(path, name string) string {
	for l := range strings.Lines(readAll(path)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// memInfo is a value of /proc/meminfo in KiB.
func memInfo(name string) int {
	n, _, _ := strings.Cut(field("/proc/meminfo", name), " ")
	kib, _ := strconv.Atoi(n)
	return kib
}

// raiseFiles lets this process and its children have as many files open as the
// system allows. Go does so for itself, and takes it back for its children.
func raiseFiles() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

var versionNumber = regexp.MustCompile(`\d+\.\d+[0-9A-Za-z.+-]*`)

// version says which build of a program this is: what it was built as (Go), else
// what it prints, and the first digits of its SHA-256.
func version(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	sum := hex.EncodeToString(h.Sum(nil))[:12]
	if b, err := buildinfo.ReadFile(path); err == nil {
		v := b.Main.Version
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
				v = s.Value[:min(12, len(s.Value))]
			}
		}
		if v != "" && v != "(devel)" {
			return v + " (" + b.GoVersion + ", sha256 " + sum + ")"
		}
	}
	for _, flag := range []string{"--version", "-v", "-V"} {
		out, _ := exec.Command(path, flag).CombinedOutput()
		if v := versionNumber.FindString(string(out)); v != "" {
			return v + " (sha256 " + sum + ")"
		}
	}
	return "sha256 " + sum
}
