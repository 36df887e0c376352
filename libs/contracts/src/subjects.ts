import { CodedError } from '#libs/kernel';

const ID = /^[A-Za-z0-9_-]{1,64}$/;

/** True for what may stand in a subject: `[A-Za-z0-9_-]{1,64}`. */
export function isSubjectId(text: string): boolean {
  return ID.test(text);
}

function checked(kind: string, text: string): string {
  if (isSubjectId(text)) return text;
  throw new CodedError('SUBJECT_ID_INVALID', `${kind} ${JSON.stringify(text)} is not a subject id`, {
    advice: 'Use 1 to 64 letters, digits, "_" or "-".',
  });
}

/** Names of streams and builders of every subject. Nothing else spells one out. */
export const streams = {
  events: 'LINTEL_EVENTS',
  requests: 'LINTEL_REQUESTS',
  kv: 'LINTEL_KV',
  anchors: 'LINTEL_ANCHORS',
  dead: 'LINTEL_DEAD',
} as const;

export type StreamName = (typeof streams)[keyof typeof streams];

export const subjects = {
  event: (context: string, aggregate: string, id: string): string =>
    `lintel.ev.${checked('context', context)}.${checked('aggregate', aggregate)}.${checked('id', id)}`,
  /** All of a context, or of one kind of aggregate. */
  events: (context?: string, aggregate?: string): string =>
    context === undefined
      ? 'lintel.ev.>'
      : aggregate === undefined
        ? `lintel.ev.${checked('context', context)}.>`
        : `lintel.ev.${checked('context', context)}.${checked('aggregate', aggregate)}.*`,
  requests: (gatewayId: string): string => `lintel.rq.${checked('gateway', gatewayId)}`,
  kv: (replicaId: string): string => `lintel.kv.${checked('replica', replicaId)}`,
  telemetry: (source: string, kind: string): string =>
    `lintel.tm.${checked('source', source)}.${checked('kind', kind)}`,
  command: (context: string, name: string): string =>
    `lintel.cmd.${checked('context', context)}.${checked('command', name)}`,
  query: (context: string, name: string): string => `lintel.q.${checked('context', context)}.${checked('query', name)}`,
  anchor: (stream: StreamName): string => `lintel.anchor.${stream}`,
  dead: (consumer: string): string => `lintel.dead.${checked('consumer', consumer)}`,
} as const;

export interface EventSubject {
  readonly context: string;
  readonly aggregate: string;
  readonly id: string;
}

/** The parts of `lintel.ev.<context>.<aggregate>.<id>`, or undefined for any other subject. */
export function parseEventSubject(subject: string): EventSubject | undefined {
  const parts = subject.split('.');
  const [root, kind, context, aggregate, id] = parts;
  if (parts.length !== 5 || root !== 'lintel' || kind !== 'ev') return undefined;
  if (!isSubjectId(context ?? '') || !isSubjectId(aggregate ?? '') || !isSubjectId(id ?? '')) return undefined;
  return { context: context as string, aggregate: aggregate as string, id: id as string };
}
