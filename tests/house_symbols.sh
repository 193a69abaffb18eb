#!/bin/sh
# house_symbols.sh LIBRARY...: no exported name stands in two of the project's static libraries. The
# linker takes the first without a word, and one folder then calls another's function.
# It is shown to see one: the first library beside itself.
set -eu

twice() { # LIBRARY...: names that more than one of them defines
    for library in "$@"; do
        nm --defined-only --extern-only "$library" | awk 'NF == 3 {print $3}' | sort -u
    done | sort | uniq -d
}

if [ -z "$(twice "$1" "$1")" ]; then
    echo "a planted violation was not seen"
    exit 1
fi
found=$(twice "$@")
echo "$# libraries${found:+; exported by more than one:}"
[ -z "$found" ] || { echo "$found"; exit 1; }
