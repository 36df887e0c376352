import type { LookupFunction } from 'node:net';
import type { UpstreamTrust } from '../../edge/upstream-tls.ts';
import type { ConnectionOwner, Target } from './connection.ts';
import { UpstreamConnection } from './connection.ts';
import type { ConnectionLimits } from './connection.ts';

export interface PoolLimits extends ConnectionLimits {
  readonly connectionsPerReplicaMax: number;
  readonly idleConnectionsPerReplicaMax: number;
  readonly upstreamKeepAliveMs: number;
}

/** "http://127.0.0.1:8000" → where to connect. */
export function targetOf(origin: string, trust?: UpstreamTrust): Target {
  const { protocol, hostname, port } = new URL(origin);
  const tls = protocol === 'https:';
  const host = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return { host, port: port === '' ? (tls ? 443 : 80) : Number(port), tls, trust };
}

/** Connections to one replica. The one used last is used first, so that those not needed grow old and go. */
export class ReplicaPool implements ConnectionOwner {
  readonly #idle: UpstreamConnection[] = [];
  readonly #discarding = new Set<UpstreamConnection>();
  #open = 0;
  #closed = false;
  readonly #target: Target;
  readonly #limits: PoolLimits;
  readonly #nowMs: () => number;

  constructor(origin: string, limits: PoolLimits, nowMs: () => number, trust?: UpstreamTrust, lookup?: LookupFunction) {
    this.#target = { ...targetOf(origin, trust), lookup };
    this.#limits = limits;
    this.#nowMs = nowMs;
  }

  /** Where its connections go. */
  get target(): Target {
    return this.#target;
  }

  get open(): number {
    return this.#open;
  }

  get idle(): number {
    return this.#idle.length;
  }

  /** An idle connection, else a new one; undefined where there are too many. */
  acquire(): UpstreamConnection | undefined {
    for (let kept = this.#idle.pop(); kept !== undefined; kept = this.#idle.pop()) {
      if (!kept.closed && !this.#tooOld(kept)) return kept;
      kept.destroy();
    }
    return this.connect();
  }

  /** A new connection, for a request whose idle one turned out to be closed already. */
  connect(): UpstreamConnection | undefined {
    if (this.#closed || this.#open >= this.#limits.connectionsPerReplicaMax) return undefined;
    this.#open++;
    return new UpstreamConnection(this.#target, this.#limits, this);
  }

  discarding(connection: UpstreamConnection): void {
    connection.idleSinceMs = this.#nowMs();
    this.#discarding.add(connection);
  }

  released(connection: UpstreamConnection): void {
    this.#discarding.delete(connection);
    if (this.#closed || this.#idle.length >= this.#limits.idleConnectionsPerReplicaMax) {
      connection.destroy();
      return;
    }
    connection.idleSinceMs = this.#nowMs();
    this.#idle.push(connection);
  }

  gone(connection: UpstreamConnection): void {
    this.#open--;
    this.#discarding.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** Closes what has been idle, or is being read to no end, for too long. */
  sweep(): void {
    for (const connection of this.#discarding) {
      if (this.#nowMs() - connection.idleSinceMs > discardMsMax) connection.destroy();
    }
    for (let old = this.#idle[0]; old !== undefined && this.#tooOld(old); old = this.#idle[0]) old.destroy();
  }

  /** Requests under way end as they do; nothing new starts. */
  close(): void {
    this.#closed = true;
    while (this.#idle.length > 0) (this.#idle[0] as UpstreamConnection).destroy();
  }

  #tooOld(connection: UpstreamConnection): boolean {
    const { upstreamKeepAliveMs } = this.#limits;
    const saidMs = connection.keepAliveS * 1000 - keepAliveMarginMs;
    const limitMs = connection.keepAliveS > 0 && saidMs < upstreamKeepAliveMs ? saidMs : upstreamKeepAliveMs;
    return this.#nowMs() - connection.idleSinceMs > limitMs;
  }
}

const discardMsMax = 1000;

/** A connection is given up this long before the engine said that it would close it. */
const keepAliveMarginMs = 1000;
