import { request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type RunningEngineSim, startEngineSim } from './index.ts';

let sim: RunningEngineSim;
beforeAll(async () => {
  sim = await startEngineSim({ speed: 100, models: ['m'] });
});
afterAll(() => sim.stop());

const path = '/v1/chat/completions';
const body = (stream: boolean): string =>
  JSON.stringify({ messages: [{ role: 'user', content: 'hi' }], max_tokens: 8, ignore_eos: true, stream });

interface Outcome {
  /** Undefined when no head came. */
  readonly status: number | undefined;
  readonly text: string;
  /** Whole: the answer ended as it should. */
  readonly end: 'whole' | 'cut' | string;
}

/** What a plain client sees. */
function seen(fault: string | undefined, stream = false): Promise<Outcome> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', ...(fault === undefined ? {} : { 'x-sim-fault': fault }) };
    const call = request(sim.url + path, { method: 'POST', headers, agent: false });
    let status: number | undefined;
    let text = '';
    const failed = (error: NodeJS.ErrnoException): void => resolve({ status, text, end: error.code ?? '' });
    call.on('error', failed);
    call.on('response', (response) => {
      status = response.statusCode;
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('error', failed);
      response.on('end', () => resolve({ status, text, end: 'whole' }));
    });
    call.end(body(stream));
  });
}

const events = (text: string): number => text.split('data: ').length - 1;

describe('faults by header', () => {
  test('none: whole', async () => {
    expect(await seen(undefined)).toMatchObject({ status: 200, end: 'whole' });
    const stream = await seen(undefined, true);
    expect([stream.end, events(stream.text)]).toEqual(['whole', 10]);
  });

  test('reset before the first byte', async () => {
    expect(await seen('reset')).toEqual({ status: undefined, text: '', end: 'ECONNRESET' });
  });

  test('reset after some events, after some bytes', async () => {
    const stream = await seen('reset-after=3', true);
    expect([stream.status, stream.end, events(stream.text)]).toEqual([200, 'ECONNRESET', 3]);
    const whole = await seen('reset-after=20');
    expect([whole.status, whole.end, whole.text.length]).toEqual([200, 'ECONNRESET', 20]);
  });

  test('cut after some events: closed in order, yet not whole', async () => {
    const stream = await seen('cut-after=3', true);
    expect([stream.status, events(stream.text)]).toEqual([200, 3]);
    expect(stream.end).not.toBe('whole');
  });

  test.each([500, 503, 429])('status %i with a body like others', async (status) => {
    const { text, ...rest } = await seen(`status=${status}`);
    expect(rest).toEqual({ status, end: 'whole' });
    expect(JSON.parse(text)).toMatchObject({ error: { code: status } });
  });

  test('bad JSON, whole and streamed', async () => {
    const whole = await seen('bad-json');
    expect(whole.status).toBe(200);
    expect(() => JSON.parse(whole.text) as unknown).toThrow();
    const [first] = (await seen('bad-json', true)).text.split('\n\n');
    expect(() => JSON.parse(first!.slice(6)) as unknown).toThrow();
  });

  test('delay and slow take their time', async () => {
    const clock = process.hrtime.bigint;
    const took = async (fault: string, stream: boolean): Promise<number> => {
      const began = clock();
      expect((await seen(fault, stream)).end).toBe('whole');
      return Number(clock() - began) / 1e6;
    };
    expect(await took('delay=80', false)).toBeGreaterThanOrEqual(79);
    expect(await took('slow=8', true)).toBeGreaterThanOrEqual(70); // ten timers, each up to 1 ms early
  });

  test('an unknown fault is said', async () => {
    const { status, text } = await seen('explode');
    expect([status, text]).toEqual([400, expect.stringContaining('reset-after=N')]);
  });

  test('hang: no byte comes while others are served', async () => {
    const call = request(sim.url + path, { method: 'POST', headers: { 'x-sim-fault': 'hang' }, agent: false });
    let came = false;
    call.on('response', () => (came = true));
    call.on('error', () => undefined);
    call.end(body(false));
    expect((await seen(undefined)).status).toBe(200);
    expect(came).toBe(false);
    call.destroy();
  });

  test.each(['endless-headers', 'endless-body'])('%s: goes on until the client has enough', async (fault) => {
    const bytesWanted = 1024 * 1024;
    const bytes = await new Promise<number>((resolve) => {
      let sum = 0;
      const socket = connect(sim.port, '127.0.0.1', () => {
        socket.write(`GET /health HTTP/1.1\r\nhost: x\r\nx-sim-fault: ${fault}\r\n\r\n`);
      });
      socket.on('data', (chunk) => {
        sum += chunk.length;
        if (sum > bytesWanted) {
          socket.destroy();
          resolve(sum);
        }
      });
      socket.on('close', () => resolve(sum));
    });
    expect(bytes).toBeGreaterThan(bytesWanted);
    expect((await seen(undefined)).status).toBe(200);
  });
});

describe('faults by rule', () => {
  const control = (method: string, rule?: object): Promise<Response> =>
    fetch(`${sim.url}/sim/faults`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(rule === undefined ? {} : { body: JSON.stringify(rule) }),
    });

  test('befall their path so many times, are counted, and are cleared', async () => {
    await control('POST', { path: '/metrics', fault: 'garbage' });
    await control('POST', { path: '/v1', fault: 'status=503', times: 2 });
    expect(await (await fetch(`${sim.url}/metrics`)).text()).not.toContain('vllm:');
    const statuses = [];
    for (let call = 0; call < 3; call++) statuses.push((await seen(undefined)).status);
    expect(statuses).toEqual([503, 503, 200]);
    expect(await (await control('GET')).json()).toMatchObject({ faults: [{ hits: 1 }, { hits: 2, times: 2 }] });
    await control('DELETE');
    expect(await (await fetch(`${sim.url}/metrics`)).text()).toContain('vllm:');
  });

  test('a bad rule is refused', async () => {
    for (const rule of [{ fault: 'explode' }, {}, { fault: 'hang', probability: 2 }, { fault: 'hang', times: 0 }]) {
      expect((await control('POST', rule)).status).toBe(400);
    }
  });
});

test('crash: streams in flight are reset and nobody listens any more', async () => {
  const dying = await startEngineSim({ models: ['m'] });
  const streaming = await fetch(dying.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: body(true).replace('8', '5000'),
  });
  await expect(fetch(`${dying.url}/health`, { headers: { 'x-sim-fault': 'crash' } })).rejects.toThrow();
  await expect(streaming.text()).rejects.toThrow();
  await expect(fetch(`${dying.url}/health`)).rejects.toThrow();
  await dying.stop();
});
