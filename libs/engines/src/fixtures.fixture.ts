import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '../fixtures');

/** What a real vLLM answered, as text. */
export function recorded(name: string): { readonly status: number; readonly text: string } {
  const { response } = JSON.parse(readFileSync(join(folder, 'vllm-0.32', `${name}.json`), 'utf8')) as {
    response: { status: number; body: unknown };
  };
  const { status, body } = response;
  return { status, text: typeof body === 'string' ? body : JSON.stringify(body) };
}

export const fixtureText = (path: string): string => readFileSync(join(folder, path), 'utf8');

export interface CapturedMessage {
  readonly kind: 'LIVE' | 'REPLAY';
  readonly frames: readonly Uint8Array[];
}

/** The lines of a `.hex` file. */
export function captured(name: string): CapturedMessage[] {
  return fixtureText(`kv-events/${name}.hex`)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, kind, rest = ''] = /^(LIVE|REPLAY) ?(.*)$/.exec(line) ?? [];
      const frames = rest.split('|').map((hex) => new Uint8Array(Buffer.from(hex.trim(), 'hex')));
      return { kind: kind as CapturedMessage['kind'], frames };
    });
}
