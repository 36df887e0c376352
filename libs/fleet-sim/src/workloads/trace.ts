import { CodedError, SeededRng } from '#libs/kernel';
import type { Segment, SimRequest, Slo, Workload, WorkloadShape, WorkloadSource } from '../request.ts';
import { tokenIdMax } from '../request.ts';

export interface TraceRow {
  readonly atMs: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Empty where the trace says nothing of its prompts: then no two share anything. */
  readonly prompt: readonly Segment[];
  readonly sessionId: string;
}

const invalid = (line: number, what: string): CodedError =>
  new CodedError('FLEET_TRACE_INVALID', `line ${line} of a trace: ${what}`, {
    advice: 'The columns of a trace stand in libs/fleet-sim/traces/README.md.',
  });

const blockTokens = 512;
const wholeNumber = /^[0-9]{1,9}$/;

/** Runs of block ids, `0 14-27`, as segments: block h is the ids 512·h … 512·h + 511, the last one cut to the prompt's length. */
function segmentsOf(runs: string, promptTokens: number, line: number): Segment[] {
  const segments: Segment[] = [];
  let left = promptTokens;
  for (const run of runs.split(' ')) {
    const [from = '', to = from] = run.split('-');
    if (!wholeNumber.test(from) || !wholeNumber.test(to) || Number(to) < Number(from))
      throw invalid(line, `run ${run}`);
    const length = Math.min(left, (Number(to) - Number(from) + 1) * blockTokens);
    segments.push({ first: Number(from) * blockTokens, length });
    left -= length;
  }
  if (left !== 0) throw invalid(line, `${promptTokens} prompt tokens are not those of its blocks`);
  return segments;
}

/**
 * Names conversations: a prompt belongs to that of the longest prefix it continues. The first block is passed over, since all prompts
 * of the trace begin with it. Applications with a longer common start count as one conversation.
 */
class Conversations {
  readonly #ofBlock = new Map<number, string>();

  name(prompt: readonly Segment[], row: number): string {
    const blocks = prompt.flatMap(({ first, length }) =>
      Array.from({ length: Math.ceil(length / blockTokens) }, (_, index) => first / blockTokens + index),
    );
    let name = `c${row}`;
    for (let index = 1; index < blocks.length; index++) {
      const known = this.#ofBlock.get(blocks[index] as number);
      if (known === undefined) break;
      name = known;
    }
    for (const block of blocks.slice(1)) if (!this.#ofBlock.has(block)) this.#ofBlock.set(block, name);
    return name;
  }
}

/** Reads `atMs,promptTokens,outputTokens[,blocks]`, a header line first. @throws FLEET_TRACE_INVALID */
export function parseTrace(text: string): TraceRow[] {
  const conversations = new Conversations();
  const rows: TraceRow[] = [];
  const lines = text.trimEnd().split('\n');
  for (let line = 1; line < lines.length; line++) {
    const [at = '', promptTokens = '', outputTokens = '', blocks] = (lines[line] as string).split(',');
    if (![at, promptTokens, outputTokens].every((cell) => wholeNumber.test(cell))) throw invalid(line + 1, 'a number');
    const atMs = Number(at);
    if (atMs < (rows.at(-1)?.atMs ?? 0)) throw invalid(line + 1, 'time goes back');
    const prompt = blocks === undefined ? [] : segmentsOf(blocks, Number(promptTokens), line + 1);
    rows.push({
      atMs,
      promptTokens: Number(promptTokens),
      outputTokens: Number(outputTokens),
      prompt,
      sessionId: blocks === undefined ? '' : conversations.name(prompt, line),
    });
  }
  if (rows.length === 0) throw invalid(1, 'no rows');
  return rows;
}

/**
 * A trace as a workload: a window that begins at a row drawn by the seed and goes round at the end. Arrivals keep their pattern and
 * are stretched or squeezed to the rate. `granuleMs`: arrivals stamped together are spread over the granule of their clock.
 */
export class TraceSource implements WorkloadSource {
  constructor(
    readonly name: string,
    readonly slo: Slo,
    private readonly rows: readonly TraceRow[],
    private readonly granuleMs = 1,
  ) {}

  make({ requests, requestsPerS, seed }: WorkloadShape): Workload {
    const { rows, granuleMs } = this;
    const rng = new SeededRng(seed);
    const start = rng.below(rows.length);
    const spanMs = (rows.at(-1) as TraceRow).atMs + (rows.at(-1) as TraceRow).atMs / rows.length;
    const stamps = Array.from({ length: requests }, (_, at) => {
      const round = Math.floor((start + at) / rows.length);
      const row = rows[(start + at) % rows.length] as TraceRow;
      return { row, atMs: row.atMs + round * spanMs + rng.next() * granuleMs };
    });
    stamps.sort((a, b) => a.atMs - b.atMs);
    const firstMs = stamps[0]?.atMs ?? 0;
    const lengthMs = Math.max(1, (stamps.at(-1)?.atMs ?? 0) - firstMs);
    const factor = ((requests / requestsPerS) * 1000) / lengthMs;
    // Ids that no block of the trace has: prompts of their own, and outputs.
    let fresh = 1 + rows.reduce((most, { prompt }) => Math.max(most, endOf(prompt)), 0);
    const take = (tokens: number): number => {
      const first = fresh;
      fresh += tokens;
      if (fresh > tokenIdMax) throw new CodedError('FLEET_WORKLOAD_TOO_LARGE', `over ${tokenIdMax} distinct tokens`);
      return first;
    };
    const arrivals = stamps.map(({ row, atMs }, index): SimRequest => {
      const { promptTokens, outputTokens } = row;
      const prompt = row.prompt.length > 0 ? row.prompt : [{ first: take(promptTokens), length: promptTokens }];
      return {
        index,
        atMs: (atMs - firstMs) * factor,
        prompt,
        promptTokens,
        outputTokens,
        outputFirst: take(outputTokens),
        maxTokens: 0,
        sessionId: row.sessionId,
        tenant: this.name,
      };
    });
    return { name: this.name, slo: this.slo, arrivals, count: arrivals.length };
  }
}

const endOf = (prompt: readonly Segment[]): number =>
  prompt.reduce((most, { first, length }) => Math.max(most, first + length), 0);
