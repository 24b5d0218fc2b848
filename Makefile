# Developer's commands; `make help` lists them. Everything is installed into .venv by the first one
# that needs it.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST := $(BIN)/pytest
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes
JOBS ?= 3
SCHEDULES ?= 1000
KILLS ?= 300
ROWS ?= 10000000
MUTANTS ?= 10000
SEED ?= 1
REFERENCES ?= 1000000
OUTAGE_S ?= 600
OUTPUT ?= tests/benchmarks/results/chaos-summary.json

.DEFAULT_GOAL := help

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(INSTALLED) ## Run the main job here: Kafka, S3, a small CLIP, the real stream worker, a report
	@$(BIN)/clipstream demo

.PHONY: backfill
backfill: $(INSTALLED) ## Classify a bucket into Parquet here: killed once, resumed, a report, queries
	@$(BIN)/clipstream demo --backfill

.PHONY: serve
serve: $(INSTALLED) ## Answer HTTP requests here, with the demo's model and the console
	@$(BIN)/clipstream serve -c deploy/examples/serve.yaml

.PHONY: test
test: $(INSTALLED) ## Run every check and test that can run on this machine: GROUPS="unit kafka" JOBS=2
	@$(BIN)/python -m deploy.dev.suite --jobs $(JOBS) $(GROUPS)

.PHONY: setup
setup: $(INSTALLED) ## Install everything into .venv; the other commands do this by themselves

$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.platform == "linux" or sys.exit("Clipstream needs Linux; on macOS and Windows run it in a Linux container"); sys.exit(0 if sys.version_info >= (3, 11) else "Clipstream needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || { echo "installing uv"; $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@echo "installing the pinned environment (about 5 GB the first time, most of it torch)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r constraints.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@# Caches the bytecode of what every worker imports, a tenth of all that is installed. Where Python may
	@# not write it, as in the pods of `make cluster`, each process would compile torch and Ray anew.
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import pipeline.adapters.clip.encoder, ray.serve, workers.cli'
	@touch $@

.PHONY: groups
groups: $(INSTALLED) ## List the groups of `make test` with what each guards
	@$(BIN)/python -m deploy.dev.suite --list

.PHONY: lint
lint: $(INSTALLED) ## Style, formatting and import rules
	@$(BIN)/python -m deploy.dev.suite lint

.PHONY: types
types: $(INSTALLED) ## Strict type checks
	@$(BIN)/python -m deploy.dev.suite types

.PHONY: chaos
chaos: $(INSTALLED) ## Kill, freeze and cut off workers: SCHEDULES=1000 SEED=1 OUTPUT=FILE
	@$(BIN)/python -m tests.fault.chaos --schedules $(SCHEDULES) --seed $(SEED) --output $(OUTPUT)

.PHONY: backfill-kills
backfill-kills: $(INSTALLED) ## Kill drivers and workers of backfills: KILLS=300 SEED=1
	@$(BIN)/python -m tests.fault.backfill.kills --kills $(KILLS) --seed $(SEED)

.PHONY: backfill-soak
backfill-soak: $(INSTALLED) ## Watch the memory of a backfill's driver and worker: ROWS=10000000
	@$(BIN)/python -m tests.fault.backfill.soak --rows $(ROWS)

.PHONY: alert-tests
alert-tests: $(INSTALLED) ## Raise every alert by a real fault, and record it in tests/fault/alerts/fired: TESTS="-k store"
	CLIPSTREAM_TEST_ON_DEMAND=yes CLIPSTREAM_TEST_RECORD=yes $(PYTEST) tests/fault/alerts $(TESTS)

.PHONY: mutate
mutate: $(INSTALLED) ## Decode files with flipped bits, count what becomes of them: MUTANTS=10000 SEED=1
	@$(BIN)/python -m tests.component.mutants --mutants $(MUTANTS) --seed $(SEED)

.PHONY: soak
soak: $(INSTALLED) ## Watch a worker's memory: REFERENCES=1000000 OUTAGE_S=600
	@$(BIN)/python -m tests.fault.soak --references $(REFERENCES) --outage $(OUTAGE_S)

.PHONY: priority
priority: $(INSTALLED) ## Measure live traffic alone and beside a backfill
	@$(BIN)/python -m tests.benchmarks.priority

.PHONY: between
between: $(INSTALLED) ## Measure what an image costs outside decode and encode, beside the bare clients
	@$(BIN)/python -m tests.benchmarks.between

.PHONY: tracing
tracing: $(INSTALLED) ## Measure what traces cost a stream worker
	@$(BIN)/python -m tests.benchmarks.tracing

.PHONY: scaling
scaling: $(INSTALLED) ## Measure 1 to 16 workers against as many times what one does
	@$(BIN)/python -m tests.benchmarks.scaling

.PHONY: serve-bench
serve-bench: $(INSTALLED) ## Measure `clipstream serve`; PART="overhead overload" measures some parts
	@$(BIN)/python -m tests.benchmarks.serve $(if $(PART),--only $(PART))

.PHONY: backfill-bench
backfill-bench: $(INSTALLED) ## Measure backfills; PART="overhead listing" measures some parts
	@$(BIN)/python -m tests.benchmarks.backfill $(if $(PART),--only $(PART))

.PHONY: bench
bench: $(INSTALLED) ## Run every benchmark and write tests/benchmarks/results/REPORT.md; less than 40 minutes, on an idle machine; ONLY="Latency Scaling" measures some again
	@$(BIN)/python -m tests.benchmarks.report $(if $(ONLY),--only $(ONLY))

.PHONY: gpu
gpu: $(INSTALLED) ## The tests that need a CUDA device
	$(PYTEST) tests/gpu

.PHONY: gpu-bench
gpu-bench: $(INSTALLED) ## Measure a CUDA device: PHOTOS=FOLDER of JPEGs measures decoding too
	@$(BIN)/python -m tests.benchmarks.gpu $(if $(PHOTOS),--photos $(PHOTOS))

.PHONY: gpu-workers
gpu-workers: $(INSTALLED) ## Measure stream workers that share a CUDA device: PHOTOS=FOLDER of JPEGs
	@$(BIN)/python -m tests.benchmarks.gpu_workers $(if $(PHOTOS),--photos $(PHOTOS))

.PHONY: quick
quick: $(INSTALLED) ## The tests that need no service: unit, property, contract
	$(PYTEST) -m "not component" tests/unit tests/property tests/contract

.PHONY: format
format: $(INSTALLED) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(INSTALLED) ## Regenerate docs/reference, docs/schemas, alert rules and dashboards
	$(BIN)/python -m deploy.dev.reference

.PHONY: architecture
architecture: $(INSTALLED) ## Draw docs/architecture.svg: which room imports which
	@$(BIN)/python -m deploy.dev.architecture

.PHONY: model
model: $(INSTALLED) ## Train the demo's CLIP again
	$(BIN)/python -m workers.demo.train

.PHONY: services
services: $(INSTALLED) ## Start Kafka and an S3 server for development, and print how to reach them
	@$(BIN)/python deploy/dev/services.py up

.PHONY: services-down
services-down: $(INSTALLED) ## Stop what `make services` started
	@$(BIN)/python deploy/dev/services.py down

.PHONY: cluster
cluster: $(INSTALLED) ## Start a real Kubernetes with Kafka and S3 here, as root; say how to install the chart
	@$(BIN)/python -m deploy.dev.cluster up

.PHONY: cluster-down
cluster-down: $(INSTALLED) ## Remove what `make cluster` started
	@$(BIN)/python -m deploy.dev.cluster down

.PHONY: cluster-programs
cluster-programs: $(INSTALLED) ## Build Kubernetes' programs, once: 10 minutes on two processors
	@$(BIN)/python -m deploy.dev.cluster.build

.PHONY: cluster-tests
cluster-tests: $(INSTALLED) ## The tests on real and on simulated nodes of Kubernetes, as root
	@CLIPSTREAM_TEST_NODE=yes CLIPSTREAM_TEST_ON_DEMAND=yes \
		$(BIN)/python -m deploy.dev.suite cluster kubernetes simulated

.PHONY: lock
lock: $(INSTALLED) ## Choose all versions again: constraints*.txt
	$(COMPILE) --all-extras --group dev --upgrade pyproject.toml -o constraints.txt
	@$(MAKE) --no-print-directory lock-production

# The versions of constraints.txt, without what only development needs. And what builds a release.
.PHONY: lock-production
lock-production: $(INSTALLED)
	$(COMPILE) --extra backfill --extra compression --extra evaluate --extra heif --extra int8 --extra tracing \
		-c constraints.txt pyproject.toml -o constraints-production.txt
	printf 'cyclonedx-bom>=7.5,<8\nhatchling\nuv==%s\n' $(UV_VERSION) | \
		$(COMPILE) -c constraints.txt - -o constraints-build.txt

.PHONY: image
image: $(INSTALLED) ## Build the container image: ARGS="--target compiler", docs/image.md
	@$(BIN)/python -m deploy.dev.image $(ARGS)

.PHONY: image-tests
image-tests: $(INSTALLED) ## Build the image and two made of it, and check them: 20 minutes, 30 GB of disk; needs docker or podman
	@$(BIN)/python -m tests.packaging.image $(ARGS)

.PHONY: sbom
sbom: $(INSTALLED) ## Write the SBOM of the production packages: dist/*.cdx.json
	@$(BIN)/python -m deploy.dev.sbom

.PHONY: audit
audit: $(INSTALLED) ## Look the pinned dependencies up in a vulnerability database
	@$(BIN)/python deploy/dev/audit.py

.PHONY: clean
clean: ## Remove what was built here, but for .venv
	rm -rf demo-output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
