import type { route } from '#libs/contracts';
import { CodedError } from '#libs/kernel';

/** Labels of a replica that tell of its KV events; `kvEvents` in lintel.yaml becomes the first two. */
export const kvLabels = {
  endpoint: 'lintel.kv-events',
  replay: 'lintel.kv-events-replay',
  aibrix: 'model.aibrix.ai/kv-events-enabled',
} as const;

/** vLLM's own. */
const ports = { events: 5557, replay: 5558 } as const;

export interface KvSource {
  /** `tcp://HOST:PORT` */
  readonly endpoint: string;
  /** Undefined where the engine sends nothing again: a gap then cannot be filled. */
  readonly replay: string | undefined;
}

/**
 * Where the replica's KV events are to be had; undefined where nothing says that it has any. A data-parallel rank has its own
 * sockets, so many ports behind the first rank's.
 * @throws KV_SOURCE_INVALID
 */
export function kvSourceOf(registration: route.ReplicaRegistered): KvSource | undefined {
  const { labels, url, dataParallelSize, dataParallelRank } = registration;
  const given = labels[kvLabels.endpoint];
  const named = given !== undefined && given !== 'on' ? given : undefined;
  if (given === undefined && labels[kvLabels.aibrix] !== 'true') return undefined;
  if (given === 'off') return undefined;
  const { hostname } = new URL(url);
  const rank = dataParallelSize > 0 ? dataParallelRank : 0;
  const replay = labels[kvLabels.replay];
  return {
    endpoint: moved(named ?? `tcp://${hostname}:${ports.events}`, rank),
    // Who names the one socket only has only that.
    replay:
      replay === 'off' || (replay === undefined && named !== undefined)
        ? undefined
        : moved(replay ?? `tcp://${hostname}:${ports.replay}`, rank),
  };
}

function moved(endpoint: string, by: number): string {
  const parts = /^tcp:\/\/(\[[^\]]+\]|[^:/]+):(\d+)$/.exec(endpoint);
  const port = Number(parts?.[2]) + by;
  if (parts === null || !(port > 0 && port < 65_536)) {
    throw new CodedError('KV_SOURCE_INVALID', `${JSON.stringify(endpoint)} is no socket of KV events`, {
      advice: 'Write kvEvents: { endpoint: tcp://HOST:PORT, replay: tcp://HOST:PORT }.',
    });
  }
  return `tcp://${parts[1]}:${port}`;
}
