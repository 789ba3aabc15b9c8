#!/usr/bin/env bash
# Everything CI runs: format, vet, lint, all tests with the race detector where a C compiler is present, fuzz corpora included.
set -euo pipefail
cd "$(dirname "$0")/.."

race=
if command -v "${CC:-cc}" >/dev/null 2>&1 && [ "$(go env CGO_ENABLED)" = 1 ]; then
	race=-race
fi

echo "== format and vet"
make -s fmt vet

echo "== tests${race:+ with the race detector}"
go test $race -timeout 20m ./...

if [ -n "$race" ]; then
	echo "== allocation budgets, without the race detector"
	go test -run 'Alloc' ./...
fi

echo "== lint"
make -s lint
