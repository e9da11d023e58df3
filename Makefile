# `make` alone lists what there is. Everything needs Go; what needs more says so.
.DEFAULT_GOAL := help
.PHONY: help build test race unit e2e smithers smithers-crash smithers-latency conformance crash overload soak lint fmt fuzz bench bench-quick bench-micro bench-spikes test-deploy release-snapshot release-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

build: ## compile bin/smithers-gateway with xcaddy
	go run ./xcaddy build

test: ## all tests: race detector, units and fuzz seeds, both builds, the binary from outside
	@sh .ci/test

smithers: ## modules that import smithers-orchestrator behind the built binary (Node, npm)
	@sh .ci/test $@

race unit e2e: ## one part of the tests
	@sh .ci/test $@

conformance: ## the official client and contract package against the built binary (Node, npm)
	@sh .ci/test $@

crash: ## reliability at full size: 200 kills, 20 stops, storage lost (about 10 minutes)
	@sh .ci/test crash

smithers-crash: ## 50 kills of Smithers, as a module's process and elsewhere (about 15 minutes)
	@sh .ci/test $@

smithers-latency: ## launches and events through the gateway against Smithers itself (about two minutes)
	@sh .ci/test $@

overload: ## attacks at full size: 10,000 half-open upgrades, floods, hostile workflows (about 5 minutes)
	@sh .ci/test overload

soak: ## an hour that cuts every client each 30 seconds; writes docs/soak.svg
	@sh .ci/test soak

lint: ## gofmt, vet, staticcheck, go mod tidy, actionlint, import order, govulncheck
	@sh .ci/lint

fmt: ## format all Go code
	gofmt -s -w .

fuzz: ## every fuzz target for FUZZTIME (default 30s) each
	@sh .ci/fuzz

bench: ## against its peers; writes bench/RESULTS.md (about 20 minutes; ONLY=fanout ROUNDS=5)
	cd bench && go run ./cmd/bench $(if $(ONLY),-run '$(ONLY)') $(if $(ROUNDS),-rounds $(ROUNDS))

bench-quick: ## the same, smaller and one round, for development (about two minutes)
	cd bench && go run ./cmd/bench -quick $(if $(ONLY),-run '$(ONLY)') $(if $(ROUNDS),-rounds $(ROUNDS))


bench-micro: ## the Go benchmarks of the packages against the previous commit (BASE, PKG, BENCH, COUNT)
	@sh .ci/bench-micro

bench-spikes: ## Postgres and NATS JetStream for docs/scaling.md (needs the package postgresql)
	GOBIN=$(CURDIR)/bin go install github.com/nats-io/nats-server/v2@v2.15.2
	cd bench/spikes && go run . -nats $(CURDIR)/bin/nats-server

test-deploy: ## deploy/reference for real: builds the image, runs Compose, systemd, a pod (needs root)
	@bash deploy/test/run

release-snapshot: ## what a release consists of, in dist (minutes; TARGETS=linux/amd64,…  VERSION=1.2.3)
	@.ci/release $(if $(TARGETS),--targets '$(TARGETS)') $(if $(VERSION),--version '$(VERSION)')

release-check: ## makes a release twice and compares every byte (RELEASE_TARGETS=linux/amd64 RELEASE_CACHE=none)
	RELEASE_TARGETS=$(or $(RELEASE_TARGETS),all) RELEASE_CACHE=$(RELEASE_CACHE) go test -count=1 -v -timeout 3h -run WholeRelease ./e2e/release

clean: ## remove what the other targets made
	rm -rf bin dist conformance/.cache
