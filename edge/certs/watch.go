package certs

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// maxWatches bounds the directories that are watched for one source. Others are
// looked at now and then.
const maxWatches = 256

// A watch tells of changes in directories. Where the system has none to give,
// for want of watches or on a network, it is silent.
type watch struct {
	log    *slog.Logger
	fs     *fsnotify.Watcher // nil when there is none
	events <-chan fsnotify.Event
	errors <-chan error
	at     map[string]fs.FileInfo
	told   bool
}

func newWatch(log *slog.Logger) *watch {
	w := &watch{log: log, at: make(map[string]fs.FileInfo)}
	f, err := fsnotify.NewWatcher()
	if err != nil {
		w.complain(err)
		return w
	}
	w.fs, w.events, w.errors = f, f.Events, f.Errors
	return w
}

func (w *watch) complain(err error) {
	if !w.told {
		w.told = true
		w.log.Warn("changes of certificate files are noticed late", "err", err)
	}
}

func (w *watch) close() {
	if w.fs != nil {
		_ = w.fs.Close()
	}
}

// follow watches dirs and nothing else, and reports whether that took a new
// watch. A directory that was replaced by another of its name is a new one.
func (w *watch) follow(dirs []string) (added bool) {
	if w.fs == nil {
		return false
	}
	wanted := make(map[string]fs.FileInfo)
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && len(wanted) < maxWatches {
			wanted[dir] = info
		}
	}
	for dir, old := range w.at {
		if now := wanted[dir]; now == nil || !os.SameFile(old, now) {
			_ = w.fs.Remove(dir) // it may have gone with the directory
			delete(w.at, dir)
		}
	}
	for dir, info := range wanted {
		if w.at[dir] != nil {
			continue
		}
		if err := w.fs.Add(dir); err != nil {
			w.complain(err)
			continue
		}
		w.at[dir] = info
		added = true
	}
	return added
}

// maxLinks bounds the symbolic links in one path, as systems do.
const maxLinks = 40

// dirsOf returns the directories whose entries decide which file a path leads
// to: its parent, and the parent of each symbolic link on the way. Where the way
// ends early it is the last directory that is there.
func dirsOf(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	split := func(p string) []string {
		return strings.FieldsFunc(p, func(r rune) bool { return r == '/' || r == filepath.Separator })
	}
	root := filepath.VolumeName(path) + string(filepath.Separator)
	at, rest := root, split(path[len(filepath.VolumeName(path)):])
	var dirs []string
	add := func(dir string) {
		for _, d := range dirs {
			if d == dir {
				return
			}
		}
		dirs = append(dirs, dir)
	}
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		full := filepath.Join(at, name)
		info, err := os.Lstat(full)
		if err != nil {
			add(at)
			return dirs
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			add(at)
			target, err := os.Readlink(full)
			if links++; err != nil || links > maxLinks {
				return dirs
			}
			if filepath.IsAbs(target) {
				at = filepath.VolumeName(target) + string(filepath.Separator)
				target = target[len(filepath.VolumeName(target)):]
			}
			rest = append(split(target), rest...)
			continue
		}
		if !info.IsDir() {
			add(at)
			return dirs
		}
		if len(rest) == 0 {
			add(at) // a directory where a file is to be, or the directory itself
		}
		at = full
	}
	return dirs
}
