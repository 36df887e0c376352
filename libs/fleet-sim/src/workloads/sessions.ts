import { CodedError, SeededRng } from '#libs/kernel';
import type { Segment, SimRequest, Slo, Workload, WorkloadShape, WorkloadSource } from '../request.ts';
import { tokenIdMax } from '../request.ts';

/** One turn of a session as its generator draws it. */
export interface Turn {
  /** What this turn adds behind the answer before. */
  readonly added: readonly Segment[];
  readonly outputTokens: number;
  /** Wait after the turn before; of the first turn it is not read. */
  readonly thinkMs: number;
}

export interface SessionDraw {
  readonly tenant: string;
  readonly turns: readonly Turn[];
}

export interface SessionKind {
  readonly name: string;
  readonly slo: Slo;
  /** Until the next session begins, in any unit: all gaps together are scaled to the rate. */
  gap(rng: SeededRng): number;
  session(rng: SeededRng, take: (tokens: number) => Segment): SessionDraw;
}

/** Sessions begin at their own pace; inside one, a turn waits for the answer before, which is part of its prompt. */
export class SessionSource implements WorkloadSource {
  readonly name: string;
  readonly slo: Slo;

  constructor(private readonly kindOf: () => SessionKind) {
    const kind = kindOf();
    this.name = kind.name;
    this.slo = kind.slo;
  }

  make({ requests, requestsPerS, seed }: WorkloadShape): Workload {
    const rng = new SeededRng(seed);
    let fresh = 1;
    const take = (tokens: number): Segment => {
      const first = fresh;
      fresh += tokens;
      if (fresh > tokenIdMax) throw new CodedError('FLEET_WORKLOAD_TOO_LARGE', `over ${tokenIdMax} distinct tokens`);
      return { first, length: tokens };
    };
    const kind = this.kindOf();
    const draws: { readonly draw: SessionDraw; readonly at: number; readonly index: number }[] = [];
    let count = 0;
    let at = 0;
    for (; count < requests; at += kind.gap(rng)) {
      const draw = kind.session(rng, take);
      draws.push({ draw, at, index: count });
      count += draw.turns.length;
    }
    const unitMs = ((count / requestsPerS) * 1000) / at;
    const arrivals = draws.map(({ draw, at: begin, index }, session) =>
      chain(draw, begin * unitMs, `s${session}`, index, take),
    );
    return { name: kind.name, slo: kind.slo, arrivals, count };
  }
}

function chain(
  { tenant, turns }: SessionDraw,
  atMs: number,
  sessionId: string,
  firstIndex: number,
  take: (tokens: number) => Segment,
): SimRequest {
  const contexts: Segment[][] = [];
  const outputs: Segment[] = [];
  let context: Segment[] = [];
  for (const { added, outputTokens } of turns) {
    context = [...context, ...added];
    contexts.push(context);
    const output = take(outputTokens);
    outputs.push(output);
    context = [...context, output];
  }
  let next: SimRequest['next'];
  for (let turn = turns.length - 1; turn >= 0; turn--) {
    const { outputTokens, thinkMs } = turns[turn] as Turn;
    const prompt = contexts[turn] as Segment[];
    const request: SimRequest = {
      index: firstIndex + turn,
      atMs: turn === 0 ? atMs : Number.NaN,
      prompt,
      promptTokens: prompt.reduce((sum, { length }) => sum + length, 0),
      outputTokens,
      outputFirst: (outputs[turn] as Segment).first,
      maxTokens: 0,
      sessionId,
      tenant,
      next,
    };
    next = { afterMs: thinkMs, request };
  }
  return (next as NonNullable<SimRequest['next']>).request;
}
