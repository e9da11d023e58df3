#!/bin/sh
# Drives the built gateway with the official client. Needs Go, Node 20 and npm.
# SMITHERS_GATEWAY_BINARY names a gateway to test instead of one that is built for it;
# arguments go to the test runner, such as --test-name-pattern=approval. `--install`
# alone fetches the packages and ends.
set -eu
cd "$(dirname "$0")"

node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || {
	echo "conformance: Node $(node --version) is too old, 20 is needed" >&2
	exit 1
}

# Installed again when the lock file changes.
stamp=node_modules/.installed
if ! cmp -s package-lock.json "$stamp"; then
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	cp package-lock.json "$stamp"
fi
if [ "${1:-}" = --install ]; then exit; fi
mkdir -p .cache
node src/bundle.mjs

if [ -z "${SMITHERS_GATEWAY_BINARY:-}" ]; then
	SMITHERS_GATEWAY_BINARY=$PWD/.cache/smithers-gateway
	(cd .. && go run ./xcaddy build --plain --output "$SMITHERS_GATEWAY_BINARY")
fi
export SMITHERS_GATEWAY_BINARY
exec node --test --test-reporter=spec --test-timeout=1200000 "$@" suite.mjs
