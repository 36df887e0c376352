import { spawn } from 'node:child_process';
import { env } from '#libs/nest-kit';

/** One real vLLM of `npm run test:engines`. */
export interface VllmEngine {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
  /** Endpoints of its KV events and of their replay. */
  readonly kvEvents: string;
  readonly replay: string;
}

const parsed = (name: string): unknown => JSON.parse(env.variable(name) ?? '[]');

/** What tools/test-engines.mjs started; empty where vLLM cannot be had, and then every test here is skipped. */
export const vllmEngines = parsed('LINTEL_ENGINES_JSON') as readonly VllmEngine[];

export const vllmAdapters = parsed('LINTEL_ENGINES_ADAPTERS') as Readonly<Record<string, string>>;

/** Kills or starts an engine; answers when it has ended or is healthy. */
export async function controlEngine(action: 'kill' | 'start', name: string): Promise<void> {
  const answer = await fetch(`${env.variable('LINTEL_ENGINES_CONTROL')}/${action}`, {
    method: 'POST',
    body: JSON.stringify({ name }),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

/** Starts an engine of its own, with more arguments than the others have. Whoever starts it kills it. */
export async function startEngine(
  name: string,
  more: { readonly extraArgs?: readonly string[]; readonly env?: Readonly<Record<string, string>> },
): Promise<VllmEngine> {
  const answer = await fetch(`${env.variable('LINTEL_ENGINES_CONTROL')}/start`, {
    method: 'POST',
    body: JSON.stringify({ name, ...more }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as VllmEngine;
}

/** Runs a script on a Python that has the openai and anthropic packages; its standard output as JSON. */
export async function python(script: string, args: readonly string[]): Promise<unknown> {
  const child = spawn(env.variable('LINTEL_ENGINES_PYTHON') ?? 'python3', ['-c', script, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: env.forChild(),
  });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += String(chunk)));
  child.stderr.on('data', (chunk: Buffer) => (errors += String(chunk)));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`python ended with ${code}: ${errors}`);
  return JSON.parse(output);
}

/** A sample of a vLLM's /metrics, summed over its label sets. */
export async function metricOf(engine: VllmEngine, name: string): Promise<number> {
  const text = await (await fetch(`${engine.url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  if (lines.length === 0) throw new Error(`${engine.name} has no ${name}`);
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
