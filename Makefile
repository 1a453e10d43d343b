# Every target makes the environment first, which takes a moment when it is there. See setup/setup.sh for PYTHON and TORCH.
.PHONY: demo test bench setup lint clean
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHON TORCH

demo: setup ## Run the workflow on config/config.yaml and print the headline figures
	@snakemake --cores all --quiet host reason 2>&1 | python setup/progress.py
	@python -m pose_factory.review.headline results/dataset/summary.parquet

test: setup ## Run the whole test suite
	@python -m pytest

bench: setup ## Time the workflow against the ways it avoids
	@python benchmarks/run.py

setup: ## Make .venv, check the system libraries
	@setup/setup.sh

lint: setup ## Check style and the workflow's rules
	ruff check
	ruff format --check
	snakefmt --check Snakefile rules
	snakemake --lint

clean: ## Remove the environment and caches, never results
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks workflow setup -name __pycache__ -type d -prune -exec rm -rf {} +
