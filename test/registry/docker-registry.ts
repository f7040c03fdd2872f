// Debian's docker-registry on loopback, in a directory of the test's own, with a password and with TLS if that is wanted.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, Running } from "../harness/command.ts";

export const USER = "tester";
export const PASSWORD = "not a secret: 1";

export interface RegistryOptions {
  readonly directory: string;
  readonly password?: boolean;
  readonly tls?: Certificates;
}

export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export class DockerRegistry {
  /** host:port, as images are named. */
  readonly host: string;
  readonly isSecure: boolean;
  readonly directory: string;
  readonly #process: Running;

  private constructor(host: string, isSecure: boolean, directory: string, process: Running) {
    this.host = host;
    this.isSecure = isSecure;
    this.directory = directory;
    this.#process = process;
  }

  static async start({ directory, password, tls }: RegistryOptions): Promise<DockerRegistry> {
    mkdirSync(directory, { recursive: true });
    const lines = [
      "version: 0.1",
      "log: { level: info, accesslog: { disabled: false } }",
      `storage: { filesystem: { rootdirectory: ${join(directory, "storage")} }, delete: { enabled: true } }`,
      "http:",
      "  addr: 127.0.0.1:0",
    ];
    if (tls !== undefined) lines.push("  tls:", `    certificate: ${tls.cert}`, `    key: ${tls.key}`);
    if (password === true) {
      const users = join(directory, "htpasswd");
      writeFileSync(users, await check(["htpasswd", "-Bbn", USER, PASSWORD]));
      lines.push(`auth: { htpasswd: { realm: test, path: ${users} } }`);
    }
    writeFileSync(join(directory, "config.yml"), `${lines.join("\n")}\n`);
    const argv = [
      "setpriv",
      "--pdeathsig",
      "KILL",
      "docker-registry",
      "serve",
      join(directory, "config.yml"),
    ];
    const process = new Running(argv, { timeoutMs: 3_600_000 });
    const [, host = ""] = await process.printed(/listening on (127\.0\.0\.1:\d+)\b/);
    return new DockerRegistry(host, tls !== undefined, directory, process);
  }

  get url(): string {
    return `${this.isSecure ? "https" : "http"}://${this.host}`;
  }

  /** What it has logged: a line for each request among it. */
  get log(): string {
    return this.#process.stdoutText + this.#process.stderrText;
  }

  /** Requests so far whose line matches. */
  requests(pattern: RegExp): number {
    return this.#process.stdoutText.split("\n").filter((line) => /HTTP\/\d/.test(line) && pattern.test(line))
      .length;
  }

  /** Whether a blob is in its store. */
  has(digest: string): boolean {
    const hex = digest.slice("sha256:".length);
    const storage = join(this.directory, "storage/docker/registry/v2/blobs/sha256");
    return existsSync(join(storage, hex.slice(0, 2), hex, "data"));
  }

  async close(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}

/** An authority of the test's own, and a certificate of it for `names`. */
export async function makeCertificates(
  directory: string,
  ...names: readonly string[]
): Promise<Certificates> {
  mkdirSync(directory, { recursive: true });
  const path = (name: string): string => join(directory, name);
  const openssl = (...args: string[]): Promise<string> => check(["openssl", ...args]);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  await openssl(
    "req",
    "-x509",
    ...key,
    "-keyout",
    path("ca.key"),
    "-out",
    path("ca.crt"),
    "-subj",
    "/CN=test authority",
  );
  await openssl(
    "req",
    ...key,
    "-keyout",
    path("host.key"),
    "-out",
    path("host.csr"),
    "-subj",
    "/CN=test registry",
  );
  const alternatives = names.map((name) => (/^[\d.]+$/.test(name) ? `IP:${name}` : `DNS:${name}`)).join(",");
  writeFileSync(path("names"), `subjectAltName=${alternatives}\n`);
  const signing = [
    "-CA",
    path("ca.crt"),
    "-CAkey",
    path("ca.key"),
    "-CAcreateserial",
    "-extfile",
    path("names"),
  ];
  await openssl("x509", "-req", "-in", path("host.csr"), ...signing, "-out", path("host.crt"), "-days", "2");
  return { ca: path("ca.crt"), cert: path("host.crt"), key: path("host.key") };
}
