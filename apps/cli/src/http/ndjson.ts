import { CodedError } from '#libs/kernel';

export const ndjsonLimits = { lineBytesMax: 32 * 1024 * 1024 } as const;

/** Lines of bytes that may be split anywhere, without their ends. An unfinished last line is a line too. */
export async function* textLines(chunks: AsyncIterable<Uint8Array>): AsyncIterable<string> {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  const take = (): string => {
    const line = Buffer.concat(parts).toString('utf8');
    parts = [];
    bytes = 0;
    return line.endsWith('\r') ? line.slice(0, -1) : line;
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      parts.push(chunk.subarray(from, end));
      from = end + 1;
      yield take();
    }
    if (from === chunk.length) continue;
    parts.push(chunk.subarray(from));
    bytes += chunk.length - from;
    if (bytes > ndjsonLimits.lineBytesMax) {
      throw new CodedError('LINE_TOO_LARGE', `a line is longer than ${ndjsonLimits.lineBytesMax} bytes`);
    }
  }
  if (parts.length > 0) yield take();
}

/** The values of an NDJSON stream; empty lines are keep-alives. @throws API_ANSWER_UNUSABLE */
export async function* ndjson(chunks: AsyncIterable<Uint8Array>): AsyncIterable<unknown> {
  for await (const line of textLines(chunks)) {
    if (line.trim() === '') continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw new CodedError('API_ANSWER_UNUSABLE', `a line of the answer is not JSON: ${line.slice(0, 80)}`, {
        advice: 'The answer was cut off, or this is not the diagnostics API.',
        cause,
      });
    }
    yield value;
  }
}
