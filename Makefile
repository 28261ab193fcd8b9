# Builds, tests, plays and installs dlmp. Every target does its own set-up; run them as root (sudo),
# since packages are installed and network namespaces made.

# Under sudo, cargo is in the home of whoever typed the command.
USER_HOME := $(if $(SUDO_USER),$(shell getent passwd $(SUDO_USER) | cut -d: -f6),$(HOME))
CARGO ?= $(or $(shell command -v cargo),$(USER_HOME)/.cargo/bin/cargo)
ifeq ($(shell command -v cargo),)
export CARGO_HOME ?= $(USER_HOME)/.cargo
export RUSTUP_HOME ?= $(USER_HOME)/.rustup
endif
PREFIX ?= /usr/local
DESTDIR ?=
PROFILE ?= release
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
BUILT = $(TARGET_DIR)/$(PROFILE)
CARGO_PROFILE = $(if $(filter release,$(PROFILE)),--release,)

# Debian packages, by what needs them.
BUILD_PACKAGES = clang libclang-dev libbpf-dev
RUN_PACKAGES = iproute2 dnsmasq-base ethtool iputils-ping util-linux
# The tests compare the receive rules with those of Open vSwitch, whose service need not run; a manager that is not ours is played
# in Python.
TEST_PACKAGES = openvswitch-switch python3
# libFuzzer is C++.
FUZZ_PACKAGES = g++
VIRTIO_PACKAGES = qemu-system-x86 busybox-static kmod
VM_PACKAGES = user-mode-linux kmod libteam-utils openvswitch-switch

.PHONY: build demo demo-vm test test-vm test-virtio fuzz bench bench-starved install check clean

build: export DLMP_PACKAGES = $(BUILD_PACKAGES)
build:
	./scripts/packages
	$(CARGO) build $(CARGO_PROFILE) --workspace --bins

demo: export DLMP_PACKAGES = $(BUILD_PACKAGES) $(RUN_PACKAGES)
demo:
	./scripts/packages
	$(CARGO) build $(CARGO_PROFILE) --workspace --bins
	$(BUILT)/dlmp-demo

# The same with a guest that is a virtual machine, which migrates in the end. QEMU needs no KVM.
demo-vm: export DLMP_PACKAGES = $(BUILD_PACKAGES) $(RUN_PACKAGES) $(VIRTIO_PACKAGES)
demo-vm:
	./scripts/packages
	$(CARGO) build $(CARGO_PROFILE) --workspace --bins
	./scripts/vm-guest $(TARGET_DIR)/virtio $(BUILT)
	$(BUILT)/dlmp-demo --vm $(TARGET_DIR)/virtio

test: export DLMP_PACKAGES = $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES)
# Most tests wait most of the time.
test: export RUST_TEST_THREADS ?= $(shell expr $$(nproc) + 1)
test:
	./scripts/packages
	$(CARGO) build --workspace --all-targets
	$(CARGO) test --workspace --no-fail-fast

bench: export DLMP_PACKAGES = $(BUILD_PACKAGES) $(RUN_PACKAGES) $(VM_PACKAGES) bpftool
bench:
	./scripts/packages
	$(CARGO) build --release --workspace --bins
	$(TARGET_DIR)/release/dlmp-bench >docs/benchmarks.md
	./scripts/vm -p $(TARGET_DIR)/release/dlmp-bench peers >>docs/benchmarks.md
	$(TARGET_DIR)/release/dlmp-bench cost >>docs/benchmarks.md
	$(TARGET_DIR)/release/dlmp-bench clients >>docs/benchmarks.md
	$(TARGET_DIR)/release/dlmp-bench discovery >>docs/benchmarks.md
	$(TARGET_DIR)/release/dlmp-bench groups >>docs/benchmarks.md
	$(TARGET_DIR)/release/dlmp-bench guard >>docs/benchmarks.md
	$(TARGET_DIR)/release/dlmp-bench multicast >>docs/benchmarks.md
	$(TARGET_DIR)/release/dlmp-bench vnets >>docs/benchmarks.md
	$(TARGET_DIR)/release/dlmp-bench managers >>docs/benchmarks.md

# False failovers with every core saturated: 10 minutes.
bench-starved: export DLMP_PACKAGES = $(BUILD_PACKAGES) $(RUN_PACKAGES) stress-ng
bench-starved:
	./scripts/packages
	$(CARGO) build --release --workspace --bins
	$(TARGET_DIR)/release/dlmp-bench starved

# The end-to-end tests on Debian's stock kernel, the oldest that dlmp supports.
test-vm: export DLMP_PACKAGES = $(BUILD_PACKAGES) $(RUN_PACKAGES) $(VM_PACKAGES)
test-vm:
	./scripts/packages
	$(CARGO) build --workspace --all-targets
	./scripts/vm $(CARGO) test --offline -p dlmp-tests -p dlmp-datapath -p dlmp-guard -p dlmp-netlink --no-fail-fast -- --test-threads=1

# Failover between cards of QEMU, virtio-net and e1000e, which filter addresses and VLANs by themselves, without KVM: some minutes.
test-virtio: export DLMP_PACKAGES = $(BUILD_PACKAGES) $(RUN_PACKAGES) $(VIRTIO_PACKAGES)
test-virtio:
	./scripts/packages
	$(CARGO) build --workspace --bins
	$(CARGO) test -p dlmp-tests --test virtio \
		--config 'target."cfg(all())".runner = ["$(CURDIR)/scripts/vm-virtio", "$(abspath $(TARGET_DIR))/virtio"]' -- --nocapture

# Each parser for a short while, from the corpus that is kept.
fuzz: export DLMP_PACKAGES = $(FUZZ_PACKAGES)
fuzz: export CARGO := $(CARGO)
fuzz:
	./scripts/packages
	./scripts/fuzz $(abspath $(TARGET_DIR))/fuzz

# Formatting and lints, as CI runs them.
check: export DLMP_PACKAGES = $(BUILD_PACKAGES)
check:
	./scripts/packages
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path crates/wire/fuzz/Cargo.toml
	$(CARGO) clippy --workspace --all-targets -- -D warnings

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/dlmp
	install -m 755 $(BUILT)/dlmp $(DESTDIR)$(PREFIX)/bin/dlmp
	install -m 755 $(BUILT)/dlmpd $(BUILT)/ldmd $(DESTDIR)$(PREFIX)/sbin
	for name in dladm dlstat ipadm ldm; do ln -sfn dlmp $(DESTDIR)$(PREFIX)/bin/$$name; done
	install -m 644 docs/io.dlmp.*.varlink docs/dlmpd.toml.example docs/ldmd.toml.example $(DESTDIR)$(PREFIX)/share/dlmp

clean:
	$(CARGO) clean
