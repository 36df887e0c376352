// The proxies that the benches compare, each a process of its own on one core, in front of the same engines.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { benchNats, cores, freePort, node, ready, start, until } from './_common.mjs';

/** Engines on the core of the load. */
export async function startEngines(count, ...args) {
  const children = Array.from({ length: count }, () =>
    start(cores.load, node, ['tools/bench/_instant-engine.mjs', '0', ...args]),
  );
  const ports = [];
  for (const child of children) ports.push((await ready(child, 'engine')).port);
  return { children, ports };
}

export async function startBare(ports) {
  const child = start(cores.test, node, ['tools/bench/_bare-proxy.mjs', ...ports.map(String)]);
  const { port, pid } = await ready(child, 'bare proxy');
  return { name: 'bare node:http + undici', child, port, pid };
}

/** Undefined, with the reason, where HAProxy is not installed. */
export async function startHaproxy({ home }, ports) {
  const version = spawnSync('haproxy', ['-v'], { encoding: 'utf8' });
  if (version.status !== 0) return { name: 'HAProxy', missing: 'not installed here: apt-get install haproxy' };
  const port = await freePort();
  const file = join(home, 'haproxy.cfg');
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 8000
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 120s
  timeout server 120s
frontend in
  bind 127.0.0.1:${port}
  default_backend engines
backend engines
  balance roundrobin
${ports.map((each, index) => `  server e${index} 127.0.0.1:${each}`).join('\n')}
`,
  );
  const child = start(cores.test, 'haproxy', ['-db', '-f', file]);
  await until('HAProxy', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok).catch((error) => {
    throw new Error(`${error.message}\n${child.output}`);
  });
  return { name: `HAProxy ${/version ([\d.]+)/.exec(version.stdout)?.[1] ?? ''}`.trim(), child, port, pid: child.pid };
}

/** The key that the load sends, and limits that it never reaches. */
const benchKey = 'bench';
const tenants = `tenants:
  - id: bench
    limits:
      - { requests: { minute: 100000000 }, tokens: { minute: 100000000000 }, concurrent: 16000 }
    keys:
      - { id: bench, sha256: "${createHash('sha256').update(benchKey).digest('hex')}" }
`;

/**
 * The gateway's own process on a broker of its own. `strategy` is the default profile's; `keys`: with a tenant, its key and its limits;
 * `probe`: the file that its samples of memory and lag go to.
 */
export async function startLintel(
  scope,
  ports,
  { recording = true, strategy = 'prefix-cache', name = 'gw', keys = false, profile, probe } = {},
) {
  const home = join(scope.home, name);
  mkdirSync(home, { recursive: true });
  const server = await benchNats({ ...scope, home });
  const config = join(home, 'lintel.yaml');
  writeFileSync(
    config,
    `replicas:
${ports.map((port, index) => `  - { id: e${index}, url: "http://127.0.0.1:${port}", engine: vllm }`).join('\n')}
policies:
  - id: default
    models: ["*"]
    profiles:
      default: { strategy: ${strategy} }
${keys ? tenants : ''}`,
  );
  const port = await freePort();
  const args = [
    'dist/apps/gateway/src/main.js',
    ...(keys ? [] : ['--open']),
    '--config',
    config,
    ...(recording ? [] : ['--no-recording']),
  ];
  const profiling =
    profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-interval', '200', `--cpu-prof-dir=${profile}`];
  const probing = probe === undefined ? [] : ['--import', './tools/bench/_probe.mjs'];
  const child = start(cores.test, node, ['--disable-warning=ExperimentalWarning', ...profiling, ...probing, ...args], {
    env: {
      ...(probe === undefined ? {} : { LINTEL_BENCH_PROBE: probe }),
      NODE_ENV: 'production',
      LINTEL_NATS_URL: server.url,
      LINTEL_NATS_USER: 'gateway',
      LINTEL_NATS_PASSWORD: server.credentials.gateway.password,
      LINTEL_HOST: '127.0.0.1',
      LINTEL_PORT: String(port),
      LINTEL_INSTANCE: name,
      LINTEL_HOME: home,
      LINTEL_LOG_LEVEL: 'warn',
    },
  });
  await until('Lintel', async () => {
    if (child.exitCode !== null) throw new Error('ended');
    const models = await (
      await fetch(`http://127.0.0.1:${port}/v1/models`, { headers: { authorization: `Bearer ${benchKey}` } })
    ).json();
    return (await fetch(`http://127.0.0.1:${port}/ready`)).ok && models.data.some(({ id }) => id === 'tiny-model');
  }).catch((error) => {
    throw new Error(`${error.message}\n${child.output}`);
  });
  const what = `recording ${recording ? 'on' : 'off'}${keys ? ', key, limits' : ''}`;
  return { name: `Lintel, ${what}`, child, port, pid: child.pid, server };
}
