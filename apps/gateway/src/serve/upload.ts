import type { Asker } from './asker.ts';
import type { Attempt } from './attempt.ts';
import { framed, lastChunk } from './body/chunk-frame.ts';
import type { Outgoing } from './outgoing.ts';
import type { Plane } from './plane.ts';
import type { UpstreamConnection } from './upstream/connection.ts';

/** A body on its way from the client to the replica that took the connection: the only one that can be asked from here on. */
export class Upload {
  readonly #plane: Plane;
  readonly #asker: Asker;
  readonly #connection: UpstreamConnection;
  readonly #chunked: boolean;

  constructor(plane: Plane, asker: Asker, { connection, replica }: Attempt, outgoing: Outgoing) {
    this.#plane = plane;
    this.#asker = asker;
    this.#connection = connection as UpstreamConnection;
    this.#chunked = asker.request.headers['content-length'] === undefined;
    asker.deadlineMs = Number.POSITIVE_INFINITY;
    const full = !this.write(outgoing.bodyFor(replica));
    asker.releaseBody();
    if (!full) asker.request.resume();
  }

  /** False where the client has to wait: the engine's time runs meanwhile. */
  write(chunk: Buffer): boolean {
    if (chunk.length === 0 || this.#connection.write(this.#chunked ? framed(chunk) : chunk)) return true;
    this.#asker.deadlineMs = this.#asker.nowMs() + this.#plane.limits.idleTimeoutMs;
    this.#asker.request.pause();
    return false;
  }

  writable(): void {
    this.#asker.deadlineMs = Number.POSITIVE_INFINITY;
    this.#asker.request.resume();
  }

  /** The body is whole. */
  end(): void {
    if (this.#chunked) this.#connection.write(lastChunk);
    this.#connection.sent();
  }
}
