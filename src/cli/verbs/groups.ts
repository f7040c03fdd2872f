// Which verbs there are, and what makes each: loaded when it is on the command line, so that a verb starts without the others.
import type { Command } from "commander";

interface Group {
  /** As they are called, with their other names. */
  readonly verbs: readonly string[];
  readonly load: () => Promise<(program: Command) => unknown>;
}

/** In the order of --help. */
const GROUPS: readonly Group[] = [
  { verbs: ["run", "create", "start"], load: async () => (await import("./run.ts")).addRunVerbs },
  {
    verbs: ["exec", "attach", "kill", "pause", "resume", "update", "delete", "rm"],
    load: async () => (await import("./task.ts")).addTaskVerbs,
  },
  { verbs: ["stop", "restart"], load: async () => (await import("./stop.ts")).addStopVerbs },
  { verbs: ["wait"], load: async () => (await import("./wait.ts")).addWait },
  { verbs: ["ps", "ls", "logs", "ns"], load: async () => (await import("./list.ts")).addListVerbs },
  { verbs: ["images", "load", "tag", "rmi"], load: async () => (await import("./images.ts")).addImageVerbs },
  {
    verbs: ["pull", "push", "login", "logout"],
    load: async () => (await import("./registry.ts")).addRegistryVerbs,
  },
  {
    verbs: ["save", "import", "commit", "history"],
    load: async () => (await import("./archives.ts")).addArchiveVerbs,
  },
  { verbs: ["cp", "diff"], load: async () => (await import("./files.ts")).addFileVerbs },
  { verbs: ["prune", "system"], load: async () => (await import("./prune.ts")).addPruneVerbs },
  { verbs: ["inspect"], load: async () => (await import("./inspect.ts")).addInspect },
  { verbs: ["stats", "top"], load: async () => (await import("./stats.ts")).addStatsVerbs },
  { verbs: ["events", "timeline"], load: async () => (await import("./events.ts")).addEventVerbs },
  { verbs: ["shims"], load: async () => (await import("./shims.ts")).addShims },
  { verbs: ["shim"], load: async () => (await import("./shim.ts")).addShim },
  { verbs: ["doctor"], load: async () => (await import("./doctor.ts")).addDoctor },
  { verbs: ["completion"], load: async () => (await import("./completion.ts")).addCompletion },
  { verbs: ["version"], load: async () => (await import("./version.ts")).addVersion },
  { verbs: ["help"], load: async () => (await import("./unknown.ts")).addHelp },
];

/** What every verb can be called. */
export const VERBS: readonly string[] = GROUPS.flatMap(({ verbs }) => verbs);

/** These tell about all the others. */
const OF_ALL: readonly string[] = ["help", "completion"];

/** Adds the verbs that a command line can mean: whichever words of it are one. All of them, if it may be about all. */
export async function addVerbs(program: Command, argv: readonly string[]): Promise<void> {
  const named = GROUPS.filter(({ verbs }) => verbs.some((verb) => argv.includes(verb)));
  const isVersion = argv.some((word) => word === "-V" || word === "--version");
  const all = (named.length === 0 && !isVersion) || OF_ALL.some((verb) => argv.includes(verb));
  // Each is loaded while nothing else is to be done: one after the other takes no longer.
  for (const { load } of all ? GROUPS : named) (await load())(program);
}
