package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/lrok-dev/lrok/internal/draft"
	"github.com/lrok-dev/lrok/tunnel"
)

// runEditor opens the draft in the person's editor and waits for it.
func runEditor(ctx context.Context, d *draft.Draft) error {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	for _, name := range []string{"vi", "nano", "notepad"} {
		if editor == "" {
			if _, err := exec.LookPath(name); err == nil {
				editor = name
			}
		}
	}
	if editor == "" {
		return &tunnel.Error{Code: "no_editor", Message: "no editor was found", Hint: "set EDITOR"}
	}
	parts := strings.Fields(editor) // EDITOR may hold arguments: "code --wait"
	cmd := exec.CommandContext(ctx, parts[0], append(parts[1:], d.Path)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	d.Hold(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("edit with %s: %w", editor, err)
	}
	return nil
}
