// Other gateways that a bench may compare with, where they are installed: found on the PATH, started in front of the same engines.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cores, freePort, start, until } from './_common.mjs';

const model = 'tiny-model';
const urlsOf = (ports) => ports.map((port) => `http://127.0.0.1:${port}`);

/** `share`: of the requests that a round sends to others; the slow ones get fewer. `headers`: what the load must say besides. */
const peers = {
  'vllm-router': {
    name: 'vllm-router, round robin',
    share: 1,
    install: 'pip install vllm-router',
    command: 'vllm-router',
    args: ({ port, ports }) => routerArgs(port, ports, 'round_robin'),
  },
  'vllm-router-cache': {
    name: 'vllm-router, cache aware',
    share: 0.5,
    install: 'pip install vllm-router',
    command: 'vllm-router',
    args: ({ port, ports }) => routerArgs(port, ports, 'cache_aware'),
  },
  smg: {
    name: 'SMG, cache aware',
    share: 0.5,
    install: 'pip install smg',
    command: 'smg',
    args: ({ port, ports }) => ['launch', ...routerArgs(port, ports, 'cache_aware')],
  },
  portkey: {
    name: 'Portkey, one replica',
    share: 0.1,
    install: 'npm install @portkey-ai/gateway, its .bin on the PATH',
    command: 'gateway',
    args: ({ port }) => [`--port=${port}`, '--headless'],
    headers: ({ ports }) => `x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:${ports[0]}/v1\r\n`,
  },
  litellm: {
    name: 'LiteLLM',
    share: 0.05,
    install: "pip install 'litellm[proxy]==1.93.0'",
    command: 'litellm',
    args: ({ port, ports, home }) => {
      const config = join(home, 'litellm.yaml');
      const each = (url) =>
        `  - model_name: ${model}\n    litellm_params: { model: openai/${model}, api_base: "${url}/v1", api_key: none }`;
      writeFileSync(config, `model_list:\n${urlsOf(ports).map(each).join('\n')}\n`);
      return ['--config', config, '--host', '127.0.0.1', '--port', String(port)];
    },
  },
};

function routerArgs(port, ports, policy) {
  const metrics = String(port + 1);
  const line = `--host 127.0.0.1 --port ${port} --policy ${policy} --log-level error --prometheus-port ${metrics} --worker-urls`;
  return line.split(' ').concat(urlsOf(ports));
}

export const peerNames = Object.keys(peers);

const readyMsMax = 60_000;

/** One peer that answers, or why it does not. */
export async function startPeer(peer, { home }, ports) {
  const { name, share, install, command, args, headers } = peers[peer];
  if (spawnSync('which', [command]).status !== 0) return { name, missing: `not installed here: ${install}` };
  const port = await freePort();
  const child = start(cores.test, command, args({ port, ports, home }));
  const extra = headers?.({ ports }) ?? '';
  const asked = Object.fromEntries(extra.split('\r\n').flatMap((line) => (line === '' ? [] : [line.split(/: /)])));
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] });
  const ask = async () => {
    if (child.exitCode !== null) throw new Error('ended');
    const init = { method: 'POST', body, headers: { 'content-type': 'application/json', ...asked } };
    return (await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, init)).ok;
  };
  try {
    await until(name, ask, readyMsMax);
  } catch {
    const said = child.output.trim().split('\n').at(-1)?.slice(0, 120) ?? '';
    child.kill('SIGKILL');
    return { name, missing: `does not answer: ${said}` };
  }
  return { name, child, port, pid: child.pid, share, headers: extra, tree: true };
}
