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

/** All changes at once; all other bytes stay. They do not overlap. */
export function spliced(body: Buffer, ...splices: readonly Splice[]): Buffer {
  if (splices.length === 0) return body;
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end, text } of splices.toSorted((a, b) => a.start - b.start)) {
    parts.push(body.subarray(at, start), Buffer.from(text));
    at = end;
  }
  parts.push(body.subarray(at));
  return Buffer.concat(parts);
}
