import type { Command } from 'commander';
import { closest, CodedError } from '#libs/kernel';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** What may stand after a command: words of the next level, flags, and the list whose names its argument takes. */
export interface Place {
  /** The command's words joined by spaces; empty for `lintel` itself. */
  readonly path: string;
  readonly words: readonly { readonly name: string; readonly text: string }[];
  readonly flags: readonly { readonly name: string; readonly text: string }[];
  /** `replicas`, `tenants keys` and the like: lists whose names are asked of a running Lintel. */
  readonly names?: string;
  readonly files: boolean;
}

const argumentNames: Readonly<Record<string, string>> = {
  'replica drain': 'replicas',
  'replica resume': 'replicas',
  'replica remove': 'replicas',
  'tenants show': 'tenants',
  'tenants create': 'tenants',
  'tenants remove': 'tenants',
  'projects list': 'tenants',
  'projects create': 'tenants projects',
  'projects remove': 'tenants projects',
  'users list': 'tenants',
  'users create': 'tenants users',
  'users remove': 'tenants users',
  'keys list': 'tenants',
  'keys create': 'tenants',
  'keys change': 'tenants keys',
  'keys rotate': 'tenants keys',
  'keys revoke': 'tenants keys',
  'admin-keys revoke': 'adminKeys',
};
const argumentWords: Readonly<Record<string, readonly string[]>> = {
  get: ['replicas', 'policies', 'tenants', 'requests', 'projections', 'dead-letters', 'prices', 'budgets'],
  completion: shells,
};
const takesFiles: ReadonlySet<string> = new Set(['apply', 'verify', 'archive import', 'archive export', 'up']);

/** The whole grammar, read from the program itself, so that the scripts cannot drift from it. */
export function placesOf(program: Command): Place[] {
  const globals = program.options.filter(({ hidden }) => !hidden);
  const visit = (command: Command, path: readonly string[]): Place[] => {
    const key = path.join(' ');
    const visible = command.commands.filter((one) => !(one as unknown as { _hidden?: boolean })._hidden);
    const own = command === program ? [] : command.options.filter(({ hidden }) => !hidden);
    const flags = [...own, ...globals].map(({ long, short, description }) => ({
      name: long ?? short ?? '',
      text: description,
    }));
    const fixed = (argumentWords[key] ?? []).map((name) => ({ name, text: '' }));
    const names = argumentNames[key];
    return [
      {
        path: key,
        words: [...visible.map((one) => ({ name: one.name(), text: one.description() })), ...fixed],
        flags,
        ...(names === undefined ? {} : { names }),
        files: takesFiles.has(key),
      },
      ...visible.flatMap((one) => visit(one, [...path, one.name()])),
    ];
  };
  return visit(program, []);
}

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
const list = (entries: readonly { name: string }[]): string => entries.map(({ name }) => name).join(' ');

function bash(places: readonly Place[]): string {
  const cases = places
    .map(({ path, words, flags, names, files }) => {
      const dynamic = names === undefined ? '' : `; words="$words $(lintel complete-names ${names} 2>/dev/null)"`;
      return `    ${quoted(path)}) words=${quoted(list(words))}; flags=${quoted(list(flags))}; files=${files ? 1 : 0}${dynamic} ;;`;
    })
    .join('\n');
  const paths = places
    .filter(({ path }) => path !== '')
    .map(({ path }) => quoted(path))
    .join('|');
  return `# bash completion of lintel. Use: source <(lintel completion bash)
_lintel() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path='' word words='' flags='' files=0 index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    case "\${path:+$path }$word" in
      ${paths}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${cases}
  esac
  if [[ "$current" == -* ]]; then words="$flags"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ "$files" == 1 && "$current" != -* ]]; then COMPREPLY+=($(compgen -f -- "$current")); fi
}
complete -o filenames -o bashdefault -F _lintel lintel
`;
}

function zsh(places: readonly Place[]): string {
  const described = (entries: readonly { name: string; text: string }[]): string =>
    entries.map(({ name, text }) => quoted(`${name.replaceAll(':', '\\:')}:${text.replace(/\s+/g, ' ')}`)).join(' ');
  const cases = places
    .map(({ path, words, flags, names, files }) => {
      const dynamic = names === undefined ? '' : `; next+=(\${(f)"$(lintel complete-names ${names} 2>/dev/null)"})`;
      return `    ${quoted(path)}) next=(${described(words)}); flags=(${described(flags)}); files=${files ? 1 : 0}${dynamic} ;;`;
    })
    .join('\n');
  const paths = places
    .filter(({ path }) => path !== '')
    .map(({ path }) => quoted(path))
    .join('|');
  return `#compdef lintel
# zsh completion of lintel. Use, after compinit: source <(lintel completion zsh)
_lintel() {
  local at='' word files=0
  local -a next flags
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "\${at:+$at }$word" in
      ${paths}) at="\${at:+$at }$word" ;;
    esac
  done
  case "$at" in
${cases}
  esac
  if [[ "$PREFIX" == -* ]]; then _describe 'flag' flags; return; fi
  (( $#next )) && _describe 'lintel' next
  if [[ $files == 1 ]]; then _files; fi
}
compdef _lintel lintel
`;
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words, flags, names, files }) => {
    const when = `-n ${quoted(`__lintel_at ${quoted(path).replaceAll("'", '"')}`)}`;
    return [
      ...words.map(({ name, text }) => `complete -c lintel ${when} -a ${quoted(name)} -d ${quoted(text)}`),
      ...flags
        .filter(({ name }) => name.startsWith('--'))
        .map(({ name, text }) => `complete -c lintel ${when} -l ${quoted(name.slice(2))} -d ${quoted(text)}`),
      ...(names === undefined ? [] : [`complete -c lintel ${when} -a '(lintel complete-names ${names} 2>/dev/null)'`]),
      ...(files ? [`complete -c lintel ${when} -F`] : []),
    ];
  });
  const paths = places
    .filter(({ path }) => path !== '')
    .map(({ path }) => quoted(path))
    .join(' ');
  return `# fish completion of lintel. Use: lintel completion fish | source
function __lintel_path
  set -l found ''
  set -l words (commandline -opc)
  set -e words[1]
  for word in $words
    set -l next (string trim -- "$found $word")
    if contains -- $next ${paths}
      set found $next
    end
  end
  echo $found
end
function __lintel_at
  test (__lintel_path) = "$argv[1]"
end
complete -c lintel -f
${lines.join('\n')}
`;
}

/** @throws SHELL_UNKNOWN */
export function completionScript(shell: string, program: Command): string {
  const places = placesOf(program);
  if (shell === 'bash') return bash(places);
  if (shell === 'zsh') return zsh(places);
  if (shell === 'fish') return fish(places);
  const meant = closest(shell, shells);
  throw new CodedError('SHELL_UNKNOWN', `no completion for ${JSON.stringify(shell)}`, {
    advice: `${meant === undefined ? '' : `Did you mean ${meant}? `}There is: ${shells.join(', ')}.`,
  });
}
