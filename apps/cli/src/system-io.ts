import { once } from 'node:events';
import { CodedError } from '#libs/kernel';
import type { Io } from './io.ts';

const inputBytesMax = 16 * 1024 * 1024;

/** Colours where a terminal shows them: Node reads NO_COLOR, FORCE_COLOR and TERM. */
const hasColors = (stream: NodeJS.WriteStream): boolean => stream.isTTY === true && stream.hasColors();

export function systemIo(): Io {
  const { stdout, stderr, stdin } = process;
  return {
    async out(text) {
      if (!stdout.write(text)) await once(stdout, 'drain');
    },
    note: (text) => void stderr.write(text),
    async input() {
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of stdin as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > inputBytesMax) {
          throw new CodedError('INPUT_TOO_LARGE', `standard input is longer than ${inputBytesMax} bytes`);
        }
        chunks.push(chunk);
      }
      return Buffer.concat(chunks).toString('utf8');
    },
    colors: { out: hasColors(stdout), note: hasColors(stderr) },
    width: stdout.isTTY === true ? stdout.columns : undefined,
    live: stderr.isTTY === true,
  };
}
