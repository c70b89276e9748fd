package main

import (
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkNumbers refuses numbers, times and sizes of the edge's settings that are
// nonsense. Zero is refused as well: who writes it hardly means the default,
// which is what the edge would take it for. Of nothing it could be the limit.
func checkNumbers(cmd *cobra.Command, origins map[string]origin) error {
	var failed error
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		value, least, ok := f.Value.String(), "1 or more", true
		switch f.Value.Type() {
		case "int":
			n, _ := strconv.Atoi(value)
			ok = n >= 1
			switch f.Name {
			case "max-user-tunnels":
				least, ok = "1 or more, or 0 for no limit", n >= 0
			case "bulk-connections":
				least, ok = "1 or more, or 0 for none", n >= 0
			}
		case "duration":
			d, _ := time.ParseDuration(value)
			least, ok = "more than nothing", d > 0
		case "string":
			if strings.HasPrefix(f.Name, "capture-") {
				n, err := parseSize(value) // a wrong one is told elsewhere
				least, ok = "more than nothing", err != nil || n > 0
			}
		}
		if !ok && failed == nil {
			where := ""
			if from := origins[f.Name].from; from != "" && !strings.HasPrefix(from, "--") {
				where = from + ": "
			}
			failed = usage("%s--%s is %s, not %s", where, f.Name, least, value)
		}
	})
	return failed
}

// inForce are the settings that the running edge keeps to, by flag.
type inForce map[string]string

func settingsOf(cmd *cobra.Command) inForce {
	all := inForce{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if isSetting(f) {
			all[f.Name] = f.Value.String()
		}
	})
	return all
}

// take notes that the edge was given now, and logs what is other than before:
// limits hold from here on, and for everything else the edge has to be started
// again.
func (s inForce) take(now inForce, log *slog.Logger) {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if s[name] == now[name] {
			continue
		}
		setting := strings.ReplaceAll(name, "-", "_")
		if !changesLive(name) {
			log.Warn("a changed setting takes a restart; the old value stays", "setting", setting, "inForce", s[name], "says", now[name])
			continue
		}
		log.Info("a limit was changed", "setting", setting, "from", s[name], "to", now[name])
		s[name] = now[name]
	}
}

// changesLive reports whether a running edge takes another value for a setting.
func changesLive(name string) bool {
	switch name {
	case "max-streams", "max-header", "max-concurrent", "capture-body":
		return false
	}
	return strings.HasPrefix(name, "max-") || strings.HasPrefix(name, "capture-")
}
