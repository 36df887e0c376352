import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Packr } from 'msgpackr';
import { Publisher, Router } from 'zeromq';
import type { KvBatch, SequenceEffect } from '#libs/engines';
import { KvFollower } from '#libs/engines';
import { systemEnvironment } from '#libs/kernel';
import { eventually } from '#libs/testkit';

const packr = new Packr({ useRecords: false });
const seqBytes = (seq: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(seq));
  return bytes;
};
const portOf = (endpoint: string | null): number => Number(/:(\d+)$/.exec(endpoint ?? '')?.[1]);

/** The sockets of an engine, which can be told to lose and to forget. */
class Sockets {
  publisher = new Publisher({ linger: 0 });
  router = new Router({ linger: 0 });
  sent: Buffer[] = [];
  forgotten = 0;
  /** Answers carry the topic from vLLM 0.28 on. */
  topicInReplay = true;
  asked: number[] = [];

  static async open(port = 0, replayPort = 0): Promise<Sockets> {
    const sockets = new Sockets();
    const bind = (at: number): string => `tcp://127.0.0.1:${at === 0 ? '*' : at}`;
    await eventually(() => sockets.publisher.bind(bind(port)));
    await eventually(() => sockets.router.bind(bind(replayPort)));
    void sockets.#serve();
    return sockets;
  }

  get ports(): [number, number] {
    return [portOf(this.publisher.lastEndpoint), portOf(this.router.lastEndpoint)];
  }

  async tell(options: { lost?: boolean } = {}): Promise<void> {
    const seq = this.sent.length;
    const at = systemEnvironment.clock.nowMs() / 1000 + seq * 1e-6;
    const payload = packr.pack([at, [{ type: 'BlockRemoved', block_hashes: [seq], medium: 'GPU' }], 0]);
    this.sent.push(payload);
    if (options.lost !== true) await this.publisher.send([Buffer.from('kv'), seqBytes(seq), payload]);
  }

  close(): void {
    this.publisher.close();
    this.router.close();
  }

  async #serve(): Promise<void> {
    for await (const [client, , from] of this.router) {
      const start = Number((from as Buffer).readBigUInt64BE());
      this.asked.push(start);
      const topic = this.topicInReplay ? [Buffer.from('kv')] : [];
      for (let seq = Math.max(start, this.forgotten); seq < this.sent.length; seq++) {
        await this.router.send([client as Buffer, '', ...topic, seqBytes(seq), this.sent[seq] as Buffer]);
      }
      await this.router.send([client as Buffer, '', ...(this.topicInReplay ? [''] : []), seqBytes(-1), '']);
    }
  }
}

let sockets: Sockets;
let follower: KvFollower;
/** "0 1 2" and resets, as they came. */
let heard: string[];
let batches: KvBatch[];
const problems: string[] = [];

async function follow(replay = true): Promise<void> {
  const [port, replayPort] = sockets.ports;
  follower = await KvFollower.open({
    endpoint: `tcp://127.0.0.1:${port}`,
    replayEndpoint: replay ? `tcp://127.0.0.1:${replayPort}` : undefined,
    environment: systemEnvironment,
    tuning: { reconnectMsMin: 20, reconnectMsMax: 100, replayMsMax: 500, replayWaitMs: 20, verifyMs: 100 },
    onProblem: (problem) => problems.push(problem),
    onEffect: (effect: Exclude<SequenceEffect<KvBatch>, { type: 'ask' }>) => {
      if (effect.type === 'batch') batches.push(effect.batch);
      heard.push(effect.type === 'batch' ? `${effect.seq}` : `${effect.why}${effect.exact ? '' : '?'}`);
    },
  });
}
const hears = (...wanted: string[]): Promise<void> =>
  eventually(() => expect(heard.slice(-wanted.length)).toEqual(wanted));

beforeEach(async () => {
  heard = [];
  batches = [];
  problems.length = 0;
  sockets = await Sockets.open();
});
afterEach(async () => {
  await follower.close();
  sockets.close();
});

describe('following an engine over ZeroMQ', () => {
  test.each([true, false])('a late follower has everything from the replay, topic in it: %s', async (topicInReplay) => {
    sockets.topicInReplay = topicInReplay;
    for (let n = 0; n < 3; n++) await sockets.tell();
    await follow();
    await hears('first', '0', '1', '2');
    await sockets.tell();
    await hears('1', '2', '3');
    expect(batches[3]?.events).toMatchObject([{ type: 'BlockRemoved', blockHashes: Uint32Array.of(3, 0) }]);
    expect(problems).toEqual([]);
  });

  test('what is lost is filled when the next comes, and when nothing comes', async () => {
    await follow();
    await hears('first');
    await sockets.tell({ lost: true });
    await sockets.tell();
    await hears('first', '0', '1');
    await sockets.tell({ lost: true });
    await hears('0', '1', '2');
  });

  test('where replay no longer has it all before is void, and what comes is taken', async () => {
    await sockets.tell();
    await follow();
    await hears('first', '0');
    for (let n = 0; n < 4; n++) await sockets.tell({ lost: true });
    sockets.forgotten = 3;
    await sockets.tell();
    await hears('0', 'gap?', '3', '4', '5');
  });

  test('an engine killed and started again is another one, also with as many batches as before', async () => {
    for (let n = 0; n < 2; n++) await sockets.tell();
    await follow();
    await hears('first', '0', '1');
    const ports = sockets.ports;
    sockets.close();
    sockets = await Sockets.open(...ports);
    for (let n = 0; n < 2; n++) await sockets.tell();
    await hears('restart?', 'restart', '0', '1');
    await sockets.tell();
    await hears('0', '1', '2');
  });

  test('without a replay socket a gap voids what is known', async () => {
    await follow(false);
    await eventually(async () => {
      await sockets.tell();
      expect(heard.length).toBeGreaterThan(1);
    });
    expect(heard[0]).toBe('first?');
    await sockets.tell({ lost: true });
    await sockets.tell();
    await hears('gap?', `${sockets.sent.length - 1}`);
    expect(problems.length).toBeGreaterThan(0);
  });

  test('what no engine sends is a problem, and its number a gap', async () => {
    await sockets.tell();
    await follow();
    await hears('first', '0');
    await sockets.publisher.send([Buffer.from('kv'), seqBytes(1), Buffer.from([0xc1])]);
    await eventually(() => expect(problems).toEqual([expect.stringContaining('not used by engines')]));
    await sockets.tell();
    await hears('first', '0', '1');
  });

  test('a follower that is closed asks and hears no more', async () => {
    await follow();
    await hears('first');
    await follower.close();
    const { length } = sockets.asked;
    await sockets.tell();
    const other = await KvFollower.open({
      endpoint: `tcp://127.0.0.1:${sockets.ports[0]}`,
      replayEndpoint: `tcp://127.0.0.1:${sockets.ports[1]}`,
      environment: systemEnvironment,
      onEffect: (effect) => batches.push((effect as { batch: KvBatch }).batch),
    });
    await eventually(() => expect(batches.length).toBe(2));
    await other.close();
    expect([heard, sockets.asked.length]).toEqual([['first'], length + 1]);
  });
});
