import type {
  ApplyAnswer,
  CalibrationAnswer,
  KeyAnswer,
  KeyDetail,
  ProjectItem,
  ReceiptAnswer,
  TenantDetail,
  UserItem,
} from '#libs/domain/diag';
import { z } from 'zod';

/** Shapes of answers, as far as a client may rest on them: further names may come. */
const durable = { durability: z.enum(['memory', 'disk']) };
const count = z.number().int().nonnegative();
const texts = z.array(z.string()).readonly();
const maybe = <S extends z.ZodType>(schema: S): z.ZodNullable<S> => schema.nullable();

export const problem = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  code: z.string(),
  advice: z.string().optional(),
});

const receiptShape = { ...durable, seq: count, version: count, commitId: z.string(), changed: z.boolean() };
export const receiptAnswer = z.looseObject(receiptShape) satisfies z.ZodType<ReceiptAnswer>;

export const keyAnswer = z.looseObject({
  ...receiptShape,
  tenantId: z.string(),
  keyId: z.string(),
  key: z.string().describe('Shown this once; only its sha256 is stored.'),
}) satisfies z.ZodType<KeyAnswer>;

export const adminKeyAnswer = z.looseObject({ ...receiptShape, keyId: z.string(), key: z.string() });

export const listOf = <S extends z.ZodType>(item: S) =>
  z.looseObject({ ...durable, atSeq: count, items: z.array(item).readonly(), note: z.string().optional() });

const keyShape = {
  keyId: z.string(),
  displayName: z.string(),
  models: texts,
  expiresAtMs: maybe(z.number()),
  revoked: z.boolean(),
  revokeReason: maybe(z.string()),
};
export const keyDetail = z.looseObject({
  ...keyShape,
  tenantId: z.string(),
  projectId: z.string(),
  userId: z.string(),
  endpoints: texts,
  priority: maybe(z.number().int()),
  source: z.string(),
  overlaps: count.describe('Former keys that still work.'),
}) satisfies z.ZodType<KeyDetail>;

export const projectItem = z.looseObject({
  tenantId: z.string(),
  projectId: z.string(),
  displayName: z.string(),
  source: z.string(),
}) satisfies z.ZodType<ProjectItem>;

export const userItem = z.looseObject({
  tenantId: z.string(),
  userId: z.string(),
  projectId: z.string(),
  displayName: z.string(),
  source: z.string(),
}) satisfies z.ZodType<UserItem>;

export const tenantDetail = z.looseObject({
  tenantId: z.string(),
  displayName: z.string(),
  source: z.string(),
  projects: z.array(projectItem).readonly(),
  users: z.array(userItem).readonly(),
  keys: z.array(keyDetail).readonly(),
}) satisfies z.ZodType<TenantDetail>;

export const one = <S extends z.ZodType>(item: S) => z.looseObject({ ...durable, atSeq: count, item });

export const adminKeyItem = z.looseObject({
  keyId: z.string(),
  displayName: z.string(),
  expiresAtMs: maybe(z.number()),
  revoked: z.boolean(),
});

export const tenantItem = z.looseObject({
  tenantId: z.string(),
  displayName: z.string(),
  source: z.string(),
  seq: count,
  version: count,
  commitId: z.string(),
  keys: z.array(z.looseObject({ ...keyShape, seq: count })),
  limits: z.array(z.looseObject({ limitId: z.string(), metric: z.string(), amount: z.number() })),
});

export const replicaItem = z.looseObject({
  replicaId: z.string(),
  url: z.string(),
  engine: z.string(),
  models: texts,
  role: z.string(),
  labels: z.record(z.string(), z.string()),
  draining: z.boolean(),
  ejected: z.boolean(),
  seq: count,
  live: maybe(z.looseObject({ healthy: z.boolean(), circuit: z.string() })),
});

export const policyItem = z.looseObject({
  policyId: z.string(),
  version: count,
  models: texts,
  defaultProfile: z.string(),
  profiles: z.array(z.looseObject({ name: z.string(), strategy: z.string() })),
  seq: count,
});

export const requestItem = z.looseObject({
  requestId: z.string(),
  receivedAtMs: z.number(),
  tenantId: z.string(),
  keyId: z.string(),
  endpoint: z.string(),
  model: z.string(),
  outcome: z.string(),
  httpStatus: count,
  errorCode: z.string(),
  cost: z.enum(['priced', 'unpriced', 'nothing']),
  costNano: maybe(count),
  currency: z.string(),
});

export const projectionState = z.looseObject({
  id: z.string(),
  state: z.string(),
  seq: count,
  headSeq: count,
  stale: z.boolean(),
});

const letter = {
  id: count,
  consumer: z.string(),
  stream: z.string(),
  subject: z.string(),
  seq: count,
  errorCode: z.string(),
  errorMessage: z.string(),
};
export const letterItem = z.looseObject(letter);
export const letterAnswer = z.looseObject({ ...durable, ...letter });
export const redriveAnswer = z.looseObject({ ...durable, id: count, consumer: z.string() });

export const applyAnswer = z.looseObject({
  ...durable,
  contentHash: z.string(),
  dryRun: z.boolean(),
  unchanged: z.number().int(),
  leftAlone: z.array(z.string()).readonly(),
  changes: z.array(z.looseObject({ what: z.string(), seq: count, commitId: z.string() })).readonly(),
  correlationId: z.string(),
}) satisfies z.ZodType<ApplyAnswer>;

const commit = z.looseObject({
  seq: count,
  subject: z.string(),
  version: count,
  commitId: z.string(),
  actor: z.string(),
  events: z.array(z.looseObject({ type: z.string() })),
});
export const whyAnswer = z.looseObject({
  ...durable,
  source: z.enum(['postgres', 'frames', 'log']),
  note: z.string(),
  request: z.looseObject({ requestId: z.string(), outcome: z.string() }).optional(),
  summary: z.string().optional(),
  commits: z.array(commit),
  commit: commit.optional(),
});
export const verifyAnswer = z.looseObject({
  ...durable,
  ok: z.boolean(),
  commits: count,
  lastSeq: count,
  anchors: count,
  problems: z.array(z.looseObject({ seq: z.number(), rule: z.string(), text: z.string() })),
});
export const stateAnswer = z.looseObject({
  ...durable,
  at: z.looseObject({ seq: count, storedAtMs: maybe(z.number()) }),
  state: z.record(z.string(), z.array(z.looseObject({ id: z.string(), seq: count }))),
});
export const logAnswer = z.looseObject({ ...durable, lastSeq: count, commits: z.array(commit) });
/** A stream ends with `kind: "failed"` where it could not be finished. */
const failed = z.looseObject({ kind: z.literal('failed'), code: z.string(), text: z.string(), advice: z.string() });
export const lineOf = (...kinds: string[]) => z.union([z.looseObject({ kind: z.enum(kinds) }), failed]);
export const commitLine = z.union([commit, failed]);
export const archiveLine = z.looseObject({});
export const notaryAnswer = z.looseObject({
  ...durable,
  sealedSeq: count,
  headSeq: count,
  anchors: count,
  publicKey: z.string(),
  halted: z.boolean(),
  haltedReason: z.string(),
});
export const names = z.array(z.string());

export const calibrationAnswer = z.looseObject({
  ...durable,
  source: z.enum(['postgres', 'frames']),
  records: count,
  sinceMs: z.number(),
  untilMs: maybe(z.number()),
  items: z
    .array(
      z.looseObject({
        model: z.string(),
        kind: z.enum(['ttft', 'finish']),
        answers: count,
        deciles: z
          .array(
            z.looseObject({
              decile: count,
              answers: count,
              share: z.number(),
              error: z.number().describe('share − 0.1'),
              predictedMs: maybe(z.number()),
              measuredMs: maybe(z.number()),
            }),
          )
          .readonly(),
        errorMax: z.number(),
        within: z.number().describe('Between the 10 % and the 90 % that were foretold: 0.8 is right.'),
        offP50: maybe(z.number()),
        offP90: maybe(z.number()),
      }),
    )
    .readonly(),
  note: z.string(),
}) satisfies z.ZodType<CalibrationAnswer>;

export const usageAnswer = z.looseObject({
  ...durable,
  atSeq: count,
  by: texts,
  sinceMs: z.number(),
  untilMs: z.number(),
  items: z
    .array(
      z.looseObject({
        group: z.record(z.string(), z.string()),
        requests: count,
        served: count,
        promptTokens: count,
        completionTokens: count,
        costs: z.array(z.looseObject({ currency: z.string(), nano: z.string() })).readonly(),
      }),
    )
    .readonly(),
  note: z.string().optional(),
});

export const budgetItem = z.looseObject({
  tenantId: z.string(),
  limitId: z.string(),
  window: z.string(),
  windowStartMs: z.number(),
  windowEndMs: z.number(),
  isCurrent: z.boolean(),
  currency: z.string(),
  amountNano: count,
  spentNano: count,
  hard: z.boolean(),
  alertPercents: z.array(count).readonly(),
  reachedPercents: z.array(count).readonly(),
});

/** Where a value of an answer is of no known shape. */
export const anything = z.looseObject({});
