//go:build !linux

// Costcheck runs on Linux only: it counts with strace.
package main

import "fmt"

func main() { fmt.Println("costcheck: not on this system") }
