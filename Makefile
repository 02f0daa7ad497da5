# Works with GNU make 3.81, which macOS ships, and on Windows in Git Bash. Paths may contain spaces: targets are relative.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup grade batch rejudge review hand-out decisions times demo-class gradescope upload check template kit calibrate \
	validate prove hostile test test-all fresh bench download lint doctor clean

PROFILE ?= quick
SEED ?=

# Recipes read the user's values from the environment, quoted by the shell, and with $ taken as it stands.
override SUBMISSION := $(value SUBMISSION)
override NOTEBOOK := $(value NOTEBOOK)
override OUT := $(value OUT)
override SUBMISSIONS := $(value SUBMISSIONS)
override GRADEBOOK := $(value GRADEBOOK)
override ASSIGNMENT := $(value ASSIGNMENT)
override POLICY := $(value POLICY)
override OVERRIDES := $(value OVERRIDES)
override TIMES := $(value TIMES)
override GROUPS := $(value GROUPS)
override CLASS := $(value CLASS)
override TAKE_AWAY := $(value TAKE_AWAY)
override AUTHOR := $(value AUTHOR)
override REASON := $(value REASON)
override REPLACE := $(value REPLACE)
override REVIEWS := $(value REVIEWS)
override ONLY := $(value ONLY)
override PROGRAMS := $(value PROGRAMS)
export SUBMISSION NOTEBOOK PROFILE SEED OUT SUBMISSIONS GRADEBOOK ASSIGNMENT POLICY OVERRIDES TIMES GROUPS CLASS TAKE_AWAY AUTHOR REASON REPLACE REVIEWS ONLY PROGRAMS JOBS PORT COURSE CELL_LIMIT RUN_LIMIT

LIMITS := $${OUT:+--out "$$OUT"} $${CELL_LIMIT:+--cell-limit "$$CELL_LIMIT"} $${RUN_LIMIT:+--run-limit "$$RUN_LIMIT"}

CLASS_FILES := $${GRADEBOOK:+--gradebook "$$GRADEBOOK"} $${ASSIGNMENT:+--assignment "$$ASSIGNMENT"} \
  $${POLICY:+--policy "$$POLICY"} $${OVERRIDES:+--overrides "$$OVERRIDES"} $${TIMES:+--times "$$TIMES"} $${GROUPS:+--groups "$$GROUPS"}

# Settings of a person's own Python and pip: each would have the environment below find other packages, or none.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONWARNINGS PYTHONSTARTUP PYTHONPLATLIBDIR PYTHONINSPECT
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PIP_NO_DEPS PIP_DRY_RUN PIP_PYTHON

ifeq ($(OS),Windows_NT)
SYSTEM := Windows
VENV_PYTHON := .venv/Scripts/python.exe
else
SYSTEM := $(shell uname -s)
MACHINE := $(shell uname -m)
VENV_PYTHON := .venv/bin/python
endif
# Made when everything is installed; it goes when the environment goes.
READY := .venv/ready

# An environment whose interpreter is gone (the system's Python was replaced) is made again.
ifneq ($(wildcard $(READY)),)
ifneq ($(shell "$(VENV_PYTHON)" -I -c "" 2>&1 || echo broken),)
.PHONY: $(READY)
endif
endif

# Said before anything is installed.
ifneq ($(SYSTEM),Linux)
ifneq ($(filter grade batch demo-class calibrate hostile,$(MAKECMDGOALS)),)
$(error Students' notebooks are graded on Linux, where they can be isolated; this is $(SYSTEM:Darwin=macOS). \
  Use a Linux machine or container (on Windows: WSL 2). `make check NOTEBOOK=...` works here, for your own work)
endif
endif
ifeq ($(SYSTEM) $(MACHINE) $(filter-out help clean,$(MAKECMDGOALS)),Darwin x86_64 $(MAKECMDGOALS))
$(error PyTorch has no build for Macs with Intel processors: use a Linux container, or another machine)
endif
ifneq ($(filter grade,$(MAKECMDGOALS)),)
$(if $(SUBMISSION),,$(error Say which notebook to grade: make grade SUBMISSION=path/to/notebook.ipynb))
endif
ifneq ($(filter check,$(MAKECMDGOALS)),)
$(if $(NOTEBOOK),,$(error Say which notebook to check: make check NOTEBOOK=path/to/notebook.ipynb))
ifeq ($(filter ~%,$(NOTEBOOK))$(shell [ -e '$(subst ','\'',$(NOTEBOOK))' ] && echo there),)
$(error There is no file $(NOTEBOOK): look for its name with ls, and type make check NOTEBOOK=path/to/notebook.ipynb)
endif
endif

ifneq ($(filter batch,$(MAKECMDGOALS)),)
$(if $(SUBMISSIONS),,$(error Say what to grade: make batch SUBMISSIONS=path/to/submissions.zip))
endif
ifneq ($(filter rejudge review hand-out decisions upload,$(MAKECMDGOALS)),)
$(if $(CLASS),,$(error Say which class: make $(MAKECMDGOALS) CLASS=results/submissions))
endif
ifneq ($(filter times upload,$(MAKECMDGOALS)),)
$(if $(and $(COURSE),$(ASSIGNMENT)),,$(error Give both numbers of the assignment's address in Canvas, courses/123/assignments/4711: COURSE=123 ASSIGNMENT=4711))
endif

# Lines with ##+ are for staff; the students' kit has no grader/batch.
STAFF := $(if $(wildcard grader/batch),+*)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##$(STAFF) /\1 /p' Makefile | while read -r name text; do printf '%-10s %s\n' "$$name" "$$text"; done
	@echo 'Variables: SUBMISSION, NOTEBOOK, PROFILE (structure, quick, full), SEED, OUT, CELL_LIMIT and RUN_LIMIT (seconds), PYTHON.$(if $(STAFF), For classes see docs/ta-guide.md.)'

setup: $(READY) ## make .venv from requirements.lock, prepare the model and the data

grade: $(READY) ## grade one notebook: SUBMISSION=path [PROFILE=quick] [SEED=n] [OUT=folder]
	@$(VENV_PYTHON) -m grader grade "$$SUBMISSION" --profile "$$PROFILE" $${SEED:+--seed "$$SEED"} $(LIMITS)

batch: $(READY) ##+ grade a class, or go on with it: SUBMISSIONS=zip [GRADEBOOK=csv] [JOBS=2] [PROFILE=quick] [POLICY=toml] [OVERRIDES=file] [TIMES=csv] [GROUPS=csv] [ASSIGNMENT=id] [QUIET=1] [OUT=folder]
	@$(VENV_PYTHON) -m grader batch "$$SUBMISSIONS" --profile "$$PROFILE" $${SEED:+--seed "$$SEED"} \
	  $${JOBS:+--jobs "$$JOBS"} $(CLASS_FILES) $(if $(filter 1,$(QUIET)),--quiet) $(LIMITS)

rejudge: $(READY) ##+ judge a class again by today's rubric, thresholds and tests; executes nothing: CLASS=results/name
	@$(VENV_PYTHON) -m grader rejudge "$$CLASS" $${JOBS:+--jobs "$$JOBS"}

review: $(READY) ##+ open the page on which a person reviews a class, in a browser of this machine: CLASS=results/name [PORT=number]
	@$(VENV_PYTHON) -m grader review "$$CLASS" $${PORT:+--port "$$PORT"}

hand-out: $(READY) ##+ write gradebook, feedback and dashboard again, with other files: CLASS=results/name [GRADEBOOK=csv] [POLICY=toml] [OVERRIDES=file] [TIMES=csv] [GROUPS=csv] [ASSIGNMENT=id]
	@$(VENV_PYTHON) -m grader hand-out "$$CLASS" $(CLASS_FILES)

decisions: $(READY) ##+ list what people decided about a class, or take some of it away: CLASS=results/name [TAKE_AWAY="d3 d4" REASON=words AUTHOR=name]
	@$(VENV_PYTHON) -m grader decisions "$$CLASS" $${TAKE_AWAY:+--take-away "$$TAKE_AWAY"} $${AUTHOR:+--author "$$AUTHOR"} $${REASON:+--reason "$$REASON"}

times: $(READY) ##+ fetch from Canvas when everybody handed in, for TIMES=: COURSE=id ASSIGNMENT=id [OUT=times.csv]
	@$(VENV_PYTHON) -m grader times "$${OUT:-times.csv}" --course "$$COURSE" --assignment "$$ASSIGNMENT"

upload: $(READY) ##+ show what would be sent to Canvas, and send it with SEND=1: CLASS=results/name COURSE=id ASSIGNMENT=id [PARTIAL=1] [REPLACE="ids of students" or all]
	@$(VENV_PYTHON) -m grader upload "$$CLASS" --course "$$COURSE" --assignment "$$ASSIGNMENT" $(if $(filter 1,$(SEND)),--send) $(if $(filter 1,$(PARTIAL)),--partial) $${REPLACE:+--replace "$$REPLACE"}

gradescope: $(READY) ##+ build the autograder zip for Gradescope: [REVIEWS=folder] [PROFILE=quick] [TIMEOUT=minutes] [OUT=file]
	@$(VENV_PYTHON) -m grader gradescope --profile "$$PROFILE" $${SEED:+--seed "$$SEED"} $${OUT:+--out "$$OUT"} $${REVIEWS:+--reviews "$$REVIEWS"} $${TIMEOUT:+--timeout "$$TIMEOUT"}

demo-class: $(READY) ##+ make up a class of 30, grade it, kill that once, go on, hand everything out
	@$(VENV_PYTHON) -m tests.proof.demo $${JOBS:+--jobs "$$JOBS"}

# Make would write "Error 1" below what the check says: for a notebook's faults it ends with 0. Scripts use ./autograder.
check: $(READY) ## run the public tests on a notebook: NOTEBOOK=path
	@$(VENV_PYTHON) -m grader check "$$NOTEBOOK" || { code=$$?; [ $$code = 1 ] || exit $$code; }

template: $(READY) ##+ derive the student template from the reference solution: [OUT=file]
	@$(VENV_PYTHON) -m grader.authoring template $${OUT:+"$$OUT"}

kit: $(READY) ##+ build the zip that students get: [OUT=file]
	@$(VENV_PYTHON) -m grader.authoring kit $${OUT:+"$$OUT"}

calibrate: $(READY) ##+ measure the accuracy thresholds with the reference solution: [PROFILE=quick]
	@$(VENV_PYTHON) -m grader calibrate --profile "$$PROFILE"

validate: $(READY) ##+ show that the verdicts are right, on mutants, variants and a sample of generated programs; writes docs/validity.md [ONLY=names] [REPEAT=n] [TRAINING=1]
	@set -f; $(VENV_PYTHON) -m tests.proof.validity $(if $(filter 1,$(TRAINING)),--training) $${REPEAT:+--repeat "$$REPEAT"} $${ONLY:+$$ONLY}
	@[ -n "$$ONLY" ] || $(VENV_PYTHON) -m tests.proof.generated --programs 60 --mutants 24 --notebooks 0

prove: $(READY) ##+ the same on thousands of generated programs and mistakes; writes docs/generated.md [PROGRAMS=3000] [JOBS=2]
	@$(VENV_PYTHON) -m tests.proof.generated --docs docs $${PROGRAMS:+--programs "$$PROGRAMS"} $${JOBS:+--jobs "$$JOBS"}

hostile: $(READY) ##+ run the hostile notebooks on every backend of this machine [ONLY=words of an id]
	@$(VENV_PYTHON) -m tests.proof.security $${ONLY:+--only "$$ONLY"}

test: lint ##+ lint, then run every test that is quick, one real grading included: five minutes at most
	@$(VENV_PYTHON) -m pytest -m "not slow" --numprocesses auto --maxprocesses 4 --dist loadfile

fresh: ##+ try the README's commands on bare Debian roots, under strange conditions; needs root and debootstrap [RELEASES="bookworm trixie sid"] [ESSENTIAL=1] [TESTS=1] [GRADESCOPE=1] [ONLY=words]
	@python3 -m tests.proof.fresh $(RELEASES) $(if $(filter 1,$(ESSENTIAL)),--essential) $(if $(filter 1,$(TESTS)),--tests) $(if $(filter 1,$(GRADESCOPE)),--gradescope) $${ONLY:+--only "$$ONLY"}

test-all: $(READY) ##+ run the tests that `make test` leaves out: half an hour
	@$(VENV_PYTHON) -m pytest -m slow

bench: $(READY) ##+ measure what grading costs, say which bounds hold, write docs/performance.md [ONLY=parts] [PEERS=1] [SEEDS=n]
	@set -f; $(VENV_PYTHON) -m tests.proof.speed --measure --report $${ONLY:+--only $$ONLY} $(if $(filter 1,$(PEERS)),--peers) $${SEEDS:+--seeds "$$SEEDS"}

lint: $(READY) ## check style, formatting and types
	@$(VENV_PYTHON) -m ruff check
	@$(VENV_PYTHON) -m ruff format --check
	@$(VENV_PYTHON) -m mypy

download: $(READY) ##+ fetch a sample of the Large Movie Review Dataset into data/imdb, for grading on real reviews
	@$(VENV_PYTHON) -m grader.assets prepare --download

doctor: $(READY) ## say which model, data and hardware were found and would be used
	@$(VENV_PYTHON) -m grader doctor

clean: ## remove the environment and caches; keep results and data
	rm -rf .venv dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

# PYTHON=... names an interpreter to try first. umask: kernels of a grader that runs as root belong to another user, who
# has to read what is installed here; there is nothing secret in it.
PYTHONS := "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11 python
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
NO_PYTHON := Install Python 3.11 to 3.14 with its venv module (on Debian and Ubuntu: apt install python3-venv), or name one: make setup PYTHON=path.

$(READY): requirements.lock
	@for python in $(PYTHONS) none; do "$$python" -c '$(SUITABLE)' 2> /dev/null && break; done; \
	if [ "$$python" = none ]; then echo '$(NO_PYTHON)' >&2; exit 2; fi; \
	"$(VENV_PYTHON)" -c 'import pip' 2> /dev/null && exit 0; \
	umask 022; echo "Setting up .venv with $$python; the first time takes minutes."; "$$python" -m venv --clear .venv
	@umask 022; $(VENV_PYTHON) -m pip install --quiet --no-user --disable-pip-version-check --requirement requirements.lock
	@umask 022; $(VENV_PYTHON) -m grader.assets prepare
	@touch $@
