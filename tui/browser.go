package tui

import (
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

func browserActions() []action {
	return []action{{
		name: "browser", in: inEmpty, when: (*model).granted,
		bind: bind("o", "open the URL in the browser", "o"), group: "Requests", hint: "open", rank: 2, run: (*model).openBrowser,
		now: func(m *model, h hint) hint {
			if m.browser == nil {
				h.word = ""
			}
			return h
		},
	}}
}

// openBrowser shows the tunnel's URL in the browser of this machine.
func (m *model) openBrowser() tea.Cmd {
	argv := m.browser
	if argv == nil {
		m.say(warn, "no browser on this machine's screen; y copies the URL")
		return nil
	}
	// The edge names the URL. Nothing but a web address goes to a command.
	u, err := url.Parse(m.tab().URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		m.say(warn, "the URL is no web address")
		return nil
	}
	m.say(text, "opening %s", u)
	cmd := exec.Command(argv[0], append(argv[1:len(argv):len(argv)], u.String())...)
	cmd.Env = m.c.Environ
	return func() tea.Msg {
		if err := cmd.Start(); err != nil {
			return failMsg{err: err}
		}
		// Some commands end at once and some are the browser, which may stay
		// longer than the screen.
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				return copiedMsg{role: warn, text: sprintf("%s could not open it: %s; y copies the URL", argv[0], err)}
			}
		case <-time.After(3 * time.Second):
		case <-m.ctx.Done():
		}
		return nil
	}
}

// browser is the command that shows an address, nil when there is none: a
// browser on the far end of SSH would help nobody.
func browser(environ []string) []string {
	if f := strings.Fields(env(environ, "BROWSER")); len(f) > 0 {
		return f
	}
	if env(environ, "SSH_CONNECTION") != "" || env(environ, "SSH_TTY") != "" {
		return nil
	}
	switch runtime.GOOS {
	case "darwin":
		return []string{"open"}
	case "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	if env(environ, "DISPLAY") == "" && env(environ, "WAYLAND_DISPLAY") == "" {
		return nil
	}
	if _, err := exec.LookPath("xdg-open"); err != nil {
		return nil
	}
	return []string{"xdg-open"}
}
