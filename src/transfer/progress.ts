// What a transfer says of itself, in containerd's words: who shows it to a person (ctr, holdfast) makes lines and bars of it.
import type { Progress } from "../api/generated/transfer_types.ts";
import { type Descriptor, isIndex, isManifest } from "../registry/descriptor.ts";

export type { Progress };
/** Gets everything that is said; must not throw. */
export type Report = (progress: Progress) => void;

/** The least time between two figures of one blob, in ms. */
const INTERVAL_MS = 100;

/** containerd's key of a blob on its way (remotes.MakeRefKey). */
export function refKey({ mediaType, digest }: Descriptor): string {
  return `${kindOf(mediaType)}-${digest}`;
}

function kindOf(mediaType: string): string {
  if (isIndex(mediaType)) return "index";
  if (isManifest(mediaType)) return "manifest";
  if (/\.config\.v1\+json$|\.container\.image\.v1\+json$/.test(mediaType)) return "config";
  if (/\.layer\.|rootfs\.(foreign\.)?diff\./.test(mediaType)) return "layer";
  return "unknown";
}

/** What is before something that a person should know, though the transfer goes on. */
export const WARNING = "warning: ";

export function warning(text: string): Progress {
  return { event: `${WARNING}${text}`, name: "", parents: [], progress: 0n, total: 0n, desc: undefined };
}

export class Progresses {
  readonly #report: Report;
  readonly #root: string;
  /** "downloading" or "uploading". */
  readonly #moving: string;
  readonly #parents = new Map<string, string[]>();

  constructor(report: Report, root: string, moving: string) {
    this.#report = report;
    this.#root = root;
    this.#moving = moving;
  }

  /** Of the transfer as a whole. */
  say(event: string, name = "", descriptor?: Descriptor): void {
    this.#report({
      event,
      name,
      parents: [],
      progress: 0n,
      total: 0n,
      desc: descriptor && described(descriptor),
    });
  }

  children(parent: Descriptor, children: readonly Descriptor[]): void {
    for (const child of children) {
      const known = this.#parents.get(child.digest) ?? [];
      this.#parents.set(child.digest, [...known, refKey(parent)]);
    }
  }

  /** One blob's, from its start. */
  job(descriptor: Descriptor): Job {
    const job = this.step(descriptor);
    job.say("waiting");
    return job;
  }

  /** What comes later in a blob's life. */
  step(descriptor: Descriptor): Job {
    const parents = this.#parents.get(descriptor.digest) ?? [this.#root];
    const say = (event: string, progress: number): void =>
      this.#report({
        event,
        name: refKey(descriptor),
        parents,
        progress: BigInt(progress),
        total: BigInt(descriptor.size),
        desc: described(descriptor),
      });
    let last = 0;
    return {
      at: (offset) => {
        const now = performance.now();
        if (now - last < INTERVAL_MS) return;
        last = now;
        say(this.#moving, offset);
      },
      say: (event) => say(event, event === "extracting" || event === "waiting" ? 0 : descriptor.size),
    };
  }
}

export interface Job {
  at(offset: number): void;
  say(event: "waiting" | "complete" | "already exists" | "extracting" | "extracted"): void;
}

function described({ mediaType, digest, size, annotations }: Descriptor): Progress["desc"] {
  return { mediaType, digest, size: BigInt(size), annotations: { ...annotations } };
}
