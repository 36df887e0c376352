// A tiny control API for the running engines, so that a test process can kill and start them.
//   GET  /engines                          -> [{name, url, pid, kvEvents, replay, running}]
//   POST /kill  {name, signal = "SIGKILL"} -> {name, pid, status} once it has ended
//   POST /start {name, extraArgs?, env?, pooling?} -> {name, url, pid, kvEvents, replay} once it is healthy;
//               a name that ran before gets its ports again (and its arguments, unless new ones are given)
import { createServer } from 'node:http';
import { sleep } from './common.mjs';
import { startEngines } from './vllm.mjs';

const END_LIMIT_MS = 15_000;
const BODY_LIMIT = 64 * 1024;

const publicPart = ({ name, url, pid, kvEvents, replay }) => ({ name, url, pid, kvEvents, replay });

class Engines {
  #known = new Map(); // name -> {handle, spec, running}

  constructor(log) {
    this.log = log;
  }

  list() {
    const all = [...this.#known.values()].map(({ handle, running }) => ({ ...publicPart(handle), running }));
    return all.sort((a, b) => a.name.localeCompare(b.name));
  }

  async start({ name, extraArgs, env, pooling }) {
    if (typeof name !== 'string' || !name) throw new Error('"name" is missing');
    const before = this.#known.get(name);
    if (before?.running) throw new Error(`engine ${name} is running; kill it first`);
    const given = Object.fromEntries(
      Object.entries({ extraArgs, env, pooling }).filter(([, value]) => value !== undefined),
    );
    const spec = { ...before?.spec, ...before?.handle.ports, ...given, name };
    const [handle] = await startEngines([spec], { log: this.log });
    const entry = { handle, spec, running: true };
    this.#known.set(name, entry);
    handle.exited.then(() => (entry.running = false));
    return publicPart(handle);
  }

  async kill({ name, signal = 'SIGKILL' }) {
    const entry = this.#known.get(name);
    if (!entry) throw new Error(`no engine ${name}; there are ${[...this.#known.keys()].join(', ')}`);
    entry.handle.kill(signal);
    const ended = await Promise.race([entry.handle.exited, sleep(END_LIMIT_MS, undefined, { ref: false })]);
    if (!ended) throw new Error(`engine ${name} did not end within ${END_LIMIT_MS / 1000}s of ${signal}`);
    return { name, pid: entry.handle.pid, status: ended.status };
  }
}

async function readBody(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > BODY_LIMIT) throw new Error('body too large');
  }
  return text === '' ? {} : JSON.parse(text);
}

/** Starts the named engines and the API. Returns {url, engines, close()}. */
export async function startControl(names, { log }) {
  const engines = new Engines(log);
  const started = await Promise.all(names.map((name) => engines.start({ name })));
  const routes = {
    'GET /engines': () => engines.list(),
    'POST /kill': (body) => engines.kill(body),
    'POST /start': (body) => engines.start(body),
  };
  const server = createServer(async (request, response) => {
    const reply = (status, value) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const route = routes[`${request.method} ${request.url}`];
    if (!route)
      return reply(404, { error: `no ${request.method} ${request.url}; there are ${Object.keys(routes).join(', ')}` });
    try {
      reply(200, await route(await readBody(request)));
    } catch (error) {
      reply(400, { error: error.message });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, engines: started, close };
}
