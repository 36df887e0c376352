// Load for proxy benches over raw sockets: a fixed number of requests on kept connections, each answer read to its end and checked.
import { connect } from 'node:net';

const [port, connectionsText, countText, headers = ''] = process.argv.slice(2);
const connections = Number(connectionsText);
const count = Number(countText);

const body = JSON.stringify({
  model: 'tiny-model',
  messages: [
    {
      role: 'system',
      content: 'You are a helpful assistant who answers in one short sentence and never makes anything up.',
    },
    {
      role: 'user',
      content: 'Describe the sea at evening as an old sailor would see it from the harbour wall of a small town.',
    },
  ],
  max_tokens: 64,
  temperature: 0.7,
  user: 'bench',
  seed: 12345,
});
const request = Buffer.from(
  `POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\naccept: application/json\r\nauthorization: Bearer bench\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
);

const latencies = new Float64Array(count);
let sent = 0;
let done = 0;
let errors = 0;
let firstError = '';
let answerBytes = 0;
const finished = Promise.withResolvers();
const contentLength = /\r\ncontent-length: *(\d+)/i;
const chunked = /\r\ntransfer-encoding: *chunked/i;

/** Length of the answer at the start of the text once it is whole; 0 while it is not. */
function wholeLength(text) {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return 0;
  const head = text.slice(0, headEnd);
  const length = contentLength.exec(head);
  if (length !== null) return text.length >= headEnd + 4 + Number(length[1]) ? headEnd + 4 + Number(length[1]) : 0;
  if (!chunked.test(head)) return -1;
  let at = headEnd + 4;
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return 0;
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    at = lineEnd + 2 + size + 2;
    if (at > text.length) return 0;
    if (size === 0) return at;
  }
}

function fail(what) {
  errors++;
  if (firstError === '') firstError = what.slice(0, 600);
}

function open() {
  let text = '';
  let sentMs = 0;
  let waiting = false;
  const buffer = Buffer.allocUnsafe(64 * 1024);
  const next = () => {
    if (sent === count) {
      socket.end();
      return;
    }
    sent++;
    waiting = true;
    sentMs = performance.now();
    socket.write(request);
  };
  const ended = () => {
    waiting = false;
    latencies[done++] = performance.now() - sentMs;
    if (done === count) finished.resolve();
  };
  const socket = connect(
    {
      port: Number(port),
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer,
        callback: (size) => {
          text = text === '' ? buffer.latin1Slice(0, size) : text + buffer.latin1Slice(0, size);
          const length = wholeLength(text);
          if (length === 0) return true;
          if (length !== text.length) fail(`an answer of ${length} bytes, ${text.length} came: ${text}`);
          if (!text.startsWith('HTTP/1.1 200 ') || !text.includes('"finish_reason":"stop"')) fail(text);
          answerBytes = text.length;
          text = '';
          ended();
          next();
          return true;
        },
      },
    },
    next,
  );
  socket.on('error', (error) => fail(error.message));
  socket.on('close', () => {
    if (!waiting) return;
    fail(`closed before the answer: ${text}`);
    ended();
    if (sent < count) open();
  });
}

const fromMs = performance.now();
const cpuFrom = process.cpuUsage();
for (let index = 0; index < connections; index++) open();
await finished.promise;
const seconds = (performance.now() - fromMs) / 1000;
const cpu = process.cpuUsage(cpuFrom);
latencies.sort();
const at = (share) => latencies[Math.min(count - 1, Math.floor(count * share))];
process.stdout.write(
  `${JSON.stringify({
    ready: true,
    perSecond: count / seconds,
    errors,
    firstError,
    requestBytes: Buffer.byteLength(body),
    answerBytes,
    p50: at(0.5),
    p99: at(0.99),
    max: at(1),
    loadUs: (cpu.user + cpu.system) / count,
  })}\n`,
);
