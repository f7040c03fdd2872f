// `holdfast completion bash|zsh|fish`: a script that completes verbs, flags and container ids. Made from the program itself, so that it cannot lag behind.
import { Argument, type Command } from "commander";
import { Problem, USAGE } from "./problem.ts";
import { examples } from "./verb-options.ts";

/** Asks the program that is being completed. */
const IDS = "holdfast ps --all --quiet 2>/dev/null";
const SHELLS = ["bash", "zsh", "fish"] as const;

export function addCompletion(program: Command): void {
  const command = program
    .command("completion")
    .description("print a script that completes verbs, flags and ids in your shell")
    .addArgument(new Argument("<shell>").choices(SHELLS));
  examples(
    command,
    ["source <(holdfast completion bash)", "in ~/.bashrc; the same for zsh"],
    ["holdfast completion fish > ~/.config/fish/completions/holdfast.fish", "for fish"],
  );
  command.action((shell: string) => {
    process.stdout.write(completionScript(program, shell));
  });
}

interface Verb {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly string[];
  /** Whether its arguments are containers. */
  readonly ids: boolean;
}

function verbsOf(program: Command): Verb[] {
  return program.commands.map((command) => ({
    name: command.name(),
    description: command.description(),
    flags: command.options
      .flatMap(({ long, short }) => [long, short])
      .filter((flag) => typeof flag === "string"),
    ids: command.registeredArguments.some((argument) => argument.name().split("|")[0] === "id"),
  }));
}

export function completionScript(program: Command, shell: string): string {
  const verbs = verbsOf(program);
  if (shell === "bash") return bash(verbs);
  if (shell === "zsh") return zsh(verbs);
  if (shell === "fish") return fish(verbs);
  throw new Problem(`no completion for ${shell}: it knows ${SHELLS.join(", ")}`, USAGE);
}

function bash(verbs: readonly Verb[]): string {
  const cases = verbs.map(({ name, flags, ids }) => {
    const words = ids ? `${flags.join(" ")} $(${IDS})` : flags.join(" ");
    return `    ${name}) words="${words}" ;;`;
  });
  return `# bash completion of holdfast
_holdfast() {
  local verb="" word words
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) verb="$word"; break ;; esac
  done
  case "$verb" in
    "") words="${verbs.map(({ name }) => name).join(" ")}" ;;
${cases.join("\n")}
    *) words="" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _holdfast holdfast
`;
}

/** zsh runs bash's. */
function zsh(verbs: readonly Verb[]): string {
  return `autoload -U +X bashcompinit && bashcompinit\n${bash(verbs)}`;
}

function fish(verbs: readonly Verb[]): string {
  const quote = (text: string): string => `'${text.replaceAll("'", "\\'")}'`;
  const lines = verbs.flatMap(({ name, description, flags, ids }) => [
    `complete -c holdfast -f -n __fish_use_subcommand -a ${name} -d ${quote(description)}`,
    ...flags.map((flag) => {
      const kind = flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`;
      return `complete -c holdfast -n '__fish_seen_subcommand_from ${name}' ${kind}`;
    }),
    ...(ids ? [`complete -c holdfast -f -n '__fish_seen_subcommand_from ${name}' -a '(${IDS})'`] : []),
  ]);
  return `# fish completion of holdfast\n${lines.join("\n")}\n`;
}
