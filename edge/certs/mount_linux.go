package certs

import "os"

func mountTable() ([]byte, error) { return os.ReadFile("/proc/self/mountinfo") }
