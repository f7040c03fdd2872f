#!/bin/sh
# Installs what a job needs on Debian 12 or 13, and says so: setup.sh build | demo | test. Runs before anything else is there, hence plain sh.
# Called by the npm scripts. Installs only what is missing.
set -eu
cd "$(dirname "$0")/.."

# gcc, libc6-dev: the native host. xz-utils, tar: the engine's source package.
packages="gcc libc6-dev xz-utils tar ca-certificates"
case ${1:-test} in
build) ;;
# runc creates the containers, busybox-static is what is in them.
demo) packages="$packages runc busybox-static procps bsdutils" ;;
# containerd, docker.io: the daemons that we stand under and beside, and their clients.
# systemd: a daemon as its service.
# golang-github-containerd-containerd-dev: containerd's own .proto files, to compare ours with.
test)
  packages="$packages runc busybox-static procps bsdutils containerd docker.io systemd"
  packages="$packages golang-github-containerd-containerd-dev"
  # Since Debian 13 the client is a package of its own.
  [ "$(. /etc/os-release && echo "${VERSION_ID:-13}")" = 12 ] || packages="$packages docker-cli"
  ;;
*)
  echo "usage: setup.sh build | demo | test" >&2
  exit 2
  ;;
esac

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
  # Word splitting is meant: it is a list.
  # shellcheck disable=SC2086
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >/tmp/holdfast-apt.$$ 2>&1 || {
    cat /tmp/holdfast-apt.$$ >&2
    fail "apt-get failed"
  }
  rm -f /tmp/holdfast-apt.$$
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "Installing npm packages (npm ci)"
  npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
