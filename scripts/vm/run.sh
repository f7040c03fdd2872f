#!/bin/sh
# Runs the tests in the virtual machine: its second disk has this, with the names of the test files filled in. Results go to the second serial port.
cd /holdfast/repository
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
# The emulated processor is some ten times slower than the real one.
export HOLDFAST_TEST_PATIENCE=10
# Nobody else is in it: its clock may be set.
export HOLDFAST_TEST_OWN_MACHINE=1
stty -F /dev/ttyS1 raw
echo "booted: $(cut -d ' ' -f 1 /proc/uptime) s, init $(cat /proc/1/comm), control groups: $(stat -f -c %T /sys/fs/cgroup)"
# Heard by scripts/vm/watch.ts.
while sleep 5; do echo '{"alive": true}' >/dev/ttyS1; done &
/holdfast/node --test --test-concurrency=2 --test-timeout=600000 \
  --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=./reporter.mjs --test-reporter-destination=/dev/ttyS1 @FILES@
status=$?
echo "{\"status\": $status}" >/dev/ttyS1
