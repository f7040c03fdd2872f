// Changes bytes and JSON values at random, the way hostile or broken peers would. Used by the fuzzing campaigns.
import type { Random } from "../random.ts";

const NUMBERS: readonly number[] = [
  0,
  -1,
  1,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 63,
  -(2 ** 63),
  0.5,
  1e308,
];
const TEXTS: readonly string[] = [
  "",
  "\0",
  "/",
  "..",
  "../../etc",
  "\u{1f4a5}",
  "a".repeat(5000),
  "%s%n",
  "\ud800",
  "__proto__",
];

/** A changed copy. */
export function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  let changed = [...bytes];
  for (let left = random.between(1, 6); left > 0; left--) {
    const at = random.between(0, Math.max(0, changed.length - 1));
    switch (random.between(0, 6)) {
      case 0:
        changed[at] = (changed[at] ?? 0) ^ (1 << random.between(0, 7));
        break;
      case 1:
        changed[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.between(0, 255)]);
        break;
      case 2:
        changed.splice(at, random.between(1, 16));
        break;
      case 3:
        changed.splice(at, 0, ...random.bytes(random.between(1, 16)));
        break;
      case 4:
        changed.splice(at, 0, ...changed.slice(at, at + random.between(1, 64)));
        break;
      case 5:
        changed = changed.slice(0, at);
        break;
      case 6:
        changed.push(...changed.slice(random.between(0, at)));
    }
  }
  return Uint8Array.from(changed);
}

/** A changed copy of a JSON value: one of what is in it is another value, is away, or is there twice. */
export function mutateJson(value: unknown, random: Random): unknown {
  const copy: unknown = structuredClone(value);
  const places: { holder: Record<string, unknown>; key: string }[] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    for (const key of Object.keys(node)) {
      places.push({ holder: node as Record<string, unknown>, key });
      visit((node as Record<string, unknown>)[key]);
    }
  };
  visit(copy);
  if (places.length === 0 || random.chance(0.02)) return anyValue(random, 2);
  for (let left = random.between(1, 4); left > 0; left--) {
    const { holder, key } = random.pick(places);
    if (random.chance(0.2)) delete holder[key];
    else if (Array.isArray(holder[key]) && random.chance(0.5)) holder[key].push(anyValue(random, 1));
    else holder[key] = anyValue(random, 2);
  }
  return copy;
}

function anyValue(random: Random, depth: number): unknown {
  switch (random.between(0, depth > 0 ? 7 : 5)) {
    case 0:
      return null;
    case 1:
      return random.chance(0.5);
    case 2:
    case 3:
      return random.pick(NUMBERS);
    case 4:
    case 5:
      return random.pick(TEXTS);
    case 6:
      return Array.from({ length: random.between(0, 4) }, () => anyValue(random, depth - 1));
    default:
      return { [random.pick(["type", "path", "uid", "user", "x"])]: anyValue(random, depth - 1) };
  }
}

/** What no error may say: it is of the program, and not of what it was given. */
export const INTERNAL: RegExp =
  /internal error|TypeError|ReferenceError|RangeError|not a function|not iterable|cannot read prop|is undefined|AddressSanitizer|runtime error:/i;
