// Load of the soak: conversations that grow, asked at a steady rate, whole or streamed, on kept and new connections, some given up.
import { Agent, request } from 'node:http';

const [port, seconds, rate] = process.argv.slice(2).map(Number);
const conversationsOpen = 400;
const turnsMax = 6;
const tickMs = 10;
const quietMsMax = 30_000;
/** Latency models, prefix tables and leases of limits are cold at first: what fails in this time is told apart. */
const warmMs = 10_000;

/** Of each twenty requests. */
const kinds = [
  ...Array.from({ length: 9 }, () => ({ name: 'whole', stream: false, kept: true })),
  ...Array.from({ length: 5 }, () => ({ name: 'stream', stream: true, kept: true })),
  ...Array.from({ length: 2 }, () => ({ name: 'whole, new connection', stream: false, kept: false })),
  ...Array.from({ length: 2 }, () => ({ name: 'stream, new connection', stream: true, kept: false })),
  { name: 'stream given up', stream: true, kept: true, abort: 'third chunk' },
  { name: 'given up at once', stream: false, kept: false, abort: 'at once' },
];
const counts = Object.fromEntries(kinds.map(({ name }) => [name, 0]));
const agent = new Agent({ keepAlive: true, maxSockets: 512, maxFreeSockets: 64 });
let errors = 0;
let firstError = '';
let refusedWarming = 0;
const open = new Set();
let made = 0;

/** Numerical Recipes' generator: the same text in every run. */
let state = 1;
const random = () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
const text = (words) => Array.from({ length: words }, () => Math.floor(random() * 2 ** 31).toString(36)).join(' ');

const conversations = Array.from({ length: conversationsOpen }, () => undefined);

/** The next turn of one of the conversations; after the last one, a new one takes its place, with a user never seen before. */
function nextTurn() {
  const at = Math.floor(random() * conversationsOpen);
  const one = conversations[at];
  const grown =
    one === undefined || one.messages.length >= turnsMax * 2
      ? { user: `user-${made++}`, messages: [{ role: 'system', content: text(60) }] }
      : one;
  grown.messages.push({ role: 'user', content: text(30) });
  conversations[at] = grown;
  return grown;
}

function failed(why) {
  if (performance.now() - fromMs < warmMs) {
    refusedWarming++;
    return;
  }
  errors++;
  firstError ||= why;
}

function ask(kind) {
  const { user, messages } = nextTurn();
  const body = JSON.stringify({ model: 'tiny-model', user, messages, stream: kind.stream, max_tokens: 64 });
  messages.push({ role: 'assistant', content: 'The sea was calm.' });
  counts[kind.name]++;
  const asking = { kind: kind.name, atMs: Math.round(performance.now() - fromMs), answered: false };
  open.add(asking);
  let given = false;
  let over = false;
  const end = (why) => {
    if (over) return;
    over = true;
    open.delete(asking);
    if (why !== undefined && !given) failed(`${kind.name}: ${why}`);
  };
  const asked = request(
    {
      port,
      host: '127.0.0.1',
      method: 'POST',
      path: '/v1/chat/completions',
      agent: kind.kept ? agent : false,
      headers: {
        'content-type': 'application/json',
        authorization: 'Bearer bench',
        'content-length': Buffer.byteLength(body),
      },
    },
    (answer) => {
      asking.answered = true;
      let chunks = 0;
      let tail = '';
      answer.on('data', (chunk) => {
        tail = (tail + chunk.latin1Slice()).slice(-256);
        if (kind.abort === 'third chunk' && ++chunks === 3) {
          given = true;
          asked.destroy();
        }
      });
      answer.on('end', () => {
        const whole = kind.stream ? tail.includes('data: [DONE]') : tail.includes('"usage"');
        end(answer.statusCode === 200 && whole ? undefined : `status ${answer.statusCode}: ${tail}`);
      });
      answer.on('close', () => end('closed before its end'));
      answer.on('error', () => {});
    },
  );
  asked.on('error', (error) => end(error.message));
  asked.on('close', () => end(given ? undefined : 'closed without an answer'));
  asked.end(body);
  if (kind.abort === 'at once') {
    given = true;
    setImmediate(() => asked.destroy());
  }
}

const fromMs = performance.now();
let sent = 0;
const ticking = setInterval(() => {
  const sinceMs = performance.now() - fromMs;
  const due = Math.floor((Math.min(sinceMs, seconds * 1_000) * rate) / 1_000);
  // What a stalled machine left behind is not made up for in one burst.
  if (due - sent > rate) sent = due - rate;
  while (sent < due) ask(kinds[sent++ % kinds.length]);
  if (sinceMs < seconds * 1_000) return;
  if (open.size > 0 && sinceMs < seconds * 1_000 + quietMsMax) return;
  clearInterval(ticking);
  agent.destroy();
  process.stdout.write(
    `${JSON.stringify({ ready: true, counts, conversations: made, refusedWarming, errors, firstError, unanswered: [...open] })}\n`,
  );
}, tickMs);
