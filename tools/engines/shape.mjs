// The shape of an engine's answer as a set of lines: status, headers, members with their types, event and metric names.
const CONSTANT = new Set([
  'object',
  'type',
  'role',
  'code',
  'param',
  'finish_reason',
  'status',
  'is_sleeping',
  'is_paused',
  'kv_cache_spec_kind',
  'medium',
  'block_size',
]);
const MAPS = new Set(['top_logprobs']); // objects whose member names are values
const SHORT_TEXT = 300;

const maskNumbers = (text) => text.replaceAll(/\d+(\.\d+)?/g, '#');

function typeOf(value) {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** Adds one line per member path and type to the set, with the value where it is a constant of the API. */
function walk(value, path, facts) {
  const key = path.split('.').at(-1);
  const type = typeOf(value);
  if (type === 'array') {
    facts.add(`${path}: ${value.length > 0 ? 'array' : 'array (empty)'}`);
    for (const item of value) walk(item, `${path}[]`, facts);
  } else if (type === 'object') {
    for (const [name, member] of Object.entries(value))
      walk(member, `${path}.${MAPS.has(key.replaceAll('[]', '')) ? '*' : name}`, facts);
  } else if (CONSTANT.has(key) && type !== 'null') {
    facts.add(`${path}: ${JSON.stringify(value)}`);
  } else if (path.endsWith('error.message')) {
    facts.add(`${path}: ${maskNumbers(String(value))}`);
  } else {
    facts.add(`${path}: ${type}`);
  }
}

function walkEvents(lines, facts) {
  let event = '';
  for (const line of lines) {
    if (line.startsWith('event: ')) {
      event = line.slice(7);
      facts.add(`event ${event}`);
    } else if (line === 'data: [DONE]') {
      facts.add('data: [DONE]');
    } else if (line.startsWith('data: ')) {
      walk(JSON.parse(line.slice(6)), `event ${event || 'message'} data`, facts);
    } else if (line !== '') {
      facts.add(`line ${line}`);
    } else {
      event = '';
    }
  }
}

function walkMetrics(text, facts) {
  for (const line of text.split('\n')) {
    if (line.startsWith('# TYPE ')) facts.add(line.slice(2));
    const sample = /^([\w:]+)(?:\{(.*)\})? /.exec(line);
    if (sample)
      facts.add(`metric ${sample[1]}{${[...(sample[2] ?? '').matchAll(/(\w+)="/g)].map((label) => label[1]).sort()}}`);
  }
}

export function exchangeFacts({ request, response }) {
  const facts = new Set([`status ${response.status}`]);
  for (const [name, value] of Object.entries(response.headers))
    facts.add(`header ${name}: ${name === 'x-request-id' ? '' : value}`);
  const { body } = response;
  if (Array.isArray(body)) walkEvents(body, facts);
  else if (typeof body !== 'string') walk(body, 'body', facts);
  else if (request.path === '/metrics') walkMetrics(body, facts);
  else facts.add(body.length < SHORT_TEXT ? `text ${maskNumbers(body)}` : 'long text');
  return facts;
}

/** Facts of the events of one call; the amounts are left out because batches depend on timing. */
export function kvCallFacts({ events }) {
  const facts = new Set();
  for (const { frames, decoded } of events) {
    facts.add(`${frames.length} frames, sequence of ${frames[1].length / 2} bytes, batch of ${decoded.length}`);
    for (const event of decoded[1]) walk(event, event.type, facts);
  }
  return facts;
}

/** Facts of the exchange over the replay socket. */
export function replayFacts({ request, responses }) {
  const frames = (message) => message.map((frame) => (frame === '' ? 'empty' : 'bytes')).join(', ');
  const facts = new Set([`request: ${frames(request)}`, `end: ${responses.at(-1).frames.slice(0, -1)}`]);
  for (const response of responses.slice(0, -1)) facts.add(`response: ${frames(response.frames)}`);
  return facts;
}
