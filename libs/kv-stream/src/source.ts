import { route } from '#libs/contracts';
import { CodedError } from '#libs/kernel';

/** Labels of a replica that tell of its KV events; `kvEvents` in lintel.yaml becomes the first three. */
export const kvLabels = {
  endpoint: 'lintel.kv-events',
  replay: 'lintel.kv-events-replay',
  blockTokens: 'lintel.kv-block-tokens',
  aibrix: 'model.aibrix.ai/kv-events-enabled',
} as const;

/** vLLM's own. */
const ports = { events: 5557, replay: 5558 } as const;

export interface KvSource {
  /** `tcp://HOST:PORT` of a socket, or an `http` address that is asked again and again. */
  readonly endpoint: string;
  /** Undefined where the engine sends nothing again: a gap then cannot be filled. */
  readonly replay: string | undefined;
  /** Tokens in a block, of an engine that does not say so itself. */
  readonly blockTokens: number;
}

/** Of TensorRT-LLM. */
const blockTokensDefault = 32;

/** Asked over HTTP, and not listened to. */
export const isPolled = ({ endpoint }: KvSource): boolean => endpoint.startsWith('http');

/**
 * Where the replica's KV events are to be had; undefined where nothing says that it has any. A data-parallel rank has its own
 * sockets, so many ports behind the first rank's.
 * @throws KV_SOURCE_INVALID
 */
export function kvSourceOf(registration: route.ReplicaRegistered): KvSource | undefined {
  const { labels, url, engine, dataParallelSize, dataParallelRank } = registration;
  const given = labels[kvLabels.endpoint];
  const named = given !== undefined && given !== 'on' ? given : undefined;
  if (given === undefined && labels[kvLabels.aibrix] !== 'true') return undefined;
  if (given === 'off') return undefined;
  const { hostname, origin } = new URL(url);
  const polled =
    named?.startsWith('http') === true || (named === undefined && engine === route.EngineKind.TENSORRT_LLM);
  const blockTokens = blockTokensOf(labels[kvLabels.blockTokens]);
  if (polled) return { endpoint: named ?? `${origin}/kv_cache_events`, replay: undefined, blockTokens };
  const rank = dataParallelSize > 0 ? dataParallelRank : 0;
  const replay = labels[kvLabels.replay];
  return {
    blockTokens,
    endpoint: moved(named ?? `tcp://${hostname}:${ports.events}`, rank),
    // Who names the one socket only has only that.
    replay:
      replay === 'off' || (replay === undefined && named !== undefined)
        ? undefined
        : moved(replay ?? `tcp://${hostname}:${ports.replay}`, rank),
  };
}

function blockTokensOf(given: string | undefined): number {
  if (given === undefined) return blockTokensDefault;
  if (/^[1-9]\d{0,4}$/.test(given)) return Number(given);
  throw new CodedError('KV_SOURCE_INVALID', `${JSON.stringify(given)} is no number of tokens in a block`, {
    advice: "Write kvEvents: { blockTokens: N }, N as the engine's tokens_per_block.",
  });
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
