package registry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

func validName(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !letter && (c != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

func generate(user, project string) string {
	h := hmac.New(sha256.New, []byte(user))
	h.Write([]byte(project))
	return "t" + hex.EncodeToString(h.Sum(nil)[:5])
}
