# The two commands of the README, and the ones of CONTRIBUTING.md.
PYTHON ?= $(if $(filter Windows_NT,$(OS)),python,python3)
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
INSTALLED := $(VENV)/.installed
SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md LICENSE $(shell find rust/src python -type f -not -path '*/__pycache__/*')

.PHONY: demo test test-rust test-python test-arm check format goldens parity bench clean

demo: $(INSTALLED)
	$(BIN)/sd-rbee generate "a robot" --seed 7 -o a-robot.png

test: test-rust test-python

test-rust:
	cargo test --release --locked

test-python: $(VENV)/.test
	$(BIN)/python -m pytest

# Arm's kernels on another processor, under qemu.
ARM := aarch64-unknown-linux-gnu
test-arm: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER := aarch64-linux-gnu-gcc
test-arm: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := qemu-aarch64-static -cpu max -L /usr/aarch64-linux-gnu
test-arm:
	for set in portable neon neon-dotprod neon-bf16; do \
		SD_RBEE_CPU=$$set cargo test --release --locked --target $(ARM) --test integration -- \
			kernels:: --skip kernels::instruction_sets || exit 1; \
	done

check: $(VENV)/.check
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
	cargo clippy --release --locked --features python -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest sd_rbee._native
	$(BIN)/python -m pytest tests/test_import_floors.py

format:
	cargo fmt
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# These need torch and diffusers: pip install ".[parity]"
goldens: $(VENV)/.test
	$(BIN)/python -m tools.goldens

parity: $(VENV)/.test
	$(BIN)/python -m pytest -m parity

bench: $(INSTALLED)
	$(BIN)/python -m benches

clean:
	rm -rf $(VENV) target dist

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	touch $@

# pip does not replace a package by one of the same version unless it is forced to.
$(INSTALLED): $(VENV)/.made $(SOURCES)
	rm -rf target/wheels
	$(PIP) wheel . --no-deps -w target/wheels
	$(PIP) install "$$(ls target/wheels/*.whl)[serve]"
	$(PIP) install --force-reinstall --no-deps target/wheels/*.whl
	touch $@

$(VENV)/.test: $(INSTALLED)
	$(PIP) install --group test
	touch $@

$(VENV)/.check: $(INSTALLED)
	$(PIP) install --group check
	touch $@
