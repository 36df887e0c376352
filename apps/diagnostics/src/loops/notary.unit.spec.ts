import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { planSeals } from '#libs/domain/diag';
import type { StoredCommit } from '#libs/event-log';
import { emptyHead, LogVerifier, MemoryAnchorStream, MemoryEventLog, publicKeyText } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import { headAfter, sampleCommit, sampleLog } from '#libs/testkit';
import { Notary } from './notary.ts';
import type { NotaryKeys } from './notary-key.ts';

function keysOf(trusted: readonly string[] = []): NotaryKeys {
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = publicKeyText(privateKey);
  return { privateKey, publicKey, trusted: new Set([publicKey, ...trusted]), folder: 'keys' };
}

const silent = { info: () => {}, warn: () => {}, error: () => {} };

class World {
  readonly log = new MemoryEventLog({ clock: systemEnvironment.clock });
  readonly anchors = new MemoryAnchorStream();
  readonly #last = new Map<string, number>();
  readonly #commits = sampleLog(60);
  #written = 0;

  async write(count: number, change: (commit: StoredCommit) => StoredCommit = (commit) => commit): Promise<void> {
    for (const commit of this.#commits.slice(this.#written, (this.#written += count))) {
      const { seq } = await this.log.append(change(commit), headAfter(commit, this.#last.get(commit.subject) ?? 0));
      this.#last.set(commit.subject, seq);
    }
  }

  notary(keys: NotaryKeys, commitsMax = 10, ageMsMax = 0): Notary {
    const tuning = { commitsMax, ageMsMax, pollMs: 1 };
    return new Notary({ broker: this, environment: systemEnvironment, logger: silent, keys, tuning });
  }

  async verified(keys: NotaryKeys): Promise<{ ok: boolean; sealedThroughSeq: number; anchors: number }> {
    const verifier = new LogVerifier({ anchors: await this.anchors.readAll(), trustedKeys: keys.trusted });
    for await (const commit of this.log.read({ fromSeq: 1 })) verifier.add(commit);
    return verifier.report();
  }
}

describe('which seals are due', () => {
  const limits = { commitsMax: 10, ageMsMax: 1_000 };
  test.each([
    ['nothing new', { sealedSeq: 7, headSeq: 7, oldestStoredAtMs: undefined }, []],
    ['a few young ones wait', { sealedSeq: 0, headSeq: 9, oldestStoredAtMs: 4_500 }, []],
    ['a few old ones are sealed', { sealedSeq: 0, headSeq: 9, oldestStoredAtMs: 4_000 }, [9]],
    ['full ones at once', { sealedSeq: 5, headSeq: 25, oldestStoredAtMs: 5_000 }, [15, 25]],
    ['and the rest when it is old', { sealedSeq: 5, headSeq: 28, oldestStoredAtMs: 1 }, [15, 25, 28]],
  ])('%s', (_, position, ends) => expect(planSeals({ ...position, nowMs: 5_000 }, limits)).toEqual(ends));
});

describe('the notary', () => {
  test('L10 seals everything once, and goes on where it stood after a restart', async () => {
    const world = new World();
    const keys = keysOf();
    await world.write(25);
    await world.notary(keys).step();
    expect(await world.verified(keys)).toMatchObject({ ok: true, sealedThroughSeq: 25, anchors: 3 });
    await world.write(5);
    const again = world.notary(keys);
    await again.step();
    await again.step();
    expect(await world.verified(keys)).toMatchObject({ ok: true, sealedThroughSeq: 30, anchors: 4 });
    expect(again.status()).toMatchObject({ sealedSeq: 30, headSeq: 30, anchors: 4, halted: false });
  });

  test('L10 two of them seal one chain: who comes second checks the seal of the first and takes it over', async () => {
    const world = new World();
    const first = keysOf();
    const second = keysOf([first.publicKey]);
    const both = { ...first, trusted: new Set([first.publicKey, second.publicKey]) };
    const [a, b] = [world.notary(both), world.notary(second)];
    await world.write(4);
    await a.step();
    await b.step();
    await world.write(4);
    await Promise.all([a.step(), b.step()]);
    await world.write(3);
    await b.step();
    await a.step();
    await a.step();
    await b.step();
    expect(await world.verified(both)).toMatchObject({ ok: true, sealedThroughSeq: 11 });
    expect([a.status().sealedSeq, b.status().sealedSeq]).toEqual([11, 11]);
  });

  test('a seal by a key that is not trusted stops it', async () => {
    const world = new World();
    await world.write(3);
    await world.notary(keysOf()).step();
    await expect(world.notary(keysOf()).step()).rejects.toThrow(/anchor-key.*to trust it/);
    expect(await world.anchors.readAll()).toHaveLength(1);
  });

  test('a seal of a rival that says otherwise of the log stops it', async () => {
    const [world, other] = [new World(), new World()];
    const keys = keysOf();
    const honest = world.notary(keys);
    await world.write(3);
    await honest.step();
    // The rival's log begins as this one does, and goes on with another commit, well-formed in itself.
    await other.write(3);
    for (const [index, { json }] of (await world.anchors.readAll()).entries()) await other.anchors.append(json, index);
    await other.log.append(sampleCommit({ id: 'other', commitId: 'other' }), emptyHead);
    await other.notary(keys).step();
    const [, anchor] = await other.anchors.readAll();
    await world.write(6);
    await world.anchors.append((anchor as { json: string }).json, 1);
    await expect(honest.step()).rejects.toThrow(/seal 2 says otherwise of 4–4/);
    expect(await world.anchors.readAll()).toHaveLength(2);
  });

  test.each([
    ['changed', (commit: StoredCommit) => ({ ...commit, payload: new Uint8Array([123, 125]) }), /sequence 1 \(hash\)/],
    ['without its past', (commit: StoredCommit) => ({ ...commit, prevHash: 'f'.repeat(64) }), /\(hash\)|\(chain\)/],
  ])('a commit that is %s stops it before it seals', async (_name, change, reason) => {
    const world = new World();
    await world.write(3, change);
    await expect(world.notary(keysOf()).step()).rejects.toThrow(reason);
    expect(await world.anchors.readAll()).toEqual([]);
  });

  test('a log that ends before its seals stops it', async () => {
    const world = new World();
    const keys = keysOf();
    await world.write(6);
    await world.notary(keys).step();
    const shorter = new World();
    await shorter.write(4);
    for (const [index, { json }] of (await world.anchors.readAll()).entries())
      await shorter.anchors.append(json, index);
    await expect(shorter.notary(keys).step()).rejects.toThrow(/sequence 5 \(anchor-beyond-log\)/);
  });

  test('halted in its loop it says why, and never seals again', async () => {
    const world = new World();
    const notary = world.notary(keysOf());
    await world.write(3, (commit) => ({ ...commit, payload: new Uint8Array([123, 125]) }));
    notary.start();
    for (let n = 0; n < 200 && !notary.status().halted; n++) await systemEnvironment.timers.sleep(1);
    expect(notary.health()).toMatchObject({ state: 'down', detail: expect.stringContaining('sequence 1 (hash)') });
    await notary.stop();
    expect(await world.anchors.readAll()).toEqual([]);
  });

  test('a log that is away is waited for', async () => {
    const world = new World();
    const keys = keysOf();
    let away = true;
    const { log } = world;
    const lastSeq = log.lastSeq.bind(log);
    log.lastSeq = async () => {
      if (away) throw Object.assign(new Error('away'), { code: 'LOG_UNAVAILABLE' });
      return await lastSeq();
    };
    await world.write(3);
    const notary = world.notary(keys);
    notary.start();
    for (let n = 0; n < 200 && notary.health().detail !== 'away'; n++) await systemEnvironment.timers.sleep(1);
    expect(notary.health()).toEqual({ state: 'degraded', detail: 'away' });
    away = false;
    for (let n = 0; n < 200 && notary.status().sealedSeq < 3; n++) await systemEnvironment.timers.sleep(1);
    expect(notary.status()).toMatchObject({ sealedSeq: 3, halted: false });
    await notary.stop();
  });
});
