# Weft needs git, make and Go; the race detector is used where a C compiler is present.
GO      ?= go
RACE    := $(shell command -v $(or $(CC),cc) >/dev/null 2>&1 && [ "$$($(GO) env CGO_ENABLED)" = 1 ] && echo -race)
LINT    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 5m

.PHONY: all build run test check fmt vet lint bench fuzz soak interop docs clean

all: build

build: ## build ./bin/weft
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/weft ./cmd/weft

run: build ## build and start Weft with its embedded default configuration
	./bin/weft run --demo

test: ## everything CI runs
	./test/run.sh

check: fmt vet lint ## format, vet, lint, architecture and unit tests: under three minutes
	$(GO) test $(RACE) -short ./...

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt differs in:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...

lint:
	$(GO) run $(LINT) run ./...

bench: ## compare CPU, memory and latency with nginx, HAProxy and Caddy (about 40 minutes without the attacks; BENCH='-run get' for one)
	$(GO) run ./test/bench $(BENCH)

fuzz: ## run every fuzz target for FUZZTIME (default 5m)
	./test/fuzz.sh $(FUZZTIME)

soak: ## run what takes its time by the clock: a stream through a hundred reloads, a thousand certificates, ten thousand changes (four minutes)
	$(GO) test -tags soak -count=1 -timeout 10m -run '^TestSoak' -v ./test/e2e ./test/xds

interop: ## run against real peers where installed (nginx, HAProxy, curl, OpenSSL, Chromium, testssl.sh, ...), h2spec and gRPC's
	$(GO) test -tags interop -count=1 -timeout 30m ./test/interop/...

docs: ## regenerate the generated pages
	$(GO) run ./docs/gen

clean:
	rm -rf bin
