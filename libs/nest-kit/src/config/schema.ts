import { endpointProblem, isSubjectId } from '#libs/contracts';
import { z } from 'zod';
import { pricesSchema, spending } from './desired-prices.ts';
import { edgeShape } from './edge-schema.ts';
import { modelRouteSchema } from './model-route-schema.ts';
import { providerSchema } from './provider-schema.ts';

const id = z.string().refine(isSubjectId, 'must be 1 to 64 letters, digits, "_" or "-"');

const origin = z.string().refine((text) => {
  if (!URL.canParse(text)) return false;
  const { protocol, pathname, search, hash, username } = new URL(text);
  return (protocol === 'http:' || protocol === 'https:') && pathname === '/' && search + hash + username === '';
}, 'must be an origin such as "http://127.0.0.1:8000", without a path');

export const engineNames = ['vllm', 'sglang', 'llama.cpp', 'tensorrt-llm', 'openai'] as const;

const absolutePath = z.string().startsWith('/', 'must be an absolute path');

const zmq = z.string().regex(/^tcp:\/\/(\[[^\]]+\]|[^:/]+):\d{1,5}$/, 'must be tcp://HOST:PORT');
const kvEndpoint = z
  .string()
  .regex(
    /^(tcp:\/\/(\[[^\]]+\]|[^:/]+):\d{1,5}|https?:\/\/[^\s]+)$/,
    'must be tcp://HOST:PORT, or http://HOST:PORT/PATH of an engine that is asked for them',
  );

const replica = z.strictObject({
  id: id.optional(),
  url: origin,
  /** Asked from the replica where it is not given. */
  engine: z.enum(engineNames).optional(),
  models: z.array(z.string().min(1)).default([]),
  role: z.enum(['combined', 'prefill', 'decode']).default('combined'),
  roleset: z.string().default(''),
  labels: z.record(z.string(), z.string()).default({}),
  metricsUrl: origin.optional(),
  /**
   * Its KV events, over ZeroMQ; {} is vLLM's own ports, 5557 and 5558, each rank's as many ports further. Of TensorRT-LLM they are
   * asked for over HTTP, and it does not say how many tokens a block has (32 where nothing is given).
   */
  kvEvents: z
    .strictObject({
      endpoint: kvEndpoint.optional(),
      replay: zmq.optional(),
      blockTokens: z.int().min(1).max(99_999).optional(),
    })
    .optional(),
  /** Data-parallel ranks behind this one server (vLLM's --data-parallel-size): each is a replica of its own. */
  dataParallel: z.int().min(2).max(256).optional(),
  /** The engine's own key: `env:NAME` or `file:/path`. */
  credential: z
    .string()
    .regex(/^(env:[A-Za-z_][A-Za-z0-9_]*|file:\/.+)$/, 'must be "env:NAME" or "file:/absolute/path"')
    .optional(),
  /** PEM files, read again when they change. */
  tls: z
    .strictObject({
      ca: absolutePath.optional(),
      cert: absolutePath.optional(),
      key: absolutePath.optional(),
      serverName: z.string().min(1).optional(),
    })
    .refine(({ cert, key }) => (cert === undefined) === (key === undefined), 'a certificate needs its key')
    .optional(),
});

const amount = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

/** Amounts by the length of their window. */
const windows = z.strictObject({
  second: amount.optional(),
  minute: amount.optional(),
  hour: amount.optional(),
  day: amount.optional(),
  /** The calendar month, UTC. */
  month: amount.optional(),
});

/** The same in units of the currency of the prices. */
const costs = z.strictObject({
  second: spending.optional(),
  minute: spending.optional(),
  hour: spending.optional(),
  day: spending.optional(),
  month: spending.optional(),
});

export const limitParts = ['key', 'user', 'model', 'project'] as const;
export const limitMetrics = ['requests', 'inputTokens', 'outputTokens', 'tokens', 'cost'] as const;

const limit = z
  .strictObject({
    /** Tells apart limits that would else be named alike. */
    id: id.optional(),
    /** Each of these has the whole amount for itself; without any the tenant (or the key) has it in all. */
    per: z.array(z.enum(limitParts)).default([]),
    /** The project whose keys it is for; without it all of the tenant. */
    project: id.optional(),
    /** Models that it counts; none is all. */
    models: z.array(z.string().min(1)).default([]),
    requests: windows.optional(),
    inputTokens: windows.optional(),
    outputTokens: windows.optional(),
    /** Input and output together. */
    tokens: windows.optional(),
    cost: costs.optional(),
    /** Makes a budget of `cost`: at these percents of it somebody is told. */
    alerts: z.array(z.int().min(1).max(1_000)).min(1).max(16).optional(),
    /** A budget is only told of, unless it is hard: then it is a limit too. */
    hard: z.boolean().optional(),
    /** Requests under way at once. */
    concurrent: amount.optional(),
    /** Output tokens that one request may ask for. */
    maxTokens: amount.optional(),
  })
  .refine(
    (given) =>
      given.concurrent !== undefined ||
      given.maxTokens !== undefined ||
      limitMetrics.some((metric) => Object.keys(given[metric] ?? {}).length > 0),
    `must bound something: ${limitMetrics.join(', ')} (each by second, minute, hour, day or month), concurrent or maxTokens`,
  )
  .refine(
    ({ alerts, hard, cost }) => (alerts === undefined && hard === undefined) || cost !== undefined,
    'has alerts of no cost: a budget bounds cost, by second, minute, hour, day or month',
  )
  .refine(
    ({ alerts, hard }) => hard === undefined || alerts !== undefined,
    'is hard without alerts: without them any limit is',
  )
  .refine(
    ({ alerts = [] }) => alerts.every((percent, index) => percent > (alerts[index - 1] ?? 0)),
    'has alerts that do not rise',
  );

const endpoint = z.string().superRefine((pattern, context) => {
  const problem = endpointProblem(pattern);
  if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
});

const project = z.strictObject({ id, name: z.string().default('') });

const user = z.strictObject({
  id,
  name: z.string().default(''),
  /** Of this document; none is of the whole tenant. */
  project: id.optional(),
});

const key = z.strictObject({
  id,
  /** The key itself never stands in a file: its sha256 does. `lintel keys hash` prints it. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits: the sha256 of the key'),
  name: z.string().default(''),
  /** Of this document. */
  project: id.optional(),
  user: id.optional(),
  models: z.array(z.string().min(1)).default([]),
  /** Paths of the gateway; "/v1/audio/*" is all below. None is all. */
  endpoints: z.array(endpoint).max(64).default([]),
  /** Band of its requests where flow control is on, and the highest that they may ask for. */
  priority: z.int().min(-8).max(8).optional(),
  expires: z.iso.datetime({ offset: true }).optional(),
  /** Where `sha256` is another key than before: how long the one before works. */
  previousUntil: z.iso.datetime({ offset: true }).optional(),
  /** For this key, beside the tenant's. */
  limits: z.array(limit).default([]),
});

const tenant = z.strictObject({
  id,
  name: z.string().default(''),
  /** Its prompts share no cached block with those of other tenants. */
  cacheSalt: z.boolean().default(false),
  /** Prefixes that its requests share are computed ahead on replicas that come new. */
  warm: z.boolean().default(false),
  projects: z.array(project).default([]),
  users: z.array(user).default([]),
  keys: z.array(key).default([]),
  limits: z.array(limit).default([]),
});

const profile = z.strictObject({
  strategy: z.string().min(1),
  requestsPerSecond: z.number().nonnegative().default(0),
  routingConfig: z.record(z.string(), z.json()).default({}),
});

const policy = z.strictObject({
  id,
  models: z.array(z.string().min(1)).min(1),
  lockedStrategy: z.string().min(1).optional(),
  defaultProfile: z.string().min(1).default('default'),
  profiles: z.record(z.string().min(1), profile),
});

/** How KV goes from prefill to decode replicas; by the engine where it is not said. */
export const connectorNames = ['nixl', 'nixl-push', 'shared-storage', 'mooncake', 'sglang', 'tensorrt-llm'] as const;

const member = z.strictObject({
  id: id.optional(),
  url: origin,
  labels: z.record(z.string(), z.string()).default({}),
  metricsUrl: origin.optional(),
  credential: replica.shape.credential,
  /** Of the prefill side's bootstrap server: SGLang, Mooncake. */
  bootstrapPort: z.int().min(1).max(65535).optional(),
  /** The engine's own name among those that hand over: Mooncake. */
  engineId: z.string().min(1).optional(),
});
const members = z.array(z.union([origin.transform((url) => member.parse({ url })), member])).min(1);

/** Replicas that compute prompts for others, and those that answer after them. */
const roleset = z.strictObject({
  name: z.string().min(1),
  models: z.array(z.string().min(1)).default([]),
  engine: z.enum(engineNames).optional(),
  connector: z.enum(connectorNames).optional(),
  /** Lengths of prompts that it is for: from `min`, below `max`. */
  promptTokens: z.strictObject({ min: z.int().min(0).default(0), max: z.int().min(1).optional() }).optional(),
  prefill: members,
  decode: members,
});

/** lintel.yaml. Strict: an unknown name is a mistake. */
export const configSchema = z.strictObject({
  host: z.string().min(1).optional(),
  port: z.int().min(0).max(65535).optional(),
  /** No keys: the client's authorization goes to the engine unchanged. */
  open: z.boolean().default(false),
  compat: z.enum(['aibrix']).optional(),
  ...edgeShape,
  /** Models whose prompts the gateway tokenizes itself, as their engines do. */
  tokenizers: z
    .record(
      z.string().min(1).max(256),
      z.strictObject({
        /** Folder of the model's tokenizer.json; its files are read again when they change. */
        path: absolutePath,
        /** vLLM's --chat-template-content-format, where the engine was given one. */
        contentFormat: z.enum(['string', 'openai']).optional(),
      }),
    )
    .default({}),
  replicas: z.array(replica).default([]),
  rolesets: z.array(roleset).default([]),
  tenants: z.array(tenant).default([]),
  policies: z.array(policy).default([]),
  /** What models cost. */
  prices: pricesSchema.optional(),
  modelRoutes: z.array(modelRouteSchema).default([]),
  providers: z.array(providerSchema).default([]),
});

const hostPort = z.string().regex(/^[^\s:/]+:\d{1,5}$/, 'must be "host:port"');

/** AIBrix's standalone file (`--endpoints-config`). */
export const aibrixSchema = z.strictObject({
  models: z.array(
    z
      .strictObject({
        name: z.string().min(1),
        engine: z.string().optional(),
        endpoints: z.array(hostPort).optional(),
        rolesets: z
          .array(
            z.strictObject({
              name: z.string().min(1),
              prefill: z.array(hostPort).default([]),
              decode: z.array(hostPort).default([]),
            }),
          )
          .optional(),
        annotations: z.record(z.string(), z.string()).default({}),
      })
      .refine((model) => (model.endpoints === undefined) !== (model.rolesets === undefined), {
        message: 'needs either "endpoints" or "rolesets"',
      }),
  ),
});

export type LintelConfig = z.output<typeof configSchema>;
export type ReplicaConfig = LintelConfig['replicas'][number];
export type RolesetConfig = LintelConfig['rolesets'][number];
export type PolicyConfig = LintelConfig['policies'][number];
export type LimitConfig = TenantConfig['limits'][number];
export type TenantConfig = LintelConfig['tenants'][number];
