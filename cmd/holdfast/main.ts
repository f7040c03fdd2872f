#!/usr/bin/env node
// holdfast: the debug CLI. argv → a verb of src/cli.
import { runProgram } from "../../src/cli/program.ts";

// A reader that went away (`holdfast ps | head -1`) ends us as SIGPIPE would.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(141);
  throw error;
});
// Output to pipes and files is out when write() returns, and nothing that is still open shall keep us.
void runProgram(process.argv.slice(2)).then((status) => process.exit(status));
