import { create } from '@bufbuild/protobuf';
import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { closeAll, errorOf, post } from '../serve/serve.fixture.ts';
import { namedEngine, routedGateway } from '../serve/targets/targets.fixture.ts';
import type { NamedEngine, RoutedGateway } from '../serve/targets/targets.fixture.ts';
import { HeldEngine } from './flow.fixture.ts';

const { Outcome, StageCause } = route;
const fallbacks = [{ model: 'spare', saturated: true, gone: true }];

afterEach(closeAll);

const asNamed = ({ origin }: HeldEngine): NamedEngine => ({ origin, bodies: [], paths: [], headers: [], status: 200 });

function queue({ state }: RoutedGateway, model: string, flowControl: Record<string, number>): void {
  const policy = create(route.RoutingPolicySchema, {
    policyId: model,
    models: [model],
    profiles: [{ name: 'queued', strategy: 'least-request', routingConfig: { flowControl } }],
  });
  state.route.policyByModel.set(model, { policy, source: 'test', version: 1, seq: 5, commitId: 'c' });
}

const ask = (lintel: RoutedGateway, name = ''): Promise<Response> =>
  post(lintel as never, JSON.stringify({ model: 'main', name, messages: [] }));
const servedBy = async (answer: Promise<Response>): Promise<string> =>
  ((await (await answer).json()) as { model: string }).model;
const looks = ({ records }: RoutedGateway, at: number): unknown[] =>
  (records[at]?.modelChoice?.looks ?? []).filter(({ taken }) => taken).map(({ stage, cause }) => [stage, cause]);

describe('a request whose pool is full, and whose model route names another', () => {
  test('falls back once it has waited as long as it may, and the record says why', async () => {
    const held = await HeldEngine.start();
    const lintel = await routedGateway({ main: [asNamed(held)], spare: [await namedEngine('spare')] });
    queue(lintel, 'main', { slots: 1, waitMsMax: 100 });
    // Not seen as full when the request comes: its slots are the gateway's own.
    lintel.lead({ models: ['main'], fallbacks, saturated: { inflight: 50 } });
    const first = ask(lintel, 'first');
    await held.seen(1);
    expect(await servedBy(ask(lintel, 'second'))).toBe('served-by-spare');
    expect(lintel.records[0]).toMatchObject({ model: 'spare', outcome: Outcome.COMPLETED });
    expect(lintel.records[0]?.timings?.queuedMs).toBeGreaterThanOrEqual(90);
    expect(looks(lintel, 0)).toEqual([
      [0, StageCause.FIRST],
      [1, StageCause.SATURATED],
    ]);
    expect(await lintel.registry.metrics()).toContain('lintel_gateway_fallbacks_total{route="r",cause="saturated"} 1');
    held.answer();
    expect((await first).status).toBe(200);
  });

  test('falls back where there is no place to wait, and is refused where the route names nothing for that', async () => {
    const held = await HeldEngine.start();
    const options = { flowLimits: { waitingMax: 1 } };
    const lintel = await routedGateway({ main: [asNamed(held)], spare: [await namedEngine('spare')] }, options);
    queue(lintel, 'main', { slots: 1, waitMsMax: 20_000 });
    lintel.lead({ models: ['main'], fallbacks, saturated: { inflight: 50 } });
    const waiting = [ask(lintel, 'first')];
    await held.seen(1);
    waiting.push(ask(lintel, 'second'));
    const third = await ask(lintel, 'third');
    expect(third.status).toBe(200);
    expect(((await third.json()) as { model: string }).model).toBe('served-by-spare');
    await held.answerAll(2);
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200]);
  });

  test('passes the queue of the pool that it falls back to after its tries failed', async () => {
    const main = await namedEngine('main');
    main.status = 502;
    const held = await HeldEngine.start();
    const lintel = await routedGateway({ main: [main], spare: [asNamed(held)] });
    queue(lintel, 'spare', { slots: 1, waitMsMax: 150 });
    lintel.lead({ models: ['main'], fallbacks, saturated: { inflight: 50 } });
    const first = ask(lintel, 'first');
    await held.seen(1);
    const second = await ask(lintel, 'second');
    expect([second.status, (await errorOf(second)).code]).toEqual([503, 'queue_wait_exceeded']);
    expect(lintel.records[0]).toMatchObject({ outcome: Outcome.EVICTED_DEADLINE, attempts: [{ replicaId: 'main-1' }] });
    const third = ask(lintel, 'third');
    held.answer();
    await held.seen(2);
    held.answer();
    expect([(await first).status, (await third).status]).toEqual([200, 200]);
    expect(held.came).toEqual(['first', 'third']);
    // Nothing is counted as still there: the queue lets the next one through at once.
    const fourth = ask(lintel, 'fourth');
    await held.seen(3);
    held.answer();
    expect((await fourth).status).toBe(200);
    expect(lintel.records.at(-1)?.timings?.queuedMs).toBe(0);
  });
});
