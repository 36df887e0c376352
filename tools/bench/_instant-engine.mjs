// A replica for proxy benches: answers at once with constants, over raw sockets, so that it takes as little as it can of the core
// that it shares with the load. Streams are paced: one chunk every 50 ms, each with the time at which it was due.
import { createServer } from 'node:net';

const model = 'tiny-model';
const [portText = '0', tokensText = '100', paceText = '50'] = process.argv.slice(2);
const tokens = Number(tokensText);
const paceMs = Number(paceText);

const answer = (type, body, status = '200 OK') =>
  Buffer.from(
    `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );

const completion = answer(
  'application/json',
  JSON.stringify({
    id: 'chatcmpl-0f8fad5bd9cb469fa16570867728950e',
    object: 'chat.completion',
    created: 1790000000,
    model,
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: 'The sea was calm and the old sun stood low in a red sky.',
          refusal: null,
        },
        logprobs: null,
        finish_reason: 'stop',
      },
    ],
    usage: { prompt_tokens: 57, total_tokens: 72, completion_tokens: 15, prompt_tokens_details: { cached_tokens: 32 } },
  }),
);
const pages = new Map([
  ['/health', answer('text/plain', '')],
  ['/ping', answer('text/plain', '')],
  ['/version', answer('application/json', '{"version":"0.32.0"}')],
  [
    '/v1/models',
    answer(
      'application/json',
      JSON.stringify({
        object: 'list',
        data: [{ id: model, object: 'model', created: 1790000000, owned_by: 'vllm', root: model, max_model_len: 4096 }],
      }),
    ),
  ],
  [
    '/metrics',
    answer(
      'text/plain; version=0.0.4',
      `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="${model}"} 1.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="${model}"} 0.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="${model}"} 0.1
`,
    ),
  ],
]);
const missing = answer('application/json', '{"error":{"message":"Not Found","code":404}}', '404 Not Found');
const streamHead = Buffer.from(
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n',
);
const streamEnd = Buffer.from('e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n');

/** Milliseconds of the machine's clock, to the microsecond: load and engine compare them. */
const now = () => performance.timeOrigin + performance.now();

/** Chunk of a stream: text of a real engine's length, with the time at which it was due. */
function chunk(dueMs, index) {
  const data = `data: {"id":"chatcmpl-0f8fad5bd9cb469fa16570867728950e","object":"chat.completion.chunk","created":1790000000,"model":"${model}","choices":[{"index":0,"delta":{"content":" t${index}"},"logprobs":null,"finish_reason":null}],"due":${dueMs.toFixed(1)}}\n\n`;
  return `${data.length.toString(16)}\r\n${data}\r\n`;
}

const streams = new Set();
let sendLateMsMax = 0;
// One timer for all streams: each is looked at every 5 ms and sent what is due.
setInterval(() => {
  const nowMs = now();
  for (const stream of streams) {
    if (stream.dueMs > nowMs) continue;
    sendLateMsMax = Math.max(sendLateMsMax, nowMs - stream.dueMs);
    if (stream.sent === tokens) {
      stream.socket.write(streamEnd);
      streams.delete(stream);
      continue;
    }
    stream.socket.write(chunk(stream.dueMs, stream.sent), 'latin1');
    stream.sent++;
    stream.dueMs += paceMs;
  }
}, 5);

function serve(socket, path, body) {
  if (path !== '/v1/chat/completions') {
    socket.write(pages.get(path) ?? missing);
    return;
  }
  if (!body.includes('"stream":true')) {
    socket.write(completion);
    return;
  }
  socket.write(streamHead);
  streams.add({ socket, sent: 0, dueMs: now() });
}

const contentLength = /\r\ncontent-length: *(\d+)/i;

const server = createServer({ noDelay: true }, (socket) => {
  let rest = '';
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    for (const stream of streams) if (stream.socket === socket) streams.delete(stream);
  });
  socket.on('data', (bytes) => {
    rest = rest === '' ? bytes.latin1Slice() : rest + bytes.latin1Slice();
    for (;;) {
      const headEnd = rest.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      const head = rest.slice(0, headEnd);
      const path = head.slice(head.indexOf(' ') + 1, head.indexOf(' HTTP/1.'));
      let end = headEnd + 4;
      const length = contentLength.exec(head);
      if (length !== null) end += Number(length[1]);
      else if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
        const last = rest.indexOf('0\r\n\r\n', end);
        if (last < 0) return;
        end = last + 5;
      }
      if (rest.length < end) return;
      const body = rest.slice(headEnd + 4, end);
      rest = rest.slice(end);
      serve(socket, path, body);
    }
  });
});
server.listen({ port: Number(portText), host: '127.0.0.1', backlog: 8192 }, () =>
  process.stdout.write(`${JSON.stringify({ ready: true, port: server.address().port, pid: process.pid })}\n`),
);
process.on('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify({ sendLateMsMax })}\n`);
  process.exit(0);
});
