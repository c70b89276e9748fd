package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/term"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
)

// canAsk reports whether a person sits there who can answer a question.
func (o *options) canAsk() bool {
	in, ok := o.stdin.(*os.File)
	return ok && term.IsTerminal(in.Fd()) && !said("CI")
}

// asking is where questions are shown: what is printed may go into a file, and
// what is logged too. The returned function ends it.
func (o *options) asking() (io.Writer, func()) {
	if !o.logsToTerminal() {
		if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
			return tty, func() { _ = tty.Close() }
		}
	}
	return o.stderr, func() {}
}

// askSecret asks for a line that does not show while it is typed.
func (o *options) askSecret(ctx context.Context, question string) (string, error) {
	fd := o.stdin.(*os.File).Fd()
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask on the terminal: %w", err)
	}
	w, done := o.asking()
	defer done()
	line, err := o.ask(ctx, w, question, func() (string, error) {
		text, err := term.ReadPassword(fd)
		return string(text), err
	})
	_ = term.Restore(fd, before) // when it was interrupted nothing showed any more
	_, _ = fmt.Fprintln(w)
	return line, err
}

// ask shows a question and returns what read brings, unless ctx ends before:
// then the process is about to end, and with it the read that nothing can stop.
func (o *options) ask(ctx context.Context, w io.Writer, question string, read func() (string, error)) (string, error) {
	_, _ = fmt.Fprint(w, format.SanitizeLines(question))
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := read()
		got <- answer{strings.TrimSpace(text), err}
	}()
	select {
	case a := <-got:
		if a.err == io.EOF { // Ctrl-D
			a.err = errUnanswered
		}
		return a.text, a.err
	case <-ctx.Done():
		return "", errUnanswered
	}
}

// errUnanswered ends lrok with 1 and says nothing: who was asked, or sent a
// signal, knows why.
var errUnanswered = errors.New("")

// unfinished is err, or errUnanswered when a signal cut short what was to be
// done: only what runs until it is ended is done by a signal.
func unfinished(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errUnanswered
	}
	return err
}

// sureOfOwn asks before somebody revokes k, the key that the command itself
// uses. Here a script has to say that it means it.
func (o *options) sureOfOwn(ctx context.Context, yes bool, k client.Key) error {
	what := fmt.Sprintf("%s%s is the key that this command uses", k.ID, named(k.Name))
	if !yes && !o.canAsk() {
		return usage("%s; to do so all the same, add --yes", what)
	}
	return o.sure(ctx, yes, what+". Revoke it all the same?")
}

// sure asks before something is destroyed. Without a terminal nobody could
// answer: a script knows what it does.
func (o *options) sure(ctx context.Context, yes bool, question string) error {
	if yes || !o.canAsk() {
		return nil
	}
	w, done := o.asking()
	defer done()
	choices := " [y/N] "
	if o.plain { // for somebody who listens
		choices = " Answer yes or no; without an answer it is no: "
	}
	text, err := o.ask(ctx, w, question+choices, func() (string, error) {
		return bufio.NewReader(o.stdin).ReadString('\n')
	})
	if err != nil {
		return err
	}
	if text = strings.ToLower(text); text != "y" && text != "yes" {
		_, _ = fmt.Fprintln(w, "nothing was done")
		return errUnanswered
	}
	return nil
}
