// A short run of every fuzzer of what C parses: replayed, and changed blindly, with gcc's sanitizers. clang, which guides the long runs, is half a gigabyte,
// and on the set-up list of the fuzzers alone.
import { test } from "node:test";
import { judge, seed } from "./judge.ts";
import { replayNative } from "./native.ts";
import { nativeTargets } from "./native-targets.ts";

const CHANGED = 2000;

for (const target of nativeTargets) {
  test(`${target.name}: ${target.what} (replayed)`, async (context) => {
    const report = await replayNative(target, { changed: CHANGED, seed });
    judge(context, report, CHANGED + target.seeds().size);
  });
}
