import { fromBinary } from '@bufbuild/protobuf';
import { afterEach, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { reexecute } from '#libs/domain/route';
import { latencyModelLimits } from '#libs/latency-model';
import type { CapturedPick, RecordInput } from '#libs/recording';
import { FrameBuilder } from '#libs/recording';
import { eventually } from '#libs/testkit';
import type { TestGateway } from './serve.fixture.ts';
import { chat, closeAll, engine, gateway, post, sse, token } from './serve.fixture.ts';

afterEach(closeAll);

const usage = { prompt_tokens: 40, completion_tokens: 5 };
const later = (ms: number): Promise<void> => new Promise((resolve) => globalThis.setTimeout(resolve, ms));

/** Streams five tokens, the first after so long. */
const streaming = (firstMs: number, eachMs: number): Promise<string> =>
  engine(async (_body, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    await later(firstMs);
    for (let i = 0; i < 5; i++) {
      response.write(sse(token(`${i}`)));
      await later(eachMs);
    }
    response.end(sse({ choices: [], usage }, '[DONE]'));
  });

async function ask(lintel: TestGateway, strategy: string): Promise<string> {
  const response = await post(lintel, chat({ stream: true }), { 'routing-strategy': strategy });
  await response.text();
  return response.headers.get('target-pod') ?? '';
}

const lastPick = (records: readonly RecordInput[]): CapturedPick => records.at(-1)?.picks[0] as CapturedPick;

const cell = (pick: CapturedPick, replica: string, column: string): number =>
  pick.values[pick.replicaIds.indexOf(replica) * pick.columns.length + pick.columns.indexOf(column)] as number;

test('what the answers take decides: the slow engine is left alone, and records of predictions run again by themselves', async () => {
  const lintel = await gateway([await streaming(5, 1), await streaming(60, 6)]);
  // Each must have been asked often enough for the model of both.
  for (let i = 0; i < 2 * latencyModelLimits.samplesMin + latencyModelLimits.ratiosMin / 2; i++) {
    await Promise.all([ask(lintel, 'round-robin'), ask(lintel, 'round-robin')]);
  }
  const before = lintel.records.length;
  const chosen: string[] = [];
  for (const strategy of [
    'lintel',
    'least-latency',
    'slo-least-load',
    'prefix-cache-preble',
    'vtc-basic',
    'throughput',
  ]) {
    chosen.push(await ask(lintel, strategy));
  }
  expect(chosen.slice(0, 2)).toEqual(['r1', 'r1']);
  await eventually(() => expect(lintel.records).toHaveLength(before + 6));
  const picks = lintel.records.slice(before).flatMap(({ picks: each }) => each);
  const [predicted, measured] = picks as [CapturedPick, CapturedPick];
  expect(predicted.notes).toEqual([]);
  expect(cell(predicted, 'r2', 'ttftBaseMs')).toBeGreaterThan(1.5 * cell(predicted, 'r1', 'ttftBaseMs'));
  expect(cell(predicted, 'r1', 'outputTokens')).toBe(5);
  expect(cell(measured, 'r2', 'ttftMs')).toBeGreaterThan(50);
  expect(cell(measured, 'r1', 'ttftMs')).toBeLessThan(50);
  expect([cell(predicted, 'r1', 'prefillTokens'), cell(predicted, 'r1', 'decoding')]).toEqual([0, 0]);
  // A record holds all that its decision read.
  const builder = new FrameBuilder();
  for (const record of lintel.records) builder.add(record);
  const bytes = builder.finish({ gatewayId: 'g', bootId: 'b', frameSeq: 1, closedAtMs: 1, dropped: 0 });
  const frame = fromBinary(route.RecordFrameSchema, bytes);
  for (const index of frame.records.keys()) expect(reexecute(frame, index)).toEqual({ equal: true, picks: 1 });
  // How near predictions came is counted, for both times.
  const text = await lintel.registry.metrics();
  for (const kind of ['ttft', 'tpot']) {
    const found = new RegExp(`prediction_error_ratio_count\\{model="tiny",kind="${kind}"\\} (\\d+)`).exec(text);
    expect(Number(found?.[1])).toBeGreaterThan(20);
  }
  // And into which tenth of what was expected each fell, once that is known; the record says it of its request.
  const told = lintel.records.filter(({ ttft }) => ttft !== undefined && ttft.decile > 0);
  expect(told.length).toBeGreaterThan(0);
  for (const kind of ['ttft', 'finish'] as const) {
    const counts = [
      ...text.matchAll(
        new RegExp(`prediction_deciles_total\\{model="tiny",kind="${kind}",decile="\\d+"\\} (\\d+)`, 'g'),
      ),
    ];
    expect(counts).toHaveLength(10);
    const sum = counts.reduce((all, [, count]) => all + Number(count), 0);
    expect(sum).toBe(lintel.records.filter((record) => (record[kind]?.decile ?? 0) > 0).length);
  }
  for (const { ttft } of told)
    expect([ttft!.lowMs <= ttft!.predictedMs * 64, ttft!.lowMs <= ttft!.highMs, ttft!.measuredMs > 0]).toEqual([
      true,
      true,
      true,
    ]);
});

test('tokens in flight are counted at once: a second long prompt goes elsewhere though no answer has come', async () => {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  const held = (): Promise<string> =>
    engine(async (_body, response) => {
      await released;
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ choices: [], usage }));
    });
  const lintel = await gateway([await held(), await held()]);
  const long = chat({ messages: [{ role: 'user', content: 'word '.repeat(2_000) }] });
  const asked = [0, 1, 2, 3].map(() => post(lintel, long, { 'routing-strategy': 'lintel' }));
  await eventually(() => expect(lintel.fleet.replicas.map(({ began }) => began)).toEqual([2, 2]));
  release();
  for (const response of await Promise.all(asked)) expect(response.status).toBe(200);
  await eventually(() => expect(lintel.records).toHaveLength(4));
  const pick = lastPick(lintel.records);
  expect(pick.notes).toContain('unknown:ttftBaseMs');
  expect(Math.max(cell(pick, 'r1', 'prefillTokens'), cell(pick, 'r2', 'prefillTokens'))).toBeGreaterThan(2_000);
});
