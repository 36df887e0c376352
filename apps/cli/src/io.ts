import type { Layout } from './render/text.ts';
import { ansi, plain, systemOffsetMinutes } from './render/text.ts';

/** Everything of the process that a command touches. */
export interface Io {
  /** To stdout; resolves when there is room for more. */
  out(text: string | Uint8Array): Promise<void>;
  /** To stderr: what is no answer. */
  note(text: string): void;
  /** All of stdin. @throws INPUT_TOO_LARGE */
  input(): Promise<string>;
  readonly colors: { readonly out: boolean; readonly note: boolean };
  /** Columns of the terminal; undefined where stdout is none. */
  readonly width: number | undefined;
  /** True where stderr is a terminal: a progress line is then drawn over itself. */
  readonly live: boolean;
}

export function layoutOf(io: Io, colors: boolean): Layout {
  return { paint: colors ? ansi : plain, width: io.width, offsetMinutes: systemOffsetMinutes };
}
