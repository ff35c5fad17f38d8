# Build, check and test vmspan. `make help` lists the targets.
#
# Everything comes from `npm ci`: Bun compiles the binaries, so a machine with Node, npm and make is
# enough. Binaries land in dist/, everything else that is generated at build time in build/.

BIN := node_modules/.bin
BUN := $(BIN)/bun

# The flags are part of the security model: these programs run as root, and without the last two Bun
# would load .env and execute bunfig.toml preloads from whatever directory they are started in.
COMPILE_FLAGS := --compile --minify --sourcemap --bytecode --format=esm \
	--no-compile-autoload-dotenv --no-compile-autoload-bunfig

SOURCES := $(shell find agent-guest agent-host shared -name '*.ts' 2>/dev/null)
SUFFIXES := glibc musl arm64
TARGET_glibc := bun-linux-x64
TARGET_musl := bun-linux-x64-musl
TARGET_arm64 := bun-linux-arm64

GLIBC := dist/agent-guest dist/agent-host
MUSL := dist/agent-guest-musl dist/agent-host-musl
ARM64 := dist/agent-guest-arm64 dist/agent-host-arm64

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

## build: both binaries, glibc and musl (the default)
.PHONY: build
build: $(GLIBC) $(MUSL)

## glibc: dist/agent-guest and dist/agent-host only
.PHONY: glibc
glibc: $(GLIBC)

## arm64: dist/agent-guest-arm64 and dist/agent-host-arm64
.PHONY: arm64
arm64: $(ARM64)

# $(1) output, $(2) agent, $(3) its worker, $(4) variant. Each output has a directory of its own,
# because Bun drops source maps beside it, so that `make -j` writes no file twice; the final rename
# replaces a binary that is running.
define compile_rule
$(1): $$(SOURCES) build/version build/deps.stamp
	@echo "build    $(1) ($$(TARGET_$(4)); first use of a target downloads its runtime)"
	@mkdir -p dist build/compile/$(notdir $(1))
	@$$(BUN) build $$(COMPILE_FLAGS) --target=$$(TARGET_$(4)) \
		--define VMSPAN_VERSION="\"$$$$(cat build/version)\"" \
		$(2)/main.ts $(2)/$(3).ts \
		--outfile build/compile/$(notdir $(1))/$(2) >build/compile/$(notdir $(1))/log 2>&1 \
		|| { cat build/compile/$(notdir $(1))/log >&2; exit 1; }
	@mv build/compile/$(notdir $(1))/$(2) $(1)
endef
$(eval $(call compile_rule,dist/agent-guest,agent-guest,sampler_worker,glibc))
$(eval $(call compile_rule,dist/agent-host,agent-host,engine_worker,glibc))
$(eval $(call compile_rule,dist/agent-guest-musl,agent-guest,sampler_worker,musl))
$(eval $(call compile_rule,dist/agent-host-musl,agent-host,engine_worker,musl))
$(eval $(call compile_rule,dist/agent-guest-arm64,agent-guest,sampler_worker,arm64))
$(eval $(call compile_rule,dist/agent-host-arm64,agent-host,engine_worker,arm64))

# "0.1.0" from package.json, "+1e60bb7" from git where there is one. Rewritten only when it changes.
build/version: FORCE
	@mkdir -p build
	@version=$$(sed -n 's/^  "version": "\(.*\)",$$/\1/p' package.json); \
	commit=$$(git describe --tags --always --dirty 2>/dev/null || true); \
	echo "$$version$${commit:++$$commit}" >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
.PHONY: FORCE
FORCE:

## deps: npm packages, Bun among them, when the lock file asks for it
.PHONY: deps
deps: build/deps.stamp

# npm itself writes this file at the end of an installation.
node_modules/.package-lock.json: package-lock.json
	@echo "deps     npm ci (10 s and 460 MB, once)"
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# npm may be configured to run no install scripts; Bun's only links its binary, so run it by hand.
build/deps.stamp: node_modules/.package-lock.json
	@mkdir -p build
	@$(BUN) --version >/dev/null 2>&1 || node node_modules/bun/install.js
	@for tool in bun buf deno biome tsc; do $(BIN)/$$tool --version >build/tool.log 2>&1 \
		|| { cat build/tool.log >&2; \
		echo "deps     $(BIN)/$$tool does not run: wants 'npm ci' with its platform package" >&2; \
		exit 1; }; done
	@touch $@

## check: types, lint, format, house rules, generated code
.PHONY: check
check: build/deps.stamp
	@echo "check    tsc (strict)"
	@$(BIN)/tsc --noEmit
	@echo "check    deno check (the Deno backend, which tsc cannot know)"
	@$(BIN)/deno check --quiet shared/ffi/deno.ts
	@echo "check    biome (lint and format)"
	@$(BIN)/biome check --error-on-warnings .
	@echo "check    house rules (test/tidy)"
	@$(BUN) test ./test/tidy --only-failures
	@echo "check    generated code is fresh (proto, native stubs)"
	@$(BUN) proto/generate.ts --check
	@$(BUN) shared/ffi/native/build.ts --check

## test: everything, a real guest included (root; ends with "N passed, N failed, N skipped")
.PHONY: test
test: build
	@$(BUN) test/run.ts $(T)

## nightly: the same tests in their long forms: kills, fuzzing, soak (root; hours)
.PHONY: nightly
nightly: build
	@VMSPAN_NIGHTLY=1 $(BUN) test/run.ts $(T)

## test-deno: smoke of both agents' source under Deno (part of `make test` too)
.PHONY: test-deno
test-deno: build/deps.stamp
	@$(BUN) test/run.ts test/deno

## demo: boots a guest under QEMU and measures its interrupt latency (root; under two minutes)
.PHONY: demo
demo: glibc
	@$(BUN) test/demo/demo.ts

## bench: cost per event beside perf, trace-cmd and the floor (root; about five minutes)
.PHONY: bench
bench: glibc
	@$(BUN) test/bench/bench.ts

## proto: regenerates shared/wire/gen from proto/
.PHONY: proto
proto: build/deps.stamp
	@echo "proto    buf generate"
	@$(BUN) proto/generate.ts

## native: recompiles the native stubs into shared/ffi/native/stubs_x64.gen.ts (wants gcc)
.PHONY: native
native: build/deps.stamp
	@echo "native   gcc shared/ffi/native/stubs.c"
	@$(BUN) shared/ffi/native/build.ts

## clean: removes dist/ and build/ (not node_modules/)
.PHONY: clean
clean:
	@rm -rf dist build

## help: this list
.PHONY: help
help:
	@sed -n 's/^## \([a-z0-9-]*\): /  make \1\t/p' Makefile | expand -t 18
