import { streams } from '#libs/contracts';

/** Buckets stand on streams of their own. */
export const buckets = { readers: 'lintel-readers', snapshots: 'lintel-snapshots' } as const;

/** The apps, each with its own user. `operator` alone may change, purge or delete streams, and is no service. */
export const natsUsers = ['operator', 'gateway', 'diagnostics', 'cli', 'kv', 'lora', 'scale', 'plan', 'fleet'] as const;

export type NatsUser = (typeof natsUsers)[number];

export interface UserPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

const bucketStreams = Object.values(buckets).map((bucket) => `KV_${bucket}`);
const everyStream: readonly string[] = [
  streams.events,
  streams.requests,
  streams.kv,
  streams.anchors,
  streams.dead,
  ...bucketStreams,
];

/** What a reader of a stream asks of JetStream. Nothing here changes, purges or deletes a stream or a message. */
const reads = (stream: string): string[] => [
  `$JS.API.STREAM.INFO.${stream}`,
  `$JS.API.STREAM.MSG.GET.${stream}`,
  `$JS.API.DIRECT.GET.${stream}`,
  `$JS.API.DIRECT.GET.${stream}.>`,
  `$JS.API.CONSUMER.CREATE.${stream}`,
  `$JS.API.CONSUMER.CREATE.${stream}.>`,
  `$JS.API.CONSUMER.DURABLE.CREATE.${stream}.>`,
  `$JS.API.CONSUMER.INFO.${stream}.>`,
  `$JS.API.CONSUMER.MSG.NEXT.${stream}.>`,
  `$JS.API.CONSUMER.DELETE.${stream}.>`,
  `$JS.ACK.${stream}.>`,
];

/** Making a stream that is there already, as it is, changes nothing; with another shape the server refuses. */
const makes = everyStream.map((stream) => `$JS.API.STREAM.CREATE.${stream}`);

function service(contexts: readonly string[], more: Partial<UserPermissions> = {}): UserPermissions {
  const of = (kind: string): string[] => contexts.map((context) => `lintel.${kind}.${context}.>`);
  return {
    publish: [
      ...of('ev'),
      'lintel.tm.>',
      'lintel.dead.>',
      ...Object.values(buckets).map((bucket) => `$KV.${bucket}.>`),
      '$JS.API.INFO',
      ...makes,
      ...everyStream.flatMap(reads),
      // Answers go to the inbox of whoever asked.
      '_INBOX.>',
      ...(more.publish ?? []),
    ],
    subscribe: ['lintel.tm.>', ...of('cmd'), ...of('q'), 'lintel.cmd.redrive.*', ...(more.subscribe ?? [])],
  };
}

/** Who may say what. The broker enforces that a context's facts come from the app that owns it. */
export const userPermissions: Readonly<Record<Exclude<NatsUser, 'operator'>, UserPermissions>> = {
  gateway: service(['route', 'tenancy'], { publish: ['lintel.rq.*'] }),
  diagnostics: service(['diag'], {
    publish: [
      `lintel.anchor.>`,
      'lintel.cmd.>',
      'lintel.q.>',
      // A dead letter that was driven again is taken out.
      `$JS.API.STREAM.MSG.DELETE.${streams.dead}`,
    ],
  }),
  cli: {
    publish: ['lintel.cmd.>', 'lintel.q.>', '$JS.API.INFO', ...everyStream.flatMap(reads)],
    subscribe: ['lintel.tm.>'],
  },
  kv: service(['kv'], { publish: ['lintel.kv.>'] }),
  lora: service(['lora'], { publish: ['lintel.cmd.fleet.>', 'lintel.q.>'] }),
  scale: service(['scale'], { publish: ['lintel.cmd.fleet.>', 'lintel.q.>'] }),
  plan: service(['plan'], { publish: ['lintel.cmd.fleet.>', 'lintel.q.>'] }),
  fleet: service(['fleet'], { publish: ['lintel.cmd.route.>', 'lintel.q.>'] }),
};
