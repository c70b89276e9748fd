package main

import (
	"context"
	"io"
)

// unread is for systems that tell who writes to a pipe that its reader left. Here
// the next line does.
func unread(context.Context, io.Writer) bool { return false }
