import assert from "node:assert/strict";
import { test } from "node:test";
import { forEachBuild, markedLine } from "./host-program.ts";

const at = (name: string): string => `(test/native/programs/errors.ts:${markedLine("errors.ts", name)}:`;

function assertStack(report: unknown, message: string, ...places: string[]): void {
  const { message: given, stack } = report as { message: string; stack: string };
  assert.equal(given, message);
  const lines = stack.split("\n");
  places.forEach((place, index) => {
    assert.ok(lines[index]?.includes(place), `frame ${index} is not at ${place}:\n${stack}`);
  });
}

await forEachBuild("errors", (program) => {
  test("an exception that leaves a timer names its TypeScript lines, and the loop goes on", async () => {
    const [error, then] = await program.reports("uncaughtInTimer");
    assertStack(error, "from a timer", at("fail"), at("timer"));
    assert.equal(then, "still running");
  });

  test("an exception that leaves a promise job is reported", async () => {
    assertStack((await program.reports("uncaughtInJob"))[0], "from a job", at("fail"));
  });

  test("an exception of the top level is reported once", async () => {
    const [error, ...then] = await program.reports("uncaughtAtTopLevel");
    assertStack(error, "from the top level", at("fail"));
    assert.deepEqual(then, ["still running"]);
  });

  test("a failed system call names the line that made it", async () => {
    const [error] = await program.reports("systemErrorStack");
    assertStack(error, "openat /nonexistent: No such file or directory", "open (native)", at("open"));
  });

  test("a rejection after an await is reported with its line", async () => {
    assertStack((await program.reports("unhandledRejection"))[0], "after an await", at("fail"));
  });

  test("a rejection that is handled within the same jobs is not reported", async () => {
    assert.deepEqual(await program.reports("rejectionHandledLater"), ["caught"]);
  });

  test("several rejections come in their order", async () => {
    assert.deepEqual(await program.reports("severalRejections"), ["Error: one", "Error: two", "three"]);
  });

  test("what the receiver of one rejection handles is not reported", async () => {
    assert.deepEqual(await program.reports("rejectionHandledByReceiver"), ["Error: one", "caught"]);
  });

  test("values that are no errors are reported as they are", async () => {
    assert.deepEqual(await program.reports("notAnError"), [{ plain: "object" }, 5]);
  });

  test("endless recursion is an exception", async () => {
    assert.deepEqual(await program.reports("deepRecursion"), ["stack overflow", "survived"]);
  });

  test("wrong arguments throw before any system call", async () => {
    const names = {
      watch: "TypeError",
      nul: "TypeError",
      flags: "RangeError",
      max: "RangeError",
      bytes: "TypeError",
      wide: "TypeError",
      fd: "RangeError",
      signals: "RangeError",
      mode: "RangeError",
    };
    assert.deepEqual(
      await program.reports("wrongArguments"),
      Object.entries(names).map(([name, threw]) => ({ name, threw })),
    );
  });

  if (program.build === "sanitize") return; // which turns an abort into a report of its own

  test("without a receiver the error is printed and the process aborts", async () => {
    const { signal, stderr } = await program.run("noReceiver");
    assert.equal(signal, "SIGABRT");
    assert.match(stderr, /^Error: nobody listens\n {4}at /);
    assert.ok(stderr.includes(at("fail")), stderr);
  });

  test("a receiver that throws aborts the process, and both errors are printed", async () => {
    const { signal, stderr } = await program.run("receiverThrows");
    assert.equal(signal, "SIGABRT");
    assert.match(stderr, /^Error: the first error\nError: from the receiver\n/);
  });
});
