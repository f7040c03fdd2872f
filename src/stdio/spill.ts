// Keeps output that its reader does not take on the disk, and hands it over in order when the reader is back.
import { openUnnamed } from "../platform/unnamed-file.ts";
import type { Overflow, OverflowFigures, OverflowOwner } from "./overflow.ts";
import type { OutputRecord } from "./records.ts";
import type { StdioContext } from "./stdio.ts";

/** The bundle is in memory with most daemons, and has a link of this name to a directory that is not. */
const ON_DISK = "work";
/** Into how many files the room is parted: one that has been read to its end gives its part back. */
const SEGMENTS = 8;

/** A file of what waits. */
interface Segment {
  readonly writeEnd: number;
  readonly readEnd: number;
}

let files = 0;

export class Spill implements Overflow {
  readonly #context: StdioContext;
  readonly #owner: OverflowOwner;
  readonly #size: number;
  /** The oldest first; the relay writes to the last one. None while the sink takes everything. */
  readonly #segments: Segment[] = [];
  #sink = -1;
  #relay: number | undefined;
  /** What the relay had moved when it was given its present room. */
  #aimedAt = 0n;
  /** Of the last segment. */
  #room = 0;
  /** Brings the first segment to the sink. */
  #replay: number | undefined;
  #isHalted = false;
  #hasWarned = false;
  #spilled = 0n;
  #replayed = 0n;
  #lost = 0n;
  #whenEmpty: (() => void) | undefined;

  /** With `waiting`, an earlier shim's: each file is read on from where it was, and the last one counts as full. */
  constructor(
    context: StdioContext,
    limit: number,
    owner: OverflowOwner,
    waiting: OutputRecord["waiting"] = [],
  ) {
    this.#context = context;
    this.#owner = owner;
    this.#size = Math.floor(limit / SEGMENTS);
    for (const { input, output } of waiting) {
      this.#segments.push({ writeEnd: input, readEnd: output });
      this.#spilled += BigInt(context.platform.fds.readable(output));
    }
  }

  record(): OutputRecord["waiting"] {
    return this.#segments.map(({ writeEnd, readEnd }) => ({ input: writeEnd, output: readEnd }));
  }

  resume(sink: number): void {
    this.#sink = sink;
    this.#startReplay();
  }

  get waits(): boolean {
    return this.#segments.length > 0;
  }

  get replayed(): bigint {
    return this.#replayed + (this.#replay === undefined ? 0n : this.#moved(this.#replay));
  }

  begin(relay: number, sink: number): void {
    this.#relay = relay;
    this.#sink = sink;
    const last = this.#segments.at(-1);
    if (last === undefined) return;
    this.#aim(last.writeEnd, this.#room);
    if (this.#replay === undefined) this.#startReplay();
  }

  /** Beyond the limit, and where the disk takes nothing, the container waits as it would without: nothing is lost. */
  stuck(code: string): boolean {
    if (!this.waits && code !== "") return false;
    if (this.#relay !== undefined && this.waits) this.#count(this.#moved(this.#relay));
    if (code !== "") this.#warn(code);
    if (code !== "" || !this.#extend()) this.#isHalted = this.waits;
    else if (this.#replay === undefined) this.#startReplay();
    return true;
  }

  ended(moved: bigint): void {
    if (this.waits) this.#count(moved);
    this.#relay = undefined;
    this.#isHalted = false;
  }

  whenEmpty(then: () => void): void {
    if (this.waits) this.#whenEmpty = then;
    else then();
  }

  figures(): OverflowFigures {
    const since = this.#relay === undefined || !this.waits ? 0n : this.#moved(this.#relay) - this.#aimedAt;
    return { dropped: this.#lost, waiting: this.#spilled + since - this.replayed - this.#lost };
  }

  close(): void {
    if (this.#replay !== undefined) this.#context.platform.relays.stop(this.#replay);
    this.#replay = undefined;
    while (this.waits) this.#closeFirst();
  }

  /** Opens another segment and has the relay write to it. Returns false, with everything as it was, if there is no room for one. */
  #extend(): boolean {
    if (this.#segments.length >= SEGMENTS) return false;
    const { platform, bundle } = this.#context;
    const onDisk = `${bundle}/${ON_DISK}`;
    const directory = platform.files.stat(`${onDisk}/.`)?.kind === "directory" ? onDisk : bundle;
    try {
      const path = `${directory}/holdfast.spill-${platform.self.pid()}-${files++}`;
      const [writeEnd, readEnd] = openUnnamed(platform, path);
      this.#segments.push({ writeEnd, readEnd });
      this.#context.changed();
      this.#aim(writeEnd, this.#size);
      return true;
    } catch (error) {
      this.#warn(error);
      return false;
    }
  }

  #startReplay(): void {
    const [first] = this.#segments;
    if (first === undefined) return;
    const { relays } = this.#context.platform;
    this.#replay = relays.start(first.readEnd, this.#sink, (why, code, moved) => {
      this.#replay = undefined;
      this.#replayed += moved;
      if (why === "write") this.#owner.sinkFailed();
      else this.#firstEnded(why === "eof" ? "" : code);
    });
  }

  /** The last one's end has been reached only now, and nothing can have come since: the relay goes on where it was before. */
  #firstEnded(error: string): void {
    if (error !== "") this.#warn(error);
    const isLast = this.#segments.length === 1;
    if (isLast && this.#relay !== undefined) {
      this.#count(this.#moved(this.#relay));
      this.#aim(this.#sink);
    }
    this.#closeFirst();
    if (isLast) {
      this.#lost = this.#spilled - this.#replayed;
      this.#whenEmpty?.();
      return;
    }
    if (this.#isHalted) this.#isHalted = !this.#extend();
    this.#startReplay();
  }

  #aim(fd: number, room?: number): void {
    if (this.#relay === undefined) return;
    const { relays } = this.#context.platform;
    relays.redirect(this.#relay, fd, room);
    this.#aimedAt = relays.state(this.#relay).moved;
    this.#room = room ?? 0;
    this.#isHalted = false;
  }

  /** Notes what the relay has written to the last segment. */
  #count(moved: bigint): void {
    const written = moved - this.#aimedAt;
    this.#spilled += written;
    this.#room -= Number(written);
    this.#aimedAt = moved;
  }

  #closeFirst(): void {
    const first = this.#segments.shift();
    if (first === undefined) return;
    this.#context.changed();
    this.#context.platform.fds.close(first.writeEnd);
    this.#context.platform.fds.close(first.readEnd);
  }

  #moved(relay: number): bigint {
    return this.#context.platform.relays.state(relay).moved;
  }

  #warn(error: unknown): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const { log, container } = this.#context;
    log.warning("output that is not read cannot be kept on the disk: the container waits", {
      id: container,
      error,
    });
  }
}
