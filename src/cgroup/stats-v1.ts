// A container's figures on cgroup v1, as the task service's Stats answers them: the fields that containerd's cgroups library fills.
// A controller or file that is not there leaves its figures out; it is never an error.

import type { BinaryWriter } from "@bufbuild/protobuf/wire";
import { type CgroupFiles, fields, lines, parseFigure, parseKeyed, parseRdma, UNLIMITED } from "./files.ts";
import type { CgroupPaths } from "./hierarchy.ts";
import {
  encodeMessage,
  type Figure,
  writeFigures,
  writeMessage,
  writePacked,
  writeRdma,
  writeText,
} from "./metrics-writer.ts";

/** Keys of memory.stat in the order of MemoryStat's fields, 1 to 32. */
const MEMORY_USE = [
  ..."cache rss rss_huge mapped_file dirty writeback pgpgin pgpgout pgfault pgmajfault inactive_anon active_anon".split(
    " ",
  ),
  ..."inactive_file active_file unevictable".split(" "),
];
const MEMORY_KEYS = [
  ...MEMORY_USE,
  "hierarchical_memory_limit",
  "hierarchical_memsw_limit",
  ...MEMORY_USE.map((key) => `total_${key}`),
];
/** What MemoryStat's fields 33 to 36 are read from: memory, with swap, kernel, TCP buffers. */
const MEMORY_ENTRIES = ["memory", "memory.memsw", "memory.kmem", "memory.kmem.tcp"];
/** The files of BlkIOStat's fields 1 to 8. */
const BLKIO =
  "io_service_bytes io_serviced io_queued io_service_time io_wait_time io_merged time sectors".split(" ");
/** Those that the throttling layer counts too. */
const THROTTLED = ["io_service_bytes", "io_serviced"];
/** cpuacct.stat counts in USER_HZ, which is 100 on every Linux. */
const NS_PER_TICK = 10_000_000n;

/** The files of the container's cgroups; undefined or empty where a controller is not mounted or has no such file. */
interface Controllers {
  read(controller: string, name: string): string | undefined;
  figure(controller: string, name: string): Figure;
  names(controller: string): string[];
}

/** The encoded io.containerd.cgroups.v1.Metrics of the container whose cgroups are `paths`. */
export function metricsV1(paths: CgroupPaths, files: CgroupFiles): Uint8Array {
  const controllers = controllersOf(paths, files);
  return encodeMessage((metrics) => {
    writeHugetlb(metrics, controllers);
    writePids(metrics, controllers);
    writeCpu(metrics, controllers);
    writeMemory(metrics, controllers);
    writeBlkio(metrics, controllers, files);
    writeRdmaStat(metrics, controllers);
    writeOomControl(metrics, controllers);
  });
}

function controllersOf(paths: CgroupPaths, files: CgroupFiles): Controllers {
  const read = (controller: string, name: string): string | undefined => {
    const directory = paths.directory(controller);
    return directory === undefined ? undefined : files.read(`${directory}/${name}`);
  };
  return {
    read,
    figure: (controller, name) => parseFigure(read(controller, name) ?? ""),
    names: (controller) => {
      const directory = paths.directory(controller);
      return directory === undefined ? [] : files.list(directory);
    },
  };
}

function writeHugetlb(metrics: BinaryWriter, controllers: Controllers): void {
  for (const name of controllers.names("hugetlb").sort()) {
    const [controller, size = "", figure, ...rest] = name.split(".");
    if (controller !== "hugetlb" || figure !== "usage_in_bytes" || rest.length > 0) continue;
    const read = (file: string): Figure => controllers.figure("hugetlb", `hugetlb.${size}.${file}`);
    writeMessage(metrics, 1, (stat) => {
      writeFigures(stat, 1, [read("usage_in_bytes"), read("max_usage_in_bytes"), read("failcnt")]);
      writeText(stat, 4, size);
    });
  }
}

function writePids(metrics: BinaryWriter, { figure }: Controllers): void {
  const current = figure("pids", "pids.current");
  if (current === undefined) return;
  const max = figure("pids", "pids.max");
  // No limit is 0 here; on v2 it is the greatest number. So clients know it.
  writeMessage(metrics, 2, (stat) => writeFigures(stat, 1, [current, max === UNLIMITED ? 0n : max]));
}

function writeCpu(metrics: BinaryWriter, { read, figure }: Controllers): void {
  const usage = parseKeyed(read("cpuacct", "cpuacct.stat") ?? "");
  const throttling = parseKeyed(read("cpu", "cpu.stat") ?? "");
  const ns = (ticks: Figure): Figure => ticks && ticks * NS_PER_TICK;
  const perCpu = fields((read("cpuacct", "cpuacct.usage_percpu") ?? "").trim());
  writeMessage(metrics, 3, (cpu) => {
    writeMessage(cpu, 1, (stat) => {
      writeFigures(stat, 1, [
        figure("cpuacct", "cpuacct.usage"),
        ns(usage.get("system")),
        ns(usage.get("user")),
      ]);
      writePacked(
        stat,
        4,
        perCpu.map((text) => parseFigure(text) ?? 0n),
      );
    });
    writeMessage(cpu, 2, (stat) => {
      writeFigures(
        stat,
        1,
        ["nr_periods", "nr_throttled", "throttled_time"].map((key) => throttling.get(key)),
      );
    });
  });
}

function writeMemory(metrics: BinaryWriter, { read, figure }: Controllers): void {
  const text = read("memory", "memory.stat");
  if (text === undefined) return;
  const figures = parseKeyed(text);
  writeMessage(metrics, 4, (stat) => {
    writeFigures(
      stat,
      1,
      MEMORY_KEYS.map((key) => figures.get(key)),
    );
    MEMORY_ENTRIES.forEach((prefix, index) => {
      const entry = ["limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt"];
      writeMessage(stat, 33 + index, (inner) => {
        writeFigures(
          inner,
          1,
          entry.map((name) => figure("memory", `${prefix}.${name}`)),
        );
      });
    });
  });
}

function writeOomControl(metrics: BinaryWriter, { read }: Controllers): void {
  const text = read("memory", "memory.oom_control");
  if (text === undefined) return;
  const figures = parseKeyed(text);
  writeMessage(metrics, 9, (control) => {
    writeFigures(
      control,
      1,
      ["oom_kill_disable", "under_oom", "oom_kill"].map((key) => figures.get(key)),
    );
  });
}

function writeRdmaStat(metrics: BinaryWriter, { read }: Controllers): void {
  const current = read("rdma", "rdma.current");
  if (current === undefined) return;
  writeRdma(metrics, 6, parseRdma(current), parseRdma(read("rdma", "rdma.max") ?? ""));
}

function writeBlkio(metrics: BinaryWriter, controllers: Controllers, files: CgroupFiles): void {
  if (controllers.names("blkio").length === 0) return;
  const devices = deviceNames(files.read("/proc/partitions") ?? "");
  const read = (name: string): string => controllers.read("blkio", `blkio.${name}`) ?? "";
  // CFQ and BFQ count for whole subtrees. Where they count nothing, the throttling layer's own counters are the ones to have.
  let texts = BLKIO.map((name) => read(`${name}_recursive`));
  if (texts.every((text) => blkioLines(text).length === 0)) {
    texts = BLKIO.map((name) => (THROTTLED.includes(name) ? read(`throttle.${name}`) : ""));
  }
  writeMessage(metrics, 5, (stat) => {
    texts.forEach((text, index) => {
      for (const { major, minor, op, value } of blkioLines(text)) {
        writeMessage(stat, index + 1, (entry) => {
          writeText(entry, 1, op);
          writeText(entry, 2, devices.get(`${major}:${minor}`) ?? "");
          writeFigures(entry, 3, [major, minor, value]);
        });
      }
    });
  });
}

interface BlkioLine {
  readonly major: bigint;
  readonly minor: bigint;
  readonly op: string;
  readonly value: bigint;
}

/** "8:0 Read 4096" or, without operations, "8:0 4096"; the "Total 8192" at the end is no device. */
function blkioLines(text: string): BlkioLine[] {
  const found: BlkioLine[] = [];
  for (const line of lines(text)) {
    const [device = "", ...rest] = fields(line);
    const [major, minor] = device.split(":").map(parseFigure);
    const value = parseFigure(rest.at(-1) ?? "");
    if (major === undefined || minor === undefined || value === undefined) continue;
    found.push({ major, minor, op: rest.length > 1 ? (rest[0] ?? "") : "", value });
  }
  return found;
}

/** Paths of block devices by "major:minor", from /proc/partitions. */
function deviceNames(partitions: string): Map<string, string> {
  const names = new Map<string, string>();
  for (const line of lines(partitions)) {
    const [major, minor, , name] = fields(line);
    const key = `${major}:${minor}`;
    if (name !== undefined && !names.has(key)) names.set(key, `/dev/${name}`);
  }
  return names;
}
