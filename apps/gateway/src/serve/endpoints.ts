import { fieldMask } from './body/body-scanner.ts';

/** How answers, their usage and errors are written. */
export type Dialect = 'openai' | 'responses' | 'anthropic';

/** What we serve. */
export interface Endpoint {
  /** Its label in records and metrics: the path, with `{id}` for what differs. */
  readonly path: string;
  readonly methods: readonly string[];
  /** GenAI semantic conventions' name of the operation. */
  readonly operation: string;
  readonly body: 'json' | 'form' | 'none';
  readonly dialect: Dialect;
  /** Fields that are the prompt, as bits of the scanner. */
  readonly prompts: number;
  /** The engine keeps what it computes of the prompt: replicas are compared by what they hold of it. */
  readonly cached: boolean;
  /** Its streams tell usage where `stream_options.include_usage` asks for it. */
  readonly usageOption: boolean;
  /** Engines that know `cache_salt` read it here. */
  readonly saltOption: boolean;
  /** Engines take a body without `model` where they serve one. */
  readonly modelOptional: boolean;
}

type Traits = Partial<Omit<Endpoint, 'path' | 'operation'>>;

const endpoint = (path: string, operation: string, traits: Traits = {}): Endpoint => ({
  path,
  operation,
  methods: ['POST'],
  body: 'json',
  dialect: 'openai',
  prompts: 0,
  cached: false,
  usageOption: false,
  saltOption: false,
  modelOptional: false,
  ...traits,
});

const chat: Traits = { prompts: fieldMask('messages', 'prompt', 'input'), cached: true };
/** Scores pairs: neither of them is the start of a prompt. */
const pair: Traits = {
  prompts: fieldMask('query', 'queries', 'documents', 'text_1', 'text_2', 'input'),
  modelOptional: true,
};
const pooled: Traits = { prompts: fieldMask('messages', 'prompt', 'input'), modelOptional: true };
const media: Traits = { prompts: fieldMask('prompt', 'input') };
const anthropic: Traits = { prompts: fieldMask('system', 'messages'), dialect: 'anthropic' };
const stored: Traits = { body: 'none', dialect: 'responses' };

export const modelsEndpoint = endpoint('/v1/models', 'list_models', { methods: ['GET'], body: 'none' });
/** WebSocket sessions. */
export const realtimeEndpoint = endpoint('/v1/realtime', 'realtime', { methods: ['GET'], body: 'none' });
/** Requests to paths that are none, and connections that never spoke HTTP. */
export const otherEndpoint = endpoint('other', 'other', { methods: ['GET'], body: 'none' });

export const responsesEndpoint = endpoint('/v1/responses', 'chat', {
  prompts: fieldMask('instructions', 'input'),
  cached: true,
  saltOption: true,
  dialect: 'responses',
});
const storedEndpoint = endpoint('/v1/responses/{id}', 'get_response', { ...stored, methods: ['GET', 'DELETE'] });
const cancelEndpoint = endpoint('/v1/responses/{id}/cancel', 'cancel_response', stored);

const served = new Map(
  [
    endpoint('/v1/chat/completions', 'chat', { ...chat, usageOption: true, saltOption: true }),
    endpoint('/v1/completions', 'text_completion', { ...chat, usageOption: true, saltOption: true }),
    endpoint('/v1/embeddings', 'embeddings', chat),
    responsesEndpoint,
    endpoint('/v1/messages', 'chat', { ...anthropic, cached: true }),
    endpoint('/v1/messages/count_tokens', 'count_tokens', anthropic),
    ...['/v1/rerank', '/rerank', '/v2/rerank'].map((path) => endpoint(path, 'rerank', pair)),
    ...['/v1/score', '/score'].map((path) => endpoint(path, 'score', pair)),
    ...['/v1/classify', '/classify'].map((path) => endpoint(path, 'classify', pooled)),
    endpoint('/v1/moderations', 'moderation', pooled),
    endpoint('/pooling', 'pooling', pooled),
    endpoint('/tokenize', 'tokenize', { modelOptional: true }),
    endpoint('/detokenize', 'detokenize', { modelOptional: true }),
    endpoint('/v1/images/generations', 'image_generation', media),
    endpoint('/v1/video/generations', 'video_generation', media),
    endpoint('/v1/audio/speech', 'speech', media),
    ...['/v1/audio/transcriptions', '/v1/audio/translations'].map((path) =>
      endpoint(path, path.slice('/v1/audio/'.length, -1), { body: 'form', modelOptional: true }),
    ),
    modelsEndpoint,
    realtimeEndpoint,
  ].map((known) => [known.path, known] as const),
);

export interface Target {
  readonly endpoint: Endpoint;
  readonly path: string;
  /** From the '?' on, or ''. */
  readonly query: string;
  /** Raw id after /v1/models/, or the id of a stored response; undefined where the path has none. */
  readonly id: string | undefined;
}

/** Paths that some software in the way could take for one of ours, and others not. */
const odd = /^\/*v1(?:\/|$)|\/\/|\/\.{1,2}(?:\/|$)|%2e|%2f|%5c|\\/i;
const response = /^\/v1\/responses\/([A-Za-z0-9_-]{1,256})(\/cancel)?$/;

/**
 * Where a request target leads: one of our endpoints; `otherEndpoint` for what is ours to refuse; undefined for what is not ours.
 */
export function targetOf(url: string): Target | undefined {
  const exact = served.get(url);
  if (exact !== undefined) return { endpoint: exact, path: url, query: '', id: undefined };
  const mark = url.indexOf('?');
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = mark < 0 ? '' : url.slice(mark);
  const known = served.get(path);
  if (known !== undefined) return { endpoint: known, path, query, id: undefined };
  if (path.startsWith('/v1/models/') && path.length > 11) {
    return { endpoint: modelsEndpoint, path, query, id: path.slice(11) };
  }
  const one = response.exec(path);
  if (one !== null)
    return { endpoint: one[2] === undefined ? storedEndpoint : cancelEndpoint, path, query, id: one[1] };
  if (path[0] !== '/' || odd.test(path)) return { endpoint: otherEndpoint, path, query, id: undefined };
  return undefined;
}
