import { describe, expect, test } from '@jest/globals';
import { slo, trace } from './fleet.fixture.ts';
import type { SimRequest, Workload, WorkloadSource } from './index.ts';
import { agents, everyRequest, parseTrace, tenants, tokensOf, TraceSource } from './index.ts';

const conversation = trace('mooncake-conversation');
const mooncake = new TraceSource('mooncake', slo, conversation, 3_000);
const chat = new TraceSource('azure-conv', slo, trace('azure-2023-conv'));
const all: readonly WorkloadSource[] = [mooncake, chat, agents, tenants];

/** Share of prompt tokens that an endless cache would have: whole blocks whose chain was seen before. */
function reuse(workload: Workload): number {
  const seen = new Set<string>();
  let reused = 0;
  let tokens = 0;
  for (const request of everyRequest(workload)) {
    const prompt = tokensOf(request);
    tokens += prompt.length;
    let fresh = false;
    for (let from = 0; from + 512 <= prompt.length; from += 512) {
      // First and last id of a block stand for it: segments do not begin inside a block of the trace.
      const block = `${from}:${prompt[from]}-${prompt[from + 511]}`;
      if (!seen.has(block)) fresh = true;
      if (!fresh) reused += 512;
      seen.add(block);
    }
  }
  return reused / tokens;
}

describe('the traces', () => {
  test('hold what their sources say', () => {
    expect([conversation.length, trace('azure-2023-conv').length, trace('azure-2023-code').length]).toEqual([
      12_031, 19_366, 8_819,
    ]);
    const mean = (of: (row: (typeof conversation)[number]) => number): number =>
      conversation.reduce((sum, row) => sum + of(row), 0) / conversation.length;
    expect(mean(({ promptTokens }) => promptTokens)).toBeCloseTo(12_035, 0);
    expect(mean(({ outputTokens }) => outputTokens)).toBeCloseTo(342.6, 1);
  });

  test('Mooncake keeps its prefix sharing: over a third of all blocks were there before', () => {
    const whole = mooncake.make({ requests: conversation.length, requestsPerS: 3.4, seed: 1 });
    expect(reuse(whole)).toBeGreaterThan(0.33);
    expect(reuse(whole)).toBeLessThan(0.38);
    expect(reuse(chat.make({ requests: 500, requestsPerS: 5, seed: 1 }))).toBe(0);
  });

  test('a conversation is named by the longest prefix that it continues', () => {
    const rows = parseTrace('h\n0,1500,1,0-2\n1,1500,1,0 9-10\n2,2500,1,0-2 11-12\n3,3000,1,0 9-10 13-15\n');
    expect(rows.map(({ sessionId }) => sessionId)).toEqual(['c1', 'c2', 'c1', 'c2']);
  });

  test.each([
    ['no rows', 'h\n'],
    ['a number', 'h\n0,x,1\n'],
    ['time goes back', 'h\n5,1,1\n4,1,1\n'],
    ['tokens of other blocks', 'h\n0,1500,1,0-1\n'],
    ['a run that goes back', 'h\n0,1500,1,2-0\n'],
  ])('refuses %s', (_, text) => {
    expect(() => parseTrace(text)).toThrow(/line \d+ of a trace/);
  });
});

describe.each(all)('$name', (source) => {
  const shape = { requests: 400, requestsPerS: 20, seed: 3 };
  const made = source.make(shape);
  const requests = [...everyRequest(made)];

  test('the same shape gives the same workload, another seed another', () => {
    expect(source.make(shape)).toEqual(made);
    expect(source.make({ ...shape, seed: 4 })).not.toEqual(made);
  });

  test('offers what it is asked to: about so many requests at this rate', () => {
    expect(requests.length).toBe(made.count);
    expect(made.count).toBeGreaterThanOrEqual(400);
    expect(made.count).toBeLessThan(420);
    const spanS = (made.arrivals.at(-1) as SimRequest).atMs / 1000;
    expect(made.count / spanS).toBeGreaterThan(19);
    expect(made.count / spanS).toBeLessThan(24);
  });

  test('each request has its number, its tokens and an output of its own', () => {
    expect(requests.map(({ index }) => index).toSorted((a, b) => a - b)).toEqual(requests.map((_, index) => index));
    const outputs = new Set(requests.map(({ outputFirst }) => outputFirst));
    expect(outputs.size).toBe(requests.length);
    for (const request of requests) {
      expect(tokensOf(request)).toHaveLength(request.prompt.reduce((sum, { length }) => sum + length, 0));
      expect(request.outputTokens).toBeGreaterThan(0);
    }
  });

  test('arrivals are in order', () => {
    const times = made.arrivals.map(({ atMs }) => atMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  test('a turn begins with the whole turn before and its answer', () => {
    for (const { prompt, outputFirst, outputTokens, next } of requests.slice(0, 50)) {
      if (next === undefined) continue;
      const before = [...prompt, { first: outputFirst, length: outputTokens }];
      expect(next.request.prompt.slice(0, before.length)).toEqual(before);
    }
  });
});
