# Headwater. Plain `make` prints the targets. Everything needs Go and make only; GNU make.

SHELL     := /bin/bash
SERVICES  := ingest state metricsapi exporter allinone
MODULES   := schemas services test
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS   := -s -w -X github.com/headwater-metrics/headwater/services/internal/daemon.version=$(VERSION)
GO        ?= go
FUZZTIME  ?= 20s
RUN_FLAGS ?= --metric-resolution=5s
PARITY_FLAGS ?=
TOPPARITY_FLAGS ?=
# Sizes of cluster for the comparisons with kube-state-metrics and metrics-server; 100,1000,5000 takes half an hour or more
# and up to 16 GB of memory. With several, PLOT=docs/scale.svg draws how cost grows.
BENCH_NODES ?= 1000
PLOT      ?=

.PHONY: help
help: ## Print this list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the binaries into bin/.
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/ $(addprefix ./services/,$(SERVICES))

.PHONY: run
run: build ## Run everything in one process on a simulated cluster (RUN_FLAGS="--kubeconfig ..." for a real one).
	./bin/allinone $(RUN_FLAGS)

.PHONY: test
test: ## Unit and component tests, with the race detector.
	cd schemas && $(GO) test -race ./...
	cd services && $(GO) test -race -timeout 20m ./...
	cd services && GOWORK=off $(GO) build -race ./...

.PHONY: e2e
e2e: build ## Scenarios on a real control plane, kubectl and Prometheus (the first run builds them).
	cd test && GOWORK=off $(GO) run ./cmd/pins
	cd test && GOWORK=off $(GO) run ./cmd/pins metrics-server-e2e vpa-recommender kubectl-1.37
	cd test && GOWORK=off $(GO) test -count=1 -timeout 35m -v $$(GOWORK=off $(GO) list ./... | grep -vE '/(top)?parity$$')
	$(MAKE) -j2 --output-sync=target parity-exporter parity-metricsapi PARITY_FLAGS=-short

.PHONY: parity
parity: ## Compare with the real kube-state-metrics and the real metrics-server.
	$(MAKE) parity-exporter
	$(MAKE) parity-metricsapi

.PHONY: parity-exporter
parity-exporter: build ## Compare with kube-state-metrics alone (PARITY_FLAGS="-short", "-objects=5000 -seed=7").
	cd test && GOWORK=off $(GO) run ./cmd/pins
	cd test && GOWORK=off $(GO) run ./cmd/pins kube-state-metrics oracle
	cd test && GOWORK=off $(GO) test -count=1 -timeout 15m -v ./parity $(PARITY_FLAGS)

.PHONY: parity-metricsapi
parity-metricsapi: build ## Compare with metrics-server alone, two minutes that are mostly waiting (TOPPARITY_FLAGS="-pods=5000 -seed=7").
	cd test && GOWORK=off $(GO) run ./cmd/pins
	cd test && GOWORK=off $(GO) test -count=1 -timeout 15m -v ./topparity $(TOPPARITY_FLAGS)

.PHONY: bench
bench: build ## Print the figures, as ratios in one run.
	cd schemas && $(GO) test -run '^$$' -bench . -benchmem ./...
	cd services && $(GO) test -run '^$$' -bench . -benchmem -timeout 30m ./...
	cd test && GOWORK=off $(GO) run ./cmd/pins metrics-server kube-state-metrics nats-server && GOWORK=off $(GO) test -run '^$$' -bench . -benchtime 1x -timeout 90m ./bench/... -args -nodes=$(BENCH_NODES)

.PHONY: bench-ksm
bench-ksm: build ## Compare with kube-state-metrics alone (BENCH_NODES=100,1000,5000 PLOT=docs/scale.svg).
	cd test && GOWORK=off $(GO) run ./cmd/pins kube-state-metrics nats-server && GOWORK=off $(GO) test -run '^$$' -bench KubeStateMetrics -benchtime 1x -timeout 90m ./bench/... -args -nodes=$(BENCH_NODES) -plot=$(abspath $(PLOT))

.PHONY: bench-scale
bench-scale: build ## Compare with metrics-server on 1,000 nodes, seven minutes (BENCH_NODES=100,1000,5000 PLOT=docs/scale-usage.svg: half an hour, and 16 GB of memory).
	cd test && GOWORK=off $(GO) run ./cmd/pins metrics-server nats-server && GOWORK=off $(GO) test -run '^$$' -bench Scale -benchtime 1x -timeout 120m ./bench/... -args -nodes=$(BENCH_NODES) -plot=$(abspath $(PLOT))

.PHONY: golden
golden: ## Write the golden files anew; review the difference before you commit it.
	cd schemas && $(GO) test ./... -update
	git --no-pager diff --stat -- '*testdata*'

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME.
	@set -e; for module in schemas services; do \
	  for file in $$(cd $$module && grep -rlE '^func Fuzz' --include='*_test.go' .); do \
	    for name in $$(grep -oE '^func Fuzz[A-Za-z0-9_]+' $$module/$$file | cut -c6-); do \
	      echo "== $$module/$$(dirname $$file) $$name"; \
	      (cd $$module && $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file)); \
	    done; \
	  done; \
	done

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and the same without the workspace.
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); if [ -n "$$unformatted" ]; then echo "not gofmt'ed: $$unformatted"; exit 1; fi
	@# With -race where the tests have it: what they import is compiled once, then, not twice.
	cd schemas && GOWORK=off $(GO) vet -race ./...
	cd services && GOWORK=off $(GO) vet -race ./...
	cd test && GOWORK=off $(GO) vet ./...
	staticcheck=$$(cd test && GOWORK=off $(GO) run ./cmd/pins staticcheck) && \
	  (cd schemas && GOWORK=off GOFLAGS=-race $$staticcheck ./...) && (cd services && GOWORK=off GOFLAGS=-race $$staticcheck ./...) && (cd test && GOWORK=off $$staticcheck ./...)

.PHONY: tidy
tidy: ## Tidy every module and bring the workspace in step.
	for module in $(MODULES); do (cd $$module && GOWORK=off $(GO) mod tidy) || exit 1; done
	$(GO) work sync

.PHONY: up
up: ## docker compose up: NATS, the four services, the simulated cluster and Prometheus.
	docker compose up --build --detach --wait

.PHONY: down
down: ## docker compose down; the volumes stay.
	docker compose down

.PHONY: compose-test
compose-test: build ## Bring the compose file up with images made from local binaries, check it, take it down.
	deploy/compose-test.sh

.PHONY: clean
clean: ## Remove bin/ and test caches; the cache of the real control plane stays.
	rm -rf bin
	$(GO) clean -testcache
