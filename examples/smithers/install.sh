#!/bin/sh
# Installs the packages of the lock file, again only when that has changed. Its scripts
# are not run: the gateway finds Bun in the package of the platform.
set -eu
cd "$(dirname "$0")"
stamp=node_modules/.installed
if ! cmp -s package-lock.json "$stamp"; then
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	cp package-lock.json "$stamp"
fi
