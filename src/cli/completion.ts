import { Command, InvalidArgumentError, type Option } from "commander";
import type { CommandModule, CommandWord } from "./command.ts";
import { addOptions, optionTerm } from "./options.ts";

/** An option as a shell completes it. */
export interface CompletedOption {
  readonly short: string | null;
  readonly long: string | null;
  readonly help: string;
  readonly takesValue: boolean;
  /** Its values, where there is a list of them. */
  readonly choices: readonly string[];
}

/** A command as a shell completes it; the program itself has no name. */
export interface CompletedCommand {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly CompletedOption[];
  /** Commands of the command. */
  readonly words: readonly CompletedCommand[];
}

const shells = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;
type Shell = keyof typeof shells;

/** `tq completion SHELL`: prints what makes a shell complete commands, options and their values. */
export function completionCommand(describe: () => Promise<readonly CompletedCommand[]>): CommandModule {
  return {
    description: `Print the completion of a shell, made from the commands as they are.

Examples
--------

$ source <(tq completion bash)
$ tq completion zsh > "\${fpath[1]}/_tq"
$ tq completion fish > ~/.config/fish/completions/tq.fish`,
    define(command) {
      command.usage("[OPTIONS] SHELL").argument("<SHELL>", "bash, zsh or fish.", (text: string) => {
        if (!Object.hasOwn(shells, text)) throw new InvalidArgumentError("Expected one of bash, zsh, fish.");
        return text;
      });
    },
    async run(command, session) {
      session.output.print(shells[command.args[0] as Shell](await describe()));
      return 0;
    },
  };
}

/** What there is to complete of a command once it is defined. */
export function describeForCompletion(command: Command, words: readonly CommandWord[] = []): CompletedCommand {
  return {
    name: command.parent === null ? "" : command.name(),
    summary: command.summary(),
    options: [...shownOptions(command), { ...helpOption }],
    words: words.map(({ name, summary, options, signals }) => {
      const word = new Command(name);
      addOptions(word, options);
      const signalOptions = signals.map((short) => ({ ...helpOption, short, long: null, help: "The signal to send." }));
      return { name, summary, options: [...shownOptions(word), ...signalOptions, { ...helpOption }], words: [] };
    }),
  };
}

const shownOptions = (command: Command): CompletedOption[] =>
  command.options.filter((option) => !option.hidden).map(describeOption);

const helpOption: CompletedOption = {
  short: null,
  long: "--help",
  help: "Show this message and exit.",
  takesValue: false,
  choices: [],
};

function describeOption(option: Option): CompletedOption {
  const choices = /\[([\w.]+(?:\|[\w.]+)+)\]$/.exec(optionTerm(option))?.[1]?.split("|") ?? [];
  return {
    short: option.short ?? null,
    long: option.long ?? null,
    help: option.description.split(/(?<=\.)\s/)[0] ?? "",
    takesValue: option.required,
    choices,
  };
}

const namesOf = (options: readonly CompletedOption[]): string[] =>
  options.flatMap(({ short, long }) => [short, long]).filter((name) => name !== null);

function bashScript(commands: readonly CompletedCommand[]): string {
  const program = commands.find(({ name }) => name === "");
  const named = commands.filter(({ name }) => name !== "");
  const valued = (options: readonly CompletedOption[]) => options.filter(({ takesValue }) => takesValue);
  const known = ({ options }: CompletedCommand, indent: string): string[] => {
    const lists = options
      .filter(({ choices }) => choices.length > 0)
      .map((option) => `${indent}  ${namesOf([option]).join("|")}) values="${option.choices.join(" ")}" ;;`);
    const files = namesOf(valued(options).filter(({ choices }) => choices.length === 0)).join("|");
    return [
      `${indent}options="${namesOf(options).join(" ")}"`,
      `${indent}case "$previous" in`,
      ...lists,
      ...(files === "" ? [] : [`${indent}  ${files}) return ;;`]),
      `${indent}esac`,
    ];
  };
  const words = (command: CompletedCommand): string[] => [
    "      for ((index = index + 1; index < COMP_CWORD; index++)); do",
    `        [[ "\${COMP_WORDS[index]}" == -* ]] || { word="\${COMP_WORDS[index]}"; break; }`,
    "      done",
    '      case "$word" in',
    `        "") values="${command.words.map(({ name }) => name).join(" ")}" ;;`,
    ...command.words.flatMap((word) => [`        ${word.name})`, ...known(word, "          "), "          ;;"]),
    "      esac",
  ];
  const own = named.map((command) =>
    [
      `    ${command.name})`,
      ...known(command, "      "),
      ...(command.words.length === 0 ? [] : words(command)),
      "      ;;",
    ].join("\n"),
  );
  const skipped = namesOf(valued(program?.options ?? [])).join("|") || "--";
  return `# bash completion of tq: source <(tq completion bash)
_tq() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local command="" word="" options="${namesOf(program?.options ?? []).join(" ")}" values="" index
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    case "\${COMP_WORDS[index]}" in
      ${skipped}) index=$((index + 1)) ;;
      -*) ;;
      *) command="\${COMP_WORDS[index]}"; break ;;
    esac
  done
  case "$command" in
    "") values="${named.map(({ name }) => name).join(" ")}"
      case "$previous" in ${skipped}) return ;; esac ;;
${own.join("\n")}
  esac
  if [[ "$current" == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ -n "$values" ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$values" -- "$current")
  fi
}
complete -o default -F _tq tq`;
}

function zshScript(commands: readonly CompletedCommand[]): string {
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const plain = (text: string): string => text.replace(/[[\]:\\]/g, "\\$&");
  const spec = (option: CompletedOption): string[] => {
    const names = namesOf([option]);
    const action = option.choices.length > 0 ? `(${option.choices.join(" ")})` : "_files";
    const value = option.takesValue ? `:${plain(names.at(-1)?.replace(/^-+/, "") ?? "value")}:${action}` : "";
    return names.map((name) => quote(`(${names.join(" ")})${name}[${plain(option.help)}]${value}`));
  };
  const lines = (options: readonly CompletedOption[]): string => options.flatMap(spec).join(" \\\n        ");
  const program = commands.find(({ name }) => name === "");
  const named = commands.filter(({ name }) => name !== "");
  const list = (commands: readonly CompletedCommand[]): string =>
    commands.map(({ name, summary }) => `        ${quote(`${name}:${plain(summary)}`)}`).join("\n");
  const rest = ({ name, options }: CompletedCommand): string =>
    `      ${name}) _arguments -s \\\n        ${lines(options)} \\\n        '*:file:_files' ;;`;
  const own = (command: CompletedCommand): string =>
    command.words.length === 0
      ? rest(command)
      : `      ${command.name}) _arguments -C '1: :->word' '*:: :->more'
        case $state in
          word)
            local -a words_of=(
${list(command.words)}
            )
            _describe command words_of ;;
          more)
            case $line[1] in
${command.words.map(rest).join("\n")}
            esac ;;
        esac ;;`;
  return `#compdef tq
# zsh completion of tq: tq completion zsh > "\${fpath[1]}/_tq"
_tq() {
  local curcontext="$curcontext" state line
  _arguments -C \\
        ${lines(program?.options ?? [])} \\
        '1: :->command' '*:: :->rest'
  case $state in
    command)
      local -a commands=(
${list(named)}
      )
      _describe command commands ;;
    rest)
      case $line[1] in
${named.map(own).join("\n")}
      esac ;;
  esac
}
if [ "$funcstack[1]" = _tq ]; then _tq "$@"; else compdef _tq tq; fi`;
}

function fishScript(commands: readonly CompletedCommand[]): string {
  const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const line = (condition: string, option: CompletedOption): string =>
    [
      "complete -c tq",
      `-n ${quote(condition)}`,
      // Of more than one letter, as a signal: what fish calls an old option.
      ...(option.short === null ? [] : [`-${option.short.length > 2 ? "o" : "s"} ${option.short.slice(1)}`]),
      ...(option.long === null ? [] : [`-l ${option.long.slice(2)}`]),
      ...(option.takesValue ? [option.choices.length > 0 ? `-x -a ${quote(option.choices.join(" "))}` : "-r"] : []),
      `-d ${quote(option.help)}`,
    ].join(" ");
  const withWords = commands.filter(({ words }) => words.length > 0);
  const seen = (...names: readonly string[]): string => `__fish_seen_subcommand_from ${names.join(" ")}`;
  const lines = commands.flatMap(({ name, summary, options, words }) => {
    if (name === "") return options.map((option) => line("__fish_use_subcommand", option));
    // A command whose name is a word of another one, too.
    const others = withWords.filter((other) => other.words.some((word) => word.name === name));
    const here = [seen(name), ...others.map((other) => `not ${seen(other.name)}`)].join("; and ");
    const early = words.length === 0 ? "" : `${here}; and not ${seen(...words.map((word) => word.name))}`;
    return [
      `complete -c tq -f -n __fish_use_subcommand -a ${name} -d ${quote(summary)}`,
      ...options.map((option) => line(here, option)),
      ...words.flatMap((word) => [
        `complete -c tq -f -n ${quote(early)} -a ${word.name} -d ${quote(word.summary)}`,
        ...word.options.map((option) => line(`${here}; and ${seen(word.name)}`, option)),
      ]),
    ];
  });
  return `# fish completion of tq: tq completion fish > ~/.config/fish/completions/tq.fish\n${lines.join("\n")}`;
}
