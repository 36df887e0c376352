import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { route } from '#libs/contracts';
import { reexecute } from '#libs/domain/route';
import { FrameBuilder } from './frame-builder.ts';
import { recordingLimits } from './limits.ts';
import type { RecordInput } from './record-input.ts';
import { samplePick, sampleRecord } from './samples.fixture.ts';

const head = { gatewayId: 'gw', bootId: 'boot', frameSeq: 3, closedAtMs: 1234.5, dropped: 2 };

function frameOf(...records: RecordInput[]): { bytes: Buffer; frame: route.RecordFrame } {
  const builder = new FrameBuilder();
  for (const record of records) expect(builder.add(record)).toBe(true);
  const bytes = builder.finish(head);
  return { bytes, frame: fromBinary(route.RecordFrameSchema, bytes) };
}

describe('the hand-written encoding', () => {
  test.each([0, 1, 3, 100, 1000])('is what protobuf-es writes, with %i candidates', (candidates) => {
    const { bytes, frame } = frameOf(
      sampleRecord([samplePick(candidates)]),
      sampleRecord([samplePick(candidates, 'random')]),
    );
    expect(Buffer.from(toBinary(route.RecordFrameSchema, frame)).equals(bytes)).toBe(true);
    expect(frame.records).toHaveLength(2);
  });

  test('a hand-over is in the record with who computed the prompt, and is decided again alike', () => {
    const pick = samplePick(4, 'pd');
    expect(pick.partner).toBeGreaterThanOrEqual(0);
    const given = sampleRecord([pick], {
      handover: { connector: 'nixl', prefillMs: 12.5, transferMs: 3, tokens: 190 },
    });
    const attempts = given.attempts.map((attempt) => ({ ...attempt, role: route.ReplicaRole.DECODE }));
    const { bytes, frame } = frameOf({ ...given, attempts });
    expect(Buffer.from(toBinary(route.RecordFrameSchema, frame)).equals(bytes)).toBe(true);
    const [record] = frame.records;
    expect(record).toMatchObject({ handover: given.handover, attempts: [{ role: route.ReplicaRole.DECODE }] });
    expect(frame.replicaIds[record!.picks[0]!.candidates[record!.picks[0]!.partner - 1] as number]).toBe('replica-0');
    expect(reexecute(frame, 0)).toEqual({ equal: true, picks: 1 });
    record!.picks[0]!.partner = 0;
    expect(reexecute(frame, 0)).toMatchObject({ equal: false, difference: { field: 'partner', executed: '0' } });
  });

  test('what was foretold stands in the record, and what is not known stays out', () => {
    const ttft = { predictedMs: 210, lowMs: 120.5, highMs: 480, measuredMs: 250, decile: 6 };
    const finish = { predictedMs: 900, lowMs: Number.NaN, highMs: Number.NaN, measuredMs: Number.NaN, decile: 0 };
    const { bytes, frame } = frameOf(sampleRecord([samplePick(3)], { ttft, finish }));
    expect(Buffer.from(toBinary(route.RecordFrameSchema, frame)).equals(bytes)).toBe(true);
    expect(frame.records[0]).toMatchObject({
      ttft,
      finish: { predictedMs: 900, lowMs: 0, highMs: 0, measuredMs: 0, decile: 0 },
    });
  });

  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 200 }));
  const count = fc.oneof(fc.nat(5), fc.nat(2 ** 32 - 1));
  const time = fc.double({ min: 0 });
  const record = fc
    .record({
      requestId: text,
      receivedAtMs: time,
      endUser: text,
      model: text,
      stream: fc.boolean(),
      httpStatus: count,
      errorCode: text,
      errorMessage: text,
      projectId: text,
      userId: text,
      heads: fc.dictionary(
        fc.string({ maxLength: 9 }).map((name) => `h${name}`),
        fc.double(),
      ),
      cost: fc.option(fc.record({ nano: time, priceSeq: time, currency: fc.constantFrom('USD', 'EUR') }), {
        nil: undefined,
      }),
      usage: fc.option(
        fc.record({ promptTokens: count, completionTokens: count, cachedTokens: count, fromEngine: fc.boolean() }),
        { nil: undefined },
      ),
    })
    .map((given) => sampleRecord([samplePick(3, 'least-kv-cache')], given));

  test('keeps every field of any record', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 4 }), (records) => {
        const { bytes, frame } = frameOf(...records);
        expect(Buffer.from(toBinary(route.RecordFrameSchema, frame)).equals(bytes)).toBe(true);
        for (const [index, { usage, cost, heads, errorMessage, receivedAtMs }] of records.entries()) {
          const back = frame.records[index] as route.DecisionRecord;
          expect(back.receivedAtMs).toBe(receivedAtMs);
          expect(back.errorMessage).toBe(errorMessage.toWellFormed());
          expect({ ...back.heads }).toEqual(heads);
          expect([back.costNano, back.priceSeq, back.currency]).toEqual(
            cost === undefined ? [0, 0, ''] : [cost.nano, cost.priceSeq, cost.currency],
          );
          expect(back.usage?.cachedTokens).toBe(usage?.cachedTokens);
        }
      }),
      { numRuns: 200 },
    );
  });
});

test('dictionaries hold each replica and pipeline once', () => {
  const pick = samplePick(3);
  const { frame } = frameOf(sampleRecord([pick]), sampleRecord([pick, pick]));
  expect([frame.replicaIds.length, frame.pipelines.length]).toEqual([3, 1]);
  expect(frame).toMatchObject({ gatewayId: 'gw', bootId: 'boot', frameSeq: 3, dropped: 2 });
});

test('a finished builder starts the next frame empty', () => {
  const builder = new FrameBuilder();
  builder.add(sampleRecord([samplePick(3)]));
  builder.finish(head);
  const frame = fromBinary(route.RecordFrameSchema, builder.finish({ ...head, dropped: 0 }));
  expect([frame.records, frame.replicaIds, frame.pipelines]).toEqual([[], [], []]);
});

test('long texts are cut and a record beyond the bound is refused whole', () => {
  const { frame } = frameOf(sampleRecord([], { errorMessage: 'é'.repeat(9999) }));
  expect(frame.records[0]?.errorMessage).toHaveLength(recordingLimits.textLengthMax);
  const builder = new FrameBuilder();
  expect(builder.add(sampleRecord(Array.from({ length: 20 }, () => samplePick(1000))))).toBe(false);
  expect(builder.count).toBe(0);
});

test('L15 a recorded decision executes again to the same choice, and a changed one is caught', () => {
  const strategies = [
    'prefix-cache',
    'least-kv-cache',
    'random',
    'round-robin',
    'power-of-two',
    'session-affinity',
    'least-request:2,random:1',
  ];
  const records = strategies.map((strategy, seed) =>
    sampleRecord([samplePick(5, strategy, seed), samplePick(0, strategy, seed)]),
  );
  const { frame } = frameOf(...records);
  for (const index of records.keys()) expect(reexecute(frame, index)).toEqual({ equal: true, picks: 2 });
  const tampered = frame.records[0]?.picks[0] as route.Pick;
  tampered.chosen = (tampered.chosen % 5) + 1;
  expect(reexecute(frame, 0)).toMatchObject({ equal: false, difference: { pick: 0, field: 'chosen' } });
});

test('a session told by its tunnel, and an attempt sent as another protocol, read back as they were', () => {
  const tunnel = { bytesUp: 5_000_000_000, bytesDown: 7, messagesUp: 3, messagesDown: 0, closeCode: 1001 };
  const plain = sampleRecord([samplePick(2)]);
  const attempts = plain.attempts.map((each) => ({ ...each, sentAs: 'chat completions (learnt)' }));
  const { frame } = frameOf({ ...plain, attempts, tunnel }, plain);
  expect(frame.records[0]!.tunnel).toMatchObject(tunnel);
  expect(frame.records[0]!.attempts[0]!.sentAs).toBe('chat completions (learnt)');
  expect(frame.records[1]!.tunnel).toBeUndefined();
});

test('fields stand in the order of their numbers, whichever are there: out of it a reader must take the slow way', () => {
  const tunnel = { bytesUp: 1, bytesDown: 7, messagesUp: 3, messagesDown: 1, closeCode: 1001 };
  const ttft = { predictedMs: 80, lowMs: 40, highMs: 160, measuredMs: 90, decile: 6 };
  const { bytes, frame } = frameOf(
    sampleRecord([samplePick(2)], {
      clientAddress: '192.0.2.0/24',
      handover: { connector: 'nixl', prefillMs: 3, transferMs: 1, tokens: 8 },
      cost: { nano: 5, priceSeq: 2, currency: 'EUR' },
      projectId: 'p',
      userId: 'u',
      tunnel,
      ttft,
      finish: ttft,
    }),
  );
  expect(Buffer.from(toBinary(route.RecordFrameSchema, frame)).equals(bytes)).toBe(true);
});
