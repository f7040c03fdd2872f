#!/bin/sh
# Runs a command with a directory as its root file system: enter-root.sh DIR [FROM TO]... -- COMMAND [ARG...]. Called by debian-root.ts, in mount and
# pid namespaces of its own (unshare), which take everything with them in the end. runc wants a real root mount, hence pivot_root.
# Each FROM is a file or directory of the host, bound in at TO.
set -eu
root=$1
shift

mount --bind "$root" "$root"
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then
    mkdir -p "$root$2"
  else
    mkdir -p "$(dirname "$root$2")"
    [ -e "$root$2" ] || : >"$root$2"
  fi
  mount --bind "$1" "$root$2"
  shift 2
done
shift
mkdir -p "$root/var/lib/containerd" "$root/var/lib/docker" "$root/old"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
# As at a boot; and overlay wants an upper directory on something that is no overlay itself.
for directory in run var/lib/containerd var/lib/docker; do mount -t tmpfs tmpfs "$root/$directory"; done
cd "$root"
pivot_root . old
umount -l /old
if [ -d /usr/local/lib/node_modules/npm ]; then
  for name in npm npx; do ln -sf "../lib/node_modules/npm/bin/$name-cli.js" "/usr/local/bin/$name"; done
fi
# Not exec: this shell is the first process of its pid namespace, and reaps what others leave.
status=0
"$@" || status=$?
exit $status
