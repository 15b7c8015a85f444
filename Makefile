.PHONY: help setup demo bench lint test test-boot-loader test-matrix test-unit simulate mutants bench-rollout soak clean
SHELLS = fleetd/host/helper/fleetd-host tools/setup vm-tests/lab/supervise.sh vm-tests/lab/base/recipe.sh \
	vm-tests/boot_loader/guest.sh
LAB = PYTHONPATH=vm-tests .venv/bin/python -m lab
# Scenarios mostly wait: more of them at once than there are cores. Each worker has a lab of its own.
WORKERS = 4

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: ## install everything that is missing
	tools/setup --lab

demo: ## the main job on six real hosts (root, Linux)
	tools/setup --lab
	$(LAB) watch -- .venv/bin/python vm-tests/demo.py

lint: ## ruff, mypy, shellcheck
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	shellcheck -x $(SHELLS)

test: ## all checks, with the lab (root, Linux)
	tools/setup --lab
	$(MAKE) lint
	$(LAB) clean
	$(LAB) watch -- .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal

bench-rollout: ## what a rollout of ten thousand hosts costs the controller
	tools/setup
	.venv/bin/python -m tests.bench.rollout

simulate: ## many seeds of the simulation: make simulate SEEDS=2000 [HOSTS=50]
	tools/setup
	.venv/bin/python -m tests.simulation --seeds $(or $(SEEDS),500) $(if $(HOSTS),--hosts $(HOSTS))

mutants: ## planted bugs, each of which the tests must catch
	tools/setup
	.venv/bin/python -m tests.mutants

test-matrix: ## the lab's tests on the newer Debian: systemd 262, Nix 2.34 (root, Linux)
	FLEETD_LAB_SUITE=forky tools/setup --lab
	FLEETD_LAB_SUITE=forky $(LAB) watch -- .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal vm-tests

test-boot-loader: ## what is believed of systemd-boot, on a real one under qemu; three minutes (root, Debian on x86_64)
	tools/setup --boot-loader
	PYTHONPATH=vm-tests .venv/bin/python -m pytest vm-tests/boot_loader/check_boot_loader.py

test-unit: ## everything but the lab
	tools/setup
	$(MAKE) lint
	.venv/bin/python -m pytest tests

bench: ## pushes beside nix copy, on lab hosts; a table, and build/bench.json (root, Linux)
	tools/setup --lab
	PYTHONPATH=.:vm-tests .venv/bin/python -W ignore -m tests.bench

N = 200
soak: ## N activations of real hosts with random faults: make soak N=200
	tools/setup --lab
	PYTHONPATH=vm-tests:. .venv/bin/python vm-tests/soak.py --activations $(N)

clean: ## remove what runs of the lab left
	PYTHONPATH=vm-tests python3 -m lab clean
