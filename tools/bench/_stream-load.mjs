// Clients of paced streams over raw sockets: opens them evenly over a while, and says how late each chunk came against the time at which
// its replica was to send it.
import { connect } from 'node:net';

const [port, streamsText, tokensText, openMsText] = process.argv.slice(2);
const streams = Number(streamsText);
const tokens = Number(tokensText);
const openMs = Number(openMsText);
const now = () => performance.timeOrigin + performance.now();

const body = JSON.stringify({
  model: 'tiny-model',
  messages: [{ role: 'user', content: 'Describe the sea at evening as an old sailor would see it.' }],
  max_tokens: tokens,
  stream: true,
});
const request = Buffer.from(
  `POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\naccept: text/event-stream\r\nauthorization: Bearer bench\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
);

const lates = new Float32Array(streams * tokens);
let chunks = 0;
let whole = 0;
let broken = 0;
let stalled = 0;
let firstError = '';
let ended = 0;
const finished = Promise.withResolvers();
const shared = Buffer.allocUnsafe(64 * 1024);
const due = '"due":';

function fail(what) {
  broken++;
  if (firstError === '') firstError = what.slice(0, 400);
}

function open() {
  let mine = 0;
  let worstMs = 0;
  let rest = '';
  let done = false;
  const over = (why) => {
    if (done) return;
    done = true;
    if (why !== undefined) fail(why);
    else if (mine === tokens) whole++;
    else fail(`${mine} of ${tokens} chunks`);
    if (worstMs > 100) stalled++;
    if (++ended === streams) finished.resolve();
  };
  const socket = connect(
    {
      port: Number(port),
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: shared,
        callback: (size) => {
          const nowMs = now();
          const text = rest === '' ? shared.latin1Slice(0, size) : rest + shared.latin1Slice(0, size);
          let at = 0;
          for (;;) {
            const found = text.indexOf(due, at);
            if (found < 0) break;
            const end = text.indexOf('}', found);
            if (end < 0) break;
            const lateMs = nowMs - Number(text.slice(found + due.length, end));
            if (lateMs > worstMs) worstMs = lateMs;
            if (mine < tokens) lates[chunks++] = lateMs;
            mine++;
            at = end;
          }
          // A chunk may be cut anywhere: what could be the beginning of the next mark is kept.
          if (text.includes('[DONE]', Math.max(0, at))) {
            over();
            socket.destroy();
            return true;
          }
          rest = at === 0 && text.length > 4_096 && !text.includes(due) ? text.slice(-32) : text.slice(at);
          if (mine === 0 && !'HTTP/1.1 200'.startsWith(text.slice(0, 12))) over(text);
          return true;
        },
      },
    },
    () => socket.write(request),
  );
  socket.on('error', (error) => over(error.message));
  socket.on('close', () => over('closed before its end'));
}

const fromMs = performance.now();
let opened = 0;
const timer = setInterval(() => {
  const target = Math.min(streams, Math.ceil(((performance.now() - fromMs) / openMs) * streams));
  while (opened < target) {
    opened++;
    open();
  }
  if (opened === streams) clearInterval(timer);
}, 2);
await finished.promise;
const sorted = lates.subarray(0, chunks).sort();
const at = (share) => Number(sorted[Math.min(chunks - 1, Math.floor(chunks * share))]?.toFixed(2) ?? -1);
process.stdout.write(
  `${JSON.stringify({ ready: true, streams, chunks, whole, broken, stalled, firstError, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) })}\n`,
);
