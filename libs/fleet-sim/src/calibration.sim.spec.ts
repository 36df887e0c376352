import { expect, test } from '@jest/globals';
import type { Flight, Forecast } from '#libs/latency-model';
import { oneOff, replicas } from './fleet.fixture.ts';
import type { ReplicaSpec, Workload } from './index.ts';
import { agents, capacityPerS, learnedFeeds, simulateFleet, tenants } from './index.ts';

const shares = (forecasts: readonly (Forecast | undefined)[]): number[] => {
  const counts = Array.from({ length: 10 }, () => 0);
  for (const forecast of forecasts) if (forecast !== undefined && forecast.decile > 0) counts[forecast.decile - 1]!++;
  const total = counts.reduce((sum, count) => sum + count, 0);
  expect(total).toBeGreaterThan(2_500);
  return counts.map((count) => count / total);
};

function flightsOf(workload: Workload, fleet: readonly ReplicaSpec[]): Flight[] {
  const flights: Flight[] = [];
  const feeds = () => learnedFeeds((flight) => flights.push(flight));
  simulateFleet({ workload, replicas: fleet, strategy: 'lintel', seed: 3, feeds });
  return flights;
}

/** Each decile is to hold a tenth of the answers: by so much it may hold more or fewer. */
const tolerance = 0.04;

test.each([
  ['agents', 'one at half the speed', agents, oneOff(4, { speed: 0.5 })],
  ['tenants', 'equal replicas', tenants, replicas(4)],
] as const)('L62 what is foretold of %s, %s, is calibrated at a load of 0.9', (_name, _fleet, source, fleet) => {
  const requestsPerS = 0.9 * fleet.length * capacityPerS(source, fleet[1]!);
  const flights = flightsOf(source.make({ requests: 3_000, requestsPerS, seed: 11 }), fleet);
  for (const kind of ['ttft', 'finish'] as const) {
    const found = shares(flights.map((flight) => flight[kind]));
    expect([kind, found, found.every((share) => Math.abs(share - 0.1) < tolerance)]).toEqual([kind, found, true]);
    // Between the tenth and the ninetieth percentile that were foretold.
    expect(Math.abs(found.slice(1, 9).reduce((sum, share) => sum + share, 0) - 0.8)).toBeLessThan(tolerance);
  }
});
