#!/bin/bash
# Builds mediasoup-worker from the sources inside the installed npm package against the system's libraries.
#
#   build.sh <folder of the mediasoup package> <file to write>
#
# Needs no network: no GitHub, no PyPI, no meson wraps. Debian 12's packages are enough; worker.mjs lists them. The
# output goes to stdout and stderr; ninja's [n/m] lines show the progress. The script is made for exactly the version of
# mediasoup that package.json pins: it checks each change of the sources, and fails if one doesn't apply.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
package=$(cd "$1" && pwd)
output=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")

# The work folder is beside the output, so that moving the result is atomic, and not in a /tmp shared with other users.
work=$(mktemp -d "$output.build.XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
  echo "mediasoup-worker: $*" >&2
  exit 1
}

cp -a "$package/worker" "$work/src"
cd "$work/src"

# The overlay's subprojects, which forward to the system's libraries, replace those that meson would download.
rm -rf out prebuild pip_invoke subprojects/*.wrap subprojects/packagefiles
cp -r "$here/overlay/subprojects/." subprojects/

# The sources ask for a newer meson than Debian 12's 1.0.1, but use nothing that it lacks.
sed -i "s/meson_version: '>= 1\.[0-9.]*'/meson_version: '>= 1.0.0'/" meson.build
grep -q "meson_version: '>= 1.0.0'" meson.build || fail 'meson.build: the change of meson_version does not apply'

# The BIO callback must return the result of every operation, not only of a bare BIO_CB_RETURN. With an OpenSSL that
# has kTLS (Debian's has it, mediasoup's own build doesn't), BIO_get_ktls_send() would otherwise return 1, no write
# buffer would be allocated, and the worker would die of SIGSEGV in the first DTLS handshake.
sed -i 's/(operationType == BIO_CB_RETURN)/((operationType \& BIO_CB_RETURN) != 0)/' src/RTC/DtlsTransport.cpp
grep -q 'operationType & BIO_CB_RETURN' src/RTC/DtlsTransport.cpp || fail 'DtlsTransport.cpp: the change of the BIO callback does not apply'

meson setup --buildtype release -Db_ndebug=true --wrap-mode=nodownload "$work/build" .

# The FlatBuffers headers come first, as in mediasoup's own tasks.py: libwebrtc's objects include them without depending
# on them, so a parallel build might compile those objects too early.
meson compile -C "$work/build" flatbuffers-generator
ninja -C "$work/build" mediasoup-worker

strip "$work/build/mediasoup-worker"

# mediasoup's own check: a working worker that is started without MEDIASOUP_VERSION exits with status 41.
status=0
env -i "$work/build/mediasoup-worker" || status=$?
[ "$status" = 41 ] || fail "the built worker does not run (status $status)"

mv "$work/build/mediasoup-worker" "$output"
