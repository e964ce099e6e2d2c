# Two commands on a fresh machine: `make demo` shows the main job, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Of these three the environment decides nothing: others set such names, and root removes what is there.
BUILD := build
DIST := dist
BUILDER := $(BUILD)/venv/.ready
PREFIX := /opt/sftpd-processor
DESTDIR ?=
PACKAGES ?=

.PHONY: demo test check format bench dist install uninstall clean again

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	rm -rf .demo
	$(BIN)/sftpd-processor demo --folder .demo

# On a machine of CI, which may stand still for seconds, a test that fails is tried once more; both results are shown.
AGAIN := $(if $(CI),--reruns 1 --rerun-show-tracebacks)

test: $(READY)
	$(BIN)/python tests/system_packages.py
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(AGAIN) $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/audit.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python benchmarks/drain.py $(ARGS)

# A wheel and a source archive, in $(DIST).
dist: $(BUILDER)
	rm -rf "$(DIST)"
	"$(BUILD)/venv/bin/python" -m hatchling build --directory "$(DIST)"

# Made anew also when it does not run any more, as after an upgrade of its interpreter.
$(BUILDER): constraints.txt $(shell { "$(BUILD)/venv/bin/python" -c "import hatchling" || echo again; } 2>/dev/null)
	@$(PYTHON) -c "import sftpd_processor.installation"
	$(PYTHON) -m venv --clear "$(BUILD)/venv"
	"$(BUILD)/venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt hatchling
	touch "$@"

# As root: the program into a virtual environment of its own under $(PREFIX), and its systemd service. What runs is not
# disturbed. `make install PACKAGES="psycopg[binary]"` adds packages, DESTDIR=… stages it all, OPTIONS=--restart restarts.
install: dist
	$(PYTHON) -m sftpd_processor.installation --destdir "$(DESTDIR)" --prefix "$(PREFIX)" --python "$(PYTHON)" \
		--constraint constraints.txt --packages "$(PACKAGES)" $(OPTIONS) "$(DIST)"/*.whl

# The configuration, secrets and state stay.
uninstall: PROGRAM = $(shell readlink -f "$(DESTDIR)$(PREFIX)/bin/sftpd-processor")
uninstall:
	@test -e "$(PROGRAM)" || { echo "nothing is installed in $(DESTDIR)$(PREFIX)" >&2; exit 1; }
	"$(dir $(PROGRAM))python" -I -m sftpd_processor.cli.main service uninstall --root "$(DESTDIR)/" --prefix "$(PREFIX)"
	rm -rf "$(DESTDIR)$(PREFIX)/versions"
	rmdir --ignore-fail-on-non-empty "$(DESTDIR)$(PREFIX)"

clean:
	rm -rf $(VENV) "$(BUILD)" "$(DIST)" .demo .mypy_cache .ruff_cache .hypothesis
