#!/bin/sh
# Installs the stores that the tests run against. As root on Debian it asks nothing.
#
#   memcached, nutcracker      Debian packages
#   gobeansdb, gobeansproxy    Go modules, into stores-bin/ beside this project's other folders
#
# (nginx, wrk: Debian packages, for bench/ only; --bench installs them too.)
#
# A registry may refuse a Go module. That is written to stores-bin/refused, a line each, and is
# not an error here: the tests of that store then skip and say so, and the rest goes on.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
bin="$here/stores-bin"
GOBEANSDB=github.com/douban/gobeansdb@latest
GOBEANSPROXY=github.com/douban/gobeansproxy@v2.1.1

packages="memcached nutcracker"
programs="memcached nutcracker"
if [ "${1:-}" = --bench ]; then
    packages="$packages nginx-light wrk"
    programs="$programs nginx wrk"
fi

mkdir -p "$bin"
: > "$bin/refused"

missing=
for program in $programs; do
    command -v "$program" > /dev/null || [ -x "/usr/sbin/$program" ] || missing=yes
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "install-stores.sh: install these first: $packages" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # Debian starts what it installs; these are started by the tests alone.
    printf '#!/bin/sh\nexit 101\n' > "$bin/policy-rc.d"
    chmod +x "$bin/policy-rc.d"
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        cp "$bin/policy-rc.d" /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    # shellcheck disable=SC2086
    apt-get -qq install -y --no-install-recommends $packages > /dev/null
fi

for module in "$GOBEANSDB" "$GOBEANSPROXY"; do
    name=$(basename "${module%@*}")
    [ -x "$bin/$name" ] && continue
    if ! command -v go > /dev/null; then
        echo "$name: Go is not installed (Debian: apt-get install golang-go)" >> "$bin/refused"
        continue
    fi
    if ! answer=$(GOBIN="$bin" go install "$module" 2>&1); then
        echo "$name: go install $module: $(echo "$answer" | tail -n 1)" >> "$bin/refused"
    fi
done
if [ -s "$bin/refused" ]; then
    echo "install-stores.sh: could not be had; their tests will skip:" >&2
    cat "$bin/refused" >&2
fi
