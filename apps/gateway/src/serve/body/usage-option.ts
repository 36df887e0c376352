import type { ScannedBody } from './body-scanner.ts';

/** One change to a body: `text` stands for the bytes between `start` and `end`; all others stay. */
export interface Splice {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

const option = '{"include_usage":true}';

/**
 * What asks an engine for the usage of a stream; undefined where the client asked for it itself, wants no stream, or said more in
 * `stream_options` than we know the meaning of.
 */
export function usageSplice(scanned: ScannedBody): Splice | undefined {
  const { stream, includeUsage, streamOptions, objectStart } = scanned;
  if (!stream || includeUsage) return undefined;
  if (streamOptions === undefined) {
    return { start: objectStart + 1, end: objectStart + 1, text: `"stream_options":${option},` };
  }
  return streamOptions.known ? { start: streamOptions.start, end: streamOptions.end, text: option } : undefined;
}

export const spliced = (body: Buffer, { start, end, text }: Splice): Buffer =>
  Buffer.concat([body.subarray(0, start), Buffer.from(text), body.subarray(end)]);
