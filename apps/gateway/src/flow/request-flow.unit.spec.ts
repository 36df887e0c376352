import { expect, test } from '@jest/globals';
import type { FlowProfile } from '#libs/domain/route';
import { deadlineOf, priorityOf } from './request-flow.ts';

const never = Number.POSITIVE_INFINITY;

const flowOf = (given: Partial<FlowProfile>): FlowProfile => ({
  slots: 0,
  waitMsMax: 30_000,
  wakeMsMax: 0,
  deadlineMs: 0,
  priority: 0,
  priorityMax: given.priority ?? 0,
  weights: {},
  ...given,
});

test.each([
  [{}, {}, never],
  [{}, { 'x-slo-ttft-ms': '400' }, 1_400],
  [{}, { 'x-slo-e2e-ms': '900' }, 1_900],
  [{}, { 'x-slo-ttft-ms': '400', 'x-slo-e2e-ms': '900' }, 1_400],
  [{}, { 'x-slo-ttft-ms': '900', 'x-slo-e2e-ms': '400' }, 1_400],
  [{ deadlineMs: 5_000 }, {}, 6_000],
  [{ deadlineMs: 5_000 }, { 'x-slo-ttft-ms': '9000' }, 10_000],
  // What says nothing is not heard.
  [{ deadlineMs: 5_000 }, { 'x-slo-ttft-ms': 'soon' }, 6_000],
  [{}, { 'x-slo-ttft-ms': '0' }, never],
  [{}, { 'x-slo-ttft-ms': '-5' }, never],
  [{}, { 'x-slo-ttft-ms': '99999999' }, never],
])('a profile %j and headers %j give the deadline %d', (profile, headers, deadlineMs) => {
  expect(deadlineOf(flowOf(profile), headers, 1_000)).toBe(deadlineMs);
});

test.each([
  [{ priority: 1 }, {}, undefined, 1],
  [{ priority: 1, priorityMax: 3 }, { 'x-lintel-priority': '2' }, undefined, 2],
  [{ priority: 1, priorityMax: 3 }, { 'x-lintel-priority': '9' }, undefined, 3],
  [{ priority: 1, priorityMax: 3 }, { 'x-lintel-priority': '9' }, 5, 5],
  [{ priority: 1 }, {}, 5, 5],
  [{ priority: 1 }, { 'x-lintel-priority': '-2' }, 5, -2],
])('a profile %j, headers %j and a key of %p give the band %d', (profile, headers, ofKey, band) => {
  expect(priorityOf(flowOf(profile), headers, ofKey)).toBe(band);
});
