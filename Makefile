# `make demo` and `make test` need nothing but CPython 3.13 on x86_64 Linux, and make.
SHELL := /bin/sh
.DEFAULT_GOAL := help
# Most of what the collection of the tests costs is their compilation.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help demo up unit test test-slow test-slow-azure test-every-call check format docs lock setup az clean helm package lifetime model soak planted-bugs verify-azure bench chaos fuzz-tools

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
AZURITE := local_azure/azurite/node_modules/.package-lock.json
KUSTO := tools/check_kql/node_modules/.package-lock.json
AZURE_CLI := 2.91.0
HELM := 0.2.2
# A local Azure for each worker. Tests wait more than they compute: three workers on two cores.
PARALLEL := -n 3 --dist loadgroup
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --custom-compile-command "make lock"
# Pages with tables that are made of the code.
PAGES := docs/doctor.md docs/local-azure.md docs/observability.md docs/performance.md docs/settings.md
CHECKS := check-types check-style check-infra check-queries check-docs
.PHONY: $(CHECKS)
PYTHON_CODE := firstpull functions function_app.py local_azure contract device_agent/src cli/src tests tools benchmarks

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: setup ## a device appears, a webhook names it, and it pulls its first image; DELIVERY=kubernetes|edgeAgent
	@$(BIN)/python -m local_azure.commands.demo $(if $(DELIVERY),--delivery $(DELIVERY)) $(ARGS)

up: setup ## the local Azure with firstpull on it, until Ctrl-C; ARGS=--help lists its options
	@exec $(BIN)/python -m local_azure.commands.up $(ARGS)

package: setup ## dist/firstpull.zip: what runs on Azure, with its dependencies and bytecode
	@$(BIN)/python -m tools.package

unit: setup ## the core's tests but the promises', without the local Azure: below 30 seconds
	@$(BIN)/pytest tests/firstpull --ignore tests/firstpull/promises -m "not slow" -p no:schemathesis -n 2 --dist loadgroup

test: check ## the checks, then all tests but the slow ones (below six minutes on two idle cores)
	@$(BIN)/pytest -m "not slow" $(PARALLEL)

test-slow: setup ## every fault at every call, and long scenarios; ARGS="--slow-share 0.1 --slow-seed 7" for a share
	@$(BIN)/pytest -m slow $(PARALLEL) $(ARGS)

test-slow-azure: setup ## the app's tests while Azure's operations take up to 11 seconds (20 minutes)
	@SLOW_AZURE=1 $(BIN)/pytest tests/end_to_end tests/endpoints -m "not slow" --timeout=900 $(PARALLEL)

test-every-call: setup ## each request at each call of each other one (minutes)
	@EVERY_CALL=1 $(BIN)/pytest tests/firstpull/promises/test_promise_requests.py $(PARALLEL)

lifetime: setup ## devices from first request to last revoke, 1,000 scenarios (minutes)
	@$(BIN)/python -m tests.lifetime

chaos: setup fuzz-tools ## crashes, interleavings, storms, killed hosts, load, odd input and more, by SEED=n (70 minutes); ARGS=--help
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz-tools: setup ## Atheris, which make chaos fuzzes with
	@test -d .local/atheris || $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps \
		--require-hashes --target .local/atheris -r tests/chaos/fuzz/requirements.txt

model: setup ## every state of a rotation, and the wrong rules that lock a device out (minutes)
	@$(BIN)/python -m tests.rotation $(ARGS)

soak: setup ## 90 days of 50 devices while Azure fails, by firstpull's rule and the naive one (minutes)
	@$(BIN)/python -m tests.rotation.soak_command $(ARGS)

verify-azure: setup ## hold what this project knows of Azure against a subscription; ARGS="--region R"
	@exec $(BIN)/python -m tools.verify_azure $(ARGS)

bench: setup ## how fast, beside its floor and its alternatives; ARGS="onboarding" for one figure (20 minutes)
	@exec $(BIN)/python -m benchmarks $(ARGS)

planted-bugs: setup ## bugs planted in firstpull: is each caught? (minutes)
	@$(BIN)/python -m tests.lifetime.plant_bugs
	@PLANTED_BUGS=1 $(BIN)/pytest tests/chaos/test_planted_bugs.py

# Side by side: mypy takes one core for most of the time.
check: setup ## ruff, mypy --strict, import-linter, the templates in infra/ against the code, KQL, the tables in docs/
	@$(MAKE) --no-print-directory --jobs 2 --output-sync $(CHECKS)

check-types: ## of the checks: mypy --strict
	@$(BIN)/mypy $(PYTHON_CODE)

check-style: ## of the checks: ruff and import-linter
	@$(BIN)/ruff check $(PYTHON_CODE)
	@$(BIN)/ruff format --check $(PYTHON_CODE)
	@$(BIN)/lint-imports --no-logo

check-infra: ## of the checks: the templates against the code
	@$(BIN)/python -m tools.check_infra

check-queries: ## of the checks: the queries of docs and infra
	@$(BIN)/python -m tools.check_kql

check-docs: ## of the checks: the tables in docs/
	@$(BIN)/python -m cogapp --check --check-fail-msg="Run: make docs" --verbosity=1 $(PAGES)

format: setup ## let ruff write the code its way
	@$(BIN)/ruff check --fix $(PYTHON_CODE)
	@$(BIN)/ruff format $(PYTHON_CODE)

docs: setup ## write the tables that are made of the code into their pages
	@$(BIN)/python -m cogapp -r --verbosity=1 $(PAGES)

lock: setup ## compile the requirements files from each pyproject.toml
	@$(COMPILE) --python $(BIN)/python pyproject.toml --output-file requirements.txt
	@$(COMPILE) --python $(BIN)/python pyproject.toml --group dev --output-file requirements-dev.txt
	@$(COMPILE) --universal --python-version 3.11 device_agent/pyproject.toml \
		--constraint requirements-dev.txt --output-file device_agent/requirements.txt
	@$(COMPILE) --universal --python-version 3.11 device_agent/pyproject.toml --extra kubernetes \
		--constraint requirements-dev.txt --output-file device_agent/requirements-kubernetes.txt
	@$(COMPILE) --universal --python-version 3.11 cli/pyproject.toml \
		--constraint requirements-dev.txt --output-file cli/requirements.txt

setup: $(VENV)/.installed $(AZURITE) $(KUSTO) ## .venv and Azurite only

$(VENV)/.installed: requirements-dev.txt device_agent/pyproject.toml cli/pyproject.toml
	@tools/setup.sh venv $(VENV)
	@touch $@

$(AZURITE): local_azure/azurite/package-lock.json | $(VENV)/.installed
	@tools/setup.sh npm local_azure/azurite Azurite
	@touch $@

$(KUSTO): tools/check_kql/package-lock.json | $(VENV)/.installed
	@tools/setup.sh npm tools/check_kql "the parser of log queries"
	@touch $@

az: setup ## azure-cli in an environment of its own, for docs/quickstart-by-hand.md
	@test -x .local/azure-cli/bin/az || { echo "Installing azure-cli (a minute, once) ..." && \
		$(BIN)/python -m venv .local/azure-cli && \
		.local/azure-cli/bin/pip install -qq --disable-pip-version-check azure-cli==$(AZURE_CLI); }
	@.local/azure-cli/bin/az version --output table

helm: setup ## Helm's library in an environment of its own, for the tests of the agent's chart
	@test -d .local/helm/lib || { echo "Installing Helm's library (75 MB, once) ..." && \
		$(BIN)/python -m venv .local/helm && \
		.local/helm/bin/pip install -qq --disable-pip-version-check helm-python-sdk==$(HELM); }

clean: ## remove what setup and runs have made
	@rm -rf $(VENV) .local local_azure/azurite/node_modules tools/check_kql/node_modules .mypy_cache .ruff_cache .pytest_cache dist
