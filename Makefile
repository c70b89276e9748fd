# make build      bin/lrok
# make test       everything CI checks; installs what it needs (see deps)
# make lint       format, vet for three systems, staticcheck, dead code
# make fuzz       every fuzz target for FUZZTIME each
# make bench      lrok beside its peers (bench/README.md); bench-docs: its tables; microbench: Go benchmarks
# make hostile    20,000 hostile inputs through the terminal emulator, nightly a million; and panics
# make pictures   docs/images: each main screen and the film of the README
# make deps       Debian packages (as root) and npm packages that the tests use
# make snapshot   what a release would contain, into dist/ (needs goreleaser)
# make clean

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

VERSION  ?= $(shell git describe --tags --dirty --always 2>/dev/null || echo dev)
FUZZTIME ?= 10s
BENCH    ?= .
PKGS     ?= ./...
COUNT    ?= 6
AGAINST  ?=
GO       ?= go
TOOL     := $(GO) tool -modfile=tools/go.mod

node    := internal/e2e/node
modules := tools bench internal/e2e/grpc

.PHONY: build
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/lrok

# Cheap checks first: who has a formatting slip learns it in seconds.
.PHONY: test
test: deps lint unit hostile fuzz check-cost
	@tail -n 1 bin/tests.txt

.PHONY: deps
deps:
	@tools/deps
	@$(MAKE) --no-print-directory $(node)/node_modules/.package-lock.json

$(node)/node_modules/.package-lock.json: $(node)/package.json $(node)/package-lock.json
	cd $(node) && { npm ci --no-progress || npm ci --no-progress; }
	touch $@

.PHONY: lint
lint: format vet staticcheck deadcode

.PHONY: format
format:
	@out=$$($(TOOL) gofumpt -l .); if [ -n "$$out" ]; then \
	  printf 'not formatted (fix: make fmt):\n%s\n' "$$out"; exit 1; fi

.PHONY: fmt
fmt:
	$(TOOL) gofumpt -w .

.PHONY: vet
vet:
	GOOS=linux $(GO) vet ./...
	GOOS=linux $(GO) vet -tags timing ./tui
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	for m in $(modules); do $(GO) -C $$m vet ./...; done

.PHONY: staticcheck
staticcheck:
	$(TOOL) staticcheck ./...

.PHONY: deadcode
deadcode:
	@out=$$($(TOOL) deadcode -test ./...); if [ -n "$$out" ]; then \
	  printf 'nothing reaches these, not even a test:\n%s\n' "$$out"; exit 1; fi

# All modules in one report, which ends with the sum and fails on a skipped test
# in CI. Vet has run by itself; go test need not do it again.
.PHONY: unit
unit:
	mkdir -p bin
	run() { $(GO) -C $$1 test -json -vet=off -race -count=1 -timeout 1h ./... || echo '{"Action":"fail","Package":"(module '$$1')"}'; }; \
	{ for m in $(modules) .; do run $$m; done; } 2>&1 | $(GO) -C tools run ./report | tee bin/tests.txt

# Without the race detector, which would make a tenth of it, and which finds a race
# in Bubble Tea (2.1.1) when that recovers from a panic.
.PHONY: hostile
hostile:
	$(GO) test -vet=off -count=1 -timeout 1h -run '^Test(HostileBytes|Panic)' ./tui

.PHONY: fuzz
fuzz:
	tools/fuzz $(FUZZTIME)

# Allocations and system calls of requests, bodies and messages, held against the
# ceilings in the code.
.PHONY: check-cost
check-cost:
	@$(GO) run ./internal/costcheck

.PHONY: bench
bench: build
	bench/run.sh $(BENCHFLAGS)

# What docs/benchmarks.md shows, from the results of make bench.
.PHONY: bench-docs
bench-docs:
	@cd bench && $(GO) run . docs results.json scale.json

# With AGAINST=file, the figures of an earlier run stand beside those of this one.
.PHONY: microbench
microbench:
	mkdir -p bin
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 1h $(PKGS) | tee bin/microbench.txt
	$(TOOL) benchstat $(AGAINST) bin/microbench.txt

.PHONY: pictures
pictures: build
	tools/pictures

.PHONY: snapshot
snapshot:
	goreleaser release --snapshot --clean

.PHONY: clean
clean:
	rm -rf bin dist $(node)/node_modules
