import type { FleetReplica } from '../../fleet/fleet.ts';

/** Of a client's headers those that mean something to somebody else's service: no session, no user, no cookie, no trace. */
const passed = new Set([
  'accept',
  'accept-language',
  'anthropic-beta',
  'anthropic-version',
  'content-type',
  'openai-beta',
  'user-agent',
]);

/** The head of a request to somebody else's service, without the part that `headFor` puts in front. */
export function externalHead(
  rawHeaders: readonly string[],
  bodyBytes: number | undefined,
  requestId: string,
  passEncodings: boolean,
): string {
  let head = '';
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const lower = (rawHeaders[index] as string).toLowerCase();
    const passes = passed.has(lower) || (passEncodings && lower === 'accept-encoding');
    if (passes) head += `${lower}: ${rawHeaders[index + 1]}\r\n`;
  }
  head += `x-request-id: ${requestId}\r\n`;
  return bodyBytes === undefined
    ? `${head}transfer-encoding: chunked\r\n\r\n`
    : `${head}content-length: ${bodyBytes}\r\n\r\n`;
}

/** "/v1/chat/completions" under the provider's own base: "/openai/v1/chat/completions". */
export const pathAt = ({ provider }: FleetReplica, path: string): string =>
  provider === undefined ? path : provider.basePath + (path.startsWith('/v1/') ? path.slice(3) : path);

/** An answer's headers without what a provider says to its own customer: cookies, limits of our account, whose account it is. */
export function headersFrom({ provider }: FleetReplica, headers: readonly string[]): readonly string[] {
  if (provider === undefined) return headers;
  const kept: string[] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index] as string;
    if (/^(?:set-cookie|x-ratelimit-.*|openai-organization|openai-project)$/i.test(name)) continue;
    kept.push(name, headers[index + 1] as string);
  }
  return kept;
}
