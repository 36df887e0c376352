import { subjects } from '#libs/contracts';
import { kvStreamLimits } from './limits.ts';

/** "Say all that these hold": telemetry, asked again until it is known. */
export interface WantedSnapshots {
  readonly replicaIds: readonly string[];
}

const kind = 'kv-wanted';
export const wantedPattern = `lintel.tm.*.${kind}`;
export const wantedSubject = (source: string): string => subjects.telemetry(source, kind);

export const encodeWanted = (wanted: WantedSnapshots): Uint8Array => Buffer.from(JSON.stringify(wanted));

/** Undefined for what is no such question. */
export function decodeWanted(bytes: Uint8Array): WantedSnapshots | undefined {
  try {
    const { replicaIds } = JSON.parse(Buffer.from(bytes).toString()) as { replicaIds?: unknown };
    if (!Array.isArray(replicaIds) || replicaIds.length > kvStreamLimits.wantedReplicasMax) return undefined;
    return { replicaIds: replicaIds.filter((id): id is string => typeof id === 'string') };
  } catch {
    return undefined;
  }
}
