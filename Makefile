# make demo     boots HelloWorld
# make test     runs the whole test suite; ARGS="…" goes to pytest
# make test-engines   runs the tests by container engines, and installs these
# make lint     ruff, mypy --strict, the C parts with -Werror
# make fuzz     changes virtqueues, vsock's packets, instructions, then States, at random,
#               and lets threads race for devices, for TIME seconds each, under sanitizers
# make sanitize runs the tests of the C parts that a guest reaches, under sanitizers
# make lab      opens a shell on hardware-style KVM (tests/lab)
# make test-lab runs tests there, for LAB_TIME seconds at most; ARGS="…" goes to pytest
# make clean    removes what the others have made
#
# Each prepares what it needs: Debian's packages (when run by root, else it says
# which are missing), .venv with pyvmm in it, the examples.

PYTHON ?= python3
VENV := .venv
HELLO := examples/HelloWorld/HelloWorld
NATIVE := pyvmm/_kvm.c $(shell find pyvmm/native -name '*.c')
HEADERS := $(shell find pyvmm/native -name '*.h')
SOURCES := $(NATIVE) $(HEADERS) $(wildcard pyvmm/command/executable/*) setup.py pyproject.toml bin/pyvmm \
	$(shell find pyvmm vhost_user -name '*.py') # frozen into the command

.PHONY: demo test test-engines lint fuzz sanitize lab test-lab clean kvm packages test-packages

demo: kvm $(VENV)/installed
	$(VENV)/bin/pyvmm build $(HELLO).pas
	$(VENV)/bin/pyvmm boot $(HELLO).elf

test: test-packages $(VENV)/tools
	$(VENV)/bin/python -m pytest $(ARGS)

test-engines: test-packages $(VENV)/tools
	@./install-packages $(PYTHON) engines
	$(VENV)/bin/pip install --quiet --disable-pip-version-check grpcio
	$(VENV)/bin/python -m pytest -rs tests/engines $(ARGS)

lint: $(VENV)/tools
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	for file in $(NATIVE) $(filter-out bench/mpi.c,$(wildcard bench/*.c)) tests/fuzz/*.c; do \
		$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -Ipyvmm/native -c -o /dev/null $$file || exit 1; done
	for file in pyvmm/command/executable/*.c; do \
		$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -Ipyvmm/native -Ibuild/executable \
		-I$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))') \
		-c -o /dev/null $$file || exit 1; done
	for file in toro/mpi/*.c toro/mpi/plain/*.c; do \
		$(CC) -ffreestanding -O2 -Wall -Wextra -Werror -Itoro/mpi -Itoro/c -c -o /dev/null $$file || exit 1; done
	for file in toro/c/*.c bench/mpi.c; do \
		$(VENV)/bin/pyvmm cc -Wall -Wextra -Werror -Itoro/c -c -o /dev/null $$file || exit 1; done

$(VENV)/installed: $(SOURCES) | packages
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check \
		--config-settings editable_mode=compat --editable .
	touch $@

# What checks and tests want, from pyproject.toml.
$(VENV)/tools: pyproject.toml $(VENV)/installed
	$(VENV)/bin/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*project["optional-dependencies"]["dev"], sep="\n")' > $(VENV)/tools.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $(VENV)/tools.txt
	touch $@

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZERS := build/fuzz/queue build/fuzz/vsock build/fuzz/emulate build/fuzz/state
RACES := build/fuzz/lifecycle-address build/fuzz/lifecycle-thread
TIME := 60

fuzz: $(FUZZERS) $(RACES)
	for fuzzer in $(FUZZERS); do \
		$$fuzzer $(TIME) $$(date +%s) tests/fuzz/corpus/$$(basename $$fuzzer)/* || exit 1; done
	for races in $(RACES); do $$races $(TIME) $$(date +%s) || exit 1; done

# The fuzzer of States checks each call to the host, and lets some fail.
build/fuzz/state: LDFLAGS += $(addprefix -Wl$(comma)--wrap=,ioctl open mmap munmap eventfd memfd_create \
	ftruncate pread preadv pwrite malloc calloc pthread_create)
comma := ,

$(FUZZERS): build/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(NATIVE) $(HEADERS) | $(VENV)/installed
	mkdir -p $(@D)
	$(CC) -std=gnu11 -g -O1 -Ipyvmm/native $(SANITIZE) $(LDFLAGS) -o $@ $(filter %.c,$^)

# The thread sanitizer does not model fences, which only order accesses to the guest's memory.
build/fuzz/lifecycle-address: SANITIZE_RACES := $(SANITIZE)
build/fuzz/lifecycle-thread: SANITIZE_RACES := -fsanitize=thread -Wno-tsan
# Installing makes filters.inc, which sandbox.c includes.
$(RACES): tests/fuzz/lifecycle.c $(NATIVE) $(HEADERS) | $(VENV)/installed
	mkdir -p $(@D)
	$(CC) -std=gnu11 -g -O1 -Ipyvmm/native $(SANITIZE_RACES) -o $@ $(filter %.c,$^)

# Python itself is not sanitized: it gets the library first, and its leaks do not count.
sanitize: $(VENV)/tools
	CC="$(CC) -g $(SANITIZE)" $(VENV)/bin/python setup.py -q build \
		--build-lib build/sanitized --build-temp build/sanitized-objects
	PYTHONPATH=build/sanitized LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" \
		ASAN_OPTIONS=detect_leaks=0 $(VENV)/bin/pytest \
		tests/unit/native/test_serial.py tests/unit/native/test_paging.py \
		tests/unit/native/test_emulate.py tests/unit/virtio \
		--ignore tests/unit/virtio/test_virtio_fs.py # virtiofsd is not sanitized

lab:
	tests/lab/lab --tty bash

test-lab: $(VENV)/tools
	tests/lab/test $(or $(ARGS),-v tests/lab tests/kvm tests/qemu)

# Found out before minutes of building: nothing boots without it.
kvm:
	@$(PYTHON) pyvmm/kvm/hints.py /dev/kvm

packages:
	@./install-packages $(PYTHON)

test-packages:
	@./install-packages $(PYTHON) tests

clean:
	rm -rf $(VENV) build *.egg-info pyvmm/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find examples -name '*.elf' -delete
