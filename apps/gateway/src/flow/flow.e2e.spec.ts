import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { closeAll, errorOf } from '../serve/serve.fixture.ts';
import { flowGateway, HeldEngine } from './flow.fixture.ts';

const { Outcome } = route;

afterEach(closeAll);

const endOf = async (answer: Promise<Response>) => {
  const response = await answer;
  const { headers, status } = response;
  const code = status === 200 ? '' : (await errorOf(response)).code;
  return { status, code, outcome: headers.get('x-lintel-outcome'), retryAfter: headers.get('retry-after') };
};

describe('where every replica is full', () => {
  test('requests wait and go on as others end, the time told in the record', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1 });
    const first = lintel.ask('first');
    await held.seen(1);
    const second = lintel.ask('second');
    await lintel.waiting(1);
    expect(held.came).toEqual(['first']);
    await held.answerAll(2);
    expect([(await first).status, (await second).status]).toEqual([200, 200]);
    const [one, two] = lintel.records;
    expect(one?.timings?.queuedMs).toBe(0);
    expect(two?.timings?.queuedMs).toBeGreaterThan(0);
    expect(two?.timings?.pickedMs).toBeGreaterThanOrEqual(two?.timings?.queuedMs as number);
    const metrics = await lintel.registry.metrics();
    expect(metrics).toContain('lintel_gateway_flow_outcomes_total{outcome="dispatched"} 2');
    expect(metrics).toContain('lintel_gateway_queue_seconds_count{priority="0"} 1');
  });

  test('a request goes past a full replica to one with room, whatever its prefix', async () => {
    const [a, b] = [await HeldEngine.start(), await HeldEngine.start()];
    const lintel = await flowGateway([a.origin, b.origin], { slots: 1 });
    const answers = [lintel.ask('one')];
    await Promise.race([a.seen(1), b.seen(1)]);
    answers.push(lintel.ask('two'));
    await Promise.all([a.seen(1), b.seen(1)]);
    a.answer();
    b.answer();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200]);
  });

  test('the priority of the key is its band where none is asked for, and the highest that it gets', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1, priority: 1, priorityMax: 3 });
    lintel.prioritize('quiet', 2);
    lintel.prioritize('noisy', -1);
    const answers = [lintel.ask('running')];
    await held.seen(1);
    for (const [name, tenant, asked] of [
      ['asks too much', 'noisy', '3'],
      ['by the profile', 'acme', undefined],
      ['by the key', 'quiet', undefined],
      ['asks for less', 'quiet', '-2'],
    ] as const) {
      answers.push(lintel.ask(name, tenant, asked === undefined ? {} : { 'x-lintel-priority': asked }));
      await lintel.waiting(answers.length - 1);
    }
    await held.answerAll(answers.length);
    await Promise.all(answers);
    expect(held.came).toEqual(['running', 'by the key', 'by the profile', 'asks too much', 'asks for less']);
  });

  test('a higher band first, as far as the profile lets clients ask for one', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1, priority: 0, priorityMax: 1 });
    const answers = [lintel.ask('running')];
    await held.seen(1);
    for (const [name, priority] of [
      ['plain', undefined],
      ['low', '-1'],
      ['high', '1'],
      ['too high', '99'],
    ] as const) {
      answers.push(lintel.ask(name, 'acme', priority === undefined ? {} : { 'x-lintel-priority': priority }));
      await lintel.waiting(answers.length - 1);
    }
    expect(await held.answerAll(5)).toEqual(['running', 'high', 'too high', 'plain', 'low']);
    await Promise.all(answers);
  });

  test('inside a tenant the earliest deadline, between tenants by turns', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1 });
    const answers = [lintel.ask('running', 'noisy')];
    await held.seen(1);
    for (const name of ['noisy 1', 'noisy 2', 'noisy 3', 'noisy 4']) {
      const urgent = name === 'noisy 4' ? { 'x-slo-ttft-ms': '9000' } : {};
      answers.push(lintel.ask(name, 'noisy', urgent));
      await lintel.waiting(answers.length - 1);
    }
    answers.push(lintel.ask('quiet', 'quiet'));
    await lintel.waiting(5);
    const order = await held.answerAll(6);
    expect(order.slice(0, 3)).toContain('quiet');
    expect(order.filter((name) => name !== 'quiet')).toEqual(['running', 'noisy 4', 'noisy 1', 'noisy 2', 'noisy 3']);
    await Promise.all(answers);
  });

  test('a wait ends at the deadline of the client, or at the bound of the profile, by name', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1, waitMsMax: 150 });
    const running = lintel.ask('running');
    await held.seen(1);
    const [late, bound] = await Promise.all([
      endOf(lintel.ask('late', 'acme', { 'x-slo-ttft-ms': '50' })),
      endOf(lintel.ask('bound')),
    ]);
    expect(late).toEqual({
      status: 503,
      code: 'queue_deadline_exceeded',
      outcome: 'evicted_deadline',
      retryAfter: '1',
    });
    expect(bound).toEqual({ status: 503, code: 'queue_wait_exceeded', outcome: 'evicted_deadline', retryAfter: '2' });
    expect(lintel.records.map(({ outcome, attempts }) => [outcome, attempts.length])).toEqual([
      [Outcome.EVICTED_DEADLINE, 0],
      [Outcome.EVICTED_DEADLINE, 0],
    ]);
    expect(lintel.records[1]?.timings?.queuedMs).toBeGreaterThanOrEqual(150);
    held.answer();
    expect((await running).status).toBe(200);
    expect(held.came).toEqual(['running']);
  });

  test('without a place to wait: 429, and a more urgent one takes the place of another', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1, priorityMax: 1 }, { flowLimits: { waitingMax: 1 } });
    const running = lintel.ask('running');
    await held.seen(1);
    const waits = endOf(lintel.ask('waits'));
    await lintel.waiting(1);
    expect(await endOf(lintel.ask('more'))).toMatchObject({ status: 429, code: 'queue_full', retryAfter: '1' });
    const urgent = lintel.ask('urgent', 'quiet', { 'x-lintel-priority': '1' });
    expect(await waits).toMatchObject({ status: 429, code: 'queue_evicted', outcome: 'rejected_capacity' });
    expect(await held.answerAll(2)).toEqual(['running', 'urgent']);
    expect([(await running).status, (await urgent).status]).toEqual([200, 200]);
  });

  test('a client that leaves while it waits makes way', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1 });
    const running = lintel.ask('running');
    await held.seen(1);
    const leaving = new AbortController();
    const gone = lintel.ask('gone', 'acme', {}, leaving.signal).catch(() => 'aborted');
    await lintel.waiting(1);
    const after = lintel.ask('after');
    await lintel.waiting(2);
    leaving.abort();
    await lintel.waiting(1);
    expect(await gone).toBe('aborted');
    expect(await held.answerAll(2)).toEqual(['running', 'after']);
    await Promise.all([running, after]);
    expect(lintel.records.find(({ outcome }) => outcome === Outcome.CLIENT_GONE)?.timings?.queuedMs).toBeGreaterThan(0);
    expect(await lintel.registry.metrics()).toContain('lintel_gateway_flow_outcomes_total{outcome="client_gone"} 1');
  });

  test('a gateway that drains lets those that wait have their turn, and tells those left when its time is over', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1 });
    const answers = ['running', 'turn', 'left'].map((name) => lintel.ask(name));
    await held.seen(1);
    await lintel.waiting(2);
    const drained = lintel.plane.drain(400);
    held.answer();
    await held.seen(2);
    held.answer();
    await held.seen(3);
    await drained;
    const ends = await Promise.all(answers.map(endOf));
    expect(ends.map(({ status }) => status).sort()).toEqual([200, 200, 503]);
    expect(ends.find(({ status }) => status === 503)).toMatchObject({ code: 'gateway_draining' });
  });
});

describe('where no replica is ready', () => {
  test('requests wait for one to wake, up to the bound of the profile', async () => {
    const held = await HeldEngine.start();
    const wanted: unknown[] = [];
    const lintel = await flowGateway(
      [held.origin],
      { slots: 1, wakeMsMax: 200 },
      { wanted: (model, replicas, waiting) => wanted.push([model, replicas.length, waiting]) },
    );
    const replica = lintel.fleet.replicas[0]!;
    replica.state = 'unhealthy';
    expect(await endOf(lintel.ask('in vain'))).toMatchObject({
      status: 503,
      code: 'no_ready_replica',
      retryAfter: '2',
    });
    const waits = lintel.ask('waits');
    await lintel.waiting(1);
    replica.state = 'ready';
    expect(await held.answerAll(1)).toEqual(['waits']);
    expect((await waits).status).toBe(200);
    expect(wanted).toEqual([
      ['tiny', 1, 1],
      ['tiny', 1, 1],
    ]);
  });

  test('without such a bound they are refused at once', async () => {
    const held = await HeldEngine.start();
    const lintel = await flowGateway([held.origin], { slots: 1 });
    lintel.fleet.replicas[0]!.state = 'asleep';
    expect(await endOf(lintel.ask('refused'))).toMatchObject({ status: 503, code: 'no_ready_replica' });
    expect(lintel.records[0]?.timings?.queuedMs).toBe(0);
  });
});
