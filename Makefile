# Every command installs what it needs the first time it is called, into .venv, and nothing afterwards.
#   make report MODELS=flux-mini SEEDS=2 PROFILE=smoke
PYTHON  ?= python3
PROFILE ?= default
CORES   ?= all
MODELS  ?=
SEEDS   ?=
SUITE   ?=
STEPS   ?=
OUT     := # only from the command line: too common a name in environments
ON      :=
VENV    := .venv
RUN     := $(VENV)/bin/python
PIP     := $(RUN) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help report lint check test test-cluster lab minis loras bench clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# The stamps are younger than the pins, so a second call installs nothing and a changed pin installs again.
$(VENV)/ready: requirements.txt requirements/lab.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("error: Python %d.%d is too old: install 3.11 or newer, or name one with PYTHON=python3.12" % v)'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt -r requirements/lab.txt
	@# The checkout's path instead of pip's --editable, which writes into the checkout: that may be read-only.
	@$(RUN) -c 'import sysconfig; print("$(CURDIR)", file=open(sysconfig.get_path("purelib") + "/painters.pth", "w"))'
	@touch $@

# What only some commands need: dev, cluster, lora.
$(VENV)/%: requirements/%.txt $(VENV)/ready
	$(PIP) -r $<
	@touch $@

report: $(VENV)/ready $(if $(ON),$(VENV)/cluster) ## Run the study and write report/index.html (MODELS=, SEEDS=, SUITE=, STEPS=, PROFILE=full, OUT=, ON=slurm, OFFLOAD=)
	@$(RUN) -m workflow.run --profile "$(PROFILE)" --cores "$(CORES)" \
		$(if $(MODELS),--models $(MODELS)) $(if $(SEEDS),--seeds "$(SEEDS)") \
		$(if $(SUITE),--suite "$(SUITE)") $(if $(STEPS),--steps "$(STEPS)") $(if $(OUT),--out "$(OUT)") \
		$(if $(ON),--on "$(ON)") $(if $(VERBOSE),--verbose) \
		$(if $(DTYPE),--dtype "$(DTYPE)") $(if $(DEVICE),--device "$(DEVICE)") $(if $(OFFLOAD),--offload "$(OFFLOAD)") \
		$(if $(QUANTIZE),--quantize "$(QUANTIZE)") $(if $(BATCH),--batch "$(BATCH)")

lint: $(VENV)/dev
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports --no-logo
	@$(RUN) -m mypy

check: lint ## Lint, format, types, imports and the quick tests: a minute
	@$(RUN) -m pytest -q -n auto --dist loadfile -m "not slow and not cluster"

test: lint ## All of that and the slow tests, which run every notebook and a small study: 4 to 8 minutes
	@$(RUN) -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

test-cluster: $(VENV)/dev $(VENV)/cluster ## Run some notebooks on a Slurm of this machine's own (needs slurmctld, slurmd and munge)
	@$(RUN) -m pytest -q -rs -m cluster

lab: $(VENV)/ready ## Open the notebooks in JupyterLab
	@$(RUN) -m jupyter lab --notebook-dir=notebooks

minis: $(VENV)/ready ## Train the minis from nothing (PROFILE=smoke: minutes, bad pictures)
	@for what in vae checker decoder sd3-mini flux-mini auraflow-mini; do \
		$(RUN) -m miniworld.training $$what --profile $(if $(filter smoke,$(PROFILE)),smoke,full) || exit 1; done

loras: $(VENV)/lora ## Teach SD3 mini new things with LoRA in many choices of layers: data/loras/ (half an hour; a stopped run goes on)
	@$(RUN) -m workflow.loras sd3-mini

bench: $(VENV)/ready ## Measure what it costs: benchmarks/results/ and its table in docs/
	@$(RUN) -m benchmarks

clean: ## Delete what runs left behind; keeps the weights, the report and .venv
	rm -rf results .snakemake .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
