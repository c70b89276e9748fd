package tui

import (
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/signature"
)

// typedIn is where the secrets come from that were given on the screen. They are
// in memory only and end with it.
const typedIn = "the secret you gave"

// giveSecret asks for the secret of whoever signed the request in front.
func (m *model) giveSecret() tea.Cmd {
	x := m.selected()
	if x == nil {
		return nil
	}
	return m.askSecret(&x.Exchange, func(m *model, src signature.Source) tea.Cmd {
		m.say(good, "%s the %s secret is known, until you quit", m.th.g.ok, src.Provider)
		return m.judge()
	}, nil)
}

func (m *model) signed() bool {
	x := m.selected()
	return x != nil && signature.Detect(&x.Exchange) != ""
}

// askSecret asks for the secret with which x was signed and keeps it. Then done
// is called, or esc when none was given.
func (m *model) askSecret(x *inspector.Exchange, done func(*model, signature.Source) tea.Cmd, esc func(*model) tea.Cmd) tea.Cmd {
	provider := signature.Detect(x)
	src := signature.Source{Name: provider, Provider: provider}
	if was, err := signature.Pick(x, m.c.Secrets, ""); err == nil {
		src.Path = was.Path // or that one would count more
	}
	return m.request("", "", prompt{
		title: provider + " secret", enter: "take it", hint: "stays on this machine, and in memory",
		secret: true,
		esc:    esc,
		check: func(s string) string {
			if s == "" {
				return "it is empty"
			}
			return ""
		},
		done: func(m *model, s string) tea.Cmd {
			src.Secrets = []signature.Secret{{Value: s, From: typedIn}}
			rest := slices.DeleteFunc(slices.Clone(m.c.Secrets), func(o signature.Source) bool {
				return o.Provider == provider && o.Path == src.Path && given(&o)
			})
			m.c.Secrets = append([]signature.Source{src}, rest...)
			m.judging = judgedMsg{}
			return done(m, src)
		},
	})
}

// given reports whether the secret of s was typed in.
func given(s *signature.Source) bool { return len(s.Secrets) > 0 && s.Secrets[0].From == typedIn }

// misfits reports whether the secret that was typed in for x, which is whole, is
// plainly another one. Of a large body it is not looked at: that takes too long.
func (m *model) misfits(x *inspector.Exchange) bool {
	src, err := signature.Pick(x, m.c.Secrets, "")
	if err != nil || !given(&src) || len(x.Request.Body.Data) > 256<<10 {
		return false
	}
	v, ok := signature.Judge(x, []signature.Source{src}, "", nil)
	return ok && v.Cause == signature.WrongSecret
}

// outdated says that the signature of x will not fit what is to be sent, "" when
// it may.
func outdated(x *inspector.Exchange, ch inspector.Changes) string {
	provider := signature.Detect(x)
	if provider == "" || ch.Body == nil {
		return ""
	}
	marks := func(list []inspector.Field) []inspector.Field {
		return slices.DeleteFunc(slices.Clone(list), func(f inspector.Field) bool {
			return signature.Detect(&inspector.Exchange{Request: inspector.Message{Header: []inspector.Field{f}}}) != provider
		})
	}
	if y := altered(x, ch); !slices.Equal(marks(x.Request.Header), marks(y.Request.Header)) {
		return "" // whoever changed it, or took it out, knows
	}
	return provider
}
