package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
	"go.uber.org/goleak"
)

// childEnv makes the test binary one of the processes in children, with the
// directory in its first argument.
const childEnv = "LROK_STORE_TEST_CHILD"

var children = map[string]func(dir string) error{
	"admin": adminChild,
	"crash": crashChild,
}

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		if err := children[child](os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// A child is this test binary in another process.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t *testing.T, name, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("the child says: %s", &stderr)
		}
	})
	return &child{cmd, in, bufio.NewReader(out)}
}

// ask sends one line and returns the answer.
func (c *child) ask(t *testing.T, line string) string {
	t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	return c.line(t)
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	answer, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the child ended: %v", err)
	}
	return strings.TrimSuffix(answer, "\n")
}

// adminChild does what lrok admin does while the edge runs: a line in, a line
// of JSON out.
func adminChild(dir string) error {
	s, _, err := Open(dir, Options{Beside: true})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		f := strings.Fields(in.Text())
		var answer any
		var err error
		switch f[0] {
		case "user":
			answer, err = s.AddUser(context.Background(), Local, f[1], Limits{})
		case "unuser":
			err = s.RemoveUser(context.Background(), Local, f[1])
		case "key":
			_, answer, err = s.CreateKey(context.Background(), Local, f[1], "", time.Time{})
		case "revoke":
			err = s.RevokeKey(context.Background(), Local, "", f[1])
		case "reserve":
			answer, err = s.Reserve(context.Background(), Local, f[1], f[2])
		case "used":
			answer = s.Keys("")
		}
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		line, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", line)
	}
	return s.Close()
}

// open opens a store that is closed when the test ends.
func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, _, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// run runs s until the test ends.
func run(t *testing.T, s *Store) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// within waits for what to become true, as long as a busy machine may need.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not yet %s", patience, what)
		}
	}
}

func addUser(t testing.TB, s *Store, name string) User {
	t.Helper()
	u, err := s.AddUser(context.Background(), Local, name, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func addKey(t testing.TB, s *Store, user string) (Key, string) {
	t.Helper()
	k, secret, err := s.CreateKey(context.Background(), Local, user, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return k, secret
}

// code returns the code of an error for people, "" for none and the text of any
// other.
func code(err error) string {
	if err == nil {
		return ""
	}
	if e := (*tunnel.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return "no code: " + err.Error()
}

// wantCode checks the code, and that a refusal says something.
func wantCode(t testing.TB, what string, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("%s: code = %q (%v), want %q", what, got, err, want)
	}
}

// sound fails the test when the file is not as SQLite wants it.
func sound(t testing.TB, s *Store) {
	t.Helper()
	for _, pragma := range []string{"integrity_check", "foreign_key_check"} {
		var bad []string
		err := rows(context.Background(), s.reader, "PRAGMA "+pragma, nil, func(scan scanner) error {
			var line string
			if err := scan(&line); err != nil {
				return err
			}
			if line != "ok" {
				bad = append(bad, line)
			}
			return nil
		})
		if err != nil || bad != nil {
			t.Errorf("%s: %v %q", pragma, err, bad)
		}
	}
}
