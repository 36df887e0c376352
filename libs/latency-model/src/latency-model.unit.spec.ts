import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SeededRng } from '#libs/kernel';
import { LatencyModel } from './latency-model.ts';
import { latencyModelLimits } from './limits.ts';

/** An engine of which the truth is known: 15 ms, 100 ms a thousand tokens, half a millisecond for each that decodes. */
const engineTtftMs = (tokens: number, decoding: number): number => 15 + tokens / 10 + decoding / 2;
const engineTpotMs = (decoding: number): number => 12 + 0.2 * decoding;

function fitted(noise: number, count = 600): LatencyModel {
  const model = new LatencyModel();
  const rng = new SeededRng(7);
  for (let i = 0; i < count; i++) {
    const tokens = rng.below(8_000);
    const decoding = rng.below(60);
    const factor = 1 + noise * (2 * rng.next() - 1);
    model.observeTtft({ tokens, decoding }, engineTtftMs(tokens, decoding) * factor);
    model.observeTpot(decoding, engineTpotMs(decoding) * factor);
  }
  return model;
}

test.each([
  [0, 0.06],
  [0.3, 0.2],
])('with noise of %p predicts within %p', (noise, share) => {
  const model = fitted(noise);
  for (const [tokens, decoding] of [
    [100, 2],
    [1_000, 10],
    [7_000, 50],
  ] as const) {
    expect(Math.abs(model.ttftMs({ tokens, decoding }) / engineTtftMs(tokens, decoding) - 1)).toBeLessThan(share);
    expect(Math.abs(model.tpotMs(decoding) / engineTpotMs(decoding) - 1)).toBeLessThan(share);
  }
});

test('is unknown until enough was seen of both', () => {
  const model = new LatencyModel();
  for (let i = 0; i < latencyModelLimits.samplesMin; i++) {
    expect(model.known).toBe(false);
    model.observeTtft({ tokens: 100, decoding: 1 }, 30);
  }
  expect([model.ttftKnown, model.known, model.version]).toEqual([true, false, latencyModelLimits.samplesMin]);
});

test('predictions are finite and never fall with tokens or load, whatever was measured', () => {
  const seen = fc.record({
    tokens: fc.nat(2_000_000),
    decoding: fc.nat(2_000),
    ttftMs: fc.double({ min: 0, max: 1e7, noNaN: true }),
    tpotMs: fc.double({ min: 0, max: 1e7, noNaN: true }),
  });
  fc.assert(
    fc.property(
      fc.array(seen, { maxLength: 200 }),
      fc.nat(1e6),
      fc.nat(1e6),
      fc.nat(500),
      fc.nat(500),
      (all, a, b, c, d) => {
        const model = new LatencyModel();
        for (const { tokens, decoding, ttftMs, tpotMs } of all) {
          model.observeTtft({ tokens, decoding }, ttftMs);
          model.observeTpot(decoding, tpotMs);
        }
        const low = model.ttftMs({ tokens: a, decoding: c });
        const high = model.ttftMs({ tokens: a + b, decoding: c + d });
        expect(Number.isFinite(low) && Number.isFinite(high) && high >= low && low >= 0).toBe(true);
        const each = model.tpotMs(c);
        expect(Number.isFinite(each) && each >= 0 && model.tpotMs(c + d) >= each).toBe(true);
      },
    ),
  );
});

test('times that cannot be are not taken in', () => {
  const model = new LatencyModel();
  for (const took of [Number.NaN, -1, Infinity, latencyModelLimits.latencyMsMax + 1]) {
    model.observeTtft({ tokens: 1, decoding: 0 }, took);
    model.observeTpot(1, took);
  }
  expect(model.version).toBe(0);
});
