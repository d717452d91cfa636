#!/bin/sh
# Installs the stores that the tests run against. As root on Debian it asks nothing.
#
#   sh tests/install-stores.sh            memcached and nutcracker (twemproxy), nginx, HAProxy, PostgreSQL,
#                                         promtool, Chromium, rclone, s3cmd, restic and AWS's SDK
#                                         for Ruby, Debian packages; gobeansdb, and
#                                         gobeansproxy where it can be had, Go modules, into
#                                         stores-bin/; a C compiler, for the modules that are
#                                         compiled; and clients of the object service, into
#                                         .venv-clients/ and .node-clients/
#   sh tests/install-stores.sh --bench    wrk as well, for bench/
#   sh tests/install-stores.sh --seaweedfs  wrk and SeaweedFS, which bench/ can compare with: a Go module
#                                         that takes two cores some minutes to build
#
# No registry has gobeansproxy. That is written into stores-bin/refused, and is no error here: its tests then
# skip and say so.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
bin="$here/stores-bin"
# Exactly these: the registry refuses lists of versions, and @latest.
gobeansdb=github.com/douban/gobeansdb@v1.1.3
gobeansproxy=github.com/douban/gobeansproxy@v2.1.1

have() {
    command -v "$1" > /dev/null || [ -x "/usr/sbin/$1" ]
}

# Pairs of a program and the Debian package that brings it.
wanted="memcached:memcached nutcracker:nutcracker nginx:nginx-light haproxy:haproxy curl:curl
    promtool:prometheus chromium:chromium chromedriver:chromium-driver openssl:openssl
    strace:strace systemd-analyze:systemd unshare:util-linux go:golang-go cc:gcc
    rclone:rclone fusermount3:fuse3 s3cmd:s3cmd restic:restic node:nodejs npm:npm"
case "${1:-}" in
    --bench | --seaweedfs) wanted="$wanted wrk:wrk taskset:util-linux" ;;
esac
packages=
for pair in $wanted; do
    have "${pair%:*}" || packages="$packages ${pair#*:}"
done
# A compiler is of no use without the headers of libc and of Python.
[ -e /usr/include/stdio.h ] || packages="$packages libc6-dev"
[ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] ||
    packages="$packages python3-dev"
ruby -e 'require "aws-sdk-s3"' 2> /dev/null || packages="$packages ruby-aws-sdk-s3"
# It stays off the path: only the tests start it.
ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || packages="$packages postgresql"
if [ -n "$packages" ]; then
    if [ "$(id -u)" != 0 ] || ! have apt-get; then
        echo "install-stores.sh: install these first:$packages" >&2
        exit 1
    fi
    echo "Installing$packages"
    export DEBIAN_FRONTEND=noninteractive
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        # Debian starts the daemons that it installs; here only the tests start them.
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get -qq update
    # shellcheck disable=SC2086
    apt-get -qq install -y --no-install-recommends $packages > /dev/null
fi

mkdir -p "$bin"
: > "$bin/refused"
if [ ! -x "$bin/gobeansdb" ]; then
    echo "Building $gobeansdb"
    place=$(mktemp -d)
    printf 'module stores\n\ngo 1.19\n\nrequire %s %s\n' "${gobeansdb%@*}" "${gobeansdb#*@}" > "$place/go.mod"
    (cd "$place" && go build -mod=mod -o "$bin/gobeansdb" "${gobeansdb%@*}")
    rm -rf "$place"
fi
if [ ! -x "$bin/gobeansproxy" ] && ! answer=$(GOBIN="$bin" go install "$gobeansproxy" 2>&1); then
    echo "gobeansproxy: go install $gobeansproxy: $(echo "$answer" | tail -n 1 | tr -d '\t')" >> "$bin/refused"
fi
# Clients of the object service, apart: they bring much, and one of them is old.
clients="$here/.venv-clients"
pins=$(sed -n 's/^#: client \(.*\) = \(.*\)$/\1==\2/p' "$here/buildout.cfg")
newer=$(sed -n 's/^#: beside \(.*\) = \(.*\)$/\1==\2/p' "$here/buildout.cfg")
if [ "$(cat "$clients/ready" 2> /dev/null)" != "$pins $newer" ]; then
    echo "Installing" $pins $newer
    rm -rf "$clients"
    python3 -m venv "$clients"
    # shellcheck disable=SC2086
    "$clients/bin/pip" install --quiet --disable-pip-version-check $pins
    # (Beside an old one of the same name.)
    "$clients/bin/pip" install --quiet --disable-pip-version-check --target "$clients/newer" $newer
    echo "$pins $newer" > "$clients/ready"
fi
# And AWS's SDK for JavaScript, and what looks whether pages are for everybody (axe-core).
sdk=$(sed -n 's/^#: node \(.*\) = \(.*\)$/\1@\2/p' "$here/buildout.cfg")
if [ "$(cat "$here/.node-clients/ready" 2> /dev/null)" != "$sdk" ]; then
    echo "Installing" $sdk
    rm -rf "$here/.node-clients"
    mkdir "$here/.node-clients"
    # shellcheck disable=SC2086
    npm install --silent --no-audit --no-fund --prefix "$here/.node-clients" $sdk
    echo "$sdk" > "$here/.node-clients/ready"
fi
if [ "${1:-}" = --seaweedfs ] && [ ! -x "$bin/weed" ]; then
    # Its go.mod replaces a module, which "go install module@version" refuses: so it is built where it lies.
    module=github.com/seaweedfs/seaweedfs@v0.0.0-20261109003541-7506e5f91cd6
    echo "Building $module"
    place=$(go mod download -json "$module" | sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p')
    (cd "$place" && go build -o "$bin/weed" ./weed)
fi
if [ -s "$bin/refused" ]; then
    echo "install-stores.sh: these could not be had, and their tests will skip:" >&2
    cat "$bin/refused" >&2
fi
