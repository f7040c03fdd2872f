// `holdfast save`, `import`, `commit` and `history`: images as files, images made here, and what an image was made of.
import { createWriteStream, rmSync, statSync } from "node:fs";
import type { Writable } from "node:stream";
import type { Command } from "commander";
import { getContainer } from "../containers/record.ts";
import { runningPid } from "../containers/root.ts";
import { commitContainer, importRootfs, type MakeOptions } from "../images/make.ts";
import { type HistoryEntry, platformOf } from "../images/manifest.ts";
import { fullName } from "../images/reference.ts";
import { saveImages } from "../images/save.ts";
import { ImageStore } from "../images/store.ts";
import { Problem, USAGE } from "../text/problem.ts";
import { bytes, duration } from "../text/units.ts";
import { daemonVerb, firstContainer, type Visit } from "./daemon-verb.ts";
import { openInput } from "./input.ts";
import { collect, examples } from "./options.ts";

export function addArchiveVerbs(program: Command): void {
  const save = daemonVerb(
    program,
    "save <image...>",
    "write images as an archive that docker load and any OCI tool reads",
    saveVerb,
  )
    .option("-o, --output <file>", "where to (our output)")
    .option("--platform <os/arch>", "only what is for that platform");
  examples(save, ["holdfast save redis:7 | ssh host holdfast load", "an image to another machine"]);
  const imports = daemonVerb(
    program,
    "import <file> <image>",
    "make an image of a root file system in a tar (- for our input)",
    importVerb,
  ).option("--platform <os/arch>", "what it is for (this machine)");
  makeFlags(imports);
  examples(imports, [
    "tar -C ./rootfs -c . | holdfast import - base:1",
    "an image of what debootstrap or a build has made",
  ]);
  const commit = daemonVerb(
    program,
    "commit <id> <image>",
    "make an image of a container and what it has changed",
    commitVerb,
  ).option("--no-pause", "let it run on meanwhile");
  makeFlags(commit);
  examples(commit, [
    'holdfast commit -c \'CMD ["httpd","-f"]\' web site:2',
    "what has been set up by hand, with another command",
  ]);
  const history = daemonVerb(program, "history <image>", "show what an image was made of", historyVerb)
    .option("--no-trunc", "whole lines")
    .option("--platform <os/arch>", "of an image for several platforms");
  examples(history, ["holdfast history redis:7", "its layers, the newest first"]);
}

interface MakeFlags {
  readonly author?: string;
  readonly message?: string;
  readonly change?: readonly string[];
}

function makeFlags(command: Command): void {
  command
    .option("-a, --author <text>", "who made it")
    .option("-m, --message <text>", "what for")
    .option(
      "-c, --change <instruction>",
      "a line of a Dockerfile, such as USER www; may be given again",
      collect,
    );
}

function makeOptions(command: Command): MakeOptions {
  const { author, message, change = [] } = command.opts<MakeFlags>();
  return { author, message, changes: change };
}

async function saveVerb({ daemon, words, command }: Visit): Promise<void> {
  const { output, platform } = command.opts<{ output?: string; platform?: string }>();
  if (output === undefined && process.stdout.isTTY)
    throw new Problem("an archive is nothing for a terminal: give --output FILE, or a pipe", USAGE);
  const wanted = platform === undefined ? undefined : platformOf(platform);
  await ImageStore.underLease(daemon, async (store) => {
    const images = await Promise.all(words.map((word) => store.find(word)));
    if (output === undefined) return saveImages(store, images, process.stdout, wanted);
    await toFile(output, (file) => saveImages(store, images, file, wanted));
  });
}

/** Half an archive is none: it goes, unless it is no file of its own. */
async function toFile(path: string, write: (file: Writable) => Promise<void>): Promise<void> {
  const file = createWriteStream(path);
  const failed = new Promise<never>((_, reject) => file.once("error", reject));
  try {
    await Promise.race([write(file), failed]);
  } catch (error) {
    file.destroy();
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === true) rmSync(path, { force: true });
    throw error;
  }
}

async function importVerb({ daemon, settings, words, command }: Visit): Promise<void> {
  const [file = "", name = ""] = words;
  const { platform } = command.opts<{ platform?: string }>();
  if (file === "-" && process.stdin.isTTY) throw new Problem("give an archive, or one by a pipe", USAGE);
  const full = fullName(name);
  const input = await openInput(file);
  const digest = await ImageStore.underLease(daemon, (store) =>
    importRootfs(
      store,
      input,
      full,
      platform === undefined ? undefined : platformOf(platform),
      makeOptions(command),
    ),
  );
  settings.screen.id(digest);
}

async function commitVerb(visit: Visit): Promise<void> {
  const { daemon, settings, words, command } = visit;
  const id = await firstContainer(visit);
  const name = fullName(words[1] ?? "");
  const { pause } = command.opts<{ pause: boolean }>();
  const container = await getContainer(daemon, id);
  const isPaused = pause && (await pauseIfRunning(visit, id));
  try {
    const digest = await ImageStore.underLease(daemon, (store) =>
      commitContainer(store, container, name, makeOptions(command)),
    );
    settings.screen.id(digest);
  } finally {
    if (isPaused) await daemon.tasks.resume({ containerId: id });
  }
}

/** Whether it has been paused by this: one that is paused already stays so. */
async function pauseIfRunning({ daemon }: Visit, id: string): Promise<boolean> {
  if ((await runningPid(daemon, id)) === undefined) return false;
  try {
    await daemon.tasks.pause({ containerId: id });
    return true;
  } catch {
    // It has ended, is paused already, or cannot be: what it writes meanwhile may be in the image by half.
    return false;
  }
}

async function historyVerb({ daemon, settings, words, command }: Visit): Promise<void> {
  const [word = ""] = words;
  const { screen } = settings;
  const { trunc, platform } = command.opts<{ trunc: boolean; platform?: string }>();
  const store = new ImageStore(daemon);
  const wanted = platform === undefined ? undefined : platformOf(platform);
  const { manifest, config } = await store.resolve(await store.find(word), wanted);
  const sizes = manifest.layers.map(({ size, digest }) => ({ size, digest }));
  const entries: readonly HistoryEntry[] = config.history ?? sizes.map(() => ({}));
  const rows = entries
    .map((entry) => {
      const layer = entry.empty_layer === true ? undefined : sizes.shift();
      return {
        created: entry.created ?? null,
        createdBy: entry.created_by ?? "",
        comment: entry.comment ?? "",
        author: entry.author ?? "",
        layer: layer?.digest ?? null,
        size: layer?.size ?? 0,
      };
    })
    .reverse();
  if (screen.json) return screen.document(rows);
  const short = (text: string): string => (trunc && text.length > 60 ? `${text.slice(0, 59)}…` : text);
  screen.table(
    ["AGE", "CREATED BY", "SIZE", "COMMENT"],
    rows.map(({ created, createdBy, size, comment }) => [
      ageOf(created),
      short(createdBy.replace(/\s+/g, " ")),
      bytes(size),
      short(comment),
    ]),
  );
}

function ageOf(created: string | null): string {
  const at = created === null ? Number.NaN : Date.parse(created);
  return Number.isNaN(at) ? "" : duration(Math.max(0, Date.now() - at));
}
