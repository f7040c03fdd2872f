// `holdfast cp` and `diff`: files of containers.
import type { Command } from "commander";
import { madeByUsers, mountPointsOf, type UserChange } from "../containers/changes.ts";
import { copy, copyArchive, isInContainer, placeOf } from "../containers/copy.ts";
import { containerId } from "../containers/names.ts";
import { getContainer, specOf } from "../containers/record.ts";
import { rootOf, snapshotOf, withRootFiles } from "../containers/root.ts";
import { ImageStore } from "../images/store.ts";
import { withView } from "../images/views.ts";
import { Problem, USAGE } from "../text/problem.ts";
import { type Check, daemonVerb, firstContainer, type Visit } from "./daemon-verb.ts";
import { examples } from "./options.ts";

export function addFileVerbs(program: Command): void {
  const copies = daemonVerb(
    program,
    "cp <from> <to>",
    "copy files out of a container (ID:PATH), or into one; - is a tar on our input or output",
    copyVerb,
    checkCopy,
  )
    .option("-a, --archive", "keep the owners of the files")
    .option("-L, --follow-link", "of a link copy what it leads to");
  examples(
    copies,
    ["holdfast cp web:/etc/hosts .", "a file out of a container"],
    ["holdfast cp ./site/. web:/srv/www", "what is in a directory, into one of the container"],
    ["holdfast cp web:/var/log - | tar -t", "as a tar"],
  );
  const diff = daemonVerb(
    program,
    "diff <id>",
    "list what a container has changed of its image: A added, C changed, D deleted",
    diffVerb,
  );
  examples(diff, ["holdfast diff web", "what it has written so far"]);
}

const checkCopy: Check = ({ words: [from = "", to = ""] }) => {
  if (from === "-" && to === "-") throw new Problem("from our input to our output: that is cat", USAGE);
  if (to === "-" && process.stdout.isTTY) throw new Problem("a tar is nothing for a terminal", USAGE);
  if (!isInContainer(from) && !isInContainer(to))
    throw new Problem("neither of them is in a container: give one as ID:PATH", USAGE);
};

async function copyVerb({ daemon, words, command }: Visit): Promise<void> {
  const [from = "", to = ""] = words;
  const { archive = false, followLink = false } = command.opts<{ archive?: boolean; followLink?: boolean }>();
  const options = { follow: followLink, keepOwners: archive };
  const find = async (id: string) => rootOf(daemon, await containerId(daemon, id));
  await withRootFiles(async (files) => {
    if (from === "-") return copyArchive(files, process.stdin, await placeOf(to, find), options);
    const source = await placeOf(from, find);
    if (to === "-") {
      if ((await files.look(source.root ?? { directory: "/" }, source.path)) === "none")
        throw new Problem(`${from}: no such file or directory`);
      return files.take(source.root ?? { directory: "/" }, source.path, followLink, toOutput);
    }
    const target = await placeOf(to, find);
    return copy(files, source, target, options);
  });
}

async function toOutput(bytes: Uint8Array): Promise<void> {
  if (process.stdout.write(bytes)) return;
  await new Promise((resolve) => process.stdout.once("drain", resolve));
}

async function diffVerb(visit: Visit): Promise<void> {
  const { daemon, settings } = visit;
  const { screen } = settings;
  const changes = await changesOf(daemon, await firstContainer(visit));
  if (screen.json) screen.document(changes);
  else for (const { kind, path } of changes) screen.line(`${kind} ${path}`);
}

async function changesOf(daemon: Visit["daemon"], id: string): Promise<UserChange[]> {
  const container = await getContainer(daemon, id);
  const { snapshotter, key } = snapshotOf(container);
  const { info } = await daemon.snapshots.stat({ snapshotter, key });
  const { mounts: right } = await daemon.snapshots.mounts({ snapshotter, key });
  const changes = await ImageStore.underLease(daemon, async (store) =>
    withView(store, snapshotter, info?.parent ?? "", (left) =>
      withRootFiles((files) => files.changes(left, right)),
    ),
  );
  return madeByUsers(changes, mountPointsOf(specOf(container)));
}
