// A reporter of node's test runner that writes a line of JSON for each test, and for each file when its tests are over. Loaded by the runner itself, inside the root; hence plain JavaScript.
import { relative } from "node:path";
import { inspect } from "node:util";

/** Enough for an error and what two values differ in. */
const MOST_OF_AN_ERROR = 6000;

/** What a person needs of an error, in one line. */
function reasonOf(error) {
  const cause = error?.cause ?? error;
  const text = String(cause?.message ?? cause ?? "").split("\n");
  return text
    .filter((line) => line.trim() !== "")
    .slice(0, 3)
    .join(" ")
    .slice(0, 300);
}

/** The whole of it, with its stack. */
function errorOf(error) {
  return inspect(error?.cause ?? error).slice(0, MOST_OF_AN_ERROR);
}

function isTestFile(name) {
  return /\.test\.(ts|mjs)$/.test(name);
}

// biome-ignore lint/style/noDefaultExport: the runner takes a module's default export.
export default async function* reporter(source) {
  // What each test stands in, as the runner starts them: one after another, whatever runs at once.
  const chain = [];
  for await (const { type, data } of source) {
    if (type === "test:complete" && isTestFile(data.name)) {
      yield `${JSON.stringify({ file: relative(process.cwd(), data.name), over: true })}\n`;
    }
    if (type === "test:start") chain.splice(data.nesting, chain.length, data.name);
    if (type !== "test:pass" && type !== "test:fail") continue;
    // A file as a whole is reported as a test with its path as name: only its failure says something.
    const isFile = isTestFile(data.name);
    if (isFile && type === "test:pass") continue;
    const place = isFile ? data.name : data.file;
    const file = place === undefined ? "" : relative(process.cwd(), place);
    // Of what stands around tests only a fault of its own says something, or that it was left out.
    const isSuite = data.details?.type === "suite";
    const skipped = data.skip !== undefined && data.skip !== false;
    const outcome = type === "test:fail" ? "failed" : skipped ? "skipped" : "passed";
    const reason = outcome === "failed" ? reasonOf(data.details?.error) : skipped ? String(data.skip) : "";
    if (isSuite && (outcome === "passed" || /^\d+ subtests? failed$/.test(reason))) continue;
    const name = isFile ? "the file as a whole" : [...chain.slice(0, data.nesting), data.name].join(" > ");
    const error = outcome === "failed" ? errorOf(data.details?.error) : undefined;
    yield `${JSON.stringify({ file, name, outcome, reason, error })}\n`;
  }
}
