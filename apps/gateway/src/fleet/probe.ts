import type { Timers } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { UpstreamTrust } from '../edge/upstream-tls.ts';
import type { Caller, ConnectionOwner, Failure } from '../serve/upstream/connection.ts';
import { UpstreamConnection } from '../serve/upstream/connection.ts';
import { targetOf } from '../serve/upstream/pool.ts';
import { fleetLimits } from './limits.ts';

export interface ProbeResult {
  readonly status: number;
  readonly text: string;
}

/** Asks one URL of a replica. @throws PROBE_FAILED, with the reason in words; `cause` has the code of a refused connection */
export type Probe = (
  origin: string,
  path: string,
  credential: string | undefined,
  bytesMax: number,
) => Promise<ProbeResult>;

const { pollTimeoutMs, pollHeaderBytesMax, pollHeadersMax, pollIdleMsMax } = fleetLimits;
const connectionLimits = {
  upstreamHeadBytesMax: pollHeaderBytesMax,
  upstreamHeadersMax: pollHeadersMax,
  discardBytesMax: 0,
};
const noBody: Buffer = Buffer.alloc(0);

/** One request under way. */
class Question implements Caller {
  readonly answer = Promise.withResolvers<ProbeResult>();
  /** The other side had closed the kept connection before it saw the request. */
  stale = false;
  #status = 0;
  #bytes = 0;
  readonly #chunks: Buffer[] = [];

  constructor(
    readonly connection: UpstreamConnection,
    private readonly bytesMax: number,
  ) {}

  onConnected(): void {}

  onHead(status: number): void {
    this.#status = status;
  }

  onBody(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.bytesMax) throw new Error(`more than ${this.bytesMax} bytes`);
    this.#chunks.push(Buffer.from(chunk));
  }

  onEnd(): void {
    this.answer.resolve({ status: this.#status, text: Buffer.concat(this.#chunks).toString('utf8') });
  }

  onFailure(failure: Failure, message: string): void {
    this.stale = failure === 'reset' && this.connection.stale;
    const code = /\bE[A-Z]{4,}\b/.exec(message)?.[0];
    this.answer.reject(Object.assign(new Error(message), code === undefined ? {} : { code }));
  }

  onWritable(): void {}

  onFault(thrown: unknown): void {
    this.answer.reject(thrown);
  }
}

interface Kept {
  readonly connection: UpstreamConnection;
  /** Not used since the last sweep. */
  idle: boolean;
}

/** Kept connections by origin: one for each replica, apart from those of the data plane. */
class KeptConnections implements ConnectionOwner {
  readonly #origins = new Map<UpstreamConnection, string>();
  readonly #kept = new Map<string, Kept>();
  #closed = false;

  constructor(private readonly trustOf: (origin: string) => UpstreamTrust | undefined) {}

  take(origin: string): UpstreamConnection {
    const kept = this.#kept.get(origin);
    if (kept === undefined) return this.open(origin);
    this.#kept.delete(origin);
    return kept.connection;
  }

  /** Whom to trust is asked for each connection: files of certificates change. */
  open(origin: string): UpstreamConnection {
    const connection = new UpstreamConnection(targetOf(origin, this.trustOf(origin)), connectionLimits, this);
    this.#origins.set(connection, origin);
    return connection;
  }

  released(connection: UpstreamConnection): void {
    const origin = this.#origins.get(connection) as string;
    if (this.#closed || this.#kept.has(origin)) connection.destroy();
    else this.#kept.set(origin, { connection, idle: false });
  }

  discarding(connection: UpstreamConnection): void {
    connection.destroy();
  }

  gone(connection: UpstreamConnection): void {
    const origin = this.#origins.get(connection);
    this.#origins.delete(connection);
    if (origin !== undefined && this.#kept.get(origin)?.connection === connection) this.#kept.delete(origin);
  }

  /** Closes what was not used since the last time: its replica is gone, or asked by another name. */
  sweep(): void {
    for (const kept of this.#kept.values()) {
      if (kept.idle) kept.connection.destroy();
      kept.idle = true;
    }
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#origins.keys()) connection.destroy();
  }
}

/** GET with every bound: head, body size, and one deadline over all. Redirects are not followed: what they point to is not the replica. */
export function createProbe(
  timers: Timers,
  trustOf: (origin: string) => UpstreamTrust | undefined = () => undefined,
): { probe: Probe; close(): Promise<void> } {
  const connections = new KeptConnections(trustOf);
  const sweeper = timers.every(pollIdleMsMax, () => connections.sweep());
  const probe: Probe = async (origin, path, credential, bytesMax) => {
    const { host } = new URL(origin);
    const authorization = credential === undefined ? '' : `authorization: Bearer ${credential}\r\n`;
    const head = `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nuser-agent: lintel-gateway\r\n${authorization}\r\n`;
    let question: Question | undefined;
    const ask = (connection: UpstreamConnection): Promise<ProbeResult> => {
      question = new Question(connection, bytesMax);
      connection.send(head, noBody, question);
      return question.answer.promise;
    };
    const deadline = timers.after(pollTimeoutMs, () => {
      question?.connection.destroy();
      question?.answer.reject(new Error(`no whole answer in ${pollTimeoutMs} ms`));
    });
    try {
      // A kept connection may have been closed by the other side in this very moment: one more on a new one.
      return await ask(connections.take(origin)).catch((thrown: unknown) => {
        if (question?.stale !== true) throw thrown;
        return ask(connections.open(origin));
      });
    } catch (cause) {
      const why = errorText(cause) || errorCode(cause);
      throw new CodedError('PROBE_FAILED', `GET ${path}: ${why}`.slice(0, fleetLimits.errorLengthMax), { cause });
    } finally {
      deadline.cancel();
    }
  };
  const close = async (): Promise<void> => {
    sweeper.cancel();
    connections.close();
  };
  return { probe, close };
}

/** True where nothing listens: no further poll is needed to know it. */
export function isRefused(thrown: unknown): boolean {
  const cause = thrown instanceof CodedError ? thrown.cause : thrown;
  return ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND'].includes(errorCode(cause));
}
