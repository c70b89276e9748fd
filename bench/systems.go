package main

import (
	"slices"
	"strings"
)

// A system is one thing under test. To add one, add a literal here (or an entry
// of the same shape to a JSON file given with -extra). Every string is a Go
// text/template over these fields:
//
//	.Bin "name"   path of a ready-built binary: $PEER_NAME, else <bindir>/name
//	.Dir          a fresh work folder holding the rendered Files
//	.Pub          port of the public HTTP side      .PubI   the same plus .I
//	.Ctl          port the edge listens on for agents
//	.Link         port the agent must dial (= .Ctl, or the delay proxy before it)
//	.Aux          one more port, for an API or the like
//	.TLS          port of the public HTTPS side, where there is one
//	.TCP          public port of the raw TCP tunnel, 0 when not wanted
//	.Up .UpTCP    ports of the local service behind the agent
//	.I            agent number, 0 for the only one
//	.Big          whether limits are to be raised that would stop 10,000 requests
//	.Bodies       whether bodies of many MiB are to be captured whole
//	.Cert .Key    a throw-away certificate for *.tun.test, tun.test and 127.0.0.1
//	.Self         this harness
//
// Ready means: GET /small at HTTP with Host answers 200 within 20 seconds.
type system struct {
	Name  string
	Kind  string // direct, proxy or tunnel
	Note  string
	Bins  []string
	Files map[string]string // written before the edge starts
	Setup []string          // a command run once before the edge (after Files)
	Edge  []string
	// AfterEdge is a command run once the edge listens, before the agent.
	AfterEdge  []string
	AgentFiles map[string]string // written per agent; name may use .I
	Agent      []string
	AgentEnv   []string
	EdgeEnv    []string
	HTTP       string // public address, default 127.0.0.1:{{.Pub}}
	HTTPS      string // public address with TLS and HTTP/2; empty when there is none
	Host       string // default t{{.I}}.tun.test
	Metrics    string // where the edge's metrics are; empty when it has none
	Only       string // the scenarios it is for, as in -only; empty for all
	Screen     bool   // the agent is given a terminal
	Links      int    // connections that a relay between agent and edge lets through; 0: no relay
	NoTCP      bool   // has no raw TCP tunnel
	NoRTT      bool   // the agent link cannot be put behind the delay proxy
	NoMany     bool   // no many-agents memory test
}

// takes reports whether a measurement is for s.
func (s system) takes(name string) bool {
	return s.Only == "" || slices.ContainsFunc(strings.Split(s.Only, ","), func(o string) bool { return strings.Contains(name, o) })
}

const frps = `bindAddr = "127.0.0.1"
bindPort = {{.Ctl}}
proxyBindAddr = "127.0.0.1"
vhostHTTPPort = {{.Pub}}
subDomainHost = "tun.test"
log.level = "warn"
`

const frpc = `serverAddr = "127.0.0.1"
serverPort = {{.Link}}
log.level = "warn"
`

const frpcProxies = `
[[proxies]]
name = "web{{.I}}"
type = "http"
localIP = "127.0.0.1"
localPort = {{.Up}}
subdomain = "t{{.I}}"
{{if .TCP}}
[[proxies]]
name = "tcp{{.I}}"
type = "tcp"
localIP = "127.0.0.1"
localPort = {{.UpTCP}}
remotePort = {{.TCP}}
{{end}}`

func frpSystem(name, note, extraS, extraC string) system {
	return system{
		Name: name, Kind: "tunnel", Note: note, Bins: []string{"frps", "frpc"},
		Files:      map[string]string{"frps.toml": frps + extraS},
		Edge:       []string{`{{.Bin "frps"}}`, "-c", "{{.Dir}}/frps.toml"},
		AgentFiles: map[string]string{"frpc{{.I}}.toml": frpc + extraC + frpcProxies},
		Agent:      []string{`{{.Bin "frpc"}}`, "-c", "{{.Dir}}/frpc{{.I}}.toml"},
	}
}

// lrokEnv keeps the settings of whoever runs the benchmark out of it.
var lrokEnv = []string{"HOME={{.Dir}}", "XDG_CONFIG_HOME={{.Dir}}/xdg/config", "XDG_DATA_HOME={{.Dir}}/xdg/data", "XDG_STATE_HOME={{.Dir}}/xdg/state", "XDG_RUNTIME_DIR={{.Dir}}/xdg/run"}

// lrok is lrok as it comes. With a TCP tunnel it runs two tunnels in one agent,
// which is what lrok start does.
func lrok(name, note string) system {
	return system{
		Name: name, Kind: "tunnel", Note: note, Bins: []string{"lrok"},
		EdgeEnv: lrokEnv,
		Edge: []string{
			`{{.Bin "lrok"}}`, "serve", "--domain", "tun.test", "--http", "127.0.0.1:{{.Pub}}", "--https", "127.0.0.1:{{.TLS}}", "--control", "127.0.0.1:{{.Ctl}}", "--internal", "127.0.0.1:{{.Aux}}",
			"--tls-cert", "{{.Cert}}", "--tls-key", "{{.Key}}", "--data-dir", "{{.Dir}}/data",
			"--tcp-host", "127.0.0.1", "--tcp-ports={{if .TCP}}{{.TCP}}-{{.TCP}}{{end}}",
			"{{if .Big}}--max-streams=20000{{end}}", "{{if .Big}}--max-connections=40000{{end}}", "{{if .Big}}--max-connections-per-address=40000{{end}}",
			"{{if .Bodies}}--capture-body=8MiB{{end}}", "{{if .Bodies}}--capture-tunnel=128MiB{{end}}",
		},
		// The edge's first start writes the key that all agents share.
		AgentEnv:   append([]string{"LROK_API_KEY_FILE={{.Dir}}/data/admin.key"}, lrokEnv...),
		AgentFiles: map[string]string{"lrok{{.I}}.yaml": "tunnels:\n  web: {http: {{.Up}}, hint: t{{.I}}}\n{{if .TCP}}  tcp: {tcp: {{.UpTCP}}, remote_port: {{.TCP}}}\n{{end}}"},
		Agent: []string{
			`{{.Bin "lrok"}}`, "{{if .TCP}}start{{else}}http{{end}}", "{{if not .TCP}}{{.Up}}{{end}}", "{{if not .TCP}}--hint=t{{.I}}{{end}}", "{{if .TCP}}--config={{.Dir}}/lrok{{.I}}.yaml{{end}}",
			"--edge", "127.0.0.1:{{.Link}}", "--edge-ca", "{{.Cert}}", "--quiet",
		},
		HTTPS: "127.0.0.1:{{.TLS}}", Metrics: "http://127.0.0.1:{{.Aux}}/metrics",
	}
}

// lroks are lrok and what it is compared with of its own.
func lroks() []system {
	screen := lrok("lrok-screen", "as lrok, with the screen in a terminal that answers no question")
	screen.Screen, screen.NoTCP, screen.HTTPS, screen.Only = true, true, "", "g. ,h. ,s. the screen,s. requests"
	screen.AgentEnv = append(slices.Clone(screen.AgentEnv), "EDITOR=sh {{.Dir}}/editor", "VISUAL=")
	screen.Agent = slices.DeleteFunc(slices.Clone(screen.Agent), func(s string) bool { return s == "--quiet" })
	timing := screen
	timing.Name, timing.Note, timing.Only = "lrok-timing", "as lrok-screen, built with the tag timing, with a second tunnel", loopScenario
	timing.Bins = []string{"lrok", "lrok-timing"}
	timing.Agent = slices.Concat([]string{`{{.Bin "lrok-timing"}}`, "start", "--config={{.Dir}}/lrok{{.I}}.yaml"}, screen.Agent[slices.Index(screen.Agent, "--edge"):])
	timing.AgentFiles = map[string]string{"lrok{{.I}}.yaml": "tunnels:\n  a: {http: {{.Up}}, hint: t{{.I}}}\n  b: {http: {{.Up}}, hint: docs}\n"}
	timing.AgentEnv = append(slices.Clone(screen.AgentEnv), "LROK_TIMES={{.Dir}}/times")
	// Both by way of a relay, so that nothing differs but the handover.
	many := lrok("lrok-relayed", "as lrok, by way of a relay")
	many.Links, many.Only = 64, "o. "
	one := lrok("lrok-onelink", "as lrok-relayed, with one connection for each agent: nothing can be handed over")
	one.Links, one.Only = 1, "o. "
	return []system{lrok("lrok", "defaults: TLS link, capture on"), screen, timing, many, one}
}

func builtin() []system {
	return append(lroks(), []system{
		{Name: "direct", Kind: "direct", Note: "client straight to the upstream", HTTP: "127.0.0.1:{{.Up}}"},
		{
			Name: "nginx", Kind: "proxy", Note: "one hop, keep-alive upstream, buffering off", Bins: []string{"nginx"},
			Files: map[string]string{"nginx.conf": `daemon off; user root; worker_processes 2; worker_rlimit_nofile 65536; pid {{.Dir}}/nginx.pid; error_log stderr warn;
events { worker_connections {{if .Big}}40000{{else}}4096{{end}}; }
http {
  access_log off; client_max_body_size 0; client_body_temp_path {{.Dir}}/b; proxy_temp_path {{.Dir}}/p;
  fastcgi_temp_path {{.Dir}}/f; uwsgi_temp_path {{.Dir}}/u; scgi_temp_path {{.Dir}}/s;
  keepalive_requests 100000000;
  upstream up { server 127.0.0.1:{{.Up}}; keepalive 256; keepalive_requests 100000000; }
  map $http_upgrade $conn { default upgrade; '' ''; }
  server { listen 127.0.0.1:{{.Pub}} backlog=4096; listen 127.0.0.1:{{.TLS}} ssl http2 backlog=4096; server_name *.tun.test;
    ssl_certificate {{.Cert}}; ssl_certificate_key {{.Key}};
    location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $conn; proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; proxy_request_buffering off; } }
}
`},
			Edge: []string{`{{.Bin "nginx"}}`, "-p", "{{.Dir}}", "-c", "{{.Dir}}/nginx.conf", "-e", "stderr"}, HTTPS: "127.0.0.1:{{.TLS}}", NoTCP: true,
		},
		{
			Name: "caddy", Kind: "proxy", Note: "one hop, defaults", Bins: []string{"caddy"},
			Files:   map[string]string{"Caddyfile": "{\n admin off\n auto_https off\n}\nhttp://*.tun.test:{{.Pub}} {\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{{.Up}}\n}\n"},
			EdgeEnv: []string{"HOME={{.Dir}}", "XDG_DATA_HOME={{.Dir}}", "XDG_CONFIG_HOME={{.Dir}}"},
			Edge:    []string{`{{.Bin "caddy"}}`, "run", "--config", "{{.Dir}}/Caddyfile", "--adapter", "caddyfile"}, NoTCP: true,
		},
		{
			Name: "gorp", Kind: "proxy", Note: "one hop, Go httputil.ReverseProxy with a tuned Transport (in this harness)",
			Edge: []string{"{{.Self}}", "goproxy", "127.0.0.1:{{.Pub}}", "127.0.0.1:{{.Up}}"}, NoTCP: true,
		},

		frpSystem("frp", "defaults: TLS link, yamux", "", ""),
		frpSystem("frp-pool", "as frp, transport.poolCount=5", "", "transport.poolCount = 5\n"),
		frpSystem("frp-nomux", "as frp, tcpMux=false (a TLS connection per stream)", "transport.tcpMux = false\n", "transport.tcpMux = false\n"),
		frpSystem("frp-plain", "as frp, TLS off", "", "transport.tls.enable = false\n"),

		{
			Name: "chisel", Kind: "tunnel", Note: "SSH over WebSocket; TCP-level (no host routing)", Bins: []string{"chisel"},
			Edge:  []string{`{{.Bin "chisel"}}`, "server", "--host", "127.0.0.1", "--port", "{{.Ctl}}", "--reverse"},
			Agent: []string{`{{.Bin "chisel"}}`, "client", "http://127.0.0.1:{{.Link}}", "R:127.0.0.1:{{.PubI}}:127.0.0.1:{{.Up}}", "{{if .TCP}}R:127.0.0.1:{{.TCP}}:127.0.0.1:{{.UpTCP}}{{end}}"},
			HTTP:  "127.0.0.1:{{.PubI}}",
		},

		{
			Name: "sish", Kind: "tunnel", Note: "agent is the OpenSSH client with a session (with -N the first answer takes 2 s more)", Bins: []string{"sish", "ssh"},
			Edge: []string{
				`{{.Bin "sish"}}`, "--domain=tun.test", "--http-address=127.0.0.1:{{.Pub}}", "--https=false", "--ssh-address=127.0.0.1:{{.Ctl}}", "--tcp-address=127.0.0.1",
				"--authentication=false", "--bind-random-subdomains=false", "--bind-random-ports=false", "--bind-random-aliases=false", "--verify-dns=false", "--private-keys-directory={{.Dir}}/keys",
				"--authentication-keys-directory={{.Dir}}/pub", "--https-certificate-directory={{.Dir}}/ssl", "--load-templates=false", "--log-to-stdout=false", "--port-bind-range=0,1024-65535",
			},
			Setup: []string{"mkdir", "-p", "{{.Dir}}/keys", "{{.Dir}}/pub", "{{.Dir}}/ssl"},
			Agent: []string{
				`{{.Bin "ssh"}}`, "-F", "none", "-T", "-o", "LogLevel=ERROR", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes", "-o", "BatchMode=yes",
				"-p", "{{.Link}}", "-R", "t{{.I}}:80:127.0.0.1:{{.Up}}", "{{if .TCP}}-R{{.TCP}}:127.0.0.1:{{.UpTCP}}{{end}}", "bench@127.0.0.1",
			},
		},

		// Bin "portr-db" is a migrated SQLite file holding one user with secret key "bench".
		{
			Name: "portr", Kind: "tunnel", Note: "SSH; the agent's inspector logs to SQLite (its default)", Bins: []string{"portrd", "portr", "portr-db"},
			Setup:   []string{"cp", `{{.Bin "portr-db"}}`, "{{.Dir}}/db.sqlite"},
			EdgeEnv: []string{"PORTR_DB_URL=sqlite://{{.Dir}}/db.sqlite", "PORTR_SSH_PORT={{.Ctl}}", "PORTR_PROXY_PORT={{.Pub}}", "PORTR_ADMIN_PORT={{.Aux}}", "PORTR_DOMAIN=tun.test", "PORTR_SERVER_URL=127.0.0.1:{{.Aux}}", "PORTR_SSH_URL=127.0.0.1:{{.Ctl}}", "PORTR_TUNNEL_USE_LOCALHOST=false"},
			Edge:    []string{`{{.Bin "portrd"}}`, "start", "all"},
			AgentFiles: map[string]string{"portr{{.I}}.yaml": `server_url: localhost:{{.Aux}}
ssh_url: localhost:{{.Link}}
tunnel_url: localhost:{{.Pub}}
secret_key: bench
use_localhost: true
dashboard_port: {{.AuxI}}
disable_tui: true
disable_update_check: true
insecure_skip_host_key_verification: true
tunnels:
  - name: web
    subdomain: bench{{.I}}
    host: 127.0.0.1
    port: {{.Up}}
`},
			AgentEnv: []string{"HOME={{.Dir}}/home{{.I}}"},
			Agent:    []string{`{{.Bin "portr"}}`, "--config", "{{.Dir}}/portr{{.I}}.yaml", "start"},
			Host:     "bench{{.I}}.tun.test", NoTCP: true, NoMany: true,
		},
		{
			Name: "localtunnel", Kind: "tunnel", Note: "Node; plain TCP pool of 10 connections; agent = npm localtunnel", Bins: []string{"lt-server", "lt"},
			Edge:  []string{`{{.Bin "lt-server"}}`, "--port", "{{.Pub}}", "--address", "127.0.0.1", "--domain", "tun.test"},
			Agent: []string{`{{.Bin "lt"}}`, "--host", "http://127.0.0.1:{{.Pub}}", "--port", "{{.Up}}", "--local-host", "127.0.0.1", "--subdomain", "bench{{.I}}"},
			Host:  "bench{{.I}}.tun.test", NoTCP: true, NoRTT: true,
		},
	}...)
}
