// Faults of the state that a shim's successor reads, and of how it is written.
import type { Mutant } from "./mutant.ts";

const bytes = "native/mod_bytes.c";
const native = "test/native/bytes.test.ts";
const resumed = "test/keeper/direct-resumed.test.ts";

export const mutants: readonly Mutant[] = [
  {
    what: "a record that is gone is an empty one",
    file: bytes,
    text: "put_u32(at + 2, is_removed ? REMOVED : (uint32_t)length);",
    replacement: "put_u32(at + 2, (uint32_t)length);",
    tests: [native],
    name: "a batch of records is what docs/state.md says",
  },
  {
    what: "of a key's length only what fits into two bytes is written",
    file: bytes,
    text: "if (key_length > MAX_KEY) {",
    replacement: "if (key_length > REMOVED) {",
    tests: [native],
    name: "a batch of what cannot be written is refused",
  },
  {
    what: "a lone surrogate is written as the engine has it",
    file: bytes,
    text: "if (text != NULL) replace_surrogates(batch->bytes + batch->length, *length);",
    replacement: "",
    tests: [native],
    name: "a batch of records is what docs/state.md says",
  },
  {
    what: "bytes of a record are taken for text",
    file: bytes,
    text: "if (text != NULL) replace_surrogates(batch->bytes + batch->length, *length);",
    replacement: "replace_surrogates(batch->bytes + batch->length, *length);",
    tests: [native],
    name: "a batch of records is what docs/state.md says",
  },
  {
    what: "an exec's id may be longer than a record's key",
    file: "src/platform/state-log.ts",
    text: "this.#fd < 0 || key.length > MAX_KEY",
    replacement: "this.#fd < 0",
    hangs: "nothing can be written down any more, so that nothing leaves the shim",
    tests: [resumed],
    name: "an id too long for a record's key",
  },
  {
    what: "a container's id may be longer than a record's key",
    file: "src/task/service.ts",
    text: "checkId(id);",
    replacement: "",
    tests: [resumed],
    name: "an id too long for a record's key",
  },
  {
    what: "what nobody waits for is written at the end of the first turn only",
    file: "src/platform/state-log.ts",
    text: "this.#isFlushDue = false; this.flush();",
    replacement: "this.flush();",
    tests: ["test/shim/state-log.test.ts"],
    name: "what nobody waits for is written when each turn is over",
  },
  {
    what: "a part of what is done as one ends it",
    file: "src/platform/effects.ts",
    text: "if (postponed !== undefined) return work();",
    replacement: "",
    tests: ["test/shim/effects.test.ts"],
  },
  {
    what: "what fails half-way closes what its state still names",
    file: "src/platform/effects.ts",
    text: "postponed = undefined; }",
    replacement: "postponed = undefined; for (const close of later) whenWritten(close); }",
    tests: ["test/shim/effects.test.ts"],
    name: "what fails half-way closes nothing",
  },
];
