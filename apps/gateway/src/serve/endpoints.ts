/** What we serve, by exact path. */
export interface Endpoint {
  readonly path: string;
  readonly method: 'POST' | 'GET';
  /** GenAI semantic conventions' name of the operation. */
  readonly operation: string;
}

const endpoint = (path: string, method: Endpoint['method'], operation: string): Endpoint => ({
  path,
  method,
  operation,
});

export const modelsEndpoint = endpoint('/v1/models', 'GET', 'list_models');
/** Requests to paths that are none, and connections that never spoke HTTP. */
export const otherEndpoint = endpoint('other', 'GET', 'other');

const served = new Map(
  [
    endpoint('/v1/chat/completions', 'POST', 'chat'),
    endpoint('/v1/completions', 'POST', 'text_completion'),
    endpoint('/v1/embeddings', 'POST', 'embeddings'),
    modelsEndpoint,
  ].map((known) => [known.path, known] as const),
);

export interface Target {
  readonly endpoint: Endpoint;
  readonly path: string;
  /** From the '?' on, or ''. */
  readonly query: string;
  /** Raw id after /v1/models/, or undefined. */
  readonly modelId: string | undefined;
}

/** Paths that some software in the way could take for one of ours, and others not. */
const odd = /^\/*v1(?:\/|$)|\/\/|\/\.{1,2}(?:\/|$)|%2e|%2f|%5c|\\/i;

/**
 * Where a request target leads: one of our endpoints; `otherEndpoint` for what is ours to refuse; undefined for what is not ours.
 */
export function targetOf(url: string): Target | undefined {
  const exact = served.get(url);
  if (exact !== undefined) return { endpoint: exact, path: url, query: '', modelId: undefined };
  const mark = url.indexOf('?');
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = mark < 0 ? '' : url.slice(mark);
  const known = served.get(path);
  if (known !== undefined) return { endpoint: known, path, query, modelId: undefined };
  if (path.startsWith('/v1/models/') && path.length > 11) {
    return { endpoint: modelsEndpoint, path, query, modelId: path.slice(11) };
  }
  if (path[0] !== '/' || odd.test(path)) return { endpoint: otherEndpoint, path, query, modelId: undefined };
  return undefined;
}
