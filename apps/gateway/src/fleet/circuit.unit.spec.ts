import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Verdict } from './circuit.ts';
import { Circuit } from './circuit.ts';
import { circuitLimits } from './limits.ts';

const { failuresMax, openMsMin, openMsMax } = circuitLimits;

function failing(times: number, atMs = 0, circuit = new Circuit()): Circuit {
  for (let i = 0; i < times; i++) circuit.end('failure', atMs);
  return circuit;
}

describe('the circuit of a replica', () => {
  test('opens at the bound of failures in a row, not before', () => {
    expect(failing(failuresMax - 1).admits(0)).toBe(true);
    expect(failing(failuresMax).admits(0)).toBe(false);
    expect(failing(failuresMax).opened).toBe(1);
  });

  test('a success in between starts the count anew; what says nothing does not', () => {
    const circuit = failing(failuresMax - 1);
    circuit.end('success', 0);
    expect(failing(failuresMax - 1, 0, circuit).admits(0)).toBe(true);
    const other = failing(failuresMax - 1);
    other.end('neutral', 0);
    expect(failing(1, 0, other).admits(0)).toBe(false);
  });

  test('lets one request probe it after its time, and the next one a period later, however long the first takes', () => {
    const circuit = failing(failuresMax);
    expect(circuit.stateAt(openMsMin - 1)).toBe('open');
    expect(circuit.stateAt(openMsMin)).toBe('half-open');
    expect(circuit.admits(openMsMin)).toBe(true);
    circuit.begin(openMsMin);
    expect(circuit.admits(openMsMin + 1)).toBe(false);
    expect(circuit.admits(2 * openMsMin)).toBe(true);
  });

  test('one success closes it; one failure opens it for twice as long, up to a bound', () => {
    const well = failing(failuresMax);
    well.begin(openMsMin);
    well.end('success', openMsMin);
    expect(well.stateAt(openMsMin)).toBe('closed');
    const ill = failing(failuresMax);
    let nowMs = 0;
    const opens: number[] = [];
    for (let trip = 0; trip < 8; trip++) {
      const fromMs = nowMs;
      while (ill.stateAt(nowMs) === 'open') nowMs += openMsMin;
      opens.push(nowMs - fromMs);
      ill.end('failure', nowMs);
    }
    expect(opens).toEqual([1, 2, 4, 8, 16, 30, 30, 30].map((times) => Math.min(times * openMsMin, openMsMax)));
  });

  test('the late success of what began before it opened does not close it', () => {
    const circuit = failing(failuresMax);
    circuit.end('success', 1);
    expect(circuit.stateAt(1)).toBe('open');
  });

  test('probes at once when something else saw the replica come back', () => {
    const circuit = failing(failuresMax);
    circuit.probeNow(5);
    expect([circuit.stateAt(5), circuit.admits(5)]).toEqual(['half-open', true]);
    const closed = new Circuit();
    closed.probeNow(0);
    expect(closed.stateAt(0)).toBe('closed');
  });

  test('L29 while it does not close, it admits at most one request per least open time', () => {
    const step = fc.record({ waitMs: fc.nat(3 * openMsMin), verdict: fc.constantFrom<Verdict>('failure', 'neutral') });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const circuit = failing(failuresMax);
        let nowMs = 0;
        let probes = 0;
        for (const { waitMs, verdict } of steps) {
          nowMs += waitMs;
          if (circuit.admits(nowMs)) {
            circuit.begin(nowMs);
            probes++;
          }
          circuit.end(verdict, nowMs);
        }
        expect(probes).toBeLessThanOrEqual(nowMs / openMsMin);
      }),
    );
  });
});
