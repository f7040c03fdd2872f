// `holdfast images`, `load`, `tag` and `rmi`: the images of the daemon.
import type { Command } from "commander";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import { loadArchive } from "../images/archive.ts";
import { shortName } from "../images/reference.ts";
import { imageSizes } from "../images/sizes.ts";
import { ImageStore } from "../images/store.ts";
import { tagImage } from "../images/tag.ts";
import { errorText, FAILED, Problem, USAGE } from "../text/problem.ts";
import { complain } from "../text/screen.ts";
import { bytes, duration, msSince, nsToIso } from "../text/units.ts";
import { daemonVerb, type Visit } from "./daemon-verb.ts";
import { openInput } from "./input.ts";
import { examples } from "./options.ts";

export function addImageVerbs(program: Command): void {
  const images = daemonVerb(program, "images", "list the images of the daemon", imagesVerb).option(
    "-q, --quiet",
    "only names",
  );
  examples(images, ["holdfast images", "names, digests, and what each takes"]);
  const load = daemonVerb(
    program,
    "load",
    "load images from an archive of docker save, or an OCI layout in a tar",
    loadVerb,
  )
    .option("-i, --input <file>", "the archive (our input)")
    .option("--name <name>", "what to call an image that has no name in there");
  examples(load, ["docker save redis | ssh host holdfast load", "an image from another machine"]);
  const tag = daemonVerb(program, "tag <image> <name>", "give an image another name", tagVerb);
  examples(tag, ["holdfast tag redis:7 example.com/cache:1", "the same image under both names"]);
  const rmi = daemonVerb(
    program,
    "rmi <image...>",
    "remove images; what nothing else needs of them goes too",
    removeVerb,
  );
  examples(rmi, ["holdfast rmi redis:7", "one name; the image goes with its last one"]);
}

async function imagesVerb({ daemon, settings, command }: Visit): Promise<void> {
  const { screen } = settings;
  const { images } = await daemon.images.list({ filters: [] });
  const sorted = [...images].sort((a, b) => (a.name < b.name ? -1 : 1));
  if (command.opts<{ quiet?: boolean }>().quiet === true) {
    for (const { name } of sorted) screen.id(name);
    return;
  }
  const sizes = await imageSizes(new ImageStore(daemon), sorted);
  const rows = sorted.map((image) => ({
    name: image.name,
    digest: image.target?.digest ?? "",
    size: sizes.get(image) ?? null,
    createdNs: image.createdAt && nsFromTimestamp(image.createdAt),
  }));
  if (screen.json) {
    screen.document(rows.map(({ createdNs, ...row }) => ({ ...row, created: nsToIso(createdNs) ?? null })));
    return;
  }
  screen.table(
    ["NAME", "DIGEST", "SIZE", "AGE"],
    rows.map(({ name, digest, size, createdNs }) => [
      shortName(name),
      digest.slice("sha256:".length, "sha256:".length + 12),
      bytes(size ?? undefined),
      createdNs === undefined ? "" : duration(msSince(createdNs)),
    ]),
  );
}

async function loadVerb({ daemon, settings, command }: Visit): Promise<void> {
  const { input, name } = command.opts<{ input?: string; name?: string }>();
  if (input === undefined && process.stdin.isTTY)
    throw new Problem("give an archive: --input FILE, or by a pipe", USAGE);
  const source = await openInput(input);
  const names = await ImageStore.underLease(daemon, (store) => loadArchive(store, source, name));
  for (const each of names) settings.screen.id(each);
}

async function tagVerb({ daemon, words }: Visit): Promise<void> {
  const [from = "", to = ""] = words;
  await tagImage(daemon, from, to);
}

async function removeVerb({ daemon, settings, words }: Visit): Promise<void> {
  const store = new ImageStore(daemon);
  for (const [index, word] of words.entries()) {
    try {
      const { name } = await store.find(word);
      await daemon.images.delete({ name, sync: index === words.length - 1, target: undefined });
      settings.screen.id(name);
    } catch (error) {
      complain(errorText(error));
      process.exitCode = FAILED;
    }
  }
}
