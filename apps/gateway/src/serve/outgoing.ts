import type { FleetReplica } from '../fleet/fleet.ts';
import type { Asker } from './asker.ts';
import type { Splice } from './body/usage-option.ts';
import { spliced } from './body/usage-option.ts';
import { tellsUsage } from './engine-traits.ts';
import { forwardedHead, headFor } from './headers.ts';
import type { Edit } from './pd/body-fields.ts';
import type { Plane } from './plane.ts';
import type { Caller, UpstreamConnection } from './upstream/connection.ts';

export interface OutgoingOptions {
  /** The body comes as the client sends it: nothing of it is kept once it is under way. */
  readonly streamed: boolean;
  /** What asks for the usage that the client did not ask for. */
  readonly usage: Splice | undefined;
  /** We have to read what comes. */
  readonly reads: boolean;
}

/** A request as replicas are to get it: head and body are made once, and again where an engine gets others. */
export class Outgoing {
  #commonHead = '';
  #usageHead = '';
  #usageBody = noBody;
  readonly #plane: Plane;
  readonly #asker: Asker;
  readonly #options: OutgoingOptions;

  constructor(plane: Plane, asker: Asker, options: OutgoingOptions) {
    this.#plane = plane;
    this.#asker = asker;
    this.#options = options;
  }

  /** The client is not to see the usage that this replica is asked for. */
  hidesUsage(replica: FleetReplica): boolean {
    return this.#options.usage !== undefined && tellsUsage(replica);
  }

  /** What a body that is changed anyhow has to say for that. */
  usageEdits(replica: FleetReplica): readonly Edit[] {
    return this.hidesUsage(replica) ? [this.#options.usage as Splice] : [];
  }

  /** `other`: a body instead of the client's own. */
  write(replica: FleetReplica, connection: UpstreamConnection, caller: Caller, other: Buffer | undefined): void {
    const hides = other === undefined && this.hidesUsage(replica);
    const common = other !== undefined ? this.#head(other.length, false) : hides ? this.#headForUsage() : this.#plain();
    const { target, request, expiresMs } = this.#asker;
    const { method = '', headers } = request;
    const head = headFor(
      {
        method,
        path: target.path + target.query,
        address: replica.address,
        credential: this.#plane.open && headers.authorization !== undefined ? undefined : replica.credential,
        timeoutMs: expiresMs === never ? undefined : Math.max(1, Math.round(expiresMs - this.#asker.nowMs())),
      },
      common,
    );
    if (this.#options.streamed) connection.send(head, noBody, caller, true);
    else connection.send(head, other ?? (hides ? this.#usageBody : this.#asker.body), caller);
  }

  #plain(): string {
    return (this.#commonHead ||= this.#head(this.#asker.body.length, !this.#options.reads));
  }

  #headForUsage(): string {
    if (this.#usageHead === '') {
      this.#usageBody = spliced(this.#asker.body, this.#options.usage as Splice);
      this.#usageHead = this.#head(this.#usageBody.length, false);
    }
    return this.#usageHead;
  }

  #head(bodyBytes: number, passEncodings: boolean): string {
    const { request, requestId, span, account } = this.#asker;
    const { rawHeaders, headers } = request;
    return forwardedHead({
      rawHeaders,
      connection: headers.connection,
      bodyBytes: this.#options.streamed ? lengthOf(headers['content-length']) : bodyBytes,
      passAuthorization: this.#plane.open,
      passEncodings,
      requestId,
      traceparent: span === undefined ? undefined : account.traceparent,
    });
  }
}

const never = Number.POSITIVE_INFINITY;
const noBody: Buffer = Buffer.alloc(0);
const lengthOf = (header: string | undefined): number | undefined =>
  header === undefined ? undefined : Number(header);
