// The exchanges that record-fixtures.mjs records from a real vLLM, in order. Pure data.
// {name, method?, path, body?, raw?, headers?}; "ADAPTERS/" in a lora_path is replaced by the real folder.

const greedy = { temperature: 0, max_tokens: 8 };
const ask = (content) => [{ role: 'user', content }];
const HELLO = ask('Tell me about the river');
const chat = (name, body) => ({
  name: `chat-${name}`,
  path: '/v1/chat/completions',
  body: { model: 'tiny', messages: HELLO, ...greedy, ...body },
});
const completion = (name, body) => ({
  name: `completions-${name}`,
  path: '/v1/completions',
  body: { model: 'tiny', prompt: 'The river and the stone', ...greedy, ...body },
});
const responses = (name, body) => ({
  name: `responses-${name}`,
  path: '/v1/responses',
  body: { model: 'tiny', input: 'Tell me about the river', temperature: 0, max_output_tokens: 8, ...body },
});
const messages = (name, body) => ({
  name: `messages-${name}`,
  path: '/v1/messages',
  body: { model: 'tiny', messages: HELLO, temperature: 0, max_tokens: 8, ...body },
});
const load = (name, lora_name, folder, more) => ({
  name: `lora-load-${name}`,
  path: '/v1/load_lora_adapter',
  body: { lora_name, lora_path: `ADAPTERS/${folder}`, ...more },
});
const unload = (name, lora_name) => ({
  name: `lora-unload-${name}`,
  path: '/v1/unload_lora_adapter',
  body: { lora_name },
});
const get = (name, path) => ({ name, method: 'GET', path });
const post = (name, path) => ({ name, method: 'POST', path });
const LONG = 'The morning light and the winter river went over the long stone table in the garden. '.repeat(12);

export const GENERATING = [
  get('health', '/health'),
  get('ping', '/ping'),
  get('version', '/version'),
  get('load', '/load'),
  get('models-before-adapter', '/v1/models'),
  get('kv-event-sources', '/kv_event_sources'),
  { name: 'tokenize-prompt', path: '/tokenize', body: { model: 'tiny', prompt: 'The river and the stone' } },
  { name: 'tokenize-messages', path: '/tokenize', body: { model: 'tiny', messages: HELLO } },
  {
    name: 'tokenize-token-strs',
    path: '/tokenize',
    body: { model: 'tiny', prompt: 'The river', return_token_strs: true },
  },
  { name: 'detokenize', path: '/detokenize', body: { model: 'tiny', tokens: [54, 72, 69, 70] } },

  chat('plain', {}),
  chat('stream', { stream: true }),
  chat('stream-usage', { stream: true, stream_options: { include_usage: true } }),
  chat('stream-continuous-usage', {
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  }),
  chat('logprobs', { logprobs: true, top_logprobs: 2, max_tokens: 3 }),
  chat('stream-logprobs', { logprobs: true, top_logprobs: 1, max_tokens: 3, stream: true }),
  chat('n2', { n: 2, temperature: 1, seed: 7 }),
  chat('stream-n2', { n: 2, temperature: 1, seed: 7, max_tokens: 3, stream: true }),
  chat('stop', { stop: ['e'], max_tokens: 64 }),
  chat('stream-stop', { stop: ['e'], max_tokens: 64, stream: true }),
  chat('max-tokens-1', { max_tokens: 1 }),
  chat('max-completion-tokens', { max_tokens: undefined, max_completion_tokens: 3 }),
  chat('ignore-eos-min-tokens', { min_tokens: 4, max_tokens: 4, ignore_eos: true }),
  chat('seed', { temperature: 1, seed: 11 }),
  chat('system-and-history', {
    messages: [
      { role: 'system', content: 'You are a garden' },
      ...HELLO,
      { role: 'assistant', content: 'water' },
      ...ask('and the stone?'),
    ],
  }),
  chat('content-parts', { messages: [{ role: 'user', content: [{ type: 'text', text: 'Tell me about the river' }] }] }),
  chat('return-token-ids', { return_token_ids: true }),
  chat('stream-return-token-ids', { return_token_ids: true, stream: true, max_tokens: 3 }),
  chat('structured-choice', { structured_outputs: { choice: ['yes', 'no'] } }),
  chat('request-id', { request_id: 'fixture-request-1', max_tokens: 2 }),
  { ...chat('x-request-id', { max_tokens: 2 }), headers: { 'x-request-id': 'fixture-request-2' } },
  chat('kv-transfer-params', {
    max_tokens: 1,
    kv_transfer_params: { do_remote_decode: true, do_remote_prefill: false },
  }),
  chat('long-prompt-first', { messages: ask(LONG), max_tokens: 2 }),
  chat('long-prompt-again', { messages: ask(LONG), max_tokens: 2 }),
  chat('cache-salt', { messages: ask(LONG), max_tokens: 2, cache_salt: 's1' }),
  chat('priority-without-policy', { priority: 5, max_tokens: 1 }),

  completion('plain', {}),
  completion('stream', { stream: true }),
  completion('stream-usage', { stream: true, stream_options: { include_usage: true } }),
  completion('echo', { echo: true, max_tokens: 3 }),
  completion('logprobs', { logprobs: 2, max_tokens: 3 }),
  completion('prompt-tokens', { prompt: [54, 72, 69, 70], max_tokens: 3 }),
  completion('two-prompts', { prompt: ['The river', 'The stone'], max_tokens: 3 }),

  responses('plain', {}),
  responses('stream', { stream: true }),
  get('responses-get-unknown', '/v1/responses/resp_unknown'),
  messages('plain', {}),
  messages('stream', { stream: true }),
  { name: 'messages-count-tokens', path: '/v1/messages/count_tokens', body: { model: 'tiny', messages: HELLO } },
  { name: 'embeddings-on-generating', path: '/v1/embeddings', body: { model: 'tiny', input: 'hello' } },

  load('ok', 'l0', 'l0'),
  load('again', 'l0', 'l0'),
  load('in-place', 'l0', 'l0', { load_inplace: true }),
  load('missing-path', 'l9', 'missing'),
  load('rank-too-large', 'big', 'big'),
  load('empty-name', '', 'l1'),
  load('base-model-name', 'tiny', 'l1'),
  { name: 'lora-load-no-path', path: '/v1/load_lora_adapter', body: { lora_name: 'l1' } },
  get('models-after-adapter', '/v1/models'),
  chat('lora', { model: 'l0' }),
  chat('lora-stream-usage', { model: 'l0', stream: true, stream_options: { include_usage: true } }),
  completion('lora', { model: 'l0' }),
  unload('ok', 'l0'),
  unload('unknown', 'l0'),
  unload('empty-name', ''),
  chat('unloaded-adapter', { model: 'l0' }),

  chat('error-unknown-model', { model: 'nope' }),
  completion('error-unknown-model', { model: 'nope' }),
  responses('error-unknown-model', { model: 'nope' }),
  chat('error-no-model', { model: undefined, max_tokens: 1 }),
  { name: 'chat-error-invalid-json', path: '/v1/chat/completions', raw: '{"model": "tiny", "messages": [' },
  { name: 'chat-error-not-an-object', path: '/v1/chat/completions', raw: '[1, 2]' },
  { name: 'chat-error-empty-body', path: '/v1/chat/completions', raw: '' },
  {
    name: 'chat-error-content-type',
    path: '/v1/chat/completions',
    raw: '{"model": "tiny"}',
    headers: { 'content-type': 'text/plain' },
  },
  chat('error-empty-messages', { messages: [] }),
  chat('error-no-messages', { messages: undefined }),
  chat('error-messages-type', { messages: 'hello' }),
  chat('error-content-type-number', { messages: [{ role: 'user', content: 5 }] }),
  chat('error-temperature-type', { temperature: 'warm' }),
  chat('error-temperature-negative', { temperature: -1 }),
  chat('error-top-p', { top_p: 3 }),
  chat('error-n-zero', { n: 0 }),
  chat('error-max-tokens-zero', { max_tokens: 0 }),
  chat('error-max-tokens-negative', { max_tokens: -5 }),
  chat('error-max-tokens-type', { max_tokens: 'many' }),
  chat('error-max-tokens-too-large', { max_tokens: 100_000 }),
  chat('error-max-tokens-too-large-stream', { max_tokens: 100_000, stream: true }),
  completion('error-context-too-long', {
    prompt: Array.from({ length: 4200 }, (_, i) => 10 + (i % 400)),
    max_tokens: 1,
  }),
  completion('error-token-out-of-vocabulary', { prompt: [100_000], max_tokens: 1 }),
  completion('error-no-prompt', { prompt: undefined }),
  chat('error-stream-options-without-stream', { stream_options: { include_usage: true } }),
  chat('error-top-logprobs', { logprobs: true, top_logprobs: 100 }),
  chat('error-tool-choice-auto', {
    tools: [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }],
    tool_choice: 'auto',
  }),
  chat('unknown-field', { max_tokens: 1, no_such_field: 1 }),
  get('error-unknown-path', '/v1/nothing'),
  get('error-get-on-post', '/v1/chat/completions'),
  post('error-post-on-get', '/v1/models'),

  post('reset-prefix-cache', '/reset_prefix_cache'),
  get('is-sleeping-before', '/is_sleeping'),
  post('sleep', '/sleep?level=1'),
  get('is-sleeping-asleep', '/is_sleeping'),
  get('health-asleep', '/health'),
  post('wake-up', '/wake_up'),
  get('is-sleeping-after', '/is_sleeping'),
  post('pause', '/pause'),
  get('is-paused', '/is_paused'),
  post('resume', '/resume'),
  chat('after-wake', { max_tokens: 2 }),
  get('metrics', '/metrics'),
];

export const POOLING = [
  get('pooling-models', '/v1/models'),
  { name: 'embeddings', path: '/v1/embeddings', body: { model: 'tiny', input: 'The river' } },
  { name: 'embeddings-two', path: '/v1/embeddings', body: { model: 'tiny', input: ['The river', 'The stone'] } },
  { name: 'embeddings-tokens', path: '/v1/embeddings', body: { model: 'tiny', input: [54, 72, 69] } },
  {
    name: 'embeddings-base64',
    path: '/v1/embeddings',
    body: { model: 'tiny', input: 'The river', encoding_format: 'base64' },
  },
  { name: 'embeddings-error-unknown-model', path: '/v1/embeddings', body: { model: 'nope', input: 'The river' } },
  { name: 'embeddings-error-no-input', path: '/v1/embeddings', body: { model: 'tiny' } },
  { name: 'chat-on-pooling', path: '/v1/chat/completions', body: { model: 'tiny', messages: HELLO } },
  get('pooling-metrics', '/metrics'),
];

/** Sent to an engine with `--max-num-seqs 1 --max-num-queued-reqs 2` (the latter counts running ones too) while one runs and one waits. */
export const OVERLOADED = [
  chat('error-overloaded', { max_tokens: 1 }),
  chat('error-overloaded-stream', { max_tokens: 1, stream: true }),
  get('metrics-overloaded', '/metrics'),
];
/** These take the places: long enough to last while OVERLOADED is sent. */
export const OCCUPYING = chat('occupying', { max_tokens: 3000, ignore_eos: true, stream: true });

/** Calls whose KV events are recorded, on an engine with 40 blocks of 32 tokens. `wait` is for the events to arrive. */
const words = (word, count) => ask(`${word} `.repeat(count));
export const KV_CALLS = [
  chat('kv-plain', { messages: words('river', 90), max_tokens: 2 }),
  chat('kv-same-prefix', { messages: words('river', 150), max_tokens: 2 }),
  chat('kv-generated-blocks', { messages: words('stone', 20), max_tokens: 40, ignore_eos: true }),
  load('kv-load', 'l0', 'l0'),
  chat('kv-lora', { model: 'l0', messages: words('river', 90), max_tokens: 2 }),
  chat('kv-cache-salt', { messages: words('river', 90), max_tokens: 2, cache_salt: 's1' }),
  chat('kv-lora-and-salt', { model: 'l0', messages: words('river', 40), max_tokens: 2, cache_salt: 's1' }),
  chat('kv-evicting', { messages: words('garden', 380), max_tokens: 2 }),
  chat('kv-evicting-more', { messages: words('winter', 380), max_tokens: 2 }),
  post('kv-reset', '/reset_prefix_cache'),
  chat('kv-after-reset', { messages: words('light', 40), max_tokens: 2 }),
];
