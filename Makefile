# Thin: the work is in scripts/. `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help install install-airflow pipeline airflow backfill up down deploy status open sql verify backtest diff test test-quick test-simulated test-images lint checkov validate audit format lock composer-packages docs site release-schemas bench-serving bench-load bench-streaming bench-synth bench-batch bench-scale

PYTHON := .venv/bin/python
# A file at a time to each worker; tests/conftest.py has their number and order.
PYTEST := $(PYTHON) -m pytest -n auto --dist loadfile --no-loadscope-reorder
SIMULATOR := build/venvs/simulator/bin/python -m infra.simulator

help: ## This list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

install: ## Check the tools, install everything into this folder
	@python3 -m scripts install

install-airflow:
	@python3 -m scripts install --airflow

up: install ## Bring the platform up on this machine (DATA=path: your own sales file)
	@scripts/deploy local $(if $(DATA),--data "$(DATA)")

down: install ## Destroy the local platform and stop all its processes (FORCE=1: whatever is damaged)
	@scripts/destroy local $(if $(FORCE),--force)

deploy: install ## Deploy an environment, from an empty project to a forecast (ENV=dev, DATA=path)
	@scripts/deploy $(ENV) $(if $(DATA),--data "$(DATA)")

status: install ## Addresses, model, emulators and services of the local platform
	@$(PYTHON) -m scripts status

open: install ## Open the page of the local platform in a browser
	@$(PYTHON) -m scripts status --open

sql: install ## Ask the local BigQuery (QUERY='SELECT * FROM sales.sales LIMIT 5')
	@$(PYTHON) -m scripts sql '$(subst ','\'',$(QUERY))'

verify: install ## Check the rollouts and forecasts of an environment (ENV=dev; default local)
	@scripts/verify $(or $(ENV),local)

backtest: install ## Backtest every forecaster on past sales (DATA=path: your own sales file)
	@$(PYTHON) -m scripts backtest $(if $(DATA),--data "$(DATA)")

diff: install ## What a deployment would change (ENV=dev, STACKS="messaging services")
	@scripts/diff $(or $(ENV),local) $(STACKS)

test: install-airflow ## All tests but those of images (ARGS=tests/stacks: those of a room)
	@$(PYTEST) --ignore tests/images $(ARGS)

test-quick: install ## Tests to run before each commit: none that starts Airflow, Terraform or an image build
	@$(PYTEST) -m "not slow and not platform" $(ARGS)

test-simulated: install ## dev, staging and prod deployed, changed, destroyed, deployed again in a simulated cloud; all else of Terraform's
	@$(PYTEST) tests/simulated $(ARGS)

test-images: install ## Build, push and run the images (Debian packages: scripts/debian_packages.sh)
	-@$(PYTHON) -m tests.images.beam_programs
	@$(PYTHON) -m pytest tests/images $(ARGS)

lint: install-airflow ## ruff, strict type checks, workflows, Dockerfiles, shell scripts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@node_modules/.bin/pyright
	@node_modules/.bin/pyright -p infra/simulator
	@node_modules/.bin/pyright -p services/batch
	@.venv/bin/actionlint
	@.venv/bin/zizmor --offline --no-progress --quiet .
	@.venv/bin/hadolint services/Dockerfile
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	@.venv/bin/check-jsonschema --quiet --builtin-schema vendor.renovate renovate.json
	@.venv/bin/shellcheck .ci/run scripts/*.sh

checkov: ## What checkov finds in production's stacks
	@python3 -m scripts install --checkov
	@$(PYTHON) -m scripts checkov

validate: install ## Validate every stack with the real providers, where a Terraform registry is
	@$(PYTHON) -m scripts validate

audit: install ## Known vulnerabilities in every lock file
	@$(PYTHON) -m scripts audit

format: install ## Format the code
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

lock: ## Resolve the packages of services and the dependency groups of pyproject.toml into lock files
	@scripts/lock.sh

composer-packages: install ## Resolve the PyPI packages of Composer before it fails on them
	@$(PYTHON) -m scripts composer-packages

pipeline: install-airflow ## Run the batch pipeline for the day after the newest sales (DATE=, CONF='{"dry_run": true}')
	@$(PYTHON) -m scripts airflow pipeline $(if $(DATE),--date $(DATE)) $(if $(CONF),--conf '$(CONF)')

airflow: install-airflow ## Airflow's pages on loopback, until Ctrl-C
	@$(PYTHON) -m scripts airflow serve

backfill: install-airflow ## Run the batch pipeline for every day of a range (FROM=2011-12-01 TO=2011-12-03)
	@$(PYTHON) -m scripts airflow backfill $(FROM) $(TO)

site: install ## Build docs/ as a site in build/site, and check its links
	@NO_MKDOCS_2_WARNING=1 build/venvs/tools/bin/uv run --quiet --isolated --no-project --with-requirements requirements/site.lock mkdocs build

release-schemas: install ## Record the tables' columns once a release is deployed: synthesis then refuses what would replace a table
	@$(PYTHON) -m services.contracts.released

docs: install ## Write docs/iam.md and docs/environments.md, which are derived from stacks and environment
	@$(PYTHON) -m tests.stacks.iam_document
	@$(PYTHON) -m tests.docs.environment_reference

bench-serving: install ## CPU per request, compared with Flask, FastAPI, MLServer and KServe
	@$(PYTHON) -m scripts bench-serving

bench-load: install ## Latency of small requests while large ones run, at 30,490 series
	@$(PYTHON) -m scripts bench-load

bench-streaming: install ## CPU per message, compared with other clients of Pub/Sub
	@$(PYTHON) -m scripts bench-streaming

bench-synth: install ## Synthesis, compared with a plain import of the provider bindings
	@$(PYTHON) -m scripts bench-synth

bench-batch: install ## CPU per scored element, compared with Beam itself and a model call per element
	@$(PYTHON) -m scripts bench-batch

bench-scale: install ## Training and serving of 3,000 and 30,490 series: CPU, memory, time to ready; a quarter of an hour
	@$(PYTHON) -m scripts bench-scale
