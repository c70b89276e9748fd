package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

func TestNewKey(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]int{}
	for range 1000 {
		key := NewKey()
		if len(key) != 41 || !strings.HasPrefix(key, "lrok_") {
			t.Fatalf("key has %d characters and begins with %q, want 41 and lrok_", len(key), key[:5])
		}
		if _, err := ParseKey(key); err != nil {
			t.Fatalf("ParseKey of a new key: %v", err)
		}
		if seen[key] {
			t.Fatal("a key came twice")
		}
		seen[key] = true
		for _, c := range key[5:35] {
			letters[c]++
		}
	}
	// 30,000 draws of 62: 484 of each, and 22 is the deviation.
	for _, c := range base62 {
		if n := letters[c]; n < 484-7*22 || n > 484+7*22 {
			t.Errorf("letter %c came %d times, want about 484", c, n)
		}
	}
}

func TestParseKeyRefused(t *testing.T) {
	key := NewKey()
	swapped := []byte(key)
	swapped[10], swapped[11] = swapped[11], swapped[10]
	if swapped[10] == swapped[11] {
		swapped[10] ^= 1
	}
	for _, test := range []struct{ name, key string }{
		{"empty", ""},
		{"other prefix", "ghp_" + key[4:]},
		{"short", key[:40]},
		{"long", key + "0"},
		{"space at the end", key + " "},
		{"two letters swapped", string(swapped)},
		{"not base62", key[:20] + "-" + key[21:]},
		{"check sum of another", key[:35] + NewKey()[35:]},
		{"upper case prefix", "LROK_" + key[5:]},
	} {
		_, err := ParseKey(test.key)
		var e *tunnel.Error
		if !errors.As(err, &e) || e.Code != tunnel.CodeKey || e.Hint == "" {
			t.Errorf("%s: %v, want code %s and a hint", test.name, err, tunnel.CodeKey)
		}
		if err != nil && len(test.key) > 20 && strings.Contains(err.Error()+e.Hint, test.key[10:20]) {
			t.Errorf("%s: the error shows the key: %v", test.name, err)
		}
	}
}

// TestCheckSum holds the format still: keys that are out there must stay valid.
func TestCheckSum(t *testing.T) {
	const key = "lrok_000000000000000000000000000000" + "2Csu4U"
	got := "lrok_000000000000000000000000000000" + sumText(key[:35])
	if got != key {
		t.Errorf("key = %s, want %s", got, key)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(NewKey())
	f.Add("")
	f.Add("lrok_")
	f.Add("lrok_" + strings.Repeat("é", 18))
	f.Fuzz(func(t *testing.T, key string) {
		h, err := ParseKey(key)
		if err != nil {
			if h != (Hash{}) {
				t.Errorf("ParseKey(%q) gave a hash with its error", key)
			}
			return
		}
		if len(key) != keyLen || sumText(key[:35]) != key[35:] {
			t.Errorf("ParseKey(%q) took it for a key", key)
		}
	})
}

func sumText(s string) string {
	sum := checkSum([]byte(s))
	return string(sum[:])
}
