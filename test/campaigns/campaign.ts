// What a campaign is, and what it reports: what was done, what was checked, what failed, how to repeat it. Run by main.ts and short.test.ts.
import { Random } from "./random.ts";

export interface Campaign {
  readonly name: string;
  /** One line, for the list. */
  readonly what: string;
  /** How many lives it has: in npm test, and as a campaign that nobody gave a number. */
  readonly lives: { readonly short: number; readonly full: number };
  /** Lives of a piece of it, where they are not as many as of the others' (pieces.ts). */
  readonly piece?: number;
  run(run: CampaignRun): Promise<void>;
}

export interface Length {
  readonly seed: number;
  readonly lives: number;
}

export interface Report {
  readonly campaign: string;
  readonly seed: number;
  readonly lives: number;
  readonly daemon: string;
  readonly runtime: string;
  readonly seconds: number;
  /** How many of the lives were lived on which commit. */
  readonly commits: Readonly<Record<string, number>>;
  readonly did: Readonly<Record<string, number>>;
  readonly checked: Readonly<Record<string, number>>;
  readonly failed: readonly string[];
  readonly repeat: string;
}

/** No report gets longer: what fails a thousand times fails for one reason. */
const MOST_FAILURES = 50;

export class CampaignRun {
  readonly seed: number;
  readonly lives: number;
  readonly random: Random;
  readonly #name: string;
  readonly #startedAt = performance.now();
  readonly #did = new Map<string, number>();
  readonly #checked = new Map<string, number>();
  readonly #failed: string[] = [];
  #isCutShort = false;

  constructor(name: string, { seed, lives }: Length) {
    this.#name = name;
    this.seed = seed;
    this.lives = lives;
    this.random = new Random(seed);
  }

  /** Whether somebody wants it to end. A campaign that looks here begins no further life then, and counts those that it has. */
  get isCutShort(): boolean {
    return this.#isCutShort;
  }

  cutShort(): void {
    this.#isCutShort = true;
  }

  did(what: string, count = 1): void {
    this.#did.set(what, (this.#did.get(what) ?? 0) + count);
  }

  /** Notes that something was looked at, and what was wrong with it. */
  check(what: string, holds: boolean, wrong: string | (() => string)): boolean {
    this.#checked.set(what, (this.#checked.get(what) ?? 0) + 1);
    if (!holds) this.fail(`${what}: ${typeof wrong === "string" ? wrong : wrong()}`);
    return holds;
  }

  fail(text: string): void {
    if (this.#failed.length < MOST_FAILURES) this.#failed.push(text);
  }

  get hasFailed(): boolean {
    return this.#failed.length > 0;
  }

  report(daemon: string, runtime: string, commit: string): Report {
    const settings = [
      daemon === "holdfastd" ? "HOLDFAST_TEST_DAEMON=holdfastd " : "",
      runtime === "io.containerd.holdfast.v2" ? "" : `HOLDFAST_TEST_RUNTIME=${runtime} `,
    ].join("");
    const lives = this.#isCutShort ? (this.#did.get("lives") ?? this.lives) : this.lives;
    return {
      campaign: this.#name,
      seed: this.seed,
      lives,
      daemon,
      runtime,
      seconds: Math.round((performance.now() - this.#startedAt) / 100) / 10,
      commits: { [commit]: lives },
      did: Object.fromEntries(this.#did),
      checked: Object.fromEntries(this.#checked),
      failed: this.#failed,
      repeat: `${settings}npm run campaign -- ${this.#name} --seed ${this.seed} --lives ${this.lives}`,
    };
  }
}

export function reportText(report: Report): string {
  const counts = (of: Readonly<Record<string, number>>): string =>
    Object.entries(of)
      .map(([what, count]) => `${count} ${what}`)
      .join(", ") || "nothing";
  return [
    `${report.campaign}: seed ${report.seed}, ${report.lives} lives, ${report.daemon}, ${report.runtime}, ${report.seconds} s`,
    `  commits  ${counts(report.commits)}`,
    `  did      ${counts(report.did)}`,
    `  checked  ${counts(report.checked)}`,
    ...(report.failed.length === 0
      ? ["  failed   nothing"]
      : report.failed.map((text) => `  FAILED   ${text}`)),
    `  repeat   ${report.repeat}`,
  ].join("\n");
}
