# Every target makes the environment first, which takes a moment when it is there. setup/setup.sh explains PYTHON and TORCH.
.PHONY: demo serve test bench setup lint clean
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHON TORCH

# Run the workflow on config/config.yaml and print the headline figures.
demo: setup
	@set -o pipefail; snakemake --cores all --quiet host reason 2>&1 | .venv/bin/python setup/progress.py
	@PYTHONPATH=src .venv/bin/python -m pose_factory.review.headline results/dataset/summary.parquet

# Answer poses over HTTP, on http://127.0.0.1:5000 unless POSE_SERVICE_... say otherwise (docs/service.md).
serve: setup
	@PYTHONPATH=src exec .venv/bin/python -m pose_factory.service serve

# Run the whole test suite.
test: setup
	@.venv/bin/python -m pytest

# Time the workflow against the ways it avoids.
bench: setup
	@PYTHONPATH=src .venv/bin/python benchmarks/run.py

# Make .venv, check the system libraries, prepare Anny's model.
setup:
	@setup/setup.sh

# Check the style, and the workflow's rules.
lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/snakefmt --check Snakefile rules
	.venv/bin/snakemake --lint

# Remove the environment and the caches, never the results.
clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks workflow setup -name __pycache__ -type d -prune -exec rm -rf {} +
