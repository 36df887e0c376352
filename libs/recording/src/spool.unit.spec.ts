import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { SealedFrame } from './recorder.ts';
import { decodeEntry, encodeEntry, scanEntries } from './spool-entry.ts';
import { Spool } from './spool.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lintel-spool-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const frame = (number: number, size = 10): SealedFrame => ({
  subject: 'lintel.rq.gw',
  msgId: `gw-boot-${number}`,
  bytes: Buffer.alloc(size, number),
  records: 1,
});

function drain(spool: Spool): string[] {
  const ids: string[] = [];
  for (let next = spool.peek(); next !== undefined; next = spool.peek()) {
    ids.push(next.msgId);
    spool.advance();
  }
  return ids;
}

const segments = (): string[] => readdirSync(folder).filter((name) => name.endsWith('.frames'));

describe('Spool', () => {
  test('gives frames back in order, also to the next process, and leaves no file', () => {
    const first = new Spool({ folder, segmentBytesMax: 100 });
    for (let i = 1; i <= 5; i++) expect(first.append(frame(i))).toBe(true);
    expect(first.peek()?.msgId).toBe('gw-boot-1');
    first.advance();
    // No close: the process was killed.
    const second = new Spool({ folder, segmentBytesMax: 100 });
    second.append(frame(6));
    expect(drain(second)).toEqual([2, 3, 4, 5, 6].map((i) => `gw-boot-${i}`));
    expect(second.status()).toMatchObject({ frames: 0, bytes: 0 });
    second.append(frame(7));
    expect(drain(second)).toEqual(['gw-boot-7']);
    expect(segments()).toEqual([]);
    first.close();
    second.close();
  });

  test('full, it refuses the newest and counts', () => {
    const spool = new Spool({ folder, bytesMax: 120 });
    expect([spool.append(frame(1)), spool.append(frame(2)), spool.append(frame(3))]).toEqual([true, true, false]);
    expect(spool.status()).toMatchObject({ frames: 2, refused: 1 });
    expect(drain(spool)).toEqual(['gw-boot-1', 'gw-boot-2']);
    expect(spool.append(frame(4))).toBe(true);
    spool.close();
  });

  test('a torn tail is passed over and counted', () => {
    const first = new Spool({ folder });
    first.append(frame(1));
    first.append(frame(2));
    first.close();
    const [name] = segments() as [string];
    truncateSync(join(folder, name), readFileSync(join(folder, name)).length - 3);
    const second = new Spool({ folder });
    expect(second.status().damagedBytes).toBeGreaterThan(0);
    second.append(frame(3));
    expect(drain(second)).toEqual(['gw-boot-1', 'gw-boot-3']);
    second.close();
  });

  test('a damaged place mark gives frames twice rather than never', () => {
    const first = new Spool({ folder });
    first.append(frame(1));
    first.append(frame(2));
    first.advance();
    first.close();
    writeFileSync(join(folder, 'sent'), 'garbage');
    const second = new Spool({ folder });
    expect(drain(second)).toEqual(['gw-boot-1', 'gw-boot-2']);
    second.close();
  });

  test('L8 a place mark torn at any byte between the old and the new one skips no frame', () => {
    const first = new Spool({ folder, segmentBytesMax: 1 });
    for (let number = 1; number <= 12; number++) first.append(frame(number));
    for (let number = 1; number <= 9; number++) first.advance();
    const older = readFileSync(join(folder, 'sent'));
    first.advance();
    first.close();
    const newer = readFileSync(join(folder, 'sent'));
    for (let cut = 0; cut <= newer.length; cut++) {
      writeFileSync(join(folder, 'sent'), Buffer.concat([newer.subarray(0, cut), older.subarray(cut)]));
      const second = new Spool({ folder });
      expect([cut, second.frames]).toEqual([cut, 2]);
      second.close();
    }
    // In one segment a torn offset would point past frames that were never sent.
    const torn = Buffer.concat([newer.subarray(0, 10), Buffer.from(' 999999999999'), newer.subarray(23)]);
    writeFileSync(join(folder, 'sent'), torn);
    const third = new Spool({ folder });
    expect(third.frames).toBe(2);
    third.close();
  });

  test('a folder that cannot be made is named', () => {
    writeFileSync(join(folder, 'file'), '');
    expect(() => new Spool({ folder: join(folder, 'file', 'below') })).toThrow(
      expect.objectContaining({ code: 'SPOOL_UNUSABLE' }),
    );
  });
});

describe('entries', () => {
  const frames = fc.array(
    fc.record({
      subject: fc.string({ maxLength: 20 }),
      msgId: fc.string({ maxLength: 20 }),
      bytes: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
      records: fc.nat(1000),
    }),
    { maxLength: 6 },
  );
  const read = (bytes: Buffer): (SealedFrame | undefined)[] =>
    scanEntries(bytes).entries.map(({ offset }) => decodeEntry(bytes, offset));

  test('come back as they were', () => {
    fc.assert(fc.property(frames, (given) => expect(read(Buffer.concat(given.map(encodeEntry)))).toEqual(given)));
  });

  test('cut anywhere, the whole ones before the cut come back', () => {
    fc.assert(
      fc.property(frames, fc.nat(), (given, at) => {
        const whole = Buffer.concat(given.map(encodeEntry));
        const back = read(whole.subarray(0, at % (whole.length + 1)));
        expect(back).toEqual(given.slice(0, back.length));
      }),
    );
  });

  test('with one byte changed, only the entry that holds it is lost', () => {
    fc.assert(
      fc.property(frames, fc.nat(), fc.integer({ min: 1, max: 255 }), (given, at, change) => {
        const bytes = Buffer.concat(given.map(encodeEntry));
        if (bytes.length === 0) return;
        const place = at % bytes.length;
        bytes[place] = (bytes[place] as number) ^ change;
        const back = read(bytes);
        expect(back).toHaveLength(given.length - 1);
        expect(given).toEqual(expect.arrayContaining(back as SealedFrame[]));
      }),
    );
  });

  test('of any bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const { damagedBytes } = scanEntries(Buffer.from(bytes));
        expect(damagedBytes).toBe(bytes.length);
      }),
    );
  });
});
