// A small HTTP server over node-llama-cpp with the paths, answers and metric names of llama.cpp's own llama-server.
// usage: node llama-server.mjs --lib DIR --model FILE [--host 127.0.0.1] [--port 0] [--ctx-size 2048] [--parallel 4] [--alias NAME] [--exit-with-stdin]
// Prints {"url": ...} on stdout when ready. Ends on SIGTERM or SIGINT, and with --exit-with-stdin when stdin closes.
// --lib DIR --check only loads the library. Not offered: logprobs, n > 1, tools, grammars, images.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { LlamaEngine, loadLibrary, RequestError } from './llama-engine.mjs';

const BODY_LIMIT = 8 * 1024 * 1024;
const STOP_LIMIT_MS = 2_000;
const { values: options } = parseArgs({
  options: {
    lib: { type: 'string' },
    model: { type: 'string' },
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    'ctx-size': { type: 'string', default: '2048' },
    parallel: { type: 'string', default: '4' },
    alias: { type: 'string', default: 'lintel-tiny' },
    'exit-with-stdin': { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});

const bad = (message) => new RequestError(400, 'invalid_request_error', message);
const number = (body, key, fallback) => {
  const value = body[key] ?? fallback;
  if (value !== undefined && typeof value !== 'number') throw bad(`"${key}" has to be a number`);
  return value;
};

function readSampling(body) {
  const presencePenalty = number(body, 'presence_penalty', 0);
  const frequencyPenalty = number(body, 'frequency_penalty', 0);
  const penalty = number(body, 'repeat_penalty', 1);
  const seed = number(body, 'seed', -1);
  const sampling = {
    temperature: number(body, 'temperature', 0.8),
    topK: number(body, 'top_k', 40),
    topP: number(body, 'top_p', 0.95),
    minP: number(body, 'min_p', 0.05),
  };
  sampling.seed = seed >= 0 ? seed : randomBytes(4).readUInt32LE();
  return {
    sampling,
    penalties:
      presencePenalty || frequencyPenalty || penalty !== 1 ? { presencePenalty, frequencyPenalty, penalty } : undefined,
  };
}

function readRequest(engine, body, prompt, signal) {
  if ((body.n ?? 1) !== 1) throw bad('Only one completion choice is allowed');
  const stops = [body.stop ?? []].flat();
  if (!stops.every((stop) => typeof stop === 'string')) throw bad('"stop" has to be a string or an array of strings');
  const { sampling, penalties } = readSampling(body);
  const maxTokens =
    number(body, 'max_completion_tokens', undefined) ??
    number(body, 'max_tokens', undefined) ??
    number(body, 'n_predict', -1);
  const tokens = Array.isArray(prompt) ? prompt : engine.tokenize(prompt, true);
  if (tokens.length === 0 || !tokens.every(Number.isInteger))
    throw bad('the prompt has to be a text or an array of token ids');
  return {
    tokens,
    maxTokens,
    stops: stops.filter(Boolean),
    sampling,
    penalties,
    ignoreEos: body.ignore_eos === true,
    signal,
  };
}

/** The differences between the chat and the text completion formats. */
const CHAT = {
  prefix: 'chatcmpl-',
  object: 'chat.completion',
  chunk: 'chat.completion.chunk',
  first: { delta: { role: 'assistant', content: null } },
  piece: (text) => ({ delta: { content: text } }),
  last: { delta: {} },
  whole: (text) => ({ message: { role: 'assistant', content: text } }),
  prompt: (engine, body) => {
    if (!Array.isArray(body.messages) || body.messages.length === 0)
      throw bad('"messages" is required and has to be an array with at least one message');
    return engine.renderChat(
      body.messages.map(({ role, content, ...rest }) => ({ role, content: plainContent(content), ...rest })),
    );
  },
};
const TEXT = {
  prefix: 'cmpl-',
  object: 'text_completion',
  chunk: 'text_completion',
  piece: (text) => ({ text }),
  last: { text: '' },
  whole: (text) => ({ text }),
  prompt: (_engine, body) => {
    if (typeof body.prompt !== 'string' && !Array.isArray(body.prompt)) throw bad('"prompt" is required');
    return body.prompt;
  },
};

function plainContent(content) {
  if (typeof content === 'string' || content === null || content === undefined) return content ?? '';
  if (!Array.isArray(content)) throw bad('message content has to be a text or an array of parts');
  return content
    .map((part) => {
      if (part?.type !== 'text' || typeof part.text !== 'string') throw bad(`unsupported content part "${part?.type}"`);
      return part.text;
    })
    .join('');
}

function usageAndTimings(done) {
  const usage = {
    completion_tokens: done.completionTokens,
    prompt_tokens: done.promptTokens,
    total_tokens: done.promptTokens + done.completionTokens,
    prompt_tokens_details: { cached_tokens: done.cachedTokens },
  };
  const evaluated = done.promptTokens - done.cachedTokens;
  const rates = (n, s) => ({ ms: s * 1000, perToken: n ? (s * 1000) / n : 0, perSecond: s ? n / s : 0 });
  const prompt = rates(evaluated, done.promptSeconds);
  const predicted = rates(done.completionTokens, done.predictedSeconds);
  const timings = {
    cache_n: done.cachedTokens,
    prompt_n: evaluated,
    prompt_ms: prompt.ms,
    prompt_per_token_ms: prompt.perToken,
    prompt_per_second: prompt.perSecond,
    predicted_n: done.completionTokens,
    predicted_ms: predicted.ms,
    predicted_per_token_ms: predicted.perToken,
    predicted_per_second: predicted.perSecond,
  };
  return { usage, timings };
}

async function complete(engine, format, body, response) {
  const controller = new AbortController();
  response.once('close', () => controller.abort(new Error('the client left')));
  const request = readRequest(engine, body, format.prompt(engine, body), controller.signal);
  const base = {
    created: Math.floor(Date.now() / 1000),
    model: typeof body.model === 'string' ? body.model : options.alias,
    system_fingerprint: buildInfo(engine),
    id: format.prefix + randomBytes(16).toString('hex'),
  };
  const choice = (part, finish_reason = null) => [{ index: 0, ...part, logprobs: null, finish_reason }];
  const pieces = engine.generate(request);
  if (body.stream !== true) {
    let text = '';
    for await (const piece of pieces) {
      if (piece.text) text += piece.text;
      else
        sendJson(response, 200, {
          choices: choice(format.whole(text), piece.done.finishReason),
          object: format.object,
          ...base,
          ...usageAndTimings(piece.done),
        });
    }
    return;
  }
  const send = async (choices, more) => {
    const room = response.write(`data: ${JSON.stringify({ choices, object: format.chunk, ...base, ...more })}\n\n`);
    if (!room) await once(response, 'drain', { signal: controller.signal });
  };
  let begun = false;
  for await (const piece of pieces) {
    if (!begun) {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
      if (format.first) await send(choice(format.first));
      begun = true;
    }
    if (piece.text) {
      await send(choice(format.piece(piece.text)));
      continue;
    }
    const { usage, timings } = usageAndTimings(piece.done);
    await send(
      choice(format.last, piece.done.finishReason),
      body.stream_options?.include_usage ? undefined : { timings },
    );
    if (body.stream_options?.include_usage) await send([], { usage, timings });
    response.end('data: [DONE]\n\n');
  }
}

async function embeddings(engine, body, response) {
  const inputs = Array.isArray(body.input) ? body.input : [body.input];
  if (inputs.length === 0 || !inputs.every((input) => typeof input === 'string' && input.length > 0))
    throw bad('"input" has to be a text or an array of texts');
  const data = [];
  let tokens = 0;
  for (const input of inputs) {
    const { vector, tokens: count } = await engine.embed(input);
    tokens += count;
    const embedding =
      body.encoding_format === 'base64' ? Buffer.from(Float32Array.from(vector).buffer).toString('base64') : vector;
    data.push({ object: 'embedding', embedding, index: data.length });
  }
  sendJson(response, 200, {
    model: options.alias,
    object: 'list',
    usage: { prompt_tokens: tokens, total_tokens: tokens },
    data,
  });
}

const buildInfo = (engine) => `${engine.llama.llamaCppRelease.release}-node-llama-cpp`;

function props(engine) {
  return {
    default_generation_settings: {
      n_ctx: engine.contextSize,
      params: { n_predict: -1, temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, seed: 4294967295 },
    },
    total_slots: engine.slots.length,
    model_alias: options.alias,
    model_path: options.model,
    modalities: { vision: false, audio: false },
    chat_template: engine.chatTemplate,
    bos_token: engine.model.tokens.bosString,
    eos_token: engine.model.tokens.eosString,
    build_info: buildInfo(engine),
    is_sleeping: false,
  };
}

const started = Math.floor(Date.now() / 1000);
function models(engine) {
  const meta = {
    n_ctx: engine.contextSize,
    n_ctx_train: engine.model.trainContextSize,
    n_embd: engine.model.embeddingVectorSize,
    n_vocab: engine.metadata.tokenizer.ggml.tokens.length,
    size: engine.model.size,
  };
  return {
    object: 'list',
    data: [{ id: options.alias, object: 'model', created: started, owned_by: 'llamacpp', meta }],
  };
}

/** llama.cpp's metrics, without those that only its own server can know (decode calls, busy slots per decode). */
function metrics(engine) {
  const c = engine.counters;
  const rows = [
    ['prompt_tokens_total', 'counter', 'Number of prompt tokens processed.', c.promptTokens],
    ['prompt_seconds_total', 'counter', 'Prompt process time', c.promptSeconds],
    ['tokens_predicted_total', 'counter', 'Number of generation tokens processed.', c.predictedTokens],
    ['tokens_predicted_seconds_total', 'counter', 'Predict process time', c.predictedSeconds],
    ['n_tokens_max', 'counter', 'Largest observed n_tokens.', c.tokensMax],
    [
      'prompt_tokens_seconds',
      'gauge',
      'Average prompt throughput in tokens/s.',
      c.promptSeconds ? c.promptTokens / c.promptSeconds : 0,
    ],
    [
      'predicted_tokens_seconds',
      'gauge',
      'Average generation throughput in tokens/s.',
      c.predictedSeconds ? c.predictedTokens / c.predictedSeconds : 0,
    ],
    ['requests_processing', 'gauge', 'Number of requests processing.', c.processing],
    ['requests_deferred', 'gauge', 'Number of requests deferred.', engine.deferred],
  ];
  return rows
    .map(
      ([name, type, help, value]) =>
        `# HELP llamacpp:${name} ${help}\n# TYPE llamacpp:${name} ${type}\nllamacpp:${name} ${value}\n`,
    )
    .join('');
}

function tokenize(engine, body) {
  if (typeof body.content !== 'string') throw bad('"content" has to be a text');
  const tokens = engine.tokenize(body.content, body.add_special === true);
  return {
    tokens: body.with_pieces ? tokens.map((id) => ({ id, piece: engine.model.detokenize([id], true) })) : tokens,
  };
}

function detokenize(engine, body) {
  if (!Array.isArray(body.tokens) || !body.tokens.every(Number.isInteger))
    throw bad('"tokens" has to be an array of numbers');
  return { content: engine.model.detokenize(body.tokens) };
}

const GET = {
  '/health': (engine, response) => sendJson(response, 200, { status: 'ok' }),
  '/v1/models': (engine, response) => sendJson(response, 200, models(engine)),
  '/props': (engine, response) => sendJson(response, 200, props(engine)),
  '/slots': (engine, response) =>
    sendJson(
      response,
      200,
      engine.slots.map((slot) => ({
        id: slot.id,
        n_ctx: engine.contextSize,
        speculative: false,
        is_processing: slot.busy,
      })),
    ),
  '/metrics': (engine, response) => {
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
    response.end(metrics(engine));
  },
};
const POST = {
  '/v1/chat/completions': (engine, body, response) => complete(engine, CHAT, body, response),
  '/v1/completions': (engine, body, response) => complete(engine, TEXT, body, response),
  '/v1/embeddings': embeddings,
  '/tokenize': (engine, body, response) => sendJson(response, 200, tokenize(engine, body)),
  '/detokenize': (engine, body, response) => sendJson(response, 200, detokenize(engine, body)),
};
for (const [path, alias] of [
  ['/v1/models', '/models'],
  ['/health', '/v1/health'],
])
  GET[alias] = GET[path];
for (const [path, alias] of [
  ['/v1/chat/completions', '/chat/completions'],
  ['/v1/embeddings', '/embeddings'],
])
  POST[alias] = POST[path];

function sendJson(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(value));
}

async function readBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_LIMIT) throw bad(`the body is larger than ${BODY_LIMIT} bytes`);
    chunks.push(chunk);
  }
  let body;
  try {
    body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw bad(`the body is not JSON: ${error.message}`);
  }
  if (body === null || typeof body !== 'object' || Array.isArray(body)) throw bad('the body has to be a JSON object');
  return body;
}

async function answer(engine, request, response) {
  response.setHeader('server', 'llama.cpp');
  const path = new URL(request.url, 'http://engine').pathname;
  try {
    if (request.method === 'GET' && Object.hasOwn(GET, path)) GET[path](engine, response);
    else if (request.method === 'POST' && Object.hasOwn(POST, path))
      await POST[path](engine, await readBody(request), response);
    else throw new RequestError(404, 'not_found_error', 'File Not Found');
  } catch (error) {
    if (response.destroyed || response.writableEnded) return;
    const { status = 500, type = 'server_error', more } = error;
    const content = { error: { code: status, message: error.message, type, ...more } };
    if (response.headersSent) response.end(`data: ${JSON.stringify(content)}\n\n`);
    else sendJson(response, status, content);
  }
}

async function main() {
  if (options.check) {
    await (await loadLibrary(options.lib)).llama.dispose();
    return;
  }
  const engine = await LlamaEngine.load({
    libDir: options.lib,
    modelPath: options.model,
    contextSize: Number(options['ctx-size']),
    parallel: Number(options.parallel),
  });
  const server = createServer((request, response) => answer(engine, request, response));
  const stop = () => {
    setTimeout(() => process.exit(0), STOP_LIMIT_MS).unref();
    server.close();
    server.closeAllConnections();
    engine.dispose().finally(() => process.exit(0));
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  if (options['exit-with-stdin']) process.stdin.on('end', stop).on('error', stop).resume();
  server.listen(Number(options.port), options.host, () =>
    process.stdout.write(`${JSON.stringify({ url: `http://${options.host}:${server.address().port}` })}\n`),
  );
}

await main();
