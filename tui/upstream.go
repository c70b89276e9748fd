package tui

import (
	"errors"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

func upstreamActions() []action {
	return []action{{
		name: "upstream", in: everywhere &^ (inDiff | inHome),
		when:  func(m *model) bool { return m.link().agent != nil && m.granted() && m.fate(m.tab()) == "" },
		bind:  bind("u", "send what comes in to another local service", "u"),
		group: "Screen", hint: "service", rank: 2, run: (*model).changeUpstream,
		now: func(m *model, h hint) hint {
			if m.down() == nil {
				h.word = "" // it matters while nothing answers
			} else if m.w < 60 {
				h.rank = 0 // and there more than all else
			}
			return h
		},
	}}
}

// changeUpstream asks for the local service that the tunnel in front shall lead
// to. Its address stays.
func (m *model) changeUpstream() tea.Cmd {
	t := m.tab()
	help := "a port, host:port, URL or unix:/path; now " + short(t.Local)
	if near, _, _ := strings.Cut(m.nearby(), ": u "); near != "" {
		help = "a port, host:port, URL or unix:/path; " + near
	}
	what := "requests"
	if !isHTTP(t) {
		what = "connections"
	}
	name, kind, link := t.Name, t.Kind, t.link
	return m.request("upstream", "", prompt{
		title: "send " + what + " to", enter: "change", hint: help,
		check: func(s string) string {
			if s == "" {
				return ""
			}
			if _, err := targetOf(kind, s); err != nil {
				return err.Error()
			}
			return ""
		},
		done: func(m *model, s string) tea.Cmd {
			target, err := targetOf(kind, s)
			if err != nil { // nothing was entered
				return nil
			}
			link.agent.SetTarget(name, target)
			m.say(good, "%s: %s go to %s now", name, what, target)
			m.record(text, "%s: %s go to %s now", name, what, target)
			return nil
		},
	})
}

// targetOf reads the local service of a tunnel.
func targetOf(kind tunnel.Kind, s string) (agent.Target, error) {
	target, err := agent.ParseTarget(s)
	if err != nil || kind == "" || kind == tunnel.HTTP {
		return target, err
	}
	if strings.Contains(s, "://") && target.Scheme != "tcp" {
		return target, errors.New(sprintf("a %s tunnel leads to a port or host:port", kind))
	}
	if target.Scheme == "http" {
		target.Scheme = "tcp"
	}
	return target, nil
}

// nearby says what else listens on this machine while the local service does
// not answer, "" for nothing.
func (m *model) nearby() string {
	u := m.down()
	if u == nil || len(u.Nearby) == 0 {
		return ""
	}
	if m.w < 100 {
		return sprintf("%d listens: u %d", u.Nearby[0], u.Nearby[0])
	}
	var ports []string
	for _, p := range u.Nearby[:min(len(u.Nearby), 3)] {
		ports = append(ports, sprintf("%d", p))
	}
	s := "something listens on " + strings.Join(ports, ", ")
	if len(u.Nearby) > 3 {
		s += " and others"
	}
	return s + sprintf(": u %d", u.Nearby[0])
}

// downFor is how long the local service has not answered, "" when nobody knows.
func downFor(u *agent.Upstream, now time.Time) string {
	if u.Since.IsZero() {
		return ""
	}
	return seconds(now.Sub(u.Since))
}

// seconds writes a stretch of time that is being waited out.
func seconds(d time.Duration) string {
	if d < time.Minute {
		return sprintf("%ds", max(int(d.Seconds()), 0))
	}
	return format.Duration(d)
}
