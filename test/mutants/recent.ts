// Faults of what was written last: trees that are taken away, terminals' output to files, the client of gRPC, changes of a container's files, ingests, leases.
import type { Mutant } from "./mutant.ts";

const remove = "native/layer/remove.c";
const removal = "test/images/removal.test.ts";
const terminal = "src/stdio/terminal-output.ts";
const connection = "src/cli/grpc/connection.ts";
const grpc = "test/cli/grpc.test.ts";
const changes = "src/cli/containers/changes.ts";
const ingests = "src/images/ingests.ts";
const leases = "src/manager/api/leases.ts";
const services = "test/images/services.test.ts";

export const mutants: readonly Mutant[] = [
  {
    what: "what is moved up takes the place of what has its new name",
    file: remove,
    text: "renameat2(directory, name, tree->top, free_name, RENAME_NOREPLACE)",
    replacement: "renameat2(directory, name, tree->top, free_name, 0)",
    tests: [removal],
    explained:
      "what it takes the place of was to go too; what it cannot take the place of costs one more round",
  },
  {
    what: "a tree is gone through once only",
    file: remove,
    text: "} while (!is_removed(directory, name) && tree.steps != before);",
    replacement: "} while (0 && tree.steps != before);",
    tests: [removal],
  },
  {
    what: "two collections take the same tree apart at once",
    file: remove,
    text: "if (flock(directory, LOCK_EX) != 0)",
    replacement: "if (directory < 0)",
    tests: [removal],
  },
  {
    what: "a tree that could not be removed counts as gone",
    file: remove,
    text: "status = 1;",
    replacement: "",
    tests: [removal],
  },
  {
    what: "a tree that is gone already is a failure",
    file: remove,
    text: "unlinkat(directory, name, 0) == 0 || errno == ENOENT ||",
    replacement: "unlinkat(directory, name, 0) == 0 ||",
    tests: [removal],
  },
  {
    what: "a terminal's pipe to its file is left open when its exec fails",
    file: terminal,
    text: "this.#output.close(); this.#toFile?.close();",
    replacement: "this.#output.close();",
    tests: ["test/stdio/descriptors.test.ts"],
    name: "that fails for want of a descriptor leaves none open",
    explained: "with its other end closed the pipe ends, and what reads it closes the file by itself",
  },
  {
    what: "a terminal's file is left open when there is no descriptor for its pipe",
    file: terminal,
    text: "toFile.close(); throw error;",
    replacement: "throw error;",
    tests: ["test/stdio/descriptors.test.ts"],
    name: "that fails for want of a descriptor leaves none open",
  },
  {
    what: "an adopting shim takes another daemon's container for an exec of its own",
    file: "src/task/unfinished-exec.ts",
    text: " && pidNamespaceOf(platform, pid) === namespace,",
    replacement: " && (namespace ?? 1) > 0,",
    tests: ["test/keeper/direct-resumed.test.ts"],
    name: "an exec that starts while an adopting shim undoes another's start runs on",
  },
  {
    what: "a log that was moved away is a fifo for the next shim",
    file: "src/stdio/target.ts",
    text: 'kind: fds.stat(sink).kind === "fifo" ? "fifo" : "file"',
    replacement: 'kind: fds.stat(sink).kind === "file" ? "fifo" : "file"',
    tests: ["test/keeper/direct-killed.test.ts"],
    name: "a log that was moved away before the shim's death is a file still",
  },
  {
    what: "on a full disk the state is written again for each file that is closed",
    file: "src/platform/state-log.ts",
    text: "this.#fd < 0 || this.#isWriting) return; const batch",
    replacement: "this.#fd < 0) return; const batch",
    tests: ["test/shim/state-log.test.ts"],
  },
  {
    what: "more is kept of execs that nobody starts than a successor reads",
    file: "src/task/execs.ts",
    text: "if (bytes + spec.process.length > MAX_UNSTARTED) {",
    replacement: "if (bytes > Number.MAX_SAFE_INTEGER) {",
    tests: ["test/keeper/direct-resumed.test.ts"],
    name: "a shim with as much to remember as it takes comes back from a death",
  },
  {
    what: "the connection's window is not counted",
    file: connection,
    text: "this.#window -= room;",
    replacement: "",
    tests: [grpc],
  },
  {
    what: "streams begin with the first window, whatever the server has said",
    file: connection,
    text: "this.peerWindow = value;",
    replacement: "",
    tests: [grpc],
  },
  {
    what: "calls that a server has turned away unseen are not made again",
    file: connection,
    text: "receiver.lost({ error, isUntouched: true });",
    replacement: "receiver.lost({ error, isUntouched: false });",
    tests: [grpc],
    name: "calls that a server has turned away unseen are made again",
  },
  {
    what: "bytes of streams that nobody reads are not given back to the connection",
    file: connection,
    text: "this.write(numberFrame(FrameType.WINDOW_UPDATE, 0, this.#taken));",
    replacement: "",
    tests: [grpc],
    hangs: "the server waits for a window that never opens",
  },
  {
    what: "a header that is remembered takes no room",
    file: "src/cli/grpc/headers.ts",
    text: "this.#size += sizeOf(header);",
    replacement: "",
    tests: [grpc],
  },
  {
    what: "headers may go on for ever",
    file: connection,
    text: "if (size > MAX_HEADER_BYTES)",
    replacement: "if (size < 0)",
    tests: [grpc],
  },
  {
    what: "a directory that leads to a mount point alone is listed as changed",
    file: changes,
    text: 'kind === "P" || (kind === "A"',
    replacement: '(kind === "A"',
    tests: ["test/cli/changes.test.ts"],
  },
  {
    what: "a directory is listed no more for what stays in it",
    file: changes,
    text: "for (const directory of directoriesAbove(path)) needed.add(directory);",
    replacement: "",
    tests: ["test/cli/changes.test.ts"],
  },
  {
    what: "a collection takes what somebody writes",
    file: ingests,
    text: "if (this.#held.has(path)) continue;",
    replacement: "",
    tests: [services, "test/images/held.test.ts"],
  },
  {
    what: "an ingest that is gone on with forgets when it was begun",
    file: ingests,
    text: "startedAtMs: known?.startedAtMs ?? Date.now(),",
    replacement: "startedAtMs: Date.now(),",
    tests: [services],
  },
  {
    what: "a resource that is on a lease already stands on it twice",
    file: leases,
    text: "resources: [...without(lease.resources, { id: key, type }), { id: key, type }],",
    replacement: "resources: [...lease.resources, { id: key, type }],",
    tests: [services],
  },
  {
    what: "a lease is deleted before all that it kept is collected, though its client waits for that",
    file: leases,
    text: "if (sync) await images.collect();",
    replacement: "if (!sync) await images.collect();",
    tests: [services],
  },
];
