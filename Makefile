# make help   these lines
# make demo   everything from a clean clone to a report on real images
# make demo-gan   the same with samples of a GAN in the schedule, beside it in data/demo-gan
# make run SOURCE=photos   the same on images of your own: chooses values, says why, runs; FLAGS="--size 160" for more
# make test   the test suite            make lint   style and types
# make test-long   larger networks, more damaged files: what make test checks in small
# make test-tutorial   every command of docs/tutorial.md prints what the page shows, in a few minutes
# make bench  the short benchmarks: ratios against peers, side by side, in under ten minutes
# make lock   pin the dependencies anew

PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV := .venv/bin/uv pip
export VIRTUAL_ENV := .venv
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help demo demo-gan run test test-long test-tutorial lint bench lock clean

GAN := --data data/demo-gan --set gan.kind=conv --set augment.variants=[] \
  --set "train_head.schedule=[unaugmented x 4, gan_1 x 2, unaugmented x 4]"

help:
	@sed -n 's/^# make/make/p' Makefile

demo: .venv/ready
	@dvc repro
	@python -m stages._table

demo-gan: .venv/ready
	@python -m stages.run prepare augment gan featurize train_head evaluate report $(GAN)

run: .venv/ready
	@test -n "$(SOURCE)" || { echo "error: name a folder of photos: make run SOURCE=photos"; exit 2; }
	@python -m stages.start "$(SOURCE)" --no-next $(FLAGS)
	@echo "make: running it now, by dvc repro; progress and time left, in another terminal: .venv/bin/python -m stages.watch"
	@dvc repro
	@python -m stages._table

test: .venv/ready # processes side by side, each with one thread and up to 3 GB
	@OMP_NUM_THREADS=1 python -m pytest -q --numprocesses logical --maxprocesses 4 --dist worksteal

test-long: .venv/ready
	@OMP_NUM_THREADS=1 python -m pytest -q -m long
	@OMP_NUM_THREADS=1 python -m pytest -q tests/pipeline/ingest/test_decode_fuzz.py --fuzz 100

test-tutorial: .venv/ready
	@python docs/rerun_tutorial.py --check

bench: .venv/ready
	@python benchmarks/featurize.py --images 2000 --repeats 1
	@python benchmarks/augment.py --images 400
	@python benchmarks/train_head.py --rows 20000 --peer-rows 4000
	@python benchmarks/heads.py --rows 10000 --heads 8
	@python benchmarks/logistic.py
	@python benchmarks/online.py
	@python benchmarks/first_run.py
	@python benchmarks/loaded.py --images 300 --stages augment featurize train_head train_model

lint: .venv/ready
	@ruff check .
	@ruff format --check .
	@mypy

.venv/ready: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed and was not found"; exit 2; }
	@echo "setting up .venv with pinned packages (7 GB, most of it for GPUs): a minute or more"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet uv==0.13.8
	$(UV) install --compile-bytecode --system-certs --no-deps -r requirements.txt
	$(UV) install --quiet --system-certs --no-deps -e .
	@touch $@

lock:
	$(UV) compile --quiet --system-certs --universal --no-annotate --no-header --python-version 3.11 \
	  --extra dev pyproject.toml -o requirements.txt

clean:
	rm -rf data .venv
