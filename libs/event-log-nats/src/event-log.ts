import type { Msg } from '@nats-io/transport-node';
import { headers } from '@nats-io/transport-node';
import { streams } from '#libs/contracts';
import type {
  Appended,
  CommitPublisher,
  EventLog,
  Follow,
  Following,
  Head,
  PreparedCommit,
  PublishAnswer,
  StoredCommit,
} from '#libs/event-log';
import { appendSettled } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import type { NatsLink } from './connection.ts';
import { apiCode, apiCodes, isAway, isForbidden, refused } from './errors.ts';
import { natsLimits } from './limits.ts';
import { commitHeaders, storedCommit } from './message.ts';
import { StreamReader } from './stream-reader.ts';
import { Window } from './window.ts';

interface Acknowledgement {
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly code?: number; readonly err_code?: number; readonly description?: string };
}

/** Full, not wrong: the loud end of the log's bound. */
const fullCodes: readonly number[] = [
  apiCodes.maximumBytes,
  apiCodes.maximumMessages,
  apiCodes.resourcesExceeded,
  apiCodes.storageExceeded,
];

/** The decisions log on JetStream. */
export class NatsEventLog implements EventLog {
  readonly durability = 'disk';
  readonly #reader: StreamReader;
  readonly #window = new Window(natsLimits.inFlightMax, natsLimits.waitingMax, 'LOG_UNAVAILABLE');
  readonly #publisher: CommitPublisher = {
    publish: (commit, expectedSeq) => this.#publish(commit, expectedSeq),
    readSubject: (subject, afterSeq) => this.readSubject(subject, afterSeq),
  };
  #closed = false;

  /** The connection stays its owner's: `close` ends followers only. */
  constructor(
    private readonly link: NatsLink,
    private readonly options: { readonly log?: (line: string) => void; readonly ackTimeoutMs?: number } = {},
  ) {
    this.#reader = new StreamReader({
      link,
      stream: streams.events,
      prefix: 'LOG',
      whole: true,
      ...(options.log === undefined ? {} : { log: options.log }),
    });
  }

  /** Publishes under way now, for metrics. */
  get inFlight(): number {
    return this.#window.used;
  }

  async append(commit: PreparedCommit, expected: Head): Promise<Appended> {
    this.#open();
    const room = this.#window.enter();
    if (room !== undefined) await room;
    try {
      return await appendSettled(this.#publisher, commit, expected, this.link.environment);
    } finally {
      this.#window.leave();
    }
  }

  async readSubject(subject: string, afterSeq: number): Promise<StoredCommit[]> {
    this.#open();
    const last = await this.#get({ last_by_subj: subject });
    if (last === undefined || last.seq <= afterSeq) return [];
    const commits: StoredCommit[] = [];
    let next = afterSeq + 1;
    while (commits.length < natsLimits.singleReadsMax && next <= last.seq) {
      const one = next === last.seq ? last : await this.#get({ seq: next, next_by_subj: subject });
      if (one === undefined) return commits;
      commits.push(one);
      next = one.seq + 1;
    }
    if (next > last.seq) return commits;
    for await (const commit of this.read({ fromSeq: next, toSeq: last.seq, subjects: [subject] })) commits.push(commit);
    return commits;
  }

  async *read(range: { fromSeq: number; toSeq?: number; subjects?: readonly string[] }): AsyncIterable<StoredCommit> {
    this.#open();
    for await (const message of this.#reader.read(range.fromSeq, range.toSeq, range.subjects))
      yield storedCommit(message);
  }

  async follow(options: Follow, handler: (commit: StoredCommit) => void | Promise<void>): Promise<Following> {
    this.#open();
    return await this.#reader.follow(options.fromSeq, options.subjects, (message) => handler(storedCommit(message)));
  }

  async lastSeq(): Promise<number> {
    this.#open();
    return (await this.#reader.state()).lastSeq;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reader.stop();
  }

  /** From the leader, never from a replica that may be behind. */
  async #get(
    query: { last_by_subj: string } | { seq: number; next_by_subj: string },
  ): Promise<StoredCommit | undefined> {
    if (!this.link.connected) throw this.#reader.away();
    try {
      const message = await this.link.jsm.streams.getMessage(streams.events, query);
      if (message === null) return undefined;
      const { seq, time, subject, data, header } = message;
      return storedCommit({ seq, storedAtMs: time.getTime(), subject, data, headers: header });
    } catch (cause) {
      if (apiCode(cause) === apiCodes.noMessage) return undefined;
      throw refused('LOG', 'the subject cannot be read', cause);
    }
  }

  async #publish(commit: PreparedCommit, expectedSeq: number): Promise<PublishAnswer> {
    if (!this.link.connected) return { kind: 'unknown', why: this.#reader.away().message };
    const head = headers();
    head.set(commitHeaders.commitId, commit.commitId);
    head.set('Nats-Expected-Last-Subject-Sequence', String(expectedSeq));
    head.set(commitHeaders.version, String(commit.version));
    head.set(commitHeaders.prevHash, commit.prevHash);
    head.set(commitHeaders.hash, commit.hash);
    head.set(commitHeaders.schema, String(commit.schemaLevel));
    let reply: Msg;
    try {
      reply = await this.link.nc.request(commit.subject, commit.payload, {
        headers: head,
        timeout: this.options.ackTimeoutMs ?? natsLimits.ackTimeoutMs,
      });
    } catch (thrown) {
      if (isForbidden(thrown))
        throw refused('LOG', `the broker refuses to let this user write ${commit.subject}`, thrown);
      if (/max_?payload|maximum payload|payload.*exceed/i.test(errorText(thrown))) throw tooLarge(commit, thrown);
      if (isAway(thrown)) return { kind: 'unknown', why: errorText(thrown) };
      throw thrown;
    }
    return this.#answer(commit, reply.json<Acknowledgement>());
  }

  #answer(commit: PreparedCommit, { seq, duplicate, error }: Acknowledgement): PublishAnswer {
    if (error === undefined) return { kind: 'stored', seq: seq as number, duplicate: duplicate === true };
    const code = error.err_code ?? 0;
    const text = `${error.description ?? 'refused'} (${code})`;
    if (code === apiCodes.wrongLastSequence || code === apiCodes.wrongLastSequenceUnknown)
      return { kind: 'wrong-sequence' };
    if (fullCodes.includes(code)) {
      throw new CodedError('LOG_FULL', `${streams.events} takes no more: ${text}`, {
        advice:
          'Nothing was lost. Raise max_bytes (before nats-server 2.12: max_msgs) as operator, or give the server more disk.',
      });
    }
    if (code === apiCodes.expectationUnavailable || code === apiCodes.idInProcess || error.code === 503) {
      return { kind: 'unknown', why: text };
    }
    if (code === apiCodes.messageTooLarge) throw tooLarge(commit, new Error(text));
    throw new CodedError('LOG_REFUSED', `${commit.subject}: ${text}`, {
      advice: 'The stream is not what Lintel sets up: compare it with docs/event-log.md.',
    });
  }

  #open(): void {
    if (this.#closed) throw new CodedError('LOG_UNAVAILABLE', 'the log is closed');
    if (this.link.closed) throw this.#reader.away();
  }
}

function tooLarge(commit: PreparedCommit, cause: unknown): CodedError {
  return new CodedError('LOG_TOO_LARGE', `a commit of ${commit.payload.byteLength} bytes: ${errorText(cause)}`, {
    advice: 'Split the command into several.',
    cause,
  });
}
