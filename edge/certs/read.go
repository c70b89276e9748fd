package certs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"time"
)

// readTries is how often a file is read that is being written.
const readTries = 5

var errMoving = errors.New("it is being written all the time")

// readSettled reads a file of at most limit bytes that was not written
// meanwhile. Programs that truncate a file and write it again leave a moment in
// which it holds nothing or a half.
func readSettled(path string, limit int64, pause time.Duration) ([]byte, error) {
	for try := range readTries {
		if try > 0 {
			time.Sleep(pause)
		}
		before, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		switch {
		case before.IsDir():
			return nil, errors.New("it is a directory")
		case !before.Mode().IsRegular():
			return nil, errors.New("it is not a regular file") // to open a pipe would block
		case before.Size() > limit:
			return nil, fmt.Errorf("it is larger than %d MiB", limit>>20)
		}
		data, err := readSize(path, before.Size())
		if err != nil {
			return nil, err
		}
		after, err := os.Stat(path)
		if err == nil && sameFile(before, after) && int64(len(data)) == before.Size() {
			return data, nil
		}
		clear(data)
	}
	return nil, errMoving
}

// readSize reads a file that has size bytes, and one more if it has grown.
func readSize(path string, size int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, size+1)
	n, err := io.ReadFull(f, data)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		clear(data)
		return nil, err
	}
	return data[:n], nil
}

// stampsOf returns what tells a file from its next version without reading it.
// One that is not there has nil.
func stampsOf(paths []string) map[string]fs.FileInfo {
	stamps := make(map[string]fs.FileInfo, len(paths))
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		stamps[path] = info
	}
	return stamps
}

func sameStamps(a, b map[string]fs.FileInfo) bool { return maps.EqualFunc(a, b, sameFile) }

// sameFile reports whether two looks saw one device, inode, size, mode and time.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}

// plain takes the path off an error of the file system: what it is about is said
// before it.
func plain(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
