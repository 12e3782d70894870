# Two commands do all the set-up: `make quiz` starts the daily quiz, `make test` passes the tests.
PYTHON ?= python3
# PyTorch's own index serves small CPU builds on Linux; elsewhere PyPI's are small already.
TORCH_INDEX ?= $(if $(filter Linux,$(shell uname -s)),--extra-index-url https://download.pytorch.org/whl/cpu,)
QUIET := --quiet --disable-pip-version-check
QUIZ := .venv-quiz
TEST := .venv-test

.PHONY: quiz test parity check bench clean

quiz: $(QUIZ)/ready
	@$(QUIZ)/bin/llmprep quiz

test: $(TEST)/ready
	$(TEST)/bin/python -m pytest -m "not parity" -n auto --dist loadfile
	@$(MAKE) --no-print-directory check

parity: $(TEST)/parity
	$(TEST)/bin/python -m pytest -m parity tests/parity

# Lint, types, layers, and the bank itself.
check: $(TEST)/ready
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/ruff check .
	$(TEST)/bin/mypy
	$(TEST)/bin/lint-imports
	$(TEST)/bin/llmprep bank check

bench: $(TEST)/ready
	$(TEST)/bin/python bench/run.py

$(QUIZ)/ready: pyproject.toml
	$(PYTHON) -m venv $(QUIZ)
	$(QUIZ)/bin/python -m pip install $(QUIET) -e .
	@touch $@

$(TEST)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install $(QUIET) --no-deps --retries 1 -c constraints.txt $(TORCH_INDEX) torch
	$(TEST)/bin/python -m pip install $(QUIET) -c constraints.txt -e '.[demos,plot,test]'
	@touch $@

$(TEST)/parity: $(TEST)/ready
	$(TEST)/bin/python -m pip install $(QUIET) -c constraints.txt -e '.[demos,plot,test,parity]'
	@touch $@

clean:
	rm -rf $(QUIZ) $(TEST) build dist *.egg-info
