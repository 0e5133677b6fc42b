# Commands for users and developers. Each target runs the setup that it needs; `make setup` is quick
# when nothing is missing.

SHELL := /bin/bash
CARGO ?= cargo
# The folder of the demo model is made by `ewe` itself, of the GGUF file that the setup fetches.
BUILD = $(CARGO) build --locked && scripts/demo_model.sh
# For `make install`; DESTDIR is put before it, for packages.
PREFIX ?= /usr/local
# What the wheel's name promises: linux, or in PyPA's image of that name, manylinux_2_28.
WHEEL_PLATFORM ?= linux
# The Python programs of environments that have peers whose versions do not go with the others':
# vLLM and text-dedup. Without them, `make bench` leaves these out.
VLLM ?=
TEXT_DEDUP ?=

.PHONY: help setup setup-dev build demo test test-browser lint fmt bench check-plan check-flat gpu-day bench-filter bench-generate bench-engine bench-train bench-curate bench-gain sqlx goldens check-reference check-gguf check-endpoints check-axe soak clean release install wheel test-wheel deb check-targets docs deny

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

setup: ## .venv with libtorch, the .libtorch link, the demo model
	@scripts/setup.sh

setup-dev: ## the same, with the reference tools that checks and benchmarks need
	@scripts/setup.sh dev

build: setup ## both binaries, in target/debug
	$(BUILD)

demo: build ## generate a small dataset with a real base model, and fine-tune on it
	@scripts/demo.sh

test: setup ## every test
	$(CARGO) test --locked --no-run
	@scripts/demo_model.sh
	$(CARGO) test --locked

test-browser: setup ## the page of ewe curate in headless Chromium; installs it where it can
	@scripts/setup_browser.sh
	$(CARGO) test --locked $(FEATURES) --test browser -- --ignored --test-threads=2 --skip axe_

check-axe: setup ## what axe-core finds of the page's accessibility, in every state; fetches it from npm
	@scripts/setup_browser.sh
	EWE_AXE="$$(scripts/setup_axe.sh)" $(CARGO) test --locked $(FEATURES) --test browser -- --ignored --nocapture axe_

lint: setup ## check the format, the structure, and clippy; warnings are errors
	$(CARGO) fmt --check
	python3 scripts/check_structure.py
	$(CARGO) clippy --locked --profile test --all-targets -- -D warnings

fmt: ## format
	$(CARGO) fmt

bench: bench-filter bench-curate bench-generate bench-engine bench-train ## side by side with the field's tools; copy the results to benches/RESULTS.md

bench-filter: setup-dev ## near-duplicates among up to a million instructions, beside rapidfuzz and rouge_score
	$(BUILD)
	.venv/bin/python benches/filter.py $(if $(TEXT_DEDUP),--text-dedup $(TEXT_DEDUP))

bench-generate: setup-dev ## generation from a mock endpoint, beside the similarity check of the Alpaca script
	$(CARGO) build --locked --bins --example mock_endpoint
	.venv/bin/python benches/generate.py

bench-engine: setup-dev ## generated tokens a second, beside transformers (and llama.cpp and vLLM where installed)
	$(BUILD)
	.venv/bin/python benches/engine.py $(if $(VLLM),--vllm $(VLLM))

bench-train: setup-dev ## training tokens a second, without padding, beside Hugging Face's Trainer and peft
	$(BUILD)
	for method in full lora; do for size in "8 --examples 64" "64 --examples 128"; do \
		.venv/bin/python benches/train.py --method $$method --turns 1 --batch-size $$size || exit; done; done

bench-curate: setup-dev ## a dataset of a million tasks: page, commands, dashboard, beside Datasette and sqlite-utils
	$(BUILD)
	.venv/bin/python benches/curate.py

bench-gain: setup ## does generated data help? seeds alone, grown rows, both, on held-out seeds; takes hours
	$(BUILD)
	.venv/bin/python benches/gain.py

check-plan: setup-dev ## memory that `ewe plan` estimates, beside the memory that training takes
	$(BUILD)
	.venv/bin/python scripts/check_plan.py

check-flat: setup ## memory of complete, serve and generate stays flat over 2,000 prompts of random lengths
	$(BUILD)
	.venv/bin/python scripts/check_flat.py

gpu-day: ## on a machine with a GPU: measure what has targets for GPUs, in 10 minutes, into OUT=gpu-day; builds nothing
	python3 scripts/gpu_day.py --out "$(or $(OUT),gpu-day)"

sqlx: setup ## renew the descriptions of all queries after a change to the schema or to SQL
	sh scripts/prepare_sqlx.sh

goldens: setup-dev ## renew the golden files of the tests with the reference tools
	.venv/bin/python scripts/make_goldens.py
	.venv/bin/python scripts/make_train_goldens.py
	.venv/bin/python scripts/make_gguf_goldens.py

check-reference: setup-dev ## compare with rouge_score, transformers, peft, TRL, bitsandbytes, the openai client, datasets and huggingface_hub
	$(BUILD)
	.venv/bin/python scripts/check_rouge.py
	$(CARGO) build --locked $(FEATURES) --example stemmed_rouge
	.venv/bin/python scripts/check_rouge_stemmed.py
	.venv/bin/python scripts/check_saved_models.py
	.venv/bin/python scripts/check_templates.py
	.venv/bin/python scripts/check_conversation_masks.py
	.venv/bin/python scripts/check_trl_templates.py
	.venv/bin/python scripts/check_nf4.py
	.venv/bin/python scripts/check_gguf.py
	.venv/bin/python scripts/check_influence.py
	.venv/bin/python scripts/check_engine.py
	.venv/bin/python scripts/check_openai.py --gemma
	.venv/bin/python scripts/check_lm_eval.py
	.venv/bin/python scripts/check_datasets.py
	.venv/bin/python scripts/check_push.py

check-gguf: setup-dev ## GGUF files in llama.cpp and in gguf-py
	$(BUILD)
	.venv/bin/python scripts/check_gguf.py

check-endpoints: setup ## generate from vLLM and llama.cpp's server, which are installed into .venv-endpoints
	$(BUILD)
	scripts/setup_endpoints.sh
	.venv/bin/python scripts/check_endpoints.py

soak: setup ## kill runs of generate and train at 150 moments and resume them: nothing lost or requested twice, the same result; 64 endpoints of different speed are busy; other cases of the property tests
	$(BUILD)
	$(CARGO) test --locked --test it -- --ignored --nocapture --exact generate::soak train_faults::soak endpoint_list::soak endpoint_list::ten_thousand_in_flight_soak
	seed=$$(date +%s); echo "PROPTEST_RNG_SEED=$$seed"; PROPTEST_RNG_SEED=$$seed $(CARGO) test --locked --lib --bins

release: ## both binaries in target/release, with completions and manual pages in target/share; FEATURES=--no-default-features is the data half
	$(CARGO) build --release --locked $(FEATURES)
	scripts/share.sh target/release/ewe target/share

install: release ## install the release build under PREFIX=/usr/local; DESTDIR goes before it
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 target/release/ewe "$(DESTDIR)$(PREFIX)/bin"
	test "$(FEATURES)" = --no-default-features || install -m 755 target/release/ewe-torch "$(DESTDIR)$(PREFIX)/bin"
	install -d "$(DESTDIR)$(PREFIX)/share"
	cp -R target/share/. "$(DESTDIR)$(PREFIX)/share"

wheel: setup-dev ## a wheel with both binaries, in target/wheels, checked; WHEEL_PLATFORM=manylinux_2_28 in PyPA's image
	rm -rf target/wheels
	scripts/portable.sh .venv/bin/maturin build --release --locked --auditwheel skip --compatibility $(WHEEL_PLATFORM) --out target/wheels
	.venv/bin/python scripts/check_wheel.py target/wheels/ewe-*.whl

test-wheel: ## the wheel in a fresh virtual environment; EWE_WHEEL_TORCH=DIR takes an installed torch in place of a download
	scripts/test_wheel.sh

deb: setup ## a Debian package, in target/debian; needs `cargo install cargo-deb`
	$(MAKE) release CARGO="scripts/portable.sh $(CARGO)"
	scripts/portable.sh $(CARGO) deb --no-build --output target/debian/

docs: ## the documentation as a site, in target/book, by mdBook
	scripts/tool.sh mdbook build

deny: ## licenses and sources of all dependencies, by cargo-deny; CHECKS=advisories asks its database
	scripts/tool.sh cargo-deny --locked check --hide-inclusion-graph $(or $(CHECKS),bans licenses sources)

check-targets: ## cargo check of the data half for ARM, musl and macOS, as far as this machine can
	scripts/check_targets.sh

clean: ## remove what was built, except .venv and models
	rm -rf target demo
