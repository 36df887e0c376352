import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ReaderRegistry, SnapshotStore } from '#libs/event-log';
import { sha256Hex } from '#libs/event-log';

export interface ReadersUnderTest {
  readonly readers: ReaderRegistry;
  /** Lets an announcement's time pass; absent where a test cannot. */
  readonly expire?: () => Promise<void>;
  readonly stop?: () => Promise<void>;
}

export function readerRegistryContract(name: string, make: () => Promise<ReadersUnderTest>): void {
  describe(`${name} is a ReaderRegistry`, () => {
    let under: ReadersUnderTest;

    beforeEach(async () => {
      under = await make();
    });

    afterEach(() => under.stop?.());

    test('L11 each live reader is listed with the levels it announced last', async () => {
      const { readers } = under;
      expect(await readers.levels()).toEqual(new Map());
      await readers.announce('gateway_1', { route: 1, tenancy: 1 });
      await readers.announce('diagnostics_1', { route: 1 });
      await readers.announce('gateway_1', { route: 2, tenancy: 1 });
      expect(await readers.levels()).toEqual(
        new Map([
          ['gateway_1', { route: 2, tenancy: 1 }],
          ['diagnostics_1', { route: 1 }],
        ]),
      );
    });

    test('a reader that withdrew is no longer listed', async () => {
      const { readers } = under;
      await readers.announce('gateway_1', { route: 1 });
      await readers.withdraw('gateway_1');
      await readers.withdraw('never_there');
      expect(await readers.levels()).toEqual(new Map());
    });

    test('an announcement that is not renewed runs out', async () => {
      const { readers, expire } = under;
      if (expire === undefined) return;
      await readers.announce('gateway_1', { route: 1 });
      await expire();
      expect(await readers.levels()).toEqual(new Map());
    });
  });
}

export interface SnapshotsUnderTest {
  readonly store: SnapshotStore;
  readonly stop?: () => Promise<void>;
}

export function snapshotStoreContract(name: string, make: () => Promise<SnapshotsUnderTest>): void {
  describe(`${name} is a SnapshotStore`, () => {
    let under: SnapshotsUnderTest;

    beforeEach(async () => {
      under = await make();
    });

    afterEach(() => under.stop?.());

    const snapshot = (seq: number, foldVersion = '1', size = 3): Parameters<SnapshotStore['save']>[0] => {
      const bytes = new Uint8Array(size).map((_, index) => (index * 31 + seq) % 256);
      return { name: 'gateway__route', foldVersion, seq, bytes, hash: sha256Hex(bytes) };
    };

    test('the newest one comes back byte for byte', async () => {
      const { store } = under;
      expect(await store.load('gateway__route', '1')).toBeUndefined();
      await store.save(snapshot(5));
      await store.save(snapshot(9, '1', 300_000));
      const loaded = await store.load('gateway__route', '1');
      expect(loaded).toMatchObject({
        name: 'gateway__route',
        foldVersion: '1',
        seq: 9,
        hash: snapshot(9, '1', 300_000).hash,
      });
      expect(sha256Hex(loaded?.bytes ?? new Uint8Array())).toBe(loaded?.hash);
    });

    test('another fold version has none', async () => {
      const { store } = under;
      await store.save(snapshot(5, '1'));
      expect(await store.load('gateway__route', '2')).toBeUndefined();
      await store.save(snapshot(3, '2'));
      expect(await store.load('gateway__route', '2')).toMatchObject({ seq: 3 });
      expect(await store.load('gateway__route', '1')).toBeUndefined();
    });

    test('names are apart', async () => {
      const { store } = under;
      await store.save(snapshot(5));
      expect(await store.load('gateway__tenancy', '1')).toBeUndefined();
    });
  });
}
