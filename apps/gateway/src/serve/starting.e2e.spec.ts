import { afterEach, describe, expect, test } from '@jest/globals';
import { systemTimers } from '#libs/kernel';
import { route } from '#libs/contracts';
import { eventually } from '#libs/testkit';
import { chat, closeAll, engine, errorOf, gateway, post, rawExchange } from './serve.fixture.ts';

const { Outcome } = route;

afterEach(closeAll);

const bodies: string[] = [];
const echo = (): Promise<string> =>
  engine((body, response) => {
    bodies.push(body);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });

describe('a gateway that does not know its configuration yet', () => {
  test('has requests wait, bodies and all, and serves them once it does', async () => {
    let why: string | undefined = 'the log is not read yet';
    const lintel = await gateway([await echo()], { waitsFor: () => why });
    const large = chat({ padding: 'x'.repeat(300_000) });
    const asked = Promise.all([post(lintel, chat()), post(lintel, large), fetch(`${lintel.url}/v1/models`)]);
    await systemTimers.sleep(60);
    expect([bodies, lintel.records]).toEqual([[], []]);
    why = undefined;
    expect((await asked).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(bodies.toSorted((a, b) => a.length - b.length)).toEqual([chat(), large]);
    expect((await post(lintel, chat())).status).toBe(200);
  });

  test('refuses what waited too long, and more than it holds, and says for what', async () => {
    const limits = { startingWaitMsMax: 80, startingHeldMax: 1 };
    const lintel = await gateway([await echo()], { waitsFor: () => 'the log is not read yet', limits });
    const answers = await Promise.all([post(lintel, chat()), post(lintel, chat())]);
    for (const answer of answers) {
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
      const { code, message } = await errorOf(answer);
      expect([code, message]).toEqual(['starting', expect.stringContaining('the log is not read yet')]);
    }
    await eventually(() => expect(lintel.records).toHaveLength(2));
    expect(lintel.records[0]).toMatchObject({ outcome: Outcome.REJECTED_CAPACITY });
  });

  test('serves what came in one piece with its head, and those behind it on the connection', async () => {
    let why: string | undefined = 'the log is not read yet';
    const lintel = await gateway([await echo()], { waitsFor: () => why });
    const one = `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: ${chat().length}\r\n\r\n${chat()}`;
    const received = rawExchange(lintel.port, [one + one]);
    await systemTimers.sleep(60);
    why = undefined;
    expect((await received).match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2);
  });

  test('forgets those whose client has left', async () => {
    let why: string | undefined = 'the log is not read yet';
    const lintel = await gateway([await echo()], { waitsFor: () => why });
    const left = post(lintel, chat(), {}, '/v1/chat/completions', AbortSignal.timeout(40));
    await expect(left).rejects.toThrow();
    why = undefined;
    expect((await post(lintel, chat())).status).toBe(200);
  });
});
