package tui

import (
	"github.com/lrok-dev/lrok/inspector/diff"
)

func parsedRules(texts ...string) (list []diff.Rule) {
	for _, s := range texts {
		r, err := diff.ParseRule(s)
		if err != nil {
			panic(err)
		}
		list = append(list, r)
	}
	return list
}
