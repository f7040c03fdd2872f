// How cgroup figures are read: the small interface to the files, and parsers of the kernel's few text formats.

/** Read access to cgroupfs and procfs, by absolute path. */
export interface CgroupFiles {
  /** The file's text; undefined if it is absent or its cgroup is gone. */
  read(path: string): string | undefined;
  /** Names in a directory; empty if it is absent. */
  list(path: string): string[];
}

/** What "max" stands for. */
export const UNLIMITED = 0xffff_ffff_ffff_ffffn;

/**
 * A figure as the kernel prints it: decimal, or "max". Negative ones count as 0: v1 counters can dip below for a moment.
 * Undefined if it is none.
 */
export function parseFigure(text: string): bigint | undefined {
  const trimmed = text.trim();
  if (trimmed === "max") return UNLIMITED;
  const negative = trimmed.startsWith("-");
  const digits = negative ? trimmed.slice(1) : trimmed;
  if (digits === "") return undefined;
  for (const digit of digits) if (digit < "0" || digit > "9") return undefined;
  if (negative) return 0n;
  const value = BigInt(digits);
  return value > UNLIMITED ? UNLIMITED : value;
}

/** The single figure in a file; undefined if the file is absent or holds none. */
export function readFigure(files: CgroupFiles, path: string): bigint | undefined {
  const text = files.read(path);
  return text === undefined ? undefined : parseFigure(text);
}

export function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

/** The fields of a line, whatever the number of blanks between them. */
export function fields(line: string): string[] {
  return line
    .replaceAll("\t", " ")
    .split(" ")
    .filter((field) => field !== "");
}

/** A file of "key value" lines; lines of another form are passed over. */
export function parseKeyed(text: string): Map<string, bigint> {
  const figures = new Map<string, bigint>();
  for (const line of lines(text)) {
    const [key, value, ...rest] = fields(line);
    const figure = value === undefined || rest.length > 0 ? undefined : parseFigure(value);
    if (key !== undefined && figure !== undefined) figures.set(key, figure);
  }
  return figures;
}

/** One device's limits or use in rdma.current or rdma.max: "mlx4_0 hca_handle=2 hca_object=max". */
export interface RdmaLine {
  readonly device: string;
  readonly handles: number;
  readonly objects: number;
}

const RDMA_UNLIMITED = 0xffff_ffff;

export function parseRdma(text: string): RdmaLine[] {
  const devices: RdmaLine[] = [];
  for (const line of lines(text)) {
    const [device, ...pairs] = fields(line);
    if (device === undefined || pairs.length !== 2) continue;
    const figure = (key: string): number => {
      const pair = pairs.find((candidate) => candidate.startsWith(`${key}=`));
      const value = parseFigure(pair?.slice(key.length + 1) ?? "") ?? 0n;
      return value > RDMA_UNLIMITED ? RDMA_UNLIMITED : Number(value);
    };
    devices.push({ device, handles: figure("hca_handle"), objects: figure("hca_object") });
  }
  return devices;
}
