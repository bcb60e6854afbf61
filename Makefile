# make demo     boots HelloWorld
# make test     runs the whole test suite; ARGS="…" goes to pytest
# make lint     ruff, mypy --strict, the C parts with -Werror
# make fuzz     changes virtqueues, then vsock's packets, at random for TIME seconds
#               each, under sanitizers
# make clean    removes what the others have made
#
# Each prepares what it needs: Debian's packages (when run by root, else it says
# which are missing), .venv with pyvmm in it, the examples.

PYTHON ?= python3
VENV := .venv
HELLO := examples/HelloWorld/HelloWorld
SOURCES := $(wildcard pyvmm/*.c pyvmm/*.h) pyvmm/_kvm_build.py setup.py pyproject.toml bin/pyvmm

.PHONY: demo test lint fuzz clean packages

demo: $(VENV)/installed
	$(VENV)/bin/pyvmm build $(HELLO).pas
	$(VENV)/bin/pyvmm boot $(HELLO).elf

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	for file in pyvmm/*.c bench/*.c tests/fuzz/*.c; do \
		$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -c -o /dev/null $$file || exit 1; done
	for file in toro/c/*.c; do \
		$(CC) -ffreestanding -O2 -Wall -Wextra -Werror -Itoro/c -c -o /dev/null $$file || exit 1; done

$(VENV)/installed: $(SOURCES) | packages
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check \
		--config-settings editable_mode=compat --editable '.[dev]'
	touch $@

FUZZERS := build/fuzz/queue build/fuzz/vsock
TIME := 60

fuzz: $(FUZZERS)
	for fuzzer in $^; do \
		$$fuzzer $(TIME) $$(date +%s) tests/fuzz/corpus/$$(basename $$fuzzer)/* || exit 1; done

$(FUZZERS): build/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(wildcard pyvmm/*.c pyvmm/*.h)
	mkdir -p $(@D)
	$(CC) -std=gnu11 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
		-o $@ $(filter %.c,$^)

packages:
	@./install-packages $(PYTHON)

clean:
	rm -rf $(VENV) build *.egg-info pyvmm/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find examples -name '*.elf' -delete
