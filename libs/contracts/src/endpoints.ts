import { closest } from '#libs/kernel';

/** Paths of the gateway that a key's scope may name; GET /v1/models is anybody's. */
export const scopedEndpoints = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/responses',
  '/v1/messages',
  '/v1/messages/count_tokens',
  '/v1/rerank',
  '/rerank',
  '/v2/rerank',
  '/v1/score',
  '/score',
  '/v1/classify',
  '/classify',
  '/v1/moderations',
  '/v1/realtime',
  '/pooling',
  '/tokenize',
  '/detokenize',
  '/v1/images/generations',
  '/v1/video/generations',
  '/v1/audio/speech',
  '/v1/audio/transcriptions',
  '/v1/audio/translations',
] as const;

/** A path of a scope, or the beginning of several: "/v1/audio/*". What is wrong with it, in words; undefined where nothing is. */
export function endpointProblem(pattern: string): string | undefined {
  if (pattern.endsWith('/*')) {
    const start = pattern.slice(0, -1);
    if (scopedEndpoints.some((path) => path.startsWith(start))) return undefined;
    return `no endpoint begins with "${start}"`;
  }
  if ((scopedEndpoints as readonly string[]).includes(pattern)) return undefined;
  const meant = closest(pattern, scopedEndpoints);
  return `there is no endpoint "${pattern}"; ${meant === undefined ? `there are: ${scopedEndpoints.join(', ')}` : `did you mean "${meant}"?`}`;
}

/** Whether a scope takes in a path; what stands below a path (`/v1/responses/{id}`) goes with it. No scope is all. */
export function inScope(scope: readonly string[], path: string): boolean {
  if (scope.length === 0 || path.startsWith('/v1/models')) return true;
  for (const pattern of scope) {
    if (pattern === path) return true;
    if (pattern.endsWith('/*') ? path.startsWith(pattern.slice(0, -1)) : path.startsWith(`${pattern}/{`)) return true;
  }
  return false;
}
