// `--change` of commit and import: what a line of a Dockerfile does to an image's configuration.
import { Problem, USAGE } from "../text/problem.ts";
import type { ImageConfig } from "./manifest.ts";

type Config = NonNullable<ImageConfig["config"]>;

/** The configuration after the lines. Throws a Problem that names the one that makes no sense. */
export function withChanges(config: Config, lines: readonly string[]): Config {
  return lines.reduce(changed, config);
}

function changed(config: Config, line: string): Config {
  const [, word = "", rest = ""] = /^\s*(\S+)\s*(.*?)\s*$/s.exec(line) ?? [];
  const refuse = (what: string): never => {
    throw new Problem(`--change ${line}: ${what}`, USAGE);
  };
  if (rest === "") refuse("give an instruction and what it is about, as in USER www");
  switch (word.toUpperCase()) {
    case "CMD":
      return { ...config, Cmd: commandOf(rest) };
    case "ENTRYPOINT":
      return { ...config, Entrypoint: commandOf(rest) };
    case "USER":
      return { ...config, User: rest };
    case "WORKDIR":
      return { ...config, WorkingDir: rest.startsWith("/") ? rest : `${config.WorkingDir || ""}/${rest}` };
    case "STOPSIGNAL":
      return { ...config, StopSignal: rest };
    case "ENV":
      return { ...config, Env: withVariables(config.Env ?? [], pairs(rest) ?? refuse("give NAME=VALUE")) };
    case "LABEL":
      return { ...config, Labels: { ...config.Labels, ...(pairs(rest) ?? refuse("give NAME=VALUE")) } };
    case "VOLUME":
      return { ...config, Volumes: { ...config.Volumes, ...emptyEach(wordsOf(rest)) } };
    case "EXPOSE": {
      const ports = wordsOf(rest).map((port) => (port.includes("/") ? port : `${port}/tcp`));
      return { ...config, ExposedPorts: { ...config.ExposedPorts, ...emptyEach(ports) } };
    }
    default:
      return refuse("this knows CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR");
  }
}

/** A list in JSON, or a line for the shell. */
function commandOf(text: string): string[] {
  return listOf(text) ?? ["/bin/sh", "-c", text];
}

function wordsOf(text: string): string[] {
  return listOf(text) ?? text.split(/\s+/);
}

function listOf(text: string): string[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((each) => typeof each === "string") ? value : undefined;
  } catch {
    return undefined;
  }
}

/** NAME=VALUE words, with quotes around values that have spaces; or one NAME VALUE, as it was once written. */
function pairs(text: string): Record<string, string> | undefined {
  if (!/^[^\s=]+=/.test(text)) {
    const [, name = "", value] = /^(\S+)\s+(.+)$/s.exec(text) ?? [];
    return value === undefined ? undefined : { [name]: value };
  }
  const found: Record<string, string> = {};
  for (const [, name = "", double, single, plain = ""] of text.matchAll(
    /([^\s=]+)=(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|((?:[^\s\\]|\\.)*))/gs,
  ))
    found[name] = single ?? (double ?? plain).replace(/\\(.)/gs, "$1");
  return found;
}

function withVariables(env: readonly string[], more: Record<string, string>): string[] {
  const all = new Map(env.map((entry) => [entry.split("=", 1)[0] ?? "", entry]));
  for (const [name, value] of Object.entries(more)) all.set(name, `${name}=${value}`);
  return [...all.values()];
}

function emptyEach(names: readonly string[]): Record<string, object> {
  return Object.fromEntries(names.map((name) => [name, {}]));
}
