# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo install test lint test-vllm bench lock clean

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.installed-test: requirements-test.lock $(VENV)/.installed
	$(BIN)/pip install --quiet --require-hashes -r requirements-test.lock
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/wardgate demo

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n auto

# The real vLLM (CPU build) lives in an environment of its own: it pins other versions of our libraries. It has torch and
# transformers too, so local Hugging Face models are tested there, and what TRL says of exported training data.
.venv-vllm/.installed: tests/vllm/requirements.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet -r tests/vllm/requirements.txt
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(VENV)/.installed-test .venv-vllm/.installed
	$(BIN)/pytest -n 0 -m vllm tests/vllm
	.venv-vllm/bin/python -m pytest --noconftest -o addopts= tests/classifiers/test_transformer.py tests/gateway/export/test_trl.py

bench: $(VENV)/.installed
	$(BIN)/python tests/bench/run.py

lock:
	uv pip compile pyproject.toml --extra embedded --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -o requirements.lock
	uv pip compile pyproject.toml --extra embedded --extra test --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -o requirements-test.lock

clean:
	rm -rf $(VENV) .venv-vllm .mypy_cache .ruff_cache .pytest_cache .hypothesis
