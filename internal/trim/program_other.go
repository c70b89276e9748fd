//go:build !linux

package trim

func forgetProgram() {}
