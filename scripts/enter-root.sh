#!/bin/sh
# Runs a command with a directory as its root file system: enter-root.sh DIR NODE NPM COMMAND [ARG...]. Called by test-fresh.ts, in mount and pid
# namespaces of its own (unshare), which take everything with them in the end. runc wants a real root mount, hence pivot_root.
# NODE is the program, NPM the directory of its package: both are the host's, bound in.
set -eu
root=$1 node=$2 npm=$3
shift 3

mount --bind "$root" "$root"
mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/node_modules/npm" "$root/var/lib/containerd" "$root/var/lib/docker" "$root/old"
touch "$root/usr/local/bin/node"
mount --bind "$node" "$root/usr/local/bin/node"
mount --bind "$npm" "$root/usr/local/lib/node_modules/npm"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
# As at a boot; and overlay wants an upper directory on something that is no overlay itself.
for directory in run var/lib/containerd var/lib/docker; do mount -t tmpfs tmpfs "$root/$directory"; done
cd "$root"
pivot_root . old
umount -l /old
for name in npm npx; do ln -sf "../lib/node_modules/npm/bin/$name-cli.js" "/usr/local/bin/$name"; done
# Not exec: this shell is the first process of its pid namespace, and reaps what others leave.
status=0
"$@" || status=$?
exit $status
