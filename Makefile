# What one types. Each target installs what it lacks (scripts/deps.sh says what and why) and shows how far it is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help build release demo test lint deny bench soak deps

PROFILE := $(if $(CI),ci,default)
TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

deps: ## installs what building and testing need (Debian, Ubuntu)
	@scripts/deps.sh test

build: ## the binary, quickly built: target/debug/tepui
	@scripts/deps.sh build
	cargo build --bin tepui

release: ## the binary: target/release/tepui
	@scripts/deps.sh build
	cargo build --release --bin tepui

demo: ## a cluster, a registry and a container with what it sees, from nothing
	@scripts/demo.sh

test: ## every test, against a real registry, a real kernel and a virtual machine
	@scripts/test.sh "$(PROFILE)"

lint: ## formatting and lints
	@scripts/deps.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

deny: ## licences, sources and duplicates of dependencies
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	cargo deny check bans licenses sources

bench: ## the benchmarks, each as a ratio against a peer in the same run
	@scripts/deps.sh bench
	cargo build --release --workspace --bins
	"$(TARGET)/release/bench"

soak: ## for hours: 100,000 seeds (SIM_SEEDS), 10,000 tasks (TASKS), every test's long form, long fuzzing (FUZZ_SECONDS)
	@scripts/soak.sh
