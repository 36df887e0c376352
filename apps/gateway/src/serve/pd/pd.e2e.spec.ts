import type { ServerResponse } from 'node:http';
import { fromBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { RunningEngineSim } from '#apps/engine-sim';
import { startEngineSim } from '#apps/engine-sim';
import { route } from '#libs/contracts';
import { reexecute } from '#libs/domain/route';
import type { RecordInput } from '#libs/recording';
import { FrameBuilder } from '#libs/recording';
import { eventually } from '#libs/testkit';
import type { FakeReplica, TestGateway } from '../serve.fixture.ts';
import { afterwards, closeAll, engine, errorOf, gateway, post, sse, token } from '../serve.fixture.ts';
import type { Role } from './pd.fixture.ts';
import { ask, long, metric, pdPolicy, place, short } from './pd.fixture.ts';

const { AttemptEnd, ReplicaRole } = route;

afterEach(closeAll);

const json = { 'content-type': 'application/json' };

interface PdFleet {
  readonly lintel: TestGateway;
  readonly engines: readonly RunningEngineSim[];
}

/** A gateway before real model engines with these roles, in one role set. */
async function pdFleet(wanted: readonly Role[], more: Parameters<typeof startEngineSim>[0] = {}): Promise<PdFleet> {
  const engines = await Promise.all(
    wanted.map((role) => startEngineSim({ models: ['tiny'], speed: 50, kvTransfer: role !== 'combined', ...more })),
  );
  afterwards(async () => void (await Promise.all(engines.map((each) => each.stop()))));
  const lintel = await gateway(engines.map(({ url }) => url));
  for (const [index, role] of wanted.entries()) place(lintel.fleet.replicas[index] as FakeReplica, role);
  pdPolicy(lintel);
  return { lintel, engines };
}

const textOf = async (answer: Response): Promise<string> => {
  const body = (await answer.json()) as { choices: { message: { content: string } }[] };
  return body.choices[0]!.message.content;
};

const streamed = async (answer: Response): Promise<string> =>
  (await answer.text())
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => JSON.parse(line.slice(6)) as { choices: { delta: { content?: string } }[] })
    .map(({ choices }) => choices[0]?.delta.content ?? '')
    .join('');

const waysOf = ({ attempts }: RecordInput): string[] =>
  attempts.map(({ replicaId, role, end }) => `${replicaId} ${ReplicaRole[role ?? 0]} ${AttemptEnd[end]}`);

const ended = (lintel: TestGateway, count: number): Promise<void> =>
  eventually(() => expect(lintel.records).toHaveLength(count));

/** The record as it is written, decided again. */
function decidedAgain(record: RecordInput): unknown {
  const builder = new FrameBuilder();
  expect(builder.add(record)).toBe(true);
  const head = { gatewayId: 'g', bootId: 'b', frameSeq: 1, closedAtMs: 1, dropped: 0 };
  return reexecute(fromBinary(route.RecordFrameSchema, builder.finish(head)), 0);
}

describe('over engines that hand KV over', () => {
  test('a long prompt is computed by one and answered by the other: the same text, told and recorded once', async () => {
    const { lintel, engines } = await pdFleet(['prefill', 'decode']);
    const alone = await pdFleet(['combined']);
    const expected = await textOf(await post(alone.lintel, ask(long)));
    const answer = await post(lintel, ask(long));
    expect(answer.headers.get('target-pod')).toBe('r2');
    expect(answer.headers.get('prefill-target-pod')).toBe('r1');
    expect(answer.headers.get('prefill-target-pod-ip')).toBe(lintel.fleet.replicas[0]!.address);
    expect(await textOf(answer)).toBe(expected);
    const other = `Otherwise: ${long}`;
    const whole = await textOf(await post(alone.lintel, ask(other)));
    expect(await streamed(await post(lintel, ask(other, { stream: true })))).toBe(whole);
    await ended(lintel, 2);
    for (const record of lintel.records) {
      expect(waysOf(record)).toEqual(['r1 PREFILL ANSWERED', 'r2 DECODE ANSWERED']);
      expect(record.picks).toMatchObject([{ chosen: 1, partner: 0, replicaIds: ['r1', 'r2'] }]);
      expect(record.usage).toMatchObject({ completionTokens: 12, fromEngine: true });
      expect(record.handover).toMatchObject({ connector: 'nixl', tokens: expect.any(Number) });
      expect(record.handover!.prefillMs).toBeGreaterThan(0);
      expect(decidedAgain(record)).toEqual({ equal: true, picks: 1 });
    }
    expect(await metric(engines[0]!.url, 'vllm:generation_tokens_total')).toBe(2);
    expect(await metric(engines[1]!.url, 'vllm:external_prefix_cache_hits_total')).toBeGreaterThan(1_000);
    // What the decode side has cached by now it computes no second time.
    expect((await post(lintel, ask(long))).headers.get('prefill-target-pod')).toBeNull();
    const metrics = await lintel.registry.metrics();
    expect(metrics).toContain('lintel_gateway_pd_tries_total{way="split"} 2');
    expect(metrics).toMatch(/lintel_gateway_pd_transferred_tokens_total 2\d{3}/);
    expect(metrics).toContain('lintel_gateway_pd_transfer_seconds_count 2');
    expect(metrics).toMatch(/lintel_gateway_tokens_total{[^}]*kind="completion"[^}]*} 36/);
  });

  test('a short prompt is answered by the decode side alone, as is what cannot be handed over', async () => {
    const { lintel, engines } = await pdFleet(['prefill', 'decode']);
    const answer = await post(lintel, ask(short));
    expect([answer.status, answer.headers.get('prefill-target-pod')]).toEqual([200, null]);
    expect((await post(lintel, ask(long, { n: 2 }))).status).toBe(200);
    await ended(lintel, 2);
    for (const record of lintel.records) {
      expect(waysOf(record)).toEqual(['r2 UNSPECIFIED ANSWERED']);
      expect(decidedAgain(record)).toEqual({ equal: true, picks: 1 });
    }
    expect(lintel.records[0]!.picks[0]!.notes).toContain('alone-cheaper');
    expect(lintel.records[1]!.picks[0]!.notes).toContain('no-prefill');
    expect(await metric(engines[0]!.url, 'vllm:generation_tokens_total')).toBe(0);
  });

  test('other strategies never send a whole request to a prefill side', async () => {
    const { lintel } = await pdFleet(['prefill', 'decode', 'combined']);
    for (let index = 0; index < 6; index++) {
      const answer = await post(lintel, ask(long), { 'routing-strategy': 'round-robin' });
      expect(['r2', 'r3']).toContain(answer.headers.get('target-pod'));
    }
  });

  test('who writes transfer fields itself is refused: they name hosts that engines connect to', async () => {
    const { lintel } = await pdFleet(['prefill', 'decode']);
    const refused = await post(lintel, ask(short, { kv_transfer_params: { remote_host: '10.0.0.1' } }));
    expect(refused.status).toBe(400);
    expect(await errorOf(refused)).toMatchObject({ code: 'transfer_field_not_allowed', param: 'kv_transfer_params' });
  });

  test('prompts go to the role set of their length', async () => {
    const { lintel } = await pdFleet(['prefill', 'decode', 'prefill', 'decode']);
    const [a, b, c, d] = lintel.fleet.replicas as [FakeReplica, FakeReplica, FakeReplica, FakeReplica];
    for (const each of [a, b]) each.labels = { 'lintel.prompt-tokens': '-1000' };
    for (const each of [c, d]) Object.assign(each, { labels: { 'lintel.prompt-tokens': '1000-' }, roleset: 'b' });
    expect((await post(lintel, ask(short))).headers.get('target-pod')).toBe('r2');
    const far = await post(lintel, ask(long));
    expect([far.headers.get('prefill-target-pod'), far.headers.get('target-pod')]).toEqual(['r3', 'r4']);
  });
});

describe('L25 either side fails before the first byte', () => {
  const fault = (url: string, text: string): Promise<unknown> =>
    fetch(`${url}/sim/faults`, {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ fault: text, path: '/v1/chat/completions' }),
    });

  test.each(['status=503', 'status=500', 'reset', 'bad-json', 'crash'])('prefill: %s', async (text) => {
    const { lintel, engines } = await pdFleet(['prefill', 'prefill', 'decode']);
    await fault(engines[0]!.url, text);
    lintel.fleet.replicas[1]!.inflight = 1;
    const answer = await post(lintel, ask(long));
    expect([answer.status, answer.headers.get('target-pod')]).toEqual([200, 'r3']);
    await answer.text();
    await ended(lintel, 1);
    const [first, ...rest] = waysOf(lintel.records[0]!);
    // An answer that nothing can be taken over from leaves all of it to the decode side.
    if (text === 'bad-json') expect([first, ...rest]).toEqual(['r1 PREFILL ANSWERED', 'r3 UNSPECIFIED ANSWERED']);
    else {
      expect(first).toMatch(/^r1 PREFILL (OVERLOADED|SERVER_ERROR|RESET)$/);
      expect(rest).toEqual(['r2 PREFILL ANSWERED', 'r3 DECODE ANSWERED']);
    }
    for (const each of lintel.fleet.replicas) expect([0, 1]).toContain(each.inflight);
    expect(decidedAgain(lintel.records[0]!)).toMatchObject({ equal: true });
  });

  test('the only prefill side is gone: the decode side does all of it', async () => {
    const { lintel, engines } = await pdFleet(['prefill', 'decode']);
    await engines[0]!.stop();
    const answer = await post(lintel, ask(long));
    expect([answer.status, answer.headers.get('prefill-target-pod')]).toEqual([200, null]);
    await answer.text();
    await ended(lintel, 1);
    expect(waysOf(lintel.records[0]!)).toEqual(['r1 PREFILL CONNECT_FAILED', 'r2 UNSPECIFIED ANSWERED']);
  });

  test.each(['status=500', 'status=503', 'reset'])('decode: %s', async (text) => {
    const { lintel, engines } = await pdFleet(['prefill', 'decode', 'decode']);
    await fault(engines[1]!.url, text);
    lintel.fleet.replicas[2]!.inflight = 1;
    const answer = await post(lintel, ask(long));
    await answer.text();
    await ended(lintel, 1);
    const ways = waysOf(lintel.records[0]!);
    if (text === 'status=500') {
      // The transfer may be what failed: the decode side is tried alone, and its own 500 is its own word.
      expect(ways.slice(0, 2)).toEqual(['r1 PREFILL ANSWERED', 'r2 DECODE TRANSFER_FAILED']);
      expect(lintel.fleet.replicas[1]!.ends[0]).toBe(AttemptEnd.TRANSFER_FAILED);
    } else {
      expect(answer.status).toBe(200);
      expect(ways.slice(2)).toEqual(['r1 PREFILL ANSWERED', 'r3 DECODE ANSWERED']);
    }
  });

  test('the prefill side dies after it answered: what it held is gone, and the decode side computes it itself', async () => {
    const { lintel, engines } = await pdFleet(['prefill', 'decode']);
    // Its answer names a port where nobody listens any more.
    const prefill = await engine((body, response) => {
      void fetch(`${engines[0]!.url}/v1/chat/completions`, {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/json' },
      })
        .then((answer) => answer.text())
        .then(async (answer) => {
          await engines[0]!.stop();
          response.end(answer);
        });
    });
    const dying = await gateway([prefill, engines[1]!.url]);
    place(dying.fleet.replicas[0] as FakeReplica, 'prefill');
    place(dying.fleet.replicas[1] as FakeReplica, 'decode');
    pdPolicy(dying);
    const answer = await post(dying, ask(long, { stream: true }));
    expect(answer.status).toBe(200);
    expect(await streamed(answer)).not.toBe('');
    await ended(dying, 1);
    expect(waysOf(dying.records[0]!)).toEqual([
      'r1 PREFILL ANSWERED',
      'r2 DECODE TRANSFER_FAILED',
      'r2 UNSPECIFIED ANSWERED',
    ]);
    expect(dying.fleet.replicas[1]!.ends).toEqual([AttemptEnd.TRANSFER_FAILED, AttemptEnd.ANSWERED]);
    expect(await dying.registry.metrics()).toContain('lintel_gateway_pd_transfer_failures_total 1');
    expect(lintel.records).toEqual([]);
  });

  test('the decode side breaks after the first byte: the stream ends with an error', async () => {
    const { lintel, engines } = await pdFleet(['prefill', 'decode']);
    await fault(engines[1]!.url, 'reset-after=3');
    const text = await (await post(lintel, ask(long, { stream: true }))).text();
    expect(text).toContain('"code":"upstream_broken"');
    await ended(lintel, 1);
    expect(waysOf(lintel.records[0]!)).toEqual(['r1 PREFILL ANSWERED', 'r2 DECODE BROKEN_STREAM']);
  });
});

describe('L26 who leaves ends the request on the side that works on it', () => {
  test.each<['prefill' | 'decode', number]>([
    ['prefill', 0],
    ['decode', 1],
  ])('%s', async (_side, index) => {
    const { lintel, engines } = await pdFleet(['prefill', 'decode'], { speed: 1, profile: undefined as never });
    const leaving = new AbortController();
    const body = ask(long, { stream: true, max_tokens: 500 });
    const asked = post(lintel, body, {}, '/v1/chat/completions', leaving.signal);
    await eventually(async () => expect(await metric(engines[index]!.url, 'vllm:num_requests_running')).toBe(1));
    leaving.abort();
    await expect(asked.then((answer) => answer.text())).rejects.toThrow();
    for (const each of engines)
      await eventually(async () => expect(await metric(each.url, 'vllm:num_requests_running')).toBe(0));
    await ended(lintel, 1);
    expect(lintel.records[0]!.outcome).toBe(route.Outcome.CLIENT_GONE);
    for (const each of lintel.fleet.replicas) expect(each.inflight).toBe(0);
  });

  test("the client's deadline holds over both sides", async () => {
    const { lintel, engines } = await pdFleet(['prefill', 'decode']);
    await fetch(`${engines[0]!.url}/sim/faults`, {
      method: 'POST',
      headers: json,
      body: '{"fault":"hang","path":"/v1/chat/completions"}',
    });
    const late = await post(lintel, ask(long), { 'x-request-timeout-ms': '150' });
    expect([late.status, (await errorOf(late)).code]).toEqual([504, 'deadline_exceeded']);
    await ended(lintel, 1);
    expect(waysOf(lintel.records[0]!)).toEqual(['r1 PREFILL CLIENT_GONE']);
  });
});

describe('engines that are asked at once, as SGLang', () => {
  interface Seen {
    readonly bodies: Record<string, unknown>[];
    readonly left: number[];
    /** Called with each answer. */
    answer: (response: ServerResponse, body: Record<string, unknown>) => void;
  }

  async function pair(first: Seen['answer'], second: Seen['answer']) {
    const sides = await Promise.all(
      [first, second, second].map(async (answer) => {
        const seen: Seen = { bodies: [], left: [], answer };
        const url = await engine((body, response) => {
          const read = JSON.parse(body) as Record<string, unknown>;
          seen.bodies.push(read);
          response.on('close', () => void (response.writableFinished || seen.left.push(1)));
          seen.answer(response, read);
        });
        return { ...seen, url };
      }),
    );
    const lintel = await gateway(sides.slice(0, 2).map(({ url }) => url));
    for (const [index, role] of (['prefill', 'decode'] as const).entries()) {
      const replica = lintel.fleet.replicas[index] as FakeReplica;
      replica.engine = route.EngineKind.SGLANG;
      place(replica, role, { 'lintel.kv-bootstrap-port': '9001' });
    }
    pdPolicy(lintel);
    return { lintel, prefill: sides[0]!, decode: sides[1]! };
  }
  const words = (response: ServerResponse): void => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(sse(token('a'), token('b'), '[DONE]'));
  };

  test('both get the same room, the client what the decode side says, also of a short prompt', async () => {
    const { lintel, prefill, decode } = await pair((response) => response.end('{"choices":[]}'), words);
    const answer = await post(lintel, ask(short, { stream: true }));
    expect([await streamed(answer), answer.headers.get('prefill-target-pod')]).toEqual(['ab', 'r1']);
    await ended(lintel, 1);
    const [first, second] = [prefill.bodies[0]!, decode.bodies[0]!];
    const room = first['bootstrap_room'];
    expect(room).toBeGreaterThan(2 ** 42);
    expect(first).toMatchObject({ bootstrap_host: '127.0.0.1', bootstrap_port: 9001, stream: false });
    expect(second).toMatchObject({ bootstrap_host: '127.0.0.1', bootstrap_room: room, stream: true });
    expect(waysOf(lintel.records[0]!).toSorted()).toEqual(['r1 PREFILL ANSWERED', 'r2 DECODE ANSWERED']);
    expect(lintel.records[0]!.handover).toMatchObject({ connector: 'sglang', prefillMs: 0 });
  });

  test('another strategy finds nobody for all of a request, and says which one would', async () => {
    const { lintel } = await pair(words, words);
    const refused = await post(lintel, ask(short), { 'routing-strategy': 'random' });
    expect([refused.status, (await errorOf(refused)).message]).toEqual([
      503,
      expect.stringContaining('the strategy pd'),
    ]);
  });

  test('the prefill side fails: the decode side is left, too, and the client hears of it', async () => {
    const { lintel, decode } = await pair(
      (response) => response.writeHead(503).end(),
      () => {},
    );
    const answer = await post(lintel, ask(long, { stream: true }));
    expect(answer.status).toBe(502);
    await eventually(() => expect(decode.left).toHaveLength(1));
    await ended(lintel, 1);
    expect(waysOf(lintel.records[0]!)).toEqual(['r1 PREFILL OVERLOADED', 'r2 DECODE TRANSFER_FAILED']);
  });

  test('L26 a client that leaves ends both', async () => {
    const { lintel, prefill, decode } = await pair(
      () => {},
      () => {},
    );
    const leaving = new AbortController();
    const asked = post(lintel, ask(long), {}, '/v1/chat/completions', leaving.signal);
    await eventually(() => expect([prefill.bodies.length, decode.bodies.length]).toEqual([1, 1]));
    leaving.abort();
    await expect(asked).rejects.toThrow();
    await eventually(() => expect([prefill.left.length, decode.left.length]).toEqual([1, 1]));
    await ended(lintel, 1);
    for (const each of lintel.fleet.replicas) expect(each.inflight).toBe(0);
  });
});
