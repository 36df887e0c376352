import type { FleetReplica } from '../fleet/fleet.ts';
import type { MessagesOwner } from '../messages/index.ts';
import { sendMessages } from '../messages/index.ts';
import type { Asker } from './asker.ts';
import type { Splice } from './body/usage-option.ts';
import { spliced } from './body/usage-option.ts';
import { tellsUsage } from './engine-traits.ts';
import { externalHead, pathAt } from './targets/external.ts';
import { nameAt, nameSplice } from './targets/naming.ts';
import { forwardedHead, headFor } from './headers.ts';
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
  /** Where what goes out differs from what came: the name of the model, the usage of a stream asked for. Of the last such one. */
  #changedFor = '';
  #changed: { readonly head: string; readonly body: Buffer } | undefined;
  readonly #plane: Plane;
  readonly #asker: Asker;
  readonly #options: OutgoingOptions;

  constructor(plane: Plane, asker: Asker, options: OutgoingOptions) {
    this.#plane = plane;
    this.#asker = asker;
    this.#options = options;
  }

  /** Of the endpoint. */
  get path(): string {
    return this.#asker.target.endpoint.path;
  }

  /** The client is not to see the usage that this replica is asked for. */
  hidesUsage(replica: FleetReplica): boolean {
    return this.#options.usage !== undefined && tellsUsage(replica);
  }

  /** What a body that is changed anyhow has to say for that. */
  usageEdits(replica: FleetReplica): readonly Splice[] {
    const name = this.nameEdits(replica);
    return this.hidesUsage(replica) ? [this.#options.usage as Splice, ...name] : name;
  }

  /** What it has to say to name the model as this replica knows it. */
  nameEdits(replica: FleetReplica): readonly Splice[] {
    const { lead } = this.#asker;
    const name = lead === undefined ? '' : nameAt(replica, lead.naming);
    const splice = lead === undefined || name === '' ? undefined : nameSplice(lead.naming, name);
    return splice === undefined ? noEdits : [splice];
  }

  /** `other`: a body instead of the client's own. */
  write(replica: FleetReplica, connection: UpstreamConnection, owner: MessagesOwner, other: Buffer | undefined): void {
    const { endpoint, path, query } = this.#asker.target;
    if (endpoint.dialect !== 'anthropic') {
      this.#write(replica, connection, owner, other, path, query);
      return;
    }
    const caller = sendMessages({
      plane: this.#plane,
      asker: this.#asker,
      replica,
      connection,
      owner,
      bodyOf: () => this.bodyFor(replica),
      send: (to, hears, as, body) => this.#write(replica, to, hears, body, as, ''),
    });
    if (caller !== undefined) this.#write(replica, connection, caller, other, path, query);
  }

  #write(
    replica: FleetReplica,
    connection: UpstreamConnection,
    caller: Caller,
    other: Buffer | undefined,
    path: string,
    query: string,
  ): void {
    const { provider } = replica;
    const changed = other === undefined ? this.#changesFor(replica) : undefined;
    const body = other ?? changed?.body ?? this.#asker.body;
    const common =
      provider !== undefined
        ? this.#externalHead(body, other === undefined && !this.hidesUsage(replica))
        : other !== undefined
          ? this.#head(other.length, false)
          : (changed?.head ?? this.#plain());
    const { request, expiresMs } = this.#asker;
    const { method = '', headers } = request;
    const head = headFor(
      {
        method,
        path: pathAt(replica, path) + query,
        address: provider?.host ?? replica.address,
        credential:
          provider === undefined && this.#plane.open && headers.authorization !== undefined
            ? undefined
            : replica.credential,
        rank: replica.rank,
        timeoutMs:
          provider !== undefined || expiresMs === never
            ? undefined
            : Math.max(1, Math.round(expiresMs - this.#asker.nowMs())),
      },
      common,
    );
    if (this.#options.streamed) connection.send(head, noBody, caller, true);
    else connection.send(head, body, caller);
  }

  #externalHead(body: Buffer, passEncodings: boolean): string {
    const { request, requestId, body: came } = this.#asker;
    const { rawHeaders, headers } = request;
    const length = this.#options.streamed
      ? lengthOf(headers['content-length'], body.length - came.length)
      : body.length;
    return externalHead(rawHeaders, length, requestId, passEncodings && !this.#options.reads);
  }

  #plain(): string {
    return (this.#commonHead ||= this.#head(this.#asker.body.length, !this.#options.reads));
  }

  /** The client's body as this replica is to get it, but for the usage asked for. */
  bodyFor(replica: FleetReplica): Buffer {
    return spliced(this.#asker.body, ...this.nameEdits(replica));
  }

  #changesFor(replica: FleetReplica): { readonly head: string; readonly body: Buffer } | undefined {
    const { body, lead } = this.#asker;
    const name = lead === undefined ? '' : nameAt(replica, lead.naming);
    const usage = this.hidesUsage(replica) ? this.#options.usage : undefined;
    if (name === '' && usage === undefined) return undefined;
    const key = usage === undefined ? name : `${name}\n`;
    if (this.#changed !== undefined && this.#changedFor === key) return this.#changed;
    const made = spliced(body, ...this.usageEdits(replica));
    this.#changedFor = key;
    const passEncodings = usage === undefined && !this.#options.reads;
    this.#changed = { head: this.#head(made.length, passEncodings, made.length - body.length), body: made };
    return this.#changed;
  }

  /** `bytesMore`: that a body which comes as it is sent grows by. */
  #head(bodyBytes: number, passEncodings: boolean, bytesMore = 0): string {
    const { request, requestId, span, account } = this.#asker;
    const { rawHeaders, headers } = request;
    return forwardedHead({
      rawHeaders,
      connection: headers.connection,
      bodyBytes: this.#options.streamed ? lengthOf(headers['content-length'], bytesMore) : bodyBytes,
      passAuthorization: this.#plane.open,
      passEncodings,
      requestId,
      traceparent: span === undefined ? undefined : account.traceparent,
    });
  }
}

const never = Number.POSITIVE_INFINITY;
const noEdits: readonly Splice[] = [];
const noBody: Buffer = Buffer.alloc(0);
const lengthOf = (header: string | undefined, bytesMore: number): number | undefined =>
  header === undefined ? undefined : Number(header) + bytesMore;
