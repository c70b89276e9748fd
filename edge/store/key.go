package store

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

const (
	keyPrefix = "lrok_"
	keyRandom = 30
	keyCheck  = 6
	keyLen    = len(keyPrefix) + keyRandom + keyCheck

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// isBase62 holds true for the characters of base62.
var isBase62 = func() (is [256]bool) {
	for _, c := range []byte(base62) {
		is[c] = true
	}
	return is
}()

// A Key is what is known of an API key. The key itself is not.
type Key struct {
	ID       string
	User     string
	Name     string
	Prefix   string // its first characters, to tell keys apart by
	Last4    string
	Created  time.Time
	Expires  time.Time // zero: never
	LastUsed time.Time // zero: never
	Revoked  time.Time // zero: not
}

// A Hash stands for a key: the key cannot be found from it.
type Hash [sha256.Size]byte

// NewKey returns a fresh random key.
func NewKey() string {
	b := make([]byte, 0, keyLen)
	b = append(b, keyPrefix...)
	var random [64]byte
	for len(b) < len(keyPrefix)+keyRandom {
		_, _ = rand.Read(random[:]) // never fails
		for _, c := range random {
			// 62 does not divide 256: what is left over would favour some letters.
			if int(c) < 256/62*62 && len(b) < len(keyPrefix)+keyRandom {
				b = append(b, base62[c%62])
			}
		}
	}
	sum := checkSum(b)
	return string(append(b, sum[:]...))
}

// checkSum returns the characters that end a key that begins with b.
func checkSum(b []byte) (out [keyCheck]byte) {
	sum := crc32.ChecksumIEEE(b)
	for i := range out {
		out[keyCheck-1-i] = base62[sum%62]
		sum /= 62
	}
	return out
}

// ParseKey returns the hash of key, or an error of [tunnel.CodeKey] when it
// cannot be one, because a letter is wrong or missing.
func ParseKey(key string) (Hash, error) {
	switch {
	case key == "":
		return Hash{}, refuse("no key was given", "set LROK_API_KEY, or LROK_API_KEY_FILE to a file that holds it")
	case !strings.HasPrefix(key, keyPrefix):
		return Hash{}, refuse("that is not a key of lrok", "a key begins with "+keyPrefix)
	case len(key) != keyLen:
		return Hash{}, refuse(fmt.Sprintf("the key has %d characters, and a whole one has %d", len(key), keyLen), "copy it again, in one piece")
	}
	var whole [keyLen]byte
	copy(whole[:], key)
	body, sum := whole[:keyLen-keyCheck], checkSum(whole[:keyLen-keyCheck])
	for _, c := range body[len(keyPrefix):] {
		if !isBase62[c] {
			return Hash{}, refuse("the key has a character that no key has", "copy it again, in one piece")
		}
	}
	if subtle.ConstantTimeCompare(sum[:], whole[keyLen-keyCheck:]) != 1 {
		return Hash{}, refuse("the key is mistyped: its check sum is wrong", "copy it again, in one piece")
	}
	return sha256.Sum256(whole[:]), nil
}

func refuse(message, hint string) error {
	return &tunnel.Error{Code: tunnel.CodeKey, Message: message, Hint: hint}
}

// describe returns what may be known of key, a whole one.
func describe(key string, h Hash) Key {
	return Key{
		ID:     fmt.Sprintf("key_%x", h[:6]),
		Prefix: prefixOf(key),
		Last4:  key[keyLen-4:],
	}
}

// prefixOf returns the beginning of a whole key that may be shown.
func prefixOf(key string) string { return key[:len(keyPrefix)+4] }

// ReadKeyFile returns the key in the file at path. A file that others than its
// owner may read is refused: the key in it is no secret any more.
func ReadKeyFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("read key file: %s is not a file", path)
	}
	// Windows has no such bits; the profile's ACLs do it there.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", &tunnel.Error{
			Code:    tunnel.CodeKey,
			Message: fmt.Sprintf("key file %s can be read by others (mode %04o)", path, info.Mode().Perm()),
			Hint:    "chmod 600 " + path + ", and think about a new key",
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return "", fmt.Errorf("read key file: %w", err)
	}
	key := strings.TrimSpace(string(data))
	if _, err := ParseKey(key); err != nil {
		return "", fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

// writeKeyFile makes the file at path and returns after the disk has it. It
// fails with [fs.ErrExist] when the file is there already. A crash in between
// leaves no half of a key behind.
func writeKeyFile(path, key string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.WriteString(f, key+"\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links: nobody else makes the key there at the same
	// time, or the last one wins.
	return os.Rename(f.Name(), path)
}
