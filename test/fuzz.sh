#!/usr/bin/env bash
# Runs every fuzz target for the given time each (default 5m).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5m}
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
	pkg=./$(dirname "${file#./}")
	grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" | sed 's/^func //' | while read -r target; do
		echo "== $pkg $target for $time"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$pkg"
	done
done
