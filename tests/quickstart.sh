#!/bin/bash
# quickstart.sh ROOT: ./quickstart in a scratch folder, among stand-ins that note how they are called.
# apt-get, sudo, cmake and ctest do nothing and succeed, or fail where $FAIL names them; dpkg-query
# knows every package but those that $MISSING names.
set -uo pipefail

place=$(mktemp -d) || exit 1
trap 'rm -rf "$place"' EXIT
mkdir "$place/tools" "$place/tree" "$place/tree/build" "$place/user"
cp "$1/quickstart" "$place/tree/" || exit 1
export CALLS=$place/calls FAIL='' MISSING='' STATUS=0
problems=0 checks=0

stand_in() { # FILE
    cat >"$1"
    chmod +x "$1"
}
for tool in apt-get cmake; do
    stand_in "$place/tools/$tool" <<'END'
#!/bin/bash
echo "${0##*/} $*" >>"$CALLS"
[[ " $FAIL " != *" ${0##*/} "* ]]
END
done
stand_in "$place/tools/sudo" <<'END'
#!/bin/bash
exec "$@"
END
stand_in "$place/tools/dpkg-query" <<'END'
#!/bin/bash
echo "dpkg-query ${!#}" >>"$CALLS"
[[ " $MISSING " == *" ${!#} "* ]] && exit 1
printf installed
END
stand_in "$place/tools/ctest" <<'END'
#!/bin/bash
echo "ctest $*" >>"$CALLS"
exit "$STATUS"
END
stand_in "$place/tree/build/riverrun" <<'END'
#!/bin/bash
echo "riverrun $*" >>"$CALLS"
mkdir -p out && echo '{}' >out/book.jsonl && echo >out/report.html
exit "$STATUS"
END

quickstart() { # ARGUMENT...: sets $status and $said
    : >"$CALLS"
    said=$(cd "$place/user" && PATH="$place/tools:$PATH" "$place/tree/quickstart" "$@" 2>&1)
    status=$?
}
expect() { # WHAT CONDITION...
    checks=$((checks + 1))
    "${@:2}" && return
    problems=$((problems + 1))
    printf 'not so: %s\nstatus %s, said:\n%s\ncalls:\n%s\n' "$1" "$status" "$said" "$(cat "$CALLS")"
}
called() { grep -q -- "$1" "$CALLS"; }
not_called() { ! called "$1"; }
says() { [[ $said == *"$1"* ]]; }
status_is() { ((status == $1)); }

quickstart help
expect "it explains itself" says "quickstart read MODEL FILE"
expect "which is no failure" status_is 0
quickstart
expect "alone it reads what every Debian has" called "riverrun read /usr/share/common-licenses -o out$"
expect "and says where to look" says "$place/user/out/report.html"
quickstart tset
expect "an unknown word fails" status_is 1
expect "and says which words there are" says "read, build, test."

quickstart build
expect "build succeeds" status_is 0
expect "installs nothing where all is there" not_called apt-get
expect "builds the release" called "cmake --build --preset release --target riverrun"
expect "without the tests" called "RIVERRUN_TESTS=OFF"
expect "and without what only they need" not_called "dpkg-query clang"

MISSING="liblmdb-dev ninja-build" quickstart build
expect "what is missing is installed, and nothing else" called "install ninja-build liblmdb-dev$"
expect "after an update" called "apt-get.* update"
MISSING=clang quickstart build
expect "a test package is not needed to build" not_called apt-get
MISSING=clang quickstart test
expect "but to test" called "install clang$"
MISSING=liblmdb-dev FAIL=apt-get quickstart build
expect "a failing apt-get ends it" status_is 1
expect "with a word of what to do" says "network"
expect "before anything is built" not_called "^cmake"
FAIL=cmake quickstart build
expect "a failing cmake ends it" status_is 1
expect "with a word of what to do" says "rm -r"

STATUS=8 quickstart test
expect "warnings are errors in a test build" called "RIVERRUN_WERROR=ON"
expect "the nightly tests are left out" called "ctest --preset release -LE nightly -j"
expect "ctest's status is the script's" status_is 8

touch "$place/user/model.bin" "$place/user/book.txt"
quickstart book.txt - --unit line
expect "files alone are read with the program's model" called "riverrun read book.txt - -o out --unit line$"
quickstart read model.bin
expect "read wants a file" status_is 1
quickstart read absent.bin book.txt
expect "a missing model is named" says "absent.bin"
expect "before anything is installed or built" not_called .
quickstart read model.bin absent.txt
expect "a missing file is named" says "absent.txt"
quickstart read model.bin book.txt -
expect "read reads" called "riverrun read book.txt - --model model.bin -o out"
expect "and says where the records are" says "$place/user/out/book.jsonl"
quickstart read model.bin book.txt --vocab words.txt
expect "options behind the files are the program's" called "riverrun read book.txt --model model.bin -o out --vocab words.txt$"
quickstart read model.bin --vocab words.txt
expect "options alone are no file" says "wants a file in front of --vocab"
STATUS=3 quickstart read model.bin book.txt
expect "a stopped run keeps its status" status_is 3
expect "and says how it goes on" says "same command again"
STATUS=12 quickstart read model.bin book.txt
expect "a failed run keeps its status" status_is 12

echo "$checks checks, $problems problems"
((problems == 0 && checks > 0))
