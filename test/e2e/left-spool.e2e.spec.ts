import { fromBinary } from '@bufbuild/protobuf';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EventRegistry, route } from '#libs/contracts';
import { natsBroker } from '#libs/event-log-nats';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, launchNats } from '#libs/testkit';
import { Program } from './lintel-process.ts';

let nats: LaunchedNats;
let home: string;
const gateways: Program[] = [];

async function start(instance: string): Promise<{ program: Program; url: string }> {
  const flags = ['--port', '0', '--instance', instance, '--home', home, '--open', '--nats-url', nats.url];
  const program = new Program('gateway', flags, { LINTEL_NATS_PASSWORD: 'gateway-password' });
  gateways.push(program);
  const listens =
    /(http:\/\/127\.0\.0\.1:\d+).*gateway is listening|gateway is listening.*(http:\/\/127\.0\.0\.1:\d+)/s;
  await program.says(listens, 60_000);
  const [, before, behind] = listens.exec(program.output)!;
  return { program, url: (before ?? behind)! };
}

/** Refused, which is recorded as well. */
async function ask(url: string): Promise<string> {
  const body = JSON.stringify({ model: 'nobody-has-it', messages: [] });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body });
  await answer.arrayBuffer();
  return answer.headers.get('x-lintel-request-id')!;
}

beforeAll(async () => {
  nats = await launchNats();
  home = await mkdtemp(join(tmpdir(), 'lintel-left-'));
}, 90_000);

afterAll(async () => {
  await Promise.all(gateways.map((program) => program.end('SIGKILL')));
  await nats?.stop();
  await rm(home, { recursive: true, force: true });
}, 30_000);

test('L8 records that a killed gateway left on disk follow, once each, from one of another name', async () => {
  const first = await start('gone');
  const asked = [await ask(first.url)];
  nats.kill();
  for (let count = 0; count < 20; count++) asked.push(await ask(first.url));
  const spool = join(home, 'spool');
  const bytesOnDisk = async (): Promise<number> => {
    const text = await (await fetch(`${first.url}/metrics`)).text();
    return Number(/^lintel_gateway_spool_bytes\S* (\d+)/m.exec(text)?.[1]);
  };
  await eventually(async () => expect(await bytesOnDisk()).toBeGreaterThan(0), 10_000);
  // Nothing more is on its way to disk.
  let before = -1;
  await eventually(async () => {
    const still = (await bytesOnDisk()) === before;
    before = await bytesOnDisk();
    expect(still).toBe(true);
  }, 20_000);
  await first.program.end('SIGKILL');
  await nats.restart();
  await start('another');

  const registry = new EventRegistry();
  const user = 'diagnostics';
  const broker = await natsBroker({ url: nats.url, user, password: `${user}-password`, name: 'd:test', registry });
  try {
    const recorded = async (): Promise<string[]> => {
      const ids: string[] = [];
      if ((await broker.frames.lastSeq()) === 0) return ids;
      for await (const { bytes } of broker.frames.read({ fromSeq: 1 })) {
        const frame = fromBinary(route.RecordFrameSchema, bytes);
        if (frame.gatewayId === 'gone') ids.push(...frame.records.map(({ requestId }) => requestId));
      }
      return ids;
    };
    await eventually(async () => expect(await recorded()).toEqual(asked), 20_000);
    await eventually(() => expect(readdirSync(spool)).toEqual(['another']), 10_000);
  } finally {
    await broker.close();
  }
}, 120_000);
