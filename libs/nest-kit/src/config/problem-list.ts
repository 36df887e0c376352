import { CodedError } from '#libs/kernel';

/** One mistake in a configuration file, at its place. Lines and columns start at 1. */
export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly suggestion?: string;
}

/** Every mistake of one file at once: nothing of an invalid file is ever applied. */
export class ConfigInvalid extends CodedError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    const text = problems.map(
      ({ file, line, column, message, suggestion }) =>
        `${file}:${line}:${column}: ${message}${suggestion === undefined ? '' : ` (${suggestion})`}`,
    );
    super('CONFIG_INVALID', text.join('\n'), {
      advice: 'Mend the lines named and save; nothing of this file was applied.',
    });
    this.problems = problems;
  }
}
