// `holdfast completion bash|zsh|fish`: a script that completes verbs, flags, their values and container ids. Made from the program itself, so that it
// cannot lag behind.
import { Argument, type Command, type Option } from "commander";
import { examples } from "./options.ts";
import { shimVerbs } from "./shim.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
/** What stands for words that are asked of the daemon or the host when they are needed. Flags given before the verb hold there too. */
const IDS = "$(_holdfast_ask ps --all --quiet)";
const NAMESPACES = "$(_holdfast_ask ns --quiet)";
const SHIMS = "$(_holdfast_ask shims --quiet)";
const SIGNALS = "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH";
const VALUES: Readonly<Record<string, string>> = {
  "--namespace": NAMESPACES,
  "--container": IDS,
  "--signal": SIGNALS,
  "--net": "host none",
  "--pull": "missing always never",
  "--runtime": "io.containerd.holdfast.v2 io.containerd.runc.v2",
};
/** Words after the verb that are not ids. */
const WORDS: Readonly<Record<string, string>> = {
  ns: "list create delete",
  system: "df",
  completion: SHELLS.join(" "),
  shim: SHIMS,
};

export function addCompletion(program: Command): void {
  const command = program
    .command("completion")
    .description("print a script that completes verbs, flags and ids in your shell")
    .addArgument(new Argument("<shell>").choices(SHELLS));
  examples(
    command,
    ["source <(holdfast completion bash)", "in ~/.bashrc; the same for zsh, after compinit"],
    ["holdfast completion fish > ~/.config/fish/completions/holdfast.fish", "for fish"],
  );
  command.action((shell: string) => {
    process.stdout.write(shell === "fish" ? fish(program) : bash(program, shell === "zsh"));
  });
}

interface Verb {
  readonly names: readonly string[];
  readonly description: string;
  readonly options: readonly Option[];
  /** Shell words for its first arguments; empty for files. */
  readonly words: string;
}

function verbsOf(program: Command): Verb[] {
  return program.commands.map((command) => ({
    names: [command.name(), ...command.aliases()],
    description: command.description(),
    options: command.options.filter(({ hidden }) => !hidden),
    words: WORDS[command.name()] ?? (takesIds(command) ? IDS : ""),
  }));
}

function takesIds(command: Command): boolean {
  return command.registeredArguments.some((argument) => argument.name() === "id");
}

function flagsOf(options: readonly Option[]): string[] {
  return options.flatMap(({ long, short }) => [long, short]).filter((flag) => typeof flag === "string");
}

function withValue(options: readonly Option[]): Option[] {
  return options.filter(({ required }) => required);
}

/** zsh runs bash's. */
function bash(program: Command, zsh: boolean): string {
  const verbs = verbsOf(program);
  const shim = verbsOf(shimVerbs(program, "shim"));
  const all = [...program.options, ...[...verbs, ...shim].flatMap(({ options }) => options)];
  const valued = [...new Set(flagsOf(withValue(all)))];
  const values = new Map(
    withValue(all).flatMap((option) =>
      flagsOf([option]).map((flag) => [flag, VALUES[option.long ?? ""] ?? ""] as const),
    ),
  );
  const cases = (list: readonly Verb[]): string =>
    list
      .map(({ names, options, words }) => {
        const flags = flagsOf(options).join(" ");
        return `    ${names.join("|")}) case "$current" in -*) words="${flags}" ;; *) words="${words}" ;; esac ;;`;
      })
      .join("\n");
  const head = zsh ? "autoload -U +X bashcompinit && bashcompinit\n" : "";
  return `${head}# ${zsh ? "zsh" : "bash"} completion of holdfast
# The shell expands the words that it is offered: only plain ones are.
_holdfast_ask() {
  local word
  holdfast "\${place[@]}" "$@" 2>/dev/null | while IFS= read -r word; do
    case "$word" in ""|*[!A-Za-z0-9._:/-]*) ;; *) echo "$word" ;; esac
  done
}
_holdfast() {
${zsh ? "  emulate -L ksh\n" : ""}  local current="\${COMP_WORDS[COMP_CWORD]}" verb="" target="" second="" before="" word words=""
  local -a place=()
  COMPREPLY=()
  # What is being completed: a flag's value, a verb, or what comes after one.
  for word in "\${COMP_WORDS[@]:1:$((COMP_CWORD - 1))}"; do
    if [ -n "$before" ]; then
      case "$before" in --address|--namespace|-n) place+=("$before" "$word") ;; esac
      before=""
      continue
    fi
    case "$word" in
      ${valued.join("|")}) before="$word" ;;
      -*) ;;
      *) if [ -z "$verb" ]; then verb="$word"; elif [ -z "$target" ]; then target="$word"; elif [ -z "$second" ]; then second="$word"; fi ;;
    esac
  done
  if [ -n "$before" ]; then
    case "$before" in
${[...values]
  .filter(([, words]) => words !== "")
  .map(([flag, words]) => `      ${flag}) words="${words}" ;;`)
  .join("\n")}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  # After a shim come verbs of its own.
  if [ "$verb" = shim ] && [ -n "$target" ]; then
    verb="shim/$second"
  fi
  case "$verb" in
    "") case "$current" in -*) words="${flagsOf(program.options).join(" ")}" ;; *) words="${verbs.flatMap(({ names }) => names).join(" ")}" ;; esac ;;
    shim/) words="${shim.flatMap(({ names }) => names).join(" ")}" ;;
${cases(verbs)}
${cases(shim.map((verb) => ({ ...verb, names: verb.names.map((name) => `shim/${name}`), words: "" })))}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _holdfast holdfast
`;
}

function fish(program: Command): string {
  const shim = verbsOf(shimVerbs(program, "shim")).flatMap(({ names }) => names);
  const quote = (text: string): string => `'${text.replaceAll("'", "\\'")}'`;
  const spoken = (words: string): string => words.replaceAll("$(_holdfast_ask ", "(holdfast ");
  const lines = verbsOf(program).flatMap(({ names: [name = ""], description, options, words }) => [
    `complete -c holdfast -f -n __fish_use_subcommand -a ${name} -d ${quote(description)}`,
    ...options.map(({ long, short, required, description: text }) => {
      const flags = [long && `-l ${long.slice(2)}`, short && `-s ${short.slice(1)}`]
        .filter(Boolean)
        .join(" ");
      const value = VALUES[long ?? ""];
      const takes = !required ? "" : value === undefined ? " -r" : ` -x -a ${quote(spoken(value))}`;
      return `complete -c holdfast -n '__fish_seen_subcommand_from ${name}' ${flags}${takes} -d ${quote(text)}`;
    }),
    ...(words === ""
      ? []
      : [`complete -c holdfast -f -n '__fish_seen_subcommand_from ${name}' -a ${quote(spoken(words))}`]),
  ]);
  lines.push(`complete -c holdfast -f -n '__fish_seen_subcommand_from shim' -a ${quote(shim.join(" "))}`);
  return `# fish completion of holdfast\n${lines.join("\n")}\n`;
}
