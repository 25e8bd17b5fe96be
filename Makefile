# Everything a newcomer or CI runs. `make` alone lists it.

# What the demo is built with: `make demo PROFILE=release`.
PROFILE ?= dev
CARGO ?= cargo
# What the wheels are built with: `make wheels WHEEL_PROFILE=wheel-test`.
WHEEL_PROFILE ?= release
# Binds by the machine's MIT Kerberos, loaded when they are used: `make wheels WHEEL_FEATURES=ntlm` (NTLM and Kerberos) or gssapi.
WHEEL_FEATURES ?=
# What the static executables are built with.
STATIC_PROFILE ?= release
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

# What `make e2e` is given: `make e2e E2E="-k circle"`.
E2E ?=

# What `make service-tests` is given: `make service-tests SERVICE_TESTS="-k login"`.
SERVICE_TESTS ?=

# What `make bench` is given: `make bench BENCH="--scale 0.1 --only read"`; tests/bench/run.py --help says what there is.
BENCH ?=
# What `make corpus` reads, and more for it: `make corpus DIR=files CORPUS="--only tap"`; tests/corpus/check.py --help says what there is.
DIR ?=
CORPUS ?=
RELEASE = $${CARGO_TARGET_DIR:-target}/release

.PHONY: help build wheels deb container static release-check e2e service-tests site demo demo-openldap demo-service demo-data docs deps test lint bench bench-instructions bench-instructions-update \
	bench-discovery bench-delta bench-service corpus sbom

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-25s %s\n", $$1, $$2 }' Makefile

build: ## build the executables, optimised: target/release/tap-ldap, target-ldap and ldap-service
	$(CARGO) build --locked --release -p tap-ldap -p target-ldap -p ldap-service

wheels: ## the executables as Python wheels, into target/wheels: for pip install, and Meltano's pip_url
	scripts/build-wheels.sh "$${CARGO_TARGET_DIR:-target}/wheels" "$(WHEEL_PROFILE)" "$(WHEEL_FEATURES)"

deb: wheels ## the Debian package singer-ldap, into target/deb
	scripts/build-deb.sh "$${CARGO_TARGET_DIR:-target}/$(HOST)/$(WHEEL_PROFILE)" "$${CARGO_TARGET_DIR:-target}/deb"

static: ## the executables linked statically (Linux), for the container
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --locked --profile $(STATIC_PROFILE) -p tap-ldap -p target-ldap -p ldap-service --target $(HOST) \
		--target-dir "$${CARGO_TARGET_DIR:-target}/static"

container: static ## the image singer-ldap as an OCI archive, into target/container (needs buildah)
	scripts/build-container.sh "$${CARGO_TARGET_DIR:-target}/static/$(HOST)/$(STATIC_PROFILE)" "$${CARGO_TARGET_DIR:-target}/container"

release-check: ## what a release is made of, built and tried: workflows, wheels, package, image, units, manifests; READY=1: are the placeholders replaced, too
	@scripts/check-release.sh $(if $(READY),--release)

demo: ## an invented company, provisioned and mirrored from LDIF to LDIF; needs only the Rust toolchain
	@PROFILE=$(PROFILE) catalogs/demo/run.sh

demo-openldap: deps ## the same between two real OpenLDAP servers, started on loopback and stopped again
	$(CARGO) build --locked -p tap-ldap -p target-ldap
	$(CARGO) run --locked -p ldap-tests --bin demo_openldap

demo-service: ## ldap-service over a slapd, behind nginx, with a protected page: all on loopback, stopped at its end
	@scripts/install-servers.sh slapd ldap-utils nginx
	@scripts/install-service-tests.sh "$${CARGO_TARGET_DIR:-target}/service" service
	$(CARGO) build --locked -p ldap-service
	@PYTHONDONTWRITEBYTECODE=1 "$${CARGO_TARGET_DIR:-target}/service/service/bin/python" tests/service/demo.py

demo-data: ## write catalogs/demo/company.ldif anew from its generator (python3)
	python3 catalogs/demo/generate.py > catalogs/demo/company.ldif

docs: ## write anew what comes from the tables of settings: docs/reference/*-ldap.md, the manual pages, the completions, Meltano's definitions
	$(CARGO) build --locked -p tap-ldap -p target-ldap -p ldap-service
	@set -e; for name in tap-ldap target-ldap ldap-service; do \
		"$${CARGO_TARGET_DIR:-target}/debug/$$name" --about --format markdown > docs/reference/$$name.md; \
		rm -rf $$name/wheel/data/share; \
		scripts/write-pages.sh "$${CARGO_TARGET_DIR:-target}/debug/$$name" $$name/wheel/data; \
	done
	UPDATE_DEFINITIONS=1 $(CARGO) test --quiet --locked -p tap-ldap -p target-ldap --test definition

deps: ## install the servers, the browser, the Meltano and the OTLP receiver that the tests start, where missing (Debian, Ubuntu; as root or with sudo)
	@scripts/install-servers.sh
	@scripts/install-meltano.sh "$${CARGO_TARGET_DIR:-target}/meltano"
	@scripts/install-venv.sh tests/otlp/requirements.txt "$${CARGO_TARGET_DIR:-target}/otlp"

test: deps ## the whole suite, against real servers
	$(CARGO) build --locked --all-features -p tap-ldap -p target-ldap
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-3} $(CARGO) test --locked --workspace --all-features

e2e: deps ## conformance, dbt, and the whole circle with Meltano: tools of others from PyPI, installed below target/ (docs/reference/conformance.md)
	@scripts/install-e2e.sh "$${CARGO_TARGET_DIR:-target}/e2e" dbt singer jsonl tap dagster site
	$(CARGO) build --locked --all-features -p tap-ldap -p target-ldap
	$(CARGO) build --locked --all-features -p ldap-tests --bin serve
	PYTHONDONTWRITEBYTECODE=1 "$${CARGO_TARGET_DIR:-target}/e2e/singer/bin/pytest" tests/e2e $(E2E)

service-tests: deps ## ldap-service from outside: logins, SCIM, JWT, OpenAPI, proxies and a browser, with tools of others from PyPI and npm
	@scripts/install-service-tests.sh "$${CARGO_TARGET_DIR:-target}/service"
	$(CARGO) build --locked --all-features -p ldap-service -p tap-ldap -p target-ldap
	$(CARGO) build --locked --all-features -p ldap-tests --bin serve
	PYTHONDONTWRITEBYTECODE=1 "$${CARGO_TARGET_DIR:-target}/service/service/bin/pytest" tests/service -n 3 --dist loadfile $(SERVICE_TESTS)

site: ## the documentation as a site, in target/site; broken links fail it
	@scripts/install-e2e.sh "$${CARGO_TARGET_DIR:-target}/e2e" site
	NO_MKDOCS_2_WARNING=1 PYTHONDONTWRITEBYTECODE=1 "$${CARGO_TARGET_DIR:-target}/e2e/site/bin/mkdocs" build --strict --site-dir "$${CARGO_TARGET_DIR:-target}/site"
	@echo "$${CARGO_TARGET_DIR:-target}/site/index.html"

sbom: ## what is built into the executables, as CycloneDX: target/sbom/tap-ldap.cdx.json and so on
	@scripts/sbom.sh "$${CARGO_TARGET_DIR:-target}/sbom"

lint: ## formatting and clippy, as CI runs them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

bench: build ## all of docs/explanation/performance.md's generated tables, beside their peers: half an hour; smaller with BENCH="--scale 0.1"
	@scripts/install-servers.sh
	@scripts/install-sdk-tap.sh "$${CARGO_TARGET_DIR:-target}/sdk-tap"
	tests/bench/run.py --write --tap "$(RELEASE)/tap-ldap" --target "$(RELEASE)/target-ldap" $(BENCH)

bench-instructions: build ## instructions per entry and record, held to tests/bench/instructions.json; CI runs it
	@scripts/install-servers.sh
	tests/bench/instructions.py --check "$(RELEASE)/tap-ldap" "$(RELEASE)/target-ldap"

bench-instructions-update: build ## make those limits anew, 5 to 10 % above what is counted now
	@scripts/install-servers.sh
	tests/bench/instructions.py --update "$(RELEASE)/tap-ldap" "$(RELEASE)/target-ldap"

bench-discovery: ## how long discovery takes at 20,000 and 100,000 entries (docs/explanation/performance.md)
	$(CARGO) build --locked --release -p tap-ldap
	tests/bench/discovery.py "$${CARGO_TARGET_DIR:-target}/release/tap-ldap"

bench-delta: ## what an hourly run costs, 100 changes on 200,000 entries (docs/explanation/performance.md)
	$(CARGO) build --locked --release -p tap-ldap
	tests/bench/delta.py "$${CARGO_TARGET_DIR:-target}/release/tap-ldap"

bench-service: build ## logins a second beside ldclt on the same slapd, and memory (docs/explanation/performance.md)
	@scripts/install-servers.sh slapd 389-ds-base
	@command -v wrk >/dev/null || scripts/install-packages.sh bench-service wrk
	tests/bench/service.py "$(RELEASE)/ldap-service"

corpus: build ## every LDIF file below a folder through the pair, against an independent parser: make corpus DIR=path (CONTRIBUTING.md)
	@test -n "$(DIR)" || { echo 'make corpus: name a folder with LDIF files: make corpus DIR=path' >&2; exit 2; }
	@scripts/install-venv.sh tests/corpus/requirements.txt "$${CARGO_TARGET_DIR:-target}/corpus"
	"$${CARGO_TARGET_DIR:-target}/corpus/bin/python" tests/corpus/check.py --tap "$(RELEASE)/tap-ldap" --target "$(RELEASE)/target-ldap" $(CORPUS) "$(DIR)"
