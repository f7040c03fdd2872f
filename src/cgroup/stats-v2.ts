// A container's figures on cgroup v2, as the task service's Stats answers them: the fields that containerd's cgroups library fills.
// The formats are those of the kernel's admin-guide/cgroup-v2. A file that is not there leaves its figures out; it is never an error.

import type { BinaryWriter } from "@bufbuild/protobuf/wire";
import { type CgroupFiles, fields, lines, parseFigure, parseKeyed, parseRdma, readFigure } from "./files.ts";
import type { CgroupPaths } from "./hierarchy.ts";
import {
  encodeMessage,
  type Figure,
  writeFigures,
  writeMessage,
  writeRdma,
  writeText,
} from "./metrics-writer.ts";

/** Keys of cpu.stat in the order of CPUStat's fields. */
const CPU_KEYS = "usage_usec user_usec system_usec nr_periods nr_throttled throttled_usec".split(" ");
/** Keys of memory.stat in the order of MemoryStat's fields, 1 to 31. */
const MEMORY_KEYS = [
  ..."anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon".split(
    " ",
  ),
  ..."active_anon inactive_file active_file unevictable slab_reclaimable slab_unreclaimable pgfault".split(
    " ",
  ),
  ..."pgmajfault workingset_refault workingset_activate workingset_nodereclaim pgrefill pgscan pgsteal".split(
    " ",
  ),
  ..."pgactivate pgdeactivate pglazyfree pglazyfreed thp_fault_alloc thp_collapse_alloc".split(" "),
];
/** The files of MemoryStat's fields 32 to 37. */
const MEMORY_FILES = ["current", "max", "swap.current", "swap.max", "peak", "swap.peak"];
/** Keys of memory.events in the order of MemoryEvents' fields. */
const EVENT_KEYS = ["low", "high", "max", "oom", "oom_kill"];
/** Keys of a line of io.stat in the order of IOEntry's fields from 3 on. */
const IO_KEYS = ["rbytes", "wbytes", "rios", "wios"];

/** The encoded io.containerd.cgroups.v2.Metrics of the container whose cgroup is `paths`. */
export function metricsV2(paths: CgroupPaths, files: CgroupFiles): Uint8Array {
  const directory = paths.directory("");
  const read = (name: string): string =>
    directory === undefined ? "" : (files.read(`${directory}/${name}`) ?? "");
  const figure = (name: string): Figure => parseFigure(read(name));
  const keyed = (name: string, keys: readonly string[]): Figure[] => {
    const figures = parseKeyed(read(name));
    return keys.map((key) => figures.get(key));
  };
  return encodeMessage((metrics) => {
    writeMessage(metrics, 1, (pids) => writeFigures(pids, 1, [figure("pids.current"), figure("pids.max")]));
    writeMessage(metrics, 2, (cpu) => writeFigures(cpu, 1, keyed("cpu.stat", CPU_KEYS)));
    writeMessage(metrics, 4, (memory) => {
      writeFigures(memory, 1, keyed("memory.stat", MEMORY_KEYS));
      writeFigures(
        memory,
        32,
        MEMORY_FILES.map((name) => figure(`memory.${name}`)),
      );
    });
    writeRdma(metrics, 5, parseRdma(read("rdma.current")), parseRdma(read("rdma.max")));
    writeMessage(metrics, 6, (io) => writeIo(io, read("io.stat")));
    if (directory !== undefined) writeHugetlb(metrics, directory, files);
    const events = keyed("memory.events", EVENT_KEYS);
    if (events.some((count) => count !== undefined)) {
      writeMessage(metrics, 8, (message) => writeFigures(message, 1, events));
    }
  });
}

/** Lines like "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0". */
function writeIo(io: BinaryWriter, text: string): void {
  for (const line of lines(text)) {
    const [device = "", ...pairs] = fields(line);
    const [major, minor] = device.split(":").map(parseFigure);
    // The kernel prints a device without figures when there are none (Linux 5.x).
    if (major === undefined || minor === undefined || pairs.length === 0) continue;
    const values = new Map(
      pairs.map((pair) => pair.split("=")).map(([key, value]) => [key, parseFigure(value ?? "")]),
    );
    writeMessage(io, 1, (entry) =>
      writeFigures(entry, 1, [major, minor, ...IO_KEYS.map((key) => values.get(key))]),
    );
  }
}

function writeHugetlb(metrics: BinaryWriter, directory: string, files: CgroupFiles): void {
  for (const name of files.list(directory).sort()) {
    const [controller, size = "", kind, ...rest] = name.split(".");
    if (controller !== "hugetlb" || kind !== "current" || rest.length > 0) continue;
    const current = readFigure(files, `${directory}/${name}`);
    const max = readFigure(files, `${directory}/hugetlb.${size}.max`);
    writeMessage(metrics, 7, (stat) => {
      writeFigures(stat, 1, [current, max]);
      writeText(stat, 3, size);
    });
  }
}
