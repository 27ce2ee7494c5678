# What people and CI run. `make up` and `make test` need nothing but Rust on a Debian machine; they say what they install.

CARGO   ?= cargo
TARGET  ?= $(or $(CARGO_TARGET_DIR),target)
KONTIKI := $(TARGET)/release/kontiki
IMAGE   := $(TARGET)/web-image.tar
# RocksDB is built once and linked by every selection of packages; see raft/build-rocksdb.sh.
ROCKSDB := $(abspath $(TARGET))/rocksdb-$(shell sed -n '/name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
LINKED  := ROCKSDB_LIB_DIR=$(ROCKSDB) ROCKSDB_STATIC=1
# RUSTFLAGS in the environment would take the place of those in .cargo/config.toml.
ifdef RUSTFLAGS
export RUSTFLAGS := $(RUSTFLAGS) --cfg tokio_unstable
endif
# Passed on to `kontiki up`: make up UP="--controllers 5 --detach"
UP      ?=

# Debian packages: RocksDB is C++ and its bindings are made by libclang; busybox is the example image's shell.
PACKAGES := g++ libclang-dev busybox-static
# By these root breaks disks and networks of real processes (chaos-tests/real).
ifeq ($(shell id -u),0)
test chaos: PACKAGES += strace e2fsprogs iproute2 nftables
endif

# The simulations are built apart: they ask for hooks in the product's crates that nothing else may be built with.
SIMULATED := kontiki-chaos kontiki-chaos-model kontiki-chaos-protocol
CHAOS     := $(TARGET)/release/kontiki-chaos
REAL      := $(TARGET)/release/kontiki-chaos-real
# How long a campaign takes: make chaos MINUTES=80
MINUTES   ?= 20
# What is measured, about how long each question takes, and what the reader should know of the machine meanwhile:
# make bench NAME=create-one SECONDS=120 NOTE="Nothing else ran."
# NAME=inside measures what is inside a process, which has no peer and its own time.
NAME      := all
SECONDS   := 40
NOTE      :=
# Campaigns that were: one line for each layer.
LEDGER    := chaos-tests/ledger.jsonl

# How often agents and shims are killed, and which steps: make kill-walk KILLS=500 SEED=7
KILLS     ?= 500
SEED      ?= $(shell date +%s)

# How many requests each operation of the OpenAPI documents gets that keep to them, and as many that do not.
EXAMPLES  ?= 10

# Kubernetes' own conformance suite: make conformance FOCUS=sig-apps
FOCUS     :=

.PHONY: up down status build rocksdb image test conformance schemathesis chaos fuzz kill-walk bench lint fmt deny ci prerequisites help

help:
	@echo 'make up       build, and start three controllers and three workers on this machine'
	@echo 'make down     stop them; their data stays in .kontiki'
	@echo 'make test     run all tests, and a share of the chaos tests'
	@echo 'make conformance  Kubernetes'"'"' own suite, as root and with Go: all that applies, or make conformance FOCUS=sig-apps'
	@echo 'make schemathesis  hold a cluster to the OpenAPI documents that it serves: make schemathesis EXAMPLES=20 SEED=7'
	@echo 'make chaos    a campaign of chaos tests: make chaos MINUTES=80'
	@echo 'make fuzz     give decoders arbitrary input for long: make fuzz MINUTES=80'
	@echo 'make kill-walk  kill a worker'"'"'s agent and shims at the steps of pods'"'"' lives, as root: make kill-walk KILLS=500'
	@echo 'make bench    measure and write docs/benchmarks.md: all beside etcd, or make bench NAME=create-one, NAME=inside'
	@echo 'make lint     check format and lints'
	@echo 'make fmt      put the format right'
	@echo 'make ci       what CI runs'

up: build image
	@exec $(KONTIKI) up --image $(IMAGE) $(UP)

down:
	@$(KONTIKI) down

status:
	@$(KONTIKI) status

build: rocksdb
	$(LINKED) $(CARGO) build --release --locked -p kontiki

image: $(IMAGE)

$(IMAGE): $(wildcard examples/web/src/*.rs) examples/web/Cargo.toml examples/build-image.sh | prerequisites
	@mkdir -p $(@D)
	examples/build-image.sh $@

rocksdb: prerequisites
	@raft/build-rocksdb.sh $(ROCKSDB)

# As root it plays plans with real processes, too; without it the tests of chaos-tests/real say that they are skipped.
test: rocksdb image
	$(LINKED) KONTIKI_BINARY=$(abspath $(KONTIKI)) KONTIKI_TEST_IMAGE=$(abspath $(IMAGE)) \
		$(CARGO) test --release --locked --workspace $(SIMULATED:%=--exclude %)
	$(LINKED) $(CARGO) test --release --locked $(SIMULATED:%=-p %)

# It builds the suite from the Go module k8s.io/kubernetes (some ten minutes of two cores, once) and starts a cluster of its own.
conformance: PACKAGES += bash-static
conformance: build
	tests/conformance/run.py --kontiki $(abspath $(KONTIKI)) --out $(abspath $(TARGET))/conformance --focus '$(FOCUS)'

# All operations of all documents, on a cluster of its own; report.md in target/schemathesis says what came of it.
schemathesis: build
	python3 -m venv $(abspath $(TARGET))/schemathesis/python
	$(abspath $(TARGET))/schemathesis/python/bin/python -m pip install -q -r tests/python/requirements.txt
	$(abspath $(TARGET))/schemathesis/python/bin/python tests/schemathesis/run.py --kontiki $(abspath $(KONTIKI)) \
		--out $(abspath $(TARGET))/schemathesis --examples $(EXAMPLES) --seed $(SEED)

# A campaign with other seeds each time: what was found before, the planted defects, both simulations, then real processes, which
# needs root. What fails is printed with the command that replays it, and kept in target/chaos. A failure does not keep the rest from
# being tried.
chaos: build image
	$(LINKED) $(CARGO) build --release --locked -p kontiki-chaos
	$(LINKED) $(CARGO) build --release --locked -p kontiki-chaos-real
	failed=''; \
	try() { echo "$$@"; "$$@" || failed="$$failed\n  $$*"; }; \
	export KONTIKI_BINARY=$(abspath $(KONTIKI)) KONTIKI_TEST_IMAGE=$(abspath $(IMAGE)); \
	try $(CHAOS) regressions; \
	try $(CHAOS) defects; \
	for plan in chaos-tests/plans/*.jsonl; do try $(CHAOS) play --layer l1 $$plan; done; \
	try $(CHAOS) seeds --layer l0 --minutes $$((($(MINUTES) * 3 + 19) / 20)) --coverage --ledger $(LEDGER); \
	try $(CHAOS) seeds --layer l1 --hours --minutes $$((($(MINUTES) + 9) / 10)) --ledger $(LEDGER); \
	try $(CHAOS) seeds --layer l1 --minutes $$((($(MINUTES) * 7 + 19) / 20)) --coverage --ledger $(LEDGER); \
	for plan in chaos-tests/real/regressions/*.jsonl; do try $(REAL) play $$plan; done; \
	try $(REAL) seeds --from $$(date +%s) --count 1000 --minutes $$((($(MINUTES) * 2 + 4) / 5)) --coverage --ledger $(LEDGER); \
	$(CHAOS) ledger; \
	[ -z "$$failed" ] || { printf "failed:$$failed\n" >&2; exit 1; }

# Each target has its share of the time and other seeds each time. What fails is kept in target/fuzz and printed with the command that
# replays it, as is the slowest input of each. `make test` gives each target a fixed number of inputs; KONTIKI_FUZZ_SEED repeats that.
fuzz: prerequisites
	$(CARGO) run --release --locked -p kontiki-fuzz -- run $(MINUTES) $(abspath $(TARGET))/fuzz

# It needs root. What goes wrong is printed with the seed and the life that did.
kill-walk: prerequisites
	KONTIKI_WALK_KILLS=$(KILLS) KONTIKI_WALK_SEED=$(SEED) $(CARGO) test --release --locked -p kontiki-worker --test kill_walk -- \
		--ignored --exact the_whole_walk --nocapture

ifeq ($(NAME),inside)
bench: prerequisites
	CRITERION_HOME=$(abspath $(TARGET))/criterion $(CARGO) bench --locked -p kontiki-inside
	$(CARGO) run --release --locked -p kontiki-inside -- --times $(abspath $(TARGET))/criterion --note "$(NOTE)" --docs docs
else
# etcd is the peer, and its client's build needs protoc. Its members are processes of their own with folders and ports of their own: a
# service of the machine is neither used nor touched.
bench: PACKAGES += etcd-server protobuf-compiler
bench: build image
	$(LINKED) $(CARGO) build --release --locked -p kontiki-benches --features etcd
	$(TARGET)/release/kontiki-bench $(NAME) --binary $(KONTIKI) --image $(IMAGE) --seconds $(SECONDS) \
		--note "$(NOTE)" --docs docs
endif

lint: rocksdb
	$(CARGO) fmt --all --check
	$(LINKED) $(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

fmt:
	$(CARGO) fmt --all

deny:
	$(CARGO) deny --offline check bans licenses sources

ci:
	.ci/run

prerequisites:
	@command -v $(CARGO) >/dev/null || { echo 'Rust is missing: see https://rustup.rs' >&2; exit 1; }
	@missing=''; \
	for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	case "$$missing" in *etcd-server*) \
		echo 'etcd-server may start a service of its own, which is not used here: to stop it, systemctl disable --now etcd';; \
	esac; \
	command -v apt-get >/dev/null || { echo "install the equivalents of:$$missing" >&2; exit 1; }; \
	if [ "$$(id -u)" = 0 ]; then \
		echo "installing:$$missing"; apt-get update -qq && apt-get install -y -qq $$missing >/dev/null; \
	else \
		echo "to install:$$missing (by sudo apt-get, which may ask for your password)"; \
		sudo apt-get update -qq && sudo apt-get install -y -qq $$missing >/dev/null; \
	fi
