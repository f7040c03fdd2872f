// What a container has changed of its image: holdfast and docker say the same of the same changes, and make the same layer of them.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import { check } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { IMAGE as DOCKER_IMAGE, Docker, dockerVersion } from "../harness/docker.ts";
import { IMAGE, importImage } from "../harness/image.ts";

const skip = dockerVersion > 0 ? false : "needs dockerd";

/** Of every kind that there is: added, changed and deleted, of files, directories, links, and what became another kind. */
const SCRIPT = `
set -e
mkdir -p /srv/new/deep; echo a > /srv/new/deep/file; ln -s file /srv/new/deep/link; ln /srv/new/deep/file /srv/new/hard
mkfifo /srv/fifo
mkdir /srv/gone; rmdir /srv/gone
echo more >> /etc/passwd
chmod 700 /root
touch -d @1000000000 /etc/group
rm /bin/seq; rm -r /usr/share
rm /bin/tac; mkdir /bin/tac; echo b > /bin/tac/inside
rm -r /var/cache; mkdir /var/cache; echo c > /var/cache/fresh
mv /var/moved /var/elsewhere
chown 5:6 /etc/shadow
`;

/** What busybox's root file system lacks of that. */
const PREPARE = `
set -e
mkdir -p /root /usr/share/doc /var/cache/old /var/moved/in; echo 1 > /usr/share/doc/text; echo 2 > /var/cache/old/text; echo 3 > /var/moved/in/text
for file in passwd group shadow; do [ -e /etc/$file ] || echo root > /etc/$file; done
`;

const REPLACED = ["bin/tac/.wh..wh..opq", "var/cache/.wh..wh..opq", "var/cache/.wh.old"];

/** Nothing in the image leads there. */
const VOLUME = "/mnt/volume/of/ours";

let holdfastd: Daemon;
let cli: Cli;
let docker: Docker;

before(async () => {
  if (skip) return;
  docker = await Docker.onContainerd("plain");
  holdfastd = await Daemon.start({ kind: "holdfastd" });
  cli = new Cli(holdfastd);
  await importImage(holdfastd);
});
after(async () => {
  cli?.close();
  await docker?.close();
  await holdfastd?.close();
});

const byPath = (lines: string): string[] =>
  lines
    .split("\n")
    .filter((line) => line !== "")
    .toSorted((a, b) => (a.slice(2) < b.slice(2) ? -1 : 1));

/**
 * The names in the last layer of what is saved, the empty directories of a volume's mount point among them. What was in a directory that is new is deleted
 * name by name, or all at once: both are the same to who unpacks it.
 */
async function layerOf(name: string, save: (file: string) => Promise<unknown>): Promise<string[]> {
  const directory = join(holdfastd.directory, name);
  mkdirSync(directory);
  await save(join(directory, "saved.tar"));
  await check(["tar", "-C", directory, "-xf", join(directory, "saved.tar")]);
  const [manifest] = JSON.parse(readFileSync(join(directory, "manifest.json"), "utf8")) as [
    { Layers: string[] },
  ];
  const listed = await check(["tar", "-tf", join(directory, manifest.Layers.at(-1) ?? "")]);
  const names = listed.split("\n").map((line) => line.replace(/^\.\/|\/$/g, ""));
  return names.filter((each) => each !== "" && each !== "." && !REPLACED.includes(each)).toSorted();
}

/** What stands in a new container of an image, all that the two daemons do not write into each themselves. */
const SHOW =
  "find /bin /mnt /root /srv /usr /var /etc/passwd /etc/group /etc/shadow -exec stat -c '%n %F %a %u:%g %h' {} + | grep -v ' directory ' | sort; " +
  "find /bin /mnt /root /srv /usr /var -type d | sort; cat /etc/passwd /srv/new/deep/file";

/** `test.invalid/NAME:1` in holdfast, NAME in Docker. */
async function both(
  name: string,
  image: string,
  script: string,
  more: readonly string[] = [],
): Promise<void> {
  const run = ["run", "--name", name, "--net", "none", ...more];
  await docker.do([...run, image, "sh", "-c", script]);
  await cli.do([...run, image === DOCKER_IMAGE ? IMAGE : `test.invalid/${image}:1`, "sh", "-c", script]);
}

async function commitBoth(container: string, image: string): Promise<void> {
  await docker.do(["commit", container, image]);
  await cli.do(["commit", container, `test.invalid/${image}:1`]);
}

test("the same changes are told by docker and by holdfast, and make the same image", { skip }, async () => {
  await both("base", DOCKER_IMAGE, PREPARE);
  await commitBoth("base", "prepared");
  await both("changer", "prepared", SCRIPT, ["-v", `${holdfastd.directory}:${VOLUME}`]);
  // Docker names what its runtime has made for a volume; holdfast, as podman, what the container has changed.
  const isForVolume = (line: string): boolean => VOLUME.startsWith(line.slice(2));
  const theirs = byPath(await docker.do(["diff", "changer"]));
  assert.deepEqual(theirs.filter(isForVolume), [
    "A /mnt",
    "A /mnt/volume",
    "A /mnt/volume/of",
    `A ${VOLUME}`,
  ]);
  const ours = byPath(await cli.do(["diff", "changer"]));
  assert.deepEqual(
    ours,
    theirs.filter((line) => !isForVolume(line)),
  );
  await commitBoth("changer", "changed");
  assert.deepEqual(
    await layerOf("holdfast", (file) => cli.do(["save", "-o", file, "test.invalid/changed:1"])),
    await layerOf("docker", (file) => docker.do(["save", "-o", file, "changed"])),
  );
  const show = ["sh", "-c", SHOW];
  const shown = await cli.do(["run", "--rm", "--net", "none", "test.invalid/changed:1", ...show]);
  assert.equal(shown.trim(), await docker.do(["run", "--rm", "--net", "none", "changed", ...show]));
});
