#!/bin/sh
# Installs what a job needs on Debian 12 or 13, and says so: setup.sh build | demo | test | fuzz | fresh | matrix | vm. Runs before anything else is there, hence plain sh.
# Called by the npm scripts. Installs only what is missing. With --list it prints the packages and does nothing.
#
# A package is named here for each program that the job calls, unless Debian calls the package essential: "npm test" runs the demo and the build
# with a PATH of nothing else (scripts/bare-path.ts).
set -eu
cd "$(dirname "$0")/.."

release=$(. /etc/os-release && echo "${VERSION_ID:-13}")
# lib*-dev, nettle-dev: the program that unpacks layers.
# gcc, binutils, libc6-dev: the native host. apt, tar, xz-utils, debian-archive-keyring: the engine's source package; gpgv or sqv: apt's check of its signature.
build="gcc binutils libc6-dev libarchive-dev zlib1g-dev libzstd-dev libbz2-dev liblzma-dev nettle-dev libacl1-dev apt tar xz-utils ca-certificates debian-archive-keyring"
if [ "$release" = 12 ]; then build="$build gpgv"; else build="$build sqv"; fi
# runc creates the containers, busybox-static is what is in them; mount has umount, with which holdfastd cleans up; util-linux flock and setpriv.
demo="$build runc busybox-static mount util-linux"
# containerd, docker.io: the daemons that we stand under and beside, and their clients. systemd: a daemon as its service. procps: docker top.
# e2fsprogs: mkfs.ext4. bsdutils: script. prometheus: promtool, which checks our metrics. golang-github-containerd-containerd-dev: containerd's own .proto files, to compare ours with.
test="$demo containerd docker.io systemd procps e2fsprogs bsdutils prometheus golang-github-containerd-containerd-dev"
# containernetworking-plugins: pods with a network of their own. crun: another runtime. debootstrap, gpgv: a newer Debian for the short matrix.
test="$test containernetworking-plugins crun debootstrap gpgv"
# docker-registry: a registry of the tests' own, apache2-utils its passwords (htpasswd), openssl its certificates.
test="$test docker-registry apache2-utils openssl"
# python3-minimal: files with attributes of every kind, and directories deeper than a path may be long.
test="$test python3-minimal"
# Since Debian 13 the client is a package of its own.
[ "$release" = 12 ] || test="$test docker-cli"

case ${1:-test} in
build) packages=$build ;;
demo) packages=$demo ;;
test) packages=$test ;;
# What guides the fuzzers of what C parses: half a gigabyte, hence not on the tests' list. dpkg-dev unpacks the source of libarchive, which is instrumented too.
fuzz) packages="$build clang libclang-rt-dev dpkg-dev" ;;
# What makes clean systems, for test:fresh.
fresh) packages="$build debootstrap mount util-linux git" ;;
# What makes the systems that test:matrix runs in.
matrix) packages="$build debootstrap mount util-linux" ;;
# What makes the virtual machine of test:vm, and emulates it.
vm) packages="$build debootstrap mount util-linux e2fsprogs qemu-system-x86" ;;
*)
  echo "usage: setup.sh build | demo | test | fuzz | fresh | matrix | vm [--list]" >&2
  exit 2
  ;;
esac

if [ "${2:-}" = --list ]; then
  # shellcheck disable=SC2086
  printf '%s\n' $packages
  exit 0
fi

say() {
  if [ -t 1 ]; then printf '\033[1m==> %s\033[0m\n' "$1"; else printf '==> %s\n' "$1"; fi
}

fail() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

[ "$(id -u)" = 0 ] || fail "containers need root: run this as root (sudo npm …)"
command -v apt-get >/dev/null || fail "this set-up knows Debian's apt only; install by hand: $packages"
[ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ] || fail "Node.js 20 or newer is needed, this is $(node --version)"

missing=""
for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  say "Installing Debian packages:$missing"
  said=$(mktemp)
  # No daemon is started by being installed: prometheus would serve the whole network, containerd and Docker are started by the tests, in private.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
  fi
  # Word splitting is meant: it is a list.
  # shellcheck disable=SC2086
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$said" 2>&1 || {
    cat "$said" >&2
    rm -f "$said"
    fail "apt-get failed"
  }
  rm -f "$said"
  [ -z "$(trap)" ] || rm -f $policy
  trap - EXIT
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "Installing npm packages (npm ci)"
  npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
