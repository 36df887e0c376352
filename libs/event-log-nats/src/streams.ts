import type { StreamConfig, StreamInfo } from '@nats-io/jetstream';
import { DiscardPolicy, RetentionPolicy, StorageType, StoreCompression } from '@nats-io/jetstream';
import { streams } from '#libs/contracts';
import { CodedError, errorText } from '#libs/kernel';
import type { NatsLink } from './connection.ts';
import { apiCode, apiCodes } from './errors.ts';
import { buckets } from './permissions.ts';

const GiB = 1024 ** 3;
const secondNs = 1_000_000_000;
/** A commit counts as this much where the bound must be one of messages. */
const commitBytesTypical = 1024;

export interface StreamBounds {
  /** Decisions are refused, loudly, when the stream holds this many bytes. */
  readonly eventsBytesMax: number;
  /** Records: the oldest go when either is reached. */
  readonly requestsBytesMax: number;
  readonly requestsAgeMsMax: number;
  /** KV events: what is older was taken up by a snapshot of `kv-index` long ago. */
  readonly kvBytesMax: number;
  readonly kvAgeMsMax: number;
  readonly anchorsBytesMax: number;
  readonly deadBytesMax: number;
  readonly deadAgeMsMax: number;
  /** A reader's announcement lives this long unless renewed. */
  readonly readersTtlMs: number;
  readonly snapshotsBytesMax: number;
}

export const defaultBounds: StreamBounds = {
  eventsBytesMax: 8 * GiB,
  requestsBytesMax: 8 * GiB,
  requestsAgeMsMax: 72 * 3_600_000,
  kvBytesMax: GiB / 4,
  kvAgeMsMax: 10 * 60_000,
  anchorsBytesMax: GiB,
  deadBytesMax: GiB / 4,
  deadAgeMsMax: 30 * 86_400_000,
  readersTtlMs: 30_000,
  snapshotsBytesMax: 2 * GiB,
};

type Shape = Partial<StreamConfig> & { readonly name: string; readonly subjects: string[] };

const limitsOf = (name: string, subjects: string[], more: Partial<StreamConfig>): Shape => ({
  name,
  subjects,
  retention: RetentionPolicy.Limits,
  storage: StorageType.File,
  allow_direct: true,
  ...more,
});

/**
 * The bound of a stream that must refuse and never drop. nats-server 2.9 counts a message's size without its overhead when
 * it decides whether there is room, and then drops the oldest commits to make up for it: there messages are counted.
 */
function refusing(link: NatsLink, bytesMax: number): Partial<StreamConfig> {
  return link.atLeast(2, 12)
    ? { max_bytes: bytesMax, max_msgs: -1 }
    : { max_bytes: -1, max_msgs: Math.ceil(bytesMax / commitBytesTypical) };
}

/** Every stream, as code. */
function shapes(link: NatsLink, replicas: number, bounds: StreamBounds): Shape[] {
  const compressed = link.atLeast(2, 10) ? { compression: StoreCompression.S2 } : {};
  const forEver = {
    discard: DiscardPolicy.New,
    max_age: 0,
    deny_delete: true,
    deny_purge: true,
    duplicate_window: 120 * secondNs,
    num_replicas: replicas,
    ...compressed,
  };
  const bucket = (name: string, more: Partial<StreamConfig>): Shape =>
    limitsOf(`KV_${name}`, [`$KV.${name}.>`], {
      max_msgs_per_subject: 1,
      discard: DiscardPolicy.New,
      allow_rollup_hdrs: true,
      deny_delete: true,
      num_replicas: replicas,
      ...more,
    });
  return [
    limitsOf(streams.events, ['lintel.ev.>'], { ...forEver, ...refusing(link, bounds.eventsBytesMax) }),
    limitsOf(streams.requests, ['lintel.rq.*'], {
      discard: DiscardPolicy.Old,
      max_bytes: bounds.requestsBytesMax,
      max_age: bounds.requestsAgeMsMax * 1e6,
      // Long enough for a gateway that resends its spool after the bus was away: a frame is stored once.
      duplicate_window: Math.min(3_600_000, bounds.requestsAgeMsMax) * 1e6,
      num_replicas: replicas,
    }),
    limitsOf(streams.kv, ['lintel.kv.*'], {
      // Engines say all of it again: nothing here is worth a disk, and nobody may have to wait for one.
      storage: StorageType.Memory,
      discard: DiscardPolicy.Old,
      max_bytes: bounds.kvBytesMax,
      max_age: bounds.kvAgeMsMax * 1e6,
      duplicate_window: 30 * secondNs,
      num_replicas: replicas,
    }),
    limitsOf(streams.anchors, ['lintel.anchor.>'], { ...forEver, ...refusing(link, bounds.anchorsBytesMax) }),
    limitsOf(streams.dead, ['lintel.dead.*'], {
      discard: DiscardPolicy.Old,
      max_bytes: bounds.deadBytesMax,
      max_age: bounds.deadAgeMsMax * 1e6,
      duplicate_window: 120 * secondNs,
      num_replicas: replicas,
    }),
    bucket(buckets.readers, {
      max_age: bounds.readersTtlMs * 1e6,
      duplicate_window: Math.min(120 * secondNs, bounds.readersTtlMs * 1e6),
    }),
    bucket(buckets.snapshots, { max_bytes: bounds.snapshotsBytesMax, max_age: 0, duplicate_window: 120 * secondNs }),
  ];
}

/** Which server first knows an option that we ask for. An older one drops it without a word. */
const sinceVersion: Readonly<Record<string, string>> = {
  deny_delete: '2.6.2',
  deny_purge: '2.6.2',
  allow_direct: '2.9.0',
  compression: '2.10.0',
};

/** An operator may have other bounds; a difference there is told, and never refused. */
const bounding: ReadonlySet<string> = new Set([
  'max_bytes',
  'max_msgs',
  'max_age',
  'num_replicas',
  'compression',
  'duplicate_window',
  'allow_direct',
]);

export interface StreamDifference {
  readonly stream: string;
  readonly option: string;
  readonly wanted: unknown;
  readonly found: unknown;
}

export interface EnsuredStreams {
  readonly serverVersion: string;
  readonly created: readonly string[];
  /** Bounds that stand otherwise than asked for. */
  readonly differences: readonly StreamDifference[];
}

export interface EnsureStreamsOptions {
  /** Copies of each stream in a cluster; 1 for one server. */
  readonly replicas?: number;
  readonly bounds?: Partial<StreamBounds>;
  /** Moves bounds of streams that are there to those asked for: needs the operator. Default false. */
  readonly update?: boolean;
  readonly log?: (line: string) => void;
}

/**
 * Makes the streams and buckets that are missing, reads each back and compares: an older server silently drops options
 * that it does not know, and someone may have made a stream by hand.
 * @throws STREAM_DIFFERS an option that the log's guarantees rest on is not in force · STREAMS_UNAVAILABLE
 */
export async function ensureStreams(link: NatsLink, options: EnsureStreamsOptions = {}): Promise<EnsuredStreams> {
  const { replicas = 1, log = () => {} } = options;
  const created: string[] = [];
  const differences: StreamDifference[] = [];
  for (const shape of shapes(link, replicas, { ...defaultBounds, ...options.bounds })) {
    try {
      let found = await existing(link, shape.name);
      if (found === undefined) {
        found = await make(link, shape);
        created.push(shape.name);
      }
      let differing = compare(shape, found.config);
      if (options.update === true && differing.length > 0 && differing.every(({ option }) => bounding.has(option))) {
        await link.jsm.streams.update(shape.name, changes(shape, differing));
        log(`nats: ${shape.name}: ${differing.map(({ option, wanted }) => `${option} is now ${wanted}`).join(', ')}`);
        differing = compare(shape, (await link.jsm.streams.info(shape.name)).config);
      }
      for (const difference of differing) {
        if (bounding.has(difference.option)) differences.push(difference);
        else throw differs(link, difference);
      }
    } catch (cause) {
      if (cause instanceof CodedError) throw cause;
      throw new CodedError('STREAMS_UNAVAILABLE', `cannot set up ${shape.name}: ${errorText(cause)}`, {
        advice: 'Is JetStream on, has it enough storage, and may this user make streams?',
        cause,
      });
    }
  }
  for (const { stream, option, wanted, found } of differences) {
    log(`nats: ${stream}: ${option} is ${JSON.stringify(found)}, asked for ${JSON.stringify(wanted)}`);
  }
  return { serverVersion: link.serverVersion, created, differences };
}

async function existing(link: NatsLink, name: string): Promise<StreamInfo | undefined> {
  try {
    return await link.jsm.streams.info(name);
  } catch (thrown) {
    if (apiCode(thrown) === apiCodes.streamNotFound) return undefined;
    throw thrown;
  }
}

/** Two apps may do it at once: then the other's is there. What the server answers to the making is not believed. */
async function make(link: NatsLink, shape: Shape): Promise<StreamInfo> {
  try {
    await link.jsm.streams.add(shape);
  } catch (thrown) {
    if (apiCode(thrown) !== apiCodes.streamNameInUse) throw thrown;
  }
  return await link.jsm.streams.info(shape.name);
}

function compare(shape: Shape, found: StreamConfig): StreamDifference[] {
  const has = found as unknown as Record<string, unknown>;
  return Object.entries(shape).flatMap(([option, wanted]) => {
    const there = has[option] ?? defaultOf(wanted);
    const same = JSON.stringify(there) === JSON.stringify(wanted);
    return same ? [] : [{ stream: shape.name, option, wanted, found: has[option] }];
  });
}

/** Servers leave out what is off. */
function defaultOf(wanted: unknown): unknown {
  return typeof wanted === 'boolean' ? false : typeof wanted === 'number' ? 0 : undefined;
}

function changes(shape: Shape, differing: readonly StreamDifference[]): Partial<StreamConfig> {
  const all = shape as unknown as Record<string, unknown>;
  return Object.fromEntries(differing.map(({ option }) => [option, all[option]]));
}

function differs(link: NatsLink, { stream, option, wanted, found }: StreamDifference): CodedError {
  const since = sinceVersion[option];
  return new CodedError(
    'STREAM_DIFFERS',
    `${stream} has ${option} ${JSON.stringify(found)}, the log needs ${JSON.stringify(wanted)}`,
    {
      advice:
        since !== undefined && found === undefined
          ? `nats-server ${link.serverVersion} dropped the option: use ${since} or newer.`
          : 'Someone made or changed the stream by hand. Correct it as operator, or move its data to a new home.',
    },
  );
}
