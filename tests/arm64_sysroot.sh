#!/bin/bash
# arm64_sysroot.sh FOLDER: Debian's arm64 libraries that riverrun is built with, unpacked into FOLDER for a cross
# compiler and qemu-user. apt gets lists and a state of its own in FOLDER.apt, so neither root nor `dpkg
# --add-architecture` is needed, and nothing that is installed changes: packages of two architectures cannot always
# stand side by side, and apt would make room by removing this machine's own.
set -euo pipefail

PACKAGES=(
    libc6-dev libzmq3-dev liblmdb-dev libutf8proc-dev libopenblas-openmp-dev libdnnl-dev
    libprotobuf-c-dev libjansson-dev libxxhash-dev libarchive-dev libpcre2-dev libcmocka-dev
)
[ $# = 1 ] || { echo "usage: arm64_sysroot.sh FOLDER" >&2; exit 2; }
mkdir -p "$1" "$1.apt/state/lists/partial" "$1.apt/cache/archives/partial"
root=$(realpath "$1") apt=$(realpath "$1.apt")
: >"$apt/state/status"

arm64_apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$apt/state" \
        -o Dir::State::status="$apt/state/status" -o Dir::Cache="$apt/cache" \
        -o Dir::Etc::preferencesparts=/dev/null -o Debug::NoLocking=true "$@"
}
arm64_apt update
arm64_apt install --yes --download-only --no-install-recommends "${PACKAGES[@]}"
for package in "$apt"/cache/archives/*.deb; do
    dpkg -x "$package" "$root"
done

# What Debian's alternatives do when a package is installed.
lib=$root/usr/lib/aarch64-linux-gnu
ln -sfn openblas-openmp/libopenblas.so.0 "$lib/libopenblas.so.0"
ln -sfn openblas-openmp/libopenblas.so "$lib/libopenblas.so"
echo "arm64_sysroot: $root is complete"
