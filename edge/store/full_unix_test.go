//go:build unix

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

func init() { children["limited"] = limitedChild }

// A limitedReport is what limitedChild saw.
type limitedReport struct {
	Users   []string // acknowledged
	Code    string   // of the write that failed
	Message string
	Healthy string // what was wrong then
	Works   bool   // Authenticate went on
	After   string // what was wrong when there was room again
}

// limitedChild writes until the kernel lets no file grow any more, as on a full
// disk, and then lets them grow again.
func limitedChild(dir string) error {
	s, _, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ) // then the write fails
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	limit := old
	limit.Cur = 512 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	var r limitedReport
	ctx := context.Background()
	add := func(n int) error {
		// Big ones, so that it is over soon.
		return s.write(ctx, Local, partAll, func(t *change) error {
			id := fmt.Sprintf("usr_%d", n)
			if err := t.addUser(id, id, Limits{}); err != nil {
				return err
			}
			return t.note("test.fill", id, strings.Repeat("x", 20000))
		})
	}
	for n := 0; n < 1000 && err == nil; n++ {
		if err = add(n); err == nil {
			r.Users = append(r.Users, fmt.Sprintf("usr_%d", n))
		}
	}
	r.Code, r.Message = code(err), fmt.Sprint(err)
	r.Healthy = fmt.Sprint(s.Healthy())
	_, _, err = s.Authenticate(ctx, s.AdminKey())
	r.Works = err == nil && len(s.Users()) == len(r.Users)+1
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	s.probe(ctx)
	r.After = fmt.Sprint(s.Healthy())
	if err := add(5000); err != nil {
		return err
	}
	r.Users = append(r.Users, "usr_5000")
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL) // no tidying up
}

// TestFullDisk has the kernel refuse to let the files grow.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "limited", dir)
	var r limitedReport
	if err := json.Unmarshal([]byte(c.line(t)), &r); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
	t.Logf("%d users, then: %s", len(r.Users), r.Message)
	if len(r.Users) < 3 || len(r.Users) > 500 {
		t.Errorf("%d users were added, want some and then a failure", len(r.Users))
	}
	if r.Code != tunnel.CodeUnavailable || !strings.Contains(r.Message, FileName) {
		t.Errorf("the failure: code %q, %q; want %q and the file", r.Code, r.Message, tunnel.CodeUnavailable)
	}
	if r.Healthy != r.Message {
		t.Errorf("Healthy = %q, want %q", r.Healthy, r.Message)
	}
	if !r.Works {
		t.Error("Authenticate did not go on")
	}
	if r.After != "<nil>" {
		t.Errorf("Healthy = %q with room, want nil", r.After)
	}
	s := open(t, dir, Options{})
	sound(t, s)
	for _, id := range r.Users {
		if _, ok := s.User(id); !ok {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	if n := len(s.Users()); n != len(r.Users)+1 {
		t.Errorf("%d users, want %d: what failed is not there", n, len(r.Users)+1)
	}
}
