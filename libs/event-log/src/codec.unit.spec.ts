import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { EventRegistry } from '#libs/contracts';
import {
  baseOfCommitId,
  commitHash,
  commitIdBase,
  commitIdOf,
  decodeCommit,
  decodePayload,
  encodePayload,
  limits,
  prepareCommit,
} from '#libs/event-log';
import { sampleCommit, stored } from '#libs/testkit';

const registry = new EventRegistry();
const context = { atMs: 1_700_000_000_000, actor: 'test:codec' };

describe('a commit', () => {
  test('any text of a user comes back as it was, and the hash covers it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (reason) => {
        const commit = sampleCommit({ id: 'r1', commitId: 'c1', reason });
        const { events, payload } = decodeCommit(stored(commit, 1), registry);
        expect(events[0]).toMatchObject({ type: 'ReplicaDrained', data: { replicaId: 'r1', reason } });
        expect(payload.actor).toBe('test:contract');
        expect(commitHash(commit)).toBe(commit.hash);
      }),
    );
  });

  test.each([
    ['no events', [], 'COMMIT_EMPTY'],
    ['too many events', Array.from({ length: limits.eventsPerCommitMax + 1 }, () => drained('x')), 'LOG_TOO_LARGE'],
    ['too many bytes', [drained('x'.repeat(limits.payloadBytesMax))], 'LOG_TOO_LARGE'],
    ['an event that no reader knows', [{ type: 'ReplicaPainted', data: {} }], 'EVENT_TYPE_UNKNOWN'],
    ['data that does not fit', [{ type: 'ReplicaDrained', data: { reason: 5 } }], 'EVENT_DATA_INVALID'],
  ])('with %s is not made', (_, events, code) => {
    const subject = { context: 'route', aggregate: 'replica', id: 'r1' };
    const make = () =>
      prepareCommit({ registry, subject, commitId: 'c', head: { version: 0, hash: '' }, events, context });
    expect(make).toThrow(expect.objectContaining({ code }));
  });

  test('its hash is what the architecture says, in bytes', () => {
    const link = { prevHash: 'aa', subject: 's', commitId: 'c', version: 7, payload: Buffer.from('p') };
    // sha256 of "aas", 0, "c", 0, "7p"
    expect(commitHash(link)).toBe('87857b76d998550c38ef6066b0f6e8cdb26855374f10313c4a95bba490e806f0');
  });
});

function drained(reason: string) {
  return { type: 'ReplicaDrained', data: { replicaId: 'r1', reason } };
}

describe('a payload', () => {
  test('any bytes are a payload or refused by the code', () => {
    const whole = encodePayload(context, [{ type: 'T', data: {} }]);
    const bytes = fc.oneof(
      fc.uint8Array(),
      fc.json().map((text) => Buffer.from(text)),
      fc.tuple(fc.nat(), fc.nat(255)).map(([place, byte]) => Uint8Array.from(whole).with(place % whole.length, byte)),
    );
    fc.assert(
      fc.property(bytes, (given) => {
        try {
          expect(decodePayload(given).events.length).toBeGreaterThan(0);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: 'COMMIT_PAYLOAD_INVALID' });
        }
      }),
      { numRuns: 400 },
    );
  });
});

describe('ids', () => {
  test('of one command and aggregate always the same base, of two never', () => {
    const part = fc.string({ minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(part, part, fc.nat(20), (one, other, forks) => {
        const base = commitIdBase(one, 'route', 'replica', 'r1');
        expect(base.length).toBeLessThanOrEqual(limits.commitIdLengthMax - 8);
        expect(baseOfCommitId(commitIdOf(base, forks))).toBe(base);
        expect(commitIdBase(other, 'route', 'replica', 'r1') === base).toBe(one === other);
        expect(commitIdBase(one, 'route', 'replica', 'r2')).not.toBe(base);
      }),
    );
  });
});
