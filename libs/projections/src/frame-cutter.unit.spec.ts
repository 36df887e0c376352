import { expect, test } from '@jest/globals';
import { create, fromBinary, ScalarType, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { route } from '#libs/contracts';
import { cutFrame, usualFrame } from './frame-cutter.ts';
import { decodeFrame } from './record-facts.ts';

const uint = fc.oneof(fc.nat(3), fc.nat(0x7fffffff));
const text = fc.oneof(
  fc.constantFrom('', 'local', 'tiny-model', 'größe'),
  fc.string({ unit: 'binary', maxLength: 200 }),
);
const number = fc.oneof(fc.constantFrom(0, 1.5), fc.double());
const list = <T>(of: fc.Arbitrary<T>, maxLength = 4): fc.Arbitrary<T[]> => fc.array(of, { maxLength });

const forecast = fc.option(
  fc.record({ predictedMs: number, lowMs: number, highMs: number, measuredMs: number, decile: fc.nat(10) }),
  { nil: undefined },
);

/** Frames whose indexes fit their dictionaries, more than 128 replicas at times: indexes of two bytes. */
const frames = fc
  .tuple(fc.oneof(fc.nat(4), fc.integer({ min: 120, max: 300 })), fc.nat(3))
  .chain(([replicas, pipelines]) => {
    const replica = fc.nat(Math.max(0, replicas - 1));
    const pick = fc.record({
      pipeline: fc.nat(Math.max(0, pipelines - 1)),
      seed: fc.nat(),
      candidates: replicas === 0 ? fc.constant([]) : list(replica, 200),
      columns: list(text),
      values: list(number, 20),
      agesMs: list(fc.float(), 20),
      filteredBy: list(uint),
      scores: list(number),
      totals: list(number),
      chosen: uint,
      notes: list(text),
      partner: uint,
      prefixSource: fc.nat(2),
      prefixBlockTokens: uint,
      prefixDegraded: text,
    });
    const attempt = fc.record({
      replica,
      pick: uint,
      startMs: number,
      firstByteMs: number,
      endMs: number,
      end: fc.nat(10),
      httpStatus: uint,
      error: text,
      role: fc.nat(3),
      hedge: fc.boolean(),
      continues: fc.boolean(),
      continuedTokens: uint,
      sentAs: text,
    });
    const record = fc.record({
      requestId: text,
      receivedAtMs: number,
      tenantId: text,
      keyId: text,
      endUser: text,
      endpoint: text,
      model: text,
      adapter: text,
      stream: fc.boolean(),
      features: fc.option(
        fc.record({
          bodyBytes: uint,
          promptTokens: uint,
          promptTokensExact: fc.boolean(),
          sessionHash: fc.nat(),
          sloTtftMs: uint,
          sloTpotMs: uint,
        }),
        { nil: undefined },
      ),
      handover: fc.option(fc.record({ connector: text, prefillMs: number, transferMs: number, tokens: uint }), {
        nil: undefined,
      }),
      picks: pipelines === 0 ? fc.constant([]) : list(pick),
      attempts: replicas === 0 ? fc.constant([]) : list(attempt),
      outcome: fc.nat(13),
      httpStatus: uint,
      errorCode: text,
      timings: fc.option(
        fc.record({ bodyReadMs: number, firstByteMs: number, totalMs: number, tokenSpanMs: number, tokenGaps: uint }),
        { nil: undefined },
      ),
      usage: fc.option(
        fc.record({ promptTokens: uint, completionTokens: uint, cachedTokens: uint, fromEngine: fc.boolean() }),
        { nil: undefined },
      ),
      traceparent: text,
      heads: fc.dictionary(text, number, { maxKeys: 3, noNullPrototype: true }),
      errorMessage: text,
      clientAddress: text,
      profile: text,
      modelChoice: fc.option(
        fc.record({
          asked: text,
          routeJson: text,
          hash: fc.nat(),
          share: uint,
          stages: list(fc.record({ model: text, replicas: text, gone: fc.boolean() })),
          looks: list(fc.record({ stage: uint, ready: uint, taken: fc.boolean(), atMs: number })),
        }),
        { nil: undefined },
      ),
      costNano: number,
      priceSeq: number,
      currency: text,
      projectId: text,
      userId: text,
      tunnel: fc.option(fc.record({ bytesUp: number, bytesDown: number, messagesUp: uint, closeCode: uint }), {
        nil: undefined,
      }),
      ttft: forecast,
      finish: forecast,
    });
    return fc.record({
      gatewayId: text,
      bootId: text,
      frameSeq: number,
      closedAtMs: number,
      records: list(record),
      replicaIds: fc.constant(Array.from({ length: replicas }, (_, index) => `replica-${index}`)),
      pipelines: fc.array(
        fc.record({ hash: text, json: text, strategy: text, policyId: text, policyVersion: uint, policySeq: number }),
        { minLength: pipelines, maxLength: pipelines },
      ),
      dropped: uint,
    });
  })
  .map((init) => toBinary(route.RecordFrameSchema, create(route.RecordFrameSchema, init as never)));

test('cutting a frame gives what the generated code gives, byte for byte', () => {
  fc.assert(
    fc.property(frames, (bytes) => {
      expect(usualFrame(bytes)).toEqual(decodeFrame(bytes));
    }),
    { numRuns: 300 },
  );
});

test('it knows every field that a record can have: one that it does not know makes all records slow', () => {
  const sample = ({ fieldKind, ...of }: (typeof route.DecisionRecordSchema.fields)[number]): unknown => {
    if (fieldKind === 'map') return { a: 1 };
    if (fieldKind === 'list') return [{}];
    if (fieldKind === 'message') return {};
    if (fieldKind === 'enum') return 1;
    return { [ScalarType.STRING]: 'x', [ScalarType.BOOL]: true }[(of as { scalar: number }).scalar] ?? 1;
  };
  for (const field of route.DecisionRecordSchema.fields) {
    const record = { [field.localName]: sample(field) };
    const frame = { replicaIds: ['r'], pipelines: [{}], records: [record] };
    const bytes = toBinary(route.RecordFrameSchema, create(route.RecordFrameSchema, frame as never));
    expect([field.name, usualFrame(bytes)]).toEqual([field.name, decodeFrame(bytes)]);
  }
});

test('whatever bytes come, it says what the generated code says or leaves it to that', () => {
  let cut = 0;
  fc.assert(
    fc.property(frames, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }), (whole, changes) => {
      fc.pre(whole.length > 0);
      const bytes = Uint8Array.from(whole);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      const usual = usualFrame(bytes);
      if (usual === undefined) return;
      cut++;
      const right = decodeFrame(bytes);
      const bare = ({ records, ...frame }: typeof right): object => ({
        ...frame,
        records: records.map((facts) => ({ ...facts, record: undefined })),
      });
      expect(bare(usual)).toEqual(bare(right));
      for (const [index, { record }] of usual.records.entries()) {
        const own = fromBinary(route.RecordFrameSchema, record);
        const expected = fromBinary(route.RecordFrameSchema, right.records[index]?.record as Uint8Array);
        expect(own).toEqual(expected);
      }
    }),
    { numRuns: 1_000 },
  );
  expect(cut).toBeGreaterThan(100);
});

test('a frame in an unusual form is read all the same, and one that is none is refused', () => {
  const frame = create(route.RecordFrameSchema, { gatewayId: 'g', records: [{ attempts: [{ replica: 7 }] }] as never });
  const beyond = toBinary(route.RecordFrameSchema, frame);
  expect(usualFrame(beyond)).toBeUndefined();
  expect(cutFrame(beyond)).toEqual(decodeFrame(beyond));
  expect(() => cutFrame(new Uint8Array([255, 255]))).toThrow();
});
