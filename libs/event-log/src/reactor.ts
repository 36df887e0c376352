import { create } from '@bufbuild/protobuf';
import { log, streams } from '#libs/contracts';
import type { Environment } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import { Acceptor } from './acceptance.ts';
import type { CommitDecoder, DecodedCommit } from './codec.ts';
import type { StoredCommit } from './commit.ts';
import type { EventLog } from './port.ts';

export const reactorLimits = {
  deliveriesMax: 5,
  /** Wait before each further delivery. */
  backoffMs: [100, 500, 2_000, 5_000] as const,
  subjectsKeptMax: 4096,
} as const;

/** What a transport does with a delivery: it is done, it comes again later, or it is parked with the dead letters. */
export type ReactorOutcome =
  | { readonly action: 'done'; readonly skipped: boolean }
  | { readonly action: 'again'; readonly delayMs: number; readonly error: CodedError }
  | { readonly action: 'park'; readonly letter: log.DeadLetter };

/** Tells for single deliveries, in any order and after a restart, whether readers accept the commit. */
export class SubjectAcceptance {
  readonly #kept = new Map<string, { acceptor: Acceptor; lastSeq: number; forked: Set<number> }>();

  constructor(private readonly log: EventLog) {}

  async isAccepted(commit: StoredCommit): Promise<boolean> {
    const place = this.#kept.get(commit.subject) ?? { acceptor: new Acceptor(), lastSeq: 0, forked: new Set<number>() };
    if (commit.seq > place.lastSeq) {
      for (const stored of await this.log.readSubject(commit.subject, place.lastSeq)) {
        if (place.acceptor.accept(stored) === 'forked') place.forked.add(stored.seq);
        place.lastSeq = Math.max(place.lastSeq, stored.seq);
      }
    }
    this.#kept.delete(commit.subject);
    this.#kept.set(commit.subject, place);
    if (this.#kept.size > reactorLimits.subjectsKeptMax) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
    return commit.seq <= place.lastSeq && !place.forked.has(commit.seq);
  }
}

/**
 * What a reactor does with one delivery, whatever carries it: only accepted commits reach the handler, a failing handler
 * is asked again with growing waits, then the commit is parked. What cannot be decoded is parked at once.
 */
export class Reaction {
  constructor(
    private readonly options: {
      readonly consumer: string;
      readonly acceptance: SubjectAcceptance;
      readonly decoder: CommitDecoder;
      readonly environment: Environment;
      /** Must be idempotent by commit id: a delivery may come again after its effect. */
      readonly handler: (commit: DecodedCommit) => Promise<void>;
      readonly deliveriesMax?: number;
    },
  ) {}

  /** `deliveries` counts from 1. */
  async deliver(commit: StoredCommit, deliveries: number): Promise<ReactorOutcome> {
    const { acceptance, decoder, handler } = this.options;
    let decoded: DecodedCommit;
    try {
      if (!(await acceptance.isAccepted(commit))) return { action: 'done', skipped: true };
    } catch (thrown) {
      // The log is away: that is not the commit's fault and never parks it.
      return { action: 'again', delayMs: backoffMs(deliveries), error: asCoded(thrown) };
    }
    try {
      decoded = decoder.decode(commit);
    } catch (thrown) {
      return { action: 'park', letter: this.#letter(commit, thrown, deliveries) };
    }
    try {
      await handler(decoded);
      return { action: 'done', skipped: false };
    } catch (thrown) {
      if (deliveries >= (this.options.deliveriesMax ?? reactorLimits.deliveriesMax)) {
        return { action: 'park', letter: this.#letter(commit, thrown, deliveries) };
      }
      return { action: 'again', delayMs: backoffMs(deliveries), error: asCoded(thrown) };
    }
  }

  #letter(commit: StoredCommit, thrown: unknown, deliveries: number): log.DeadLetter {
    return create(log.DeadLetterSchema, {
      consumer: this.options.consumer,
      stream: streams.events,
      subject: commit.subject,
      seq: commit.seq,
      errorCode: errorCode(thrown),
      errorMessage: errorText(thrown).slice(0, 1024),
      deliveries,
      atMs: this.options.environment.clock.nowMs(),
    });
  }
}

function backoffMs(deliveries: number): number {
  const { backoffMs: waits } = reactorLimits;
  return waits[Math.min(deliveries, waits.length) - 1] ?? waits[0];
}

const asCoded = (thrown: unknown): CodedError =>
  thrown instanceof CodedError ? thrown : new CodedError('REACTION_FAILED', errorText(thrown), { cause: thrown });
