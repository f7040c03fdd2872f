// What is said to words that are no verb of ours: of docker's, nerdctl's and ctr's what does the same here; of others what may have been meant.
import type { Command } from "commander";
import { Problem, USAGE } from "../text/problem.ts";

const NO_NETWORKS =
  "a container has no network of its own but the loopback, or the host's with run --net host";
const NO_VOLUMES = "mount a directory with run -v DIR:DIR";

/** A sentence, or the command line that does it. */
const ANSWERS: Readonly<Record<string, string>> = {
  search: "registries have no search that all of them know: look at the registry's own page",
  ...same(["build", "buildx"], "it builds no images: build them elsewhere, and holdfast load"),
  export: '"holdfast cp ID:/ -" writes a container\'s files, "holdfast save" an image',
  image: '"holdfast images", "holdfast history", "holdfast rmi": the verbs stand alone',
  ...same(["snapshot", "snapshots", "content"], '"ctr snapshots", "ctr content"'),
  ...same(["network", "port"], NO_NETWORKS),
  volume: NO_VOLUMES,
  rename: "a container keeps its id: give run --name",
  info: '"holdfast doctor" and "holdfast version"',
  unpause: '"holdfast resume"',
  container: '"holdfast ps", "holdfast inspect", "holdfast delete": the verbs stand alone',
  containers: '"holdfast ps -a"',
  c: '"holdfast ps -a"',
  task: '"holdfast ps", "holdfast exec", "holdfast kill": the verbs stand alone',
  tasks: '"holdfast ps", "holdfast exec", "holdfast kill": the verbs stand alone',
  t: '"holdfast ps", "holdfast exec", "holdfast kill": the verbs stand alone',
  namespace: '"holdfast ns"',
  namespaces: '"holdfast ns"',
  remove: '"holdfast delete"',
  state: '"holdfast inspect"',
  list: '"holdfast ps"',
  metrics: '"holdfast stats"',
  prune: '"holdfast prune"',
  checkpoint: "there is no checkpoint and restore",
  compose: "there is no compose: one container a command line",
};

function same(words: readonly string[], answer: string): Record<string, string> {
  return Object.fromEntries(words.map((word) => [word, answer]));
}

const NO_FILTERS = "--json prints all there is, for a program such as jq to choose from";

/** Of docker's flags for a container, what does the same, or why nothing does. */
const CONTAINER_FLAGS: Readonly<Record<string, string>> = {
  ...same(
    ["-p", "--publish", "-P", "--publish-all", "--expose", "--ip", "--dns", "--add-host", "--link"],
    NO_NETWORKS,
  ),
  "--restart": "nothing starts a container again by itself: have systemd run it, or holdfast start",
  ...same(
    ["--device", "--gpus"],
    "--privileged gives it all devices of the host, --bundle what its config.json names",
  ),
  "--shm-size": "--tmpfs /dev/shm:size=64m",
  ...same(["--log-driver", "--log-opt"], "holdfast logs shows its output, --log-policy is for who reads it"),
  "--cidfile": "create and run -d print the id",
  "--init": "name one as --entrypoint: the image must have it",
  ...same(
    ["--ipc", "--pid", "--uts", "--userns", "--cgroupns", "--sysctl", "--group-add", "--volumes-from"],
    "--bundle runs a config.json that says so",
  ),
};

const LIST_FLAGS: Readonly<Record<string, string>> = same(
  ["--format", "--filter", "-f", "--size", "-s"],
  NO_FILTERS,
);
const PS_FLAGS: Readonly<Record<string, string>> = {
  ...LIST_FLAGS,
  ...same(["-l", "--latest", "--last"], "the newest container comes first: ps -a"),
};
const LOG_FLAGS: Readonly<Record<string, string>> = {
  ...same(
    ["--since", "--until", "--details"],
    "a log has lines and no times: --tail begins with the last ones",
  ),
  ...same(["-t", "--timestamps"], "a log has lines and no times"),
  "-n": "--tail begins with the last lines",
};
const DELETE_FLAGS: Readonly<Record<string, string>> = same(
  ["-v", "--volumes"],
  "what an image declares as volumes is deleted with the container",
);

/** The same of other verbs' flags. */
const FLAG_ANSWERS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  run: CONTAINER_FLAGS,
  create: CONTAINER_FLAGS,
  exec: { "--privileged": "an exec may do what its container may" },
  ps: PS_FLAGS,
  ls: PS_FLAGS,
  images: { ...LIST_FLAGS, ...same(["-a", "--all"], "all images are listed, and layers are none") },
  inspect: { ...LIST_FLAGS, "--type": "the name says which: a container's goes before an image's" },
  logs: LOG_FLAGS,
  delete: DELETE_FLAGS,
  rm: DELETE_FLAGS,
  stats: { ...LIST_FLAGS, ...same(["-a", "--all"], "what does not run uses nothing") },
  events: {
    ...same(
      ["--since", "--until"],
      "events tells what happens from now on; holdfast timeline, what has happened",
    ),
    ...same(["--filter", "-f"], "give the filter as an argument, or --topic"),
    "--format": NO_FILTERS,
  },
};

/** What is said of a flag that a verb does not have; nothing if nobody knows it. */
export function answerFlag(verb: string, flag: string): string | undefined {
  return FLAG_ANSWERS[verb]?.[flag];
}

/** `verbs` are the names of all that there are, whatever `program` has. */
export function answerUnknown(program: Command, verbs: readonly string[]): void {
  program.on("command:*", ([word = ""]: readonly string[]) => {
    throw unknownVerb(verbs, word);
  });
}

function unknownVerb(verbs: readonly string[], word: string): Problem {
  const answer = Object.hasOwn(ANSWERS, word) ? ANSWERS[word] : undefined;
  const near = nearest(word, verbs);
  const more = answer ?? (near === undefined ? "--help tells the verbs" : `did you mean ${near}?`);
  return new Problem(`unknown command '${word}': ${more}`, USAGE);
}

/** `holdfast help [verb]`: commander's own prints all there is for a word that is no verb. */
export function addHelp(program: Command): void {
  program
    .helpCommand(false)
    .command("help [verb]")
    .description("show what a verb does, and its flags")
    .action((word?: string) => {
      if (word === undefined) return program.outputHelp();
      const verb = program.commands.find((each) => each.name() === word || each.aliases().includes(word));
      if (verb === undefined) throw unknownVerb(namesOf(program), word);
      verb.outputHelp();
    });
}

function namesOf(program: Command): string[] {
  return program.commands.flatMap((command) => [command.name(), ...command.aliases()]);
}

/** The one that a single slip leads from: a letter changed, missing, too many, or two swapped; two of them in a long word. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const most = word.length < 6 ? 1 : 2;
  const found = names
    .map((name) => ({ name, slips: slipsBetween(word, name) }))
    .filter(({ slips }) => slips <= most);
  return found.sort((a, b) => a.slips - b.slips)[0]?.name;
}

function slipsBetween(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  const cell = (row: number, column: number): number => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i++) {
    rows.push([i]);
    for (let j = 1; j <= b.length; j++) {
      const changed = cell(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? cell(i - 2, j - 2) + 1 : changed;
      rows[i]?.push(Math.min(changed, swapped, cell(i - 1, j) + 1, cell(i, j - 1) + 1));
    }
  }
  return cell(a.length, b.length);
}
